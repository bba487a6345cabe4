"""COCO's average precision and recall of detections, as pycocotools computes them.

A detection is right if it overlaps an object of its class that no better detection has taken. With the detections of a
class in the order of their scores, precision is the share of right ones among the first n, and recall the share of
objects that they found. Average precision is the mean precision at 101 recalls from 0 to 1, over all classes and over
ten thresholds for how large the overlap must be.

Objects may not count: crowds (one box around many objects), and in the scores by size, those of another size. A
detection that takes one of them is neither right nor wrong.

(https://cocodataset.org/#detection-eval; code: cocoapi, PythonAPI/pycocotools/cocoeval.py.)
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..core.backend import Array
from ..errors import DataError, listed

THRESHOLDS = np.linspace(0.5, 0.95, 10)  # least IoU of a detection and its object
RECALLS = np.linspace(0, 1, 101)
AREAS = {"": (0, 1e10), "s": (0, 32**2), "m": (32**2, 96**2), "l": (96**2, 1e10)}  # in pixels, both ends included
MOST = 100  # detections of a class in an image that count


class _Boxes(NamedTuple):
    """The objects, or the detections, of one class in one image."""

    boxes: Array  # (N, 4): x, y, width, height
    areas: Array  # (N,)
    crowds: Array  # (N,) bool: whether a box surrounds many objects
    scores: Array  # (N,)


class _Matches(NamedTuple):
    """What became of the detections of one class in one image, or in all images."""

    scores: Array  # (D,)
    right: Array  # (10, D) bool, for each threshold
    counts: Array  # (10, D) bool: whether the detection is right or wrong, and not neither
    objects: int  # that count


def coco_map(detections: Sequence[Mapping[str, Any]], ground_truth: Mapping[str, Any]) -> dict[str, float]:
    """Score detections as the COCO challenge does.

    Parameters
    ----------
    detections : sequence of dict
        COCO's results: ``image_id``, ``category_id``, ``bbox`` (x, y, width, height) and ``score`` of each.
    ground_truth : dict
        COCO's instances: ``images`` and ``categories``, each with an ``id``, and ``annotations`` with ``image_id``,
        ``category_id``, ``bbox`` and optionally ``area`` (of the mask; by default, of the box) and ``iscrowd``.

    Returns
    -------
    dict
        AP (over IoUs from 0.5 to 0.95), AP50 and AP75 (at one IoU); APs, APm and APl (of small, medium and large
        objects); AR1, AR10 and AR100 (recall with so many detections of a class in an image), ARs, ARm and ARl. From 0
        to 1, or -1 if there are no such objects.

    Raises
    ------
    DataError
        If a field is missing or not a number, a box is not finite or has a negative side, or an image or category is
        unknown.

    Examples
    --------
    >>> truth = {"images": [{"id": 7}], "categories": [{"id": 1}]}
    >>> truth["annotations"] = [{"image_id": 7, "category_id": 1, "bbox": [10, 10, 40, 40]}]
    >>> found = [{"image_id": 7, "category_id": 1, "bbox": [10, 10, 40, 40], "score": 0.9}]
    >>> scores = coco_map(found, truth)
    >>> scores["AP"], scores["APm"], scores["APl"]
    (1.0, 1.0, -1.0)
    """
    images, categories = (_ids(ground_truth, kind) for kind in ("images", "categories"))
    objects = _grouped("annotation", ground_truth.get("annotations", ()), images, categories)
    found = _grouped("detection", detections, images, categories)
    pairs = {
        c: [(objects[i, c], found[i, c]) for i in images if (i, c) in objects or (i, c) in found] for c in categories
    }
    overlaps = {c: [_overlaps(*pair) for pair in pairs[c]] for c in categories}
    scores: dict[str, float] = {}
    precisions, recalls = {}, {}
    for size, area in AREAS.items():
        matches = [
            [_match(*pair, iou, area) for pair, iou in zip(pairs[c], overlaps[c], strict=True)] for c in categories
        ]
        for most in (1, 10, MOST):
            curves = [_curve(_joined(images_of_class, most)) for images_of_class in matches]
            precisions[size, most] = np.array([precision for precision, _ in curves])  # (classes, 10, 101)
            recalls[size, most] = np.array([recall for _, recall in curves])  # (classes, 10)
    everything = precisions["", MOST].reshape(-1, len(THRESHOLDS), len(RECALLS))
    scores["AP"], scores["AP50"], scores["AP75"] = map(_mean, (everything, everything[:, 0], everything[:, 5]))
    scores |= {f"AP{size}": _mean(precisions[size, MOST]) for size in "sml"}
    scores |= {f"AR{most}": _mean(recalls["", most]) for most in (1, 10, MOST)}
    scores |= {f"AR{size}": _mean(recalls[size, MOST]) for size in "sml"}
    return scores


def _mean(values: Array) -> float:
    """The mean of the values that exist: classes without objects have -1."""
    known = values[values > -1]
    return float(known.mean()) if known.size else -1.0


def _ids(ground_truth: Mapping[str, Any], kind: str) -> list[Any]:
    try:
        return sorted({entry["id"] for entry in ground_truth[kind]})
    except (KeyError, TypeError):
        raise DataError(
            f"coco_map: ground_truth needs a list {kind!r} of dictionaries, each with an 'id', all numbers or all text."
        ) from None


def _grouped(
    what: str, entries: Sequence[Mapping[str, Any]], images: Sequence[Any], categories: Sequence[Any]
) -> dict[tuple[Any, Any], _Boxes]:
    """Check annotations or detections, and sort them by image and category; detections also by score."""
    groups: dict[tuple[Any, Any], list[tuple[float, ...]]] = defaultdict(list)
    known_images, known_categories = set(images), set(categories)
    for number, entry in enumerate(entries):
        try:
            image, category = entry["image_id"], entry["category_id"]
            box = [float(side) for side in entry["bbox"]]
            score = float(entry["score"]) if what == "detection" else 0.0
            area = float(entry["area"]) if "area" in entry and what == "annotation" else math.prod(box[2:])
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(
                f"coco_map: {what} {number} has a missing or unreadable field ({type(error).__name__}: {error}); "
                "it needs image_id, category_id, bbox [x, y, width, height]" + ", score." * (what == "detection")
            ) from None
        if len(box) != 4 or not all(map(math.isfinite, (*box, score, area))) or min(box[2:]) < 0:
            raise DataError(
                f"coco_map: {what} {number} has bbox {box}, score {score} and area {area}; they must be finite, and "
                "bbox x, y, width and height, with sides of at least 0."
            )
        for kind, value, known in (("image", image, known_images), ("category", category, known_categories)):
            if isinstance(value, (list, dict)) or value not in known:
                raise DataError(
                    f"coco_map: {what} {number} has {kind}_id {value!r}, which ground_truth does not list; it has "
                    f"{listed([repr(one) for one in sorted(known)])}."
                )
        groups[image, category].append((*box, area, float(bool(entry.get("iscrowd", 0))), score))
    nothing = np.zeros((0, 7))
    tables: dict[Any, _Boxes] = defaultdict(lambda: _boxes(nothing))
    for key, rows in groups.items():
        table = np.array(rows)
        tables[key] = _boxes(table[np.argsort(-table[:, 6], kind="stable")][:MOST] if what == "detection" else table)
    return tables


def _boxes(table: Array) -> _Boxes:
    return _Boxes(table[:, :4], table[:, 4], table[:, 5] == 1, table[:, 6])


def _overlaps(objects: _Boxes, found: _Boxes) -> Array:
    """The IoU of each detection (row) and object; for a crowd, the share of the detection inside of it."""
    begin, end = (
        limit(
            found.boxes[:, None, :2] + of * found.boxes[:, None, 2:], objects.boxes[:, :2] + of * objects.boxes[:, 2:]
        )
        for limit, of in ((np.maximum, 0), (np.minimum, 1))
    )  # (D, G, 2)
    sides = end - begin
    shared = np.where((sides > 0).all(axis=2), sides[..., 0] * sides[..., 1], 0)  # (D, G)
    own, theirs = (boxes[:, 2] * boxes[:, 3] for boxes in (found.boxes, objects.boxes))
    union = np.where(objects.crowds, own[:, None], own[:, None] + theirs - shared)
    return np.divide(shared, union, out=np.zeros_like(shared), where=shared > 0)


def _match(objects: _Boxes, found: _Boxes, overlaps: Array, area: tuple[float, float]) -> _Matches:
    """Let each detection, highest score first, take the object that it overlaps most, for each threshold."""
    least, most = area
    ignored = objects.crowds | (objects.areas < least) | (objects.areas > most)
    order = np.argsort(ignored, kind="stable")  # objects that count first
    ignored, crowds, overlaps = ignored[order], objects.crowds[order], overlaps[:, order]
    right = np.zeros((len(THRESHOLDS), len(found.scores)), bool)
    neither = np.tile((found.areas < least) | (found.areas > most), (len(THRESHOLDS), 1))
    for t, threshold in enumerate(THRESHOLDS):
        taken = np.zeros(len(ignored), bool)
        for d in range(len(found.scores)):
            best, chosen = min(threshold, 1 - 1e-10), -1
            for g in range(len(ignored)):
                if taken[g] and not crowds[g]:
                    continue
                if chosen >= 0 and ignored[g] and not ignored[chosen]:
                    break  # one that counts is better than any that does not
                if overlaps[d, g] >= best:
                    best, chosen = overlaps[d, g], g
            if chosen >= 0:
                taken[chosen] = right[t, d] = True
                neither[t, d] = ignored[chosen]
    return _Matches(found.scores, right, ~neither, int(np.count_nonzero(~ignored)))


def _joined(matches: Sequence[_Matches], most: int) -> _Matches:
    """Join the images of a class, with at most ``most`` detections of each, and sort by score."""
    empty = np.zeros((len(THRESHOLDS), 0), bool)
    scores = np.concatenate([np.zeros(0), *(m.scores[:most] for m in matches)])
    order = np.argsort(-scores, kind="stable")
    right, counts = (
        np.concatenate([empty, *(table[:, :most] for table in tables)], axis=1)[:, order]
        for tables in ([m.right for m in matches], [m.counts for m in matches])
    )
    return _Matches(scores[order], right, counts, sum(m.objects for m in matches))


def _curve(matches: _Matches) -> tuple[Array, Array]:
    """Return precision (10, 101) at each threshold and recall, and the final recall (10,); -1 if no objects count."""
    precisions, finals = np.full((len(THRESHOLDS), len(RECALLS)), -1.0), np.full(len(THRESHOLDS), -1.0)
    if matches.objects == 0:
        return precisions, finals
    for t in range(len(THRESHOLDS)):
        right = np.cumsum(matches.right[t] & matches.counts[t], dtype=float)
        wrong = np.cumsum(~matches.right[t] & matches.counts[t], dtype=float)
        recall, precision = right / matches.objects, right / np.maximum(right + wrong, 1)
        precision = np.maximum.accumulate(precision[::-1])[::-1]  # the best at this recall or a higher one
        at = np.searchsorted(recall, RECALLS, side="left")
        precisions[t] = np.append(precision, 0.0)[np.minimum(at, len(precision))]
        finals[t] = recall[-1] if len(recall) else 0.0
    return precisions, finals
