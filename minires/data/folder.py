"""Data sets of your own images: a folder with a sub-folder for each class, or with a table of the files."""

from __future__ import annotations

import itertools
import os
import unicodedata
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import TypeVar

import numpy as np

from ..core import checks
from ..core.backend import Array
from ..errors import ArgumentError, DataError, listed, sizes
from ..interop.files import PathLike
from .dataset import Dataset, Split
from .table import read_table
from .transforms import Compose, Flip, PadCrop

LABELS = "labels.csv"
SPLITS = ("train", "test", "val")
# Names of folders and of the column split, in lower case
SPLIT_NAMES = {
    "train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val",
    "test": "test", "testing": "test", "eval": "test", "evaluation": "test",
}  # fmt: skip
SPLIT_NAMES |= {f"{name}_set": split for name, split in SPLIT_NAMES.items()}
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
      (train, val or test) and ``text`` (other columns are ignored);
    - the folders ``train`` and ``test``, each of which contains a folder for each class;
    - a folder for each class.

    Names of splits may be in any case; ``training``, ``valid``, ``validation``, ``testing``, ``eval`` and
    ``evaluation`` are accepted, too, as are ``train_set`` and the like. If there is a val but no test, the images of
    val are the test images; if there are both, val is kept as :attr:`Dataset.val`. Without given splits, every fifth
    image of each class, in the order of the paths, is a test image. A folder ``test`` or ``val`` of images without
    classes is left out. Spaces around the names of classes are dropped, and no two names may differ only by case.
    Hidden files are ignored. A file in ``labels.csv`` may have any format that Pillow reads, except EPS; folders are
    searched for files with the suffixes of common formats.

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
        if os.path.exists(root):
            raise DataError(f"folder: {root} is a file; give the folder that holds it.")
        raise DataError(f"folder: there is no folder {root}.")
    tables = [name for name in _names(root) if name.lower() == LABELS and os.path.isfile(root / name)]
    if len(tables) > 1:
        raise DataError(f"folder: {root} holds {listed(tables)}; remove all but one.")
    files = _from_table(root, root / tables[0]) if tables else _from_folders(root)
    _check_inside(root, files)
    files = _with_splits(files)
    classes = _classes(root, files)
    height, width = resize or read(files[0].path, channels).shape[1:]
    if in_memory is None:
        in_memory = len(files) * channels * height * width <= MOST_IN_MEMORY

    splits: dict[str, Split | FileSplit] = {}
    for part in SPLITS:
        chosen = [file for file in files if file.split == part]
        if not chosen:  # only val may be missing
            continue
        labels = np.searchsorted(classes, [file.label for file in chosen]).astype(np.int64)
        texts = tuple(file.text for file in chosen)
        texts = texts if any(texts) else ()
        split = FileSplit([file.path for file in chosen], labels, (channels, height, width), resize is not None, texts)
        splits[part] = Split(*split[np.arange(len(split))], texts) if in_memory else split
    padding = min(height, width) // 8  # 4 for 32x32 pixels, as in He et al.
    augmentation = Compose([PadCrop(padding), Flip()]) if padding else Flip()
    return Dataset(root.resolve().name, classes, augmentation=augmentation, **splits)


def _from_table(root: Path, table: Path) -> list[LabelledFile]:
    """Return the files in the rows of ``labels.csv``. Raises DataError unless all of them are valid."""
    rows = read_table(table)
    seen: set[Path] = set()

    def labelled(numbered: tuple[int, dict[str, str]]) -> LabelledFile:
        line, row = numbered
        if not row:
            raise DataError(f"line {line} does not have as many cells as there are columns")
        file, label = row["file"], _class_name(row["class"])
        if not file or not label:
            raise DataError(f"line {line} has no {'class' if file else 'file'}")
        split = SPLIT_NAMES.get(row.get("split", "train").lower())
        if split is None:
            raise DataError(f"line {line} has the split {row['split']!r}, not train, val or test")
        if _leaves(file):
            raise DataError(f"line {line} has a path that is absolute or contains ..: {file}")
        spellings = file, file.replace("\\", "/"), *(unicodedata.normalize(form, file) for form in ("NFC", "NFD"))
        path = next((root / spelling for spelling in spellings if os.path.isfile(root / spelling)), None)
        if path is None:
            raise DataError(f"line {line} names a missing file: {file}")
        if path in seen:
            raise DataError(f"line {line} names a file that an earlier line names: {file}")
        seen.add(path)
        return LabelledFile(path, label, split if "split" in row else None, row.get("text", ""))

    files = _all(labelled, rows, f"rows of {table}")
    return _with_a_test(files, {file.split for file in files if file.split})


