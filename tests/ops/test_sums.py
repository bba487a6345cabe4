"""Sums, means and variances of many small floats, held to ``math.fsum``, along every axis and in every memory order."""

from __future__ import annotations

import math

import numpy as np
import pytest

import minires as mr
from minires import ops

LONG = 70_001
LAYOUTS = {  # the reduced axes of an array with LONG elements along them, near 1000 and 3 apart
    "rows": ((LONG, 3), 0, lambda x: x),
    "columns": ((3, LONG), 1, lambda x: x),
    "columns of a transposed array": ((LONG, 3), 1, lambda x: x.T),
    "every second row": ((2 * LONG, 3), 0, lambda x: x[::2]),
    "backwards": ((LONG, 3), 0, lambda x: x[::-1]),
    "all": ((LONG,), None, lambda x: x),
    "all, transposed": ((2, LONG), None, lambda x: x.T),
    "images": ((70, 3, 10, 101), (0, 2, 3), lambda x: x),
    "channels-last images": ((70, 10, 101, 3), (0, 2, 3), lambda x: x.transpose(0, 3, 1, 2)),
}


def rows(x: np.ndarray, axis: int | tuple[int, ...] | None) -> list[list[float]]:
    """The numbers that belong to each result."""
    axes = tuple(range(x.ndim)) if axis is None else axis if isinstance(axis, tuple) else (axis,)
    kept = [a for a in range(x.ndim) if a not in axes]
    count = math.prod(x.shape[a] for a in kept)
    return np.asarray(x, "float64").transpose(*kept, *axes).reshape(count, -1).tolist()


def variance(row: list[float]) -> float:
    mean = math.fsum(row) / len(row)
    return math.fsum((v - mean) ** 2 for v in row) / (len(row) - 1)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_sum_mean_and_var_are_exact_to_the_last_digits(layout, dtype, rng):
    shape, axis, order = LAYOUTS[layout]
    near, spread = (0.25, 0.1) if dtype == "float16" else (1000, 1)  # float16 ends at 65,504
    x = order((rng.standard_normal(shape) * spread + near).astype(dtype))
    eps = np.finfo(dtype).eps
    for found, exact in (
        (ops.sum(x, axis), math.fsum),
        (ops.mean(x, axis), lambda row: math.fsum(row) / len(row)),
        (ops.var(x, axis), variance),
    ):
        assert found.dtype == dtype
        tolerance = max(4 * eps, 1e-9)
        np.testing.assert_allclose(np.ravel(found.numpy()), list(map(exact, rows(x, axis))), rtol=tolerance)


def test_std_is_the_root_of_the_variance_and_has_the_gradient_0_at_0(rng):
    x = rng.standard_normal((3, 40)).astype("float16") * 1000  # with a variance that float16 does not hold
    expected = [variance(row) ** 0.5 for row in x.tolist()]
    np.testing.assert_allclose(ops.std(x, 1).numpy(), expected, rtol=1e-3)
    flat = mr.tensor([2.0, 2.0, 2.0], requires_grad=True)
    (gradient,) = mr.grad(flat.std(), [flat], create_graph=True)
    gradient.sum().backward()
    assert gradient.numpy().tolist() == flat.grad.numpy().tolist() == [0.0, 0.0, 0.0]  # as in PyTorch, no NaN


def test_ones_are_counted_beyond_the_digits_of_float32():
    x = mr.Tensor.wrap(np.ones((17_000_000, 2), "float32"))
    assert ops.sum(x, 0).numpy().tolist() == [17_000_000] * 2
    assert ops.mean(x).item() == 1


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_the_gradient_of_what_was_broadcast_is_exact(dtype, rng):
    upstream = (rng.standard_normal((LONG, 3)) * 0.1 + 0.25).astype(dtype)
    bias, scale, number = (mr.tensor(np.ones(shape, dtype), requires_grad=True) for shape in [(3,), (1, 3), ()])
    ((mr.tensor(np.zeros((LONG, 3), dtype)) + bias) * scale + number).backward(upstream)
    weight = mr.tensor(np.ones((3, 2), dtype), requires_grad=True)
    offset = mr.tensor(np.ones(3, dtype), requires_grad=True)
    ops.linear(np.ones((LONG, 2), dtype), weight, offset).backward(upstream)
    expected = np.array([math.fsum(row) for row in rows(upstream, 0)])
    eps = np.finfo(dtype).eps
    for grad in (bias.grad, scale.grad, offset.grad):
        np.testing.assert_allclose(grad.numpy().reshape(3), expected, rtol=4 * eps)
    np.testing.assert_allclose(number.grad.item(), expected.sum(), rtol=4 * eps)


def test_float16_reduces_more_elements_than_it_can_count():
    x = mr.tensor(np.ones(LONG, "float16"), requires_grad=True)
    for op, value, gradient in ((ops.mean, 1, 1 / LONG), (ops.logsumexp, 1 + math.log(LONG), 1 / LONG)):
        (found,) = mr.grad(op(x), [x])
        assert op(x).item() == pytest.approx(value, rel=1e-3)
        np.testing.assert_allclose(found.numpy(), gradient, rtol=0.02)  # below the normal numbers of float16


@pytest.mark.parametrize("dtype", ["bool", "uint8", "int32", "int64"])
def test_integers_and_booleans_are_counted_in_int64(dtype):
    found = ops.sum(np.ones(300, dtype))
    assert (found.dtype, found.item()) == (np.int64, 300)
    assert ops.sum(np.ones(300, dtype), dtype="float32").dtype == np.float32
    assert ops.mean(np.ones(300, dtype), dtype="float64").dtype == np.float64
    assert ops.sum(np.full(3, 100, "uint8"), dtype="uint8").item() == 300 % 256
