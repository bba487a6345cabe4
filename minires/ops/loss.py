"""Losses: one number for a batch, averaged over its examples, unless ``reduction`` is "sum" or "none"."""

from ..core import checks
from ..core.autograd import Op
from ..core.backend import Array, array_module, at_least_float32, to_device, wide_sum
from ..core.state import state
from ..core.tensor import Tensor, TensorLike, as_tensor
from ..errors import ArgumentError, LabelError, ShapeError, sizes
from .activation import LogSoftmax, log_softmax, sigmoid, softmax


def _reduced(op: str, losses: Tensor, reduction: str) -> Tensor:
    checks.choice(op, reduction, "reduction", ("mean", "sum", "none"))
    return losses if reduction == "none" else getattr(losses, reduction)()


def _factors(op: str, weight: TensorLike, name: str, x: Tensor) -> Tensor:
    return checks.floats(op, weight, name).to(x.dtype).to(x.device)


class CrossEntropy(Op):
    """-mean over n of sum over k of target[n,k] * log_softmax(logits)[n,k]: one op for the most common case."""

    def __init__(self, labels: Array, label_smoothing: float) -> None:
        self.labels, self.label_smoothing = labels, label_smoothing

    def forward(self, logits: Array) -> Array:
        xp = array_module(logits)
        targets, log_probabilities = self.targets(logits), LogSoftmax(axis=1).forward(logits)  # (N, K) both
        relevant = xp.where(targets > 0, log_probabilities, 0)  # a logit of -inf adds nothing if the target is 0
        return -wide_sum(targets * relevant, (0, 1), divisor=len(logits))

    def targets(self, logits: Array) -> Array:
        """Return target probabilities (N, K): all classes share the smoothing equally, and the label gets the rest."""
        k = logits.shape[1]
        one_hot = (self.labels[:, None] == array_module(logits).arange(k)).astype(logits.dtype)  # (N, K)
        return one_hot * (1 - self.label_smoothing) + self.label_smoothing / k

    def backward(self, upstream: Tensor) -> Tensor:
        (logits,) = self.inputs
        return (softmax(logits, axis=1) - Tensor.wrap(self.targets(logits.data))) * (upstream / len(logits))


def cross_entropy(
    logits: TensorLike, labels: TensorLike, weight: TensorLike = None, ignore_index: int = -100,
    reduction: str = "mean", label_smoothing: float = 0.0,
) -> Tensor:  # fmt: skip
    """The mean negative log-likelihood of the labels under softmax(logits).

    Parameters
    ----------
    logits : Tensor, (N, K), (N, K, H, W), ... or (K,), floats
        A score for each of K classes, before the softmax.
    labels : Tensor or array, (N,), (N, H, W), ... or a single number, integers
        The true classes, 0 .. K - 1. Or the probabilities of all classes: floats, with the shape of the logits.
    weight : Tensor, (K,), optional
        A factor for the loss of each class. The mean is then divided by the sum of the labels' factors.
    ignore_index : int
        The label of examples that do not count. If all labels are ignored, the mean is NaN.
    reduction : {"mean", "sum", "none"}
        "none" gives a loss for each label.
    label_smoothing : float
        The part of the target probability that all classes share (Szegedy et al., arXiv 1512.00567, section 7).

    Returns
    -------
    Tensor
        A single number. Before training, it is usually about log K.

    Raises
    ------
    ShapeError
        If the shapes of ``logits``, ``labels`` and ``weight`` do not fit, or the batch is empty.
    LabelError
        If the labels are neither integers nor probabilities, or a label is outside of 0 .. K - 1.
    ArgumentError
        If ``label_smoothing`` is outside of [0, 1], ``reduction`` is unknown, or ``ignore_index`` is not an
        integer, or is not negative although the labels are probabilities.
    DTypeError
        If ``logits`` or ``weight`` does not hold floats.

    Examples
    --------
    >>> import minires as mr
    >>> round(mr.ops.cross_entropy(mr.tensor([[0.0, 0.0]]), [1]).item(), 4)
    0.6931
    """
    logits, target = checks.floats("cross_entropy", logits, "logits"), as_tensor(labels)
    smoothing = checks.fraction("cross_entropy", label_smoothing, "label_smoothing")
    if logits.ndim == 0 or logits.size == 0:
        raise ShapeError(f"cross_entropy: logits are {sizes(logits.shape)}, but must be (N, classes, ...), not empty.")
    axis = min(1, logits.ndim - 1)  # of the classes: 0 for a single example, (K,)
    k, soft = logits.shape[axis], target.dtype.kind == "f" and target.shape == logits.shape
    per_class = (k, *(1,) * (logits.ndim - axis - 1))  # (K, 1, ...), which broadcasts to the logits
    if not checks.is_integer(ignore_index) or (soft and ignore_index >= 0):
        raise ArgumentError(f"cross_entropy: ignore_index is {ignore_index!r}; it must be an integer{', < 0' * soft}.")
    scores, factors = at_least_float32(logits), as_tensor(1.0, like=logits)
    if weight is not None:
        factors = _factors("cross_entropy", weight, "weight", logits)
        hint = "" if factors.ndim else " Pass label_smoothing by its name."
        checks.same_shape("cross_entropy", factors.shape, (k,), "weight", "the number of classes", hint)
        factors = factors.reshape(per_class)
    if soft:
        targets = target.to(scores.dtype).to(logits.device)
    else:
        classes, ignored = _class_numbers(logits, target, axis, ignore_index)
        if weight is None and ignored is None and reduction in ("mean", "sum") and logits.ndim > 1:  # one op
            rows = scores if logits.ndim == 2 else scores.permute(0, *range(2, logits.ndim), 1).reshape(-1, k)  # (M, K)
            loss = CrossEntropy(classes.reshape(-1), smoothing)(rows)
            return (loss if reduction == "mean" else loss * len(rows)).to(logits.dtype)
        xp = array_module(classes)
        one_hot = xp.expand_dims(classes, axis) == xp.arange(k).reshape(per_class)  # (N, K, ...)
        targets = Tensor.wrap(one_hot.astype(scores.dtype))
        factors = factors if ignored is None else factors.masked_fill(xp.expand_dims(ignored, axis), 0)
    shares = (targets * (1 - smoothing) + smoothing / k) * factors
    relevant = log_softmax(scores, axis).masked_fill(shares == 0, 0)  # a logit of -inf adds nothing if its share is 0
    losses = -(shares * relevant).sum(axis)  # (N, ...)
    if reduction == "mean" and not soft:
        return (losses.sum() / (targets * factors).sum()).to(logits.dtype)
    return _reduced("cross_entropy", losses, reduction).to(logits.dtype)


