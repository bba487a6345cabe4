"""CIFAR-10 and CIFAR-100: 60,000 colour images of 32x32 pixels (Krizhevsky, "Learning Multiple Layers of Features
from Tiny Images", 2009), in either of the two versions at https://www.cs.toronto.edu/~kriz/cifar.html.

The binary version is a file of records: one label byte (in CIFAR-100 two, the coarse and the fine class), then 3,072
bytes, the 32x32 pixels of red, green and blue. The python version is a pickle of the same data, which is read here
without running what a pickle can run.
"""

from __future__ import annotations

import io
import math
import os
import pickle
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..core.backend import Array
from ..interop.files import PathLike, opened
from .dataset import Dataset, Split
from .places import Archive, PublishedFiles, find
from .transforms import Compose, Flip, PadCrop

SHAPE = (3, 32, 32)
PIXELS = 3 * 32 * 32
LARGEST_NAME = 256  # bytes per image in the python version besides its pixels: a file name and labels

# The opcodes that the pickles of CIFAR (Python 2, protocol 2) consist of.
OPCODES = (
    "PROTO STOP MARK GLOBAL REDUCE BUILD NONE NEWFALSE NEWTRUE BININT BININT1 BININT2 LONG1 SHORT_BINSTRING BINSTRING "
    "EMPTY_DICT SETITEM SETITEMS EMPTY_LIST APPEND APPENDS EMPTY_TUPLE TUPLE TUPLE1 TUPLE2 TUPLE3 "
    "BINPUT LONG_BINPUT BINGET LONG_BINGET"
)
LARGEST_MEMO = 1 << 20  # Python allocates a memo as long as its highest index

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
class CifarFiles(PublishedFiles):
    """What a data set consists of, and the number of images in each file of its two splits."""

    classes: tuple[str, ...]
    label_bytes: int  # before an image in the binary version; the last one counts
    label_key: bytes  # in the python version
    train: dict[str, int]
    test: dict[str, int]


CIFAR10 = CifarFiles(
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
    label_bytes=1,
    label_key=b"labels",
    train={f"data_batch_{number}": 10_000 for number in range(1, 6)},
    test={"test_batch": 10_000},
)
CIFAR100 = CifarFiles(
    name="cifar100",
    licence="none stated",
    folder="cifar-100-python",
    mirrors=CIFAR10.mirrors,
    archives=(Archive("cifar-100-python.tar.gz", "eb9058c3a382ffc7106e4002c42a8d85", 169_001_437),),
    sums={
        "cifar-100-binary": {"train.bin": "", "test.bin": ""},
        "cifar-100-python": {
            "train": "16019d7e3df5f24257cddd939b257f8d",
            "test": "f0ef6b0ae62326f3e7ffdfab6717acfc",
        },
    },
    classes=tuple(NAMES_100.split()),
    label_bytes=2,
    label_key=b"fine_labels",
    train={"train": 50_000},
    test={"test": 10_000},
)


