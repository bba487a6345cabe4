"""What happens to a batch of images on its way into the network.

A transform is called with a whole batch (N, C, H, W) and a random generator, and returns a new batch. It draws its
random numbers from that generator alone, so that the same generator gives the same images.

Bytes are changed first, by transforms that know them as colours or move them (``RandomResizedCrop``, ``PadCrop``,
``Flip``, ``ColorJitter``); then come ``Normalize`` and what works on its numbers (``Cutout``). ``MixUp`` mixes what a
loader gave, since it also needs to know the labels of two images.

Those with ``on_any_device`` take batches on the GPU as well, with the random numbers that they would draw on the CPU.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..core import checks
from ..core.backend import array_module, device_of, to_device
from ..core.dispatch import run_kernel
from ..errors import ArgumentError, DTypeError, ShapeError, sizes
from .color_jitter import ColorJitter
from .dataset import Array, LabelledSource, Split, Transform, check_batch
from .resized_crop import RandomResizedCrop

MEASURED_AT_ONCE = 256  # images
ENOUGH = 4096  # of images that have to be read from files


class Compose:
    """Transforms that run one after the other: ``Compose([PadCrop(4), Flip(), Normalize.of(train)])``.

    Raises ArgumentError if one of them cannot be called.
    """

    def __init__(self, transforms: Sequence[Transform]) -> None:
        for transform in transforms:
            if not callable(transform):
                raise ArgumentError(f"Compose: {transform!r} is no transform; it must be callable with (batch, rng).")
        self.transforms = list(transforms)

    @property
    def on_any_device(self) -> bool:
        """Whether all of them are."""
        return all(getattr(transform, "on_any_device", False) for transform in self.transforms)

    def __call__(self, batch: Array, rng: np.random.Generator) -> Array:
        for transform in self.transforms:
            batch = transform(batch, rng)
        return batch

    def __repr__(self) -> str:
        return f"Compose({self.transforms})"


class Normalize:
    """Bytes to float32 numbers of about mean 0 and variance 1 in each channel: (x / 255 - mean) / std.

    Parameters
    ----------
    mean, std : sequence of float, one for each channel
        Of the training images scaled to [0, 1].

    Raises
    ------
    ArgumentError
        If there is not one mean and one std > 0 for each channel.

    Examples
    --------
    >>> normalize = Normalize(mean=[0.5], std=[0.25])
    >>> normalize(np.array([0, 255], np.uint8).reshape(2, 1, 1, 1)).ravel()
    array([-2.,  2.], dtype=float32)
    """

    on_any_device = True

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        if len(mean) != len(std) or not len(mean):
            raise ArgumentError(f"Normalize: there are {len(mean)} means but {len(std)} stds; each channel needs both.")
        for value in std:
            checks.positive("Normalize", value, "std")
        self.mean, self.std = [float(value) for value in mean], [float(value) for value in std]

    @classmethod
    def of(cls, split: LabelledSource) -> Normalize:
        """Measure ``split``: the training split, since whatever is measured of the test split leaks into the result.

        A channel that is the same everywhere has no spread to divide by; it becomes 0. Of a source that reads its
        images when they are asked for, every k-th is measured, so that it is about 4,096 at most.
        """
        every = 1 if isinstance(split, Split) else -(-len(split) // ENOUGH)
        chosen = np.arange(0, len(split), every)
        # Counting the 256 values of each channel needs no copy of all the images as floats. bincount makes one as
        # int64, though, which would take 400 MB for CIFAR-10: so it gets some at a time.
        counts = np.zeros((split.image_shape[0], 256), np.int64)
        for start in range(0, len(chosen), MEASURED_AT_ONCE):
            some, _ = split[chosen[start : start + MEASURED_AT_ONCE]]
            counts += [np.bincount(channel.ravel(), minlength=256) for channel in some.swapaxes(0, 1)]
        values = np.arange(256) / 255
        mean = counts @ values / counts.sum(axis=1)  # (C,)
        variance = (counts * (values - mean[:, None]) ** 2).sum(axis=1) / counts.sum(axis=1)  # (C,)
        return cls(mean.tolist(), np.where(variance > 0, np.sqrt(variance), 1.0).tolist())

    def __call__(self, batch: Array, rng: np.random.Generator | None = None) -> Array:
        """The batch as float32, of the same shape. Raises ShapeError if it has other channels than were measured."""
        if batch.ndim != 4 or batch.shape[1] != len(self.mean):
            raise ShapeError(
                f"Normalize: the batch is {sizes(batch.shape)}, but it must be (N, C, H, W) with "
                f"{len(self.mean)} channels, as the images that were measured."
            )
        statistics = (np.array(values, np.float32).reshape(-1, 1, 1) for values in (self.mean, self.std))  # (C, 1, 1)
        mean, std = (_beside(batch, values) for values in statistics)
        fast = run_kernel(self, "forward", batch, mean, std)
        return (batch.astype(np.float32) / 255 - mean) / std if fast is NotImplemented else fast

    def __repr__(self) -> str:
        return f"Normalize(mean={self.mean}, std={self.std})"


class PadCrop:
    """Move each image by up to ``padding`` pixels along both axes; zeros come in from the border.

    It pads all four sides and cuts a window of the old size out of the result (He et al., arXiv 1512.03385,
    section 4.2, with 4 pixels for 32x32).

    Parameters
    ----------
    padding : int
        In pixels.

    Raises
    ------
    ArgumentError
        If ``padding`` is no integer >= 1.
    """

    on_any_device = True

    def __init__(self, padding: int) -> None:
        self.padding = checks.integer("PadCrop", padding, "padding", 1)

    def __call__(self, batch: Array, rng: np.random.Generator) -> Array:
        (n, c, height, width), p = batch.shape, self.padding
        top, left = (_beside(batch, offsets) for offsets in rng.integers(0, 2 * p + 1, size=(2, n)))
        fast = run_kernel(self, "forward", batch, top, left)
        if fast is not NotImplemented:
            return fast
        xp = array_module(batch)
        padded = xp.zeros((n, c, height + 2 * p, width + 2 * p), batch.dtype)
        padded[:, :, p : p + height, p : p + width] = batch
        rows, columns = top[:, None] + xp.arange(height), left[:, None] + xp.arange(width)  # (N, H) and (N, W)
        images, channels = xp.arange(n)[:, None, None, None], xp.arange(c)[:, None, None]
        return padded[images, channels, rows[:, None, :, None], columns[:, None, None, :]]  # (N, C, H, W)

    def __repr__(self) -> str:
        return f"PadCrop({self.padding})"


class Flip:
    """Mirror each image left to right with probability 1/2.

    For images whose mirror image is of the same class: a mirrored cat is a cat, a mirrored 2 is no digit.
    """

    on_any_device = True

    def __call__(self, batch: Array, rng: np.random.Generator) -> Array:
        mirrored = _beside(batch, rng.random(len(batch)) < 0.5)
        fast = run_kernel(self, "forward", batch, mirrored)
        if fast is not NotImplemented:
            return fast
        return array_module(batch).where(mirrored[:, None, None, None], batch[..., ::-1], batch)

    def __repr__(self) -> str:
        return "Flip()"


class Cutout:
    """Fill a square of each image with zeros (DeVries & Taylor, arXiv 1708.04552).

    Its centre is any pixel, so that a part of the square may lie outside of the image; section 3.2 found that to
    matter. After ``Normalize``, as in the paper, zero is the mean colour; in bytes it would be black.

    Parameters
    ----------
    length : int
        The side of the square, in pixels: the paper has 16 for CIFAR-10 and 8 for CIFAR-100.

    Raises
    ------
    ArgumentError
        If ``length`` is no integer >= 1.

    Examples
    --------
    >>> cut = Cutout(2)(np.ones((1, 1, 4, 4), np.float32), np.random.default_rng(0))
    >>> int(cut.sum())  # 16 pixels without a square of 4
    12
    """

    def __init__(self, length: int) -> None:
        self.length = checks.integer("Cutout", length, "length", 1)

    def __call__(self, batch: Array, rng: np.random.Generator) -> Array:
        """A batch of the same shape and dtype. Raises ShapeError or DTypeError for what is no batch of images."""
        n, _, height, width = check_batch("Cutout", batch)
        tops = rng.integers(0, height, n) - self.length // 2
        lefts = rng.integers(0, width, n) - self.length // 2
        cut = batch.copy(order="K")  # with the channels last in memory if they were
        for image, top, left in zip(cut, tops, lefts, strict=True):
            image[:, max(top, 0) : top + self.length, max(left, 0) : left + self.length] = 0
        return cut

    def __repr__(self) -> str:
        return f"Cutout({self.length})"


class MixUp:
    """Mix each image with a random one of its batch (Zhang et al., arXiv 1710.09412, section 2).

    The target is then lam of the one class and 1 - lam of the other. Cross-entropy is linear in the target, so that
    two of them do what one with probabilities would, and labels stay class numbers, which can be counted::

        mixed, partners, lam = mixup(images, rng)
        logits = model(tensor(mixed))
        loss = lam * cross_entropy(logits, labels) + (1 - lam) * cross_entropy(logits, labels[partners])

    Parameters
    ----------
    alpha : float
        lam is drawn from Beta(alpha, alpha), once for a batch: near 0 or 1 for a small alpha, anywhere for 1. The
        paper has 1 for CIFAR-10 and 0.2 for ImageNet.

    Raises
    ------
    ArgumentError
        If ``alpha`` is no number > 0.
    """

    def __init__(self, alpha: float = 1.0) -> None:
        self.alpha = checks.positive("MixUp", alpha, "alpha")

    def __call__(self, images: Array, rng: np.random.Generator) -> tuple[Array, Array, float]:
        """Mix floats (N, C, H, W).

        Returns
        -------
        mixed : array, (N, C, H, W), of the same dtype
            lam * images + (1 - lam) * images[partners].
        partners : array of int64, (N,)
            The number of the image that each was mixed with.
        lam : float
            In [0, 1].

        Raises
        ------
        ShapeError
            If ``images`` is not (N, C, H, W).
        DTypeError
            If it does not hold floats: bytes would have to be rounded.
        """
        n, *_ = check_batch("MixUp", images)
        if images.dtype == np.uint8:
            raise DTypeError(
                f"MixUp: the images ({sizes(images.shape)}) are uint8, but floats are needed; mix what Normalize gives."
            )
        lam = float(rng.beta(self.alpha, self.alpha))
        partners = rng.permutation(n)
        return lam * images + (1 - lam) * images[_beside(images, partners)], partners, lam

    def __repr__(self) -> str:
        return f"MixUp({self.alpha:g})"


def _beside(batch: Array, numbers: Array) -> Array:
    """Numbers that were drawn on the CPU, where the batch is."""
    return to_device(numbers, device_of(batch))


def to_float(batch: Array, rng: Any = None) -> Array:
    """Bytes to float32 in [0, 1], of the same shape: what a loader without a transform does."""
    return batch.astype(np.float32) / 255


__all__ = [
    "ColorJitter",
    "Compose",
    "Cutout",
    "Flip",
    "MixUp",
    "Normalize",
    "PadCrop",
    "RandomResizedCrop",
    "to_float",
]
