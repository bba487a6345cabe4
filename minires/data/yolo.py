"""Data sets in YOLO's format: a text file of boxes or polygons for each image, and a file config.yaml."""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath

import numpy as np

from ..errors import DataError, counted
from ..interop.files import PathLike
from .annotated_files import (
    AnnotatedFile,
    Options,
    all_of,
    checked_options,
    dataset_of,
    fractions_of,
    inside,
    read_text,
    with_background,
)
from .dataset import Dataset
from .regions import polygons

MOST_BYTES = 5_000_000  # of a text file
FARTHEST = 4  # a larger fraction of an image must be in pixels
Settings = dict[str, str | dict[int, str]]


def yolo(
    path: PathLike,
    task: str = "detection",
    size: int | tuple[int, int] | None = None,
    channels: int = 3,
    in_memory: bool | None = None,
) -> Dataset:
    """Load a data set in YOLO's format for detection or segmentation.

    The folder, or a folder in it, contains a file ``*.yaml`` with the names of the classes and the folders of the
    images of ``train``, ``val`` and perhaps ``test``, such as ``images/train``. The annotations of an image are in a
    text file of its name in the folder whose path has ``labels`` instead of ``images``. Each line is a class, and a box
    (the middle x, y, width, height) or a polygon (x, y, x, y, ...), as fractions of the image. If there is a file
    ``*.yaml`` for boxes and one for polygons, the task chooses.

    An image without a text file shows no object; it is left out if the file ``*.yaml`` says
    ``skip_if_label_file_missing: true``. The numbers of the classes need not be consecutive: they become 0 to K - 1 in
    their order, and are kept as ``category_ids`` of a split. In coco128-small, for example, the boxes number the 80
    classes from 0 to 79 and the polygons from 1 to 90; both become 0 to 79 here, in the same order.

    For segmentation, class 0 is the background; see :func:`minires.data.coco.coco` for that and the parameters.

    Raises
    ------
    DataError
        If a file is missing or damaged. The message names the file and the line.
    ArgumentError
        If an option has any other value.
    """
    options = checked_options("yolo", path, task, size, channels, in_memory)
    config, settings, folders = _chosen(options)
    names = settings.get("names")
    if not isinstance(names, dict) or not names:
        raise DataError(
            f"yolo: {config} has no names of classes; add a line `names:` and lines `  0: person` below it."
        )
    classes = {number: label for label, number in enumerate(sorted(names))}
    skip = str(settings.get("skip_if_label_file_missing", "")).lower() == "true"
    ids = sorted(names)
    parts = {part: _files(options, *place, classes, skip) for part, place in folders.items()}
    return dataset_of(options, with_background(options, [names[number] for number in ids]), parts, ids)


def _files(options: Options, images: Path, labels: Path, classes: dict[int, int], skip: bool) -> list[AnnotatedFile]:
    """Return the images in a folder; with ``skip``, only those that have a text file."""
    from .images import find

    files: list[AnnotatedFile] = []

    def describe(image: Path) -> None:
        inside(f"yolo: {images}", options.root, image.relative_to(options.root).as_posix())
        text = labels / image.relative_to(images).with_suffix(".txt")
        file = AnnotatedFile(image, text.name, number=len(files))
        if text.is_file():
            read_labels(options, text, classes, file)
        elif skip:
            return
        files.append(file)

    all_of(describe, list(find(images)))
    return files


def configs(root: Path) -> list[Path]:
    """Return the files ``*.yaml`` with names of classes in a folder and the folders in it."""
    files = sorted(file for pattern in ("*.y*ml", "*/*.y*ml") for file in root.glob(pattern) if file.is_file())
    return [file for file in files if b"names:" in start_of_file(file)]


def start_of_file(path: Path) -> bytes:
    """Return the first bytes of a file; none if it cannot be read."""
    try:
        with open(path, "rb") as file:
            return file.read(MOST_BYTES)
    except OSError:
        return b""


def _chosen(options: Options) -> tuple[Path, Settings, dict[str, tuple[Path, Path]]]:
    """Return the file of settings that suits the task, what it says, and the folders of images and labels by part."""
    files = configs(options.root)
    read = [(file, read_settings(options, file)) for file in files]
    found = [(file, settings, _folders(options, file, settings)) for file, settings in read]
    if not found:
        raise DataError(f"yolo: {options.root} holds no *.yaml with the names of the classes, here or a folder below.")
    kinds = [_kind(options, folders) for _, _, folders in found]
    if len(found) > 1 and kinds.count(options.task) != 1:
        raise DataError(
            f"yolo: {options.root} holds {len(found)} files *.yaml, and not exactly one is for {options.task}; give "
            "the folder of one of them."
        )
    chosen = kinds.index(options.task) if len(found) > 1 else 0
    if options.task == "segmentation" and kinds[chosen] == "detection":
        raise DataError(f"yolo: the annotations of {found[chosen][0]} are boxes; segmentation needs polygons.")
    return found[chosen]


