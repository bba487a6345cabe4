"""Winograd's algorithm: its maps are exact in fractions, and its rounding stays small with many channels."""

from fractions import Fraction
from functools import reduce
from itertools import product

import numpy as np
import pytest

import minires as mr
from minires import nn
from minires.core.dispatch import load_kernels
from minires.kernels import threads
from minires.ops.conv import Window

if not load_kernels("cpu"):
    pytest.skip("no kernels", allow_module_level=True)

from minires.kernels.cpu import conv, winograd, winograd_weight

POINTS = [Fraction(0), Fraction(3, 4), Fraction(-3, 4), Fraction(3, 2), Fraction(-3, 2)]  # and infinity


# Toom and Cook's construction, in fractions


def powers(count):
    """The map from ``count`` coefficients of a polynomial to its values at POINTS and at infinity."""
    finite = [[point**k for k in range(count)] for point in POINTS]
    return np.array([*finite, [Fraction(k == count - 1) for k in range(count)]])


def times(a, b):
    """Coefficients of the product of two polynomials."""
    c = [Fraction(0)] * (len(a) + len(b) - 1)
    for (i, x), (j, y) in product(enumerate(a), enumerate(b)):
        c[i + j] += x * y
    return c


def distances(i):
    """Point i without the others: the polynomial that is 0 at those, and what it is at point i."""
    others = POINTS[:i] + POINTS[i + 1 :]
    polynomial = reduce(times, ([-point, Fraction(1)] for point in others), [Fraction(1)])
    return polynomial, reduce(lambda a, b: a * b, (POINTS[i] - point for point in others))


def interpolation():
    """The map from the values at POINTS, divided by the distances, and at infinity to six coefficients (Lagrange)."""
    columns = [distances(i)[0] + [Fraction(0)] for i in range(5)]
    return np.array([*columns, reduce(times, ([-point, Fraction(1)] for point in POINTS))]).T


VALUES = powers(3) / np.array([*(distances(i)[1] for i in range(5)), Fraction(1)])[:, None]  # (6, 3)
SPREAD, COLLECT = interpolation().T, powers(4).T  # (6, 6), (4, 6): transposed, they convolve


def function(compiled):
    return getattr(compiled, "py_func", compiled)


def matrix(compiled, inputs):
    """The matrix of a linear map, from its values for the unit vectors."""
    unit = [[Fraction(i == j) for i in range(inputs)] for j in range(inputs)]
    return np.array([function(compiled)(row) for row in unit]).T


@pytest.fixture
def in_fractions(monkeypatch):
    """The constants of the kernels as exact fractions."""
    a, b = Fraction(3, 4), Fraction(3, 2)
    exact = {
        "A": a, "B": b, "A2": a**2, "B2": b**2, "A3": a**3, "B3": b**3, "A2B2": a**2 * b**2, "A2_B2": a**2 + b**2,
        "AT_0": 1 / distances(0)[1], "AT_A": 1 / distances(1)[1], "AT_B": 1 / distances(3)[1],
    }  # fmt: skip
    for name, number in exact.items():
        rounded = getattr(winograd, name)
        assert rounded.dtype == np.float32
        assert abs(Fraction(float(rounded)) / number - 1) < 2**-23, name
        monkeypatch.setattr(winograd, name, number)


def test_the_construction_convolves():
    """Four outputs and a filter of three, in one and in two dimensions, exactly, in fractions."""
    rng = np.random.default_rng(0)
    d, g = (np.array([Fraction(int(i), 7) for i in rng.integers(-9, 10, n)]) for n in (36, 9))
    y = COLLECT @ ((VALUES @ g[:3]) * (SPREAD @ d[:6]))
    assert list(y) == [sum(d[i + k] * g[k] for k in range(3)) for i in range(4)]
    d, g = d.reshape(6, 6), g.reshape(3, 3)
    y = COLLECT @ ((VALUES @ g @ VALUES.T) * (SPREAD @ d @ SPREAD.T)) @ COLLECT.T
    assert all(y[i, j] == (d[i : i + 3, j : j + 3] * g).sum() for i in range(4) for j in range(4))


def test_the_maps_of_the_kernels_are_those_of_the_construction(in_fractions):
    assert (matrix(winograd._spread, 6) == SPREAD).all()
    assert (matrix(winograd._collect, 6) == COLLECT).all()
    assert (matrix(winograd._values, 3) == VALUES).all()
    assert (matrix(winograd.spread_upstream, 4) == COLLECT.T).all()
    assert (matrix(winograd.filter_gradient, 6) == VALUES.T).all()


# Rounding


def direct(x, weight, padding=(0, 0)):
    """(N, H, W, C) and (O, C, 3, 3) in float64, a product for each element of the kernel."""
    x = np.pad(x.astype("float64"), ((0, 0), *((p, p) for p in padding), (0, 0)))
    oh, ow = x.shape[1] - 2, x.shape[2] - 2
    return sum(
        x[:, i : i + oh, j : j + ow] @ weight[:, :, i, j].astype("float64").T for i in range(3) for j in range(3)
    )


