"""CIFAR-10 and CIFAR-100: 60,000 colour images of 32x32 pixels (Krizhevsky, "Learning Multiple Layers of Features
from Tiny Images", 2009), in either of the two versions at https://www.cs.toronto.edu/~kriz/cifar.html.

A file of the binary version consists of records: one label byte (two in CIFAR-100, the coarse and the fine class), and
3,072 bytes for the 32x32 pixels of red, green and blue. The python version is a pickle of the same data. A pickle can
run any code when it is loaded; the reader in :mod:`minires.data.pickles` runs none of it.
"""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import BinaryIO

import numpy as np

from ..core.backend import Array
from ..interop.files import PathLike, opened
from .dataset import Dataset
from .pickles import read_pickle
from .places import Archive, PublishedDataset
from .transforms import Compose, Flip, PadCrop

SHAPE = (3, 32, 32)
PIXELS = 3 * 32 * 32
AUGMENTATION = Compose([PadCrop(4), Flip()])
LARGEST_NAME = 256  # maximum bytes per image of the python version, not counting its pixels: a file name and labels
MOST_STEPS = 16  # of a pickle for each image: those for its label and name
LARGEST_PICKLE = 1 << 27  # bytes, unless a pickle with pixels as bytes is larger

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


def _read(name: str, folder: Path, part: str, count: int, label_bytes: int, label_key: bytes) -> tuple[Array, Array]:
    """Read the ``count`` images (N, 3, 32, 32) and labels (N,) of one file, in either version."""
    binary = os.path.isfile(folder / f"{part}.bin")
    with opened(name, folder / (f"{part}.bin" if binary else part), "a batch of images") as file:
        pixels, labels = _from_records(file, count, label_bytes) if binary else _from_pickle(file, count, label_key)
    return pixels.reshape(count, *SHAPE), labels


def _from_records(file: BinaryIO, count: int, label_bytes: int) -> tuple[Array, Array]:
    """Read pixels (N, 3072) and labels (N,) from the binary version. The last of the ``label_bytes`` is the label."""
    size, record = os.fstat(file.fileno()).st_size, label_bytes + PIXELS
    if size != count * record:
        raise ValueError(f"it has {size:,} bytes, but its {count:,} images take {count * record:,}")
    records = np.frombuffer(file.read(), np.uint8).reshape(count, record)
    return records[:, label_bytes:], records[:, label_bytes - 1]


def _from_pickle(file: BinaryIO, count: int, label_key: bytes) -> tuple[Array, Array]:
    """Read pixels (N, 3072) and labels (N,) from the python version."""
    # Python 3 writes bytes as UTF-8 in protocols 1 and 2, and Python 2 as text in protocol 0: up to 4 for each.
    as_bytes, as_text = (count * (length + LARGEST_NAME) + 4096 for length in (PIXELS, 4 * PIXELS))
    size, most = os.fstat(file.fileno()).st_size, max(as_bytes, min(as_text, LARGEST_PICKLE))
    if size > most:
        raise ValueError(f"it has {size:,} bytes, but {count:,} images take no more than {most:,}")
    batch = read_pickle(file, MOST_STEPS * count + 1000)
    pixels, labels = batch.get(b"data"), batch.get(label_key)
    if not isinstance(pixels, np.ndarray) or pixels.shape != (count, PIXELS):
        raise ValueError(f"its entry 'data' is not an array of {count} x {PIXELS} bytes")
    if not isinstance(labels, list) or len(labels) != count or not all(type(label) is int for label in labels):
        raise ValueError(f"its entry '{label_key.decode()}' is not a list of {count} integers")
    return pixels, np.array(labels)


CIFAR10 = PublishedDataset(
    name="cifar10",
    licence="none stated",
    folder="cifar-10-batches-bin",
    mirrors=("https://www.cs.toronto.edu/~kriz/",),
    archives=(Archive("cifar-10-binary.tar.gz", "c32a1d4ab5d03f1284b67883e8d87530", 170_052_171),),
    sums={
        "cifar-10-batches-bin": {
            "data_batch_1.bin": "5dd7e06a14cb22eb9f671a540d1b7c25",
            "data_batch_2.bin": "5ea93a67294ea407fff1d09f752e9692",
            "data_batch_3.bin": "942cd6a4bcdd0dd3c604fbe906cb4421",
            "data_batch_4.bin": "ae636b3ba5c66a11e91e8cb52e771fcb",
            "data_batch_5.bin": "53f37980c15c3d472c316c40844f3f0d",
            "test_batch.bin": "803d5f7f4d78ea53de84dbe85f74fb6d",
        },
        "cifar-10-batches-py": {
            "data_batch_1": "c99cafc152244af753f735de768cd75f",
            "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
            "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
            "data_batch_4": "634d18415352ddfa80567beed471001a",
            "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
            "test_batch": "40351d587109b95175f43aff81a1287e",
        },
    },
    classes=tuple(NAMES_10.split()),
    augmentation=AUGMENTATION,
    train={f"data_batch_{number}": 10_000 for number in range(1, 6)},
    test={"test_batch": 10_000},
    read=partial(_read, label_bytes=1, label_key=b"labels"),
)
CIFAR100 = PublishedDataset(
    name="cifar100",
    licence="none stated",
    folder="cifar-100-python",
    mirrors=CIFAR10.mirrors,
    archives=(Archive("cifar-100-python.tar.gz", "eb9058c3a382ffc7106e4002c42a8d85", 169_001_437),),
    sums={
        "cifar-100-binary": {"train.bin": "", "test.bin": ""},
        "cifar-100-python": {"train": "16019d7e3df5f24257cddd939b257f8d", "test": "f0ef6b0ae62326f3e7ffdfab6717acfc"},
    },
    classes=tuple(NAMES_100.split()),
    augmentation=AUGMENTATION,
    train={"train": 50_000},
    test={"test": 10_000},
    read=partial(_read, label_bytes=2, label_key=b"fine_labels"),
)


def cifar10(root: PathLike | None = None) -> Dataset:
    """Load CIFAR-10: 50,000 training and 10,000 test images of 10 classes.

    The augmentation shifts images by up to 4 pixels and mirrors them, as in He et al. (arXiv 1512.03385, section 4.2).

    Parameters
    ----------
    root : str or path, optional
        The folder that holds ``cifar-10-batches-bin`` or ``cifar-10-batches-py``. By default, the folder
        ``MINIRES_DATA`` (if it is set) and the user's cache folder are searched; ``minires data fetch cifar10``
        downloads to the first of them.

    Returns
    -------
    Dataset
        Images (N, 3, 32, 32).

    Raises
    ------
    DataError
        If the files are not found or are damaged.
    """
    return CIFAR10.load(root)


def cifar100(root: PathLike | None = None) -> Dataset:
    """Load CIFAR-100: like :func:`cifar10`, but with 100 classes (the fine labels).

    The data set is in the folder ``cifar-100-binary`` or ``cifar-100-python``.

    Raises
    ------
    DataError
        If the files are not found or are damaged.
    """
    return CIFAR100.load(root)
