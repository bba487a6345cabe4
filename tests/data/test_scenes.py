"""Drawn scenes: boxes and masks are exact, no object is invisible, and splits draw on demand from their own streams."""

import sys
import time
from itertools import islice

import numpy as np
import pytest

import minires as mr
from minires.data.annotated import Objects
from minires.data.scenes import LEAST_SEEN, SMALLEST, Footprint, Pose, Scene, clutter, footprint, pooled, scenes
from minires.data.shapes import CLASSES, PARTS, ellipse
from minires.errors import ArgumentError

MODULE = sys.modules["minires.data.scenes"]  # mr.data.scenes is the function


def some(count, *arguments, **options):
    return list(islice(scenes(*arguments, **options), count))


@pytest.mark.parametrize(("size", "difficulty"), [(32, 0), (64, 0.5), (97, 1)])
def test_boxes_are_the_smallest_around_what_is_visible(size, difficulty):
    for scene in some(25, size, difficulty):
        assert scene.image.shape == (3, size, size) and scene.image.dtype == np.uint8
        assert scene.instances.shape == (size, size) and scene.instances.dtype == np.uint8
        assert 1 <= len(scene.objects) <= 5 and not scene.objects.crowd.any()
        assert set(np.unique(scene.instances)) - {0} == set(range(1, len(scene.objects) + 1))
        for number, box in enumerate(scene.objects.boxes, start=1):
            rows, columns = np.nonzero(scene.instances == number)
            assert box.tolist() == [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]


def test_the_mask_holds_the_class_of_each_object():
    scene = Scene(
        np.zeros((3, 1, 4), np.uint8), Objects(np.ones((3, 4)), [4, 0, 2]), np.array([[0, 1, 3, 2]], np.uint8)
    )
    assert scene.mask.dtype == np.uint8 and scene.mask.tolist() == [[0, 5, 3, 1]]


def test_on_a_plain_background_the_mask_is_what_differs():
    """At difficulty 0 there is neither noise nor clutter, and no object hides another."""
    for scene in some(20, 64, 0):
        background = scene.image[:, :1, :1] if not scene.mask[0, 0] else scene.image[:, -1:, -1:]
        differs = (scene.image != background).any(axis=0)
        assert not ((scene.mask > 0) & ~differs).any()
        # A pixel of the edge, of which an object covers less than half, differs, too; it touches the mask.
        grown = np.pad(scene.mask > 0, 1)
        near = sum(np.roll(grown, (i, j), (0, 1)) for i in (-1, 0, 1) for j in (-1, 0, 1))[1:-1, 1:-1] > 0
        assert (differs & ~near).sum() <= 0.02 * differs.sum()


def test_the_same_seed_draws_the_same():
    first, again, other = some(6, 64, seed=4), some(4, 64, seed=4), some(4, 64, seed=5)
    for one, two in zip(first, again, strict=False):
        np.testing.assert_array_equal(one.image, two.image)
        np.testing.assert_array_equal(one.instances, two.instances)
        np.testing.assert_array_equal(one.objects.boxes, two.objects.boxes)
    assert all((one.image != two.image).any() for one, two in zip(first, other, strict=False))
    assert len({scene.image.tobytes() for scene in first}) == 6


def test_all_classes_and_numbers_of_objects_occur():
    everything = some(150, 64, 0.5)
    labels = np.concatenate([scene.objects.labels for scene in everything])
    assert (np.bincount(labels, minlength=5) > 0.1 * len(labels)).all()
    numbers = np.bincount([len(scene.objects) for scene in everything], minlength=6)
    assert numbers[0] == 0 and (numbers[1:] > 10).all()
    sides = np.concatenate([np.diff(scene.objects.boxes.reshape(-1, 2, 2), axis=1).max(axis=2) for scene in everything])
    assert 8 < sides.min() < 14 and 36 < sides.max() < 64


def test_hidden_objects_keep_their_share(monkeypatch):
    """The points of each object, hidden or not, are recorded when it is drawn."""
    drawn, paint = [], Footprint.paint

    def recorded(place, pixels, colour):
        whole = np.zeros(pixels.shape[:2], bool)
        whole[place.window] = place.whole
        drawn.append(whole)
        paint(place, pixels, colour)

    monkeypatch.setattr(Footprint, "paint", recorded)
    hidden = 0
    for scene in islice(scenes(64, 1, seed=2), 60):
        covered = drawn[12:]  # what was drawn before is clutter
        assert len(covered) == len(scene.objects)
        for number, whole in enumerate(covered):
            seen = whole & ~np.logical_or.reduce(covered[number + 1 :], axis=0)
            shown = scene.instances == number + 1
            assert (pooled(seen)[shown] >= 2).all() and (pooled(seen)[~shown] <= 2).all()
            share = seen.sum() / whole.sum()
            assert share >= LEAST_SEEN - 1e-9
            hidden += share < 0.8
        drawn.clear()
    assert hidden > 5, "some objects are partly hidden"


