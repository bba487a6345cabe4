"""From the outputs of FCOS to the boxes of objects (Tian et al., arXiv 1904.01355, section 3.1)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ..core import checks
from ..core.backend import Array
from ..core.tensor import Tensor
from .assignment import Locations, checked_outputs, decode
from .boxes import nms

PER_LEVEL = 1000  # candidates of one map


class Detections(NamedTuple):
    """The objects found in one image, best score first."""

    boxes: Array  # (M, 4) float32: x1, y1, x2, y2 in pixels
    scores: Array  # (M,) float32, from 0 to 1
    labels: Array  # (M,) int64


def detect(
    outputs: Sequence[Tensor | Array],
    image_size: tuple[int, int],
    places: Locations,
    threshold: float = 0.2,
    overlap: float = 0.6,
    most: int = 100,
) -> list[Detections]:
    """Find the objects of each image.

    The score of a class at a location is the geometric mean of its probability and of the centerness. Of the scores
    above ``threshold``, the best 1000 of each map are candidates; non-maximum suppression within each class removes
    those that show the same object.

    Parameters
    ----------
    outputs : sequence of three tensors or arrays
        What FCOS returns for N images, or ONNX Runtime for an exported FCOS: class logits (N, L, K), l t r b
        (N, L, 4), centerness logits (N, L).
    image_size : (int, int)
        Height and width, to which boxes are clipped.
    places : Locations
        ``model.locations(image_size)``.
    threshold : float
        What a score must exceed.
    overlap : float
        The largest IoU of two detections of the same class.
    most : int
        The largest number of detections in an image.

    Returns
    -------
    list of N Detections

    Raises
    ------
    ShapeError
        If the outputs do not have the locations of ``places``.
    ArgumentError
        If another argument is out of range.
    """
    outputs = checked_outputs("detect", outputs, places)
    logits, sides, central = (output.numpy() if isinstance(output, Tensor) else output for output in outputs)
    height, width = checks.pair("detect", image_size, "image_size", 1)
    threshold = checks.fraction("detect", threshold, "threshold")
    scores = np.sqrt(_sigmoid(logits) * _sigmoid(central)[..., None])  # (N, L, K)
    found = []
    for score, side in zip(scores, sides, strict=True):
        at, labels = _candidates(score, places, threshold)  # (C,) each
        boxes = decode(side[at], places.points[at], places.strides[at])  # (C, 4)
        boxes = np.clip(boxes, 0, np.array([width, height, width, height], boxes.dtype))
        kept = _suppressed(boxes, score[at, labels], labels, overlap)[:most]
        found.append(Detections(boxes[kept], score[at, labels][kept], labels[kept]))
    return found


def _candidates(scores: Array, places: Locations, threshold: float) -> tuple[Array, Array]:
    """Return the locations and classes of the best scores (L, K) of each map, those above the threshold."""
    best = []
    for stride in np.unique(places.strides):
        at, labels = np.nonzero((scores > threshold) & (places.strides == stride)[:, None])
        order = np.argsort(-scores[at, labels], kind="stable")[:PER_LEVEL]
        best.append((at[order], labels[order]))
    at, labels = (np.concatenate(parts) for parts in zip(*best, strict=True))
    return at, labels


def _suppressed(boxes: Array, scores: Array, labels: Array, overlap: float) -> Array:
    """Return the indices of the boxes that are left, best score first, if boxes of the same class compete."""
    kept = [np.zeros(0, np.int64)]
    for label in np.unique(labels):
        (own,) = np.nonzero(labels == label)
        kept.append(own[nms(boxes[own], scores[own], overlap)])
    indices = np.sort(np.concatenate(kept))
    return indices[np.argsort(-scores[indices], kind="stable")]


def _sigmoid(x: Array) -> Array:
    small = np.exp(-np.abs(x))  # at most 1, so it cannot overflow
    return np.where(x >= 0, 1, small) / (1 + small)