def _with_a_test(files: list[LabelledFile], parts: Collection[str]) -> list[LabelledFile]:
    """Return the files; if there is a part ``val`` but no part ``test``, the former is the test."""
    rename = "val" in parts and "test" not in parts
    return [replace(file, split="test") if rename and file.split == "val" else file for file in files]


def _leaves(file: str) -> bool:
    """Whether a path is absolute or contains ``..``, on any system: the folder may come from another system."""
    return any(kind(file).anchor or ".." in kind(file).parts for kind in (PurePosixPath, PureWindowsPath))


def _class_name(name: str) -> str:
    """Return the name without spaces around it, and with each letter written in one way (é can be e and an accent)."""
    return unicodedata.normalize("NFC", name).strip()


def _seen(name: str) -> str:
    """Return the name without differences that are hard to see: case, invisible characters, and double spaces."""
    visible = (letter for letter in unicodedata.normalize("NFKC", name) if unicodedata.category(letter) != "Cf")
    return " ".join("".join(visible).casefold().split())


def _from_folders(root: Path) -> list[LabelledFile]:
    """Return the files in the folders of classes, which may be in the folders of splits."""
    names = _subfolders(root)
    splits = [name for name in names if name.lower() in SPLIT_NAMES]
    with_classes = [name for name in splits if _subfolders(root / name)]
    parts = {SPLIT_NAMES[name.lower()]: name for name in with_classes}
    if len(names) == 1 and (inner := _subfolders(root / names[0])):
        raise DataError(
            f"folder: {root} holds only the folder {names[0]}, which holds {listed(inner)}; give {root / names[0]}."
        )
    if not with_classes:
        # A train without folders is a class (of vehicles); a val or test without folders has no classes.
        unlabelled = [name for name in splits if SPLIT_NAMES[name.lower()] != "train"]
        if unlabelled and len(names) - len(unlabelled) < 2:
            raise DataError(f"folder: {root} holds {listed(names)}, but no folders of classes in {listed(splits)}.")
        return list(_from_classes(root, [name for name in names if name not in unlabelled], None))
    if others := [name for name in names if name not in splits and _has_images(root / name)]:
        raise DataError(
            f"folder: {root} holds {listed(with_classes)} with folders in them, but also {listed(others)}; move the "
            "classes into folders train and test, or name the class of each file in labels.csv."
        )
    if len(parts) < len(with_classes):
        raise DataError(
            f"folder: {root} holds {listed(with_classes)}, two of them for one split; merge or rename them."
        )
    if len(parts) < 2 or "train" not in parts:
        lacks = "train" if "train" not in parts else "val or test"
        raise DataError(
            f"folder: {root} holds {listed(names)}, but no {lacks} with a folder for each class; add it, or give "
            f"{root / with_classes[0]} to make every fifth image of each class a test image."
        )
    files = [
        file for part, name in parts.items() for file in _from_classes(root / name, _subfolders(root / name), part)
    ]
    return _with_a_test(files, parts)


def _subfolders(root: Path) -> list[str]:
    """Return the names of the folders in ``root`` that are not hidden."""
    return [name for name in _names(root) if os.path.isdir(root / name)]


def _names(root: Path) -> list[str]:
    try:
        return sorted(name for name in os.listdir(root) if not name.startswith((".", "__MACOSX")))
    except OSError as error:
        raise DataError(f"folder: {root} cannot be listed: {error.strerror or error}.") from error


def _has_images(place: Path) -> bool:
    from .images import find

    return any(True for _ in find(place))


def _from_classes(root: Path, names: list[str], split: str | None) -> Iterator[LabelledFile]:
    from .images import find

    for place in [root / name for name in names]:
        paths = list(find(place))
        if not paths:
            endings = sorted({Path(file).suffix for _, _, files in os.walk(place) for file in files})
            found = f" (its files end in {listed(endings)})" if any(endings) else ""
            raise DataError(f"folder: the class {place} holds no images{found}; add some or remove it.")
        yield from (LabelledFile(path, _class_name(place.name), split) for path in paths)


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
    for name, other in itertools.pairwise(sorted(classes, key=_seen)):
        if _seen(name) == _seen(other):
            how = "differ only by case" if name.casefold() == other.casefold() else "look the same"
            raise DataError(f"folder: {root} has the classes {name} and {other}, which {how}; rename one.")
    if len(classes) < 2:
        found = f"only the class {classes[0]}" if classes else "no images in folders named after their classes"
        if not classes and (names := _names(root)):
            found += f" (it holds {listed(names, 4)})"
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
