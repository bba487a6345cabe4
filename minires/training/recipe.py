"""From settings to the things that they stand for: the model, its images, the optimiser, the schedule."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from typing import Any

from .. import data, models, optim
from ..core.backend import Array, generator
from ..core.tensor import Tensor, as_tensor
from ..data import Dataset
from ..data.dataset import Transform
from ..data.transforms import ColorJitter, Compose, Cutout, MixUp, Normalize
from ..errors import ArgumentError
from ..nn import Module
from ..ops import cross_entropy
from .config import Config


def load_data(name: str, size: int | tuple[int, int] | None = None, channels: int = 3) -> Dataset:
    """The data set of that name, or the folder at that path.

    ``size`` and ``channels`` are for a folder, see :func:`minires.data.folder`. Its images stay in their files if
    they would take more than a GiB. Raises ArgumentError if there is neither.
    """
    if name in data.names():
        return data.load(name)
    if not os.path.isdir(name):
        raise ArgumentError(
            f"data: there is no data set {name!r}, and no such folder; choose one of {', '.join(data.names())}, or "
            "give the path of a folder of images (--data)."
        )
    return data.folder(name, size, channels, in_memory=None)


def model_options(dataset: Dataset) -> dict[str, Any]:
    """The options of ``models.build`` that follow from the data."""
    return {"num_classes": len(dataset.classes), "in_channels": dataset.image_shape[0]}


def make_model(config: Config, dataset: Dataset) -> Module:
    """The model with its first, random weights, on the device."""
    return models.build(config.model, **model_options(dataset)).to(config.device)


def make_transform(config: Config, dataset: Dataset, normalize: Normalize) -> Transform:
    """What happens to training images. Test images are only normalised."""
    before = [dataset.augmentation] if config.augment and dataset.augmentation is not None else []
    if config.color_jitter:
        before.append(ColorJitter(*[config.color_jitter] * 3))
    after = [Cutout(config.cutout)] if config.cutout else []
    return Compose([*before, normalize, *after]) if before or after else normalize


def forward(config: Config, model: Module, images: Array, labels: Array) -> tuple[Tensor, Tensor]:
    """The logits (B, K) of a training batch and its loss; with ``config.mixup``, of mixed images and both classes."""
    if not config.mixup:
        logits = model(as_tensor(images))
        return logits, cross_entropy(logits, labels, config.label_smoothing)
    mixed, partners, lam = MixUp(config.mixup)(images, generator())
    logits = model(as_tensor(mixed))
    own, other = (cross_entropy(logits, classes, config.label_smoothing) for classes in (labels, labels[partners]))
    return logits, lam * own + (1 - lam) * other


def make_optimizer(config: Config, model: Module) -> optim.Optimizer:
    """The optimiser that ``config`` names; weight decay is on every parameter that learns, as in He et al."""
    learned = [parameter for parameter in model.parameters() if parameter.requires_grad]
    options = {"lr": config.lr, "weight_decay": config.weight_decay}
    if config.optimizer == "sgd":
        return optim.SGD(learned, momentum=config.momentum, nesterov=config.momentum > 0, **options)
    kind = {"adam": optim.Adam, "adamw": optim.AdamW}[config.optimizer]
    return kind(learned, betas=(config.momentum, 0.999), **options)


def make_ema(config: Config, model: Module) -> optim.EMA | None:
    """The average of the weights, if one is wanted. It starts from the weights that the model has now."""
    return optim.EMA(model, config.ema) if config.ema else None


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
