"""Batch, layer and group normalisation."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..core import backend, checks
from ..core.autograd import Op, Shape
from ..core.backend import Array, array_module, at_least_float32, wide_sum
from ..core.tensor import Tensor, TensorLike
from ..errors import ArgumentError, ShapeError, sizes
from .activation import join_inputs
from .arithmetic import sqrt
from .reduce import mean, var


def _batch_axes(ndim: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the axes to average over for each channel, and the shape in which a (C,) array broadcasts to x."""
    return (0, *range(2, ndim)), (1, -1, *(1,) * (ndim - 2))


class BatchNorm(Op):
    """gamma * (x - mean) / sqrt(var + eps) + beta, for each channel.

    ``running`` holds the mean and variance used in evaluation. In training, it is None: the mean and variance of the
    batch are used instead, and gradients flow through them, too.
    """

    def __init__(self, eps: float, running: Sequence[Array] | None = None) -> None:
        self.eps, self.running = eps, running

    def forward(self, x: Array, gamma: Array, beta: Array) -> Array:
        axes, per_channel = _batch_axes(x.ndim)
        xp, wide, count = array_module(x), at_least_float32(x), x.size // len(gamma)
        if self.running is None:
            centre = wide_sum(wide, axes, divisor=count)  # (C,)
            spread = wide_sum(xp.square(wide - centre.reshape(per_channel)), axes, divisor=count)  # (C,), biased
            self.batch = centre, spread
        else:
            centre, spread = map(at_least_float32, self.running)
        scale = gamma / xp.sqrt(spread + self.eps)  # (C,)
        y = (wide - centre.reshape(per_channel)) * scale.reshape(per_channel) + beta.reshape(per_channel)
        return y.astype(x.dtype, copy=False)

    def backward(self, upstream: Tensor) -> tuple[Tensor | None, ...]:
        x, gamma, upstream = map(at_least_float32, (*self.inputs[:2], upstream))
        axes, per_channel = _batch_axes(x.ndim)
        if self.running is None:
            centre, spread = mean(x, axes, keepdims=True), var(x, axes, correction=0, keepdims=True)
        else:
            centre, spread = (Tensor.wrap(at_least_float32(s).reshape(per_channel)) for s in self.running)
        inverse_std = 1 / sqrt(spread + self.eps)  # (1, C, 1, 1)
        normalised = (x - centre) * inverse_std  # (N, C, H, W)
        dbeta = upstream.sum(axes)  # (C,)
        dgamma = (upstream * normalised).sum(axes)  # (C,)
        dx = upstream
        if self.running is None:  # subtract the gradients through the mean and the variance
            count = x.size // gamma.size
            dx = dx - (dbeta / count).reshape(per_channel) - normalised * (dgamma / count).reshape(per_channel)
        return dx * (gamma.reshape(per_channel) * inverse_std), dgamma, dbeta


class BatchNormAct(BatchNorm, saves="both"):
    """relu(batch_norm(x) + shortcut) in one op, which a kernel computes in one pass. ReLU and shortcut are optional."""

    def __init__(self, eps: float, running: Sequence[Array] | None, activation: str | None) -> None:
        super().__init__(eps, running)
        self.activation = activation

    def forward(self, x: Array, gamma: Array, beta: Array, *shortcut: Array) -> Array:
        y = super().forward(x, gamma, beta)
        y = y + shortcut[0] if shortcut else y
        return y if self.activation is None else array_module(y).maximum(y, 0)

    def backward(self, upstream: Tensor) -> tuple[Tensor | None, ...]:
        dy = upstream if self.activation is None else upstream.masked_fill(self.output <= 0, 0)
        return (*super().backward(dy), *(dy for _ in self.inputs[3:]))


class GroupNorm(Op):
    """gamma * (x - mean) / sqrt(var + eps) + beta, with the statistics of each group of channels of each example."""

    def __init__(self, groups: int, eps: float) -> None:
        self.groups, self.eps = groups, eps

    def rows(self, shape: Shape) -> Shape:
        return shape[0], self.groups, math.prod(shape[1:]) // self.groups

    def forward(self, x: Array, gamma: Array, beta: Array) -> Array:
        _, per_channel = _batch_axes(x.ndim)
        rows = at_least_float32(x).reshape(self.rows(x.shape))  # (N, G, C/G*H*W)
        centred = rows - wide_sum(rows, (2,), keepdims=True, divisor=rows.shape[2])
        spread = wide_sum(centred * centred, (2,), keepdims=True, divisor=rows.shape[2])  # (N, G, 1)
        normalised = centred * (1 / array_module(x).sqrt(spread + self.eps))
        y = normalised.reshape(x.shape) * gamma.reshape(per_channel) + beta.reshape(per_channel)
        return y.astype(x.dtype, copy=False)

    def backward(self, upstream: Tensor) -> tuple[Tensor, ...]:
        x, gamma, dy = map(at_least_float32, (*self.inputs[:2], upstream))
        axes, per_channel = _batch_axes(x.ndim)
        rows = x.reshape(self.rows(x.shape))  # (N, G, C/G*H*W)
        centred = rows - mean(rows, 2, keepdims=True)
        inverse_std = 1 / sqrt(mean(centred * centred, 2, keepdims=True) + self.eps)  # (N, G, 1)
        normalised = centred * inverse_std
        dgamma, dbeta = (dy * normalised.reshape(x.shape)).sum(axes), dy.sum(axes)  # (C,)
        dy = (dy * gamma.reshape(per_channel)).reshape(rows.shape)  # less its parts along the mean and the variance:
        dx = dy - mean(dy, 2, keepdims=True) - normalised * mean(dy * normalised, 2, keepdims=True)
        return (dx * inverse_std).reshape(x.shape), dgamma, dbeta


