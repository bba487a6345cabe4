"""ReLU, sums of two tensors (where two paths, or two gradients, meet), and the moves of a shortcut without parameters:
one walk each, whatever the layout.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ...core.backend import Array
from ...ops.activation import ReLU, ResidualAdd
from ...ops.arithmetic import Add
from ..images import register_moves
from ..threads import take_turns
from .compiler import kernel
from .layout import alike, arrange, is_float32, same_as
from .registry import register
from .simd import at, put
from .team import next_turn

PART = 16384  # numbers of a turn
ZERO = np.float32(0)


@kernel
def _relu(x, y, turn, parts):
    part = next_turn(turn)
    while part < parts:
        for i in range(part * PART, min(part * PART + PART, len(x))):
            put(y, i, at(x, i) if not at(x, i) <= 0 else ZERO)  # NaN stays NaN
        part = next_turn(turn)


@kernel
def _relu_backward(y, dy, dx, turn, parts):
    part = next_turn(turn)
    while part < parts:
        for i in range(part * PART, min(part * PART + PART, len(dx))):
            put(dx, i, at(dy, i) if at(y, i) > 0 else ZERO)
        part = next_turn(turn)


@kernel
def _add(a, b, y, relu, turn, parts):
    floor = np.float32(0 if relu else -np.inf)
    part = next_turn(turn)
    while part < parts:
        for i in range(part * PART, min(part * PART + PART, len(y))):
            total = at(a, i) + at(b, i)
            put(y, i, total if not total <= floor else floor)
        part = next_turn(turn)


def _share(kernel: Any, *arguments: Any) -> None:
    size = arguments[0].size
    take_turns(lambda turn, parts: kernel(*arguments, turn, parts), -(-size // PART), size / 2)


@register(ReLU, "forward")
def relu(op: ReLU, x: Array) -> Array:
    flat = alike(x, y := same_as(x)) if is_float32(x) else None
    if flat is None:
        return NotImplemented
    _share(_relu, *flat)
    return y


@register(ReLU, "backward")
def relu_backward(op: ReLU, upstream: Array) -> Any:
    flat = alike(op.output.data, upstream, dx := same_as(upstream)) if is_float32(upstream) else None
    if flat is None:
        return NotImplemented
    _share(_relu_backward, *flat)
    return (dx,)


@register(ResidualAdd, "forward")
def residual_add(op: ResidualAdd, branch: Array, shortcut: Array) -> Array:
    flat = alike(branch, shortcut, y := same_as(branch)) if is_float32(branch, shortcut) else None
    if flat is None:
        return NotImplemented
    _share(_add, *flat, op.activation == "relu")
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
    _share(_add, *flat, False)
    return y


register_moves(register, arrange, is_float32)
