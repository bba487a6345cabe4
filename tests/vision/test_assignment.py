"""Which location is responsible for which object, one location at a time, and the loss at its edges."""

import numpy as np
import pytest
from golden.make_fcos import STRIDES, boxes_of, places
from hypothesis import given
from hypothesis import strategies as st
from test_fcos import GOLDEN, objects

import minires as mr
from minires import vision
from minires.vision.assignment import centerness, decode, distances, locations


def owner(point, stride, limits, boxes, crowd):
    """The number of the object that one location is responsible for, or -1, by the rules one after the other."""
    (x, y), best, smallest = point, -1, np.inf
    for number, (x1, y1, x2, y2) in enumerate(boxes.astype(float)):
        sides = x - x1, y - y1, x2 - x, y2 - y
        near = max(abs(x - (x1 + x2) / 2), abs(y - (y1 + y2) / 2)) < 1.5 * stride
        area = (x2 - x1) * (y2 - y1)
        if not crowd[number] and near and min(sides) > 0 and limits[0] < max(sides) < limits[1] and area < smallest:
            best, smallest = number, area
    return best


def owners(of_image, size, strides, offset=0.5):
    """The same for all locations, in order."""
    points, steps, _ = places(size, strides, offset)
    limits = [(4 * s if s != strides[0] else 0, 8 * s if s != strides[-1] else np.inf) for s in steps]
    return [owner(*each, of_image.boxes, of_image.crowd) for each in zip(points, steps, limits, strict=True)]


def test_assignment_is_torchvisions():
    for number, expected in enumerate(GOLDEN["assign"]):
        found = vision.assign(objects(GOLDEN[f"assign_boxes{number}"]), locations((256, 192), STRIDES))
        np.testing.assert_array_equal(found, expected)
    assert set(GOLDEN["assign"].ravel()) == set(range(-1, 8))


@pytest.mark.parametrize(("size", "strides"), [((40, 56), (4, 8, 16)), ((33, 20), (8,)), ((64, 96), (16, 32))])
def test_assignment_keeps_to_its_rules(size, strides, rng):
    random = np.random.RandomState(0)
    for count in (0, 1, 2, 7):
        boxes = boxes_of(random, count, size)
        of_image = objects(boxes, crowd=rng.random(count) < 0.3)
        found = vision.assign(of_image, locations(size, strides))
        assert found.dtype == np.int64 and found.tolist() == owners(of_image, size, strides)


def test_a_largest_side_at_the_end_of_a_range_belongs_to_neither_map():
    places_of = locations((128, 128), (8, 16))
    at = np.flatnonzero((places_of.points == (60, 60)).all(axis=1))  # of the fine map
    for reach, expected in ((63.875, 0), (64, -1), (64.125, -1)):
        box = [60 - reach, 60 - 4, 60 + 64 - 8, 60 + 4]
        assert vision.assign(objects([[*box[:2], 60 + reach, box[3]]]), places_of)[at] == expected
    coarse = np.flatnonzero((places_of.points == (56, 56)).all(axis=1))
    for reach, expected in ((63.875, -1), (64, -1), (64.125, 0)):
        found = vision.assign(objects([[56 - reach, 52, 56 + reach, 60]]), places_of)[coarse]
        assert found == expected


def test_the_smallest_object_has_the_location_and_the_first_of_equal_ones():
    here = locations((32, 32), (8,))
    at = np.flatnonzero((here.points == (12, 12)).all(axis=1))
    large, small, same = [0, 0, 24, 24], [4, 4, 20, 20], [2, 6, 18, 22]
    for boxes, expected in (([large, small, same], 1), ([same, large, small], 0), ([large], 0), ([small] * 3, 0)):
        assert vision.assign(objects(boxes), here)[at] == expected
    assert vision.assign(objects([large, small], crowd=[False, True]), here)[at] == 0


def test_what_no_location_is_responsible_for():
    here = locations((32, 32), (8, 16))
    for boxes in ([], [[4, 4, 4, 20]], [[5, 5, 11, 11]], [[4, 4, 12, 11]], [[-40, -40, -8, -8]]):
        assert (vision.assign(objects(boxes), here) == -1).all(), boxes
    assert (vision.assign(objects([[0, 0, 32, 32]], crowd=[True]), here) == -1).all()