def _parameters(op: str, x: Tensor, shape: Shape, **given: TensorLike) -> dict[str, Tensor]:
    """Return those of the parameters that are not None, as tensors, which must have this shape and the dtype of x."""
    found = {name: checks.floats(op, value, name, x) for name, value in given.items() if value is not None}
    for name, value in found.items():
        if value.shape != shape:
            raise ShapeError(f"{op}: {name} is {sizes(value.shape)}, but x ({sizes(x.shape)}) needs {sizes(shape)}.")
    return found


def batch_norm(
    x: TensorLike, gamma: TensorLike | None = None, beta: TensorLike | None = None, running_mean: Any = None,
    running_var: Any = None, training: bool = False, momentum: float = 0.1, eps: float = 1e-5,
    shortcut: TensorLike | None = None, activation: str | None = None,
) -> Tensor:  # fmt: skip
    """Normalise each channel with the statistics of the batch in training, and with running statistics in evaluation.

    Ioffe and Szegedy, arXiv 1502.03167, algorithm 1.

    Parameters
    ----------
    x : Tensor, (N, C) or (N, C, ...), such as images (N, C, H, W)
    gamma, beta : Tensor, (C,), or None
        Scale and shift of each channel.
    running_mean, running_var : Tensor, (C,), or None in training
        Updated in place in training: ``running = (1 - momentum) * running + momentum * batch``. The running variance
        uses the unbiased batch variance; the normalisation uses the biased one.
    training : bool
        Whether to normalise with the statistics of the batch.
    momentum : float
        The weight of the batch in the running statistics.
    eps : float
        A small number that is added to the variance.
    shortcut : Tensor, optional
        A tensor with the shape of x, which is added to the result before the activation.
    activation : {"relu", None}
        ``batch_norm(..., shortcut=s, activation="relu")`` is ``residual_add(batch_norm(...), s)``, and without a
        shortcut ``relu(batch_norm(...))``, but the fast engine reads the images once instead of three times.

    Returns
    -------
    Tensor
        The normalised x, with the same shape.

    Raises
    ------
    ShapeError
        If the sizes do not fit, or a training batch has fewer than two values for each channel.
    ArgumentError
        If ``momentum`` is outside of [0, 1], ``eps`` <= 0, ``activation`` is unknown, or running statistics are missing
        in evaluation or, on the CPU, not finite.
    DTypeError
        If an input does not hold floats, or holds floats of another type than x.
    """
    x = checks.floats("batch_norm", x)
    if x.ndim < 2:
        raise ShapeError(f"batch_norm: x has {x.ndim} axes (x: {sizes(x.shape)}), but must be (N, C) or (N, C, ...).")
    channels = x.shape[1]
    gamma = Tensor.wrap(array_module(x.data).ones(channels, x.dtype)) if gamma is None else gamma
    beta = Tensor.wrap(array_module(x.data).zeros(channels, x.dtype)) if beta is None else beta
    # An array of running statistics is not copied, as it is updated in place.
    centre, spread = (Tensor.wrap(s) if backend.is_array(s) else s for s in (running_mean, running_var))
    vectors = _parameters("batch_norm", x, (channels,), gamma=gamma, beta=beta, running_mean=centre, running_var=spread)
    momentum = checks.fraction("batch_norm", momentum, "momentum")
    eps = checks.positive("batch_norm", eps, "eps")
    if not training and len(vectors) < 4:
        raise ArgumentError("batch_norm: evaluation needs both running_mean and running_var; one is None.")
    count = x.size // max(channels, 1)
    if training and count < 2:
        raise ShapeError(f"batch_norm: x ({sizes(x.shape)}) needs more than one value per channel, or eval().")
    gamma, beta, *running = vectors.values()
    inputs = [x, gamma, beta, *join_inputs("batch_norm", x, x.shape, shortcut, activation)]
    copies = None if training else [statistic.data.copy() for statistic in running]
    if copies is not None and x.device == "cpu" and not np.isfinite(copies).all():  # a GPU would have to wait
        raise ArgumentError("batch_norm: running_mean or running_var is not finite; use an older checkpoint.")
    plain = activation is None and shortcut is None
    op = BatchNorm(eps, copies) if plain else BatchNormAct(eps, copies, activation)
    y = op(*inputs)
    if training:
        batch_mean, batch_var = op.batch
        new = {"running_mean": batch_mean, "running_var": batch_var * (count / (count - 1))}
        for name, old in vectors.items():
            if name in new:
                old.data[...] = (1 - momentum) * old.data + momentum * new[name]
                old.mark_changed()
    return y


