"""Resizing against loops over pixels, and infinities and NaN, which must stay where they are."""

import numpy as np
import pytest

import minires as mr
from minires import ops


def reference(x, size, align_corners):
    """Bilinear interpolation, by loops over the pixels of the result; for one image and channel."""
    (height, width), y = x.shape, np.empty(size)
    for i, j in np.ndindex(*size):
        position = []
        for place, old, new in ((i, height, size[0]), (j, width, size[1])):
            where = place * (old - 1) / max(new - 1, 1) if align_corners else (place + 0.5) * old / new - 0.5
            position.append(min(max(where, 0), old - 1))
        p, q = position
        total = 0.0
        for a in range(height):
            for b in range(width):
                share = max(0, 1 - abs(p - a)) * max(0, 1 - abs(q - b))  # a tent of width 2 around each pixel
                total += share * x[a, b] if share else 0
        y[i, j] = total
    return y


@pytest.mark.parametrize("size", [(7, 3), (2, 11), (1, 1), (5, 4), (10, 8)])
@pytest.mark.parametrize("align_corners", [False, True])
def test_bilinear_interpolation_is_a_sum_of_tents(rng, size, align_corners):
    x = rng.standard_normal((1, 1, 5, 4))
    y = ops.interpolate(x, size, mode="bilinear", align_corners=align_corners)
    np.testing.assert_allclose(y.numpy()[0, 0], reference(x[0, 0], size, align_corners), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("engine", ["textbook", "fast"])
@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
@pytest.mark.parametrize("mode", ["nearest", "nearest-exact", "bilinear"])
def test_an_infinity_or_nan_reaches_only_the_pixels_that_it_has_a_share_in(rng, engine, value, mode):
    x = rng.standard_normal((2, 64, 5, 5)).astype("f")
    x[1, 3, 2, 1] = value
    with mr.engine(engine):
        tensor = mr.tensor(x, requires_grad=True)
        y = ops.interpolate(tensor, (15, 15), mode=mode)  # with weights 1/3, 2/3 and 0
        shared = np.zeros((2, 64, 15, 15), bool)
        rows, columns = (slice(6, 9), slice(3, 6)) if mode != "bilinear" else (slice(5, 10), slice(2, 7))
        shared[1, 3, rows, columns] = True
        np.testing.assert_array_equal(np.isfinite(y.numpy()), ~shared)
        np.testing.assert_array_equal(y.numpy()[1, 3, 7, 4], value)  # the same pixel with weight 1
        upstream = rng.standard_normal(y.shape).astype("f")
        upstream[0, 9, 7, 4] = value
        y.backward(mr.tensor(upstream))
    expected = np.zeros(x.shape, bool)
    expected[0, 9, 2, 1] = True
    np.testing.assert_array_equal(~np.isfinite(tensor.grad.numpy()), expected)


@pytest.mark.parametrize("mode", ["nearest", "bilinear"])
def test_the_gradient_is_the_transposed_map(rng, mode):
    """<resize(x), v> = <x, backward(v)>, for the textbook and for the kernels."""
    x, v = rng.standard_normal((3, 16, 7, 6)), rng.standard_normal((3, 16, 5, 17))
    for dtype, tolerance in (("float64", 1e-12), ("float32", 1e-5)):
        tensor = mr.tensor(x.astype(dtype), requires_grad=True)
        y = ops.interpolate(tensor, (5, 17), mode=mode)
        y.backward(mr.tensor(v.astype(dtype)))
        assert (y.numpy() * v).sum() == pytest.approx((x * tensor.grad.numpy()).sum(), rel=tolerance)


def test_second_derivatives(rng):
    x = mr.tensor(rng.standard_normal((1, 2, 3, 4)), requires_grad=True)
    mr.gradcheck(lambda x: ops.interpolate(x, (5, 3), mode="bilinear") ** 3, x)
    (first,) = mr.grad((ops.interpolate(x, (5, 3), mode="bilinear") ** 3).sum(), [x], create_graph=True)
    v = rng.standard_normal(x.shape)
    (second,) = mr.grad((first * mr.tensor(v)).sum(), [x])
    step = 1e-5
    ends = []
    for sign in (1, -1):
        moved = mr.tensor(x.numpy() + sign * step * v, requires_grad=True)
        (ops.interpolate(moved, (5, 3), mode="bilinear") ** 3).sum().backward()
        ends.append(moved.grad.numpy())
    np.testing.assert_allclose(second.numpy(), (ends[0] - ends[1]) / (2 * step), rtol=1e-7, atol=1e-7)
