"""Optimisers, learning-rate schedules, gradient clipping and averaged weights.

To add an optimiser or a schedule, write its class in a new file that ends with ``OPTIMIZERS["name"] = MyClass`` or
``SCHEDULES["name"] = MyClass``, and import it here. ``minires train`` then offers it under that name.
"""

from ..core.calls import missing_name
from .clipping import clip_grad_norm, l2_norm
from .ema import EMA
from .optimizer import OPTIMIZERS, SGD, Adam, AdamW, Optimizer, RMSprop
from .schedules import SCHEDULES, ConstantLR, CosineLR, MultiStepLR, OneCycleLR, Schedule, StepLR, Warmup

__all__ = [
    "EMA", "OPTIMIZERS", "SCHEDULES", "SGD", "Adam", "AdamW", "ConstantLR", "CosineLR", "MultiStepLR", "OneCycleLR",
    "Optimizer", "RMSprop", "Schedule", "StepLR", "Warmup", "clip_grad_norm", "l2_norm",
]  # fmt: skip

_TORCH = {  # names in PyTorch, and what to write instead
    "CosineAnnealingLR": "CosineLR(optimizer, T_max, eta_min)",
    "LinearLR": "Warmup(schedule, steps, start_factor)",
    "SequentialLR": "Warmup(schedule, steps) for a warm-up, or a subclass of Schedule with factor(t)",
    "LRScheduler": "Schedule",
    "ChainedScheduler": "schedule.step() for each schedule: their factors multiply",
    "LambdaLR": "a subclass of Schedule with factor(t)",
    "ExponentialLR": "StepLR(optimizer, 1, gamma)",
    "ReduceLROnPlateau": 'optimizer.param_groups[0]["lr"] *= factor',
    "lr_scheduler": "mr.optim.StepLR(...) and the other schedules",
    "clip_grad_value_": "p.grad = p.grad.clip(-value, value) for each parameter p",
    "clip_grad_norm_": "clip_grad_norm(parameters, max_norm)",
}
__getattr__ = missing_name("mr.optim", __all__, _TORCH)
