"""Losses: one number for a batch, averaged over its examples."""

from ..core import checks
from ..core.autograd import Op
from ..core.backend import Array, array_module
from ..core.tensor import Tensor, TensorLike, as_tensor
from .activation import sigmoid, softmax


class CrossEntropy(Op):
    """-mean over n of sum over k of target[n,k] * log_softmax(logits)[n,k]."""

    def __init__(self, labels: Array, label_smoothing: float) -> None:
        self.labels, self.label_smoothing = labels, label_smoothing

    def forward(self, logits: Array) -> Array:
        xp = array_module(logits)
        shifted = logits - logits.max(axis=1, keepdims=True)  # (N, K); logits of 1e4 do not overflow
        log_probabilities = shifted - xp.log(xp.exp(shifted).sum(axis=1, keepdims=True))  # (N, K)
        targets = self.targets(logits)
        relevant = xp.where(targets > 0, log_probabilities, 0)  # a logit of -inf costs nothing off the label
        return -(targets * relevant).sum(axis=1).mean()

    def targets(self, logits: Array) -> Array:
        """(N, K): all classes share the smoothing, and the label has the rest."""
        xp, (n, k) = array_module(logits), logits.shape
        targets = xp.full((n, k), self.label_smoothing / k, logits.dtype)
        targets[xp.arange(n), self.labels] += 1 - self.label_smoothing
        return targets

    def backward(self, upstream: Tensor) -> Tensor:
        (logits,) = self.inputs
        return (softmax(logits, axis=1) - Tensor.wrap(self.targets(logits.data))) * (upstream / len(logits))


def cross_entropy(logits: TensorLike, labels: TensorLike, label_smoothing: float = 0.0) -> Tensor:
    """Softmax and the mean negative log-likelihood of the labels, in one op.

    Parameters
    ----------
    logits : Tensor, (N, K), floats
        A score for each of K classes, before any softmax.
    labels : Tensor or array, (N,), integers
        The true classes, 0 .. K - 1.
    label_smoothing : float
        The part of the target that all classes share (Szegedy et al., arXiv 1512.00567, section 7).

    Returns
    -------
    Tensor, one number: about log K before training.

    Raises
    ------
    ShapeError
        If logits is not (N, K), the batch is empty, or there are not N labels.
    LabelError
        If a label is no integer, or outside of 0 .. K - 1.
    ArgumentError
        For a smoothing outside of [0, 1].

    Examples
    --------
    >>> import minires as mr
    >>> round(mr.ops.cross_entropy(mr.tensor([[0.0, 0.0]]), [1]).item(), 4)
    0.6931
    """
    logits = checks.floats("cross_entropy", logits, "logits")
    label_smoothing = checks.fraction("cross_entropy", label_smoothing, "label_smoothing")
    return CrossEntropy(checks.labels(logits, labels), label_smoothing)(logits)


def mse_loss(prediction: TensorLike, target: TensorLike) -> Tensor:
    """The mean of (prediction - target) squared, over all elements. Raises ShapeError unless the shapes are equal."""
    prediction = checks.floats("mse_loss", prediction, "prediction")
    target = as_tensor(target, like=prediction)
    hint = " (Broadcasting would hide a mistake.)"
    checks.same_shape("mse_loss", prediction, target, "prediction", "target", hint)
    checks.filled_axes("mse_loss", None, prediction)
    difference = prediction - target
    return (difference * difference).mean()


class BinaryCrossEntropyWithLogits(Op):
    """mean of max(x, 0) - x * t + log(1 + exp(-|x|)), which is -t log p - (1 - t) log(1 - p) for p = sigmoid(x)."""

    def forward(self, logits: Array, target: Array) -> Array:
        xp = array_module(logits)
        return (xp.maximum(logits, 0) - logits * target + xp.log1p(xp.exp(-xp.abs(logits)))).mean()

    def backward(self, upstream: Tensor) -> tuple[Tensor, Tensor]:
        logits, target = self.inputs
        share = upstream / logits.size
        return (sigmoid(logits) - target) * share, -logits * share


def binary_cross_entropy_with_logits(logits: TensorLike, target: TensorLike) -> Tensor:
    """The mean negative log-likelihood of yes/no targets, from scores before the sigmoid.

    ``logits`` are floats of any shape, ``target`` numbers or booleans of the same. Raises ShapeError unless the
    shapes are equal and not empty, LabelError if a target lies outside of [0, 1].
    """
    logits = checks.floats("binary_cross_entropy_with_logits", logits, "logits")
    target = checks.probabilities("binary_cross_entropy_with_logits", logits, target)
    return BinaryCrossEntropyWithLogits()(logits, target)