def test_a_pose_moves_turns_scales_and_mirrors():
    size = 60
    disc = [(ellipse((0.5, -0.25), 0.2, 0.1), 1.0)]  # right of and above the middle of the frame
    y, x = (np.indices((2 * size, 2 * size)) + 0.5) / 2

    def expected(middle_x, middle_y, angle):
        u = (x - middle_x) * np.cos(angle) + (y - middle_y) * np.sin(angle)
        v = (y - middle_y) * np.cos(angle) - (x - middle_x) * np.sin(angle)
        return (u / 4) ** 2 + (v / 2) ** 2 <= 1  # half axes 0.2 * 20 and 0.1 * 20 pixels

    for pose, points in (
        (Pose(30, 25, 20), expected(40, 20, 0)),
        (Pose(30, 25, 20, mirrored=True), expected(20, 20, 0)),
        (Pose(30, 25, 20, angle=np.pi / 2), expected(35, 35, np.pi / 2)),  # clockwise: right becomes down
        (Pose(58, 2, 20), expected(68, -3, 0)),  # outside of the image
    ):
        place = footprint(size, disc, pose)
        whole = np.zeros((2 * size, 2 * size), bool)
        whole[place.window] = place.whole
        np.testing.assert_array_equal(whole, points)


@pytest.mark.parametrize("label", range(len(CLASSES)))
def test_a_window_loses_nothing_of_an_object(label, rng):
    """The points outside of a window belong to no object: the same object in a larger image covers as many points."""
    for _ in range(5):
        state = rng.integers(1 << 30)
        pose = Pose(40, 40, 24, float(rng.uniform(-0.5, 0.5)), bool(rng.integers(2)))
        whole = footprint(80, PARTS[label](np.random.default_rng(state)), pose).whole
        assert not (whole[0].any() or whole[-1].any() or whole[:, 0].any() or whole[:, -1].any())


def test_points_are_pooled(rng):
    points = rng.integers(0, 9, (6, 4, 3))
    np.testing.assert_array_equal(pooled(points), points.reshape(3, 2, 2, 2, 3).sum(axis=(1, 3)))


def test_clutter_is_one_part(rng):
    assert {len(clutter(rng)) for _ in range(20)} == {1}


@pytest.mark.parametrize(("task", "classes"), [("detection", CLASSES), ("segmentation", ("background", *CLASSES))])
def test_the_data_sets(task, classes):
    dataset = mr.data.shapes(train=30, test=9, size=48, difficulty=0.3, seed=6, task=task)
    assert dataset.classes == classes and dataset.image_shape == (3, 48, 48)
    assert (len(dataset.train), len(dataset.test), dataset.train.task, dataset.test.task) == (30, 9, task, task)
    assert not dataset.train.kept, "nothing is drawn yet"
    chosen = np.array([7, 2])
    images, targets = dataset.train[chosen]
    assert sorted(dataset.train.kept) == [2, 7]
    expected = [some(8, 48, 0.3, 6)[number] for number in chosen]
    np.testing.assert_array_equal(images, [scene.image for scene in expected])
    if task == "detection":
        for found, scene in zip(targets, expected, strict=True):
            np.testing.assert_array_equal(found.boxes, scene.objects.boxes)
            np.testing.assert_array_equal(found.labels, scene.objects.labels)
    else:
        np.testing.assert_array_equal(targets, [scene.mask for scene in expected])
        assert targets.dtype == np.uint8
    np.testing.assert_array_equal(dataset.train[chosen][0], images, "again, from memory")
    assert dataset.train.labels.tolist() == list(range(len(classes)))
    assert dataset.augmentation.moves_targets
    seen = {image.tobytes() for image in dataset.train[np.arange(30)][0]}
    assert not any(image.tobytes() in seen for image in dataset.test[np.arange(9)][0])


def test_more_than_fits_into_memory_is_drawn_again(monkeypatch):
    monkeypatch.setattr(MODULE, "MOST_KEPT", 3 * 4 * 32 * 32)
    split = mr.data.shapes(train=10, test=1, size=32, task="detection").train
    first, _ = split[np.arange(10)]
    assert len(split.kept) == 3
    np.testing.assert_array_equal(split[np.arange(10)][0], first)


def test_the_size_of_scenes():
    assert mr.data.shapes(task="detection").image_shape == (3, 96, 96)
    assert mr.data.shapes(train=5, test=5).image_shape == (3, 32, 32)
    assert SMALLEST == 14


@pytest.mark.parametrize("options", [{"size": 31}, {"difficulty": -0.1}, {"seed": -1}, {"train": 0}, {"test": 0}])
def test_values_out_of_range(options):
    name = next(iter(options))
    with pytest.raises(ArgumentError, match=f"shapes: {name} is {options[name]}"):
        mr.data.shapes(**{"train": 5, "test": 5, **options}, task="detection")
    if name not in ("train", "test"):
        with pytest.raises(ArgumentError, match=f"shapes: {name} is"):
            scenes(**options)


def test_clips():
    dataset = mr.data.shapes(train=4, test=2, task="video")
    assert dataset.train.task == "video" and len(dataset.train) == 4 and len(dataset.test) == 2
    assert mr.data.shapes(train=2, test=2, size=32, task="video").image_shape[-1] == 32


def test_an_unknown_task():
    with pytest.raises(ArgumentError, match="detektion"):
        mr.data.shapes(task="detektion")


def test_a_scene_takes_milliseconds():
    some(2, 96)
    begin = time.process_time()
    some(20, 96, 0.5)
    assert (time.process_time() - begin) / 20 < 0.04, "10 ms where this was written"
