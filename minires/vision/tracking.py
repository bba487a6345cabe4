"""Following objects from frame to frame by the overlap of their boxes, and the score of such tracks.

A tracker gives each detection a number, its identity, which is the same in all frames for the same object.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..core import checks
from ..core.backend import Array
from ..errors import ArgumentError, ShapeError, sizes
from .boxes import box_iou, box_rows


@dataclass
class Track:
    """An object that was found in earlier frames: its number, its class, its last box, and for how long it is lost."""

    number: int
    label: int
    box: Array
    missed: int = 0


class Tracker:
    """Give detections identities, one frame after the other.

    In each frame, the detections are matched one to one with the tracks of their class: as many as possible and, among
    these matches, those with the largest sum of overlaps with the tracks' last boxes (by the Hungarian method, as
    Bewley et al., arXiv 1602.00763, but without predicting motion). A detection without a track begins a new one. A
    track without a detection waits, and ends if it finds none for more than ``max_age`` frames.

    Parameters
    ----------
    threshold : float
        The smallest IoU of a detection and the last box of its track, greater than 0.
    max_age : int
        For how many frames in a row a track may find no detection, e.g. because something hides the object.

    Raises
    ------
    ArgumentError
        If an argument is out of range.

    Examples
    --------
    >>> tracker = Tracker()
    >>> tracker.update([[0, 0, 10, 10], [50, 0, 60, 10]], labels=[0, 0])
    array([0, 1])
    >>> tracker.update([[48, 0, 58, 10], [2, 0, 12, 10], [80, 0, 90, 10]], labels=[0, 0, 0])
    array([1, 0, 2])
    """

    def __init__(self, threshold: float = 0.3, max_age: int = 5) -> None:
        self.threshold = checks.number("Tracker", threshold, "threshold", lambda value: 0 < value <= 1, "lie in (0, 1]")
        self.max_age = checks.integer("Tracker", max_age, "max_age", 0)
        self.tracks: list[Track] = []
        self.started = 0

    def update(self, boxes: Any, labels: Any) -> Array:
        """Return the identities, int64 (M,), of the detections in the next frame.

        Parameters
        ----------
        boxes : array-like, (M, 4)
            x1, y1, x2, y2 of each detection. M may be 0.
        labels : array-like of int, (M,)
            Only boxes of the same class belong to the same object.

        Raises
        ------
        ShapeError
            If there is not one label for each box.
        ArgumentError
            If a box is invalid; see :func:`minires.vision.box_iou`.
        """
        boxes, labels = box_rows("Tracker.update", "boxes", boxes).copy(), np.asarray(labels, np.int64)
        if labels.shape != boxes.shape[:1]:
            raise ShapeError(
                f"Tracker.update: labels is {sizes(labels.shape)}, but boxes is {sizes(boxes.shape)}: give one per box."
            )
        last = np.array([track.box for track in self.tracks]).reshape(-1, 4)
        same = np.array([track.label for track in self.tracks])[:, None] == labels  # (tracks, M)
        identities = np.full(len(boxes), -1, np.int64)
        for track in self.tracks:
            track.missed += 1
        for i, j in pairs(np.where(same, box_iou(last, boxes), 0), self.threshold):
            track = self.tracks[i]
            track.box, track.missed, identities[j] = boxes[j], 0, track.number
        self.tracks = [track for track in self.tracks if track.missed <= self.max_age]
        for j in np.flatnonzero(identities < 0).tolist():
            identities[j] = self.started
            self.tracks.append(Track(self.started, int(labels[j]), boxes[j]))
            self.started += 1
        return identities


def pairs(overlaps: Array, threshold: float) -> list[tuple[int, int]]:
    """Match rows and columns one to one where they overlap enough: as many as possible, with the largest sum."""
    from scipy.optimize import linear_sum_assignment  # imported late: it takes a while

    enough = overlaps >= threshold
    values = np.where(enough, len(overlaps) + overlaps, 0)  # one more pair counts more than all overlaps
    rows, columns = linear_sum_assignment(values, maximize=True)
    return [(int(i), int(j)) for i, j in zip(rows, columns, strict=True) if enough[i, j]]


Frame = tuple[Sequence[Hashable], Any]  # the identities of M objects, and their boxes (M, 4)


def mota(truth: Sequence[Frame], found: Sequence[Frame], threshold: float = 0.5) -> dict[str, float]:
    """Multiple object tracking accuracy: 1 - (misses + false positives + switches) / objects, over all frames.

    Bernardin and Stiefelhagen, "Evaluating Multiple Object Tracking Performance: The CLEAR MOT Metrics" (2008), section
    2.1. In each frame, an object keeps the identity that it had last, as long as the boxes still overlap enough. All
    other objects and boxes are matched anew, as many as possible. If an object then gets another identity than it had
    last, this is a switch; a hidden object may come back with its former one.

    Parameters
    ----------
    truth : sequence of (identities, boxes)
        For each frame, the identities of the M objects in it, such as integers, and their boxes (M, 4). M may be 0.
    found : sequence of (identities, boxes)
        For each frame, what a tracker says. Its identities need not be those of ``truth``, but consistent.
    threshold : float
        The smallest IoU of an object and the box found for it, greater than 0.

    Returns
    -------
    dict
        ``MOTA``, at most 1, which may be negative, and NaN if there are no objects; ``id_switches``, ``misses``,
        ``false_positives`` and ``objects``, which are counts over all frames.

    Raises
    ------
    ShapeError
        If the numbers of frames differ, or those of identities and boxes in a frame.
    ArgumentError
        If a box is invalid, or an identity occurs twice in a frame. To score several classes, call this once for each.

    Examples
    --------
    >>> truth = [(["car"], [[0, 0, 10, 10]]), (["car"], [[1, 0, 11, 10]])]
    >>> found = [([7], [[0, 0, 10, 10]]), ([8], [[1, 0, 11, 10]])]
    >>> mota(truth, found)
    {'MOTA': 0.5, 'id_switches': 1, 'misses': 0, 'false_positives': 0, 'objects': 2}
    """
    checks.number("mota", threshold, "threshold", lambda value: 0 < value <= 1, "lie in (0, 1]")
    if len(truth) != len(found):
        raise ShapeError(f"mota: truth has {len(truth)} frames, but found has {len(found)}; give empty frames, too.")
    partner: dict[Hashable, Hashable] = {}  # the last identity of each object
    owner: dict[Hashable, Hashable] = {}  # the last object with each identity
    switches = misses = false_positives = objects = 0
    for number, (real, seen) in enumerate(zip(truth, found, strict=True)):
        ids, boxes = _frame("truth", number, real)
        names, guesses = _frame("found", number, seen)
        overlaps = box_iou(boxes, guesses)  # (objects, guesses)
        kept = [
            (i, names.index(partner[one]))
            for i, one in enumerate(ids)
            if one in partner and partner[one] in names and owner[partner[one]] == one
        ]
        kept = [(i, j) for i, j in kept if overlaps[i, j] >= threshold]
        for i, j in kept:
            overlaps[i], overlaps[:, j] = 0, 0
        matches = kept + pairs(overlaps, threshold)
        for i, j in matches:
            switches += partner.get(ids[i], names[j]) != names[j]
            partner[ids[i]], owner[names[j]] = names[j], ids[i]
        objects += len(ids)
        misses += len(ids) - len(matches)
        false_positives += len(names) - len(matches)
    wrong = switches + misses + false_positives
    return {
        "MOTA": 1 - wrong / objects if objects else float("nan"),
        "id_switches": switches, "misses": misses, "false_positives": false_positives, "objects": objects,
    }  # fmt: skip


def _frame(name: str, number: int, frame: Frame) -> tuple[list[Hashable], Array]:
    where = f"frame {number} of {name}"
    identities, boxes = list(frame[0]), box_rows("mota", f"the boxes in {where}", frame[1])
    if len(identities) != len(boxes):
        raise ShapeError(f"mota: {where} has {len(identities)} identities, but {len(boxes)} boxes; give one per box.")
    if len(set(identities)) < len(identities):
        raise ArgumentError(f"mota: an identity occurs twice in {where}: {identities}; each object needs its own.")
    return identities, boxes