def direct_gradient(x, dy, padding=(0, 0)):
    x, dy = np.pad(x.astype("float64"), ((0, 0), *((p, p) for p in padding), (0, 0))), dy.astype("float64")
    oh, ow = dy.shape[1:3]
    columns = [x[:, i : i + oh, j : j + ow].reshape(-1, x.shape[3]) for i in range(3) for j in range(3)]
    return np.stack([dy.reshape(-1, dy.shape[3]).T @ c for c in columns], -1).reshape(dy.shape[3], x.shape[3], 3, 3)


def error(got, expected):
    assert got.shape == expected.shape and got.dtype == np.float32
    return np.abs(got - expected).max() / np.abs(expected).max()


def problem(rng, n, h, w, c, o, padding=(1, 1)):
    """Activations as after a ReLU, whose mean is not 0, weights, and an upstream."""
    x = np.maximum(rng.standard_normal((n, h, w, c)) + 0.5, 0).astype("f")
    weight = (rng.standard_normal((o, c, 3, 3)) * (2 / (9 * c)) ** 0.5).astype("f")
    dy = (rng.standard_normal((n, h + 2 * padding[0] - 2, w + 2 * padding[1] - 2, o)) + 0.1).astype("f")
    return x, weight, dy


def convolve(x, weight, padding, **options):
    return convolve_transformed(x, winograd.transform(weight, flipped=False), len(weight), None, padding, **options)


def convolve_transformed(*arguments, **options):
    y, extreme = winograd.convolve(*arguments, **options)
    assert not extreme.any()
    return y


@pytest.mark.parametrize("channels", [16, 64, 256])
def test_rounding_stays_small(channels, rng):
    outputs = max(32, channels)
    x, weight, dy = problem(rng, 64, 8, 8, channels, outputs)
    assert winograd.fits(x.shape, outputs, Window((3, 3), (1, 1), (1, 1)))
    assert error(convolve(x, weight, (1, 1)), direct(x, weight, (1, 1))) < 1e-5
    assert error(winograd_weight.correlate(x, dy, (1, 1)), direct_gradient(x, dy, (1, 1))) < 1e-5


# Sizes


@pytest.mark.parametrize("padding", [(0, 0), (1, 1), (2, 2), (0, 2), (2, 1)])
@pytest.mark.parametrize("number", [1, 3])
def test_what_is_left_at_the_borders(number, padding, rng, monkeypatch):
    """Four outputs at a time, and 0 to 3 at the end of rows and columns."""
    monkeypatch.setattr(threads, "_setting", number)
    monkeypatch.setattr(threads, "WORTH_A_THREAD", 0)
    seen = set()
    for n, (h, w) in product((1, 3), [(6, 7), (8, 9), (9, 6), (7, 8), (3, 13), (16, 3), (5, 5), (30, 31), (4, 10)]):
        x, weight, dy = problem(rng, n, h, w, 16, 32, padding)
        expected = direct(x, weight, padding)
        assert error(convolve(x, weight, padding), expected) < 1e-5
        assert error(winograd_weight.correlate(x, dy, padding), direct_gradient(x, dy, padding)) < 1e-5
        back = winograd.transform(weight.transpose(1, 0, 2, 3)[:, :, ::-1, ::-1].copy(), flipped=True)
        assert error(convolve_transformed(x, back, 32, None, padding), expected) < 1e-5
        seen |= {("rows", expected.shape[1] % 4), ("columns", expected.shape[2] % 4)}
    assert len(seen) == 8


@pytest.mark.parametrize("number", [1, 3])
def test_large_weights_are_shared_by_output_channels(number, rng, monkeypatch):
    """Each thread computes some channels of all images: the same numbers as when it computes some images."""
    monkeypatch.setattr(threads, "_setting", number)
    monkeypatch.setattr(threads, "WORTH_A_THREAD", 0)
    for n, h, w, c, o in ((1, 9, 10, 32, 128), (5, 6, 7, 16, 96), (2, 30, 20, 48, 64)):
        x, weight, dy = problem(rng, n, h, w, c, o)
        shortcut, bias = rng.standard_normal(dy.shape).astype("f"), rng.standard_normal(o).astype("f")
        transformed = winograd.transform(weight, flipped=False)
        found = []
        for large in (1, winograd.LARGE_WEIGHTS):
            with monkeypatch.context() as patch:
                patch.setattr(winograd, "LARGE_WEIGHTS", large)
                patch.setattr(winograd_weight, "LARGE_SUMS", large)
                y = convolve_transformed(x, transformed, o, bias, (1, 1), shortcut, relu=True)
                found.append((y, winograd_weight.correlate(x, dy, (1, 1))))
        assert found[0][0].min() == 0
        for by_outputs, by_images in zip(*found, strict=True):
            assert error(by_outputs, by_images) < 1e-6
        assert error(found[0][0], np.maximum(direct(x, weight, (1, 1)) + bias + shortcut, 0)) < 1e-5