def cifar10(root: PathLike | None = None) -> Dataset:
    """CIFAR-10: 50,000 training and 10,000 test images of 10 classes.

    Training images are shifted by up to 4 pixels and mirrored, as in He et al. (arXiv 1512.03385, section 4.2).

    Parameters
    ----------
    root : str or path, optional
        The folder that holds ``cifar-10-batches-bin`` or ``cifar-10-batches-py``. By default, ``MINIRES_DATA`` and
        the folder that ``minires data fetch cifar10`` writes to are searched.

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
    """CIFAR-100: like :func:`cifar10`, with the 100 fine classes; ``cifar-100-binary`` or ``cifar-100-python``.

    Raises
    ------
    DataError
        If it is not there, or a file is damaged.
    """
    return load(CIFAR100, root)


def load(files: CifarFiles, root: PathLike | None = None) -> Dataset:
    """The data set that consists of ``files``. Raises DataError as :func:`cifar10` does."""
    folder = find(files, root)
    train, test = (_split(files, folder, batches) for batches in (files.train, files.test))
    return Dataset(files.name, files.classes, train, test, augmentation=Compose([PadCrop(4), Flip()]))


def _split(files: CifarFiles, folder: Path, batches: dict[str, int]) -> Split:
    total = sum(batches.values())
    images, labels = np.empty((total, *SHAPE), np.uint8), np.empty(total, np.int64)
    begin = 0
    for stem, count in batches.items():
        if f"{stem}.bin" in files.sums[folder.name]:
            pixels, classes = _read_binary(files, folder / f"{stem}.bin", count)
        else:
            pixels, classes = _read_python(files, folder / stem, count)
        images[begin : begin + count] = pixels.reshape(count, *SHAPE)  # (N, 3072) to (N, 3, 32, 32)
        labels[begin : begin + count] = classes
        begin += count
    return Split(images, labels)


def _read_binary(files: CifarFiles, path: Path, count: int) -> tuple[Array, Array]:
    """Pixels (N, 3072) and labels (N,) of ``count`` records."""
    record = files.label_bytes + PIXELS
    with opened(files.name, path, "a batch of images") as file:
        size = os.fstat(file.fileno()).st_size
        if size != count * record:
            raise ValueError(f"it has {size:,} bytes, but its {count:,} images take {count * record:,}")
        records = np.frombuffer(file.read(), np.uint8).reshape(count, record)
        labels = records[:, files.label_bytes - 1]
        _check_labels(files, labels)
    return records[:, files.label_bytes :], labels


def _read_python(files: CifarFiles, path: Path, count: int) -> tuple[Array, Array]:
    """Pixels (N, 3072) and labels (N,) from a pickle of ``count`` images."""
    with opened(files.name, path, "a batch of images") as file:
        size, most = os.fstat(file.fileno()).st_size, count * (PIXELS + LARGEST_NAME) + 4096
        if size > most:
            raise ValueError(f"it has {size:,} bytes, but {count:,} images take no more than {most:,}")
        batch = read_pickle(file.read())
        pixels, labels = batch.get(b"data"), batch.get(files.label_key)
        if not isinstance(pixels, np.ndarray) or pixels.shape != (count, PIXELS):
            raise ValueError(f"its entry 'data' is not an array of {count} x {PIXELS} bytes")
        if not isinstance(labels, list) or len(labels) != count or not all(type(label) is int for label in labels):
            raise ValueError(f"its entry '{files.label_key.decode()}' is not a list of {count} integers")
        _check_labels(files, np.array(labels))
    return pixels, np.array(labels)


def _check_labels(files: CifarFiles, labels: Array) -> None:
    """Raise ValueError unless all labels are class numbers."""
    last = len(files.classes) - 1
    wrong = np.flatnonzero((labels < 0) | (labels > last))
    if len(wrong):
        raise ValueError(f"image {wrong[0]} has the label {labels[wrong[0]]}, but classes run from 0 to {last}")


class _Recorded:
    """Stands for ``numpy.dtype`` and ``numpy.core.multiarray._reconstruct``: keeps its arguments and its state."""

    def __init__(self, *arguments: Any) -> None:
        self.arguments = arguments
        self.state: Any = ()

    def __setstate__(self, state: Any) -> None:
        self.state = state


STAND_INS = {  # for the three functions that the pickles of CIFAR call, to make one array of bytes
    ("numpy.core.multiarray", "_reconstruct"): _Recorded,
    ("numpy", "dtype"): _Recorded,
    ("numpy", "ndarray"): "ndarray",
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        return STAND_INS[module, name]  # all others were refused before


def read_pickle(content: bytes) -> dict[bytes, Any]:
    """The dictionary in a pickle of CIFAR: lists, numbers, bytes, and uint8 arrays.

    A pickle is a program that can call any function. Each opcode is first compared with those that the pickles of
    CIFAR consist of, and the three functions that they call are replaced by stand-ins.

    Raises
    ------
    ValueError
        With the reason, if the pickle holds anything else or is damaged.
    """
    _check_opcodes(content)
    try:
        found = _Unpickler(io.BytesIO(content), encoding="bytes").load()
    except Exception as error:  # an unpickler raises almost anything on damaged input
        raise ValueError(f"it is not a complete pickle ({type(error).__name__})") from error
    if not isinstance(found, dict):
        raise ValueError(f"it holds {type(found).__name__}, not a dictionary")
    return {key: _array(value) if isinstance(value, _Recorded) else value for key, value in found.items()}


def _check_opcodes(content: bytes) -> None:
    """Raise ValueError at the first opcode that a batch of CIFAR does not have."""
    import pickletools

    allowed = set(OPCODES.split())
    opcodes: Iterator[tuple[Any, Any, Any]] = pickletools.genops(content)
    try:
        for opcode, argument, _ in opcodes:
            name = opcode.name
            if name not in allowed:
                raise ValueError(f"it is a pickle with the opcode {name}, which batches of CIFAR do not have")
            if name == "GLOBAL" and tuple(argument.split(" ")) not in STAND_INS:
                raise ValueError(f"it is a pickle that asks for {argument[:60]!r}, which could run any program")
            if name == "LONG_BINPUT" and argument > LARGEST_MEMO:
                raise ValueError(f"it is a pickle that asks for room for {argument} objects")
    except Exception as error:  # as above
        reason = str(error)
        if not reason.startswith("it is a pickle"):
            reason = f"it is not a complete pickle ({type(error).__name__})"
        raise ValueError(reason) from error


def _array(recorded: _Recorded) -> Array:
    """The array that NumPy would have made, if it is an array of bytes."""
    match recorded.state:
        case (1, (*shape,), _Recorded() as dtype, bool(by_columns), bytes(pixels)) if dtype.arguments[:1] == (b"u1",):
            if len(pixels) != math.prod(size if type(size) is int else 0 for size in shape):
                raise ValueError(f"its array has {len(pixels):,} bytes, which does not fit its shape")
            return np.frombuffer(pixels, np.uint8).reshape(shape, order="F" if by_columns else "C")
    raise ValueError("its array is not an array of bytes")
