"""Optimisers, learning-rate schedules, gradient clipping and averaged weights.

To add an optimiser or a schedule, write its class in a new file that ends with ``OPTIMIZERS["name"] = MyClass`` or
``SCHEDULES["name"] = MyClass``, and import it here. ``minires train`` then offers it under that name.
"""

from .clipping import clip_grad_norm, l2_norm
from .ema import EMA
from .optimizer import OPTIMIZERS, SGD, Adam, AdamW, Optimizer
from .schedules import SCHEDULES, ConstantLR, CosineLR, MultiStepLR, OneCycleLR, Schedule, StepLR, Warmup

__all__ = [
    "EMA", "OPTIMIZERS", "SCHEDULES", "SGD", "Adam", "AdamW", "ConstantLR", "CosineLR", "MultiStepLR", "OneCycleLR",
    "Optimizer", "Schedule", "StepLR", "Warmup", "clip_grad_norm", "l2_norm",
]  # fmt: skip
