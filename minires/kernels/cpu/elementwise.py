"""ReLU, sums of two tensors (where two paths, or two gradients, meet): one walk each, whatever the layout."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...backend import Array
from ...ops.activation import ReLU, ResidualAdd
from ...ops.arithmetic import Add
from ...threads import share
from .compiler import kernel
from .layout import alike, is_float32, same_as
from .registry import register


@kernel
def _relu(x, y, first, last):
    for i in range(first, last):
        y[i] = x[i] if not x[i] <= 0 else np.float32(0)  # NaN stays NaN


@kernel
def _relu_backward(y, dy, dx, first, last):
    for i in range(first, last):
        dx[i] = dy[i] if y[i] > 0 else np.float32(0)


@kernel
def _add(a, b, y, relu, first, last):
    if relu:
        for i in range(first, last):
            total = a[i] + b[i]
            y[i] = total if not total <= 0 else np.float32(0)
    else:
        for i in range(first, last):
            y[i] = a[i] + b[i]


@register(ReLU, "forward")
def relu(op: ReLU, x: Array) -> Array:
    flat = alike(x, y := same_as(x)) if is_float32(x) else None
    if flat is None:
        return NotImplemented
    share(lambda first, last: _relu(*flat, first, last), x.size, x.size / 2)
    return y


@register(ReLU, "backward")
def relu_backward(op: ReLU, upstream: Array) -> Any:
    flat = alike(op.output.data, upstream, dx := same_as(upstream)) if is_float32(upstream) else None
    if flat is None:
        return NotImplemented
    share(lambda first, last: _relu_backward(*flat, first, last), dx.size, dx.size / 2)
    return (dx,)


@register(ResidualAdd, "forward")
def residual_add(op: ResidualAdd, branch: Array, shortcut: Array) -> Array:
    flat = alike(branch, shortcut, y := same_as(branch)) if is_float32(branch, shortcut) else None
    if flat is None:
        return NotImplemented
    share(lambda first, last: _add(*flat, op.activation == "relu", first, last), y.size, y.size / 2)
    return y


@register(ResidualAdd, "backward")
def residual_add_backward(op: ResidualAdd, upstream: Array) -> Any:
    if op.activation is None:
        return upstream, upstream
    grads = relu_backward(op, upstream)  # type: ignore[arg-type]
    return grads if grads is NotImplemented else (grads[0], grads[0])


@register(Add, "forward")
def add(op: Add, a: Array, b: Array) -> Array:
    flat = alike(a, b, y := same_as(a)) if is_float32(a, b) else None
    if flat is None:
        return NotImplemented
    share(lambda first, last: _add(*flat, False, first, last), y.size, y.size / 2)
    return y
