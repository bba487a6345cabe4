"""Tensors as a page can hold them: a byte for each number, the range that it stands for, and exact statistics."""

from __future__ import annotations

import base64
import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from ..core.backend import Array

EXACT = 64  # numbers: so many are shown as they are
LEVELS = 254  # the bytes 1 to 255; 0 stands for NaN and infinity


def shown_part(shape: tuple[int, ...], limit: int) -> tuple[int, ...]:
    """How much of each axis fits into ``limit`` numbers, always the first ones.

    The last two axes are an image or a matrix, which is cut only if it does not fit by itself.

    >>> shown_part((128, 16, 32, 32), 4096), shown_part((640,), 100), shown_part((50, 200), 900)
    ((1, 4, 32, 32), (100,), (30, 30))
    """
    if 0 in shape:
        return shape
    *leading, height, width = (1, 1, *shape)
    shown_width = min(width, max(math.isqrt(limit), limit // height))
    shown_height = min(height, limit // shown_width)
    left = limit // (shown_height * shown_width)
    shown = [shown_height, shown_width]
    for size in reversed(leading):
        shown.insert(0, min(size, left))
        left //= shown[0]
    return tuple(shown[len(shown) - len(shape) :])


def common_limit(counts: Iterable[int], budget: int) -> int:
    """The largest limit for which ``sum(min(count, limit))`` stays within ``budget``; at least 16.

    >>> common_limit([10, 100, 1000], 250)
    140
    """
    ordered = sorted(counts)
    left = budget
    for position, count in enumerate(ordered):
        share = left // (len(ordered) - position)
        if count > share:
            return max(share, 16)
        left -= count
    return max(ordered[-1], 16) if ordered else 16


def encode(array: Array, limit: int) -> dict[str, Any]:
    """``array`` for the page: its shape, its statistics, and its first numbers as bytes in base64.

    Bytes 1 to 255 are even steps over ``range``, which is (-m, m) for the largest magnitude m where a number is
    negative, so that 128 is zero, and (0, m) elsewhere, where 1 is zero.
    """
    shown = shown_part(array.shape, limit)
    numbers = array.astype(np.float64)
    finite = numbers[np.isfinite(numbers)]
    largest = float(np.abs(finite).max(initial=0))
    low = -largest if finite.min(initial=0) < 0 else 0.0
    part = numbers[tuple(slice(size) for size in shown)]
    return {
        "shape": list(array.shape),
        "dtype": str(array.dtype),
        "shown": list(shown),
        "range": [low, largest],
        "bytes": base64.b64encode(_quantised(part, low, largest).tobytes()).decode("ascii"),
        "exact": [_json(x) for x in part.ravel()] if part.size <= EXACT else None,
        "stats": _statistics(numbers, finite),
    }


def _quantised(numbers: Array, low: float, high: float) -> Array:
    known = np.isfinite(numbers)
    scaled = np.where(known, numbers, 0) / (high or 1)  # -1 to 1 where numbers are signed, else 0 to 1
    steps = ((scaled + 1) / 2 if low < 0 else scaled) * LEVELS
    return np.where(known, np.rint(steps) + 1, 0).astype(np.uint8)


def _statistics(numbers: Array, finite: Array) -> dict[str, Any]:
    """Of the whole array. The smallest, the largest, mean and deviation are those of its finite numbers, if any."""
    stats: dict[str, Any] = {"min": None, "max": None, "mean": None, "std": None}
    with np.errstate(over="ignore", invalid="ignore"):
        if finite.size:
            found = {"min": finite.min(), "max": finite.max(), "mean": finite.mean(), "std": finite.std()}
            stats = {name: _json(number) for name, number in found.items()}
        stats["norm"] = _json(norm(numbers))
    return {**stats, "zeros": int((numbers == 0).sum()), "not_finite": numbers.size - finite.size}


def norm(array: Array) -> float:
    """The L2 norm, summed in float64."""
    return float(np.sqrt(np.square(array.astype(np.float64)).sum()))


def _json(number: float) -> float | str:
    """JSON has no NaN and no infinity: they become the strings that JavaScript's Number() takes."""
    if math.isnan(number):
        return "NaN"
    return float(f"{number:.9g}") if math.isfinite(number) else ("Infinity" if number > 0 else "-Infinity")
