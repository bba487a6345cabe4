"""Transforms against loops over single images."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minires.data import Split
from minires.data.transforms import (
    ColorJitter,
    Compose,
    Cutout,
    Flip,
    MixUp,
    Normalize,
    PadCrop,
    RandomResizedCrop,
    to_float,
)  # fmt: skip
from minires.errors import ArgumentError, DTypeError, ShapeError


@pytest.fixture
def batch(rng):
    return rng.integers(0, 256, (7, 3, 5, 6), dtype=np.uint8)


def split_of(images):
    return Split(images, np.zeros(len(images), np.int64))


def test_normalize_measures_each_channel(batch):
    normalize = Normalize.of(split_of(batch))
    np.testing.assert_allclose(normalize.mean, (batch / 255).mean(axis=(0, 2, 3)), rtol=1e-12)
    np.testing.assert_allclose(normalize.std, (batch / 255).std(axis=(0, 2, 3)), rtol=1e-12)


def test_normalize_gives_float32_of_mean_0_and_variance_1(batch):
    before = batch.copy()
    x = Normalize.of(split_of(batch))(batch)
    assert x.dtype == np.float32
    assert x.shape == batch.shape
    np.testing.assert_allclose(x.mean(axis=(0, 2, 3)), 0, atol=1e-6)
    np.testing.assert_allclose(x.std(axis=(0, 2, 3)), 1, rtol=1e-5)
    np.testing.assert_array_equal(batch, before)


def test_normalize_can_be_undone_from_its_numbers(batch):
    normalize = Normalize.of(split_of(batch))
    mean, std = (np.reshape(values, (3, 1, 1)) for values in (normalize.mean, normalize.std))
    np.testing.assert_array_equal(np.rint((normalize(batch) * std + mean) * 255), batch)


def test_normalize_of_a_channel_that_never_changes(batch):
    batch[:, 1] = 40
    normalize = Normalize.of(split_of(batch))
    assert normalize.std[1] == 1
    np.testing.assert_allclose(normalize(batch)[:, 1], 0, atol=1e-6)


def test_normalize_says_what_is_wrong(batch):
    with pytest.raises(ArgumentError, match="mean has 1 values and std has 2"):
        Normalize([0.5], [1.0, 2.0])
    for mean, std, reason in (
        ([0.5], [0], r"std is 0; it must lie in \(0, 1\]\.$"),
        ([125.3], [63.0], r"mean is 125.3; it must lie in \[0, 1\]; divide the mean and std of bytes by 255\.$"),
        ([0.5], [63.0], r"std is 63.0; it must lie in \(0, 1\]; divide the mean and std of bytes by 255\.$"),
        ([float("nan")], [0.2], r"mean is nan; it must lie in \[0, 1\]\.$"),
        ([10**400], [0.2], r"it must lie in \[0, 1\]\.$"),
        ([True], [0.2], r"mean is True; it must lie in \[0, 1\]\.$"),
        (0.5, 0.2, r"mean is 0.5; it must have a number for each channel, such as \[0.5, 0.5, 0.5\]\.$"),
        ([0.5], None, "std is None; it must have a number for each channel"),
        ("0", "1", "mean is '0'; it must have a number for each channel"),
    ):
        with pytest.raises(ArgumentError, match=reason):
            Normalize(mean, std)
    with pytest.raises(ShapeError, match=r"7x3x5x6, but it must be .* with 1 channels"):
        Normalize([0.5], [1.0])(batch)
    with pytest.raises(ShapeError, match="3x5x6"):
        Normalize([0.5], [1.0])(batch[0])


@given(n=st.integers(1, 6), height=st.integers(1, 6), width=st.integers(1, 6), padding=st.integers(1, 3))
def test_pad_crop_cuts_a_window_of_each_padded_image(n, height, width, padding):
    batch = np.random.default_rng(n).integers(0, 256, (n, 2, height, width), dtype=np.uint8)
    cropped = PadCrop(padding)(batch, np.random.default_rng(3))
    top, left = np.random.default_rng(3).integers(0, 2 * padding + 1, size=(2, n))
    expected = np.zeros_like(batch)
    for i in range(n):
        for y in range(height):
            for x in range(width):
                source_y, source_x = y + top[i] - padding, x + left[i] - padding
                if 0 <= source_y < height and 0 <= source_x < width:
                    expected[i, :, y, x] = batch[i, :, source_y, source_x]
    np.testing.assert_array_equal(cropped, expected)


def test_pad_crop_moves_images_everywhere_it_may():
    dot = np.zeros((400, 1, 3, 3), np.uint8)
    dot[:, :, 1, 1] = 1
    moved = PadCrop(1)(dot, np.random.default_rng(0))
    assert (moved.sum(axis=0) > 20).all(), "each of the 9 places is as likely as any other"
    assert moved.dtype == np.uint8


@pytest.mark.parametrize("padding", [0, -1, 1.5, True, "1"])
def test_pad_crop_says_what_is_wrong(padding):
    with pytest.raises(ArgumentError, match="PadCrop: padding is"):
        PadCrop(padding)


def test_flip_mirrors_about_half_of_the_images(rng):
    batch = rng.integers(0, 256, (200, 2, 3, 4), dtype=np.uint8)
    flipped = Flip()(batch, rng)
    mirrored = 0
    for before, after in zip(batch, flipped, strict=True):
        if np.array_equal(after, before[:, :, ::-1]):
            mirrored += 1
        else:
            np.testing.assert_array_equal(after, before)
    assert 70 < mirrored < 130


@pytest.mark.parametrize("transform", [PadCrop(2), Flip(), Compose([PadCrop(1), Flip()])])
def test_the_generator_decides_and_the_input_stays(transform, batch):
    before = batch.copy()
    first, again, other = (transform(batch, np.random.default_rng(seed)) for seed in (5, 5, 6))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
    np.testing.assert_array_equal(batch, before)


def test_compose_runs_in_order(batch, rng):
    def halved(x, rng):
        return x // 2

    normalize = Normalize([0.1, 0.2, 0.3], [1.0, 0.5, 0.3])
    np.testing.assert_array_equal(Compose([halved, normalize])(batch, rng), normalize(batch // 2))
    assert repr(Compose([PadCrop(4), Flip()])) == "Compose(transforms=[PadCrop(padding=4), Flip()])"
    with pytest.raises(ArgumentError, match="'flip' is not a transform"):
        Compose(["flip"])


def test_to_float():
    x = to_float(np.array([0, 51, 255], np.uint8))
    assert x.dtype == np.float32
    np.testing.assert_array_equal(x, np.array([0, 0.2, 1], np.float32))


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_floats_are_not_divided_by_255_again(batch, dtype):
    floats = (batch / 255).astype(dtype)
    normalize = Normalize([0.4, 0.5, 0.6], [0.3, 0.2, 0.1])
    np.testing.assert_array_equal(to_float(floats), floats.astype(np.float32))
    assert to_float(floats).dtype == normalize(floats).dtype == np.float32
    np.testing.assert_allclose(normalize(floats), normalize(batch), atol=1e-5 if dtype != np.float16 else 1e-2)
    np.testing.assert_array_equal(Compose([to_float, normalize])(batch, None), normalize(to_float(batch)))


@pytest.mark.parametrize("transform", [to_float, Normalize([0.5] * 3, [0.2] * 3), ColorJitter(0.1)])
@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda x: x.astype(np.float32), "the batch holds floats from 0 to 255, .*; divide floats of bytes by 255"),
        (
            lambda x: x / 255 - 0.5,
            "the batch holds floats from -0.5 to 0.5, .*; (put it before|do not normalise)",
        ),
        (lambda x: np.where(x == 255, np.nan, 0), "the batch holds floats from nan to nan, .*; replace NaN"),
        (lambda x: np.where(x == 255, np.inf, 0), "the batch holds floats from 0 to inf, .*; replace NaN"),
        (lambda x: x.astype(np.int64), "is int64; it must be uint8 or floats"),
        (lambda x: x > 9, "is bool; it must be uint8 or floats"),
    ],
)
def test_other_numbers_are_no_images(batch, transform, change, reason):
    batch[0, 0, 0, :2] = 0, 255
    name = getattr(transform, "__name__", type(transform).__name__)
    with pytest.raises((ArgumentError, DTypeError), match=f"^{name}: .*{reason}"):
        transform(change(batch), np.random.default_rng(0))


@pytest.mark.parametrize("transform", [PadCrop(1), Flip(), Cutout(1), RandomResizedCrop(2), MixUp()])
def test_transforms_that_move_pixels_take_bytes_or_floats(batch, transform, rng):
    with pytest.raises(DTypeError, match="is int64; it must be uint8 or floats"):
        transform(batch.astype(np.int64), rng)
    with pytest.raises(ShapeError, match=r"the batch is 3x5x6; it must be \(N, C, H, W\)"):
        transform(batch[0].astype(np.float32), rng)
    transform(batch / 255 * 4 - 2, rng)
