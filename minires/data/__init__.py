"""Data sets, transforms, and the loader, which makes batches of them.

>>> import minires as mr
>>> digits = mr.data.load("digits")
>>> digits.image_shape, len(digits.train), len(digits.test)
((1, 8, 8), 1437, 360)
"""

from __future__ import annotations

from collections.abc import Callable

from ..errors import ArgumentError
from . import transforms
from .cifar import CIFAR10, CIFAR100, cifar10, cifar100
from .dataset import Dataset, FileSplit, Split
from .folder import folder
from .loader import Loader
from .mnist import FASHION_MNIST, MNIST, digits, fashion_mnist, mnist
from .places import PublishedFiles
from .shapes import drawings, shapes

_DATASETS: dict[str, Callable[[], Dataset]] = {
    "digits": digits,
    "mnist": mnist,
    "fashion_mnist": fashion_mnist,
    "cifar10": cifar10,
    "cifar100": cifar100,
    "shapes": shapes,
}
PUBLISHED = {files.name: files for files in (MNIST, FASHION_MNIST, CIFAR10, CIFAR100)}  # those that can be downloaded


def names() -> list[str]:
    """The names that :func:`load` takes."""
    return list(_DATASETS)


def load(name: str) -> Dataset:
    """The data set of that name.

    Raises
    ------
    ArgumentError
        If the name is not in :func:`names`.
    DataError
        If its files are missing or damaged.
    """
    if name not in _DATASETS:
        raise ArgumentError(f"data.load: there is no data set {name!r}; choose one of {', '.join(names())}.")
    return _DATASETS[name]()


def published(name: str) -> PublishedFiles:
    """The files of a data set that can be downloaded. Raises ArgumentError for another name."""
    if name not in PUBLISHED:
        raise ArgumentError(f"data: {name!r} is not a data set to download; choose one of {', '.join(PUBLISHED)}.")
    return PUBLISHED[name]


__all__ = [
    "PUBLISHED",
    "Dataset",
    "FileSplit",
    "Loader",
    "Split",
    "cifar10",
    "cifar100",
    "digits",
    "drawings",
    "fashion_mnist",
    "folder",
    "load",
    "mnist",
    "names",
    "published",
    "shapes",
    "transforms",
]
