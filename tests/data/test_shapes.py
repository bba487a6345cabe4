"""Drawn images: masks and boxes are exact, a seed reproduces them, and difficulty makes them harder."""

from itertools import islice

import numpy as np
import pytest
from sklearn.neighbors import KNeighborsClassifier

import minires as mr
from minires.data.shapes import CLASSES, _hidden, drawings, ellipse, line, polygon
from minires.errors import ArgumentError


def some(count, *arguments, **options):
    return list(islice(drawings(*arguments, **options), count))


def area(inside):
    """The area of a part, counted on 1,000 x 1,000 points between -1 and 1."""
    points = (np.arange(1000) + 0.5) / 500 - 1
    return inside(*np.meshgrid(points, points)).mean() * 4


def test_the_areas_of_the_parts():
    assert area(ellipse((0.2, -0.1), 0.5, 0.3)) == pytest.approx(np.pi * 0.5 * 0.3, rel=1e-3)
    assert area(line((-0.3, -0.4), (0.3, 0.4), 0.1)) == pytest.approx(2 * 0.1 * 1.0 + np.pi * 0.1**2, rel=1e-3)
    assert area(polygon((-0.5, -0.5), (0.3, -0.5), (0.5, 0.5), (-0.5, 0.5))) == pytest.approx(0.9, rel=1e-2)
    assert area(polygon((0, 0.5), (0.5, -0.5), (-0.5, -0.5))) == 0, "against the clock"


def test_the_same_seed_draws_the_same():
    first, again, other = some(12, seed=4), some(7, seed=4), some(7, seed=5)
    for one, two in zip(first, again, strict=False):
        np.testing.assert_array_equal(one.image, two.image)
        np.testing.assert_array_equal(one.mask, two.mask)
        assert (one.label, one.box) == (two.label, two.box)
    assert all((one.image != two.image).any() for one, two in zip(first, other, strict=False))
    assert len({drawing.image.tobytes() for drawing in first}) == 12
    assert [drawing.label for drawing in first] == [0, 1, 2, 3, 4] * 2 + [0, 1]


@pytest.mark.parametrize("difficulty", [0, 0.5, 1])
@pytest.mark.parametrize("size", [16, 33])
def test_boxes_are_the_smallest_around_the_masks(size, difficulty):
    for drawing in some(40, size, difficulty):
        assert drawing.image.shape == (3, size, size) and drawing.image.dtype == np.uint8
        assert drawing.mask.shape == (size, size) and drawing.mask.dtype == bool
        covered = np.argwhere(drawing.mask)
        top, left = covered.min(axis=0)
        bottom, right = covered.max(axis=0) + 1
        assert drawing.box == (left, top, right, bottom)


def test_the_mask_is_what_differs_from_an_empty_background():
    for drawing in some(20, 64, 0):
        differs = (drawing.image != drawing.image[:, :1, :1]).any(axis=0)
        assert not (drawing.mask & ~differs).any()
        assert (differs & ~drawing.mask).sum() < 0.15 * differs.sum(), (
            "only pixels at the edge, covered by less than half"
        )


def test_what_hides_an_object_is_no_part_of_it():
    points = (np.arange(40) + 0.5) / 20 - 1
    x, y = np.meshgrid(points, points)
    whole = ellipse((0.1, 0.2), 0.6, 0.4)(x, y)
    hidden = 0
    for seed in range(50):
        pixels = np.zeros((40, 40, 3))
        seen = _hidden(pixels, whole, x, y, 1, np.random.default_rng(seed))
        in_front = pixels.any(axis=2)
        np.testing.assert_array_equal(seen, whole & ~in_front)
        assert seen.sum() >= whole.sum() / 2
        hidden += in_front.any()
        np.testing.assert_array_equal(_hidden(pixels, whole, x, y, 0, np.random.default_rng(seed)), whole)
    assert hidden > 20


def test_noise_grows_with_the_difficulty():
    def roughness(difficulty):
        return np.mean(
            [np.abs(np.diff(drawing.image.astype(int)[:, :3])).mean() for drawing in some(20, 32, difficulty)]
        )

    assert roughness(0) == 0 and 5 < roughness(0.3) < roughness(0.6) < roughness(1)


def accuracy(difficulty):
    """The accuracy of the nearest neighbour among 400 masks, with scikit-learn."""
    everything = some(500, 16, difficulty)
    masks = np.array([drawing.mask.ravel() for drawing in everything])
    labels = np.array([drawing.label for drawing in everything])
    return KNeighborsClassifier(1).fit(masks[:400], labels[:400]).score(masks[400:], labels[400:])


def test_classes_can_be_told_apart_and_harder_ones_less_well():
    easy, hard = accuracy(0), accuracy(1)
    assert easy == 1 and 0.3 < hard < 0.9


def test_the_data_set():
    dataset = mr.data.shapes(train=40, test=15, size=16, difficulty=0.2, seed=1)
    assert dataset.classes == CLASSES == ("person", "car", "bird", "cat", "dog")
    assert dataset.image_shape == (3, 16, 16)
    np.testing.assert_array_equal(np.bincount(dataset.train.labels), [8] * 5)
    np.testing.assert_array_equal(np.bincount(dataset.test.labels), [3] * 5)
    seen = {image.tobytes() for image in dataset.train.images}
    assert not any(image.tobytes() in seen for image in dataset.test.images)
    assert mr.data.names()[-1] == "shapes"


@pytest.mark.parametrize(
    "options",
    [{"size": 15}, {"size": 20.5}, {"difficulty": 1.1}, {"difficulty": -1}, {"seed": -1}, {"train": 0}, {"test": 0}],
)
def test_values_out_of_range(options):
    name = next(iter(options))
    with pytest.raises(ArgumentError, match=f"shapes: {name} is {options[name]}"):
        mr.data.shapes(**{"train": 5, "test": 5, **options})
    if name not in ("train", "test"):
        with pytest.raises(ArgumentError, match=f"shapes: {name} is"):
            drawings(**options)
