"""Augmentation that moves boxes and masks exactly as it moves pixels, and treats the frames of a clip alike."""

import numpy as np
import pytest

from minires.data.annotated import Objects
from minires.data.moving import ComposeWithTargets, FlipWithTargets, RandomScaleCrop, nearest, resizing_weights
from minires.data.transforms import ColorJitter, Normalize
from minires.errors import ArgumentError, ShapeError


class Fixed:
    """A generator that draws the given numbers."""

    def __init__(self, *draws):
        self.draws = list(draws)

    def random(self, n):
        return np.asarray(self.draws.pop(0), float) * np.ones(n)

    def uniform(self, low, high, n):
        return np.log(np.asarray(self.draws.pop(0), float)) * np.ones(n)


def images_with_boxes(rng, n=12, height=40, width=52):
    """Images that are dark but for a bright rectangle each, with its box, and as masks."""
    images, objects = np.zeros((n, 3, height, width), np.uint8), []
    for image in images:
        x1, x2 = np.sort(rng.choice(width, 2, replace=False))
        y1, y2 = np.sort(rng.choice(height, 2, replace=False))
        image[:, y1:y2, x1:x2] = 255
        objects.append(Objects([[x1, y1, x2, y2]], [int(rng.integers(4))]))
    return images, objects, (images[:, 0] > 0).astype(np.uint8)


def test_flipped_twice_is_the_same(rng):
    images, objects, masks = images_with_boxes(rng)
    flip = FlipWithTargets()
    before = images.copy(), [found.boxes.copy() for found in objects], masks.copy()
    for targets in (objects, masks):
        once, moved = flip(images, targets, Fixed(0.0))
        assert (once != images).any()
        np.testing.assert_array_equal(once, images[..., ::-1])
        twice, back = flip(once, moved, Fixed(0.0))
        np.testing.assert_array_equal(twice, images)
        for one, two in zip(back, targets, strict=True):
            np.testing.assert_array_equal(getattr(one, "boxes", one), getattr(two, "boxes", two))
    np.testing.assert_array_equal(images, before[0], "inputs are unchanged")
    np.testing.assert_array_equal(masks, before[2])
    for found, boxes in zip(objects, before[1], strict=True):
        np.testing.assert_array_equal(found.boxes, boxes)


def test_each_image_is_flipped_or_not(rng):
    images, objects, masks = images_with_boxes(rng, 64)
    flipped, moved = FlipWithTargets()(images, objects, np.random.default_rng(3))
    again, turned = FlipWithTargets()(images, masks, np.random.default_rng(3))
    np.testing.assert_array_equal(flipped, again)
    changed = 0
    for image, old, found, mask in zip(flipped, images, moved, turned, strict=True):
        x1, y1, x2, y2 = found.boxes[0].astype(int)
        assert image[:, y1:y2, x1:x2].all() and image.astype(bool).sum() == 3 * (y2 - y1) * (x2 - x1)
        np.testing.assert_array_equal(mask, image[0] > 0)
        changed += (image != old).any()
    assert 16 < changed < 48
    assert [found.labels.tolist() for found in moved] == [found.labels.tolist() for found in objects]


@pytest.mark.parametrize("scale", [(0.4, 0.9), (1.1, 2.5), (0.5, 2.0)])
def test_a_box_stays_around_its_pixels(rng, scale):
    images, objects, masks = images_with_boxes(rng, 40)
    transform = ComposeWithTargets([FlipWithTargets(), RandomScaleCrop(scale, fill=0)])
    changed, moved = transform(images, objects, np.random.default_rng(1))
    again, cut = transform(images, masks, np.random.default_rng(1))
    np.testing.assert_array_equal(changed, again)
    assert changed.shape == images.shape and changed.dtype == np.uint8
    checked = 0
    for image, found, mask in zip(changed, moved, cut, strict=True):
        bright = (image[0] > 127) & (mask != 255)
        assert ((mask == 1) != bright).sum() <= 2 * (40 + 52), "they differ at the edge of the rectangle at most"
        if len(found):
            rows, columns = np.nonzero(mask == 1)
            if len(rows):  # a thin box may lie between the centres of pixels
                around = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
                np.testing.assert_allclose(found.boxes[0], around, atol=0.51)
                checked += 1
    assert checked > 10


def test_masks_and_images_move_by_whole_pixels(rng):
    """Enlarged twice, each pixel becomes four, whose place is known."""
    images = rng.integers(0, 256, (1, 2, 6, 8), dtype=np.uint8)
    masks = rng.integers(0, 9, (1, 6, 8), dtype=np.uint8)
    _, moved = RandomScaleCrop()(images, masks, Fixed(2.0, 1 / 3, 0.5))  # from row 1 and column 2 on
    np.testing.assert_array_equal(moved[0], np.repeat(np.repeat(masks[0, 1:4, 2:6], 2, 0), 2, 1))
    _, objects = RandomScaleCrop()(images, [Objects([[3, 2, 5, 3.5]], [0])], Fixed(2.0, 1 / 3, 0.5))
    assert objects[0].boxes.tolist() == [[2, 2, 6, 5]]