def test_decoding_inverts_distances_and_centerness_is_its_equation(rng):
    points, strides = rng.uniform(10, 20, (6, 2)), rng.choice([4.0, 8.0], 6)
    boxes = np.concatenate([rng.uniform(0, 9, (6, 2)), rng.uniform(21, 40, (6, 2))], axis=1)
    sides = distances(points, boxes)
    for (x, y), box, side, value in zip(points, boxes, sides, centerness(sides), strict=True):
        left, top, right, bottom = x - box[0], y - box[1], box[2] - x, box[3] - y
        np.testing.assert_allclose(side, [left, top, right, bottom])
        across, down = min(left, right) / max(left, right), min(top, bottom) / max(top, bottom)
        assert value == pytest.approx((across * down) ** 0.5)
    np.testing.assert_allclose(decode(sides / strides[:, None], points, strides), boxes)
    as_tensors = decode(mr.tensor((sides / strides[:, None]).astype("f")), points, strides)
    assert as_tensors.dtype == "float32"
    np.testing.assert_allclose(as_tensors.numpy(), boxes, rtol=1e-5)


def test_locations_are_shared_and_cannot_be_changed():
    first = locations((16, 24), (8, 16))
    assert first is locations((16, 24), (8, 16)) and first is not locations((16, 24), (8, 16), 0)
    with pytest.raises(ValueError, match="read-only"):
        first.points[0] = 0


BOXES = [[4.0, 2, 30, 28], [20, 12, 26, 20]]


def outputs(rng, images=2, size=(32, 40), strides=(8, 16), classes=3):
    length = len(places(size, strides)[0])
    sides = np.abs(rng.standard_normal((images, length, 4)))
    arrays = rng.standard_normal((images, length, classes)), sides, rng.standard_normal((images, length))
    return [mr.tensor(array, requires_grad=True) for array in arrays], locations(size, strides)


def loss_one_by_one(logits, sides, central, objects_of, size, strides):
    """The three parts of the loss, summed over one location and class after the other."""
    points, steps, _ = places(size, strides)
    parts, positives = np.zeros(3), 0
    for n, of_image in enumerate(objects_of):
        for at, own in enumerate(owners(of_image, size, strides)):
            for k, x in enumerate(logits[n, at]):
                p = 1 / (1 + np.exp(-x))
                if own >= 0 and of_image.labels[own] == k:
                    parts[0] -= 0.25 * (1 - p) ** 2 * np.log(p)
                else:
                    parts[0] -= 0.75 * p**2 * np.log(1 - p)
            if own < 0:
                continue
            positives += 1
            (x, y), (left, top, right, bottom) = points[at], sides[n, at] * steps[at]
            a, b = np.array([x - left, y - top, x + right, y + bottom]), of_image.boxes[own].astype(float)
            width, height = np.minimum(a, b)[2:] - np.maximum(a, b)[:2]
            shared = max(width, 0) * max(height, 0)
            union = np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2]) - shared
            hull = np.prod(np.maximum(a, b)[2:] - np.minimum(a, b)[:2])
            parts[1] += 1 - shared / union + (hull - union) / hull
            sides_of = np.array([x - b[0], y - b[1], b[2] - x, b[3] - y])
            t = np.sqrt(min(sides_of[::2]) / max(sides_of[::2]) * min(sides_of[1::2]) / max(sides_of[1::2]))
            p = 1 / (1 + np.exp(-central[n, at]))
            parts[2] -= t * np.log(p) + (1 - t) * np.log(1 - p)
    return parts / max(1, positives)


def test_the_loss_is_the_sum_over_locations(rng):
    batch = [objects(BOXES, [2, 0]), objects([])]
    answers, here = outputs(rng)
    losses = vision.fcos_loss(answers, batch, here)
    expected = loss_one_by_one(*(x.numpy() for x in answers), batch, (32, 40), (8, 16))
    np.testing.assert_allclose([loss.item() for loss in losses[1:]], expected, rtol=1e-6)
    assert losses.total.item() == pytest.approx(expected.sum(), rel=1e-6)
    assert (vision.assign(batch[0], here) >= 0).sum() >= 4


@pytest.mark.parametrize("boxes", [[], [[4, 4, 4, 20]]])
def test_a_batch_without_objects_has_gradients_of_zero_for_boxes_and_centerness(boxes, rng):
    answers, here = outputs(rng, images=1)
    losses = vision.fcos_loss(answers, [objects(boxes)], here)
    losses.total.backward()
    assert losses.boxes.item() == losses.centerness.item() == 0 < losses.classes.item()
    assert (answers[0].grad.numpy() > 0).all()
    assert not answers[1].grad.numpy().any() and not answers[2].grad.numpy().any()


