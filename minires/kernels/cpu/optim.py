"""A step of an optimiser: each parameter, its gradient and its memory are read once, and written once."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ...core.backend import Array
from ...optim.optimizer import SGD, Adam, AdamW
from ..threads import share
from .compiler import kernel
from .layout import alike, is_float32
from .registry import register


@kernel
def _sgd(parameter, grad, velocity, lr, momentum, decay, nesterov, starts, first, last):
    for i in range(first, last):
        g = grad[i] + decay * parameter[i]
        v = g if starts else momentum * velocity[i] + g
        velocity[i] = v
        parameter[i] -= lr * (g + momentum * v if nesterov else v)


@kernel
def _adam(parameter, grad, mean, square, lr, beta1, rest1, beta2, rest2, eps, decay, shrink, root, first, last):
    for i in range(first, last):
        p = parameter[i] * shrink
        g = grad[i] + decay * p
        m = beta1 * mean[i] + rest1 * g
        s = beta2 * square[i] + rest2 * g * g
        mean[i] = m
        square[i] = s
        parameter[i] = p - lr * m / (math.sqrt(s) / root + eps)


@register(SGD, "update")
def sgd(op: SGD, parameter: Array, grad: Array, state: dict[str, Any], group: dict[str, Any]) -> Any:
    starts = "momentum_buffer" not in state
    velocity = np.empty_like(parameter) if starts else state["momentum_buffer"]
    flat = alike(parameter, grad, velocity) if group["momentum"] and is_float32(parameter, grad, velocity) else None
    if flat is None:
        return NotImplemented
    numbers = (np.float32(group[name]) for name in ("lr", "momentum", "weight_decay"))
    options = *numbers, bool(group["nesterov"]), starts
    share(lambda first, last: _sgd(*flat, *options, first, last), parameter.size, parameter.size)
    state["momentum_buffer"] = velocity
    return None


@register(Adam, "update")
@register(AdamW, "update")
def adam(op: Adam, parameter: Array, grad: Array, state: dict[str, Any], group: dict[str, Any]) -> Any:
    moments = [state[name] if name in state else np.zeros_like(parameter) for name in Adam.arrays]
    flat = alike(parameter, grad, *moments) if is_float32(parameter, grad, *moments) else None
    if flat is None:
        return NotImplemented
    step = state["step"] = state.get("step", 0) + 1
    state.update(zip(Adam.arrays, moments, strict=True))
    (beta1, beta2), lr, decay = group["betas"], group["lr"], group["weight_decay"]
    decoupled = isinstance(op, AdamW)
    options = [
        np.float32(number)
        for number in (
            lr / (1 - beta1**step), beta1, 1 - beta1, beta2, 1 - beta2, group["eps"], 0 if decoupled else decay,
            1 - lr * decay if decoupled else 1, math.sqrt(1 - beta2**step),
        )
    ]  # fmt: skip
    share(lambda first, last: _adam(*flat, *options, first, last), parameter.size, parameter.size * 4)
    return None
