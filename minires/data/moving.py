"""Random changes of images that move boxes and masks along, and treat all frames of a clip alike.

Such a transform has the class attribute ``moves_targets = True``, and is called as ``transform(images, targets, rng)``.
It takes images, uint8 or floats (N, C, H, W), or clips (N, T, C, H, W), and one of three kinds of targets: a list of N
:class:`~minires.data.annotated.Objects`, masks (N, H, W), or classes (N,), which it returns unchanged.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..core import checks
from ..core.backend import Array
from ..errors import ArgumentError, ShapeError, sizes
from .annotated import IGNORED, Objects
from .augmentation import Described

LEAST_LEFT = 0.2  # an object is dropped if less than this share of its box is left in the image


class FlipWithTargets(Described):
    """Mirror each image with probability 0.5, with its boxes or mask; all frames of a clip alike.

    Use it only if the mirror image has the same class: in a mirrored clip, what moved to the left moves to the right.

    Examples
    --------
    >>> images, objects = np.zeros((1, 3, 8, 10), np.uint8), [Objects([[1, 2, 4, 6]], [0])]
    >>> _, moved = FlipWithTargets()(images, objects, np.random.default_rng(2))
    >>> moved[0].boxes
    array([[6., 2., 9., 6.]], dtype=float32)
    """

    moves_targets = True

    def __call__(self, images: Array, targets: Any, rng: np.random.Generator) -> tuple[Array, Any]:
        """Return new images and their targets. Raises ShapeError if they do not fit each other."""
        check_targets("FlipWithTargets", images, targets)
        mirrored = rng.random(len(images)) < 0.5
        images = images.copy()
        images[mirrored] = images[mirrored][..., ::-1]
        width = images.shape[-1]
        if holds_objects(targets):
            return images, [
                Objects(np.abs(found.boxes[:, [2, 1, 0, 3]] - [width, 0, width, 0]), found.labels, found.crowd)
                if flip
                else found
                for found, flip in zip(targets, mirrored, strict=True)
            ]
        if np.ndim(targets) == 3:
            targets = targets.copy()
            targets[mirrored] = targets[mirrored][..., ::-1]
        return images, targets


class RandomScaleCrop(Described):
    """Enlarge or shrink each image by a random factor, and cut out or fill up a rectangle of the old size.

    An enlarged image is cut at a random place; a shrunk one is put at a random place of a grey image. Images are
    resized bilinearly; shrinking averages over all pixels. A pixel of a mask is that at its centre in the old mask;
    pixels outside of the old mask are ignored (255). Boxes are cut at the edge of the image, and dropped if less than
    20 % of their area is left: the network then sees what is left of the object as background.

    Parameters
    ----------
    scale : (float, float)
        The smallest and the largest factor. Their logarithms are uniformly distributed.
    fill : float
        The value of pixels outside of the old image.

    Raises
    ------
    ArgumentError
        If ``scale`` is not two numbers, 0 < low <= high, or ``fill`` is not a number from 0 to 255.

    Examples
    --------
    >>> images, objects = np.zeros((1, 3, 8, 10), np.uint8), [Objects([[1, 2, 4, 6]], [0])]
    >>> _, moved = RandomScaleCrop(scale=(0.5, 0.5))(images, objects, np.random.default_rng(0))
    >>> moved[0].boxes[:, 2:] - moved[0].boxes[:, :2]
    array([[1.5, 2. ]], dtype=float32)
    """

    moves_targets = True

    def __init__(self, scale: Sequence[float] = (0.5, 1.5), fill: float = 124) -> None:
        low, high = scale if isinstance(scale, (tuple, list)) and len(scale) == 2 else (0.0, 0.0)
        if not (checks.is_number(low) and checks.is_number(high) and 0 < low <= high < np.inf):
            raise ArgumentError(f"RandomScaleCrop: scale is {scale!r}; it must be two numbers, 0 < low <= high.")
        self.scale = float(low), float(high)
        self.fill = checks.number("RandomScaleCrop", fill, "fill", lambda v: 0 <= v <= 255, "be from 0 to 255")

    def __call__(self, images: Array, targets: Any, rng: np.random.Generator) -> tuple[Array, Any]:
        """Return new images and their targets. Raises ShapeError if they do not fit each other."""
        check_targets("RandomScaleCrop", images, targets)
        n, (height, width) = len(images), images.shape[-2:]
        low, high = np.log(self.scale)
        scale = np.exp(rng.uniform(low, high, n))
        # The new image is a window of the old one, which sticks out of it if it is larger.
        rows, columns = height / scale, width / scale  # (N,) each
        top, left = rng.random(n) * (height - rows), rng.random(n) * (width - columns)

        down, across = (
            resizing_weights(top, rows, height),
            resizing_weights(left, columns, width),
        )  # (N, H, H), (N, W, W)
        if images.ndim == 5:
            down, across = down[:, None], across[:, None]  # the same for all frames
        resized = down[..., None, :, :] @ images.astype(np.float32) @ across[..., None, :, :].swapaxes(-1, -2)
        inside = (down.sum(axis=-1)[..., :, None] * across.sum(axis=-1)[..., None, :] > 0.5)[..., None, :, :]
        resized = np.where(inside, resized, np.float32(self.fill))  # (N, C, H, W) or (N, T, C, H, W)
        resized = np.rint(resized).astype(np.uint8) if images.dtype == np.uint8 else resized.astype(images.dtype)

        if holds_objects(targets):
            corners = np.stack([left, top, left, top], axis=1)  # (N, 4)
            moved = [(found.boxes - corners[i]) * scale[i] for i, found in enumerate(targets)]  # (M, 4) each
            return resized, [
                cut_objects(boxes, found, height, width) for boxes, found in zip(moved, targets, strict=True)
            ]
        if np.ndim(targets) == 3:
            y, x = nearest(top, rows, height), nearest(left, columns, width)  # (N, H), (N, W)
            filled = np.pad(targets, ((0, 0), (0, 1), (0, 1)), constant_values=IGNORED)  # (N, H + 1, W + 1)
            targets = filled[np.arange(n)[:, None, None], y[:, :, None], x[:, None, :]]  # (N, H, W)
        return resized, targets


class ComposeWithTargets(Described):
    """Apply several transforms one after the other to images and their targets.

    Those with ``moves_targets`` get both. The others, such as ``ColorJitter`` and ``Normalize``, get the images only,
    and must not move pixels. They see a clip of T frames as one image of height T * H, so that they change all of its
    frames alike.

    Raises ArgumentError if one of them is not callable.

    Examples
    --------
    >>> from minires.data.transforms import Normalize
    >>> transform = ComposeWithTargets([FlipWithTargets(), RandomScaleCrop(), Normalize([0.5] * 3, [0.25] * 3)])
    >>> images, masks = transform(np.zeros((2, 3, 8, 8), np.uint8), np.zeros((2, 8, 8), np.uint8),
    ...                           np.random.default_rng(0))
    >>> images.dtype, masks.dtype
    (dtype('float32'), dtype('uint8'))
    """

    moves_targets = True

    def __init__(self, transforms: Sequence[Callable[..., Any]]) -> None:
        for transform in transforms:
            if not callable(transform):
                raise ArgumentError(f"ComposeWithTargets: {transform!r} is not a transform: it must be callable.")
        self.transforms = list(transforms)

    def __call__(self, images: Array, targets: Any, rng: np.random.Generator) -> tuple[Array, Any]:
        """Return new images and their targets."""
        for transform in self.transforms:
            if getattr(transform, "moves_targets", False):
                images, targets = transform(images, targets, rng)
            elif images.ndim == 5:
                n, t, c, h, w = images.shape
                tall = images.swapaxes(1, 2).reshape(n, c, t * h, w)  # (N, C, T * H, W)
                images = transform(tall, rng).reshape(n, c, t, h, w).swapaxes(1, 2)  # (N, T, C, H, W)
            else:
                images = transform(images, rng)
        return np.ascontiguousarray(images) if images.ndim == 5 else images, targets


def holds_objects(targets: Any) -> bool:
    """Whether targets are Objects, and neither masks nor classes."""
    return isinstance(targets, (list, tuple))


def check_targets(where: str, images: Array, targets: Any) -> None:
    """Raise ShapeError unless the targets fit the images or clips."""
    if images.ndim not in (4, 5) or 0 in images.shape:
        raise ShapeError(f"{where}: images are {sizes(images.shape)}; they must be (N, C, H, W) or (N, T, C, H, W).")
    if len(targets) != len(images):
        raise ShapeError(f"{where}: there are {len(images)} images but {len(targets)} targets; each image needs one.")
    if not holds_objects(targets) and np.ndim(targets) == 3 and targets.shape[1:] != images.shape[-2:]:
        raise ShapeError(
            f"{where}: masks are {sizes(targets.shape)} but images are {sizes(images.shape)}; heights and widths must "
            "be equal."
        )


def cut_objects(boxes: Array, objects: Objects, height: int, width: int) -> Objects:
    """Return objects at other ``boxes``, (M, 4), cut at the edge of the image, without those that nearly vanish."""
    limits = np.array([width, height, width, height])
    cut = np.clip(boxes, 0, limits)
    before, after = ((b[:, 2] - b[:, 0]) * (b[:, 3] - b[:, 1]) for b in (boxes, cut))  # (M,) each
    left = (after > 0) & (after >= LEAST_LEFT * before)
    return Objects(cut[left], objects.labels[left], objects.crowd[left])


def resizing_weights(first: Array, length: Array, pixels: int) -> Array:
    """Return the weight of each pixel of an old image in each pixel of a new one along one axis, (N, pixels, pixels).

    The new image shows the range from ``first`` to ``first + length``, (N,) each, of the old one. As in
    ``RandomResizedCrop``, weights fall linearly from the centre of a new pixel to 0, over the width of an old or a new
    pixel, whichever is larger. They sum to 1, or to 0 if the centre is outside of the old image.
    """
    step = (length / pixels)[:, None, None]  # (N, 1, 1)
    centre = first[:, None, None] + (np.arange(pixels)[:, None] + 0.5) * step  # (N, pixels, 1)
    weights = np.maximum(1 - np.abs(np.arange(pixels) + 0.5 - centre) / np.maximum(step, 1), 0)
    weights *= (centre >= 0) & (centre < pixels)
    return (weights / np.maximum(weights.sum(axis=2, keepdims=True), 1e-9)).astype(np.float32)


def nearest(first: Array, length: Array, pixels: int) -> Array:
    """Return the old pixel at the centre of each new one along one axis, (N, pixels); ``pixels`` if it is outside."""
    centre = first[:, None] + (np.arange(pixels) + 0.5) * (length / pixels)[:, None]  # (N, pixels)
    return np.where((centre >= 0) & (centre < pixels), np.floor(centre), pixels).astype(np.int64)
