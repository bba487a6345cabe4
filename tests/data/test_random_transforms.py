"""Cutout, MixUp, ColorJitter and RandomResizedCrop, against loops over pixels, and Pillow."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import minires as mr
from minires.data.transforms import ColorJitter, Compose, Cutout, MixUp, Normalize, RandomResizedCrop
from minires.errors import ArgumentError, DTypeError, ShapeError


def images(seed, n, channels, height, width, dtype=np.uint8):
    values = np.random.default_rng(seed).integers(0, 256, (n, channels, height, width), dtype=np.uint8)
    return values if dtype == np.uint8 else (values / 255).astype(dtype)


SIZES = {"n": st.integers(1, 4), "height": st.integers(1, 9), "width": st.integers(1, 9)}
ALL = [Cutout(3), ColorJitter(0.5, 0.5, 0.5), RandomResizedCrop((4, 5)), MixUp(1.0)]


def changed(transform, batch, seed):
    """Only the new images; MixUp returns more."""
    result = transform(batch, np.random.default_rng(seed))
    return result[0] if isinstance(transform, MixUp) else result


@pytest.mark.parametrize("dtype", ["uint8", "float32", "float64"])
@pytest.mark.parametrize("transform", ALL, ids=repr)
@pytest.mark.parametrize("shape", [(5, 3, 7, 6), (1, 1, 1, 9)])
def test_the_generator_decides_the_input_stays_and_so_does_the_dtype(transform, dtype, shape):
    batch = images(0, *shape, dtype)
    if isinstance(transform, MixUp) and dtype == "uint8":
        return
    before = batch.copy()
    first, again, other = (changed(transform, batch, seed) for seed in (5, 5, 6))
    np.testing.assert_array_equal(first, again)
    assert first.shape == (*shape[:2], *getattr(transform, "size", shape[2:]))
    assert first.dtype == batch.dtype
    assert not np.shares_memory(first, batch)
    np.testing.assert_array_equal(batch, before)
    if shape[0] > 1:
        assert not np.array_equal(first, other)


@pytest.mark.parametrize("transform", ALL, ids=repr)
def test_what_is_no_batch_of_images(transform):
    name = type(transform).__name__
    for shape in [(3, 4, 5), (0, 3, 4, 5), (2, 3, 0, 5)]:
        with pytest.raises(
            ShapeError, match=rf"{name}: the batch is {mr.errors.sizes(shape)}; it must be \(N, C, H, W"
        ):
            transform(np.zeros(shape, np.float32), np.random.default_rng(0))
    with pytest.raises(DTypeError, match=rf"{name}: the batch \(2x3x4x5\) is int64"):
        transform(np.zeros((2, 3, 4, 5), np.int64), np.random.default_rng(0))


# Cutout


@given(**SIZES, length=st.integers(1, 12))
def test_cutout_pixel_by_pixel(n, height, width, length):
    batch = images(n, n, 2, height, width) // 2 + 1  # no zeros
    cut = Cutout(length)(batch, np.random.default_rng(3))
    rng = np.random.default_rng(3)
    middle_y, middle_x = rng.integers(0, height, n), rng.integers(0, width, n)
    for i in range(n):
        for y in range(height):
            for x in range(width):
                top, left = y - middle_y[i], x - middle_x[i]  # the square reaches as far to both sides, if it can
                inside = all(-(length // 2) <= offset < length - length // 2 for offset in (top, left))
                expected = 0 if inside else batch[i, :, y, x]
                np.testing.assert_array_equal(cut[i, :, y, x], expected)


def test_cutout_hangs_over_the_border_as_often_as_its_centre_is_near():
    """A square of 3 in an image of 4x4: of 16 centres, 4 leave 9 pixels dark, 8 leave 6, and 4 corners leave 4."""
    cut = Cutout(3)(np.ones((3200, 1, 4, 4), np.float32), np.random.default_rng(0))
    dark, times = np.unique(16 - cut.sum(axis=(1, 2, 3)), return_counts=True)
    assert dark.tolist() == [4, 6, 9]
    np.testing.assert_allclose(times, [800, 1600, 800], atol=5 * np.sqrt(800))
    np.testing.assert_allclose(1 - cut.mean(axis=0)[0, [0, 0], [0, 1]], [4 / 16, 6 / 16], atol=0.05)


def test_channels_last_images_stay_so_in_memory():
    """The layout that Normalize's kernel returns and convolutions prefer."""
    batch = images(0, 6, 3, 16, 16)
    normal = Normalize([0.5] * 3, [0.2] * 3)(batch).transpose(0, 2, 3, 1).copy().transpose(0, 3, 1, 2)
    assert Cutout(4)(normal, np.random.default_rng(0)).strides == normal.strides
    assert MixUp()(normal, np.random.default_rng(0))[0].strides == normal.strides


