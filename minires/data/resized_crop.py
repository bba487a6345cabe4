"""A random part of each image, brought to one size."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from ..core import checks
from ..core.checks import Pair
from ..errors import ArgumentError
from .dataset import Array, check_batch

TRIES = 10


class RandomResizedCrop:
    """Cut a random rectangle out of each image and resize it (Szegedy et al., arXiv 1409.4842, section 6).

    As in torchvision: the rectangle's area is a uniform random part of the image's, the logarithm of its width by its
    height is uniform, too, and so is its place. If 10 of them do not fit into the image, the largest central
    rectangle is taken whose proportions are allowed. Resizing is bilinear; made smaller, it averages over all pixels.

    Parameters
    ----------
    size : int or (int, int)
        Height and width of the new images.
    scale : (float, float)
        The smallest and the largest part of the image's area.
    ratio : (float, float)
        The smallest and the largest width by height.

    Raises
    ------
    ArgumentError
        For sizes below 1, and for ``scale`` or ``ratio`` other than 0 < low <= high.

    Examples
    --------
    >>> crop = RandomResizedCrop(24)
    >>> crop(np.zeros((2, 3, 32, 40), np.uint8), np.random.default_rng(0)).shape
    (2, 3, 24, 24)
    """

    def __init__(
        self, size: Pair, scale: Sequence[float] = (0.08, 1.0), ratio: Sequence[float] = (3 / 4, 4 / 3)
    ) -> None:
        self.size = checks.pair("RandomResizedCrop", size, "size", 1)
        self.scale, self.ratio = _range("scale", scale), _range("ratio", ratio)

    def __call__(self, batch: Array, rng: np.random.Generator) -> Array:
        """A batch of the same dtype, (N, C, size). Raises ShapeError or DTypeError for what is no batch of images."""
        n, _, height, width = check_batch("RandomResizedCrop", batch)
        top, left, rows, columns = self.rectangles(n, height, width, rng)
        dtype = np.dtype(np.float32) if batch.dtype == np.uint8 else batch.dtype
        down = _weights(top, rows, height, self.size[0]).astype(dtype)  # (N, OH, H)
        across = _weights(left, columns, width, self.size[1]).astype(dtype)  # (N, OW, W)
        resized = down[:, None] @ batch.astype(dtype, copy=False) @ across[:, None].swapaxes(2, 3)  # (N, C, OH, OW)
        return np.rint(resized).astype(np.uint8) if batch.dtype == np.uint8 else resized

    def rectangles(
        self, n: int, height: int, width: int, rng: np.random.Generator
    ) -> tuple[Array, Array, Array, Array]:
        """Top, left, height and width, (N,) each, of random rectangles in images of ``height`` by ``width``."""
        area = height * width * rng.uniform(*self.scale, (TRIES, n))
        narrow, wide = map(math.log, self.ratio)
        ratio = np.exp(rng.uniform(narrow, wide, (TRIES, n)))
        rows, columns = np.rint(np.sqrt(area / ratio)), np.rint(np.sqrt(area * ratio))  # (TRIES, N)
        fits = (rows > 0) & (rows <= height) & (columns > 0) & (columns <= width)
        first = fits.argmax(axis=0), np.arange(n)
        found = fits[first]

        whole = min(max(width / height, self.ratio[0]), self.ratio[1])  # the nearest ratio to the image's own
        largest = max(round(min(height, width / whole)), 1), max(round(min(width, height * whole)), 1)
        rows = np.where(found, rows[first], largest[0]).astype(np.int64)  # (N,)
        columns = np.where(found, columns[first], largest[1]).astype(np.int64)
        top = np.where(found, rng.integers(0, height - rows + 1), (height - rows) // 2)
        left = np.where(found, rng.integers(0, width - columns + 1), (width - columns) // 2)
        return top, left, rows, columns

    def __repr__(self) -> str:
        return f"RandomResizedCrop(size={self.size}, scale={self.scale}, ratio={self.ratio})"


def _weights(first: Array, length: Array, pixels: int, outputs: int) -> Array:
    """How much of each pixel is in each output, along one axis: (N, outputs, pixels), whose rows sum to 1.

    The weight falls linearly from the output's centre to nothing, over the distance of one pixel, or of one output if
    that is more. Pixels beside the N pieces ``first`` to ``first + length`` take no part.
    """
    first, length = first[:, None, None], length[:, None, None]  # (N, 1, 1)
    step = length / outputs
    centre = first + (np.arange(outputs)[:, None] + 0.5) * step  # (N, outputs, 1)
    pixel = np.arange(pixels)
    weights = np.maximum(1 - np.abs(pixel + 0.5 - centre) / np.maximum(step, 1), 0)  # (N, outputs, pixels)
    weights *= (first <= pixel) & (pixel < first + length)
    return weights / weights.sum(axis=2, keepdims=True)


def _range(name: str, value: Sequence[float]) -> tuple[float, float]:
    low, high = value if isinstance(value, (tuple, list)) and len(value) == 2 else (math.nan, math.nan)
    if not (checks.is_number(low) and checks.is_number(high) and 0 < low <= high < math.inf):
        raise ArgumentError(f"RandomResizedCrop: {name} is {value!r}; it must be two numbers, 0 < low <= high.")
    return float(low), float(high)
