"""Data sets: images as bytes, labels as class numbers, and the names of the classes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np

from ..core import checks
from ..core.backend import Array
from ..errors import DataError, sizes

#: ``transform(batch, rng)`` takes a batch (N, C, H, W) and a random generator, and returns a new batch (N, C, H, W). If
#: its attribute ``moves_targets`` is true, ``transform(batch, targets, rng)`` returns both, see :mod:`.moving`.
Transform = Callable[..., Any]


@runtime_checkable
class Source(Protocol):
    """The protocol of what a loader reads from: a :class:`Split`, or your own class that reads images when needed.

    ``source[chosen]`` takes an array of B indices, 0 to len(source) - 1, and returns new arrays: images, uint8
    (B, C, H, W), and labels, int64 (B,). A loader with workers calls it from several threads. For example::

        class Files:
            def __init__(self, paths, labels):
                self.paths, self.labels = paths, np.array(labels)

            def __len__(self):
                return len(self.paths)

            def __getitem__(self, chosen):
                images = [minires.data.images.read(self.paths[i], size=(224, 224)) for i in chosen]
                return np.stack(images), self.labels[chosen]
    """

    def __len__(self) -> int: ...

    def __getitem__(self, chosen: Array) -> tuple[Array, Array]: ...


class LabelledSource(Source, Protocol):
    """A source whose labels and image size are known before an image is read, such as the splits of a data set."""

    @property
    def labels(self) -> Array:
        """The class numbers of all images, int64 (N,)."""

    @property
    def image_shape(self) -> tuple[int, ...]:
        """The shape of each image, (C, H, W), or of each clip, (T, C, H, W)."""


@dataclass(frozen=True, eq=False)
class Split:
    """Images and their labels: the training or test part of a data set.

    Parameters
    ----------
    images : array of uint8, (N, C, H, W)
        Bytes take a quarter of the memory of floats; transforms convert one batch at a time.
    labels : array of int64, (N,)
        Class numbers, starting at 0. Other integers are converted.
    texts : tuple of N str, optional
        A text about each image. The loader does not use the texts.

    Raises
    ------
    DataError
        If an array has another shape or dtype or is empty, or the numbers of images, labels and texts differ.
    """

    images: Array
    labels: Array
    texts: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        images, labels = self.images, self.labels
        if not isinstance(images, np.ndarray) or images.dtype != np.uint8 or images.ndim != 4:
            raise DataError(
                f"Split: images are {_described(images)}; they must be uint8 (N, C, H, W){_advice('images', images)}."
            )
        _, c, h, w = images.shape
        if (w == 3 and c not in (1, 3)) or (w == 1 and c == h > 1):
            raise DataError(
                f"Split: images are {_described(images)}, which looks like (N, H, W, C); they must be (N, C, H, W): "
                "write images.transpose(0, 3, 1, 2)."
            )
        if not isinstance(labels, np.ndarray) or labels.dtype.kind not in "iu" or labels.ndim != 1:
            raise DataError(
                f"Split: labels are {_described(labels)}; they must be integers, int64 (N,){_advice('labels', labels)}."
            )
        object.__setattr__(self, "labels", labels.astype(np.int64, copy=False))  # PyTorch's labels are often int32
        if len(images) != len(labels):
            raise DataError(f"Split: there are {len(images)} images but {len(labels)} labels; each image needs one.")
        if self.texts and len(self.texts) != len(images):
            raise DataError(f"Split: there are {len(images)} images but {len(self.texts)} texts; each image needs one.")
        if 0 in images.shape:
            raise DataError(f"Split: images ({sizes(images.shape)}) are empty.")

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, chosen: Array) -> tuple[Array, Array]:
        """Return copies of the images (B, C, H, W) and labels (B,) at an array of B indices."""
        return self.images[chosen], self.labels[chosen]

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """The shape of each image, (C, H, W)."""
        return self.images.shape[1:]

    def __repr__(self) -> str:
        return f"Split({len(self)} images of {sizes(self.image_shape)})"


@dataclass(frozen=True, eq=False)
class Dataset:
    """A classification problem: training images and test images of the same classes.

    Parameters
    ----------
    name : str
        The name that :func:`minires.data.load` takes.
    classes : tuple of str
        The name of each class number.
    train, test : Split, or another source with ``labels`` and ``image_shape``
        All images have the same size, and no image is in both.
    val : Split or another such source, optional
        Further images, e.g. to choose a learning rate with. The commands do not use them.
    augmentation : transform, optional
        Changes training images at random, in ways that keep their class. It is never applied to test images.

    Raises
    ------
    DataError
        If the splits differ in image size, or a label is not a class number.
    """

    name: str
    classes: tuple[str, ...]
    train: LabelledSource
    test: LabelledSource
    augmentation: Transform | None = None
    val: LabelledSource | None = None

    def __post_init__(self) -> None:
        splits = {"train": self.train, "test": self.test, **({} if self.val is None else {"val": self.val})}
        for part, split in splits.items():
            if self.train.image_shape != split.image_shape:
                raise DataError(
                    f"Dataset {self.name}: images are {sizes(self.train.image_shape)} in train but "
                    f"{sizes(split.image_shape)} in {part}; all must have the same size."
                )
            low, high = int(split.labels.min()), int(split.labels.max())
            if low < 0 or high >= len(self.classes):
                raise DataError(
                    f"Dataset {self.name}: the labels of {part} run from {low} to {high}, but there are "
                    f"{len(self.classes)} classes, 0 to {len(self.classes) - 1}."
                )

    @property
    def image_shape(self) -> tuple[int, ...]:
        """The shape of each image, (C, H, W), or of each clip, (T, C, H, W)."""
        return self.train.image_shape

    def __repr__(self) -> str:
        val = "" if self.val is None else f", val={self.val}"
        return f"Dataset({self.name}: {len(self.classes)} classes, train={self.train}, test={self.test}{val})"


#: A dict that maps the name of each data set to a function that returns the :class:`Dataset`.
DATASETS: dict[str, Callable[[], Dataset]] = {}


def names() -> list[str]:
    """Return the names that :func:`load` accepts."""
    return list(DATASETS)


def load(name: str) -> Dataset:
    """Load the data set with that name.

    Raises
    ------
    ArgumentError
        If the name is not in :func:`names`.
    DataError
        If its files are missing or damaged.
    """
    return DATASETS[checks.choice("data.load", name, "data set", DATASETS)]()


def _described(value: object) -> str:
    return f"{value.dtype} ({sizes(value.shape)})" if isinstance(value, np.ndarray) else type(value).__name__


def _advice(name: str, value: object) -> str:
    """Return how to convert ``value`` to images or labels, as the end of a sentence; "" if that is not known."""
    if hasattr(value, "numpy"):
        return f"; write {name}.numpy()"
    if not isinstance(value, np.ndarray):
        return f"; write np.array({name})" if isinstance(value, (list, tuple)) else ""
    if name == "labels":
        if value.ndim == 2 and value.shape[1] == 1:
            return "; write labels[:, 0]"
        if value.ndim == 2:
            return "; if each row holds the probabilities of the classes, write labels.argmax(axis=1)"
        return "; write labels.astype('int64')" if value.dtype.kind == "f" and (value == np.floor(value)).all() else ""
    if value.dtype == np.uint8:
        return "; write images[:, None] to add the axis of channels" if value.ndim == 3 else ""
    low, high = (value.min(), value.max()) if value.size and value.dtype.kind in "iuf" else (-1, -1)
    if value.dtype.kind == "f" and low >= 0 and high <= 1:
        return "; write np.rint(255 * images).astype('uint8')"
    return "; write images.astype('uint8')" if low >= 0 and high <= 255 else "; it holds other numbers than 0 to 255"
