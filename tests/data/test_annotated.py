"""Objects, and splits of images with boxes or masks: what they hold, and what they refuse."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minires.data.annotated import DetectionSplit, Objects, OnDemand, SegmentationSplit
from minires.errors import DataError


def test_objects_have_fixed_dtypes():
    objects = Objects([[1, 2, 3.5, 4], [0, 0, 0, 7]], np.array([3, 0], np.uint8), [False, True])
    assert objects.boxes.dtype == np.float32 and objects.labels.dtype == np.int64 and objects.crowd.dtype == bool
    np.testing.assert_array_equal(objects.boxes, [[1, 2, 3.5, 4], [0, 0, 0, 7]])
    assert objects.labels.tolist() == [3, 0] and objects.crowd.tolist() == [False, True] and len(objects) == 2
    second = objects.chosen(np.array([False, True]))
    assert second.boxes.tolist() == [[0, 0, 0, 7]] and second.labels.tolist() == [0] and second.crowd.tolist() == [True]
    assert objects.chosen(np.array([1, 0])).labels.tolist() == [0, 3]


def test_no_objects():
    for none in (Objects([], []), Objects(np.zeros((0, 4)), np.zeros(0, np.int64), [])):
        assert none.boxes.shape == (0, 4) and none.labels.shape == (0,) and none.crowd.shape == (0,)
        assert (none.boxes.dtype, none.labels.dtype, none.crowd.dtype) == (np.float32, np.int64, bool)


@pytest.mark.parametrize(
    ("boxes", "labels", "crowd", "message"),
    [
        ([1, 2, 3, 4], [0], None, r"boxes is 4; it must be \(M, 4\)"),
        ([[1, 2, 3]], [0], None, "boxes is 1x3"),
        ([[0, 0, 1, 1], [3, 0, 2, 1]], [0, 0], None, "box 1 is .*x1 <= x2"),
        ([[0, 5, 1, 4]], [0], None, "box 0 is"),
        ([[0, 0, np.nan, 4]], [0], None, "box 0 is .*finite"),
        ([[0, 0, 1e300, 4]], [0], None, "box 0 is .*finite"),
        ([["a", 0, 1, 4]], [0], None, "not an array of numbers"),
        ([[0, 0, 1, 4], [0]], [0], None, "not an array of numbers"),
        ([[0, 0, 1, 4]], [], None, r"labels are int64 \(0\) and boxes are 1x4"),
        ([[0, 0, 1, 4]], [-1], None, "an integer >= 0 for each box"),
        ([[0, 0, 1, 4]], [0.5], None, "labels are float64"),
        ([[0, 0, 1, 4]], [True], None, "labels are bool"),
        ([[0, 0, 1, 4]], [[0]], None, "labels are int64"),
        ([[0, 0, 1, 4]], [0], [0], "crowd is int64"),
        ([[0, 0, 1, 4]], [0], [True, False], r"crowd is bool \(2\)"),
    ],
)
def test_wrong_objects_are_one_sentence(boxes, labels, crowd, message):
    with pytest.raises(DataError, match=message) as caught:
        Objects(boxes, labels, crowd)
    assert str(caught.value).startswith("Objects: ") and str(caught.value).endswith(".")


numbers = st.floats() | st.integers(-5, 5)


@given(st.lists(st.lists(numbers, min_size=3, max_size=5), max_size=3), st.lists(numbers, max_size=3))
def test_anything_else_is_refused_by_name(boxes, labels):
    try:
        objects = Objects(boxes, labels)
    except DataError:
        return
    assert len(objects) == len(boxes) == len(labels)
    assert np.isfinite(objects.boxes).all() and (objects.boxes[:, :2] <= objects.boxes[:, 2:]).all()


def test_a_split_for_detection(rng):
    images = rng.integers(0, 256, (3, 1, 5, 7), dtype=np.uint8)
    objects = [Objects([[0, 0, 2, 3]], [4]), Objects([], []), Objects([[1, 1, 2, 2], [0, 0, 5, 5]], [1, 4])]
    split = DetectionSplit(images, objects, ids=(9, 5, 7))
    assert split.task == "detection" and len(split) == 3 and split.image_shape == (1, 5, 7)
    assert split.labels.tolist() == [4, 1, 4] and split.labels.dtype == np.int64
    some, targets = split[np.array([2, 0])]
    np.testing.assert_array_equal(some, images[[2, 0]])
    assert targets == [objects[2], objects[0]]
    assert repr(split) == "DetectionSplit(3 images of 1x5x7, 3 objects)"


def test_a_split_whose_images_are_made_when_needed():
    made = []

    def make(number):
        made.append(number)
        return np.full((3, 4, 6), number, np.uint8)

    images = OnDemand((3, 3, 4, 6), make)
    split = SegmentationSplit(images, OnDemand((3, 4, 6), lambda number: np.full((4, 6), 9 - number)), np.array([7, 8]))
    assert not made and split.labels.tolist() == [7, 8] and split.image_shape == (3, 4, 6)
    some, masks = split[np.array([2, 1])]
    assert made == [2, 1] and some.dtype == masks.dtype == np.uint8
    assert (some[0] == 2).all() and (some[1] == 1).all() and (masks[0] == 7).all() and (masks[1] == 8).all()
    assert DetectionSplit(images, [Objects([[0, 0, 1, 1]], [0])] * 3).image_shape == (3, 4, 6)


def test_what_splits_refuse():
    images, masks = np.zeros((2, 3, 4, 6), np.uint8), np.zeros((2, 4, 6), np.uint8)
    one, none = Objects([[0, 0, 1, 1]], [0]), Objects([], [])
    for call, message in (
        (lambda: DetectionSplit(images.astype(float), [one, one]), r"images are float64 \(2x3x4x6\)"),
        (lambda: DetectionSplit(images[0], [one]), "images are uint8"),
        (lambda: DetectionSplit(images[:0], []), "all sizes >= 1"),
        (lambda: DetectionSplit([1, 2], [one, one]), "images are list"),
        (lambda: DetectionSplit(images, [one]), "2 images but 1 objects"),
        (lambda: DetectionSplit(images, [one, one], ids=(1,)), "2 images but 1 ids"),
        (lambda: DetectionSplit(images, [one, [0, 0, 1, 1]]), "objects holds list"),
        (lambda: DetectionSplit(images, [none, none]), "none of the 2 images has an object"),
        (lambda: DetectionSplit(images, [none, Objects([[0, 0, 1, 1]], [0], [True])]), "object that is not a crowd"),
        (lambda: DetectionSplit(images, [one, Objects([[6, 0, 9, 1]], [0])]), r"image 1 has the box \[6.0, .* outside"),
        (lambda: DetectionSplit(images, [Objects([[1, -3, 2, 0]], [0]), one]), "image 0 has the box .* 6 wide and 4 h"),
        (lambda: SegmentationSplit(images, masks.astype(int)), "masks are int64"),
        (lambda: SegmentationSplit(images, masks[:, :3]), r"masks are uint8 \(2x3x6\) for images 2x3x4x6"),
        (lambda: SegmentationSplit(images, masks[:1]), "a class number for each pixel"),
        (lambda: SegmentationSplit(images, None), "masks are NoneType"),
        (lambda: SegmentationSplit(images, masks + np.uint8(255)), "all pixels of the masks are 255"),
    ):
        with pytest.raises(DataError, match=message):
            call()
    masks[0, 0] = 255
    assert SegmentationSplit(images, masks).labels.tolist() == [0], "ignored pixels have no class"
