"""A step of an optimiser: each parameter, its gradient and its memory are read once and written once."""

from __future__ import annotations

import math
from functools import partial
from typing import Any, NamedTuple

from ..core.backend import Array
from ..core.state import state
from ..optim.optimizer import SGD, Adam, AdamW, Optimizer
from .device import ComputeDevice, host


class _Taken(NamedTuple):
    """A parameter that a kernel takes."""

    flat: list[Array]  # the parameter, its gradient, and what the optimiser remembers of it
    known: dict[str, Any]  # its state
    is_new: bool  # nothing was remembered before


def _take(
    device: ComputeDevice, op: Optimizer, group: dict[str, Any], parameters: Any, states: Any, names: tuple[str, ...]
) -> list[_Taken] | None:
    """The parameters that a kernel takes, with the arrays ``names`` in their states. The textbook updates the others.

    None, and nothing has changed, if the textbook would have to work inside a CUDA graph: each replay would repeat
    the numbers of the moment.
    """
    taken, others = [], []
    for parameter, known in zip(parameters, states, strict=True):
        data, grad = parameter.data, parameter.grad.data
        arrays = [known[name] if name in known else device.xp.zeros_like(data) for name in names]
        fits = data.size >= device.smallest and device.takes(data, grad, *arrays)
        flat = device.flat(data, grad, *arrays) if fits else None
        if flat is None:
            others.append((data, grad, known, group))
        else:
            taken.append((_Taken(flat, known, any(name not in known for name in names)), arrays))
    if others and state.capture is not None:
        return None
    for arguments in others:
        op.update(*arguments)
    for parameter, arrays in taken:
        parameter.known.update(zip(names, arrays, strict=True))
    return [parameter for parameter, _ in taken]


@host("step", SGD)
def sgd(device: ComputeDevice, op: SGD, first: Array, group: dict[str, Any], parameters: Any, states: Any) -> Any:
    names = SGD.arrays if group["momentum"] else ()
    if not names and device.name == "cpu":
        return NotImplemented  # NumPy does as well
    taken = _take(device, op, group, parameters, states, names)
    if taken is None:
        return NotImplemented
    for starts in (True, False):
        some = [parameter.flat for parameter in taken if parameter.is_new == starts]
        if some:
            numbers = partial(_sgd_numbers, group)
            device.optim.sgd(some, numbers, bool(group["nesterov"]), starts)
    return None


def _sgd_numbers(group: dict[str, Any]) -> list[float]:
    return [group[name] for name in ("lr", "momentum", "weight_decay")]


@host("step", Adam, AdamW)
def adam(device: ComputeDevice, op: Adam, first: Array, group: dict[str, Any], parameters: Any, states: Any) -> Any:
    taken = _take(device, op, group, parameters, states, Adam.arrays)
    if taken is None:
        return NotImplemented
    for step in sorted({parameter.known.get("step", 0) for parameter in taken}):
        some = [parameter for parameter in taken if parameter.known.get("step", 0) == step]
        numbers = partial(_adam_numbers, isinstance(op, AdamW), group, [parameter.known for parameter in some])
        device.optim.adam([parameter.flat for parameter in some], numbers)
    return None


def _adam_numbers(decoupled: bool, group: dict[str, Any], states: list[dict[str, Any]]) -> list[float]:
    """What a step needs to know; it counts the step."""
    for known in states:
        known["step"] = known.get("step", 0) + 1
    step, (beta1, beta2), lr, decay = states[0]["step"], group["betas"], group["lr"], group["weight_decay"]
    return [
        lr / (1 - beta1**step), beta1, 1 - beta1, beta2, 1 - beta2, group["eps"], 0 if decoupled else decay,
        1 - lr * decay if decoupled else 1, math.sqrt(1 - beta2**step),
    ]  # fmt: skip
