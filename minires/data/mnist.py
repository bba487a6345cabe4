"""Small grey images: scikit-learn's digits, MNIST and Fashion-MNIST.

MNIST is LeCun et al., "Gradient-based learning applied to document recognition", 1998; Fashion-MNIST is Xiao et al.,
arXiv 1708.07747. Their idx files hold two zero bytes, the type of the numbers (8 for bytes), the number of axes, the
size of each axis (4 bytes, big-endian), and then the numbers.
"""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path
from typing import IO, Any

import numpy as np

from ..core.backend import Array
from ..errors import DataError, sizes
from ..interop.files import PathLike, opened
from .dataset import Dataset, Split
from .places import Archive, PublishedDataset, stored
from .transforms import Compose, Flip, PadCrop

SIDE = 28
TEST_PER_CLASS = 36  # test images per class of scikit-learn's digits: 360 of 1,797, a fifth


def _read(name: str, folder: Path, part: str, count: int) -> tuple[Array, Array]:
    """Read images (N, 1, 28, 28) and labels (N,) of the part ``train`` or ``t10k``."""
    images = read_idx(name, stored(folder / f"{part}-images-idx3-ubyte"), (count, SIDE, SIDE))
    return images[:, None], read_idx(name, stored(folder / f"{part}-labels-idx1-ubyte"), (count,))


def _idx_files(folders: tuple[str, str], files: dict[str, tuple[str, int, str]], **more: Any) -> PublishedDataset:
    """Return a data set of 60,000 training and 10,000 test images in idx files.

    ``folders`` are the names of the folder in minires and in torchvision. ``files`` maps the name of each file to the
    md5 sum and the size of the published ``.gz``, and the md5 sum of its content.
    """
    archives = tuple(Archive(f"{file}.gz", md5, size) for file, (md5, size, _) in files.items())
    sums = {file: md5 for file, (_, _, md5) in files.items()}
    return PublishedDataset(
        folder=folders[0],
        archives=archives,
        sums=dict.fromkeys(folders, sums),
        train={"train": 60_000},
        test={"t10k": 10_000},
        read=_read,
        **more,
    )