# Numbers that would spread over a patch


def far_from(pixel, shape):
    """Which outputs (N, OH, OW, O) do not depend on a pixel (n, h, w)."""
    far = np.ones(shape, bool)
    n, h, w = pixel
    far[n, max(0, h - 1) : h + 2, max(0, w - 1) : w + 2] = False
    return far


@pytest.mark.parametrize("number", [1, 3])
@pytest.mark.parametrize("special", [1e5, -1e7, 1e30, np.nan, np.inf, -np.inf])
def test_an_extreme_number_does_not_disturb_its_neighbours(special, number, rng, monkeypatch):
    """In the forward pass and in the gradient, at each place of a patch, in small and large images, with a shortcut."""
    monkeypatch.setattr(threads, "_setting", number)
    monkeypatch.setattr(threads, "WORTH_A_THREAD", 0)
    window = Window((3, 3), (1, 1), (1, 1))
    for n, h, w, c, o in ((1, 30, 31, 16, 32), (5, 8, 9, 32, 48), (3, 5, 17, 16, 16)):
        x, weight, dy = problem(rng, n, h, w, c, o)
        pixel = tuple(map(rng.integers, (n, h, w)))
        x[(*pixel, 3)] = dy[(*pixel, 3)] = special
        shortcut = rng.standard_normal(dy.shape).astype("f")
        back = weight.transpose(1, 0, 2, 3)[:, :, ::-1, ::-1]
        for got, expected in (
            (conv.forward(x, weight, None, window, shortcut), direct(x, weight, (1, 1)) + shortcut),
            (conv.backward(dy, weight, None, window, (h, w)), direct(dy, back, (1, 1))),
        ):
            far = far_from(pixel, got.shape)
            assert error(got[far], expected[far]) < 1e-5
            np.testing.assert_array_equal(np.isnan(got), np.isnan(expected))
            np.testing.assert_array_equal(np.isinf(got), np.isinf(expected))


@pytest.mark.parametrize("special", [np.nan, np.inf, -np.inf])
def test_infinity_and_nan_stay_where_they_belong_in_the_gradient_of_the_weights(special, rng):
    for border in (0, 3):
        x, _, dy = problem(rng, 2, 16, 16, 16, 32)
        x[0, border, border, 5] = special
        got, expected = conv.grad_weight(x, dy, Window((3, 3), (1, 1), (1, 1))), direct_gradient(x, dy, (1, 1))
        np.testing.assert_array_equal(np.isnan(got), np.isnan(expected))
        np.testing.assert_array_equal(np.isinf(got), np.isinf(expected))
        finite = np.isfinite(expected)
        assert error(got[finite], expected[finite]) < 1e-5


@pytest.mark.parametrize("special", [np.nan, np.inf, -np.inf])
def test_a_weight_that_is_not_finite_gives_what_it_gives_in_any_other_loop(special, rng):
    x, weight, _ = problem(rng, 2, 16, 16, 16, 48)
    weight[40, 3, 0, 2] = special
    got = conv.forward(x, weight, None, Window((3, 3), (1, 1), (0, 0)))
    expected = np.where(x[:, :14, 2:, 3] == 0, np.nan, special)  # 0 * inf is NaN, too
    np.testing.assert_array_equal(got[..., 40], expected)
    assert np.isfinite(got[..., :40]).all()


@pytest.mark.parametrize("special", [1e7, np.nan])
def test_a_replayed_network_hands_extreme_images_back(special, rng):
    layers = [nn.Conv2d(16, 32, 3, padding=1), nn.Conv2d(32, 32, 3, padding=1), nn.GlobalAvgPool2d(), nn.Linear(32, 4)]
    model = nn.Sequential(*layers).eval()
    x = np.abs(rng.standard_normal((3, 16, 20, 20))).astype("f")
    fast = nn.fold(model, replay=True)
    fast(mr.tensor(x))
    x[1, 2, 5, 7] = special
    with mr.engine("textbook"):
        expected = model(mr.tensor(x)).numpy()
    np.testing.assert_allclose(fast(mr.tensor(x)).numpy(), expected, rtol=1e-4, atol=1e-5)


def test_images_of_a_few_pixels_are_ordinary(rng):
    """A blank image, one with half of its pixels blank, and the upstream gradient of a max pooling."""
    x, weight, _ = problem(rng, 4, 16, 16, 16, 32)
    x[0], x[1, :8] = 0, 0
    x[2:] *= (np.arange(16) % 2)[:, None] * (np.arange(16) % 2)[:, None, None]
    assert error(convolve(x, weight, (1, 1)), direct(x, weight, (1, 1))) < 1e-5
