"""The reference for A2: its functions written directly from their definitions, with one loop for each index.

They are slow, but simple enough to be checked by reading. Expected values come from here. In later questions these
functions also replace a student's own earlier ones, in a process without minires, so they need nothing but NumPy. A
window may be given by single numbers, because a student's own im2col may accept more than the question asks for.
"""

from collections.abc import Iterator
from itertools import product
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]  # this file must not import minires: it runs where minires is not installed


def pair(value: Any) -> tuple[int, int]:
    """Return a pair of integers, given a pair or a single number."""
    height, width = (value, value) if np.ndim(value) == 0 else value
    return int(height), int(width)


def output_size(image: tuple[int, int], kernel_size: Any, stride: Any, padding: Any) -> tuple[int, int]:
    """Return how many windows fit vertically and horizontally."""
    axes = zip(image, pair(kernel_size), pair(stride), pair(padding), strict=True)
    rows, columns = (len(range(0, size + 2 * p - k + 1, s)) for size, k, s, p in axes)
    return rows, columns


def reads(x_shape: Any, kernel_size: Any, stride: Any, padding: Any) -> Iterator[tuple[int, int, int, int, int, int]]:
    """Yield p, q, i, j and the row and column of x that element (i, j) of window (p, q) sees, except in the padding."""
    _, _, h, w = x_shape
    (kh, kw), (sh, sw), (ph, pw) = pair(kernel_size), pair(stride), pair(padding)
    oh, ow = output_size((h, w), kernel_size, stride, padding)
    for p, q, i, j in product(range(oh), range(ow), range(kh), range(kw)):
        row, column = p * sh + i - ph, q * sw + j - pw
        if 0 <= row < h and 0 <= column < w:
            yield p, q, i, j, row, column


def im2col(x: Array, kernel_size: Any, stride: Any = 1, padding: Any = 0) -> Array:
    n, c, h, w = x.shape
    kh, kw = pair(kernel_size)
    cols = np.zeros((n, *output_size((h, w), kernel_size, stride, padding), c, kh, kw), x.dtype)
    for p, q, i, j, row, column in reads(x.shape, kernel_size, stride, padding):
        cols[:, p, q, :, i, j] = x[:, :, row, column]
    return cols.reshape(*cols.shape[:3], c * kh * kw)


def col2im(cols: Array, x_shape: Any, kernel_size: Any, stride: Any = 1, padding: Any = 0) -> Array:
    kh, kw = pair(kernel_size)
    windows = cols.reshape(*cols.shape[:3], x_shape[1], kh, kw)
    x = np.zeros(tuple(x_shape), cols.dtype)
    for p, q, i, j, row, column in reads(x_shape, kernel_size, stride, padding):
        x[:, :, row, column] += windows[:, p, q, :, i, j]
    return x


def conv_forward(x: Array, weight: Array, bias: Array, stride: Any = 1, padding: Any = 0) -> Array:
    o, _, kh, kw = weight.shape
    y = np.zeros((len(x), o, *output_size(x.shape[2:], (kh, kw), stride, padding)))
    for p, q, i, j, row, column in reads(x.shape, (kh, kw), stride, padding):
        y[:, :, p, q] += (x[:, None, :, row, column] * weight[None, :, :, i, j]).sum(axis=2)  # sum over C
    return y + np.asarray(bias)[:, None, None]


def conv_backward(dy: Array, x: Array, weight: Array, stride: Any = 1, padding: Any = 0) -> tuple[Array, Array, Array]:
    dx, dweight = np.zeros(x.shape), np.zeros(weight.shape)
    for p, q, i, j, row, column in reads(x.shape, weight.shape[2:], stride, padding):
        for o in range(len(weight)):
            upstream = dy[:, o, p, q][:, None]  # (N, 1)
            dx[:, :, row, column] += upstream * weight[o, :, i, j]
            dweight[o, :, i, j] += (upstream * x[:, :, row, column]).sum(axis=0)
    return dx, dweight, np.array([dy[:, o].sum() for o in range(len(weight))])


def kaiming_normal(weight_shape: Any, seed: int) -> Array:
    deviation = (2 / np.prod(weight_shape[1:])) ** 0.5
    return deviation * np.random.default_rng(seed).standard_normal(tuple(weight_shape))


def max_pool_forward(x: Array, kernel_size: Any, stride: Any, padding: Any = 0) -> Array:
    y = np.full((*x.shape[:2], *output_size(x.shape[2:], kernel_size, stride, padding)), -np.inf)
    for p, q, _, _, row, column in reads(x.shape, kernel_size, stride, padding):
        y[:, :, p, q] = np.maximum(y[:, :, p, q], x[:, :, row, column])
    return y


def max_pool_backward(dy: Array, x: Array, kernel_size: Any, stride: Any, padding: Any = 0) -> Array:
    y, dx = max_pool_forward(x, kernel_size, stride, padding), np.zeros(x.shape)
    given = np.zeros(y.shape, bool)
    for p, q, _, _, row, column in reads(x.shape, kernel_size, stride, padding):
        first = (x[:, :, row, column] == y[:, :, p, q]) & ~given[:, :, p, q]
        dx[:, :, row, column] += first * dy[:, :, p, q]
        given[:, :, p, q] |= first
    return dx


def avg_pool_forward(x: Array, kernel_size: Any, stride: Any, padding: Any = 0) -> Array:
    kh, kw = pair(kernel_size)
    y = np.zeros((*x.shape[:2], *output_size(x.shape[2:], kernel_size, stride, padding)))
    for p, q, _, _, row, column in reads(x.shape, kernel_size, stride, padding):
        y[:, :, p, q] += x[:, :, row, column] / (kh * kw)
    return y


def avg_pool_backward(dy: Array, x_shape: Any, kernel_size: Any, stride: Any, padding: Any = 0) -> Array:
    kh, kw = pair(kernel_size)
    dx = np.zeros(tuple(x_shape))
    for p, q, _, _, row, column in reads(x_shape, kernel_size, stride, padding):
        dx[:, :, row, column] += dy[:, :, p, q] / (kh * kw)
    return dx


def global_avg_pool_forward(x: Array) -> Array:
    _, _, h, w = x.shape
    return sum((x[:, :, row, column] for row in range(h) for column in range(w)), np.zeros(x.shape[:2])) / (h * w)


def global_avg_pool_backward(dy: Array, x_shape: Any) -> Array:
    dx = np.zeros(tuple(x_shape))
    for row, column in np.ndindex(*x_shape[2:]):
        dx[:, :, row, column] = dy / (x_shape[2] * x_shape[3])
    return dx
