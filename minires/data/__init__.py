"""Data sets, transforms, and the loader that makes batches of them.

>>> import minires as mr
>>> digits = mr.data.load("digits")
>>> digits.image_shape, len(digits.train), len(digits.test)
((1, 8, 8), 1437, 360)
"""

from __future__ import annotations

from collections.abc import Callable

from ..errors import ArgumentError
from . import transforms
from .cifar import cifar10, cifar100
from .dataset import Dataset, Split
from .digits import digits
from .files import FileSplit
from .folder import folder
from .loader import Loader
from .mnist import fashion_mnist, mnist
from .shapes import drawings, shapes

_DATASETS: dict[str, Callable[[], Dataset]] = {
    "digits": digits,
    "mnist": mnist,
    "fashion_mnist": fashion_mnist,
    "cifar10": cifar10,
    "cifar100": cifar100,
    "shapes": shapes,
}


def names() -> list[str]:
    """The names that :func:`load` takes."""
    return list(_DATASETS)


def load(name: str) -> Dataset:
    """The data set of that name.

    Raises
    ------
    ArgumentError
        For a name that is not in :func:`names`.
    DataError
        If its files are missing or damaged.
    """
    if name not in _DATASETS:
        raise ArgumentError(f"data.load: there is no data set {name!r}; choose one of {', '.join(names())}.")
    return _DATASETS[name]()


__all__ = [
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
    "shapes",
    "transforms",
]
