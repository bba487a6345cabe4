"""What a data set is: pictures as bytes, labels as class numbers, and the names of the classes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from ..errors import DataError, DTypeError, ShapeError, sizes

Array = np.ndarray[Any, Any]

#: ``transform(batch, rng)`` takes (N, C, H, W) and a random generator, and returns a new (N, C, H, W).
Transform = Callable[[Array, np.random.Generator], Array]


class Source(Protocol):
    """What a loader reads from: a :class:`Split`, or an object of your own that reads pictures when they are asked for.

    ``source[chosen]`` takes an array of B picture numbers, 0 to len(source) - 1, and gives new arrays: pictures, uint8
    (B, C, H, W), and labels, int64 (B,). With a loader's workers, several threads ask at once. Files, for example::

        class Files:
            def __init__(self, paths, labels):
                self.paths, self.labels = paths, np.array(labels)

            def __len__(self):
                return len(self.paths)

            def __getitem__(self, chosen):
                pictures = [minires.data.pictures.read(self.paths[i], size=(224, 224)) for i in chosen]
                return np.stack(pictures), self.labels[chosen]
    """

    def __len__(self) -> int: ...

    def __getitem__(self, chosen: Array) -> tuple[Array, Array]: ...


class LabelledSource(Source, Protocol):
    """A source whose labels and size of pictures are known before a picture is read: what a data set consists of."""

    @property
    def labels(self) -> Array:
        """All class numbers, int64 (N,)."""

    @property
    def picture_shape(self) -> tuple[int, int, int]:
        """(C, H, W)."""


@dataclass(frozen=True, eq=False)
class Split:
    """Pictures and their labels: the part of a data set that trains, or the part that tests.

    Parameters
    ----------
    pictures : array of uint8, (N, C, H, W)
        Bytes, because they are a quarter of the size of floats; transforms make floats of one batch at a time.
    labels : array of int64, (N,)
        Class numbers, from 0.
    texts : tuple of N str, optional
        What is written about each picture. The loader leaves them alone.

    Raises
    ------
    DataError
        If a shape or dtype is another one, or there are not as many labels, or texts, as pictures.
    """

    pictures: Array
    labels: Array
    texts: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        pictures, labels = self.pictures, self.labels
        if not isinstance(pictures, np.ndarray) or pictures.dtype != np.uint8 or pictures.ndim != 4:
            raise DataError(f"Split: pictures are {_described(pictures)}; they must be uint8 (N, C, H, W).")
        if not isinstance(labels, np.ndarray) or labels.dtype != np.int64 or labels.ndim != 1:
            raise DataError(f"Split: labels are {_described(labels)}; they must be int64 (N,).")
        if len(pictures) != len(labels):
            raise DataError(f"Split: there are {len(pictures)} pictures but {len(labels)} labels; each needs one.")
        if self.texts and len(self.texts) != len(pictures):
            raise DataError(f"Split: there are {len(pictures)} pictures but {len(self.texts)} texts; each needs one.")
        if 0 in pictures.shape:
            raise DataError(f"Split: pictures ({sizes(pictures.shape)}) are empty.")

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, chosen: Array) -> tuple[Array, Array]:
        """The pictures (B, C, H, W) and labels (B,) of an array of B picture numbers, as copies."""
        return self.pictures[chosen], self.labels[chosen]

    @property
    def picture_shape(self) -> tuple[int, int, int]:
        """(C, H, W)."""
        channels, height, width = self.pictures.shape[1:]
        return channels, height, width

    def __repr__(self) -> str:
        return f"Split({len(self)} pictures of {sizes(self.picture_shape)})"


@dataclass(frozen=True, eq=False)
class Dataset:
    """A classification problem: what to learn from, and what to be tested on.

    Parameters
    ----------
    name : str
        As :func:`minires.data.load` takes it.
    classes : tuple of str
        The name of each class number.
    train, test : Split, or another source with ``labels`` and ``picture_shape``
        Pictures of one size; no picture is in both.
    augmentation : transform, optional
        Random changes of a training picture that leave its class as it is. Only the loop that trains applies it:
        a test picture is never changed.

    Raises
    ------
    DataError
        If the splits differ in picture size, or a label is no class number.
    """

    name: str
    classes: tuple[str, ...]
    train: LabelledSource
    test: LabelledSource
    augmentation: Transform | None = None

    def __post_init__(self) -> None:
        if self.train.picture_shape != self.test.picture_shape:
            raise DataError(
                f"Dataset {self.name}: pictures are {sizes(self.train.picture_shape)} in train but "
                f"{sizes(self.test.picture_shape)} in test; all must have one size."
            )
        for part, split in (("train", self.train), ("test", self.test)):
            low, high = int(split.labels.min()), int(split.labels.max())
            if low < 0 or high >= len(self.classes):
                raise DataError(
                    f"Dataset {self.name}: the labels of {part} run from {low} to {high}, but there are "
                    f"{len(self.classes)} classes, 0 to {len(self.classes) - 1}."
                )

    @property
    def picture_shape(self) -> tuple[int, int, int]:
        """(C, H, W)."""
        return self.train.picture_shape

    def __repr__(self) -> str:
        return f"Dataset({self.name}: {len(self.classes)} classes, train={self.train}, test={self.test})"


def check_batch(where: str, batch: Array) -> tuple[int, int, int, int]:
    """The sizes of a batch that a transform takes, with at least one pixel.

    Raises ShapeError unless it is (N, C, H, W), DTypeError unless it holds uint8 or floats.
    """
    if batch.ndim != 4 or 0 in batch.shape:
        raise ShapeError(f"{where}: the batch is {sizes(batch.shape)}; it must be (N, C, H, W), and none of them 0.")
    if batch.dtype != np.uint8 and batch.dtype.kind != "f":
        raise DTypeError(f"{where}: the batch ({sizes(batch.shape)}) is {batch.dtype}; it must be uint8 or floats.")
    n, channels, height, width = batch.shape
    return n, channels, height, width


def _described(value: object) -> str:
    return f"{value.dtype} ({sizes(value.shape)})" if isinstance(value, np.ndarray) else type(value).__name__
