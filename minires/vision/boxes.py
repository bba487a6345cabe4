"""How much boxes overlap, and the choice of the best of those that do."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..core import checks
from ..core.backend import Array
from ..core.tensor import Tensor
from ..errors import ArgumentError, ShapeError, sizes


def box_iou(a: Any, b: Any) -> Array:
    """The intersection of each pair of boxes, divided by their union (Jaccard's index).

    Parameters
    ----------
    a : array-like, (N, 4)
        Boxes x1, y1, x2, y2.
    b : array-like, (M, 4)

    Returns
    -------
    array of float64, (N, M)
        From 0 to 1. It is 0 for two boxes without an area.

    Raises
    ------
    ShapeError
        If a or b is not (N, 4).
    ArgumentError
        If a number is NaN or infinite, or a box ends before it begins.
    """
    a, b = box_rows("box_iou", "a", a), box_rows("box_iou", "b", b)
    return _overlap(a.T[..., None], b.T)


def _overlap(a: Array, b: Array) -> Array:
    """The IoU of boxes whose coordinates x1, y1, x2, y2 are along the first axis of a and b; the others broadcast."""
    width = np.minimum(a[2], b[2]) - np.maximum(a[0], b[0])
    height = np.minimum(a[3], b[3]) - np.maximum(a[1], b[1])
    shared = np.maximum(width, 0) * np.maximum(height, 0)
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared
    return np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)


def nms(boxes: Any, scores: Any, threshold: float) -> Array:
    """Non-maximum suppression: keep a box unless it overlaps a kept box with a higher score too much.

    Of boxes with equal scores, the first counts as the higher one.

    Parameters
    ----------
    boxes : array-like, (N, 4)
        Boxes x1, y1, x2, y2. To let only boxes of the same class compete, call this once for each class.
    scores : array-like, (N,)
    threshold : float
        The largest IoU with a kept box, from 0 to 1.

    Returns
    -------
    array of int64, (K,)
        The indices of the kept boxes, highest score first.

    Raises
    ------
    ShapeError
        If boxes is not (N, 4), or scores not (N,).
    ArgumentError
        If a number is NaN or infinite, a box ends before it begins, or threshold is not between 0 and 1.

    Examples
    --------
    >>> nms([[0, 0, 10, 10], [1, 0, 11, 10], [20, 0, 30, 10]], [0.8, 0.9, 0.3], threshold=0.5)
    array([1, 2])
    """
    boxes, scores = box_rows("nms", "boxes", boxes), finite_numbers("nms", "scores", scores)
    threshold = checks.fraction("nms", threshold, "threshold")
    if scores.shape != boxes.shape[:1]:
        raise ShapeError(f"nms: scores is {sizes(scores.shape)}, but boxes is {sizes(boxes.shape)}: give one per box.")
    order = np.argsort(-scores, kind="stable")
    boxes, left, kept = boxes[order].T.copy(), np.ones(len(order), bool), []  # (4, N), best score first
    for n in range(len(order)):
        if left[n]:
            kept.append(n)
            left[n + 1 :] &= _overlap(boxes[:, n], boxes[:, n + 1 :]) <= threshold
    return order[np.array(kept, np.int64)]


def box_rows(function: str, name: str, value: Any) -> Array:
    """Return an argument as boxes (N, 4) of float64. Raises an error if it is not that, or a box ends too early."""
    boxes = finite_numbers(function, name, value)
    boxes = boxes.reshape(0, 4) if boxes.size == 0 else boxes
    if boxes.ndim != 2 or boxes.shape[1] != 4:
        raise ShapeError(f"{function}: {name} is {sizes(boxes.shape)}, but must be (N, 4): x1, y1, x2, y2 of each box.")
    wrong = np.flatnonzero((boxes[:, 2:] < boxes[:, :2]).any(axis=1))
    if len(wrong):
        raise ArgumentError(
            f"{function}: box {wrong[0]} of {name} is {boxes[wrong[0]].tolist()}, but x1 <= x2 and y1 <= y2 must hold; "
            "convert boxes x, y, width, height first."
        )
    return boxes


def finite_numbers(function: str, name: str, value: Any) -> Array:
    """Return an argument as an array of float64. Raises ArgumentError if it is not one of finite numbers."""
    try:
        numbers = np.asarray(value.data if isinstance(value, Tensor) else value)
        if numbers.dtype.kind == "c":
            raise TypeError
        numbers = numbers.astype(np.float64)
    except (TypeError, ValueError):
        raise ArgumentError(
            f"{function}: {name} is not an array of numbers; give a list of rows of equal length."
        ) from None
    if not np.isfinite(numbers).all():
        raise ArgumentError(f"{function}: {name} contains NaN or infinity; it must be finite.")
    return numbers
