"""Optimisers and learning-rate schedules."""

from .optimizer import SGD, Adam, AdamW, Optimizer
from .schedules import ConstantLR, CosineLR, MultiStepLR, OneCycleLR, Schedule, StepLR, Warmup

__all__ = [
    "SGD", "Adam", "AdamW", "ConstantLR", "CosineLR", "MultiStepLR", "OneCycleLR", "Optimizer", "Schedule", "StepLR",
    "Warmup",
]  # fmt: skip