# MixUp


@given(**SIZES, alpha=st.sampled_from([0.2, 1.0, 8.0]))
def test_mixup_image_by_image(n, height, width, alpha):
    batch = images(n, n, 3, height, width, np.float32)
    mixed, partners, lam = MixUp(alpha)(batch, np.random.default_rng(1))
    assert 0 <= lam <= 1 and isinstance(lam, float)
    assert sorted(partners.tolist()) == list(range(n))
    for i in range(n):
        np.testing.assert_allclose(mixed[i], lam * batch[i] + (1 - lam) * batch[partners[i]], rtol=1e-6)


@pytest.mark.parametrize("alpha", [0.2, 1.0, 5.0])
def test_mixup_shares_are_of_the_beta_distribution(alpha):
    """Beta(alpha, alpha) has mean 1/2 and variance 1 / (4 (2 alpha + 1))."""
    rng, batch = np.random.default_rng(0), np.zeros((2, 1, 1, 1), np.float32)
    shares = [MixUp(alpha)(batch, rng)[2] for _ in range(4000)]
    assert np.mean(shares) == pytest.approx(0.5, abs=0.03)
    assert np.var(shares) == pytest.approx(1 / (4 * (2 * alpha + 1)), rel=0.1)


def test_two_cross_entropies_are_one_with_soft_labels(rng):
    logits, labels = rng.standard_normal((6, 4)), rng.integers(0, 4, 6)
    _, partners, lam = MixUp()(np.zeros((6, 1, 2, 2), np.float32), rng)
    x = mr.tensor(logits, requires_grad=True)
    loss = lam * mr.ops.cross_entropy(x, labels) + (1 - lam) * mr.ops.cross_entropy(x, labels[partners])
    loss.backward()
    soft = lam * np.eye(4)[labels] + (1 - lam) * np.eye(4)[labels[partners]]
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    assert loss.item() == pytest.approx(-(soft * np.log(probabilities)).sum(axis=1).mean(), rel=1e-12)
    np.testing.assert_allclose(x.grad.numpy(), (probabilities - soft) / 6, rtol=1e-10)


def test_mixup_of_bytes():
    with pytest.raises(DTypeError, match=r"MixUp: the images \(2x1x3x3\) are uint8, but floats are needed; use it"):
        MixUp()(np.zeros((2, 1, 3, 3), np.uint8), np.random.default_rng(0))


# ColorJitter


def jittered(image, name, factor, white):
    """One image (C, H, W) of floats, as torchvision's documentation says."""
    weights = {1: [1], 3: [0.2989, 0.587, 0.114]}[len(image)]
    grey = sum(weight * channel for weight, channel in zip(weights, image, strict=True))
    faded = {"brightness": 0, "contrast": grey.mean(), "saturation": grey}[name]
    return np.clip(factor * image + (1 - factor) * faded, 0, white)


@pytest.mark.parametrize("name", ["brightness", "contrast", "saturation"])
@given(**SIZES, channels=st.sampled_from([1, 3]), strength=st.floats(0.1, 2))
def test_each_factor_image_by_image(name, n, height, width, channels, strength):
    rng = np.random.default_rng(7)
    rng.permutation(3)
    factors = rng.uniform(max(0, 1 - strength), 1 + strength, n)
    transform = ColorJitter(**{name: strength})
    for dtype, white, accuracy in ((np.float64, 1, 1e-12), (np.uint8, 255, 0.5 + 1e-3)):
        batch = images(n, n, channels, height, width, dtype)
        result = transform(batch, np.random.default_rng(7))
        expected = [jittered(p.astype(float), name, f, white) for p, f in zip(batch, factors, strict=True)]
        np.testing.assert_allclose(result.astype(float), expected, rtol=0, atol=accuracy)


