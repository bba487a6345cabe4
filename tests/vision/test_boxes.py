"""Overlap and suppression of boxes, held to their definitions pixel by pixel."""

import numpy as np
import pytest

import minires as mr
from minires import vision


def random_boxes(rng, n, size=12):
    """Boxes of whole pixels, some of them without an area."""
    begin = rng.integers(0, size, (n, 2))
    return np.concatenate([begin, np.minimum(begin + rng.integers(0, size, (n, 2)), size)], axis=1).astype(float)


def pixels(box, size=12):
    """Which pixels a box covers."""
    x1, y1, x2, y2 = box.astype(int)
    covered = np.zeros((size, size), bool)
    covered[y1:y2, x1:x2] = True
    return covered


def test_iou_counts_shared_pixels(rng):
    a, b = random_boxes(rng, 20), random_boxes(rng, 30)
    iou = vision.box_iou(a, b)
    for i, one in enumerate(map(pixels, a)):
        for j, other in enumerate(map(pixels, b)):
            union = (one | other).sum()
            assert iou[i, j] == pytest.approx((one & other).sum() / union if union else 0, abs=1e-15)
    assert vision.box_iou([], b).shape == (0, 30) and vision.box_iou(a, np.zeros((0, 4))).shape == (20, 0)
    np.testing.assert_array_equal(vision.box_iou(mr.tensor(a), b), iou)


def suppress_one_by_one(boxes, scores, threshold):
    """Keep a box if no kept box of a higher score, or the same score and a smaller index, overlaps it too much."""
    kept = []
    for i in sorted(range(len(boxes)), key=lambda i: (-scores[i], i)):
        if all(vision.box_iou(boxes[[i]], boxes[[j]])[0, 0] <= threshold for j in kept):
            kept.append(i)
    return kept


@pytest.mark.parametrize("threshold", [0.0, 0.3, 0.5, 1.0])
def test_nms_keeps_what_its_definition_keeps(threshold, rng):
    for n in (0, 1, 2, 40):
        boxes, scores = random_boxes(rng, n), rng.integers(0, 5, n) / 4  # many scores are equal
        kept = vision.nms(boxes, scores, threshold)
        assert kept.dtype == np.int64 and kept.tolist() == suppress_one_by_one(boxes, scores, threshold)


def test_an_overlap_of_exactly_the_threshold_is_allowed():
    boxes = [[0, 0, 10, 10], [0, 0, 10, 5]]
    assert vision.nms(boxes, [1, 0.5], 0.5).tolist() == [0, 1]
    assert vision.nms(boxes, [1, 0.5], np.nextafter(0.5, 0)).tolist() == [0]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: vision.box_iou([1, 2, 3, 4], []), "a is 4, but must be"),
        (lambda: vision.box_iou([], [[1, 2, 3]]), "b is 1x3, but must be"),
        (lambda: vision.box_iou([[0, 0, 1, np.nan]], []), "a contains NaN"),
        (lambda: vision.box_iou([[5, 0, 1, 1]], []), "box 0 of a is .* convert boxes x, y, width, height"),
        (lambda: vision.box_iou([["a", 0, 1, 1]], []), "a is not an array of numbers"),
        (lambda: vision.nms([[0, 0, 1, 1]], [1, 2], 0.5), "scores is 2, but boxes is 1x4"),
        (lambda: vision.nms([[0, 0, 1, 1]], [np.inf], 0.5), "scores contains NaN or infinity"),
        (lambda: vision.nms([[0, 0, 1, 1]], [1], 1.5), "threshold"),
        (lambda: vision.box_iou([[0, 0, 1, 1j]], []), "a is not an array of numbers"),
    ],
)
def test_what_is_no_box_is_refused(call, message):
    with pytest.raises(mr.errors.MiniresError, match=message):
        call()
