"""Losses: one number for a batch, averaged over its examples."""

from ..core import checks
from ..core.autograd import Op
from ..core.backend import Array, array_module, to_device
from ..core.state import state
from ..core.tensor import Tensor, TensorLike, as_tensor
from ..errors import LabelError, ShapeError, sizes
from .activation import LogSoftmax, sigmoid, softmax


class CrossEntropy(Op):
    """-mean over n of sum over k of target[n,k] * log_softmax(logits)[n,k]."""

    def __init__(self, labels: Array, label_smoothing: float) -> None:
        self.labels, self.label_smoothing = labels, label_smoothing

    def forward(self, logits: Array) -> Array:
        xp = array_module(logits)
        targets, log_probabilities = self.targets(logits), LogSoftmax(axis=1).forward(logits)  # (N, K) both
        relevant = xp.where(targets > 0, log_probabilities, 0)  # a logit of -inf adds nothing if the target is 0
        return -(targets * relevant).sum(axis=1).mean()

    def targets(self, logits: Array) -> Array:
        """Return target probabilities (N, K): all classes share the smoothing equally, and the label gets the rest."""
        xp, (n, k) = array_module(logits), logits.shape
        targets = xp.full((n, k), self.label_smoothing / k, logits.dtype)
        targets[xp.arange(n), self.labels] += 1 - self.label_smoothing
        return targets

    def backward(self, upstream: Tensor) -> Tensor:
        (logits,) = self.inputs
        return (softmax(logits, axis=1) - Tensor.wrap(self.targets(logits.data))) * (upstream / len(logits))


def cross_entropy(logits: TensorLike, labels: TensorLike, label_smoothing: float = 0.0) -> Tensor:
    """The mean negative log-likelihood of the labels under softmax(logits), as one op.

    Parameters
    ----------
    logits : Tensor, (N, K), floats
        A score for each of K classes, before the softmax.
    labels : Tensor or array, (N,), integers
        The true classes, 0 .. K - 1.
    label_smoothing : float
        The part of the target probability that all classes share (Szegedy et al., arXiv 1512.00567, section 7).

    Returns
    -------
    Tensor
        A single number. Before training, it is usually about log K.

    Raises
    ------
    ShapeError
        If ``logits`` does not have the shape (N, K), the batch is empty, or there are not N labels.
    LabelError
        If the labels are not integers, or a label is outside of 0 .. K - 1.
    ArgumentError
        If ``label_smoothing`` is outside of [0, 1].
    DTypeError
        If ``logits`` does not hold floats.

    Examples
    --------
    >>> import minires as mr
    >>> round(mr.ops.cross_entropy(mr.tensor([[0.0, 0.0]]), [1]).item(), 4)
    0.6931
    """
    logits = checks.floats("cross_entropy", logits, "logits")
    label_smoothing = checks.fraction("cross_entropy", label_smoothing, "label_smoothing")
    return CrossEntropy(_class_numbers(logits, labels), label_smoothing)(logits)


def _class_numbers(logits: Tensor, labels: TensorLike) -> Array:
    """Check the labels, a class 0 .. K - 1 for each row of logits (N, K), and return them on the logits' device."""
    classes = as_tensor(labels)
    checks.axes("cross_entropy", logits, 2, "(N, classes)", "logits")
    n, k = logits.shape
    if classes.dtype.kind not in "iu":
        raise LabelError(
            f"cross_entropy: labels ({sizes(classes.shape)}) are {classes.dtype}, but must be integers; "
            "convert them, e.g. labels.to('int64')."
        )
    if classes.shape != (n,) or n == 0:
        hint = " Convert one-hot labels with .argmax(axis=1)." if classes.ndim == 2 else ""
        raise ShapeError(
            f"cross_entropy: labels are {sizes(classes.shape)} but logits ({sizes(logits.shape)}) hold {n} examples; "
            f"there must be one label for each, and at least one.{hint}"
        )
    if state.capture is not None and classes.device == "cuda":
        return classes.data  # values cannot be read during recording; for an invalid label the kernel returns NaN
    low, high = int(classes.data.min()), int(classes.data.max())
    if low < 0 or high >= k:
        raise LabelError(
            f"cross_entropy: labels run from {low} to {high}, but logits ({sizes(logits.shape)}) have {k} classes, "
            f"0 to {k - 1}."
        )
    return to_device(classes.data.copy(), logits.device)  # a copy: a loader may refill its buffer before backward


def mse_loss(prediction: TensorLike, target: TensorLike) -> Tensor:
    """The mean of (prediction - target)**2 over all elements. Raises ShapeError unless the shapes are equal."""
    prediction = checks.floats("mse_loss", prediction, "prediction")
    target = as_tensor(target, like=prediction)
    hint = " (Broadcasting would hide a mistake.)"
    checks.same_shape("mse_loss", prediction.shape, target.shape, "prediction", "target", hint)
    checks.filled_axes("mse_loss", None, prediction)
    difference = prediction - target
    return (difference * difference).mean()


class BinaryCrossEntropyWithLogits(Op):
    """mean of max(x, 0) - x * t + log(1 + exp(-|x|)), which equals -t log p - (1 - t) log(1 - p) for p = sigmoid(x)."""

    def forward(self, logits: Array, target: Array) -> Array:
        xp = array_module(logits)
        return (xp.maximum(logits, 0) - logits * target + xp.log1p(xp.exp(-xp.abs(logits)))).mean()

    def backward(self, upstream: Tensor) -> tuple[Tensor, Tensor]:
        logits, target = self.inputs
        share = upstream / logits.size
        return (sigmoid(logits) - target) * share, -logits * share


def binary_cross_entropy_with_logits(logits: TensorLike, target: TensorLike) -> Tensor:
    """The mean negative log-likelihood of yes/no targets, from scores before the sigmoid.

    ``logits`` holds floats of any shape; ``target`` holds numbers or booleans of the same shape. Raises ShapeError
    unless the shapes are equal and not empty, and LabelError if a target lies outside of [0, 1].
    """
    logits = checks.floats("binary_cross_entropy_with_logits", logits, "logits")
    target = as_tensor(target, like=logits)
    checks.same_shape("binary_cross_entropy_with_logits", logits.shape, target.shape, "logits", "target")
    checks.filled_axes("binary_cross_entropy_with_logits", None, logits)
    low, high = float(target.data.min()), float(target.data.max())
    if not (low >= 0 and high <= 1):
        raise LabelError(
            f"binary_cross_entropy_with_logits: target runs from {low:g} to {high:g}; it must lie in [0, 1]."
        )
    return BinaryCrossEntropyWithLogits()(logits, target.to(logits.dtype))