def _folders(options: Options, config: Path, settings: Settings) -> dict[str, tuple[Path, Path]]:
    """Return the folders of images and of labels of each part."""
    folders = {}
    for part in ("train", "val", "test"):
        given = settings.get(part)
        if not isinstance(given, str) or not given:
            continue
        # A leading ../ is dropped: Roboflow writes ../train/images for train/images. No folder outside is looked at.
        steps = [step for step in PurePosixPath(given.replace("\\", "/")).parts if step not in ("..", ".", "/")]
        base = str(settings.get("path", ""))
        places = [config.parent / PurePosixPath(base).name, config.parent, options.root]
        images = next((place.joinpath(*steps) for place in places if place.joinpath(*steps).is_dir()), None)
        if images is None or not images.resolve().is_relative_to(options.root.resolve()):
            raise DataError(
                f"yolo: {config} says {part}: {given:.80}, but there is no such folder in {options.root}; give the "
                "folder that holds both the images and the labels."
            )
        last = max((number for number, step in enumerate(steps) if step == "images"), default=None)
        if last is None:
            raise DataError(f"yolo: {config} says {part}: {given:.80}; a folder in this path must be called images.")
        steps[last] = "labels"
        labels = next((place.joinpath(*steps) for place in places if place.joinpath(*steps).is_dir()), None)
        if labels is None:
            raise DataError(f"yolo: {config} has the images {images}, but no folder {'/'.join(steps)} of their labels.")
        folders[part] = images, labels
    if "train" not in folders:
        raise DataError(f"yolo: {config} does not say where the images are; add a line such as `train: images/train`.")
    return folders


def _kind(options: Options, folders: dict[str, tuple[Path, Path]]) -> str:
    """Return the task of annotations, judged by their first line: a box has five numbers, a polygon more."""
    for file in sorted(folders["train"][1].glob("*.txt")):
        if numbers := read_text(options, file, MOST_BYTES).split("\n")[0].split():
            return "detection" if len(numbers) == 5 else "segmentation"
    return "detection"


def read_labels(options: Options, path: Path, classes: dict[int, int], file: AnnotatedFile) -> None:
    """Add the objects in a text file to ``file``.

    Raises DataError if a line is not a class and a box or polygon.
    """
    for number, line in enumerate(read_text(options, path, MOST_BYTES).splitlines(), 1):
        where = f"yolo: line {number} of {path}"
        words = line.split()
        if not words:
            continue
        try:
            label, values = int(words[0]), [float(word) for word in words[1:]]
        except ValueError:
            raise DataError(f"{where} reads `{line:.60}`; it must be a class and four or more numbers.") from None
        if label not in classes:
            raise DataError(f"{where} has the class {words[0]:.20}, which the file *.yaml does not name.")
        if len(values) < 4 or len(values) == 5:
            raise DataError(
                f"{where} has {counted(len(values), 'number')} after the class; a box has four, and a polygon six or "
                "more."
            )
        if max(map(abs, values)) > FARTHEST and np.isfinite(values).all():
            raise DataError(
                f"{where} has the number {max(values, key=abs):g}; all must be fractions of the width or height of the "
                "image, from 0 to 1, not pixels."
            )
        region = None
        if len(values) == 4:
            x, y, w, h = values
            box = [round(v, 5) for v in (x - w / 2, y - h / 2, x + w / 2, y + h / 2)]  # rounded numbers stick out
            if options.task == "segmentation":
                raise DataError(f"{where} is a box; segmentation needs polygons.")
        else:
            region = polygons(where, [values], 1, 1)
            corners = np.concatenate(region.outlines)
            box = [*corners.min(axis=0).tolist(), *corners.max(axis=0).tolist()]
        fractions, cut = fractions_of(where, box, 1, 1)
        file.clipped += cut
        file.add(fractions, classes[label], False, region if options.task == "segmentation" else None)


def read_settings(options: Options, path: Path) -> Settings:
    """Read the part of YAML that such files use: ``key: value``, and below ``names:`` a name for each class.

    Names are lines ``  0: person`` or ``  - person``, or a list ``[person, car]``. Other keys with lines below them are
    skipped. Raises DataError for names in any other form.
    """
    settings: Settings = {}
    names: dict[int, str] = {}
    key = ""
    for number, line in enumerate(read_text(options, path, MOST_BYTES).splitlines(), 1):
        line = re.sub(r"(^|\s)#.*", "", line).rstrip()
        if not line.strip() or line == "---":
            continue
        if not line[0].isspace() and not line.startswith("- "):
            key, _, value = (word.strip() for word in line.partition(":"))
            settings[key] = value.strip("'\"")
            if key == "names" and value.startswith("[") and value.endswith("]"):
                listed = value[1:-1].strip()
                names = dict(enumerate(name.strip().strip("'\"") for name in listed.split(","))) if listed else {}
            elif key == "names" and value:
                raise DataError(
                    f"yolo: line {number} of {path} reads `{line:.60}`; write a line for each name below it."
                )
        elif key == "names":
            item = re.fullmatch(r"\s*(?:(\d{1,9})\s*:|-)\s+(\S.*)", line)
            if item is None:
                raise DataError(f"yolo: line {number} of {path} reads `{line:.60}`; it must be `  0: person`.")
            index = len(names) if item[1] is None else int(item[1])
            if index in names:
                raise DataError(f"yolo: line {number} of {path} names the class {index} a second time; remove one.")
            names[index] = item[2].strip("'\"")
    if len(set(names.values())) < len(names):
        raise DataError(f"yolo: {path} gives two classes the same name; change one.")
    settings["names"] = names
    return settings
