"""Modules and layers, named as in torch.nn."""

from ..core.calls import missing_name
from . import init
from .folding import fold
from .layers import (
    AvgPool2d,
    BatchNorm1d,
    BatchNorm2d,
    Conv2d,
    ConvTranspose2d,
    Dropout,
    Flatten,
    GlobalAvgPool2d,
    Identity,
    LayerNorm,
    Linear,
    MaxPool2d,
    ReLU,
)
from .module import Buffer, Module, ModuleDict, ModuleList, Parameter, ParameterDict, ParameterList, Sequential

__all__ = [
    "AvgPool2d", "BatchNorm1d", "BatchNorm2d", "Buffer", "Conv2d", "ConvTranspose2d", "Dropout", "Flatten",
    "GlobalAvgPool2d", "Identity", "LayerNorm", "Linear", "MaxPool2d", "Module", "ModuleDict", "ModuleList",
    "Parameter", "ParameterDict", "ParameterList", "ReLU", "Sequential", "fold", "init",
]  # fmt: skip

__getattr__ = missing_name(
    "mr.nn",
    __all__,
    {
        "functional": "mr.ops.relu(x) for F.relu(x), and so on",
        "utils": "mr.optim.clip_grad_norm(parameters, max_norm)",
        "Conv1d": "Conv2d with images of one row, (N, C, 1, W)",
        "DataParallel": "mr.parallel.average_gradients(model) in each process",
    },
)
