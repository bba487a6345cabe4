"""Published data sets: their files, where these are on this machine, and how they are loaded."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..core.backend import Array
from ..errors import DataError, listed
from ..interop.files import PathLike
from .dataset import Dataset, Split, Transform

#: ``read(name, folder, part, count)`` returns the ``count`` images (N, C, H, W) and labels (N,) of one part of a data
#: set. ``name`` is that of the data set, for error messages.
Reader = Callable[[str, Path, str, int], tuple[Array, Array]]


@dataclass(frozen=True)
class Archive:
    """A file to download: its name on every mirror, its md5 sum, and its size in bytes."""

    file: str
    md5: str
    size: int


@dataclass(frozen=True)
class PublishedFiles:
    """The files of a published data set.

    The md5 sums are those of the publishers. They detect damaged downloads, but do not protect against forgery.

    Parameters
    ----------
    name : str
        The name that ``minires.data.load`` accepts.
    licence : str
    folder : str
        The sub-folder of the data folder to which the files are downloaded.
    mirrors : tuple of str
        Base URLs, in the order in which they are tried.
    archives : tuple of Archive
        The files to download. ``.tar.gz`` archives are unpacked; single ``.gz`` files stay compressed.
    sums : dict
        Maps each folder that may hold the data set to a dict that maps file names to the md5 sums of the uncompressed
        files. A sum is "" if it was not published.
    """

    name: str
    licence: str
    folder: str
    mirrors: tuple[str, ...]
    archives: tuple[Archive, ...]
    sums: dict[str, dict[str, str]]

    @property
    def size(self) -> int:
        """The size of the download in bytes."""
        return sum(archive.size for archive in self.archives)

    def readable(self, path: Path) -> Path:
        """Return ``path``, or the compressed file in its place if it is published, and so read, in that form."""
        return stored(path) if any(archive.file == f"{path.name}.gz" for archive in self.archives) else path


@dataclass(frozen=True)
class PublishedDataset(PublishedFiles):
    """A published data set: its files, its classes, and the function that reads the files.

    Parameters
    ----------
    classes : tuple of str
    augmentation : transform
        As in :class:`minires.data.Dataset`.
    train, test : dict
        Maps the parts of the split to their numbers of images.
    read : callable
        Reads one part; see ``Reader``.
    """

    classes: tuple[str, ...]
    augmentation: Transform
    train: dict[str, int]
    test: dict[str, int]
    read: Reader

    def load(self, root: PathLike | None = None) -> Dataset:
        """Load the data set. Raises DataError if its files are not found or are damaged."""
        folder = find(self, root)
        train, test = (self.split(folder, parts) for parts in (self.train, self.test))
        return Dataset(self.name, self.classes, train, test, self.augmentation)

    def split(self, folder: Path, parts: dict[str, int]) -> Split:
        """Load one split by joining its parts. Raises DataError if a file is damaged."""
        found = []
        for part, count in parts.items():
            images, labels = self.read(self.name, folder, part, count)
            wrong = np.flatnonzero((labels < 0) | (labels >= len(self.classes)))
            if len(wrong):
                raise DataError(
                    f"{self.name}: in {folder}, image {wrong[0]} of {part} has the label {labels[wrong[0]]}, but "
                    f"classes run from 0 to {len(self.classes) - 1}."
                )
            found.append((images, labels.astype(np.int64)))
        images, labels = map(np.concatenate, zip(*found, strict=True))
        return Split(images, labels)


def cache_folder() -> Path:
    """Return the folder ``minires`` in the user's cache folder, whose location depends on the system."""
    home = os.path.expanduser("~")
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or os.path.join(home, "AppData", "Local")
    elif sys.platform == "darwin":
        base = os.path.join(home, "Library", "Caches")
    else:
        base = os.environ.get("XDG_CACHE_HOME") or os.path.join(home, ".cache")
    return Path(base, "minires")


def places(root: PathLike | None = None) -> list[Path]:
    """Return the folders to search: only ``root``, or else ``MINIRES_DATA`` (if it is set) and the cache folder."""
    if root is not None:
        return [Path(root)]
    return [Path(place) for place in (os.environ.get("MINIRES_DATA"), cache_folder()) if place]


def stored(path: Path) -> Path:
    """Return ``path``, or ``path`` with ``.gz`` appended if only the latter is a file."""
    packed = path.with_name(f"{path.name}.gz")
    # Unlike Path.is_file, os.path.isfile returns False where permission is denied.
    return packed if os.path.isfile(packed) and not os.path.isfile(path) else path


def find(published: PublishedFiles, root: PathLike | None = None) -> Path:
    """Return the first folder that holds all files of a data set, compressed (``.gz``) or not if they are published so.

    Raises
    ------
    DataError
        If there is no such folder. The message names the folders that were searched and the command that downloads the
        data set.
    """
    incomplete = []
    for place in places(root):
        for folder, files in published.sums.items():
            missing = [file for file in files if not os.path.isfile(published.readable(place / folder / file))]
            if not missing:
                return place / folder
            packed = [file for file in missing if os.path.isfile(stored(place / folder / file))]
            if len(missing) < len(files) or packed:
                unpack = " (gunzip the .gz files there)" if packed == missing else ""
                incomplete.append(f"{place / folder} lacks {listed(missing)}{unpack}")
    found = f"; {' and '.join(incomplete)}" if incomplete else ""
    raise DataError(
        f"data set {published.name!r} was not found: there is no complete {' or '.join(published.sums)} in "
        f"{' or '.join(map(str, places(root)))}{found}; fetch it with `minires data fetch {published.name}`, or set "
        "MINIRES_DATA or root= to the folder that holds it."
    )


def is_here(published: PublishedFiles) -> bool:
    """Whether all files of a data set are on this machine, damaged or not."""
    try:
        find(published)
    except DataError:
        return False
    return True
