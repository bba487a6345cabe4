"""Losses of object detectors: for classes of which few are present, and for boxes."""

from ..core import checks
from ..core.backend import at_least_float32
from ..core.tensor import Tensor, TensorLike, as_tensor
from ..errors import LabelError, ShapeError, sizes
from .activation import sigmoid
from .arithmetic import maximum, minimum, where
from .loss import BinaryCrossEntropyWithLogits, _reduced


def sigmoid_focal_loss(
    inputs: TensorLike, targets: TensorLike, alpha: float = 0.25, gamma: float = 2, reduction: str = "none"
) -> Tensor:
    """Binary cross-entropy in which easy examples count little: alpha_t * (1 - p_t)**gamma * -log p_t.

    p_t is the probability that is given to the truth (Lin et al., arXiv 1708.02002, equation 5). It is computed from
    the logits, so that neither it nor its logarithm loses precision where the sigmoid rounds to 0 or 1.

    Parameters
    ----------
    inputs : Tensor, any shape, floats
        Scores before the sigmoid.
    targets : Tensor or array of this shape
        1 where the class is present, 0 elsewhere.
    alpha : float
        The weight of targets that are 1; those that are 0 get 1 - alpha. With -1, both get 1.
    gamma : float
        How much less the easy examples count; not at all less with 0.
    reduction : {"none", "mean", "sum"}

    Raises
    ------
    ShapeError
        If the shapes differ.
    LabelError
        If a target lies outside of [0, 1].
    ArgumentError
        If ``alpha`` is neither in [0, 1] nor -1, ``gamma`` is negative, or ``reduction`` is unknown.
    DTypeError
        If ``inputs`` does not hold floats.

    Examples
    --------
    >>> import minires as mr
    >>> mr.ops.sigmoid_focal_loss([0.0, 0.0, 5.0], [1, 0, 1]).numpy().round(4)  # the last one is easy
    array([0.0433, 0.13  , 0.    ], dtype=float32)
    """
    op, given = "sigmoid_focal_loss", checks.floats("sigmoid_focal_loss", inputs, "inputs")
    gamma = checks.not_negative(op, gamma, "gamma")
    alpha = checks.number(op, alpha, "alpha", lambda value: 0 <= value <= 1 or value == -1, "lie in [0, 1], or be -1")
    target = as_tensor(targets, like=given)
    checks.same_shape(op, given.shape, target.shape, "inputs", "targets")
    if target.size and not 0 <= target.data.min() <= target.data.max() <= 1:
        low, high = float(target.data.min()), float(target.data.max())
        raise LabelError(f"{op}: targets run from {low:g} to {high:g}; they must lie in [0, 1].")
    x = at_least_float32(given)
    target = target.to(x.dtype)
    wrong = sigmoid(-x) * target + sigmoid(x) * (1 - target)  # 1 - p_t
    losses = BinaryCrossEntropyWithLogits()(x, target)
    if gamma:
        losses = losses * wrong.clip(low=1e-37) ** gamma  # 0 has no gradient if gamma < 1
    if alpha >= 0:
        losses = losses * (alpha * target + (1 - alpha) * (1 - target))
    return _reduced(op, losses, reduction).to(given.dtype)


def giou_loss(boxes: TensorLike, targets: TensorLike, reduction: str = "none", eps: float = 1e-7) -> Tensor:
    """1 minus the generalised IoU, which also has a gradient where two boxes do not overlap.

    From the IoU is subtracted the share of the smallest box around both that neither of them covers (Rezatofighi et
    al., arXiv 1902.09630, algorithm 1). The loss is 0 for equal boxes, and less than 2.

    Parameters
    ----------
    boxes : Tensor, (..., 4), floats
        x1, y1, x2, y2 of each box.
    targets : Tensor or array of this shape
        The box that each should equal.
    reduction : {"none", "mean", "sum"}
        "none" gives a loss for each box. The mean of no boxes is 0.
    eps : float
        Added to areas that are divided by.

    Raises
    ------
    ShapeError
        If the shapes differ, or are not (..., 4).
    ArgumentError
        If ``eps`` is not positive, or ``reduction`` is unknown.
    DTypeError
        If ``boxes`` does not hold floats.

    Examples
    --------
    >>> import minires as mr
    >>> mr.ops.giou_loss([[0.0, 0, 10, 10]], [[0, 0, 10, 5]]).numpy().round(3)
    array([0.5], dtype=float32)
    """
    op, given = "giou_loss", checks.floats("giou_loss", boxes, "boxes")
    eps = checks.positive(op, eps, "eps")
    target = as_tensor(targets, like=given)
    checks.same_shape(op, given.shape, target.shape, "boxes", "targets")
    if given.shape[-1:] != (4,):
        raise ShapeError(
            f"giou_loss: boxes are {sizes(given.shape)}, but must be (..., 4): x1, y1, x2, y2 of each box."
        )
    box = at_least_float32(given)
    target = target.to(box.dtype)
    shared = minimum(box, target)[..., 2:] - maximum(box, target)[..., :2]  # (..., 2): width and height
    around = maximum(box, target)[..., 2:] - minimum(box, target)[..., :2]
    intersection = where((shared.data > 0).all(axis=-1), _area(shared), 0)  # (...)
    union = _area(box[..., 2:] - box[..., :2]) + _area(target[..., 2:] - target[..., :2]) - intersection
    hull = _area(around)
    losses = 1 - intersection / (union + eps) + (hull - union) / (hull + eps)
    reduction = "sum" if reduction == "mean" and losses.size == 0 else reduction
    return _reduced(op, losses, reduction).to(given.dtype)


def _area(sides: Tensor) -> Tensor:
    return sides[..., 0] * sides[..., 1]
