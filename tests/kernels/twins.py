"""Random problems for every op that has a kernel: the op, its inputs as float64, and what to compare."""

from __future__ import annotations

import copy

import numpy as np

from minires import nn
from minires.data.transforms import Flip, Normalize, PadCrop
from minires.models.blocks import BasicBlock, Bottleneck
from minires.models.shortcuts import SubsampleAndPad
from minires.nn.folding import Conv2dAct, Replay
from minires.ops.activation import ReLU, ResidualAdd
from minires.ops.arithmetic import Add, Where
from minires.ops.conv import Conv2d, Conv2dGradWeight, ConvTranspose2d, Window
from minires.ops.linalg import Linear
from minires.ops.loss import CrossEntropy
from minires.ops.norm import BatchNorm, BatchNormAct, GroupNorm
from minires.ops.pool import AvgPool2d, GlobalAvgPool2d, MaxPool2d
from minires.ops.resize import Resize
from minires.ops.shape import Pad, PutItem
from minires.optim import SGD, Adam, AdamW, RMSprop


def images(rng, n, c, h, w, last):
    """Float64 images, (N, C, H, W), in memory with the channels last or not."""
    block = rng.standard_normal((n, h, w, c)) + 0.5
    return block.transpose(0, 3, 1, 2) if last else np.ascontiguousarray(block.transpose(0, 3, 1, 2))


def window(rng, three):
    if three:
        return Window((3, 3), (1, 1), (int(rng.integers(0, 3)), int(rng.integers(0, 3))))
    kernel = tuple(map(int, rng.integers(1, 5, 2)))
    padding = tuple(int(rng.integers(0, k)) for k in kernel)
    return Window(kernel, tuple(map(int, rng.integers(1, 4, 2))), padding, tuple(map(int, rng.integers(1, 3, 2))))


def image_size(rng, w):
    return tuple(d * (k - 1) + 1 + int(rng.integers(0, 9)) for k, d in zip(w.kernel, w.dilation, strict=True))


def conv_sizes(rng):
    """Odd channel counts with all windows; multiples of the vector length with the window that has its own kernel."""
    n = int(rng.integers(1, 6))
    if rng.random() < 0.4:
        w = window(rng, three=True)
        size = tuple(s + int(rng.integers(8, 14)) for s in (3, 3))
        return n, 16 * int(rng.integers(1, 4)), 16 * int(rng.integers(1, 5)), size, w
    w = window(rng, three=False)
    return n, int(rng.integers(1, 40)), int(rng.integers(1, 40)), image_size(rng, w), w


def bias_of(rng, channels):
    return [rng.standard_normal(channels)] if rng.random() < 0.5 else []


def conv2d(rng):
    n, c, o, size, w = conv_sizes(rng)
    x = images(rng, n, c, *size, last=rng.random() < 0.7)
    return lambda: Conv2d(w, 1), [x, rng.standard_normal((o, c, *w.kernel)), *bias_of(rng, o)]


def conv2d_act(rng):
    n, c, o, size, w = conv_sizes(rng)
    activation = "relu" if rng.random() < 0.7 else None
    arrays = [images(rng, n, c, *size, last=rng.random() < 0.7), rng.standard_normal((o, c, *w.kernel))]
    shortcut = [rng.standard_normal((n, o, *w.output_size("conv2d", *size)))] if rng.random() < 0.6 else []
    return lambda: Conv2dAct(w, 1, activation, {}), [*arrays, rng.standard_normal(o), *shortcut]


def conv_transpose2d(rng):
    n, c, o, size, w = conv_sizes(rng)
    out = w.output_size("conv2d", *size)
    x = images(rng, n, o, *out, last=rng.random() < 0.7)
    return lambda: ConvTranspose2d(w, 1, size), [x, rng.standard_normal((o, c, *w.kernel)), *bias_of(rng, c)]


def conv2d_grad_weight(rng):
    n, c, o, size, w = conv_sizes(rng)
    out = w.output_size("conv2d", *size)
    return lambda: Conv2dGradWeight(w, 1), [images(rng, n, c, *size, True), images(rng, n, o, *out, True)]


def linear(rng):
    m, c, o = map(int, rng.integers(1, 50, 3))
    x = rng.standard_normal((m, c) if rng.random() < 0.5 else (m, 3, c))
    return lambda: Linear(), [x, rng.standard_normal((o, c)), *bias_of(rng, o)]


def batch_norm(rng):
    c = int(rng.integers(1, 40))
    x = rng.standard_normal((int(rng.integers(2, 50)), c))
    if rng.random() < 0.7:
        x = images(rng, int(rng.integers(2, 6)), c, *map(int, rng.integers(2, 20, 2)), last=rng.random() < 0.7)
    x = x * rng.uniform(0.5, 3) + rng.uniform(-9, 9)
    return lambda: BatchNorm(1e-5), [x, rng.standard_normal(c), rng.standard_normal(c)]


