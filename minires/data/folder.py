"""One's own images: a folder with a sub-folder for each class, or with a table of its files."""

from __future__ import annotations

import csv
import math
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import TypeVar

import numpy as np

from ..core import checks
from ..errors import ArgumentError, DataError, sizes
from .dataset import Array, Dataset, Split, Transform
from .files import FileSplit
from .places import PathLike
from .transforms import Compose, Flip, PadCrop

LABELS = "labels.csv"
SPLITS = ("train", "test")
MOST_IN_MEMORY = 1 << 30  # bytes, a GiB
NAMED = 3  # of many mistakes, the error names so many
Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Entry:
    """An image before it is read: its file, its class, which split it is in (if that is said), and its text."""

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
    if wanted ``split`` (train or test) and ``text``; or sub-folders ``train`` and ``test`` with a folder for each
    class in both; or just a folder for each class. Where nothing says which images are to test, every fifth of each
    class does, in the order of their names. Hidden files are passed over, and other columns as well.

    Parameters
    ----------
    path : str or path
    size : int or (int, int), optional
        Height and width that every image is resized to, whatever its proportions; by default all must have one size.
    channels : {1, 3}
        Grey or colour.
    in_memory : bool or None
        True reads all images at once. False reads the first, for its size, and each other one whenever a loader asks
        for it: memory does not grow with the number of images, and a damaged one is noticed when its turn comes. None
        decides by size: False for more than a GiB of pixels, N * C * H * W bytes.

    Returns
    -------
    Dataset
        Named as the folder; classes in the order of the alphabet. The splits are :class:`Split`, or
        :class:`minires.data.FileSplit` for images that are not in memory. Training images are augmented as those of
        CIFAR-10: moved by up to an eighth of their shorter side (4 pixels for 32x32), and mirrored.

    Raises
    ------
    DataError
        If there are not two classes, a class has no image to train, no image is left to test, an image cannot be
        read or lies outside of the folder (all are tried, and the first ones named), or sizes differ.
    ArgumentError
        For another ``size``, ``channels`` or ``in_memory``.
    """
    root = Path(path)
    resize = _resize(size)
    if channels not in (1, 3):
        raise ArgumentError(f"folder: channels is {channels!r}; it must be 1 (grey) or 3 (colour).")
    if in_memory not in (True, False, None):
        raise ArgumentError(f"folder: in_memory is {in_memory!r}; it must be True, False, or None for either.")
    if not os.path.isdir(root):
        raise DataError(f"folder: there is no folder {root}.")
    entries = _from_table(root) if os.path.isfile(root / LABELS) else _from_folders(root)
    _check_inside(root, entries)
    entries = _with_splits(entries)
    classes = _classes(root, entries)
    name = root.resolve().name
    if not in_memory:
        shape = _shape(entries[0], channels, resize)
        if in_memory is False or len(entries) * math.prod(shape) > MOST_IN_MEMORY:
            files, test_files = (_files(part, entries, classes, shape, resize is not None) for part in SPLITS)
            return Dataset(name, classes, files, test_files, _augmentation(shape))
    images = _read(root, entries, channels, resize)
    train, test = (_split(part, entries, images, classes) for part in SPLITS)
    return Dataset(name, classes, train, test, _augmentation(images.shape[1:]))


def _augmentation(shape: tuple[int, ...]) -> Transform:
    """Moved by up to an eighth of the shorter side, and mirrored: for 32x32 pixels, that of He et al."""
    padding = min(shape[1:]) // 8
    return Compose([PadCrop(padding), Flip()]) if padding else Flip()


def _resize(size: int | tuple[int, int] | None) -> tuple[int, int] | None:
    if size is None:
        return None
    height, width = size if isinstance(size, tuple) and len(size) == 2 else (size, size)
    return checks.integer("folder", height, "size", 1), checks.integer("folder", width, "size", 1)


def _from_table(root: Path) -> list[Entry]:
    """The rows of ``labels.csv``, all of which must be sound."""
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

    def entry(numbered: tuple[int, dict[str, str | None]]) -> Entry:
        line, row = numbered
        file, label, split = (row.get(name) or "" for name in ("file", "class", "split"))
        if None in row or None in row.values():
            raise DataError(f"line {line} has not as many cells as there are columns")
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
        return Entry(root / file, label, split or None, row.get("text") or "")

    return _all(entry, rows, f"rows of {table}")


def _leaves(file: str) -> bool:
    """Whether it is an absolute path or one with ``..``, on any system: the folder may have come from another one."""
    return any(
        kind(file).is_absolute() or kind(file).anchor or ".." in kind(file).parts
        for kind in (PurePosixPath, PureWindowsPath)
    )


def _from_folders(root: Path) -> list[Entry]:
    if all(os.path.isdir(root / part) for part in SPLITS):
        return [entry for part in SPLITS for entry in _from_classes(root / part, part)]
    return list(_from_classes(root, None))


def _from_classes(root: Path, split: str | None) -> Iterator[Entry]:
    from .images import find

    try:
        names = sorted(name for name in os.listdir(root) if not name.startswith("."))
    except OSError as error:
        raise DataError(f"folder: {root} cannot be listed: {error.strerror or error}.") from error
    for place in [root / name for name in names if os.path.isdir(root / name)]:
        files = list(find(place))
        if not files:
            raise DataError(f"folder: the class {place} holds no images; fill it or remove it.")
        yield from (Entry(file, place.name, split) for file in files)


def _check_inside(root: Path, entries: list[Entry]) -> None:
    """Raise DataError if a link leads out of the folder: what lies there was not meant to be looked at."""
    top = os.path.realpath(root)

    def check(entry: Entry) -> None:
        if not Path(os.path.realpath(entry.path)).is_relative_to(top):
            raise DataError(f"{entry.path} is a link out of the folder, to {os.path.realpath(entry.path)}")

    _all(check, entries, f"images in {root}")


def _with_splits(entries: list[Entry]) -> list[Entry]:
    """The entries, each with its split."""
    if all(entry.split for entry in entries):
        return entries
    seen: dict[str, int] = {}
    chosen = []
    for entry in sorted(entries, key=lambda entry: entry.path):
        number = seen[entry.label] = seen.get(entry.label, 0) + 1
        chosen.append(Entry(entry.path, entry.label, "train" if number % 5 else "test", entry.text))
    return chosen


def _classes(root: Path, entries: list[Entry]) -> tuple[str, ...]:
    """The names of the classes: at least two, each with something to learn from, and something to test."""
    classes = sorted({entry.label for entry in entries})
    if len(classes) < 2:
        found = f"only the class {classes[0]}" if classes else "no images in folders named after their classes"
        raise DataError(f"folder: {root} holds {found}; there must be two classes or more.")
    learned = {entry.label for entry in entries if entry.split == "train"}
    if untaught := [name for name in classes if name not in learned]:
        raise DataError(f"folder: {root} has no image to train of the class {untaught[0]}.")
    if not any(entry.split == "test" for entry in entries):
        raise DataError(
            f"folder: {root} leaves no image to test; a fifth of each class of 5 or more is, unless something says "
            "which."
        )
    return tuple(classes)


def _shape(first: Entry, channels: int, size: tuple[int, int] | None) -> tuple[int, int, int]:
    """(C, H, W) of all images, if they are like the first."""
    from .images import read

    if size is not None:
        return channels, *size
    _, height, width = read(first.path, channels).shape
    return channels, height, width


def _read(root: Path, entries: list[Entry], channels: int, size: tuple[int, int] | None) -> Array:
    """The images (N, C, H, W)."""
    from .images import read

    images = _all(lambda entry: read(entry.path, channels, size), entries, f"images in {root}")
    for entry, image in zip(entries, images, strict=True):
        if image.shape != images[0].shape:
            raise DataError(
                f"folder: {entries[0].path} is {sizes(images[0].shape[1:])} and {entry.path} is "
                f"{sizes(image.shape[1:])}; give a size, such as size=32 or --size 32, to make them equal."
            )
    return np.stack(images)  # N of (C, H, W) to (N, C, H, W)


def _split(part: str, entries: list[Entry], images: Array, classes: tuple[str, ...]) -> Split:
    chosen = [i for i, entry in enumerate(entries) if entry.split == part]
    return Split(images[chosen], *_labels_and_texts([entries[i] for i in chosen], classes))


def _files(
    part: str, entries: list[Entry], classes: tuple[str, ...], shape: tuple[int, int, int], resize: bool
) -> FileSplit:
    chosen = [entry for entry in entries if entry.split == part]
    labels, texts = _labels_and_texts(chosen, classes)
    return FileSplit([os.fspath(entry.path) for entry in chosen], labels, shape, resize, texts)


def _labels_and_texts(entries: list[Entry], classes: tuple[str, ...]) -> tuple[Array, tuple[str, ...]]:
    numbers = {name: number for number, name in enumerate(classes)}
    labels = np.array([numbers[entry.label] for entry in entries], np.int64)
    texts = tuple(entry.text for entry in entries)
    return labels, texts if any(texts) else ()


def _all(function: Callable[[Item], Result], items: Sequence[Item], what: str) -> list[Result]:
    """``function`` of each item; what is wrong with any of them is said in one error, after all were tried."""
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