def test_all_three_factors_in_every_order():
    """With known factors, each result matches one of the 6 orders, and all of them occur."""
    batch = images(0, 2, 3, 4, 5, np.float64)
    factors = {"brightness": 1.4, "contrast": 0.6, "saturation": 1.7}
    transform = ColorJitter(**{name: (factor, factor) for name, factor in factors.items()})
    orders = [(a, b, c) for a in factors for b in factors for c in factors if len({a, b, c}) == 3]
    expected = []
    for order in orders:
        result = list(batch)
        for name in order:
            result = [jittered(image, name, factors[name], 1) for image in result]
        expected.append(result)
    seen = set()
    for seed in range(60):
        result = transform(batch, np.random.default_rng(seed))
        matches = [i for i, other in enumerate(expected) if np.allclose(result, other, rtol=0, atol=1e-12)]
        assert len(matches) == 1
        seen.update(matches)
    assert len(seen) == 6


def test_color_jitter_of_nothing_changes_nothing():
    batch = images(0, 3, 3, 4, 5)
    result = ColorJitter()(batch, np.random.default_rng(0))
    np.testing.assert_array_equal(result, batch)
    assert not np.shares_memory(result, batch)


# RandomResizedCrop


@given(**SIZES, rows=st.integers(1, 12), columns=st.integers(1, 12), channels=st.sampled_from([1, 3]))
def test_resized_crop_as_pillow_cuts_and_resizes(n, height, width, rows, columns, channels):
    """For images of floats, which Pillow keeps as float32."""
    batch = np.random.default_rng(n).uniform(0, 255, (n, channels, height, width)).astype(np.float32)
    crop = RandomResizedCrop((rows, columns), scale=(0.1, 1.0))
    result = crop(batch, np.random.default_rng(5))
    rectangles = zip(*crop.rectangles(n, height, width, np.random.default_rng(5)), strict=True)
    for image, new, (top, left, h, w) in zip(batch, result, rectangles, strict=True):
        for channel, resized in zip(image, new, strict=True):
            piece = Image.fromarray(channel[top : top + h, left : left + w].copy())
            expected = np.asarray(piece.resize((columns, rows), Image.Resampling.BILINEAR))
            np.testing.assert_allclose(resized, expected, rtol=0, atol=2e-3)


@given(height=st.integers(1, 60), width=st.integers(1, 60), low=st.floats(0.05, 1))
def test_rectangles_lie_inside(height, width, low):
    crop = RandomResizedCrop(8, scale=(low, 1.0))
    top, left, rows, columns = crop.rectangles(50, height, width, np.random.default_rng(0))
    assert (rows >= 1).all() and (columns >= 1).all()
    assert (top >= 0).all() and (top + rows <= height).all()
    assert (left >= 0).all() and (left + columns <= width).all()


def test_rectangles_have_the_scale_and_ratio_of_torchvision():
    """In a square of 1,000, few do not fit: area and log ratio are uniform within the bounds, up to a pixel."""
    crop = RandomResizedCrop(8, scale=(0.2, 0.5), ratio=(0.5, 2.0))
    top, _, rows, columns = crop.rectangles(20_000, 1000, 1000, np.random.default_rng(0))
    area, ratio = rows * columns / 1e6, np.log(columns / rows)
    assert 0.199 < area.min() < 0.202 and 0.498 < area.max() < 0.501
    assert abs(ratio.min() + np.log(2)) < 0.01 > abs(ratio.max() - np.log(2))
    np.testing.assert_allclose(np.quantile(area, [0.25, 0.5, 0.75]), [0.275, 0.35, 0.425], atol=0.01)
    np.testing.assert_allclose(np.quantile(ratio, [0.25, 0.75]), [-np.log(2) / 2, np.log(2) / 2], atol=0.03)
    places = top / (1000 - rows)  # uniform, from one border to the other
    np.testing.assert_allclose(np.quantile(places, [0, 0.25, 0.75, 1]), [0, 0.25, 0.75, 1], atol=0.02)


