"""Scores of maps of classes, from one confusion matrix over a whole set."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import ArgumentError, ShapeError, sizes
from .boxes import finite_numbers


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
    matrix = finite_numbers("mean_iou", "confusion", confusion)
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
        raise ShapeError(f"mean_iou: confusion is {sizes(matrix.shape)}, but must be square: classes by classes.")
    if (matrix < 0).any() or not matrix.any():
        raise ArgumentError("mean_iou: confusion must hold counts of pixels: not negative, and not all 0.")
    right = matrix.diagonal()
    union = matrix.sum(axis=0) + matrix.sum(axis=1) - right
    return float(np.mean(right[union > 0] / union[union > 0]))
