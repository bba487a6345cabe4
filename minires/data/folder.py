"""Your own images: a folder with a sub-folder for each class, or with a table of its files."""

from __future__ import annotations

import csv
import math
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import TypeVar

import numpy as np

from ..core import checks
from ..core.backend import Array
from ..errors import ArgumentError, DataError
from ..interop.files import PathLike
from .dataset import Dataset, FileSplit, Split, Transform, check_size
from .transforms import Compose, Flip, PadCrop

LABELS = "labels.csv"
SPLITS = ("train", "test")
MOST_IN_MEMORY = 1 << 30  # bytes, a GiB
NAMED = 3  # mistakes that one error names
Given = TypeVar("Given")
Made = TypeVar("Made")


@dataclass(frozen=True)
class LabelledFile:
    """An image that has not been read: its file, its class, its split (if something says so), and its text."""

    path: Path
    label: str
    split: str | None = None
    text: str = ""


def folder(
    path: PathLike,
    size: int | tuple[int, int] | None = None,
    channels: int = 3,
    in_memory: bool | None = True,
) -> Dataset:
    """The images in a folder, in any format that Pillow reads.

    The folder has either a file ``labels.csv`` with the columns ``file`` (relative to the folder) and ``class``, and
    optionally ``split`` (train or test) and ``text``; or sub-folders ``train`` and ``test`` with a folder for each
    class in both; or just a folder for each class. If nothing says which images are test images, every fifth image of
    each class is, in the order of their names. Hidden files and other columns are ignored.

    Parameters
    ----------
    path : str or path
    size : int or (int, int), optional
        Height and width to which every image is resized, whatever its proportions. By default, all images must have
        the same size.
    channels : {1, 3}
        Grey or colour.
    in_memory : bool or None
        True reads all images at once. False reads the first image, for its size, and every other image each time that
        a loader needs it: memory does not grow with the number of images, and a damaged image is noticed only when it
        is read. None chooses False for more than a GiB of pixels, N * C * H * W bytes, and True otherwise.

    Returns
    -------
    Dataset
        Named after the folder; classes in alphabetical order. The splits are :class:`Split`, or
        :class:`minires.data.FileSplit` for images that are not in memory. Training images are augmented like those of
        CIFAR-10: shifted by up to an eighth of their shorter side (4 pixels for 32x32), and mirrored.

    Raises
    ------
    DataError
        If there are fewer than two classes, a class has no training image, there is no test image, an image cannot be
        read or is outside of the folder (all are tried, and the first ones named), or sizes differ.
    ArgumentError
        For another ``size``, ``channels`` or ``in_memory``.
    """
    root = Path(path)
    resize = None if size is None else checks.pair("folder", size, "size", 1)
    if channels not in (1, 3):
        raise ArgumentError(f"folder: channels is {channels!r}; it must be 1 (grey) or 3 (colour).")
    if in_memory not in (True, False, None):
        raise ArgumentError(f"folder: in_memory is {in_memory!r}; it must be True, False or None.")
    if not os.path.isdir(root):
        raise DataError(f"folder: there is no folder {root}.")
    files = _from_table(root) if os.path.isfile(root / LABELS) else _from_folders(root)
    _check_inside(root, files)
    files = _with_splits(files)
    classes = _classes(root, files)
    images = None
    if not in_memory:
        shape = _shape(files[0], channels, resize)
        in_memory = in_memory is None and len(files) * math.prod(shape) <= MOST_IN_MEMORY
    if in_memory:
        images = _read(root, files, channels, resize)
        shape = images.shape[1:]

    numbers = {name: number for number, name in enumerate(classes)}
    splits: list[Split | FileSplit] = []
    for part in SPLITS:
        chosen = [i for i, file in enumerate(files) if file.split == part]
        labels = np.array([numbers[files[i].label] for i in chosen], np.int64)
        texts = tuple(files[i].text for i in chosen)
        texts = texts if any(texts) else ()
        if images is None:
            paths = [os.fspath(files[i].path) for i in chosen]
            splits.append(FileSplit(paths, labels, shape, resize is not None, texts))
        else:
            splits.append(Split(images[chosen], labels, texts))
    return Dataset(root.resolve().name, classes, splits[0], splits[1], _augmentation(shape))


def _augmentation(shape: tuple[int, ...]) -> Transform:
    """Shifted by up to an eighth of the shorter side, and mirrored: for 32x32 pixels, that of He et al."""
    padding = min(shape[1:]) // 8
    return Compose([PadCrop(padding), Flip()]) if padding else Flip()


