"""Your own images: a folder with a sub-folder for each class, or with a table of its files."""

from __future__ import annotations

import csv
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import TypeVar

import numpy as np

from ..core import checks
from ..core.backend import Array
from ..errors import ArgumentError, DataError, sizes
from ..interop.files import PathLike
from .dataset import Dataset, Split
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


@dataclass(frozen=True, eq=False)
class FileSplit:
    """The training or test part of a data set whose images are read when they are needed; see :func:`folder`.

    Parameters
    ----------
    files : list of N paths
    labels : array of int64, (N,)
        Class numbers, from 0.
    image_shape : (int, int, int)
        (C, H, W) of every image.
    resize : bool
        Whether images of another size are resized to it, or refused.
    texts : tuple of N str, optional
        What is written about each image.
    """

    files: list[Path]
    labels: Array
    image_shape: tuple[int, int, int]
    resize: bool
    texts: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, chosen: Array) -> tuple[Array, Array]:
        """Read the images (B, C, H, W) at an array of B indices, and return them with their labels (B,).

        Raises
        ------
        DataError
            If images cannot be read, or have another size. All are tried, and the first ones named.
        """
        from .images import read

        channels, height, width = self.image_shape
        images = np.empty((len(chosen), channels, height, width), np.uint8)

        def fill(place: int) -> None:
            path = self.files[chosen[place]]
            image = read(path, channels, (height, width) if self.resize else None)
            if image.shape != self.image_shape:
                raise DataError(
                    f"{path} is {sizes(image.shape[1:])}, but the first image is {height}x{width}; give a size, such "
                    "as size=32 or --size 32, to make them equal"
                )
            images[place] = image

        _all(fill, range(len(chosen)), "images")
        return images, self.labels[chosen]

    def __repr__(self) -> str:
        return f"FileSplit({len(self)} images of {sizes(self.image_shape)})"


def folder(
    path: PathLike, size: int | tuple[int, int] | None = None, channels: int = 3, in_memory: bool | None = True
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
        read or is outside of the folder (all of a split are tried, and the first ones named), or sizes differ.
    ArgumentError
        For another ``size``, ``channels`` or ``in_memory``.
    """
    from .images import read

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
    height, width = resize or read(files[0].path, channels).shape[1:]
    if in_memory is None:
        in_memory = len(files) * channels * height * width <= MOST_IN_MEMORY

    splits: list[Split | FileSplit] = []
    for part in SPLITS:
        chosen = [file for file in files if file.split == part]
        labels = np.searchsorted(classes, [file.label for file in chosen]).astype(np.int64)
        texts = tuple(file.text for file in chosen)
        texts = texts if any(texts) else ()
        split = FileSplit([file.path for file in chosen], labels, (channels, height, width), resize is not None, texts)
        splits.append(Split(*split[np.arange(len(split))], texts) if in_memory else split)
    padding = min(height, width) // 8  # for 32x32 pixels, that of He et al.
    augmentation = Compose([PadCrop(padding), Flip()]) if padding else Flip()
    return Dataset(root.resolve().name, classes, splits[0], splits[1], augmentation)


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
    return any(kind(file).anchor or ".." in kind(file).parts for kind in (PurePosixPath, PureWindowsPath))


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
    seen = Counter[str]()
    chosen = []
    for file in sorted(files, key=lambda file: file.path):
        seen[file.label] += 1
        chosen.append(replace(file, split="train" if seen[file.label] % 5 else "test"))
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


def _all(function: Callable[[Given], Made], items: Sequence[Given], what: str) -> list[Made]:
    """``function`` of each item. All items are tried, and one DataError says what is wrong with them."""
    results, wrong = [], []
    for item in items:
        try:
            results.append(function(item))
        except DataError as error:
            wrong.append(str(error).rstrip("."))
    if wrong:
        named = [*wrong[:NAMED], *([f"and {len(wrong) - NAMED} more"] if len(wrong) > NAMED else [])]
        raise DataError(f"folder: {len(wrong)} of {len(items)} {what} cannot be used: {'; '.join(named)}.")
    return results
