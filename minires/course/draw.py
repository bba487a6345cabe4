"""Where the inputs of a property come from: random ones for a test, small and simple ones for an example to try."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
MOST_TRIES = 1000


class Draw:
    """Draws sizes and arrays, and remembers the line of Python that makes each array.

    Parameters
    ----------
    seed : int, optional
        For random inputs. Without a seed, inputs are an example: arrays count 1, 2, 3, ..., and sizes are small.
    scale : int
        How large an example is, from 0 to 3: it must be large enough to show the bug.
    """

    def __init__(self, seed: int | None = None, scale: int = 0) -> None:
        self.rng = None if seed is None else np.random.default_rng(seed)
        self.seed, self.scale = seed, scale
        # By identity. The arrays are kept, so that no other takes the place of one.
        self._code: dict[int, tuple[Array, str]] = {}

    def sizes(self, *ranges: tuple[int, int, int]) -> tuple[int, ...]:
        """A size for each (smallest of an example, smallest, largest).

        In a test they are all different, so that mixing up two sizes shows. Examples grow with the scale: at 0 all
        sizes are the smallest, then every second one is larger, then the others are, then all of them.
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
        """One of several choices, at random or, in examples, by the scale."""
        return choices[self.scale % len(choices) if self.rng is None else int(self.rng.integers(len(choices)))]

    def normal(self, *shape: int) -> Array:
        """float64 numbers of both signs, all of them different."""
        return self._array(f"normal(size={shape})", f"np.arange(1.0, {math.prod(shape) + 1}).reshape{shape}")

    def negative(self, *shape: int) -> Array:
        """float64 numbers below zero, all of them different."""
        return self._array(f"uniform(-2, -1, {shape})", f"-np.arange(1.0, {math.prod(shape) + 1}).reshape{shape}")

    def ties(self, *shape: int) -> Array:
        """float64 numbers, many of which are equal; in an example all are."""
        return self._array(f"integers(0, 2, {shape}).astype(float)", f"np.ones({shape})")

    def constant(self, *shape: int) -> Array:
        """float64 numbers, all equal."""
        return self._array(f"uniform(-2, 2) + np.zeros({shape})", f"np.ones({shape})")

    def zeros(self, *shape: int) -> Array:
        """float64 zeros."""
        return self._array("", f"np.zeros({shape})")

    def number(self) -> int:
        """A seed for a function that draws random numbers itself."""
        return 0 if self.rng is None else int(self.rng.integers(2**31))

    def code(self, array: Array) -> str:
        """The expression that makes an array drawn here."""
        return self._code[id(array)][1]

    def _array(self, random: str, plain: str) -> Array:
        code = plain
        if self.rng is not None and random:
            code = f"np.random.default_rng({int(self.rng.integers(2**31))}).{random}"
        array: Array = eval(code, {"np": np})  # what is shown is what was used
        self._code[id(array)] = (array, code)
        return array


def seed_of(secret: str, *words: object) -> int:
    """The seed of a trial. Without the secret, nobody can predict its numbers.

    >>> seed_of("a", "im2col", 0) == seed_of("a", "im2col", 0) != seed_of("b", "im2col", 0)
    True
    """
    text = "\0".join([secret, *map(str, words)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:16], "big")
