"""Intermediate results must neither overflow nor underflow where the gradient itself does not."""

from __future__ import annotations

import numpy as np
import pytest

import minires as mr

NORMS = {
    "layer_norm": lambda x: mr.ops.layer_norm(x, (x.shape[-1],)),
    "group_norm": lambda x: mr.ops.group_norm(x, 2),
    "batch_norm": lambda x: mr.ops.batch_norm(
        x, np.ones(x.shape[1], x.dtype), np.zeros(x.shape[1], x.dtype), None, None, training=True
    ),
}


@pytest.mark.parametrize("engine", ["textbook", "fast"])
@pytest.mark.parametrize("scale", [1e-18, 1e-9, 1e9, 1e14, 1e17])
@pytest.mark.parametrize("norm", NORMS)
def test_norms_have_accurate_gradients_whatever_the_scale_of_x(norm, scale, engine, rng):
    """In float32, var**-1.5 is 0 from 1e15 on. In float64, nothing is lost."""
    numbers = (scale * rng.standard_normal((8, 6, 5, 8))).astype("f")
    upstream = rng.standard_normal(numbers.shape).astype("f")
    found = []
    for dtype in ("float64", "float32"):
        x = mr.tensor(numbers.astype(dtype), requires_grad=True)
        with mr.engine(engine):
            y = NORMS[norm](x)
            found.append([y.numpy(), *(g.numpy() for g in mr.grad(y, x, mr.tensor(upstream.astype(dtype)))[:1])])
    for right, got in zip(*found, strict=True):
        assert got.dtype == np.float32
        assert np.abs(got - right).max() < 1e-5 * np.abs(right).max()


@pytest.mark.parametrize("scale", [1e-30, 1e-20, 1e20, 1e30])
def test_a_standard_deviation_whose_square_float32_cannot_hold(scale, rng):
    """std(s * x) = s * std(x), and so its gradient does not depend on s."""
    numbers, upstream = rng.standard_normal((7, 6)), rng.standard_normal(7)
    deviation = numbers - numbers.mean(1, keepdims=True)
    right = np.sqrt((deviation**2).sum(1) / 5)
    x = mr.tensor((scale * numbers).astype("f"), requires_grad=True)
    y = mr.ops.std(x, axis=1)
    (grad,) = mr.grad(y, x, mr.tensor(upstream.astype("f")))
    np.testing.assert_allclose(y.numpy(), scale * right, rtol=1e-5)
    np.testing.assert_allclose(grad.numpy(), upstream[:, None] * deviation / right[:, None] / 5, rtol=1e-4, atol=1e-6)
