"""Batch normalisation on the GPU; norm.cu explains the algorithm."""

from __future__ import annotations

from ...core.backend import Array
from ..norm import Statistics
from .launch import THREADS, empty, for_each, launch

SLICES = 256  # the largest number of slices: enough blocks for every multiprocessor, and few results to merge
PIXELS = 8  # the fewest pixels that a thread should read


def _grid(x: Array) -> tuple[int, int, int]:
    """Return (slices, groups of channels, lanes). Each block of threads handles ``lanes`` neighbouring channels."""
    channels = x.shape[-1]
    lanes = min(32, 1 << (channels - 1).bit_length())
    rows = THREADS // lanes
    return max(1, min(SLICES, x.size // channels // (rows * PIXELS))), -(-channels // lanes), lanes


def statistics(x: Array, gamma: Array, eps: float) -> Statistics:
    channels = x.shape[-1]
    slices, groups, lanes = _grid(x)
    partial, mean, var, scale = empty(slices, 3, channels), empty(channels), empty(channels), empty(channels)
    launch("norm", "moments", (slices, groups), THREADS, x, partial, x.size // channels, channels, lanes)
    results = partial, gamma, mean, var, scale
    launch("norm", "finish_moments", (1, groups), THREADS, *results, eps, slices, channels, lanes)
    return mean, var, scale


def normalise(x: Array, mean: Array, scale: Array, beta: Array, shortcut: Array | None, y: Array, relu: bool) -> None:
    for_each("norm", "normalise", y.size, x, mean, scale, beta, shortcut, y, relu, x.shape[-1])


def train(x: Array, gamma: Array, beta: Array, eps: float, shortcut: Array | None, y: Array, relu: bool) -> Statistics:
    """Normalise x with its own statistics, which are returned."""
    mean, var, scale = statistics(x, gamma, eps)
    normalise(x, mean, scale, beta, shortcut, y, relu)
    return mean, var, scale


def gradients(
    x: Array, dy: Array, y: Array | None, statistics: Statistics, beta: Array | None, eps: float, masked: Array,
    dx: Array,
) -> tuple[Array, Array]:  # fmt: skip
    """Fill ``dx``, and ``masked`` if y is given; return the gradients with respect to gamma and beta.

    If y or beta is given, there was a ReLU. It passed the positive elements of y or, without y, of the normalised x.
    """
    mean, var, scale = statistics
    channels = x.shape[-1]
    pixels = x.size // channels
    slices, groups, lanes = _grid(x)
    partial = empty(slices, 2, channels)
    arguments = x, dy, y, mean, scale, beta, masked, partial, pixels, channels, lanes
    launch("norm", "gradient_sums", (slices, groups), THREADS, *arguments)
    dgamma, dbeta, slope, offset = (empty(channels) for _ in range(4))
    sums = partial, var, scale, dgamma, dbeta, slope, offset
    launch("norm", "finish_sums", (1, groups), THREADS, *sums, eps, slices, pixels, channels, lanes)
    for_each("norm", "gradient", dx.size, x, masked, mean, scale, beta, slope, offset, dx, channels)
    return dgamma, dbeta


def channel_sums(block: Array) -> Array:
    """Return the sum of each channel of a block (..., C)."""
    return block.sum(axis=tuple(range(block.ndim - 1)))