def test_boxes_without_an_area_have_finite_gradients(rng):
    answers, here = outputs(rng, images=1)
    answers[1] = mr.tensor(np.zeros(answers[1].shape), requires_grad=True)  # where the ReLU is 0
    losses = vision.fcos_loss(answers, [objects(BOXES, [0, 1])], here)
    losses.total.backward()
    assert losses.boxes.item() > 0.5 and all(np.isfinite(x.grad.numpy()).all() for x in answers)


def test_the_loss_has_second_derivatives(rng):
    answers, here = outputs(rng, images=1, size=(16, 24), strides=(8,))
    batch = [objects([[2, 1, 15, 14], [10, 2, 22, 12]], [2, 0])]
    assert (vision.assign(batch[0], here) >= 0).sum() > 2
    assert mr.gradcheck(lambda *x: vision.fcos_loss(x, batch, here).total, answers, order=2)


@pytest.mark.parametrize(
    ("batch", "size", "message"),
    [
        ([objects(BOXES)], (32, 40), "outputs of 2 images, but objects of 1"),
        ([objects(BOXES)] * 2, (32, 32), "26 locations, but places has 20"),
        ([objects(BOXES, [0, 3])] * 2, (32, 40), "an object has label 3, but the model has 3 classes, 0 to 2"),
        ([np.array(BOXES)] * 2, (32, 40), "objects holds ndarray; it must hold an Objects for each image"),
    ],
)
def test_what_does_not_fit_is_refused(batch, size, message, rng):
    answers, _ = outputs(rng)
    with pytest.raises(mr.errors.MiniresError, match=message):
        vision.fcos_loss(answers, batch, locations(size, (8, 16)))


def test_what_is_not_the_output_of_a_detector_is_refused(rng):
    (logits, sides, central), _ = outputs(rng)
    places = locations((32, 40), (8, 16))
    for wrong, message in (
        ((logits, sides), "2x26x3, 2x26x4; they must be the three of an FCOS"),
        ((sides, logits, central), "2x26x4, 2x26x3, 2x26"),
        ((logits, sides, central[:1]), "2x26x3, 2x26x4, 1x26"),
        (logits, "outputs are Tensor"),
        (None, "outputs are NoneType"),
    ):
        with pytest.raises(mr.errors.ShapeError, match=message):
            vision.fcos_loss(wrong, [objects(BOXES)] * 2, places)
        with pytest.raises(mr.errors.ShapeError, match=message):
            vision.detect(wrong, (32, 40), places)
    with pytest.raises(mr.errors.ArgumentError, match=r"places is NoneType; it must be model\.locations"):
        vision.detect((logits, sides, central), (32, 40), None)


def test_locations_of_impossible_maps_are_refused():
    assert locations(32, [8, 16]) is locations((32, 32), (8, 16))
    for strides in ((), (0,), (-4, 8), (8, 4), (8, 8), 8, ("8",), (8.5,)):
        with pytest.raises(mr.errors.ArgumentError, match="it must be integers >= 1, from fine to coarse"):
            locations((32, 32), strides)
    for size in ((0, 32), (1.5, 32), "32"):
        with pytest.raises(mr.errors.ArgumentError, match=r"image_size is .*; it must be one or two integers >= 1"):
            locations(size, (8,))


@given(st.lists(st.tuples(*[st.integers(-8, 40)] * 4), max_size=4), st.sampled_from([(8,), (4, 8), (2, 4, 8)]))
def test_any_boxes_are_assigned(corners, strides):
    of_image = objects([(min(a, c), min(b, d), max(a, c), max(b, d)) for a, b, c, d in corners])
    found = vision.assign(of_image, locations((32, 24), strides))
    assert found.tolist() == owners(of_image, (32, 24), strides)


def test_inputs_are_not_changed():
    of_image = objects(BOXES, [0, 1])
    before = {name: array.copy() for name, array in vars(of_image).items()}
    first = vision.assign(of_image, locations((32, 40), (8,)))
    np.testing.assert_array_equal(first, vision.assign(of_image, locations((32, 40), (8,))))
    for name, array in before.items():
        np.testing.assert_array_equal(getattr(of_image, name), array)
