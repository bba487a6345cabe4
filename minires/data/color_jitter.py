"""Colours of a batch, a little different for each image."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from ..core import checks
from ..errors import ArgumentError, ShapeError, sizes
from .dataset import Array, check_batch

GREY = (0.2989, 0.587, 0.114)  # of red, green and blue: how bright the eye sees them (ITU-R BT.601)
Strength = float | Sequence[float]


class ColorJitter:
    """Brightness, contrast and saturation of each image times random factors, as torchvision defines them.

    Each is a blend, factor * image + (1 - factor) * faded, cut off at black and white. Faded of its brightness a
    image is black, of its contrast the mean of its grey everywhere, and of its saturation grey. A factor below 1
    fades, one above 1 does the opposite. The order of the three is random, for the whole batch.

    It belongs before ``Normalize``: it takes bytes, or floats from 0 (black) to 1 (white).

    Parameters
    ----------
    brightness, contrast, saturation : float or (float, float)
        A number v >= 0 stands for factors of max(0, 1 - v) to 1 + v; two numbers are the smallest and the largest
        factor. 0 leaves it as it is.

    Raises
    ------
    ArgumentError
        For other values.

    Examples
    --------
    >>> twice_as_bright = ColorJitter(brightness=(2, 2))
    >>> images = np.array([0, 50, 200], np.uint8).reshape(1, 1, 1, 3)
    >>> twice_as_bright(images, np.random.default_rng(0)).ravel()
    array([  0, 100, 255], dtype=uint8)
    """

    def __init__(self, brightness: Strength = 0, contrast: Strength = 0, saturation: Strength = 0) -> None:
        self.brightness = _factors("brightness", brightness)
        self.contrast = _factors("contrast", contrast)
        self.saturation = _factors("saturation", saturation)

    def __call__(self, batch: Array, rng: np.random.Generator) -> Array:
        """A batch of the same shape and dtype; bytes are rounded once, at the end.

        Raises
        ------
        ShapeError
            If the batch is not (N, C, H, W), with 1 or 3 channels.
        DTypeError
            If it holds neither uint8 nor floats.
        ArgumentError
            If it holds floats outside of [0, 1].
        """
        n, channels, _, _ = check_batch("ColorJitter", batch)
        if channels not in (1, 3):
            raise ShapeError(f"ColorJitter: the batch ({sizes(batch.shape)}) has {channels} channels, not 1 or 3.")
        is_bytes = batch.dtype == np.uint8
        if not is_bytes and not (batch.min() >= 0 and batch.max() <= 1):
            raise ArgumentError(
                f"ColorJitter: the batch runs from {batch.min():g} to {batch.max():g}, but floats must lie in [0, 1]; "
                "put it before Normalize."
            )
        white = 255 if is_bytes else 1
        images = batch.astype(np.float32 if is_bytes else batch.dtype)
        for name in rng.permutation(["brightness", "contrast", "saturation"]):
            low, high = getattr(self, name)
            if low == high == 1:
                continue
            factor = rng.uniform(low, high, (n, 1, 1, 1)).astype(images.dtype)
            images = np.clip(factor * images + (1 - factor) * _faded(name, images), 0, white)
        return np.rint(images).astype(np.uint8) if is_bytes else images

    def __repr__(self) -> str:
        return f"ColorJitter(brightness={self.brightness}, contrast={self.contrast}, saturation={self.saturation})"


def _faded(name: str, images: Array) -> Array | int:
    if name == "brightness":
        return 0
    red_green_blue = np.array(GREY, images.dtype).reshape(3, 1, 1)  # (3, 1, 1)
    grey = images if images.shape[1] == 1 else (images * red_green_blue).sum(axis=1, keepdims=True)
    return grey if name == "saturation" else grey.mean(axis=(1, 2, 3), keepdims=True)  # (N, 1, H, W) or (N, 1, 1, 1)


def _factors(name: str, value: Strength) -> tuple[float, float]:
    """The smallest and the largest factor."""
    if isinstance(value, (tuple, list)):
        low, high = value if len(value) == 2 else (math.nan, math.nan)
        if not (checks.is_number(low) and checks.is_number(high) and 0 <= low <= high < math.inf):
            raise ArgumentError(f"ColorJitter: {name} is {value!r}; two factors must be numbers, 0 <= low <= high.")
        return float(low), float(high)
    strength = checks.not_negative("ColorJitter", value, name)
    return max(0.0, 1 - strength), 1 + strength
