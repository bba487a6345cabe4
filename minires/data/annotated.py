"""Images with more than a class each: the boxes of their objects, or a class for every pixel."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from ..core.backend import Array
from ..errors import DataError, counted, sizes

IGNORED = 255  # the class number of pixels that count neither in the loss nor in the scores


@dataclass(frozen=True, eq=False)
class Objects:
    """The objects of one image.

    Parameters
    ----------
    boxes : array-like, (M, 4)
        x1, y1, x2, y2 of each box, in pixels: x from the left edge of the image, y from its upper edge. M may be 0.
    labels : array-like of integers, (M,)
        Class numbers, starting at 0.
    crowd : array-like of bool, (M,), optional
        Whether a box surrounds several objects that are too close to be told apart. By default, none does.

    Attributes
    ----------
    boxes : array of float32, (M, 4)
    labels : array of int64, (M,)
    crowd : array of bool, (M,)

    Raises
    ------
    DataError
        If an array has another shape, a number of a box is not finite, a box ends before it begins, or a label is not
        an integer >= 0.

    Examples
    --------
    >>> objects = Objects([[4, 2, 10, 7], [0, 0, 3, 3]], labels=[1, 0])
    >>> objects
    Objects(2 boxes)
    >>> objects.crowd
    array([False, False])
    """

    boxes: Array
    labels: Array
    crowd: Any = None

    def __post_init__(self) -> None:
        try:
            with np.errstate(over="ignore"):  # what is too large for float32 becomes infinite
                boxes = np.asarray(self.boxes, np.float64).astype(np.float32)
            labels = np.asarray(self.labels)
        except (TypeError, ValueError, OverflowError):
            raise DataError(
                "Objects: boxes or labels is not an array of numbers; give rows x1, y1, x2, y2, and a label for each."
            ) from None
        boxes = boxes.reshape(0, 4) if boxes.size == 0 else boxes
        if boxes.ndim != 2 or boxes.shape[1] != 4:
            raise DataError(f"Objects: boxes is {sizes(boxes.shape)}; it must be (M, 4): x1, y1, x2, y2 of each box.")
        wrong = ~np.isfinite(boxes).all(axis=1) | ~(boxes[:, :2] <= boxes[:, 2:]).all(axis=1)  # (M,)
        if wrong.any():
            first = int(wrong.argmax())
            raise DataError(
                f"Objects: box {first} is {boxes[first].tolist()}; its numbers must be finite, with x1 <= x2 and "
                "y1 <= y2."
            )
        labels = labels.astype(np.int64) if labels.size == 0 else labels
        if labels.shape != boxes.shape[:1] or labels.dtype.kind not in "iu" or (labels < 0).any():
            raise DataError(
                f"Objects: labels are {labels.dtype} ({sizes(labels.shape)}) and boxes are {sizes(boxes.shape)}; there "
                "must be an integer >= 0 for each box."
            )
        crowd = np.zeros(len(boxes), bool) if self.crowd is None else np.asarray(self.crowd)
        crowd = crowd.astype(bool) if crowd.size == 0 else crowd
        if crowd.shape != boxes.shape[:1] or crowd.dtype != bool:
            raise DataError(
                f"Objects: crowd is {crowd.dtype} ({sizes(crowd.shape)}); it must be bool ({len(boxes)},), as boxes "
                f"are {sizes(boxes.shape)}."
            )
        object.__setattr__(self, "boxes", boxes)
        object.__setattr__(self, "labels", labels.astype(np.int64, copy=False))
        object.__setattr__(self, "crowd", crowd)

    def __len__(self) -> int:
        return len(self.labels)

    def chosen(self, rows: Array) -> Objects:
        """Return the objects at ``rows``: indices, or M booleans."""
        return Objects(self.boxes[rows], self.labels[rows], self.crowd[rows])

    def __repr__(self) -> str:
        return f"Objects({len(self)} box{'' if len(self) == 1 else 'es'})"


@dataclass(frozen=True, eq=False)
class OnDemand:
    """An array of N images or masks, each of which is made when it is needed: ``stack[chosen]`` is an array of B.

    Parameters
    ----------
    shape : tuple of int
        The shape that the whole array would have, (N, C, H, W) or (N, H, W).
    make : callable
        ``make(i)`` returns number i, uint8. Threads may call it at the same time.
    """

    shape: tuple[int, ...]
    make: Callable[[int], Array]

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, chosen: Array) -> Array:
        made = np.empty((len(chosen), *self.shape[1:]), np.uint8)
        for place, number in enumerate(chosen):
            made[place] = self.make(int(number))
        return made


@dataclass(frozen=True, eq=False)
class DetectionSplit:
    """Images and the boxes of their objects: the training or test part of a data set for detection.

    Parameters
    ----------
    images : array of uint8, (N, C, H, W), or OnDemand
    objects : sequence of N Objects
        An image without objects is allowed, but one of the images must have one that is not a crowd.
    ids : tuple of N int, optional
        The number of each image in the file that it came from; COCO's results name images by it.
    category_ids : tuple of int, optional
        The number of each class in that file: class k is its category ``category_ids[k]``.
    notes : tuple of str, optional
        What was changed in the annotations when they were read, such as ``"3 boxes clipped"``.

    Raises
    ------
    DataError
        If the images are not uint8 (N, C, H, W), there are other numbers of objects or ids than of images, no image has
        an object, or a box lies outside of its image.

    Examples
    --------
    >>> split = DetectionSplit(np.zeros((2, 3, 8, 8), np.uint8), [Objects([[1, 2, 5, 6]], [0]), Objects([], [])])
    >>> split
    DetectionSplit(2 images of 3x8x8, 1 object)
    >>> images, objects = split[np.array([1, 0])]
    >>> images.shape, objects
    ((2, 3, 8, 8), [Objects(0 boxes), Objects(1 box)])
    """

    task: ClassVar[str] = "detection"
    images: Array | OnDemand
    objects: Sequence[Objects]
    ids: tuple[int, ...] = ()
    category_ids: tuple[int, ...] = ()
    notes: tuple[str, ...] = ()
    labels: Array = field(init=False)

    def __post_init__(self) -> None:
        _check_images("DetectionSplit", self.images)
        for name, values in (("objects", self.objects), ("ids", self.ids)):
            if len(values) != len(self.images) and (name == "objects" or values):
                raise DataError(
                    f"DetectionSplit: there are {len(self.images)} images but {len(values)} {name}; give one for each "
                    "image."
                )
        if wrong := [type(value).__name__ for value in self.objects if not isinstance(value, Objects)]:
            raise DataError(f"DetectionSplit: objects holds {wrong[0]}; it must hold an Objects for each image.")
        labels = np.concatenate([found.labels[~found.crowd] for found in self.objects])
        if not len(labels):
            raise DataError(
                f"DetectionSplit: none of the {counted(len(self.images), 'image')} has an object that is not a crowd; "
                "annotate some."
            )
        _, _, height, width = self.images.shape
        for number, found in enumerate(self.objects):
            outside = (found.boxes[:, :2] >= (width, height)) | (found.boxes[:, 2:] <= 0)  # (M, 2)
            if outside.any():
                box = found.boxes[outside.any(axis=1)][0].tolist()
                raise DataError(
                    f"DetectionSplit: image {number} has the box {box}, which lies outside of it, {width} wide and "
                    f"{height} high; correct or remove it."
                )
        object.__setattr__(self, "labels", labels)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, chosen: Array) -> tuple[Array, Any]:
        """Return the images (B, C, H, W) at an array of B indices, and a list of their B Objects."""
        return self.images[chosen], [self.objects[number] for number in chosen]

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """The shape of each image, (C, H, W)."""
        _, channels, height, width = self.images.shape
        return channels, height, width

    def __repr__(self) -> str:
        about = ", ".join((counted(sum(map(len, self.objects)), "object"), *self.notes))
        return f"DetectionSplit({counted(len(self), 'image')} of {sizes(self.image_shape)}, {about})"


@dataclass(frozen=True, eq=False)
class SegmentationSplit:
    """Images and the class of each of their pixels: the training or test part of a data set for segmentation.

    Parameters
    ----------
    images : array of uint8, (N, C, H, W), or OnDemand
    masks : array of uint8, (N, H, W), or OnDemand
        The class number of each pixel. Pixels of class 255 are ignored.
    labels : array of int64, optional
        The class numbers that occur. By default, all masks are searched for them, and so must be in memory.

    Raises
    ------
    DataError
        If the images are not uint8 (N, C, H, W), the masks not uint8 (N, H, W) of the same sizes, or all pixels are
        ignored.

    Examples
    --------
    >>> masks = np.zeros((2, 8, 8), np.uint8)
    >>> masks[0, 2:4, 2:7] = 3
    >>> split = SegmentationSplit(np.zeros((2, 3, 8, 8), np.uint8), masks)
    >>> split, split.labels
    (SegmentationSplit(2 images of 3x8x8), array([0, 3]))
    """

    task: ClassVar[str] = "segmentation"
    images: Array | OnDemand
    masks: Array | OnDemand
    labels: Any = None

    def __post_init__(self) -> None:
        _check_images("SegmentationSplit", self.images)
        masks = self.masks
        n, _, *size = self.images.shape
        if isinstance(masks, np.ndarray) and masks.dtype != np.uint8:
            raise DataError(f"SegmentationSplit: masks are {masks.dtype}; they must be uint8, with 255 for ignored.")
        if not isinstance(masks, (np.ndarray, OnDemand)) or tuple(masks.shape) != (n, *size):
            raise DataError(
                f"SegmentationSplit: masks are {_described(masks)} for images {sizes(self.images.shape)}; they must be "
                f"uint8 ({n}, {', '.join(map(str, size))}), a class number for each pixel."
            )
        labels = np.unique(masks[np.arange(n)]) if self.labels is None else np.asarray(self.labels)
        labels = labels[labels != IGNORED].astype(np.int64)
        if not len(labels):
            raise DataError(f"SegmentationSplit: all pixels of the masks are {IGNORED}, which means ignored.")
        object.__setattr__(self, "labels", labels)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, chosen: Array) -> tuple[Array, Array]:
        """Return copies of the images (B, C, H, W) and masks (B, H, W) at an array of B indices."""
        return self.images[chosen], self.masks[chosen]

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """The shape of each image, (C, H, W)."""
        _, channels, height, width = self.images.shape
        return channels, height, width

    def __repr__(self) -> str:
        return f"SegmentationSplit({counted(len(self), 'image')} of {sizes(self.image_shape)})"


def _check_images(where: str, images: Any) -> None:
    is_bytes = isinstance(images, OnDemand) or (isinstance(images, np.ndarray) and images.dtype == np.uint8)
    if not is_bytes or len(images.shape) != 4 or 0 in images.shape:
        raise DataError(f"{where}: images are {_described(images)}; they must be uint8 (N, C, H, W), all sizes >= 1.")


def _described(value: Any) -> str:
    return (
        f"{getattr(value, 'dtype', 'uint8')} ({sizes(value.shape)})"
        if hasattr(value, "shape")
        else type(value).__name__
    )