def _standardise(x: Tensor, axes: tuple[int, ...], eps: float) -> Tensor:
    """(x - mean) / sqrt(var + eps), over ``axes``."""
    centred = x - mean(x, axes, keepdims=True)
    return centred * (1 / sqrt(mean(centred * centred, axes, keepdims=True) + eps))  # the slope of v**-0.5 underflows


def _scale_and_shift(op: str, y: Tensor, x: Tensor, shape: Shape, view: Shape, weight: Any, bias: Any) -> Tensor:
    """weight * y + bias in the dtype of x. Both are optional and have ``shape``; as ``view`` they broadcast to y."""
    given = _parameters(op, x, shape, weight=weight, bias=bias)
    y = y * given["weight"].reshape(view) if "weight" in given else y
    y = y + given["bias"].reshape(view) if "bias" in given else y
    return y.to(x.dtype)


def layer_norm(
    x: TensorLike, normalized_shape: int | Sequence[int] | None = None, weight: TensorLike | None = None,
    bias: TensorLike | None = None, eps: float = 1e-5,
) -> Tensor:  # fmt: skip
    """Normalise each example over its trailing axes (Ba et al., arXiv 1607.06450).

    Parameters
    ----------
    x : Tensor
    normalized_shape : int or tuple of int, optional
        The sizes of the trailing axes to normalise over. The default is the last axis.
    weight, bias : Tensor, optional
        Scale and shift, with the shape ``normalized_shape``.
    eps : float
        Added to the variance.

    Raises
    ------
    ShapeError
        If ``normalized_shape``, ``weight`` or ``bias`` does not fit x.
    ArgumentError
        If ``normalized_shape`` does not consist of integers, or eps <= 0.
    DTypeError
        If an input does not hold floats, or holds floats of another type than x.
    """
    x = checks.floats("layer_norm", x)
    eps = checks.positive("layer_norm", eps, "eps")
    given = x.shape[-1:] if normalized_shape is None else normalized_shape
    shape = tuple(given) if isinstance(given, (tuple, list)) else (given,)
    if not all(checks.is_integer(size, 0) for size in shape):
        raise ArgumentError(f"layer_norm: normalized_shape is {given!r}; write e.g. layer_norm(x, (5,), weight, bias).")
    if not shape or x.shape[-len(shape) :] != shape:
        raise ShapeError(f"layer_norm: x ({sizes(x.shape)}) does not end with normalized_shape, {sizes(shape)}.")
    axes, _ = checks.filled_axes("layer_norm", tuple(range(-len(shape), 0)), x)
    y = _standardise(at_least_float32(x), axes, eps)
    return _scale_and_shift("layer_norm", y, x, shape, shape, weight, bias)


def group_norm(
    x: TensorLike, num_groups: int, weight: TensorLike | None = None, bias: TensorLike | None = None, eps: float = 1e-5
) -> Tensor:
    """Normalise each group of channels of each example (Wu and He, arXiv 1803.08494).

    Parameters
    ----------
    x : Tensor, (N, C, ...)
    num_groups : int
        The number of groups, which must divide C.
    weight, bias : Tensor, (C,), optional
        Scale and shift of each channel.
    eps : float
        Added to the variance.

    Raises
    ------
    ShapeError
        If x has fewer than two axes, its channels cannot be split into groups, or the weight or bias does not fit.
    ArgumentError
        If ``num_groups`` is not an integer >= 1, or eps <= 0.
    DTypeError
        If an input does not hold floats, or holds floats of another type than x.
    """
    x = checks.floats("group_norm", x)
    groups, eps = checks.integer("group_norm", num_groups, "num_groups", 1), checks.positive("group_norm", eps, "eps")
    if x.ndim < 2 or x.shape[1] % groups or 0 in x.shape[1:]:
        raise ShapeError(f"group_norm: x is {sizes(x.shape)}, but must be (N, C, ...), where {groups} groups divide C.")
    shape = x.shape[1:2]
    ones, zeros = (Tensor.wrap(array_module(x.data).full(shape, value, x.dtype)) for value in (1, 0))
    given = {"weight": ones if weight is None else weight, "bias": zeros if bias is None else bias}
    return GroupNorm(groups, eps)(x, *_parameters("group_norm", x, shape, **given).values())
