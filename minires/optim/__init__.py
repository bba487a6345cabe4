"""Optimisers, learning-rate schedules, gradient clipping, averaged weights.

To add an optimiser or a schedule, write its class in a file of its own and add one line to :data:`OPTIMIZERS` or
:data:`SCHEDULES`; ``minires train`` then offers it under that name.
"""

from .clipping import clip_grad_norm, l2_norm
from .ema import EMA
from .optimizer import SGD, Adam, AdamW, Optimizer
from .schedules import ConstantLR, CosineLR, MultiStepLR, OneCycleLR, Schedule, StepLR, Warmup

OPTIMIZERS: dict[str, type[Optimizer]] = {
    "sgd": SGD,
    "adam": Adam,
    "adamw": AdamW,
}
SCHEDULES: dict[str, type[Schedule]] = {
    "cosine": CosineLR,
    "onecycle": OneCycleLR,
    "step": StepLR,
    "multistep": MultiStepLR,
    "constant": ConstantLR,
}

__all__ = [
    "EMA", "OPTIMIZERS", "SCHEDULES", "SGD", "Adam", "AdamW", "ConstantLR", "CosineLR", "MultiStepLR", "OneCycleLR",
    "Optimizer", "Schedule", "StepLR", "Warmup", "clip_grad_norm", "l2_norm",
]  # fmt: skip
