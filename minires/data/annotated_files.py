"""What the readers of annotated images share: checks of paths and boxes, and the data set that they make.

A reader describes each image as an :class:`AnnotatedFile`, whose boxes are fractions of the image; so they need not be
changed when the image is resized.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import numpy as np

from ..core import checks
from ..core.backend import Array
from ..errors import ArgumentError, DataError, counted, listed, sizes
from ..interop.files import PathLike, opened
from .annotated import IGNORED, DetectionSplit, Objects, OnDemand, SegmentationSplit
from .dataset import Dataset
from .folder import MOST_IN_MEMORY
from .moving import ComposeWithTargets, FlipWithTargets, RandomScaleCrop
from .regions import Region, class_map

TASKS = ("detection", "segmentation")
MOST_OBJECTS = 2000  # in an image
MOST_FAILURES = 3  # mistakes that one error names


@dataclass(eq=False)
class AnnotatedFile:
    """An image that has not been read yet, and what is annotated in it.

    Attributes
    ----------
    path : Path
    source : str
        Where the annotations are, for messages.
    size : (int, int), optional
        Height and width of the image, as its annotations say.
    number : int
        The number of the image, for COCO's results.
    mask : Path, optional
        A file of the class of each pixel.
    boxes, labels, crowd : list
        x1, y1, x2, y2 of each object as fractions of the width and height, its class number, and whether it is a crowd.
    regions : list of Region
        What each object covers, for segmentation.
    clipped, left_out : int
        The number of boxes that were cut off at the edge of the image, and of those without an area.
    """

    path: Path
    source: str
    size: tuple[int, int] | None = None
    number: int = 0
    mask: Path | None = None
    boxes: list[tuple[float, ...]] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)
    crowd: list[bool] = field(default_factory=list)
    regions: list[Region] = field(default_factory=list)
    clipped: int = 0
    left_out: int = 0

    def add(self, box: tuple[float, ...], label: int, crowd: bool = False, region: Region | None = None) -> None:
        """Add an object. Raises DataError if there are too many."""
        if len(self.labels) >= MOST_OBJECTS:
            raise DataError(f"{self.source} has more than {MOST_OBJECTS:,} objects in {self.path.name}; remove some.")
        self.boxes.append(box)
        self.labels.append(label)
        self.crowd.append(crowd)
        if region is not None:
            self.regions.append(region)


@dataclass(frozen=True)
class Options:
    """The options that all readers of annotated images take."""

    reader: str
    root: Path
    task: str
    size: tuple[int, int] | None
    channels: int
    in_memory: bool | None


def checked_options(
    reader: str, path: PathLike, task: str, size: Any, channels: int, in_memory: bool | None
) -> Options:
    """Check the options of a reader. Raises ArgumentError or, if ``path`` is not a folder, DataError."""
    checks.choice(reader, task, "task", TASKS)
    resize = None if size is None else checks.pair(reader, size, "size", 1)
    if channels not in (1, 3):
        raise ArgumentError(f"{reader}: channels is {channels!r}; it must be 1 (grey) or 3 (colour).")
    if in_memory not in (True, False, None):
        raise ArgumentError(f"{reader}: in_memory is {in_memory!r}; it must be True, False or None.")
    root = Path(path)
    if not os.path.isdir(root):
        what = "is a file; give the folder that holds it" if os.path.exists(root) else "does not exist"
        raise DataError(f"{reader}: the folder {root} {what}.")
    return Options(reader, root, task, resize, channels, in_memory)


def inside(source: str, folder: Path, name: Any) -> Path:
    """Return the path of a file that annotations name.

    Raises DataError unless it is an existing file in ``folder``, which links do not leave.
    """
    if not isinstance(name, str) or not name:
        raise DataError(f"{source}: the name of a file is {name!r:.80}; it must be a text.")
    kinds = PurePosixPath(name), PureWindowsPath(name)  # on any system: the folder may come from another one
    if any(kind.anchor or ".." in kind.parts for kind in kinds) or "\0" in name:
        raise DataError(f"{source}: the path {name!r:.200} is absolute or contains ..; it must stay in {folder}.")
    path = folder / name.replace("\\", "/")
    try:
        found = path.is_file()
    except OSError:  # the name is too long
        found = False
    if not found:
        raise DataError(f"{source}: there is no file {path}; add it, or remove its annotations.")
    if not path.resolve().is_relative_to(folder.resolve()):
        raise DataError(f"{source}: {path} is a link out of the folder, to {path.resolve()}.")
    return path


def whole_numbers(source: str, names: str, values: Sequence[Any], most: int) -> list[int]:
    """Return integers from 1 to ``most``. Raises DataError for anything else."""
    if not all(checks.is_integer(value, 1) and value <= most for value in values):
        raise DataError(f"{source}: {names} are {values!r:.80}; they must be integers from 1 to {most:,}.")
    return [int(value) for value in values]


def fractions_of(where: str, box: Sequence[Any], width: float, height: float) -> tuple[tuple[float, ...], bool]:
    """Return a box x1, y1, x2, y2 as fractions of the image, and whether a part outside of the image was cut off.

    Raises DataError, which begins with ``where``, if a number is not finite, the box has no area, or it lies wholly
    outside of the image.
    """
    if len(box) != 4 or not all(map(checks.is_number, box)) or not np.isfinite(np.array(box, np.float64)).all():
        raise DataError(f"{where} has the box {list(box)!r:.120}; it must be four finite numbers.")
    x1, y1, x2, y2 = map(float, box)
    shown = f"[{x1:g}, {y1:g}, {x2:g}, {y2:g}]"
    if not (x1 < x2 and y1 < y2):
        raise DataError(f"{where} has the box {shown} (x1, y1, x2, y2), which has no area; correct or remove it.")
    if x2 <= 0 or y2 <= 0 or x1 >= width or y1 >= height:
        raise DataError(
            f"{where} has the box {shown} (x1, y1, x2, y2), which lies outside of the image, {width:g} wide and "
            f"{height:g} high; correct or remove it."
        )
    cut = max(x1, 0), max(y1, 0), min(x2, width), min(y2, height)
    return (cut[0] / width, cut[1] / height, cut[2] / width, cut[3] / height), cut != (x1, y1, x2, y2)


def dataset_of(
    options: Options,
    classes: Sequence[str],
    parts: dict[str, list[AnnotatedFile]],
    category_ids: Sequence[int] = (),
) -> Dataset:
    """Return the data set of images that are described by part: "train", "test" and "val".

    If there is a val but no test, the images of val are the test images. If there is only one part, every fifth image
    in the order of the paths is a test image.

    Raises DataError if a part is empty, there are too many classes, or, if the images are read at once, one of them
    cannot be read.
    """
    reader, root = options.reader, options.root
    if not classes or (options.task == "segmentation" and len(classes) > IGNORED):
        raise DataError(
            f"{reader}: {root} has {len(classes)} classes; there must be one or more, and at most {IGNORED} for "
            f"segmentation, where the number {IGNORED} means that a pixel is ignored."
        )
    if len(set(classes)) < len(classes):
        twice = next(name for name in classes if list(classes).count(name) > 1)
        raise DataError(f"{reader}: {root} has two classes named {twice!r:.40}; rename or remove one.")
    if not parts.get("train", [None]) and any(parts.values()):
        others = listed([part for part, files in parts.items() if files])
        raise DataError(f"{reader}: {root} has images for {others}, but none for train; add some.")
    parts = {part: files for part, files in parts.items() if files}
    if len(parts) == 1:
        files = sorted(next(iter(parts.values())), key=lambda file: file.path)
        parts = {
            "train": [file for number, file in enumerate(files, 1) if number % 5],
            "test": [file for number, file in enumerate(files, 1) if not number % 5],
        }
    if "test" not in parts and "val" in parts:
        parts["test"] = parts.pop("val")
    if not parts.get("train") or not parts.get("test"):
        found = sum(map(len, parts.values()))
        raise DataError(f"{reader}: {root} has {counted(found, 'image')}; training and test need at least five.")

    splits = {part: _split(options, part, files, len(classes), tuple(category_ids)) for part, files in parts.items()}
    augmentation = ComposeWithTargets([FlipWithTargets(), RandomScaleCrop()])
    return Dataset(root.resolve().name, tuple(classes), augmentation=augmentation, **splits)


def _split(
    options: Options, part: str, files: list[AnnotatedFile], classes: int, category_ids: tuple[int, ...]
) -> DetectionSplit | SegmentationSplit:
    from .images import size_of

    height, width = options.size or size_of(files[0].path)
    shape = len(files), options.channels, height, width
    images: Array | OnDemand = OnDemand(shape, lambda number: _image(options, files[number], height, width))
    in_memory = options.in_memory
    if in_memory is None:
        in_memory = int(np.prod(shape)) <= MOST_IN_MEMORY
    if in_memory:
        images = images[np.arange(len(files))]
    if options.task == "detection":
        if all(all(file.crowd) for file in files):
            raise DataError(
                f"{options.reader}: none of the {counted(len(files), f'{part} image')} of {options.root} has an object "
                "that is not a crowd; annotate some."
            )
        limits = np.array([width, height, width, height])
        objects = [
            Objects(np.reshape(file.boxes, (-1, 4)) * limits, file.labels, np.array(file.crowd, bool)) for file in files
        ]
        counts = {"clipped": sum(file.clipped for file in files), "left out": sum(file.left_out for file in files)}
        notes = tuple(f"{number} box{'es' * (number > 1)} {what}" for what, number in counts.items() if number)
        return DetectionSplit(images, objects, tuple(file.number for file in files), category_ids, notes)
    masks: Array | OnDemand = OnDemand(
        (len(files), height, width), lambda number: _mask(options, files[number], classes, height, width)
    )
    labels = None
    if in_memory:
        masks = masks[np.arange(len(files))]
    elif any(file.mask for file in files):  # the files would have to be read to know
        labels = np.arange(classes)
    else:
        labels = np.array(sorted({0}.union(*(np.add(file.labels, 1).tolist() for file in files))))
    return SegmentationSplit(images, masks, labels)


def _image(options: Options, file: AnnotatedFile, height: int, width: int) -> Array:
    from .images import read, size_of

    if file.size is not None and (found := size_of(file.path)) != file.size:
        raise DataError(
            f"{options.reader}: {file.path} is {sizes(found)} (height x width), but {file.source} says "
            f"{sizes(file.size)}; use the images that were annotated."
        )
    image = read(file.path, options.channels, (height, width) if options.size else None)
    if image.shape[1:] != (height, width):
        raise DataError(
            f"{options.reader}: {file.path} is {sizes(image.shape[1:])}, but the first image is {height}x{width}; give "
            "a size, such as size=128 or --size 128, to resize all images."
        )
    return image


def _mask(options: Options, file: AnnotatedFile, classes: int, height: int, width: int) -> Array:
    from .images import read_mask, size_of

    if file.mask is None:
        return class_map(file.regions, np.array(file.labels), np.array(file.crowd), height, width)
    mask = read_mask(file.mask)
    if mask.shape != (size := size_of(file.path)):
        raise DataError(
            f"{options.reader}: the mask {file.mask} is {sizes(mask.shape)}, but its image {file.path.name} is "
            f"{sizes(size)}; both must have the same size."
        )
    if (wrong := mask[(mask >= classes) & (mask != IGNORED)]).size:
        raise DataError(
            f"{options.reader}: the mask {file.mask} has a pixel of class {wrong[0]}, but the classes are 0 to "
            f"{classes - 1}, and {IGNORED} for pixels to ignore."
        )
    rows = ((np.arange(height) + 0.5) * mask.shape[0] / height).astype(np.int64)  # the old pixel at each new centre
    columns = ((np.arange(width) + 0.5) * mask.shape[1] / width).astype(np.int64)
    return mask[rows[:, None], columns]  # (height, width)


def all_of(make: Callable[[Any], Any], items: Sequence[Any]) -> list[Any]:
    """Return the result of ``make`` for each item. All are tried, and one DataError names up to three failures."""
    made: list[Any] = []
    wrong: list[str] = []
    more = 0
    for item in items:
        try:
            made.append(make(item))
        except DataError as error:
            more += len(wrong) == MOST_FAILURES
            wrong = [*wrong, str(error).rstrip(".")][:MOST_FAILURES]
    if wrong:
        raise DataError("; ".join(wrong) + (f"; and {more:,} more mistakes." if more else "."))
    return made


def with_background(options: Options, classes: Sequence[str]) -> tuple[str, ...]:
    """Return the names of classes of objects, after the background for segmentation."""
    return tuple(classes) if options.task == "detection" else ("background", *classes)


def read_text(options: Options, path: Path, most: int) -> str:
    """Return the text of a file. Raises DataError if it cannot be read or has more than ``most`` bytes."""
    with opened(options.reader, path, "text") as file:
        raw = file.read(most + 1)
        if len(raw) > most:
            raise ValueError(f"it has more than {most:,} bytes, too many for annotations")
        return raw.decode("utf-8-sig")


def image_named(source: str, folder: Path, stem: str) -> Path:
    """Return the image in ``folder`` with that name, whatever its suffix is. Raises DataError if there is none."""
    from .images import SUFFIXES

    for suffix in SUFFIXES:
        for name in (stem + suffix, stem + suffix.upper()):
            if (folder / name).is_file():
                return inside(source, folder, name)
    raise DataError(f"{source}: there is no image {folder / stem}.jpg or .png; add it, or remove its annotations.")
