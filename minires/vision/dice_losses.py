"""Dice losses: how far predicted regions are from overlapping the true ones, however small these are.

Cross-entropy is a mean over pixels, so an object of few pixels hardly counts in it. Dice's coefficient, twice the
intersection of two regions divided by the sum of their sizes, is a ratio, and gives each class the same weight.
"""

from __future__ import annotations

import numpy as np

from .. import ops
from ..core import checks
from ..core.backend import Array, array_module, at_least_float32, to_device
from ..core.tensor import Tensor, TensorLike, as_tensor
from ..errors import LabelError, ShapeError, sizes


def dice_loss(
    logits: TensorLike, labels: TensorLike, ignore_index: int = 255, smooth: float = 1.0, reduction: str = "mean"
) -> Tensor:
    """1 - the soft Dice coefficient of each class (Milletari et al., arXiv 1606.04797), averaged over the classes.

    The coefficient of class k is (2 sum p t + smooth) / (sum p + sum t + smooth). The sums run over all pixels of the
    batch, p is softmax(logits) at k, and t is 1 where the label is k and 0 elsewhere.

    Parameters
    ----------
    logits : Tensor, (N, K, H, W), or (N, K, ...)
    labels : Tensor or array, (N, H, W), or (N, ...), integers
        The class of each pixel.
    ignore_index : int
        The label of pixels that do not count.
    smooth : float
        In pixels, > 0. It keeps the ratio finite, and its gradient small where a region has few pixels.
    reduction : {"mean", "none"}
        "none" gives a loss for each class, (K,).

    Returns
    -------
    Tensor
        From 0 to 1. A class without labelled pixels in the batch is left out of the mean, and its own loss is 0. If no
        class is left, since all pixels are ignored, the loss is 0 and its gradient is 0.

    Raises
    ------
    ShapeError
        If the shapes do not fit.
    LabelError
        If the labels are not integers, or one is outside of 0 .. K - 1.
    ArgumentError
        If another argument is invalid.
    DTypeError
        If ``logits`` does not hold floats.
    """
    logits = checks.floats("dice_loss", logits, "logits")
    checks.choice("dice_loss", reduction, "reduction", ("mean", "none"))
    if logits.ndim < 3:
        raise ShapeError(f"dice_loss: logits is {sizes(logits.shape)}, but must be (N, K, H, W).")
    n, k, *size = logits.shape
    classes, ignored = _labels("dice_loss", labels, (n, *size), k, ignore_index, logits.device)  # (N, H, W) both
    xp = array_module(classes)
    true = (classes[:, None] == xp.arange(k).reshape(k, *(1,) * len(size))) & ~ignored[:, None]  # (N, K, H, W)
    occurs = Tensor.wrap(true.any(axis=(0, *range(2, true.ndim))))  # (K,)
    predicted = ops.softmax(at_least_float32(logits), axis=1)
    losses = _losses("dice_loss", predicted, true, ignored[:, None], smooth, (0, *range(2, logits.ndim)))  # (K,)
    losses = losses.masked_fill(~occurs.data, 0)
    count = max(int(occurs.data.sum()), 1)
    return (losses if reduction == "none" else losses.sum() / count).to(logits.dtype)


def binary_dice_loss(logits: TensorLike, labels: TensorLike, ignore_index: int = 255, smooth: float = 1.0) -> Tensor:
    """1 - the soft Dice coefficient of one region, from scores before the sigmoid.

    The coefficient is that of :func:`dice_loss`, where p is sigmoid(logits) and t is 1 inside the region. ``logits``
    and ``labels`` have the same shape. A label is 1 inside the region and 0 outside, or ``ignore_index`` for pixels
    that do not count. Without a pixel inside, the loss is still smaller for smaller p. Raises the errors of
    :func:`dice_loss`.
    """
    logits = checks.floats("binary_dice_loss", logits, "logits")
    true, ignored = _labels("binary_dice_loss", labels, logits.shape, 2, ignore_index, logits.device)
    predicted = ops.sigmoid(at_least_float32(logits))
    losses = _losses("binary_dice_loss", predicted, (true == 1) & ~ignored, ignored, smooth, None)
    return losses.to(logits.dtype)


def _losses(
    function: str, predicted: Tensor, true: Array, ignored: Array, smooth: float, axes: tuple[int, ...] | None
) -> Tensor:
    smooth = checks.positive(function, smooth, "smooth")
    p, t = predicted.masked_fill(ignored, 0), Tensor.wrap(true.astype(predicted.dtype))
    return 1 - (2 * (p * t).sum(axes) + smooth) / (p.sum(axes) + t.sum(axes) + smooth)


def _labels(
    function: str, labels: TensorLike, shape: tuple[int, ...], k: int, ignore_index: int, device: str
) -> tuple[Array, Array]:
    """Check the labels, and return their class numbers as int64, and where they are ignored, both on the device."""
    given = as_tensor(labels)
    checks.same_shape(function, given.shape, shape, "labels", "what the logits need")
    if given.dtype.kind not in "iub":
        raise LabelError(f"{function}: labels ({sizes(given.shape)}) are {given.dtype}; they must be integers.")
    classes = to_device(given.data.astype(np.int64), device)
    ignored = classes == checks.integer(function, ignore_index, "ignore_index", -(2**63))
    counted = classes[~ignored]
    if counted.size and not 0 <= counted.min() <= counted.max() < k:
        raise LabelError(
            f"{function}: labels run from {counted.min()} to {counted.max()}, but must be 0 to {k - 1}, "
            f"or {ignore_index} for pixels that do not count."
        )
    return classes, ignored
