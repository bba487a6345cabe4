"""Optimisers, learning-rate schedules, gradient clipping, averaged weights."""

from .clipping import clip_grad_norm
from .ema import EMA
from .optimizer import SGD, Adam, AdamW, Optimizer
from .schedules import ConstantLR, CosineLR, MultiStepLR, OneCycleLR, Schedule, StepLR, Warmup

__all__ = [
    "EMA", "SGD", "Adam", "AdamW", "ConstantLR", "CosineLR", "MultiStepLR", "OneCycleLR", "Optimizer", "Schedule",
    "StepLR", "Warmup", "clip_grad_norm",
]  # fmt: skip
