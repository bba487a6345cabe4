"""Modules and layers, named as in torch.nn."""

from ..core.calls import missing_name, pytorch_names, refuses
from . import init
from .containers import ModuleDict, ModuleList, ParameterDict, ParameterList, Sequential
from .folding import fold
from .layers import (
    GELU,
    AdaptiveAvgPool2d,
    AvgPool2d,
    BatchNorm1d,
    BatchNorm2d,
    BCEWithLogitsLoss,
    Conv2d,
    ConvTranspose2d,
    CrossEntropyLoss,
    Dropout,
    Flatten,
    GlobalAvgPool2d,
    GroupNorm,
    Identity,
    LayerNorm,
    LeakyReLU,
    Linear,
    LogSoftmax,
    MaxPool2d,
    MSELoss,
    ReLU,
    Sigmoid,
    SiLU,
    Softmax,
    Tanh,
    Upsample,
)
from .module import Buffer, Module, Parameter

__all__ = [
    "AdaptiveAvgPool2d", "AvgPool2d", "BCEWithLogitsLoss", "BatchNorm1d", "BatchNorm2d", "Buffer", "Conv2d",
    "ConvTranspose2d", "CrossEntropyLoss", "Dropout", "Flatten", "GELU", "GlobalAvgPool2d", "GroupNorm", "Identity",
    "LayerNorm", "LeakyReLU", "Linear", "LogSoftmax", "MSELoss", "MaxPool2d", "Module", "ModuleDict", "ModuleList",
    "Parameter", "ParameterDict", "ParameterList", "ReLU", "Sequential", "SiLU", "Sigmoid", "Softmax", "Tanh",
    "Upsample", "fold", "init",
]  # fmt: skip

__getattr__ = missing_name(
    "mr.nn",
    __all__,
    {
        "functional": "mr.ops.relu(x) for F.relu(x), and so on",
        "utils": "mr.optim.clip_grad_norm(parameters, max_norm)",
        "ELU": "mr.ops.where(x > 0, x, mr.ops.exp(x.clip(max=0)) - 1) in forward",
        "ReLU6": "mr.ops.clip(x, 0, 6) in forward",
        "Softplus": "mr.ops.logsumexp(mr.ops.stack([x, 0 * x]), axis=0) in forward",
        "Unflatten": "x.reshape(...) in forward",
        "ZeroPad2d": "mr.ops.pad(x, (left, right, top, bottom)) in forward",
        "AdaptiveMaxPool2d": "x.max(axis=(2, 3)) in forward, which gives one value for each channel",
        "InstanceNorm2d": "GroupNorm(channels, channels, affine=False)",
        "L1Loss": "mr.ops.abs(prediction - target).mean()",
        "Embedding": "table[indices] in forward, with a Parameter (N, C) as the table",
        "Conv1d": "Conv2d(C, O, (1, K)) for images of one row, (N, C, 1, W)",
        "Dropout2d": "Dropout(p), which drops single elements",
        "NLLLoss": "CrossEntropyLoss(), which takes logits",
        "BCELoss": "BCEWithLogitsLoss(), which takes logits",
        "SyncBatchNorm": "BatchNorm2d(num_features)",
    },
)

# A wrong call of a layer's constructor names the arguments that this layer takes, or says what to write instead.
_refused = refuses(
    device="move the layer, {0}(...).to('cuda')",
    dtype="convert the layer, {0}(...).to('float64')",
    reduce="write reduction='none'",
)
_constructors = {
    name: layer.__init__
    for name, layer in list(globals().items())
    if getattr(layer, "__module__", "") == "minires.nn.layers" and layer.__init__ is not object.__init__
}
for _name, _constructor in _constructors.items():
    globals()[_name].__init__ = pytorch_names(_refused(_constructor), _name)
