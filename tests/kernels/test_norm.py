"""The kernels of batch norm for numbers of channels and pixels that do and do not fill their rows of vectors."""

from __future__ import annotations

import numpy as np
import pytest

import minires as mr
from minires.core.dispatch import load_kernels
from minires.kernels.cpu import DEVICE
from minires.kernels.norm import batch_norm, batch_norm_backward
from minires.ops.norm import BatchNorm, BatchNormAct

load_kernels("cpu")
CHANNELS = (1, 3, 5, 16, 17, 24, 33, 2048)
SIZES = {"one image": (1, 9, 7), "one pixel": (3, 1, 1), "many single pixels": (201, 1, 1), "images": (13, 11, 10)}
THREADS = (1, 3)


@pytest.fixture(params=THREADS)
def threads(request, monkeypatch):
    monkeypatch.setattr("minires.kernels.threads._setting", request.param)
    monkeypatch.setattr("minires.kernels.threads.WORTH_A_THREAD", 0)
    return request.param


def some(rng, n, h, w, c):
    return mr.Tensor.wrap(rng.standard_normal((n, h, w, c)).astype("f").transpose(0, 3, 1, 2))


def run(op, dy, *tensors):
    """The kernels' output and gradients, called directly: the textbook would take small arrays."""
    for tensor in tensors:
        tensor.requires_grad = True
    with mr.engine("textbook"), np.errstate(invalid="ignore"):
        op(*tensors)  # records the inputs
    y = batch_norm(DEVICE, op, *(tensor.data for tensor in tensors))
    return [y, *batch_norm_backward(DEVICE, op, dy.data)]


def reference(x, gamma, beta, dy, relu, shortcut=0.0):
    """The formulas of Ioffe and Szegedy, in float64."""
    x, gamma, beta, dy = (np.float64(array) for array in (x, gamma, beta, dy))
    axes, view = (0, 2, 3), (1, -1, 1, 1)
    count = x.size // len(gamma)
    mean, std = x.mean(axes).reshape(view), np.sqrt(x.var(axes) + 1e-5).reshape(view)
    normalised = (x - mean) / std
    y = normalised * gamma.reshape(view) + beta.reshape(view) + shortcut
    g = np.where(y <= 0, 0, dy) if relu else dy
    dgamma, dbeta = (g * normalised).sum(axes), g.sum(axes)
    dx = g - dbeta.reshape(view) / count - normalised * dgamma.reshape(view) / count
    return np.maximum(y, 0) if relu else y, dx * gamma.reshape(view) / std, dgamma, dbeta, g


def agree(found, expected, tolerance=1e-5):
    for mine, right in zip(found, expected, strict=False):  # without a shortcut, there is one gradient less
        np.testing.assert_allclose(mine, right, rtol=0, atol=tolerance * max(1, np.abs(right).max()))


@pytest.mark.parametrize("channels", CHANNELS)
@pytest.mark.parametrize("size", SIZES)
def test_any_number_of_channels_and_pixels(channels, size, threads, rng):
    x, dy, shortcut = (some(rng, *SIZES[size], channels) for _ in range(3))
    gamma, beta = (mr.tensor(rng.standard_normal(channels).astype("f")) for _ in range(2))
    arrays = x.data, gamma.data, beta.data, dy.data
    agree(run(BatchNorm(1e-5), dy, x, gamma, beta), reference(*arrays, False))
    agree(run(BatchNormAct(1e-5, None, "relu"), dy, x, gamma, beta), reference(*arrays, True))
    op = BatchNormAct(1e-5, None, "relu")
    agree(run(op, dy, x, gamma, beta, shortcut), reference(*arrays, True, np.float64(shortcut.data)))
    agree([DEVICE.norm.channel_sums(DEVICE.channels_last(x.data))], [np.float64(x.data).sum((0, 2, 3))])


@pytest.mark.parametrize("channels", [3, 16, 33])
def test_means_that_are_large_and_first_pixels_unlike_the_others(channels, threads, rng):
    x = some(rng, 7, 20, 20, channels)
    x.data += 1000
    x.data[0, :, 0] = -5000
    block, ones = DEVICE.channels_last(x.data), np.ones(channels, "f")
    mean, var, _ = DEVICE.norm.train(block, ones, ones, 1e-5, None, np.empty_like(block), True)
    np.testing.assert_allclose(mean, np.float64(x.data).mean((0, 2, 3)), rtol=1e-7)
    np.testing.assert_allclose(var, np.float64(x.data).var((0, 2, 3)), rtol=1e-5)


def test_repeated_calls_give_the_same_bits(threads, rng):
    x, dy, shortcut = (some(rng, 13, 11, 10, 24) for _ in range(3))
    gamma, beta = (mr.tensor(rng.standard_normal(24).astype("f")) for _ in range(2))
    first = run(BatchNormAct(1e-5, None, "relu"), dy, x, gamma, beta, shortcut)
    for _ in range(20):
        again = run(BatchNormAct(1e-5, None, "relu"), dy, x, gamma, beta, shortcut)
        for a, b in zip(first, again, strict=True):
            np.testing.assert_array_equal(a, b)


def test_a_channel_with_an_infinite_number_leaves_the_others_alone(threads, rng):
    x, dy = (some(rng, 5, 12, 12, 24) for _ in range(2))
    x.data[4, 7, 11, 11] = np.inf
    gamma, beta = mr.tensor(np.ones(24, "f")), mr.tensor(np.zeros(24, "f"))
    y, dx, dgamma, _ = run(BatchNorm(1e-5), dy, x, gamma, beta)
    for array in (y.sum((0, 2, 3)), dx.sum((0, 2, 3)), dgamma):
        assert np.isnan(array[7]) and np.isfinite(np.delete(array, 7)).all()
    sums = DEVICE.norm.channel_sums(DEVICE.channels_last(x.data))
    assert sums[7] == np.inf and np.isfinite(np.delete(sums, 7)).all()
