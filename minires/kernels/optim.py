"""Optimiser steps. Each parameter, its gradient and its state are read once, and parameter and state written once."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

from ..core.backend import Array
from ..core.state import state
from ..optim.optimizer import SGD, Adam, AdamW, Optimizer, RMSprop
from .device import ComputeDevice, host


def _take(
    device: ComputeDevice, op: Optimizer, group: dict[str, Any], parameters: Any, states: Any, names: tuple[str, ...]
) -> list[tuple[list[Array], dict[str, Any]]] | None:
    """Select the parameters that a kernel can update; the textbook updates the others here.

    Returns, for each selected parameter, a list of flat arrays (its data, its gradient, and the arrays ``names`` of its
    state), and its state. Returns None, without changing anything, if the textbook would have to run inside a CUDA
    graph, because every replay would then use the learning rate of the recording.
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
            taken.append((flat, known, arrays))
    if others and state.capture is not None:
        return None
    for arguments in others:
        op.update(*arguments)
    for _, known, arrays in taken:
        known.update(zip(names, arrays, strict=True))
    return [(flat, known) for flat, known, _ in taken]


@host("step", SGD)
def sgd(device: ComputeDevice, op: SGD, first: Array, group: dict[str, Any], parameters: Any, states: Any) -> Any:
    names = SGD.arrays if group["momentum"] else ()
    if not names and device.name == "cpu":
        return NotImplemented  # NumPy is just as fast
    taken = _take(device, op, group, parameters, states, names)
    if taken is None:
        return NotImplemented
    device.optim.sgd([flat for flat, _ in taken], partial(_sgd_numbers, group), bool(group["nesterov"]))
    return None


def _sgd_numbers(group: dict[str, Any]) -> list[float]:
    return [group[name] for name in ("lr", "momentum", "weight_decay")]


@host("step", Adam, AdamW)
def adam(device: ComputeDevice, op: Adam, first: Array, group: dict[str, Any], parameters: Any, states: Any) -> Any:
    taken = _take(device, op, group, parameters, states, Adam.arrays)
    if taken is None:
        return NotImplemented
    by_step: dict[int, list[tuple[list[Array], dict[str, Any]]]] = {}  # step counts differ if some were frozen
    for flat, known in taken:
        by_step.setdefault(known.get("step", 0), []).append((flat, known))
    for some in by_step.values():
        next_numbers = partial(_adam_numbers, op.decoupled, group, [known for _, known in some])
        device.optim.adam([flat for flat, _ in some], next_numbers)
    return None


def _adam_numbers(decoupled: bool, group: dict[str, Any], states: list[dict[str, Any]]) -> list[float]:
    """Increment the step counters, and return the numbers that the step needs."""
    for known in states:
        known["step"] = known.get("step", 0) + 1
    step, (beta1, beta2), lr, decay = states[0]["step"], group["betas"], group["lr"], group["weight_decay"]
    return [
        lr / (1 - beta1**step), beta1, 1 - beta1, beta2, 1 - beta2, group["eps"], 0 if decoupled else decay,
        1 - lr * decay if decoupled else 1, 1 / math.sqrt(1 - beta2**step),
    ]  # fmt: skip


def rmsprop(
    device: ComputeDevice, op: RMSprop, first: Array, group: dict[str, Any], parameters: Any, states: Any
) -> Any:
    """The host code of RMSprop, for the CPU only."""
    needed = dict(zip(RMSprop.arrays, (True, group["centered"], group["momentum"] > 0), strict=True))
    taken = _take(device, op, group, parameters, states, tuple(name for name in needed if needed[name]))
    if taken is None:
        return NotImplemented
    tensors = []
    for (data, grad, *arrays), _ in taken:
        given = iter(arrays)
        tensors.append([data, grad, *(next(given) if needed[name] else None for name in RMSprop.arrays)])
    alpha = group["alpha"]
    device.optim.rmsprop(
        tensors, [group["lr"], alpha, 1 - alpha, group["eps"], group["weight_decay"], group["momentum"]]
    )
    return None