def test_shrunk_to_half_an_image_is_averaged_and_surrounded(rng):
    images = np.repeat(np.repeat(rng.integers(0, 256, (1, 1, 3, 4), dtype=np.uint8), 2, 2), 2, 3)
    masks = np.zeros((1, 6, 8), np.uint8)
    small, moved = RandomScaleCrop(fill=7)(images, masks, Fixed(0.5, 1.0, 0.0))  # at the bottom, on the left
    inside = moved[0] != 255
    assert inside.sum() == 12 and (small[0, 0][~inside] == 7).all()
    rows, columns = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
    assert rows.tolist() == [3, 4, 5] and columns.tolist() == [0, 1, 2, 3]
    naive = np.zeros((3, 4))
    for i in range(3):
        for j in range(4):
            total = weight = 0.0
            for p in range(6):
                for q in range(8):
                    w = max(1 - abs(p + 0.5 - 2 * (i + 0.5)) / 2, 0) * max(1 - abs(q + 0.5 - 2 * (j + 0.5)) / 2, 0)
                    total, weight = total + w * float(images[0, 0, p, q]), weight + w
            naive[i, j] = total / weight
    np.testing.assert_allclose(small[0, 0, 3:, :4], naive, atol=0.5001)


def test_scale_one_changes_nothing(rng):
    images, objects, masks = images_with_boxes(rng)
    same, boxes = RandomScaleCrop((1, 1))(images, objects, rng)
    np.testing.assert_array_equal(same, images)
    for one, two in zip(boxes, objects, strict=True):
        np.testing.assert_array_equal(one.boxes, two.boxes)
    np.testing.assert_array_equal(RandomScaleCrop((1, 1))(images, masks, rng)[1], masks)


def test_boxes_that_nearly_vanish_are_dropped():
    """Enlarged twice from the left upper corner on, the image shows columns 0 to 5 of 10."""
    images = np.zeros((1, 3, 10, 10), np.uint8)
    boxes = [[4, 0, 9, 5], [4, 0, 9.01, 5], [6, 0, 9, 3], [0, 0, 5, 5], [1, 1, 1, 2]]
    _, moved = RandomScaleCrop()(images, [Objects(boxes, [0, 1, 2, 3, 4], [True] * 5)], Fixed(2.0, 0.0, 0.0))
    assert moved[0].labels.tolist() == [0, 3], "exactly 20 % are enough; the last has no area"
    assert moved[0].boxes.tolist() == [[8, 0, 10, 10], [0, 0, 10, 10]] and moved[0].crowd.all()
    _, none = RandomScaleCrop()(images, [Objects([], [])], Fixed(2.0, 0.0, 0.0))
    assert len(none[0]) == 0 and none[0].boxes.shape == (0, 4)


def test_frames_of_a_clip_move_alike(rng):
    frames, labels = rng.integers(0, 256, (3, 1, 3, 8, 10), dtype=np.uint8), np.array([1, 0, 1])
    clips = np.repeat(frames, 4, axis=1)  # (N, T, C, H, W), in which nothing moves
    transform = ComposeWithTargets([FlipWithTargets(), RandomScaleCrop(), ColorJitter(0.5, 0.5, 0.5)])
    moved, same = transform(clips, labels, np.random.default_rng(0))
    assert moved.shape == clips.shape and moved.dtype == np.uint8 and same is labels
    assert (moved == moved[:, :1]).all() and (moved != clips).any()
    normal, _ = ComposeWithTargets([Normalize([0.5] * 3, [0.25] * 3)])(clips, labels, rng)
    np.testing.assert_allclose(normal, (clips / 255 - 0.5) / 0.25, rtol=1e-5, atol=1e-6)
    as_images, _ = RandomScaleCrop()(clips[:, 0], labels, np.random.default_rng(4))
    as_clips, _ = RandomScaleCrop()(clips, labels, np.random.default_rng(4))
    np.testing.assert_array_equal(as_clips[:, 2], as_images)


def test_floats_stay_floats(rng):
    images = rng.random((2, 3, 6, 8)).astype(np.float32)
    moved, _ = RandomScaleCrop((0.5, 0.7), fill=0)(images, np.zeros((2, 6, 8), np.uint8), rng)
    assert moved.dtype == np.float32 and moved.max() <= 1


def test_weights_along_an_axis(rng):
    first, length = np.array([0.0, 1.3, -4.0]), np.array([7.0, 2.1, 16.0])
    weights = resizing_weights(first, length, 7)
    assert weights.shape == (3, 7, 7) and weights.dtype == np.float32
    np.testing.assert_allclose(weights[0], np.eye(7), atol=1e-6)
    centres = first[:, None] + (np.arange(7) + 0.5) * length[:, None] / 7
    inside = (centres >= 0) & (centres < 7)
    np.testing.assert_allclose(weights.sum(axis=2), inside, atol=1e-6)
    np.testing.assert_array_equal(nearest(first, length, 7), np.where(inside, np.floor(centres), 7))


@pytest.mark.parametrize("scale", [1.5, (0, 1), (2, 1), (1, np.inf), (np.nan, 1), ("a", 1), (1, 2, 3)])
def test_wrong_options(scale):
    with pytest.raises(ArgumentError, match=r"scale is .*0 < low <= high"):
        RandomScaleCrop(scale)
    with pytest.raises(ArgumentError, match="fill is 256"):
        RandomScaleCrop(fill=256)
    with pytest.raises(ArgumentError, match="'flip' is not a transform"):
        ComposeWithTargets(["flip"])


def test_targets_that_do_not_fit(rng):
    images, masks = np.zeros((2, 3, 6, 8), np.uint8), np.zeros((2, 6, 8), np.uint8)
    for transform in (FlipWithTargets(), RandomScaleCrop()):
        with pytest.raises(ShapeError, match=r"images are 3x6x8; they must be \(N, C, H, W\)"):
            transform(images[0], masks, rng)
        with pytest.raises(ShapeError, match="2 images but 1 targets"):
            transform(images, [Objects([], [])], rng)
        with pytest.raises(ShapeError, match="masks are 2x6x7 but images are 2x3x6x8"):
            transform(images, masks[:, :, :7], rng)
