"""Transforms of a batch of images before the network sees it: augmentation and normalisation.

A transform is called with a whole batch (N, C, H, W) and a random generator, and returns a new batch. It draws all its
random numbers from that generator, so generators with the same seed give the same images.

The order matters. First come transforms of bytes, which move pixels or change colours (``RandomResizedCrop``,
``PadCrop``, ``Flip``, ``ColorJitter``), then ``Normalize``, then transforms of normalised values (``Cutout``). Apply
``MixUp`` to the batches of a loader, because it also needs their labels.

All transforms take bytes (uint8) or floats. Where black and white matter, as in ``Normalize`` and ``ColorJitter``,
floats must be in [0, 1].

Transforms with ``on_any_device`` also take batches on the GPU; they use the same random numbers as on the CPU.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..core import checks
from ..core.backend import Array, array_module
from ..core.calls import missing_name
from ..core.dispatch import run_kernel
from ..errors import ArgumentError, ShapeError, sizes
from .augmentation import (
    ColorJitter,
    Cutout,
    Described,
    MixUp,
    RandomResizedCrop,
    check_batch,
    check_range,
    to_device_of,
)
from .dataset import LabelledSource, Split, Transform

MEASURED_AT_ONCE = 256  # images whose pixels are counted at a time
ENOUGH = 4096  # images to measure if they have to be read from files


class Compose(Described):
    """Apply several transforms one after the other: ``Compose([PadCrop(4), Flip(), Normalize.of(train)])``.

    Raises ArgumentError if one of them is not callable.
    """

    def __init__(self, transforms: Sequence[Transform]) -> None:
        for transform in transforms:
            if not callable(transform):
                raise ArgumentError(f"Compose: {transform!r} is not a transform: it must take (batch, rng).")
        self.transforms = list(transforms)

    @property
    def on_any_device(self) -> bool:
        """Whether all transforms take batches on the GPU."""
        return all(getattr(transform, "on_any_device", False) for transform in self.transforms)

    def __call__(self, batch: Array, rng: np.random.Generator) -> Array:
        for transform in self.transforms:
            batch = transform(batch, rng)
        return batch


class Normalize(Described):
    """Convert bytes to float32 with a mean of about 0 and a variance of about 1 per channel: (x / 255 - mean) / std.

    It also takes floats in [0, 1], as :func:`to_float` makes them; these are not divided by 255.

    Parameters
    ----------
    mean, std : sequence of float, one per channel
        Mean and standard deviation of each channel of the training images, scaled to [0, 1].

    Raises
    ------
    ArgumentError
        If ``mean`` and ``std`` are empty or differ in length, if a value of ``mean`` is not in [0, 1], or if a value of
        ``std`` is not in (0, 1].

    Examples
    --------
    >>> normalize = Normalize(mean=[0.5], std=[0.25])
    >>> normalize(np.array([0, 255], np.uint8).reshape(2, 1, 1, 1)).ravel()
    array([-2.,  2.], dtype=float32)
    """

    on_any_device = True

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        for name, values in (("mean", mean), ("std", std)):
            if isinstance(values, str) or not hasattr(values, "__len__"):
                raise ArgumentError(
                    f"Normalize: {name} is {values!r}; it must have a number for each channel, such as [0.5, 0.5, 0.5]."
                )
        if len(mean) != len(std) or not len(mean):
            raise ArgumentError(f"Normalize: mean has {len(mean)} values and std has {len(std)}; a channel needs both.")
        self.mean = [_scaled("mean", value, lambda value: 0 <= value <= 1, "[0, 1]") for value in mean]
        self.std = [_scaled("std", value, lambda value: 0 < value <= 1, "(0, 1]") for value in std]

    @classmethod
    def of(cls, split: LabelledSource) -> Normalize:
        """Return a transform with the statistics of ``split``.

        It should be the training split: statistics of the test split would leak into the result. If a channel is
        constant, its standard deviation of 0 is replaced by 1, so normalising gives 0. If the images have to be read
        from files, only every k-th image is measured, 4,096 images at most.
        """
        every = 1 if isinstance(split, Split) else -(-len(split) // ENOUGH)
        chosen = np.arange(0, len(split), every)
        # Counting the 256 values of each channel needs no float copy of all images. But bincount converts its input to
        # int64, which would take 400 MB for a channel of CIFAR-10, so it gets only some of the images at a time.
        counts = np.zeros((split.image_shape[-3], 256), np.int64)
        for start in range(0, len(chosen), MEASURED_AT_ONCE):
            some, _ = split[chosen[start : start + MEASURED_AT_ONCE]]
            counts += [np.bincount(channel.ravel(), minlength=256) for channel in np.moveaxis(some, -3, 0)]
        values = np.arange(256) / 255
        mean = counts @ values / counts.sum(axis=1)  # (C,)
        variance = (counts * (values - mean[:, None]) ** 2).sum(axis=1) / counts.sum(axis=1)  # (C,)
        return cls(mean.tolist(), np.where(variance > 0, np.sqrt(variance), 1.0).tolist())

    def __call__(self, batch: Array, rng: np.random.Generator | None = None) -> Array:
        """Return the normalised batch, images (N, C, H, W) or clips (N, T, C, H, W), as float32.

        Raises
        ------
        ShapeError
            If the batch has other axes, or another number of channels than ``mean`` has values.
        DTypeError
            If it holds neither uint8 nor floats.
        ArgumentError
            If it holds floats outside of [0, 1].
        """
        if batch.ndim == 5 and batch.shape[2] == len(self.mean):
            return self(batch.reshape(-1, *batch.shape[2:])).reshape(batch.shape)
        if batch.ndim != 4 or batch.shape[1] != len(self.mean):
            raise ShapeError(
                f"Normalize: the batch is {sizes(batch.shape)}, but it must be (N, C, H, W) with "
                f"{len(self.mean)} channels, like the images that were measured."
            )
        statistics = (np.array(values, np.float32).reshape(-1, 1, 1) for values in (self.mean, self.std))  # (C, 1, 1)
        mean, std = (to_device_of(batch, values) for values in statistics)
        is_bytes = check_range("Normalize", batch)
        fast = run_kernel(self, "forward", batch, mean, std)
        if fast is not NotImplemented:
            return fast
        values = batch.astype(np.float32)
        return ((values / 255 if is_bytes else values) - mean) / std


def _scaled(name: str, value: Any, fits: Callable[[float], bool], interval: str) -> float:
    """Check a mean or a standard deviation of images that are scaled to [0, 1]."""
    of_bytes = checks.is_number(value) and 1 < value <= 255
    advice = "; divide the mean and std of bytes by 255" if of_bytes else ""
    return checks.number("Normalize", value, name, fits, f"lie in {interval}{advice}")


class PadCrop(Described):
    """Shift each image by up to ``padding`` pixels along both axes, filling with zeros.

    It pads all four sides and crops the result at random to the original size (He et al., arXiv 1512.03385, section
    4.2, with 4 pixels for 32x32).

    Parameters
    ----------
    padding : int
        The number of pixels that are added on each side.

    Raises
    ------
    ArgumentError
        If ``padding`` is not an integer >= 1.
    """

    on_any_device = True

    def __init__(self, padding: int) -> None:
        self.padding = checks.integer("PadCrop", padding, "padding", 1)

    def __call__(self, batch: Array, rng: np.random.Generator) -> Array:
        (n, c, height, width), p = check_batch("PadCrop", batch), self.padding
        top, left = (to_device_of(batch, offsets) for offsets in rng.integers(0, 2 * p + 1, size=(2, n)))
        fast = run_kernel(self, "forward", batch, top, left)
        if fast is not NotImplemented:
            return fast
        xp = array_module(batch)
        padded = xp.zeros((n, c, height + 2 * p, width + 2 * p), batch.dtype)
        padded[:, :, p : p + height, p : p + width] = batch
        rows, columns = top[:, None] + xp.arange(height), left[:, None] + xp.arange(width)  # (N, H) and (N, W)
        images, channels = xp.arange(n)[:, None, None, None], xp.arange(c)[:, None, None]
        return padded[images, channels, rows[:, None, :, None], columns[:, None, None, :]]  # (N, C, H, W)


class Flip(Described):
    """Mirror each image left to right with probability 1/2.

    Use it only if the mirror image has the same class: a mirrored cat is a cat, but a mirrored 2 is not a digit.
    """

    on_any_device = True

    def __call__(self, batch: Array, rng: np.random.Generator) -> Array:
        n, *_ = check_batch("Flip", batch)
        mirrored = to_device_of(batch, rng.random(n) < 0.5)
        fast = run_kernel(self, "forward", batch, mirrored)
        if fast is not NotImplemented:
            return fast
        return array_module(batch).where(mirrored[:, None, None, None], batch[..., ::-1], batch)


def to_float(batch: Array, rng: Any = None) -> Array:
    """Convert bytes to float32 in [0, 1], as a loader without a transform does.

    Floats in [0, 1] keep their values. Raises DTypeError or ArgumentError for other numbers.
    """
    values = batch.astype(np.float32)
    return values / 255 if check_range("to_float", batch) else values


__all__ = [
    "ColorJitter", "Compose", "Cutout", "Flip", "MixUp", "Normalize", "PadCrop", "RandomResizedCrop", "to_float",
]  # fmt: skip

__getattr__ = missing_name("mr.data.transforms", __all__, {
    "ToTensor": "to_float", "RandomCrop": "PadCrop(padding)", "RandomHorizontalFlip": "Flip()",
    "RandomErasing": "Cutout(size)", "Resize": "mr.ops.interpolate(images, size)",
})  # fmt: skip
