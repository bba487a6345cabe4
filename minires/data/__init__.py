"""Data sets, transforms, and the loader, which makes batches of them.

>>> import minires as mr
>>> digits = mr.data.load("digits")
>>> digits.image_shape, len(digits.train), len(digits.test)
((1, 8, 8), 1437, 360)

To add a data set, write a function that returns a :class:`Dataset`, in its own file that ends with
``DATASETS["name"] = function``, and import it here; ``minires train --data`` then accepts its name. If its files can be
downloaded, describe them as a ``PublishedDataset`` in that file (its ``load`` returns the data set), and add it to
:data:`PUBLISHED`; ``minires data`` then downloads and checks them.
"""

from __future__ import annotations

from ..core import checks
from ..core.calls import missing_name
from . import transforms
from .annotated import DetectionSplit, Objects, OnDemand, SegmentationSplit
from .annotated_folder import annotated_folder, masks_folder
from .cifar import CIFAR10, CIFAR100, cifar10, cifar100
from .clips import ClipSplit, clip_folder, moving_shapes
from .coco import coco
from .dataset import DATASETS, Dataset, Split, load, names
from .folder import FileSplit, folder
from .loader import Loader
from .mnist import FASHION_MNIST, MNIST, digits, fashion_mnist, mnist
from .moving import ComposeWithTargets, FlipWithTargets, RandomScaleCrop
from .places import PublishedFiles
from .scenes import scenes
from .shapes import drawings, shapes
from .voc import voc
from .yolo import yolo

DATASETS.update(
    digits=digits, mnist=mnist, fashion_mnist=fashion_mnist, cifar10=cifar10, cifar100=cifar100, shapes=shapes
)
PUBLISHED = {files.name: files for files in (MNIST, FASHION_MNIST, CIFAR10, CIFAR100)}  # downloadable data sets


def published(name: str) -> PublishedFiles:
    """Return the files of a data set that can be downloaded. Raises ArgumentError for any other name."""
    return PUBLISHED[checks.choice("data", name, "downloadable data set", PUBLISHED)]


__all__ = [
    "DATASETS", "PUBLISHED", "ClipSplit", "ComposeWithTargets", "Dataset", "DetectionSplit", "FileSplit",
    "FlipWithTargets", "Loader", "Objects", "OnDemand", "RandomScaleCrop", "SegmentationSplit", "Split",
    "annotated_folder", "cifar10", "cifar100", "clip_folder", "coco", "digits", "drawings", "fashion_mnist", "folder",
    "load", "masks_folder", "mnist", "moving_shapes", "names", "published", "scenes", "shapes", "transforms", "voc",
    "yolo",
]  # fmt: skip

__getattr__ = missing_name("mr.data", __all__, {
    "DataLoader": "Loader(split, batch_size)", "TensorDataset": "Split(images, labels)",
    "ImageFolder": "folder(path)", "random_split": "Split(split.images[rows], split.labels[rows])",
    "Subset": "Split(split.images[rows], split.labels[rows])", "default_collate": "Loader, which makes batches",
    "datasets": "load(name) or folder(path)", "WeightedRandomSampler": "Split(split.images[rows], split.labels[rows])",
})  # fmt: skip
