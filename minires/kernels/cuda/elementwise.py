"""ReLU, sums of two tensors, and the moves of a shortcut without parameters: one walk each, whatever the layout."""

from __future__ import annotations

from typing import Any

from ...core.backend import Array
from ...ops.activation import ReLU, ResidualAdd
from ...ops.arithmetic import Add
from ..images import alike, register_moves
from .launch import for_each
from .layout import arrange, is_float32, register, same_as


@register(ReLU, "forward")
def relu(op: ReLU, x: Array) -> Array:
    flat = alike(x, y := same_as(x)) if is_float32(x) else None
    if flat is None:
        return NotImplemented
    for_each("elementwise", "relu_forward", x.size, *flat)
    return y


@register(ReLU, "backward")
def relu_backward(op: ReLU, upstream: Array) -> Any:
    flat = alike(op.output.data, upstream, dx := same_as(upstream)) if is_float32(upstream) else None
    if flat is None:
        return NotImplemented
    for_each("elementwise", "relu_backward", dx.size, *flat)
    return (dx,)


@register(ResidualAdd, "forward")
def residual_add(op: Any, branch: Array, shortcut: Array) -> Array:
    flat = alike(branch, shortcut, y := same_as(branch)) if is_float32(branch, shortcut) else None
    if flat is None:
        return NotImplemented
    for_each("elementwise", "add", y.size, *flat, getattr(op, "activation", None) == "relu")
    return y


register(Add, "forward")(residual_add)


@register(ResidualAdd, "backward")
def residual_add_backward(op: ResidualAdd, upstream: Array) -> Any:
    if op.activation is None:
        return upstream, upstream
    grads = relu_backward(op, upstream)  # type: ignore[arg-type]
    return grads if grads is NotImplemented else (grads[0], grads[0])


register_moves(register, arrange, is_float32)
