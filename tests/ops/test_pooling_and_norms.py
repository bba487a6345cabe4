"""Pooling and normalisation of extreme numbers, and their arguments as in PyTorch."""

from __future__ import annotations

import numpy as np
import pytest

import minires as mr
from minires import ops

INF, NAN = float("inf"), float("nan")


@pytest.fixture(params=["fast", "textbook"], autouse=True)
def _engine(request):
    with mr.engine(request.param):
        yield


@pytest.mark.parametrize("channels", [1, 32])  # 32 are enough for a kernel
def test_the_first_pixel_of_a_window_of_infinities_gets_the_gradient_not_the_padding(channels):
    x = mr.tensor(np.full((2, channels, 5, 4), -INF, "f"), requires_grad=True)
    y = ops.max_pool2d(x, 3, 2, 1)
    y.backward(mr.tensor(np.arange(1.0, 1 + y.size, dtype="f").reshape(y.shape)))
    assert (y.numpy() == -INF).all()
    expected = np.zeros(x.shape, "f")  # windows begin in rows -1, 1, 3 and columns -1, 1
    expected[:, :, [[0], [1], [3]], [[0, 1]]] = np.arange(1.0, 1 + y.size).reshape(y.shape)
    np.testing.assert_array_equal(x.grad.numpy(), expected)


def test_a_masked_gradient_is_selected_not_multiplied():
    """inf * 0 would be NaN."""
    x = mr.tensor([[[[1.0, 4.0], [2.0, 3.0]]]], requires_grad=True)
    ops.max_pool2d(x, 2).backward(mr.tensor([[[[INF]]]]))
    np.testing.assert_array_equal(x.grad.numpy(), [[[[0, INF], [0, 0]]]])
    x = mr.tensor(np.full((2, 1), -1.0, "f"), requires_grad=True)
    one, shortcut = np.ones(1, "f"), mr.tensor(np.zeros((2, 1), "f"), requires_grad=True)
    y = ops.batch_norm(x, one, one * 0, one * 0, one, False, shortcut=shortcut, activation="relu")
    for grad in mr.grad(y, (x, shortcut), mr.tensor([[INF], [NAN]]), create_graph=True):
        np.testing.assert_array_equal(grad.numpy(), [[0], [0]])


@pytest.mark.parametrize("shape", [(64, 1, 100, 100), (6, 32, 9, 9), (200_000, 3)], ids=str)
def test_batch_norm_of_numbers_far_from_zero(shape, rng):
    """float32 holds these numbers with a spacing of 6e-5, so their mean is off by up to 0.003 of their deviation."""
    x = (1000 + 0.01 * rng.standard_normal(shape)).astype("f")
    axes, view = (0, *range(2, len(shape))), (1, -1, *(1,) * (len(shape) - 2))
    mean, var = np.zeros(shape[1], "f"), np.zeros(shape[1], "f")
    y = ops.batch_norm(x, None, None, mean, var, True, momentum=1.0).numpy()
    wide = x.astype("f8")
    centre, spread = wide.mean(axis=axes), wide.var(axis=axes)
    np.testing.assert_allclose(mean, centre, rtol=1e-7)
    np.testing.assert_allclose(var, wide.var(axis=axes, ddof=1), rtol=1e-4)
    expected = (wide - centre.reshape(view)) / np.sqrt(spread.reshape(view) + 1e-5)
    np.testing.assert_allclose(y, expected, atol=0.004)


@pytest.mark.parametrize("op", ["avg_pool2d", "global_avg_pool2d", "adaptive_avg_pool2d"])
def test_means_of_large_images(op, rng):
    x = (1000 + rng.standard_normal((1, 3, 300, 400))).astype("f").transpose(0, 1, 3, 2)
    y = getattr(ops, op)(x, *{"avg_pool2d": [(400, 300)], "adaptive_avg_pool2d": [1]}.get(op, []))
    np.testing.assert_allclose(y.numpy().ravel(), x.astype("f8").mean(axis=(0, 2, 3)), rtol=1e-7)


def test_float16_is_normalised_in_float32(rng):
    x = (300 * rng.standard_normal((4, 6, 50, 5))).astype("float16")
    x[0, 0, 0] = 60_000
    leaf = mr.tensor(x, requires_grad=True)
    wide = x.astype("f8")
    cases = [
        (ops.batch_norm(leaf, training=True), wide, (0, 2, 3)),
        (ops.layer_norm(leaf, (50, 5)), wide, (2, 3)),
        (ops.group_norm(leaf, 3), wide.reshape(4, 3, -1), (2,)),
    ]
    for y, rows, axes in cases:
        assert y.dtype == np.float16
        expected = (rows - rows.mean(axes, keepdims=True)) / np.sqrt(rows.var(axes, keepdims=True) + 1e-5)
        np.testing.assert_allclose(y.numpy().reshape(rows.shape), expected, rtol=2e-3, atol=2e-3)
        (grad,) = mr.grad((y * y).sum(), leaf)
        assert grad.dtype == np.float16 and np.isfinite(grad.numpy()).all()