def _class_numbers(logits: Tensor, labels: Tensor, axis: int, ignore_index: int) -> tuple[Array, Array | None]:
    """Check the labels, a class 0 .. K - 1 for each example, and return them and a mask of the ignored ones, or None.

    Both are on the logits' device. The mask is None if no label is ignored.
    """
    k, examples = logits.shape[axis], (*logits.shape[:axis], *logits.shape[axis + 1 :])
    if labels.dtype.kind not in "iu":
        needed = f"integers (use labels.astype('int64')) or floats of the logits' shape, {sizes(logits.shape)}"
        raise LabelError(f"cross_entropy: labels ({sizes(labels.shape)}) are {labels.dtype}, but must be {needed}.")
    if labels.shape != examples:
        hint = f" Convert one-hot labels with .argmax(axis={axis})." if labels.shape == logits.shape else ""
        hint = f" Write labels.squeeze({axis})." if labels.shape == (*examples[:1], 1, *examples[1:]) else hint
        given = f"labels are {sizes(labels.shape)}"
        raise ShapeError(f"cross_entropy: {given}, but logits ({sizes(logits.shape)}) need {sizes(examples)}.{hint}")
    if state.capture is not None and labels.device == "cuda":
        return labels.data, None  # values cannot be read while recording; for an invalid label the kernel returns NaN
    classes = labels.data.astype("int64")  # a copy: a loader may refill its buffer before backward
    ignored = classes == ignore_index
    known = classes[~ignored]
    if known.size and not 0 <= known.min() <= known.max() < k:
        given = f"labels run from {known.min()} to {known.max()}"
        raise LabelError(f"cross_entropy: {given}, but logits ({sizes(logits.shape)}) have {k} classes, 0 to {k - 1}.")
    ignored = None if known.size == classes.size else to_device(ignored, logits.device)
    return to_device(classes, logits.device), ignored


def mse_loss(prediction: TensorLike, target: TensorLike, *, reduction: str = "mean") -> Tensor:
    """The mean of (prediction - target)**2 over all elements. Raises ShapeError unless the shapes are equal."""
    prediction = checks.floats("mse_loss", prediction, "prediction")
    target = as_tensor(target, like=prediction)
    checks.same_shape("mse_loss", prediction.shape, target.shape, "prediction", "target")  # nothing is broadcast
    checks.filled_axes("mse_loss", None, prediction)
    difference = at_least_float32(prediction) - at_least_float32(target)
    return _reduced("mse_loss", difference * difference, reduction).to(prediction.dtype)


class BinaryCrossEntropyWithLogits(Op):
    """max(x, 0) - x * t + log(1 + exp(-|x|)), which equals -t log p - (1 - t) log(1 - p) for p = sigmoid(x)."""

    def forward(self, logits: Array, target: Array) -> Array:
        xp = array_module(logits)
        return xp.maximum(logits, 0) - logits * target + xp.log1p(xp.exp(-xp.abs(logits)))

    def backward(self, upstream: Tensor) -> tuple[Tensor, Tensor]:
        logits, target = self.inputs
        return (sigmoid(logits) - target) * upstream, -logits * upstream


def binary_cross_entropy_with_logits(
    logits: TensorLike, target: TensorLike, weight: TensorLike = None, *, pos_weight: TensorLike = None,
    reduction: str = "mean",
) -> Tensor:  # fmt: skip
    """The mean negative log-likelihood of yes/no targets, from scores before the sigmoid.

    ``logits`` holds floats of any shape; ``target`` holds numbers or booleans of the same shape. ``weight`` multiplies
    the losses, and ``pos_weight`` the part of the targets that are 1; both broadcast. Raises ShapeError unless the
    shapes are equal and not empty, and LabelError if a target lies outside of [0, 1].
    """
    op, given = "binary_cross_entropy_with_logits", checks.floats("binary_cross_entropy_with_logits", logits, "logits")
    target = as_tensor(target, like=given)
    checks.same_shape(op, given.shape, target.shape, "logits", "target")
    checks.filled_axes(op, None, given)
    low, high = float(target.data.min()), float(target.data.max())
    if not (low >= 0 and high <= 1):
        raise LabelError(f"{op}: target runs from {low:g} to {high:g}; it must lie in [0, 1].")
    x = at_least_float32(given)
    losses = BinaryCrossEntropyWithLogits()(x, target.to(x.dtype))
    if pos_weight is not None:  # log(1 + exp(-x)) is the loss of a target that is 1
        positive = BinaryCrossEntropyWithLogits()(x, Tensor.wrap(array_module(x.data).ones_like(x.data)))
        losses = losses + (_factors(op, pos_weight, "pos_weight", x) - 1) * target * positive
    if weight is not None:
        losses = losses * _factors(op, weight, "weight", x)
    return _reduced(op, losses, reduction).to(given.dtype)
