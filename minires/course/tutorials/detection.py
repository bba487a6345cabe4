"""The exercises of tutorial 13, detection."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...core.backend import Array
from ...errors import CheckError
from .exercise import Exercises, OpenError, call, compare

EXERCISES = Exercises()


@EXERCISES.judged("13.1", "The boxes share 4 of 20 pixels, and 4 of the 24 in the enclosing box belong to neither.")
def overlap_of_two_boxes(answer: Any) -> None:
    if not isinstance(answer, tuple) or len(answer) != 2:
        raise CheckError("the answer should be two numbers: iou, giou.")
    if None in answer:
        raise OpenError
    covered = np.zeros((2, 4, 6), bool)  # count pixels
    covered[0, 0:4, 0:4] = covered[1, 1:3, 2:6] = True
    shared, union = covered.all(axis=0).sum(), covered.any(axis=0).sum()
    iou, empty = shared / union, covered[0].size - union
    compare(
        "iou",
        answer[0],
        iou,
        {
            "the union is the sum of both areas without the intersection, which is in both of them.": shared / 24,
            "that is the intersection divided by the first box; divide it by the union.": shared / 16,
            "that is the intersection divided by the second box; divide it by the union.": shared / 8,
            "that is Dice's coefficient: twice the intersection, divided by the sum of the areas.": 2 * shared / 24,
        },
    )
    compare(
        "giou",
        answer[1],
        iou - empty / 24,
        {
            "giou is the iou; subtract the share of the enclosing box that neither box covers.": iou,
            "subtract the empty share of the enclosing box (0, 0, 6, 4), not of the union.": iou - empty / union,
            "the empty share is subtracted, not added.": iou + empty / 24,
            "what is left to subtract is the part that is empty, not the part that is covered.": iou - union / 24,
        },
    )


@EXERCISES.judged("13.2", "All four are positive exactly if the location lies inside of the box.")
def distances_to_edges(answer: Any) -> None:
    right = np.array([1.5, 1, 1.5, 2])
    mistakes = {
        "these are pixels; FCOS predicts distances in strides of 8 pixels.": right * 8,
        "the location is in the middle of its cell, at (20, 12), not at its corner (16, 8).": [1, 0.5, 2, 2.5],
        "the location is in column 2 and row 1, so x is 20 and y is 12, not the other way round.": [0.5, 2, 2.5, 1],
        "distances to the right and bottom edges are also positive inside: x2 - x and y2 - y.": right * [1, 1, -1, -1],
        "distances to the left and top edges are also positive inside: x - x1 and y - y1.": right * [-1, -1, 1, 1],
        "the order is left, top, right, bottom; this is left, right, top, bottom.": right[[0, 2, 1, 3]],
        "these are the box's coordinates in strides; measure them from the location.": [1, 0.5, 4, 3.5],
    }
    compare("l, t, r, b", answer, right, mistakes)


EXERCISES.predicted(
    "13.3",
    "An easy answer counts a hundredth; one with p = 0.1 still counts 0.81 of its cross-entropy.",
    "the factor",
    (1 - 0.9) ** 2,
    (0.9**2, "that is p squared, which would keep the easy answers. The factor is (1 - p) squared."),
    (1 - 0.9, "that is 1 - p; it is squared."),
    (1 - 0.9**2, "that is 1 - p squared; square 1 - p."),
    (-np.log(0.9), "that is the cross-entropy; what is it multiplied by?"),
    (-np.log(0.9) * 0.01, "that is the loss itself; divide it by the cross-entropy."),
    (100.0, "that is how many times smaller the loss gets; divide the other way round."),
    nearly=1e-6,
)


@EXERCISES.judged("13.4", "In a detector, only boxes of the same class compete: NMS runs once for each class.")
def suppression(answer: Any) -> None:
    boxes = np.array(
        [[0, 0, 10, 10], [2, 0, 12, 10], [4, 0, 14, 10], [30, 0, 40, 10], [31, 0, 41, 10], [60, 0, 70, 20]], float
    )
    scores, threshold = np.array([0.8, 0.7, 0.6, 0.3, 0.9, 0.1]), 0.5
    got = call(answer, boxes.copy(), scores.copy(), threshold)
    order = np.argsort(-scores)
    mistakes = {
        "no box is left out; one that overlaps a kept box too much has to go.": order,
        "boxes were taken in the order given; the one with the highest score comes first.": _greedy(
            boxes, np.arange(6), threshold
        ),
        "the lowest score came first; begin with the highest.": _greedy(boxes, order[::-1], threshold),
        "the right boxes are kept, but in another order: the highest score comes first.": np.sort(
            _greedy(boxes, order, threshold)
        ),
        "box 2 is missing: box 1, which overlaps it, was removed itself. Only kept boxes suppress others.": [4, 0, 5],
        "only the first box suppresses others; each box that is kept does.": [4, 0, 1, 2, 5],
        "these are the boxes that were removed; return those that are kept.": [1, 3],
        "these are scores; return the indices of the boxes.": scores[[4, 0, 2, 5]],
    }
    compare("the list of kept boxes", got, _greedy(boxes, order, threshold), mistakes)
    touching = np.array([[0, 0, 2, 1], [0, 0, 1, 1]], float)  # their IoU is 0.5
    if len(np.atleast_1d(call(answer, touching, np.array([0.9, 0.8]), 0.5))) != 2:
        raise CheckError("a box whose IoU is equal to the threshold is kept: at most the threshold is allowed.")


def _greedy(boxes: Array, order: Array, threshold: float) -> Array:
    """The kept boxes, by striking out what overlaps each one that is kept."""
    left, kept = [int(n) for n in order], []
    while left:
        best = left.pop(0)
        kept.append(best)
        left = [n for n in left if _iou(boxes[best], boxes[n]) <= threshold]
    return np.array(kept)


def _iou(a: Array, b: Array) -> float:
    shared = np.prod(np.maximum(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0))
    return float(shared / (np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2]) - shared))
