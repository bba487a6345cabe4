"""Data sets in COCO's format: a JSON file of images, categories and annotations, and a folder of images."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from ..core import checks
from ..errors import ArgumentError, DataError, listed
from ..interop.files import PathLike, opened
from .annotated_files import (
    AnnotatedFile,
    Options,
    all_of,
    checked_options,
    dataset_of,
    fractions_of,
    inside,
    whole_numbers,
    with_background,
)
from .dataset import Dataset
from .regions import Region, polygons, run_lengths

MOST_MEMORY = 400_000_000  # bytes that an annotation file may take once it is read
Pair = tuple[PathLike, PathLike]


def coco(
    path: PathLike,
    task: str = "detection",
    size: int | tuple[int, int] | None = None,
    channels: int = 3,
    in_memory: bool | None = None,
    train: Pair | None = None,
    test: Pair | None = None,
) -> Dataset:
    """Load a data set in COCO's format for detection or segmentation.

    The folder contains ``annotations/instances_*.json`` and, for each of these files, a folder of images: for
    ``instances_train2017.json``, it is ``train2017`` or ``images/train2017``, or else ``images``. Names that begin with
    train, val or test say what a file is for. The test images are those of val if there is no test, and every fifth
    image if there is only one file.

    Boxes x, y, width, height become x1, y1, x2, y2. Categories, in the order of their ids, become the classes 0 to
    K - 1; the ids are kept as ``category_ids`` of a split, and those of the images as ``ids``. Images without
    annotations are kept. A box that sticks out of its image is cut off; one of zero width or height, of which COCO has
    two, is left out. The ``repr`` of the training split shows how many.

    For segmentation, class 0 is the background, and class k + 1 is category k. Where objects overlap, the smallest one
    is seen; the pixels of crowds are ignored (255). The polygons are sampled at the centres of pixels: this differs
    from pycocotools only at pixels whose centre is less than 0.2 pixels from an outline. Run lengths do not differ.

    Parameters
    ----------
    path : str or path
    task : {"detection", "segmentation"}
    size : int or (int, int), optional
        Height and width to which every image is resized, with its boxes and masks; the proportions are not kept. By
        default, all images must have the same size.
    channels : {1, 3}
        1 for grey images, 3 for colour images.
    in_memory : bool, optional
        Whether to read all images at once, as in :func:`minires.data.folder`.
    train, test : (path, path), optional
        An annotation file and the folder of its images, relative to ``path``, instead of those that are found.

    Raises
    ------
    DataError
        If a file is missing or damaged. The message names the file and the annotation; several mistakes are listed
        together. Files that would take more than 400 MB of memory are refused.
    ArgumentError
        If an option has any other value.
    """
    options = checked_options("coco", path, task, size, channels, in_memory)
    if (train is None) != (test is None):
        raise ArgumentError("coco: give both train and test, or neither of them.")
    pairs = _found(options.root) if train is None else {"train": train, "test": test}
    parts, ids, names = {}, None, []
    for part, (file, folder) in pairs.items():  # type: ignore[misc]
        content = read_instances(options.root / file)
        categories = _categories(options.root / file, content)
        if ids is not None and (list(categories), list(categories.values())) != (ids, names):
            raise DataError(f"coco: {options.root / file} has other categories than the first annotation file.")
        ids, names = list(categories), list(categories.values())
        parts[part] = _images(options, options.root / file, options.root / folder, content, ids)
    return dataset_of(options, with_background(options, names), parts, ids or ())


def _found(root: Path) -> dict[str, Pair]:
    """Return the annotation file and the folder of images of each part."""
    pairs: dict[str, Pair] = {}
    files = sorted((root / "annotations").glob("instances_*.json"))
    for file in files:
        name = file.stem.removeprefix("instances_")
        part = next((part for part in ("train", "val", "test") if name.lower().startswith(part)), "train")
        if part in pairs:
            raise DataError(
                f"coco: {root / 'annotations'} holds {listed([file.name for file in files])}, two of them for {part}; "
                "remove one, or give train=(file, folder) and test=(file, folder)."
            )
        folder = next((place for place in (name, f"images/{name}", "images") if (root / place).is_dir()), None)
        if folder is None:
            raise DataError(f"coco: {root} has {file.name} but no folder of its images; add {root / name}.")
        pairs[part] = file.relative_to(root), folder
    if not pairs:
        raise DataError(f"coco: {root} holds no annotations/instances_*.json; give train=(file, folder) and test.")
    return pairs


def read_instances(path: Path) -> dict[str, Any]:
    """Read an annotation file as a dict with the lists "images", "annotations" and "categories" of dicts.

    Raises DataError if it cannot be read or is too large.
    """
    with opened("coco", path, "JSON") as file:
        check_memory(os.fstat(file.fileno()).st_size)
        raw = file.read()
        # A value takes more memory than its text. Counting marks of values bounds what a file takes, before it does.
        marks = sum(size * raw.count(mark) for mark, size in ((b"{", 250), (b"[", 90), (b",", 40), (b'"', 30)))
        check_memory(marks + len(raw) * (5 if raw.isascii() else 9))
        content = json.loads(raw)
    if not isinstance(content, dict):
        raise DataError(f"coco: {path} holds a {type(content).__name__}; it must hold images, annotations, categories.")
    for name in ("images", "annotations", "categories"):
        if not isinstance(content.get(name), list) or not all(isinstance(entry, dict) for entry in content[name]):
            raise DataError(f"coco: {path} has no list of objects {name!r}; give an annotation file of instances.")
    return content


def check_memory(needed: int) -> None:
    """Raise ValueError if reading a file would take too much memory."""
    if needed > MOST_MEMORY:
        raise ValueError(
            f"it would take about {needed // 1_000_000:,} MB of memory, more than {MOST_MEMORY // 1_000_000}; take "
            "fewer of its images"
        )


def _categories(path: Path, content: dict[str, Any]) -> dict[int, str]:
    """Return the name of each category id, in the order of the ids."""
    found: dict[int, str] = {}
    names = set()
    for entry in content["categories"]:
        number, name = entry.get("id"), entry.get("name")
        if not checks.is_integer(number, 0) or not isinstance(name, str) or not name:
            raise DataError(f"coco: {path} has the category {entry!r:.80}; it must have an id >= 0 and a name.")
        if number in found or name in names:
            raise DataError(
                f"coco: {path} has two categories with the id {number} or the name {name!r:.40}; remove one."
            )
        found[number] = name
        names.add(name)
    return dict(sorted(found.items()))


def _images(options: Options, path: Path, folder: Path, content: dict[str, Any], ids: list[int]) -> list[AnnotatedFile]:
    """Return the images of an annotation file with their objects."""
    from .images import MOST_PIXELS

    files: dict[int, AnnotatedFile] = {}

    def describe(entry: dict[str, Any]) -> None:
        number = _key(entry.get("id"))
        if number < 0:
            raise DataError(f"coco: {path}: an image has the id {entry.get('id')!r:.40}; it must be an integer >= 0.")
        if number in files:
            raise DataError(f"coco: {path}: two images have the id {number}; remove one.")
        height, width = whole_numbers(
            f"coco: {path}",
            f"height and width of image {number}",
            (entry.get("height"), entry.get("width")),
            MOST_PIXELS,
        )
        if height * width > MOST_PIXELS:
            raise DataError(f"coco: {path}: image {number} has more than {MOST_PIXELS:,} pixels; make it smaller.")
        file = inside(f"coco: {path}", folder, entry.get("file_name"))
        files[number] = AnnotatedFile(file, path.name, (height, width), number)

    classes = {number: label for label, number in enumerate(ids)}
    seen = set()

    def annotate(entry: dict[str, Any]) -> None:
        number = entry.get("id")
        where = f"coco: {path}: annotation {number!r:.40}"
        if number is not None and (not checks.is_integer(number) or number in seen):
            raise DataError(f"{where} has an id that is not an integer, or that another one has; change it.")
        seen.add(number)
        file, crowd = files.get(_key(entry.get("image_id"))), entry.get("iscrowd", 0)
        if file is None:
            raise DataError(f"{where} is of the image {entry.get('image_id')!r:.40}, which {path.name} does not list.")
        label = classes.get(_key(entry.get("category_id")))
        if label is None:
            known = listed([str(number) for number in ids], 5)
            raise DataError(f"{where} has the category {entry.get('category_id')!r:.40}; the ids are {known}.")
        if crowd not in (0, 1):
            raise DataError(f"{where} has iscrowd = {crowd!r:.40}; it must be 0 or 1.")
        height, width = file.size or (1, 1)
        if options.task == "segmentation":
            file.add((0, 0, 1, 1), label, bool(crowd), _region(where, entry.get("segmentation"), height, width))
            return
        box = entry.get("bbox")
        if not isinstance(box, list) or len(box) != 4 or not all(map(checks.is_number, box)):
            raise DataError(f"{where} has bbox = {box!r:.80}; it must be x, y, width, height.")
        x, y, w, h = map(float, box)
        if (w == 0 or h == 0) and w >= 0 and h >= 0:
            file.left_out += 1
            return
        fractions, clipped = fractions_of(where, (x, y, x + w, y + h), width, height)
        file.clipped += clipped
        file.add(fractions, label, bool(crowd))

    all_of(describe, content["images"])
    all_of(annotate, content["annotations"])
    return list(files.values())


def _key(value: Any) -> int:
    """Return an id; -1, which none is, for anything that is not an integer."""
    return int(value) if checks.is_integer(value, 0) else -1


def _region(where: str, segmentation: Any, height: int, width: int) -> Region:
    if isinstance(segmentation, list):
        return polygons(where, segmentation, height, width)
    if isinstance(segmentation, dict):
        return run_lengths(where, segmentation, height, width)
    raise DataError(f"{where} has segmentation = {segmentation!r:.40}; it must be polygons or run lengths.")
