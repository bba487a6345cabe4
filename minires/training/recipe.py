"""Build the data set, the model, the transform, the optimiser and the schedule that the settings describe."""

from __future__ import annotations

import os
from typing import Any

from .. import optim
from ..data import Dataset
from ..data.dataset import Transform
from ..data.transforms import Normalize
from ..errors import ArgumentError, closest
from ..nn import Module
from .config import Config
from .task import find


def load_data(
    name: str, size: int | tuple[int, int] | None = None, channels: int = 3, task: str = "classification"
) -> Dataset:
    """Load the data set ``name``, or the folder of images at the path ``name``.

    ``size`` and ``channels`` are for folders only, see :func:`minires.data.folder`. If the images of a folder take more
    than a GiB, they are read batch by batch. Raises ArgumentError if there is no such data set or folder.
    """
    known = find(task).data_sets
    if name not in known and not os.path.isdir(name):
        meant = closest(name, known)
        hint = f"did you mean {meant}? Choose" if meant else "choose"
        raise ArgumentError(
            f"data: there is no data set {name!r}, and no such folder; {hint} one of {', '.join(known)}, or give the "
            "path of a folder of images (--data)."
        )
    return known[name]() if name in known else find(task).load_folder(name, size, channels)


def model_options(config: Config, classes: int, channels: int) -> dict[str, Any]:
    """Return all options to build the model: those from the settings, and those that follow from the data."""
    return {**config.model_options, "num_classes": classes, "in_channels": channels}


def make_model(config: Config, dataset: Dataset) -> Module:
    """Build the model, with random weights, on the device of the settings."""
    options = model_options(config, len(dataset.classes), dataset.image_shape[-3])
    return find(config.task).build(config.model, **options).to(config.device)


def make_transform(config: Config, dataset: Dataset, normalize: Normalize) -> Transform:
    """Build the transform of training images. Test images are only normalised."""
    return find(config.task).transform(config, dataset, normalize)


def make_optimizer(config: Config, model: Module) -> optim.Optimizer:
    """Build the optimiser, with weight decay on every parameter that is trained, as in He et al."""
    learned = [parameter for parameter in model.parameters() if parameter.requires_grad]
    kind = optim.OPTIMIZERS[config.optimizer]
    return kind.for_training(learned, config.lr, config.weight_decay, config.momentum)


def make_schedule(config: Config, optimizer: optim.Optimizer, batches: int) -> optim.Schedule:
    """Build the schedule, with its warm-up, for epochs of ``batches`` batches. Call its ``step`` after each batch."""
    schedule = optim.SCHEDULES[config.schedule].for_run(optimizer, config.epochs * batches)
    warmup_steps = 0 if schedule.has_warmup else round(config.warmup * batches)
    return optim.Warmup(schedule, warmup_steps) if warmup_steps else schedule