MNIST = _idx_files(
    ("mnist", "MNIST/raw"),
    {
        "train-images-idx3-ubyte": ("f68b3c2dcbeaaa9fbdd348bbdeb94873", 9_912_422, "6bbc9ace898e44ae57da46a324031adb"),
        "train-labels-idx1-ubyte": ("d53e105ee54ea40749a09fcbcd1e9432", 28_881, "a25bea736e30d166cdddb491f175f624"),
        "t10k-images-idx3-ubyte": ("9fb629c4189551a2d022fa330f9573f3", 1_648_877, "2646ac647ad5339dbf082846283269ea"),
        "t10k-labels-idx1-ubyte": ("ec29112dd5afa0611ce80d1b7f02629c", 4_542, "27ae3e4e09519cfbb04c329615203637"),
    },
    name="mnist",
    licence="none stated",
    mirrors=("https://ossci-datasets.s3.amazonaws.com/mnist/", "https://storage.googleapis.com/cvdf-datasets/mnist/"),
    classes=tuple("0123456789"),
    augmentation=PadCrop(2),
)
FASHION_MNIST = _idx_files(
    ("fashion-mnist", "FashionMNIST/raw"),
    {
        "train-images-idx3-ubyte": ("8d4fb7e6c68d591d4c3dfef9ec88bf0d", 26_421_880, "f4a8712d7a061bf5bd6d2ca38dc4d50a"),
        "train-labels-idx1-ubyte": ("25c81989df183df01b3e8a0aad5dffbe", 29_515, "9018921c3c673c538a1fc5bad174d6f9"),
        "t10k-images-idx3-ubyte": ("bef4ecab320f06d8554ea6380940ec79", 4_422_102, "8181f5470baa50b63fa0f6fddb340f0a"),
        "t10k-labels-idx1-ubyte": ("bb300cfdad3c16e7a12a480ee83cd310", 5_148, "15d484375f8d13e6eb1aabb0c3f46965"),
    },
    name="fashion_mnist",
    licence="MIT",
    mirrors=(
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
    ),
    classes=("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
    augmentation=Compose([PadCrop(2), Flip()]),
)


def mnist(root: PathLike | None = None) -> Dataset:
    """Load MNIST: 60,000 training and 10,000 test images of handwritten digits.

    The augmentation shifts images by up to 2 pixels. It does not mirror them: a mirrored 2 is not a digit.

    Parameters
    ----------
    root : str or path, optional
        The folder that holds ``mnist`` (or torchvision's ``MNIST/raw``) with four idx files, plain or ``.gz``. By
        default, the folder ``MINIRES_DATA`` (if it is set) and the user's cache folder are searched;
        ``minires data fetch mnist`` downloads to the first of them.

    Returns
    -------
    Dataset
        Images (N, 1, 28, 28), white digits on black.

    Raises
    ------
    DataError
        If the files are not found or are damaged.
    """
    return MNIST.load(root)


def fashion_mnist(root: PathLike | None = None) -> Dataset:
    """Load Fashion-MNIST: 60,000 training and 10,000 test images of clothes.

    The files have the same names as those of :func:`mnist`, but are in the folder ``fashion-mnist`` (or torchvision's
    ``FashionMNIST/raw``). The augmentation shifts images by up to 2 pixels and mirrors them. Raises DataError if the
    files are not found or are damaged.
    """
    return FASHION_MNIST.load(root)


def digits() -> Dataset:
    """Load scikit-learn's handwritten digits: 1,437 training and 360 test images of 8x8 pixels.

    They are the test set of the UCI repository's "Optical Recognition of Handwritten Digits", by 13 writers. The test
    images are 36 per class. The split does not depend on the seed of a run, so the results of any two runs can be
    compared.

    Returns
    -------
    Dataset
        Images (N, 1, 8, 8), with the original values 0 to 16 scaled to 0 to 255, and the classes "0" to "9". The
        augmentation shifts images by up to one pixel. It does not mirror them: a mirrored 2 is not a digit.

    Raises
    ------
    DataError
        If scikit-learn is not installed.

    Examples
    --------
    >>> digits()
    Dataset(digits: 10 classes, train=Split(1437 images of 1x8x8), test=Split(360 images of 1x8x8))
    """
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise DataError("data set 'digits' needs scikit-learn, which is missing: pip install scikit-learn.") from error
    source = load_digits()
    images = np.rint(source.images * (255 / 16)).astype(np.uint8)[:, None]  # (1797, 1, 8, 8)
    labels = source.target.astype(np.int64)
    is_test = _evenly_spaced(labels)
    train, test = Split(images[~is_test], labels[~is_test]), Split(images[is_test], labels[is_test])
    return Dataset("digits", tuple("0123456789"), train, test, augmentation=PadCrop(1))


def _evenly_spaced(labels: Array) -> Array:
    """Choose TEST_PER_CLASS images of each class, evenly spaced so that they come from all writers; as (N,) booleans.

    This does not use a random generator, because its numbers might change with the version of NumPy.
    """
    is_test = np.zeros(len(labels), bool)
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        is_test[members[np.arange(TEST_PER_CLASS) * len(members) // TEST_PER_CLASS]] = True
    return is_test


def read_idx(function: str, path: Path, shape: tuple[int, ...]) -> Array:
    """Read the bytes in an idx file, ``.gz`` or not.

    No more is unpacked than the shape needs, even if the file claims or contains more.

    Parameters
    ----------
    function : str
        The name of the caller, for error messages.
    path : Path
    shape : tuple of int
        The shape that the file must have.

    Returns
    -------
    array of uint8

    Raises
    ------
    DataError
        If the file is damaged or has another shape.
    """
    with opened(function, path, "an idx file") as file:
        try:
            return _content(gzip.GzipFile(fileobj=file) if path.suffix == ".gz" else file, shape)
        except (EOFError, zlib.error) as error:
            raise ValueError("its compressed data is damaged or incomplete") from error


def _content(file: IO[bytes] | gzip.GzipFile, shape: tuple[int, ...]) -> Array:
    magic = bytes([0, 0, 8, len(shape)])
    header = file.read(4 + 4 * len(shape))
    if len(header) < 4 + 4 * len(shape):
        raise ValueError("it ends within its header")
    if header[:4] != magic:
        raise ValueError(f"it begins with the bytes {header[:4].hex(' ')}, not with {magic.hex(' ')}")
    found = tuple(int(size) for size in np.frombuffer(header[4:], ">u4"))
    if found != shape:
        raise ValueError(f"it holds {sizes(found)} bytes, not {sizes(shape)}")
    needed = int(np.prod(shape))
    content = file.read(needed + 1)  # one byte more, to reach the end, where the checksum of a .gz is compared
    if len(content) != needed:
        raise ValueError(f"its {sizes(shape)} bytes are {'followed by others' if len(content) > needed else 'cut off'}")
    return np.frombuffer(content, np.uint8).reshape(shape)