def batch_norm_act(rng):
    _, inputs = batch_norm(rng)
    activation = "relu" if rng.random() < 0.7 else None
    shortcut = [rng.standard_normal(inputs[0].shape)] if activation is None or rng.random() < 0.5 else []
    return lambda: BatchNormAct(1e-5, None, activation), [*inputs, *shortcut]


def group_norm(rng):
    groups, width, n = map(int, rng.integers(1, 9, 3))
    sizes = map(int, rng.integers(2, 12, 2))
    x = images(rng, n, groups * width, *sizes, last=rng.random() < 0.7) * rng.uniform(0.5, 3) + rng.uniform(-9, 9)
    vectors = (rng.standard_normal(groups * width) for _ in range(2))
    return lambda: GroupNorm(groups, 1e-5), [x, *vectors]


def relu(rng):
    return lambda: ReLU(), [images(rng, *map(int, rng.integers(1, 9, 4)), last=rng.random() < 0.5)]


def residual_add(rng):
    sizes, last = map(int, rng.integers(1, 9, 4)), rng.random() < 0.5
    n, c, h, w = sizes
    activation = "relu" if rng.random() < 0.5 else None
    return lambda: ResidualAdd(activation), [images(rng, n, c, h, w, last), images(rng, n, c, h, w, last)]


def where(rng):
    x = images(rng, *map(int, rng.integers(1, 9, 4)), last=rng.random() < 0.5)
    condition = (x > 0.3, np.ascontiguousarray(x > 0.3), x[:, :1, :1, :1] > 0.3)[rng.integers(3)]
    return lambda: Where(condition), [x, np.asarray(rng.standard_normal())]


def add(rng):
    _, inputs = residual_add(rng)
    return lambda: Add(), inputs


