"""Scores of maps of classes, from one confusion matrix over a whole set.

>>> import numpy as np
>>> confusion = np.zeros((3, 3), np.int64)
>>> for predicted, true in [([[0, 1, 1]], [[0, 1, 255]]), ([[1, 0, 0]], [[1, 1, 0]])]:  # two images of three pixels
...     confusion += confusion_matrix(predicted, true, classes=3)
>>> confusion.tolist()
[[2, 0, 0], [1, 2, 0], [0, 0, 0]]
>>> pixel_accuracy(confusion), dice(confusion)
(0.8, 0.8)
>>> class_iou(confusion)
array([0.66666667, 0.66666667,        nan])
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..core import checks
from ..core.backend import Array
from ..core.tensor import Tensor
from ..errors import ArgumentError, LabelError, ShapeError, sizes
from .boxes import finite_numbers


def confusion_matrix(predictions: Any, labels: Any, classes: int, ignore: int = 255) -> Array:
    """Count how many pixels of each class were predicted as each class. Add the matrices of all images of a set.

    Parameters
    ----------
    predictions, labels : array-like of integers, (N, H, W) or any other shape
        The predicted and the true class of each pixel.
    classes : int
        K, with the background.
    ignore : int
        The label of pixels that do not count, whatever is predicted there.

    Returns
    -------
    array of int64, (K, K)
        True classes in rows, predicted classes in columns.

    Raises
    ------
    ShapeError
        If the shapes differ.
    LabelError
        If predictions or labels are not integers, or a class of a pixel that counts is outside of 0 .. K - 1.
    ArgumentError
        If ``classes`` is not an integer >= 1, or ``ignore`` not an integer.
    """
    where, k = "confusion_matrix", checks.integer("confusion_matrix", classes, "classes", 1)
    checks.integer(where, ignore, "ignore", -(2**63))
    predicted, true = _integers("predictions", predictions), _integers("labels", labels)
    hint = " Give predictions.argmax(axis=1), not scores." if predicted.ndim == true.ndim + 1 else ""
    checks.same_shape(where, predicted.shape, true.shape, "predictions", "labels", hint)
    counts = true != ignore
    for name, numbers in (("predictions", predicted[counts]), ("labels", true[counts])):
        if numbers.size and not 0 <= numbers.min() <= numbers.max() < k:
            given = f"{name} run from {numbers.min()} to {numbers.max()}"
            raise LabelError(f"{where}: {given}, but with {k} classes they must be 0 to {k - 1}, or {ignore} (labels).")
    pairs = true[counts].astype(np.int64) * k + predicted[counts].astype(np.int64)
    return np.bincount(pairs, minlength=k * k).reshape(k, k)


def pixel_accuracy(confusion: Any) -> float:
    """The share of pixels whose class was predicted, from 0 to 1. Takes and raises the same as :func:`mean_iou`."""
    right, true, _ = _counts("pixel_accuracy", confusion)
    return float(right.sum() / true.sum())


def class_iou(confusion: Any) -> Array:
    """The intersection over union of each class, (K,), float64: NaN if a class has no true and no predicted pixels.

    Takes and raises the same as :func:`mean_iou`.
    """
    right, true, predicted = _counts("class_iou", confusion)
    return _ratios(right, true + predicted - right)


def mean_iou(confusion: Any) -> float:
    """The mean over classes of the intersection of true and predicted pixels, divided by their union.

    A class without any true or predicted pixel has no IoU, and is left out.

    Parameters
    ----------
    confusion : array-like, (K, K)
        How many pixels of each class (row) were predicted as each class (column), over all images. The mean of the
        scores of single images is something else: it depends on how the pixels are distributed over images.

    Returns
    -------
    float
        From 0 to 1.

    Raises
    ------
    ShapeError
        If ``confusion`` is not a square matrix.
    ArgumentError
        If a number is negative, NaN or infinite, or all are 0.

    Examples
    --------
    >>> mean_iou([[3, 1, 0], [0, 4, 0], [0, 0, 0]])  # (3/4 + 4/5) / 2
    0.775
    """
    right, true, predicted = _counts("mean_iou", confusion)
    return float(np.nanmean(_ratios(right, true + predicted - right)))


def dice(confusion: Any) -> float:
    """The mean over classes of Dice's coefficient: twice the intersection, divided by the true and predicted pixels.

    Takes and raises the same as :func:`mean_iou`, and leaves out the same classes. For one class, it is
    2 IoU / (1 + IoU).
    """
    right, true, predicted = _counts("dice", confusion)
    return float(np.nanmean(_ratios(2 * right, true + predicted)))


def _counts(function: str, confusion: Any) -> tuple[Array, Array, Array]:
    """Return the right, true and predicted pixels of each class, (K,) each, of a matrix that is checked."""
    matrix = finite_numbers(function, "confusion", confusion)
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
        raise ShapeError(f"{function}: confusion is {sizes(matrix.shape)}, but must be square: classes by classes.")
    if (matrix < 0).any() or not matrix.any():
        raise ArgumentError(f"{function}: confusion must hold counts of pixels: not negative, and not all 0.")
    return matrix.diagonal(), matrix.sum(axis=1), matrix.sum(axis=0)


def _ratios(part: Array, whole: Array) -> Array:
    return np.divide(part, whole, out=np.full(len(whole), np.nan), where=whole > 0)


def _integers(name: str, value: Any) -> Array:
    try:
        numbers = np.asarray(value.numpy() if isinstance(value, Tensor) else value)
    except ValueError:
        raise LabelError(f"confusion_matrix: {name} is not an array of integers; give rows of equal length.") from None
    if numbers.dtype.kind not in "iub" and numbers.size:
        raise LabelError(f"confusion_matrix: {name} is {numbers.dtype} ({sizes(numbers.shape)}); give class numbers.")
    return numbers
