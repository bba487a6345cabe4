"""Data sets in the format of Pascal VOC: an XML file of boxes for each image, and masks with a palette."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from collections import Counter
from pathlib import Path
from typing import Any

from ..errors import DataError, listed
from ..interop.files import PathLike, opened
from .annotated_files import (
    AnnotatedFile,
    Options,
    all_of,
    checked_options,
    dataset_of,
    fractions_of,
    image_named,
    read_text,
    with_background,
)
from .dataset import Dataset

CLASSES = (
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable", "dog",
    "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)  # fmt: skip
MOST_BYTES = 1_000_000  # of an XML file
LONGEST_SIDE = 100_000  # pixels
DEEPEST = 16  # elements within each other


def voc(
    path: PathLike,
    task: str = "detection",
    size: int | tuple[int, int] | None = None,
    channels: int = 3,
    in_memory: bool | None = None,
) -> Dataset:
    """Load a data set in the format of Pascal VOC for detection or segmentation.

    The folder contains ``JPEGImages``, and ``Annotations`` (an XML file for each image) or ``SegmentationClass`` (a PNG
    file for each image, whose palette indices are classes: 0 is the background, and 255 is ignored). The names of the
    images of each part are in ``ImageSets/Main/train.txt``, or ``ImageSets/Segmentation`` for segmentation, and
    likewise for ``val`` and ``test``, or ``trainval`` if there is no ``train``. Without these files, every fifth image
    is a test image.

    The classes are the lines of ``classes.txt``, if there is such a file; else the 20 classes of Pascal VOC, or, for
    detection, the names that occur, in alphabetical order, if they are others.

    Pixels are counted from 1 and boxes include their last pixel in this format, so ``xmin`` becomes x1 = xmin - 1, and
    ``xmax`` becomes x2. Boxes that stick out of the image are cut off. Objects that are marked as difficult count as
    crowds, so they are neither learned nor count as missed.

    See :func:`minires.data.coco.coco` for the parameters.

    Raises
    ------
    DataError
        If a file is missing or damaged. XML files with a DOCTYPE are refused, since it could make them arbitrarily
        large; this format does not need one.
    ArgumentError
        If an option has any other value.
    """
    options = checked_options("voc", path, task, size, channels, in_memory)
    kind = "Main" if task == "detection" else "Segmentation"
    folder, suffix = ("Annotations", ".xml") if task == "detection" else ("SegmentationClass", ".png")
    lists = {part: options.root / "ImageSets" / kind / f"{part}.txt" for part in ("train", "trainval", "val", "test")}
    stems = {part: _stems(options, file) for part, file in lists.items() if file.is_file()}
    if "train" in stems or "val" in stems:
        stems.pop("trainval", None)
    parts = {"train" if part == "trainval" else part: found for part, found in stems.items()}
    parts = parts or {"train": sorted(file.stem for file in (options.root / folder).glob("*" + suffix))}
    if not any(parts.values()):
        raise DataError(f"voc: {options.root / folder} holds no {suffix} files; it must have one for each image.")

    given = options.root / "classes.txt"
    classes = (
        [line.strip() for line in read_text(options, given, MOST_BYTES).splitlines() if line.strip()]
        if (given.is_file())
        else []
    )
    images = options.root / "JPEGImages"
    if task == "segmentation":
        files = {
            part: all_of(lambda stem: _masked(options.root / folder, images, stem), found)
            for part, found in parts.items()
        }
        names = classes if classes[:1] == ["background"] else with_background(options, classes or CLASSES)
        return dataset_of(options, names, files)

    read = {
        part: all_of(lambda stem: read_objects(options.root / folder / f"{stem}.xml"), found)
        for part, found in parts.items()
    }
    names = sorted({name for found in read.values() for _, objects in found for name, _, _ in objects})
    classes = classes or list(CLASSES if set(names) <= set(CLASSES) else names)
    if unknown := [name for name in names if name not in classes]:
        raise DataError(f"voc: {given} lacks the classes {listed(unknown)}, which annotations name; add them.")

    def describe(item: tuple[str, tuple[Any, list[Any]]]) -> AnnotatedFile:
        stem, (shape, objects) = item
        where = f"voc: {options.root / folder / stem}.xml"
        path = image_named(where, images, stem)
        if shape is None:
            from .images import size_of

            shape = size_of(path)
        file = AnnotatedFile(path, f"{stem}.xml", shape)
        for number, (name, box, difficult) in enumerate(objects, 1):
            fractions, cut = fractions_of(f"{where}: object {number} ({name:.40})", box, shape[1], shape[0])
            file.clipped += cut
            file.add(fractions, classes.index(name), difficult)
        return file

    files = {part: all_of(describe, list(zip(parts[part], found, strict=True))) for part, found in read.items()}
    for part in files.values():
        for number, file in enumerate(part):
            file.number = number
    return dataset_of(options, classes, files)


def _stems(options: Options, file: Path) -> list[str]:
    """Return the names of images in a list, one a line."""
    stems = [line.split()[0] for line in read_text(options, file, 20 * MOST_BYTES).splitlines() if line.strip()]
    for stem in stems:
        if set(stem) & set("/\\:\0") or stem.startswith("."):
            raise DataError(
                f"voc: {file} has the name {stem!r:.80}; it must be the name of an image, without a folder."
            )
    if len(set(stems)) < len(stems):
        twice, _ = Counter(stems).most_common(1)[0]
        raise DataError(f"voc: {file} has the name {twice} twice; remove one.")
    return stems


def _masked(folder: Path, images: Path, stem: str) -> AnnotatedFile:
    mask = folder / f"{stem}.png"
    if not mask.is_file():
        raise DataError(f"voc: there is no mask {mask}; add it, or remove the name from ImageSets/Segmentation.")
    return AnnotatedFile(image_named(f"voc: {mask}", images, stem), mask.name, mask=mask)


class Builder(ElementTree.TreeBuilder):
    """Builds the elements of an XML file, and refuses what could make it arbitrarily large or deep."""

    def __init__(self) -> None:
        super().__init__()
        self.depth = 0

    def doctype(self, name: str, pubid: str | None, system: str | None) -> None:
        raise ValueError("it has a DOCTYPE, which could name other files or expand without end; remove it")

    def start(self, tag: Any, attrs: Any) -> Any:
        self.depth += 1
        if self.depth > DEEPEST:
            raise ValueError(f"it has elements within each other, more than {DEEPEST}; it is not an annotation")
        return super().start(tag, attrs)

    def end(self, tag: Any) -> Any:
        self.depth -= 1
        return super().end(tag)


def read_objects(path: Path) -> tuple[tuple[int, int] | None, list[tuple[str, list[float], bool]]]:
    """Read an XML file of annotations.

    Returns
    -------
    size : (int, int) or None
        Height and width of the image; None if the file does not say, or says 0.
    objects : list of (str, list of float, bool)
        The class of each object, its box x1, y1, x2, y2 in pixels, and whether it is difficult.

    Raises
    ------
    DataError
        If the file cannot be read.
    """
    with opened("voc", path, "XML") as file:
        raw = file.read(MOST_BYTES + 1)
    try:
        if len(raw) > MOST_BYTES:
            raise ValueError(f"it has more than {MOST_BYTES:,} bytes")
        return _parsed(raw)
    except (ValueError, LookupError, ElementTree.ParseError) as error:  # a LookupError for an unknown encoding
        raise DataError(f"voc: {path} cannot be read: {error}.") from None


def _parsed(raw: bytes) -> tuple[tuple[int, int] | None, list[tuple[str, list[float], bool]]]:
    parser = ElementTree.XMLParser(target=Builder())
    parser.feed(raw)
    root = parser.close()
    if root.tag != "annotation":
        raise ValueError(f"its root is <{root.tag:.40}>, not <annotation>")
    objects = []
    for number, element in enumerate(root.findall("object"), 1):
        name, box = (element.findtext("name") or "").strip(), element.find("bndbox")
        if not name or box is None:
            raise ValueError(f"object {number} has no name or no bndbox")
        x1, y1, x2, y2 = (_number(box, tag, f"object {number}") for tag in ("xmin", "ymin", "xmax", "ymax"))
        objects.append((name, [x1 - 1, y1 - 1, x2, y2], element.findtext("difficult", "0").strip() == "1"))
    size = root.find("size")
    height, width = (0.0, 0.0) if size is None else (_number(size, tag, "size") for tag in ("height", "width"))
    if height == 0 or width == 0:
        return None, objects
    if not (1 <= height <= LONGEST_SIDE and 1 <= width <= LONGEST_SIDE and height % 1 == width % 1 == 0):
        raise ValueError(f"it says that the image is {width:g} wide and {height:g} high")
    return (int(height), int(width)), objects


def _number(element: ElementTree.Element, tag: str, what: str) -> float:
    """Return the number in a sub-element. Raises ValueError if it is not finite."""
    text = (element.findtext(tag) or "").strip()
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not abs(value) < float("inf"):
        raise ValueError(f"<{tag}> of {what} is {text!r:.40}, not a finite number")
    return value