@pytest.mark.parametrize(
    ("height", "width", "expected"),
    [
        (4, 100, (0, 47, 4, 5)),  # 4/3 of 4 columns
        (100, 4, (47, 0, 5, 4)),
        (30, 30, (0, 0, 30, 30)),  # where the wanted area is larger than the image
    ],
)
def test_what_never_fits_becomes_the_largest_central_rectangle(height, width, expected):
    crop = RandomResizedCrop(8, scale=(1.5, 2.0))
    found = crop.rectangles(3, height, width, np.random.default_rng(0))
    np.testing.assert_array_equal(np.transpose(found), [expected] * 3)


def test_the_whole_image_at_its_own_size_stays_as_it_is():
    batch = images(0, 3, 3, 6, 6)
    whole = RandomResizedCrop(6, scale=(1, 1), ratio=(1, 1))
    np.testing.assert_array_equal(whole(batch, np.random.default_rng(0)), batch)


def test_they_compose():
    transforms = [RandomResizedCrop(8), ColorJitter(0.4, 0.4, 0.4), Normalize([0.5] * 3, [0.2] * 3), Cutout(4)]
    result = Compose(transforms)(images(0, 6, 3, 12, 10), np.random.default_rng(0))
    assert result.shape == (6, 3, 8, 8)
    assert result.dtype == np.float32


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: Cutout(0), "Cutout: length is 0; it must be an integer >= 1"),
        (lambda: Cutout(2.5), r"Cutout: length is 2.5"),
        (lambda: MixUp(0), "MixUp: alpha is 0; it must be a number > 0"),
        (lambda: MixUp(float("nan")), "MixUp: alpha is nan"),
        (lambda: ColorJitter(brightness=-0.1), "ColorJitter: brightness is -0.1; it must be a number >= 0"),
        (
            lambda: ColorJitter(contrast=(1.2, 0.8)),
            r"contrast is \(1.2, 0.8\); it must be two numbers, 0 <= low",
        ),
        (lambda: ColorJitter(saturation=(1, 2, 3)), "ColorJitter: saturation is"),
        (lambda: ColorJitter(saturation="much"), "ColorJitter: saturation is 'much'"),
        (lambda: RandomResizedCrop(0), "RandomResizedCrop: size is 0; it must be one or two integers >= 1"),
        (lambda: RandomResizedCrop(8, scale=(0, 1)), r"RandomResizedCrop: scale is \(0, 1\); it must be two numbers"),
        (lambda: RandomResizedCrop(8, scale=0.5), "RandomResizedCrop: scale is 0.5"),
        (lambda: RandomResizedCrop(8, ratio=(2, 1)), r"RandomResizedCrop: ratio is \(2, 1\)"),
    ],
)
def test_arguments_that_do_not_fit(make, sentence):
    with pytest.raises(ArgumentError, match=sentence):
        make()


def test_color_jitter_says_what_is_wrong(rng):
    with pytest.raises(ShapeError, match=r"the batch \(2x4x3x3\) has 4 channels, not 1 or 3"):
        ColorJitter(0.5)(np.zeros((2, 4, 3, 3), np.uint8), rng)
    normal = np.linspace(-2, 2.5, 18, dtype=np.float32).reshape(2, 1, 3, 3)
    with pytest.raises(ArgumentError, match=r"holds floats from -2 to 2.5, but floats must be in \[0, 1\]; put it"):
        ColorJitter(0.5)(normal, rng)


def test_reprs_are_what_was_written():
    assert repr(Cutout(16)) == "Cutout(length=16)"
    assert repr(MixUp(0.2)) == "MixUp(alpha=0.2)"
    assert repr(ColorJitter(0.5, (0.2, 3))) == (
        "ColorJitter(brightness=(0.5, 1.5), contrast=(0.2, 3.0), saturation=(1.0, 1.0))"
    )
    assert repr(RandomResizedCrop(8, (0.2, 1))) == (
        f"RandomResizedCrop(size=(8, 8), scale=(0.2, 1.0), ratio=({3 / 4}, {4 / 3}))"
    )