def pool_window(rng):
    if rng.random() < 0.3:  # the most common one, which has its own kernel
        return Window((2, 2), (2, 2), (0, 0))
    kernel = tuple(map(int, rng.integers(1, 4, 2)))
    padding = tuple(int(rng.integers(0, k // 2 + 1)) for k in kernel)
    return Window(kernel, tuple(map(int, rng.integers(1, 4, 2))), padding)


def max_pool2d(rng):
    w = pool_window(rng)
    x = images(rng, int(rng.integers(1, 5)), int(rng.integers(1, 20)), *image_size(rng, w), last=rng.random() < 0.7)
    return lambda: MaxPool2d(w), [np.round(2 * x) / 2 if rng.random() < 0.5 else x]  # with ties


def avg_pool2d(rng):
    w = pool_window(rng)
    x = images(rng, int(rng.integers(1, 5)), int(rng.integers(1, 20)), *image_size(rng, w), last=rng.random() < 0.7)
    return lambda: AvgPool2d(w), [x]


def global_avg_pool2d(rng):
    return lambda: GlobalAvgPool2d(), [images(rng, *map(int, rng.integers(1, 20, 4)), last=rng.random() < 0.7)]


def resize(rng):
    """Enlarge and shrink images; a bilinear weight may be 0, even that of the first of two places."""
    n, c, *sizes = map(int, rng.integers(1, 20, 6))
    x, taps = images(rng, n, c, *sizes[:2], last=rng.random() < 0.7), []
    for axis, (old, new) in enumerate(zip(sizes[:2], sizes[2:], strict=True), start=2):
        places = rng.integers(0, old, (new, int(rng.integers(1, 3))))
        first = np.round(rng.random((new, 1)) * 1.4 - 0.2, 1).clip(0, 1)
        weights = np.concatenate([first, 1 - first], axis=1) if places.shape[1] == 2 else np.ones((new, 1))
        taps.append((places, weights.astype("f").reshape(*weights.shape, *(1,) * (3 - axis))))
    return lambda: Resize(taps), [x]


def pad(rng):
    """Pad the channels of whole images, and of every second or third pixel."""
    sizes = map(int, rng.integers(1, 12, 4))
    x = images(rng, *sizes, last=rng.random() < 0.7)
    channels = tuple(map(int, rng.integers(0, 5, 2)))
    if rng.random() < 0.5:
        x = x[:, :, :: int(rng.integers(1, 4)), :: int(rng.integers(1, 4))]
    return lambda: Pad(((0, 0), channels, (0, 0), (0, 0)), 0.0), [x]


def put_item(rng):
    n, c, h, w = map(int, rng.integers(1, 12, 4))
    sh, sw = map(int, rng.integers(1, 4, 2))
    values = images(rng, n, c, -(-h // sh), -(-w // sw), last=rng.random() < 0.7)
    index = (slice(None), slice(None), slice(None, None, sh), slice(None, None, sw))
    return lambda: PutItem(index, (n, c, h, w)), [values]


def cross_entropy(rng):
    n, k = map(int, rng.integers(1, 30, 2))
    labels, smoothing = rng.integers(0, k, n), float(rng.choice([0.0, 0.1, 1.0]))
    return lambda: CrossEntropy(labels, smoothing), [10 * rng.standard_normal((n, k))]


class EitherPrecision(nn.Module):
    """A folded model twice, as the kernel's twin computes in float64."""

    def __init__(self, model):
        double = copy.deepcopy(model)
        for parameter in double.parameters():
            parameter.data = parameter.data.astype("float64")
        self.single, self.double = nn.fold(model), nn.fold(double)

    def forward(self, x):
        return (self.single if x.dtype == "float32" else self.double)(x)


def with_statistics(model, rng):
    """Nontrivial batch norms: running statistics and parameters other than 0 and 1."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            c = module.num_features
            module.weight.data = rng.uniform(0.5, 1.5, c).astype("f")
            module.bias.data = rng.normal(0, 0.3, c).astype("f")
            module.running_mean.data = rng.normal(0, 0.3, c).astype("f")
            module.running_var.data = rng.uniform(0.5, 1.5, c).astype("f")
    return model


class ConvNorm(nn.Module):
    """conv-BN with any window, and perhaps a ReLU."""

    def __init__(self, rng, c, o):
        kernel, dilation = (tuple(map(int, rng.integers(1, end, 2))) for end in (5, 3))
        stride, padding = (tuple(map(int, rng.integers(0, 3, 2))) for _ in range(2))
        padding = tuple(p + d * (k - 1) // 2 for p, k, d in zip(padding, kernel, dilation, strict=True))
        self.conv = nn.Conv2d(c, o, kernel, tuple(s + 1 for s in stride), padding, dilation, bias=rng.random() < 0.5)
        self.bn = nn.BatchNorm2d(o)
        self.activation = "relu" if rng.random() < 0.7 else None

    def forward(self, x):
        return self.bn(self.conv(x), activation=self.activation)


def replay(rng):
    """Small residual networks; if the channels fill whole vectors, their 3x3 convolutions have their own kernel."""
    whole = rng.random() < 0.5
    n, c = int(rng.integers(1, 8)), int(rng.integers(1, 6))
    size = tuple(map(int, rng.integers(6, 20, 2)))
    layers, width = [], c
    for _ in range(int(rng.integers(1, 5))):
        wider = max(width, 32 * int(rng.integers(1, 3)) if whole else 4 * width + int(rng.integers(0, 10)))
        wider = min(wider, 64 if whole else max(width, 40)) if rng.random() < 0.7 else width
        stride = int(rng.integers(1, 3))
        kind = rng.choice(["conv", "basic", "bottleneck", "shortcut"], p=[0.2, 0.5, 0.2, 0.1])
        if kind == "conv":
            layers.append(ConvNorm(rng, width, wider))
        elif kind == "shortcut":
            layers.append(SubsampleAndPad(width, wider, stride))
        else:
            block, option = (BasicBlock if kind == "basic" else Bottleneck), rng.choice(["A", "B", "C", None])
            wider += -wider % block.expansion
            layers.append(block(width, wider, stride, option))
        width = wider
    layers += [nn.GlobalAvgPool2d(), nn.Linear(width, int(rng.integers(1, 40)), bias=rng.random() < 0.8)]
    model, programs = EitherPrecision(with_statistics(nn.Sequential(*layers), rng).eval()), {}
    return lambda: Replay(model, programs), [images(rng, n, c, *size, last=rng.random() < 0.5)]


OPS = {
    Conv2d: conv2d,
    Conv2dAct: conv2d_act,
    Replay: replay,
    ConvTranspose2d: conv_transpose2d,
    Conv2dGradWeight: conv2d_grad_weight,
    Linear: linear,
    BatchNorm: batch_norm,
    BatchNormAct: batch_norm_act,
    GroupNorm: group_norm,
    ReLU: relu,
    ResidualAdd: residual_add,
    Add: add,
    Where: where,
    MaxPool2d: max_pool2d,
    AvgPool2d: avg_pool2d,
    GlobalAvgPool2d: global_avg_pool2d,
    Resize: resize,
    CrossEntropy: cross_entropy,
    Pad: pad,
    PutItem: put_item,
}


def sgd(rng, params):
    momentum = float(rng.choice([0, 0.9]))
    nesterov = momentum > 0 and bool(rng.random() < 0.5)
    return SGD(params, lr=0.1, momentum=momentum, weight_decay=float(rng.choice([0, 0.01])), nesterov=nesterov)


def adam(rng, params):
    return Adam(params, lr=0.01, weight_decay=float(rng.choice([0, 0.01])))


def adamw(rng, params):
    return AdamW(params, lr=0.01)


def rmsprop(rng, params):
    options = {"momentum": float(rng.choice([0, 0.9])), "centered": bool(rng.random() < 0.5)}
    return RMSprop(params, lr=0.01, weight_decay=float(rng.choice([0, 0.01])), **options)


OPTIMIZERS = {SGD: sgd, Adam: adam, AdamW: adamw, RMSprop: rmsprop}
TRANSFORMS = {
    PadCrop: lambda rng: PadCrop(int(rng.integers(1, 5))),
    Flip: lambda rng: Flip(),
    Normalize: lambda rng: Normalize(rng.uniform(0.2, 0.8, 3).tolist(), rng.uniform(0.2, 0.8, 3).tolist()),
}
