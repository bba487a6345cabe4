"""MNIST and Fashion-MNIST: 70,000 grey images of 28x28 pixels, in idx files, compressed or not.

MNIST is LeCun et al., "Gradient-based learning applied to document recognition", 1998; Fashion-MNIST is Xiao et al.,
arXiv 1708.07747. An idx file is two zero bytes, the type of its numbers (8 for bytes), the number of its axes, the
size of each axis as 4 bytes (the highest first), and then the numbers.
"""

from __future__ import annotations

import gzip
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np

from ..errors import DataError, sizes
from ..interop.files import opened
from .dataset import Array, Dataset, Split, Transform
from .places import PathLike, file_at, locate
from .transforms import Compose, Flip, PadCrop

SIDE = 28


@dataclass(frozen=True)
class Layout:
    """How a data set lies on disk, and the number of images in each split, by the first word of its files."""

    name: str
    classes: tuple[str, ...]
    folders: tuple[str, ...]  # the first is ours, the second torchvision's
    augmentation: Transform
    counts: tuple[tuple[str, int], tuple[str, int]] = (("train", 60_000), ("t10k", 10_000))


MNIST = Layout("mnist", tuple("0123456789"), ("mnist", "MNIST/raw"), PadCrop(2))
FASHION_MNIST = Layout(
    "fashion_mnist",
    ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
    ("fashion-mnist", "FashionMNIST/raw"),
    Compose([PadCrop(2), Flip()]),
)


def mnist(root: PathLike | None = None) -> Dataset:
    """MNIST: handwritten digits, 60,000 to train and 10,000 to test.

    Training images are moved by up to 2 pixels; mirroring would make new characters of most digits.

    Parameters
    ----------
    root : str or path, optional
        The folder that holds ``mnist`` (or torchvision's ``MNIST/raw``) with four idx files, plain or ``.gz``; by
        default ``MINIRES_DATA``, or else where ``minires data fetch mnist`` puts it.

    Returns
    -------
    Dataset
        Images (N, 1, 28, 28), bright ink on black.

    Raises
    ------
    DataError
        If it is not there, or a file is damaged.
    """
    return load(MNIST, root)


def fashion_mnist(root: PathLike | None = None) -> Dataset:
    """Fashion-MNIST: clothes, in files and numbers like those of :func:`mnist`, in the folder ``fashion-mnist``.

    Training images are moved by up to 2 pixels and mirrored. Raises DataError as :func:`mnist` does.
    """
    return load(FASHION_MNIST, root)


def load(layout: Layout, root: PathLike | None = None) -> Dataset:
    """The data set that lies as ``layout`` says. Raises DataError as :func:`mnist` does."""
    files = [name for word, _ in layout.counts for name in _names(word)]
    folder = locate(layout.name, dict.fromkeys(layout.folders, files), root)
    train, test = (_split(layout, folder, word, count) for word, count in layout.counts)
    return Dataset(layout.name, layout.classes, train, test, layout.augmentation)


def _names(word: str) -> tuple[str, str]:
    return f"{word}-images-idx3-ubyte", f"{word}-labels-idx1-ubyte"


def _split(layout: Layout, folder: Path, word: str, count: int) -> Split:
    images_file, labels_file = (file_at(folder / name) or folder / name for name in _names(word))
    images = read_idx(layout.name, images_file, (count, SIDE, SIDE))
    labels = read_idx(layout.name, labels_file, (count,))
    last = len(layout.classes) - 1
    wrong = np.flatnonzero(labels > last)
    if len(wrong):
        raise DataError(
            f"{layout.name}: {labels_file} gives image {wrong[0]} the label {labels[wrong[0]]}, but classes run from "
            f"0 to {last}."
        )
    return Split(images[:, None], labels.astype(np.int64))  # (N, 28, 28) to (N, 1, 28, 28)


def read_idx(function: str, path: Path, shape: tuple[int, ...]) -> Array:
    """The bytes in an idx file, ``.gz`` or not, which must have this shape.

    No more is unpacked than the shape needs, whatever the file promises or inflates to.

    Parameters
    ----------
    function : str
        Who asks, for the error.
    path : Path
    shape : tuple of int

    Returns
    -------
    array of uint8

    Raises
    ------
    DataError
        If the file is damaged, or of another shape.
    """
    with opened(function, path, "an idx file") as file:
        if path.suffix != ".gz":
            return _read(file, shape)
        try:
            with gzip.GzipFile(fileobj=file) as unpacked:
                return _read(unpacked, shape)
        except (EOFError, zlib.error) as error:
            raise ValueError("its compressed data is damaged or breaks off") from error


def _read(file: IO[bytes] | gzip.GzipFile, shape: tuple[int, ...]) -> Array:
    magic = bytes([0, 0, 8, len(shape)])
    header = file.read(4 + 4 * len(shape))
    if len(header) < 4 + 4 * len(shape):
        raise ValueError("it breaks off within its header")
    if header[:4] != magic:
        raise ValueError(f"it begins with the bytes {header[:4].hex(' ')}, not with {magic.hex(' ')}")
    found = tuple(int(size) for size in np.frombuffer(header[4:], ">u4"))
    if found != shape:
        raise ValueError(f"it holds {sizes(found)} bytes, not {sizes(shape)}")
    needed = int(np.prod(shape))
    content = file.read(needed + 1)  # one more than needed: the end is seen, and with it the check sum of a .gz
    if len(content) != needed:
        raise ValueError(f"its {sizes(shape)} bytes are {'followed by others' if len(content) > needed else 'cut off'}")
    return np.frombuffer(content, np.uint8).reshape(shape).copy()  # a copy can be written to
