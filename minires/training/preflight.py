"""Checks before a run starts: whether the images fit the model, and whether the disk has room for the files."""

from __future__ import annotations

import shutil
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from .. import data
from ..core.dispatch import engine
from ..core.state import no_grad
from ..core.tensor import Tensor
from ..data import Dataset, Loader
from ..errors import ArgumentError, DataError, MiniresError, RunError, ShapeError, listed, sizes
from ..nn import Module
from ..nn.module import undisturbed
from ..optim import Optimizer
from .config import Config
from .task import find

FIGURES_AND_TABLES = 4 << 20  # bytes; more than a run needs for them
PACKAGES = {"matplotlib": "matplotlib", "PIL": "pillow"}  # imported only when the figures at the end are drawn


def check_before_training(
    config: Config, model: Module, dataset: Dataset, loader: Loader, optimizer: Optimizer, resume: bool
) -> None:
    """Raise the errors that would otherwise stop a run in or after its first epoch. The model is not changed.

    Its modules must be in the modes in which they are trained.

    Raises
    ------
    ShapeError
        If the images are too small for the model.
    ArgumentError
        If the last batch of an epoch is a single image, and a batch norm has only one value per channel for it; or if
        cutout covers all of every image.
    DataError
        If a class has no training images, and the task needs some of each.
    RunError
        If a package that draws the figures is not installed, or the disk has no room for the checkpoints.
    """
    untrained = np.flatnonzero(np.bincount(dataset.train.labels, minlength=len(dataset.classes)) == 0)
    if len(untrained) and find(config.task).needs_all_classes:
        names = listed([dataset.classes[number] for number in untrained])
        raise DataError(f"train: {dataset.name} has no training images of {names}; add some, or leave the class out.")
    for module, package in PACKAGES.items():
        if find_spec(module) is None:
            raise RunError(
                f"train: the package {package}, which draws the figures of a run, is not installed; pip install "
                f"{package}."
            )
    _check_batches(config, model, dataset, loader)
    _check_disk(config, model, optimizer, resume)


def _check_batches(config: Config, model: Module, dataset: Dataset, loader: Loader) -> None:
    """Try the smallest batch of an epoch. Two images stand for a larger one."""
    if config.cutout >= 2 * max(dataset.image_shape[-2:]):
        raise ArgumentError(
            f"train: cutout is {config.cutout}, which covers all of an image of {sizes(dataset.image_shape)}; use a "
            "smaller --cutout."
        )
    left_over = len(loader.split) % loader.batch_size
    last = loader.batch_size if loader.drop_last or not left_over else left_over
    error = _refusal(model, min(last, 2), dataset.image_shape)
    if error is None:
        return
    if last > 1 or (larger_error := _refusal(model, 2, dataset.image_shape)) is not None:
        error = error if last > 1 else larger_error
        larger = "" if config.data in data.names() else "; resize them with a larger --size"
        raise ShapeError(
            f"train: {config.model} cannot be trained on images of {sizes(dataset.image_shape)}{larger} "
            f"({str(error).rstrip('.')})."
        ) from error
    if left_over and len(loader) > 1:
        which, remedy = f"the last batch of {len(loader.split):,} images", "use --drop-last, or another --batch-size"
    else:
        which, remedy = "each batch", "use a larger --batch-size"
    raise ArgumentError(
        f"train: with a batch size of {loader.batch_size}, {which} is a single "
        f"image, and batch norm cannot train on it: {config.model} shrinks an image of "
        f"{sizes(dataset.image_shape)} to one pixel; {remedy}."
    ) from error


def _refusal(model: Module, batch: int, image_shape: tuple[int, ...]) -> MiniresError | None:
    """Return the error that the model raises for a batch of this size in its present mode, or None."""
    like = next(model.parameters())
    images = np.zeros((batch, *image_shape), like.dtype)
    with undisturbed(model), no_grad(), engine("textbook"):  # compiles nothing
        try:
            model(Tensor(images).to(like.device))
        except MiniresError as error:
            return error
    return None


def _check_disk(config: Config, model: Module, optimizer: Optimizer, resume: bool) -> None:
    """Compare the free space with the size of the weights and of the checkpoint, which exists twice while replaced."""
    buffers = [buffer for _, buffer in model.named_buffers()]
    weights = sum(tensor.data.nbytes for tensor in (*model.parameters(), *buffers))
    learned = sum(parameter.data.nbytes for parameter in optimizer.parameters)
    checkpoint = weights * (2 if config.ema else 1) + learned * len(optimizer.arrays)
    needed = weights + checkpoint * (1 if resume else 2) + FIGURES_AND_TABLES
    folder = Path(config.out or "runs").absolute()
    place = next(path for path in (folder, *folder.parents) if path.is_dir())
    total, _, free = shutil.disk_usage(place)
    if free < needed and total:  # some network disks report a size of 0
        raise RunError(
            f"train: the checkpoints need {needed / 1e6:,.0f} MB, but the disk of {folder} has only "
            f"{free / 1e6:,.0f} MB left; make room, or choose another --out."
        )
