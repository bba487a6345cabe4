"""From settings to the things that they stand for: the model, its pictures, the optimiser, the schedule."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from .. import models, optim
from ..data import Dataset
from ..data.dataset import Transform
from ..data.transforms import Compose, Normalize
from ..nn import Module
from .config import Config


def model_options(dataset: Dataset) -> dict[str, Any]:
    """The options of ``models.build`` that follow from the data."""
    return {"num_classes": len(dataset.classes), "in_channels": dataset.picture_shape[0]}


def make_model(config: Config, dataset: Dataset) -> Module:
    """The model with its first, random weights, on the device."""
    return models.build(config.model, **model_options(dataset)).to(config.device)


def make_transform(config: Config, dataset: Dataset, normalize: Normalize) -> Transform:
    """What happens to training pictures. Test pictures are only normalised."""
    if config.augment and dataset.augmentation is not None:
        return Compose([dataset.augmentation, normalize])
    return normalize


def make_optimizer(config: Config, model: Module) -> optim.Optimizer:
    """SGD with Nesterov's momentum; weight decay on every parameter, as in He et al."""
    return optim.SGD(model.parameters(), config.lr, config.momentum, config.weight_decay, nesterov=config.momentum > 0)


def make_schedule(config: Config, optimizer: optim.Optimizer, batches: int) -> optim.Schedule:
    """The learning rate of every batch, for epochs of ``batches`` batches.

    - "cosine": half a cosine down to 0.
    - "onecycle": up to the learning rate for 30 % of the run, then down to almost 0.
    - "step": a tenth after each third of the run.
    - "multistep": a tenth after 1/2 and again after 3/4 of the run, as He et al. for CIFAR-10.
    - "constant".

    All but "onecycle", which has a rise of its own, are preceded by ``config.warmup`` epochs of warm-up.
    """
    steps = config.epochs * batches
    if config.schedule == "onecycle":
        return optim.OneCycleLR(optimizer, config.lr, max(steps, 2))
    schedules: dict[str, Callable[[], optim.Schedule]] = {
        "cosine": lambda: optim.CosineLR(optimizer, T_max=steps),
        "step": lambda: optim.StepLR(optimizer, step_size=math.ceil(steps / 3)),
        "multistep": lambda: optim.MultiStepLR(optimizer, milestones=[steps // 2, 3 * steps // 4]),
        "constant": lambda: optim.ConstantLR(optimizer),
    }
    schedule = schedules[config.schedule]()
    warmup_steps = round(config.warmup * batches)
    return optim.Warmup(schedule, warmup_steps) if warmup_steps else schedule