def _from_table(root: Path) -> list[LabelledFile]:
    """The rows of ``labels.csv``, all of which must be valid."""
    table = root / LABELS
    try:
        with open(table, encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, strict=True)
            columns = reader.fieldnames or []
            if missing := [name for name in ("file", "class") if name not in columns]:
                raise DataError(f"folder: {table} has no column {' and no column '.join(missing)}.")
            rows = [(reader.line_num, row) for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"folder: {table} cannot be read: {getattr(error, 'strerror', None) or error}.") from error

    seen: set[str] = set()

    def labelled(numbered: tuple[int, dict[str, str | None]]) -> LabelledFile:
        line, row = numbered
        file, label, split = (row.get(name) or "" for name in ("file", "class", "split"))
        if None in row or None in row.values():
            raise DataError(f"line {line} does not have as many cells as there are columns")
        if not file or not label:
            raise DataError(f"line {line} has no {'class' if file else 'file'}")
        if split not in SPLITS and "split" in columns:
            raise DataError(f"line {line} has the split {split!r}, not train or test")
        if _leaves(file):
            raise DataError(f"line {line} leads out of the folder: {file}")
        if not os.path.isfile(root / file):
            raise DataError(f"line {line} names a missing file: {file}")
        if os.path.normpath(file) in seen:
            raise DataError(f"line {line} names a second time: {file}")
        seen.add(os.path.normpath(file))
        return LabelledFile(root / file, label, split or None, row.get("text") or "")

    return _all(labelled, rows, f"rows of {table}")


def _leaves(file: str) -> bool:
    """Whether it is an absolute path or has a ``..``, on any system: the folder may come from another one."""
    return any(
        kind(file).is_absolute() or kind(file).anchor or ".." in kind(file).parts
        for kind in (PurePosixPath, PureWindowsPath)
    )


def _from_folders(root: Path) -> list[LabelledFile]:
    if all(os.path.isdir(root / part) for part in SPLITS):
        return [file for part in SPLITS for file in _from_classes(root / part, part)]
    return list(_from_classes(root, None))


def _from_classes(root: Path, split: str | None) -> Iterator[LabelledFile]:
    from .images import find

    try:
        names = sorted(name for name in os.listdir(root) if not name.startswith("."))
    except OSError as error:
        raise DataError(f"folder: {root} cannot be listed: {error.strerror or error}.") from error
    for place in [root / name for name in names if os.path.isdir(root / name)]:
        paths = list(find(place))
        if not paths:
            raise DataError(f"folder: the class {place} holds no images; fill it or remove it.")
        yield from (LabelledFile(path, place.name, split) for path in paths)


def _check_inside(root: Path, files: list[LabelledFile]) -> None:
    """Raise DataError if a link leads out of the folder, to files that were not meant to be read."""
    top = os.path.realpath(root)

    def check(file: LabelledFile) -> None:
        target = os.path.realpath(file.path)
        if not Path(target).is_relative_to(top):
            raise DataError(f"{file.path} is a link out of the folder, to {target}")

    _all(check, files, f"images in {root}")


def _with_splits(files: list[LabelledFile]) -> list[LabelledFile]:
    """The files, each with its split."""
    if all(file.split for file in files):
        return files
    seen: dict[str, int] = {}
    chosen = []
    for file in sorted(files, key=lambda file: file.path):
        number = seen[file.label] = seen.get(file.label, 0) + 1
        chosen.append(replace(file, split="train" if number % 5 else "test"))
    return chosen


def _classes(root: Path, files: list[LabelledFile]) -> tuple[str, ...]:
    """The names of the classes: at least two, each with a training image. There must be a test image, too."""
    classes = sorted({file.label for file in files})
    if len(classes) < 2:
        found = f"only the class {classes[0]}" if classes else "no images in folders named after their classes"
        raise DataError(f"folder: {root} holds {found}; at least two classes are needed.")
    trained = {file.label for file in files if file.split == "train"}
    if untrained := [name for name in classes if name not in trained]:
        raise DataError(f"folder: {root} has no training image of the class {untrained[0]}.")
    if not any(file.split == "test" for file in files):
        raise DataError(
            f"folder: {root} has no test image; every fifth image of a class is one, unless folders train and test or "
            "a column split say which."
        )
    return tuple(classes)


def _shape(first: LabelledFile, channels: int, size: tuple[int, int] | None) -> tuple[int, int, int]:
    """(C, H, W) of all images, if they have the size of the first."""
    from .images import read

    if size is not None:
        return channels, *size
    _, height, width = read(first.path, channels).shape
    return channels, height, width


def _read(root: Path, files: list[LabelledFile], channels: int, size: tuple[int, int] | None) -> Array:
    """The images (N, C, H, W)."""
    from .images import read

    images = _all(lambda file: read(file.path, channels, size), files, f"images in {root}")
    for file, image in zip(files, images, strict=True):
        check_size(file.path, image, images[0].shape)
    return np.stack(images)  # N of (C, H, W) to (N, C, H, W)


def _all(function: Callable[[Given], Made], items: Sequence[Given], what: str) -> list[Made]:
    """``function`` of each item. All items are tried, and one DataError says what is wrong with them."""
    results, wrong = [], []
    for item in items:
        try:
            results.append(function(item))
        except DataError as error:
            wrong.append(str(error).rstrip("."))
    if wrong:
        more = f"; and {len(wrong) - NAMED} more" if len(wrong) > NAMED else ""
        raise DataError(
            f"folder: {len(wrong)} of {len(items)} {what} cannot be used: {'; '.join(wrong[:NAMED])}{more}."
        )
    return results
