"""Data sets of your own images: a folder with a sub-folder for each class, or with a table of the files."""

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
NAMED = 3  # maximum number of mistakes that an error message lists
Given = TypeVar("Given")
Made = TypeVar("Made")


@dataclass(frozen=True)
class LabelledFile:
    """An image that has not been read yet: its file, its class, its split (if it is known), and its text."""

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
        Class numbers, starting at 0.
    image_shape : (int, int, int)
        The shape of each image, (C, H, W).
    resize : bool
        Whether to resize images of another size. If False, reading such an image raises DataError.
    texts : tuple of N str, optional
        A text about each image.
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
            If images cannot be read, or have another size. All images are tried, and the message lists up to three that
            failed.
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
                    "as size=32 or --size 32, to resize all images"
                )
            images[place] = image

        _all(fill, range(len(chosen)), "images")
        return images, self.labels[chosen]

    def __repr__(self) -> str:
        return f"FileSplit({len(self)} images of {sizes(self.image_shape)})"


def folder(
    path: PathLike, size: int | tuple[int, int] | None = None, channels: int = 3, in_memory: bool | None = True
) -> Dataset:
    """Load the images in a folder as a data set.

    The folder contains one of the following:

    - a file ``labels.csv`` with the columns ``file`` (relative to the folder) and ``class``, and optionally ``split``
      (train or test) and ``text`` (other columns are ignored);
    - the folders ``train`` and ``test``, each of which contains a folder for each class;
    - a folder for each class.

    Without given splits, every fifth image of each class, in the order of the paths, is a test image. Hidden files are
    ignored. A file in ``labels.csv`` may have any format that Pillow reads, except EPS; folders are searched for files
    with the suffixes of common formats.

    Parameters
    ----------
    path : str or path
    size : int or (int, int), optional
        Height and width to which every image is resized; the proportions are not kept. By default, all images must have
        the same size.
    channels : {1, 3}
        1 for grey images, 3 for colour images.
    in_memory : bool or None
        True reads all images at once. False reads the images whenever a loader needs them, and only the first image at
        once, to find its size if ``size`` is not given: memory use does not grow with the number of images, but a
        damaged image is noticed only when it is read. None means False if the pixels would take more than a GiB
        (N * C * H * W bytes), and True otherwise.

    Returns
    -------
    Dataset
        Its name is that of the folder, and its classes are in alphabetical order. The splits are :class:`Split`, or
        :class:`minires.data.FileSplit` if the images are not in memory. The augmentation is like that of CIFAR-10:
        training images are shifted by up to an eighth of their shorter side (4 pixels for 32x32), and mirrored.

    Raises
    ------
    DataError
        If the folder or the table cannot be read; if there are fewer than two classes, a class without a training
        image, or no test image; if an image cannot be read or is outside the folder; or if sizes differ and ``size`` is
        not given. All images of a split are tried, and the message lists up to three that failed.
    ArgumentError
        If ``size``, ``channels`` or ``in_memory`` has any other value.
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
    padding = min(height, width) // 8  # 4 for 32x32 pixels, as in He et al.
    augmentation = Compose([PadCrop(padding), Flip()]) if padding else Flip()
    return Dataset(root.resolve().name, classes, splits[0], splits[1], augmentation)


def _from_table(root: Path) -> list[LabelledFile]:
    """Read the rows of ``labels.csv``. Raises DataError unless all of them are valid."""
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
            raise DataError(f"line {line} has a path that is absolute or contains ..: {file}")
        if not os.path.isfile(root / file):
            raise DataError(f"line {line} names a missing file: {file}")
        if os.path.normpath(file) in seen:
            raise DataError(f"line {line} names a file that an earlier line names: {file}")
        seen.add(os.path.normpath(file))
        return LabelledFile(root / file, label, split or None, row.get("text") or "")

    return _all(labelled, rows, f"rows of {table}")


def _leaves(file: str) -> bool:
    """Whether a path is absolute or contains ``..``, on any system: the folder may come from another system."""
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
            raise DataError(f"folder: the class {place} holds no images; add some or remove it.")
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
    """Return the files with their splits. If these are not given, every fifth file of each class is a test image."""
    if all(file.split for file in files):
        return files
    seen = Counter[str]()
    chosen = []
    for file in sorted(files, key=lambda file: file.path):
        seen[file.label] += 1
        chosen.append(replace(file, split="train" if seen[file.label] % 5 else "test"))
    return chosen


def _classes(root: Path, files: list[LabelledFile]) -> tuple[str, ...]:
    """Return the names of the classes.

    There must be at least two, each with a training image, and at least one test image. Otherwise, raise DataError.
    """
    classes = sorted({file.label for file in files})
    if len(classes) < 2:
        found = f"only the class {classes[0]}" if classes else "no images in folders named after their classes"
        raise DataError(f"folder: {root} holds {found}; at least two classes are needed.")
    trained = {file.label for file in files if file.split == "train"}
    if untrained := [name for name in classes if name not in trained]:
        raise DataError(f"folder: {root} has no training image of the class {untrained[0]}.")
    if not any(file.split == "test" for file in files):
        raise DataError(
            f"folder: {root} has no test image; every fifth image of each class is one, unless the folders train and "
            "test or the column split of labels.csv say otherwise."
        )
    return tuple(classes)


def _all(function: Callable[[Given], Made], items: Sequence[Given], what: str) -> list[Made]:
    """Return the result of ``function`` for each item. All items are tried, and one DataError lists the failures."""
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
