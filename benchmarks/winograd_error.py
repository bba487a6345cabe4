"""Measure the rounding error of Winograd's algorithm for different points: python benchmarks/winograd_error.py

A 3x3 convolution is computed in float32 in several ways and compared with float64. The error is the largest difference,
divided by the largest output. The inputs are nonnegative, as after a ReLU; the weights have He initialisation. The
transforms follow the Toom-Cook construction, so only the points differ. The output::

    channels                                    16      64     256
    direct                                 2.3e-07 4.8e-07 3.9e-07
    F(2x2, 3x3) at 0, 1, -1                1.5e-07 3.3e-07 5.8e-07
    F(4x4, 3x3) at 0, 1, -1, 2, -2         2.2e-06 6.0e-06 1.0e-05
    F(4x4, 3x3) at 0, 3/4, -3/4, 3/2, -3/2 6.1e-07 1.5e-06 2.5e-06
"""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

IMAGES, SIZE = 16, 24
CHANNELS = (16, 64, 256)
WAYS = {
    "F(2x2, 3x3) at 0, 1, -1": (0, 1, -1),
    "F(4x4, 3x3) at 0, 1, -1, 2, -2": (0, 1, -1, 2, -2),
    "F(4x4, 3x3) at 0, 3/4, -3/4, 3/2, -3/2": (0, 0.75, -0.75, 1.5, -1.5),
}


def maps(points: tuple[float, ...]) -> tuple[Array, Array, Array]:
    """Return the matrices (spread, values, collect) for a filter of three numbers, at the given points and infinity.

    A product of two polynomials can be computed from their values at some points: evaluate both, multiply the values,
    and interpolate, which is the inverse of evaluation. Convolution is the transpose of such a product.
    """
    size = len(points) + 1  # coefficients of the product

    def at_points(count: int) -> Array:
        at_infinity = np.eye(count)[-1:]
        return np.concatenate([np.vander(np.array(points, float), count, increasing=True), at_infinity])

    distances = [np.prod([p - q for q in points if q != p]) for p in points] + [1.0]
    spread = np.linalg.inv(at_points(size)).T * np.array(distances)[:, None]
    return spread, at_points(3) / np.array(distances)[:, None], at_points(size - 2).T


def winograd(x: Array, weight: Array, points: tuple[float, ...]) -> Array:
    """Return the convolution of x (N, C, H, W) with weight (O, C, 3, 3), all computed in float32."""
    spread, values, collect = (m.astype(np.float32) for m in maps(points))
    step, size = collect.shape  # outputs and inputs of a patch
    patches = np.lib.stride_tricks.sliding_window_view(x, (size, size), (2, 3))[:, :, ::step, ::step]
    d = spread @ (patches @ spread.T)  # (N, C, rows, columns, size, size)
    g = values @ (weight @ values.T)  # (O, C, size, size)
    n, c, rows, columns = d.shape[:4]
    left = np.ascontiguousarray(d.transpose(4, 5, 0, 2, 3, 1)).reshape(size, size, -1, c)
    products = left @ g.transpose(2, 3, 1, 0)  # (size, size, patches, O)
    y = collect @ (products.transpose(2, 3, 0, 1) @ collect.T)  # (patches, O, step, step)
    y = y.reshape(n, rows, columns, -1, step, step)
    return y.transpose(0, 3, 1, 4, 2, 5).reshape(n, -1, rows * step, columns * step)


def direct(x: Array, weight: Array) -> Array:
    oh, ow = x.shape[2] - 2, x.shape[3] - 2
    columns = [x[:, :, i : i + oh, j : j + ow] for i in range(3) for j in range(3)]
    matrix = np.stack(columns, 2).reshape(len(x), -1, oh * ow)  # (N, C*9, OH*OW)
    return (weight.reshape(len(weight), -1) @ matrix).reshape(len(x), -1, oh, ow)


def main() -> None:
    rng = np.random.default_rng(0)
    errors: dict[str, list[float]] = {}
    for channels in CHANNELS:
        x = np.maximum(rng.standard_normal((IMAGES, channels, SIZE + 2, SIZE + 2)) + 0.5, 0).astype(np.float32)
        weight = (rng.standard_normal((channels, channels, 3, 3)) * (2 / (9 * channels)) ** 0.5).astype(np.float32)
        expected = direct(x.astype(float), weight.astype(float))
        found = {"direct": direct(x, weight)} | {way: winograd(x, weight, points) for way, points in WAYS.items()}
        for way, y in found.items():
            errors.setdefault(way, []).append(np.abs(y - expected).max() / np.abs(expected).max())
    width = max(map(len, errors))
    print("channels".ljust(width), *(f"{channels:7d}" for channels in CHANNELS))
    for way, numbers in errors.items():
        print(way.ljust(width), *(f"{number:7.1e}" for number in numbers))


if __name__ == "__main__":
    main()
