"""Folders of images with a mask each, and the choice of a reader for a folder in any of the known formats."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from ..errors import DataError, listed
from ..interop.files import PathLike
from .annotated import IGNORED
from .annotated_files import AnnotatedFile, Options, all_of, checked_options, dataset_of, inside, read_text
from .coco import coco
from .dataset import Dataset
from .folder import SPLIT_NAMES
from .voc import voc
from .yolo import configs, yolo


def annotated_folder(
    path: PathLike,
    task: str,
    size: int | tuple[int, int] | None = None,
    channels: int = 3,
    in_memory: bool | None = None,
) -> Dataset:
    """Load a folder of annotated images for detection or segmentation, in whichever format it is.

    It may be in the format of COCO (``annotations/instances_*.json``), of Pascal VOC (``JPEGImages`` and
    ``Annotations`` or ``SegmentationClass``) or of YOLO (``*.yaml``, ``images`` and ``labels``), or hold ``images`` and
    ``masks``; the functions :func:`~minires.data.coco.coco`, :func:`~minires.data.voc.voc`,
    :func:`~minires.data.yolo.yolo` and :func:`masks_folder` describe them, and the parameters.

    Raises
    ------
    DataError
        If it is none of these, or its files are missing or damaged.
    ArgumentError
        If an option has any other value.
    """
    root = checked_options("annotated_folder", path, task, size, channels, in_memory).root
    options = size, channels, in_memory
    if any(root.glob("annotations/instances_*.json")):
        return coco(root, task, *options)
    if (root / "JPEGImages").is_dir():
        return voc(root, task, *options)
    if (root / "images").is_dir() and (root / "masks").is_dir() and task == "segmentation":
        return masks_folder(root, *options)
    if configs(root):
        return yolo(root, task, *options)
    try:
        found = listed(sorted(os.listdir(root))[:100], 5)
    except OSError as error:
        raise DataError(f"annotated_folder: {root} cannot be listed: {error.strerror or error}.") from error
    masks = ", or images and masks" if task == "segmentation" else ""
    raise DataError(
        f"annotated_folder: {root} holds {found}, but neither annotations/instances_*.json (COCO), JPEGImages (Pascal "
        f"VOC), nor a *.yaml with names of classes (YOLO){masks}; give the folder that holds them."
    )


def is_annotated(path: PathLike) -> bool:
    """Whether a folder is in one of the formats that :func:`annotated_folder` reads, for one of the tasks."""
    root = Path(path)
    names = {name for name in ("annotations", "JPEGImages", "images", "masks", "labels") if (root / name).is_dir()}
    return bool(
        ("annotations" in names and any(root.glob("annotations/instances_*.json")))
        or "JPEGImages" in names
        or {"images", "masks"} <= names
        or ({"images", "labels"} <= names and configs(root))
    )


def masks_folder(
    path: PathLike, size: int | tuple[int, int] | None = None, channels: int = 3, in_memory: bool | None = None
) -> Dataset:
    """Load the images in ``images`` and the masks of the same names in ``masks`` as a data set for segmentation.

    A mask is a PNG file of the same size as its image, in grey or with a palette, of the class number of each pixel;
    255 means that it is ignored. If both folders contain ``train`` and ``test`` (or ``val``), these are the parts;
    otherwise, every fifth image is a test image. The lines of ``classes.txt`` are the names of the classes, beginning
    with class 0; without it, all masks are read to find the number of classes.

    See :func:`minires.data.coco.coco` for the parameters.

    Raises
    ------
    DataError
        If a file is missing or damaged, a mask has another size than its image, or a class number is too large.
    ArgumentError
        If an option has any other value.
    """
    from .images import find

    options = checked_options("masks_folder", path, "segmentation", size, channels, in_memory)
    images, masks = options.root / "images", options.root / "masks"

    def describe(image: Path) -> AnnotatedFile:
        name = image.relative_to(images)
        inside("masks_folder", images, name.as_posix())
        return AnnotatedFile(image, "masks", mask=inside("masks_folder", masks, name.with_suffix(".png").as_posix()))

    files = all_of(describe, list(find(images)) if images.is_dir() else [])
    parts: dict[str, list[AnnotatedFile]] = {}
    for file in files:
        first = file.path.relative_to(images).parts[0].lower()
        parts.setdefault(SPLIT_NAMES.get(first, "train"), []).append(file)
    return dataset_of(options, _classes(options, [file.mask for file in files if file.mask]), parts)


def _classes(options: Options, masks: list[Path]) -> list[str]:
    """Return the names of the classes."""
    given = options.root / "classes.txt"
    if given.is_file():
        return [line.strip() for line in read_text(options, given, 1_000_000).splitlines() if line.strip()]
    from .images import read_mask

    found = set[int]().union(*(np.unique(read_mask(mask)).tolist() for mask in masks))
    if found == {0, IGNORED}:  # black and white masks
        raise DataError(
            f"masks_folder: the masks in {options.root / 'masks'} hold only 0 or {IGNORED}, which means ignored; "
            f"write 1 instead of {IGNORED}."
        )
    highest = max(found - {IGNORED}, default=0)
    return ["background", *(f"class {number}" for number in range(1, highest + 1))]
