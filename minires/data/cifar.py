"""CIFAR-10 and CIFAR-100: 60,000 colour images of 32x32 pixels (Krizhevsky, "Learning Multiple Layers of Features
from Tiny Images", 2009), from either of the two versions that https://www.cs.toronto.edu/~kriz/cifar.html has.

The binary version is a file of records: one label byte (in CIFAR-100 two, the coarse and the fine class), then 3,072
bytes, the red, the green and the blue 32x32. The python version is a pickle of the same.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..interop.files import opened
from .dataset import Array, Dataset, Split
from .places import PathLike, locate
from .transforms import Compose, Flip, PadCrop

SHAPE = (3, 32, 32)
PIXELS = 3 * 32 * 32
LARGEST_NAME = 256  # bytes an image that the python version may take besides its pixels: a file name and labels

NAMES_10 = "airplane automobile bird cat deer dog frog horse ship truck"
NAMES_100 = (
    "apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel can "
    "castle caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur dolphin "
    "elephant flatfish forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion lizard lobster "
    "man maple_tree motorcycle mountain mouse mushroom oak_tree orange orchid otter palm_tree pear pickup_truck "
    "pine_tree plain plate poppy porcupine possum rabbit raccoon ray road rocket rose sea seal shark shrew skunk "
    "skyscraper snail snake spider squirrel streetcar sunflower sweet_pepper table tank telephone television tiger "
    "tractor train trout tulip turtle wardrobe whale willow_tree wolf woman worm"
)


@dataclass(frozen=True)
class Layout:
    """How a data set lies on disk: folders, and the number of images in each file of its two splits."""

    name: str
    classes: tuple[str, ...]
    binary: str
    python: str
    label_bytes: int  # in front of an image in the binary version; the last one counts
    label_key: bytes  # in the python version
    train: dict[str, int]
    test: dict[str, int]


CIFAR10 = Layout(
    name="cifar10",
    classes=tuple(NAMES_10.split()),
    binary="cifar-10-batches-bin",
    python="cifar-10-batches-py",
    label_bytes=1,
    label_key=b"labels",
    train={f"data_batch_{number}": 10_000 for number in range(1, 6)},
    test={"test_batch": 10_000},
)
CIFAR100 = Layout(
    name="cifar100",
    classes=tuple(NAMES_100.split()),
    binary="cifar-100-binary",
    python="cifar-100-python",
    label_bytes=2,
    label_key=b"fine_labels",
    train={"train": 50_000},
    test={"test": 10_000},
)


def cifar10(root: PathLike | None = None) -> Dataset:
    """CIFAR-10: 50,000 images to train, 10,000 to test, of 10 classes.

    Training images are moved by up to 4 pixels and mirrored, as in He et al. (arXiv 1512.03385, section 4.2).

    Parameters
    ----------
    root : str or path, optional
        The folder that holds ``cifar-10-batches-bin`` or ``cifar-10-batches-py``; by default ``MINIRES_DATA``, or
        else where ``minires data fetch cifar10`` puts it.

    Returns
    -------
    Dataset
        Images (N, 3, 32, 32).

    Raises
    ------
    DataError
        If it is not there, or a file is damaged.
    """
    return load(CIFAR10, root)


def cifar100(root: PathLike | None = None) -> Dataset:
    """CIFAR-100: as :func:`cifar10`, but of 100 classes, the fine ones; ``cifar-100-binary`` or ``cifar-100-python``.

    Raises
    ------
    DataError
        If it is not there, or a file is damaged.
    """
    return load(CIFAR100, root)


def load(layout: Layout, root: PathLike | None = None) -> Dataset:
    """The data set that lies as ``layout`` says. Raises DataError as :func:`cifar10` does."""
    stems = [*layout.train, *layout.test]
    folder = locate(layout.name, {layout.binary: [f"{stem}.bin" for stem in stems], layout.python: stems}, root)
    train, test = (_split(layout, folder, batches) for batches in (layout.train, layout.test))
    return Dataset(layout.name, layout.classes, train, test, augmentation=Compose([PadCrop(4), Flip()]))


def _split(layout: Layout, folder: Path, batches: dict[str, int]) -> Split:
    total = sum(batches.values())
    images, labels = np.empty((total, *SHAPE), np.uint8), np.empty(total, np.int64)
    begin = 0
    for stem, count in batches.items():
        if folder.name == layout.binary:
            pixels, classes = _read_binary(layout, folder / f"{stem}.bin", count)
        else:
            pixels, classes = _read_python(layout, folder / stem, count)
        images[begin : begin + count] = pixels.reshape(count, *SHAPE)  # (N, 3072) to (N, 3, 32, 32)
        labels[begin : begin + count] = classes
        begin += count
    return Split(images, labels)


def _read_binary(layout: Layout, path: Path, count: int) -> tuple[Array, Array]:
    """Pixels (N, 3072) and labels (N,) of ``count`` records."""
    record = layout.label_bytes + PIXELS
    with opened(layout.name, path, "a batch of images") as file:
        size = os.fstat(file.fileno()).st_size
        if size != count * record:
            raise ValueError(f"it has {size:,} bytes, but its {count:,} images take {count * record:,}")
        records = np.frombuffer(file.read(), np.uint8).reshape(count, record)
        labels = records[:, layout.label_bytes - 1]
        _check_labels(layout, labels)
    return records[:, layout.label_bytes :], labels


def _read_python(layout: Layout, path: Path, count: int) -> tuple[Array, Array]:
    """Pixels (N, 3072) and labels (N,) of a pickle of ``count`` images."""
    from .cifar_pickle import read_pickle

    with opened(layout.name, path, "a batch of images") as file:
        size, most = os.fstat(file.fileno()).st_size, count * (PIXELS + LARGEST_NAME) + 4096
        if size > most:
            raise ValueError(f"it has {size:,} bytes, but {count:,} images take no more than {most:,}")
        batch = read_pickle(file.read())
        pixels, labels = batch.get(b"data"), batch.get(layout.label_key)
        if not isinstance(pixels, np.ndarray) or pixels.shape != (count, PIXELS):
            raise ValueError(f"its entry 'data' is no array of {count} x {PIXELS} bytes")
        if not isinstance(labels, list) or len(labels) != count or not all(type(label) is int for label in labels):
            raise ValueError(f"its entry '{layout.label_key.decode()}' is no list of {count} whole numbers")
        _check_labels(layout, np.array(labels))
    return pixels, np.array(labels)


def _check_labels(layout: Layout, labels: Array) -> None:
    """Raise ValueError unless all of them are class numbers."""
    last = len(layout.classes) - 1
    wrong = np.flatnonzero((labels < 0) | (labels > last))
    if len(wrong):
        raise ValueError(f"image {wrong[0]} has the label {labels[wrong[0]]}, but classes run from 0 to {last}")
