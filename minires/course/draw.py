"""The inputs of a property: random ones for a test, small and simple ones for an example to try."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..core.backend import Array

MOST_TRIES = 1000


class Draw:
    """Draws sizes and arrays, and remembers the Python expression that creates each array.

    Parameters
    ----------
    seed : int, optional
        The seed of random inputs. Without it, inputs are an example: arrays count 1, 2, 3, ..., and sizes are small.
    scale : int
        How large an example is, from 0 to 3: it must be large enough to show the bug.
    """

    def __init__(self, seed: int | None = None, scale: int = 0) -> None:
        self.rng = None if seed is None else np.random.default_rng(seed)
        self.seed, self.scale = seed, scale
        # Keyed by the id of the array. The arrays are kept alive, so that no other array gets the same id.
        self._code: dict[int, tuple[Array, str]] = {}

    def sizes(self, *ranges: tuple[int, int, int]) -> tuple[int, ...]:
        """Draw a size for each range, which is (smallest in an example, smallest in a test, largest).

        In a test, all sizes are different, so that mixing up two of them is noticed. Examples grow with the scale: at
        0, all sizes are the smallest; at 1, every second one is larger; at 2, the others are; at 3, all of them.
        """
        if self.rng is None:
            larger = ((0, 0), (0, 1), (1, 0), (1, 2))[self.scale]
            return tuple(min(least + larger[k % 2], high) for k, (least, _, high) in enumerate(ranges))
        for _ in range(MOST_TRIES):
            sizes = tuple(int(self.rng.integers(low, high + 1)) for _, low, high in ranges)
            if len(set(sizes)) == len(sizes):
                return sizes
        raise ValueError(f"{ranges} do not allow sizes that are all different")

    def one_of(self, choices: Sequence[Any]) -> Any:
        """Choose one of several values, at random or, in an example, by the scale."""
        return choices[self.scale % len(choices) if self.rng is None else int(self.rng.integers(len(choices)))]

    def normal(self, *shape: int) -> Array:
        """Draw float64 numbers of both signs, all different; in an example, they count 1, 2, 3, ..."""
        return self._array(f"normal(size={shape})", f"np.arange(1.0, {math.prod(shape) + 1}).reshape{shape}")

    def negative(self, *shape: int) -> Array:
        """Draw float64 numbers below zero, all different."""
        return self._array(f"uniform(-2, -1, {shape})", f"-np.arange(1.0, {math.prod(shape) + 1}).reshape{shape}")

    def ties(self, *shape: int) -> Array:
        """Draw float64 numbers, many of which are equal; in an example, all are."""
        return self._array(f"integers(0, 2, {shape}).astype(float)", f"np.ones({shape})")

    def constant(self, *shape: int) -> Array:
        """Draw an array of equal float64 numbers."""
        return self._array(f"uniform(-2, 2) + np.zeros({shape})", f"np.ones({shape})")

    def zeros(self, *shape: int) -> Array:
        """Return an array of float64 zeros."""
        return self._array("", f"np.zeros({shape})")

    def number(self) -> int:
        """Draw a seed for a function that itself draws random numbers."""
        return 0 if self.rng is None else int(self.rng.integers(2**31))

    def code(self, array: Array) -> str:
        """Return the expression that creates an array, which must have been drawn here."""
        return self._code[id(array)][1]

    def _array(self, random: str, plain: str) -> Array:
        code = plain
        if self.rng is not None and random:
            code = f"np.random.default_rng({int(self.rng.integers(2**31))}).{random}"
        array: Array = eval(code, {"np": np})  # so that the code that is shown creates the array that was used
        self._code[id(array)] = (array, code)
        return array


def seed_of(secret: str, *words: object) -> int:
    """Return the seed of a trial. Without the secret, nobody can predict its numbers.

    >>> seed_of("a", "im2col", 0) == seed_of("a", "im2col", 0) != seed_of("b", "im2col", 0)
    True
    """
    text = "\0".join([secret, *map(str, words)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:16], "big")
