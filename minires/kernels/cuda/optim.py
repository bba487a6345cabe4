"""A whole step of an optimiser in one launch for every hundred parameters."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import cupy
import numpy as np

from ...core.backend import Array
from ...core.state import state
from ...optim.optimizer import SGD, Adam, AdamW
from ..images import alike
from .launch import THREADS, launch
from .layout import empty, is_float32, register

TENSORS = 100  # as in optim.cu
BLOCKS = 64  # of a tensor at most
POINTERS = ("parameter", "grad", "first", "second")
ARGUMENT = np.dtype([(name, np.uint64, TENSORS) for name in POINTERS] + [("size", np.int32, TENSORS)])


def _flat(tensors: list[list[Array]]) -> list[list[Array]] | None:
    """The arrays of each parameter as flat views of one order; None if some cannot be."""
    flat = [alike(*arrays) if is_float32(*arrays) else None for arrays in tensors]
    return None if None in flat else flat  # type: ignore[return-value]


def _launch(kernel: str, tensors: list[list[Array]], *arguments: Any) -> None:
    for start in range(0, len(tensors), TENSORS):
        some = tensors[start : start + TENSORS]
        argument = np.zeros(1, ARGUMENT)
        for t, arrays in enumerate(some):
            for name, array in zip(POINTERS, arrays, strict=False):
                argument[name][0, t] = array.data.ptr
            argument["size"][0, t] = arrays[0].size
        blocks = min(BLOCKS, -(-max(arrays[0].size for arrays in some) // THREADS))
        launch("optim", kernel, (blocks, len(some)), THREADS, argument, *arguments)


def _options(count: int, numbers: Callable[[], list[float]]) -> Array:
    """The numbers of a step on the GPU. In a CUDA graph they are asked for and brought before each replay."""
    if state.capture is None:
        return cupy.asarray(np.array(numbers(), np.float32))
    options = empty(count)

    def refresh() -> None:
        # On the graph's stream: the replay before may still be reading the old numbers.
        options.set(np.array(numbers(), np.float32), stream=cupy.cuda.get_current_stream())

    state.capture.before_replay.append(refresh)
    return options


@register(SGD, "step")
def sgd(op: SGD, first: Array, group: dict[str, Any], parameters: list[Any], states: list[dict[str, Any]]) -> Any:
    starting = ["momentum_buffer" not in known for known in states]
    if any(starting) != all(starting):
        return NotImplemented
    arrays = [[p.data, p.grad.data] for p in parameters]
    velocities = []
    if group["momentum"]:  # without, the kernel gets null pointers
        velocities = [
            cupy.empty_like(p.data) if starting[0] else known["momentum_buffer"]
            for p, known in zip(parameters, states, strict=True)
        ]
        arrays = [[*pair, velocity] for pair, velocity in zip(arrays, velocities, strict=True)]
    tensors = _flat(arrays)
    if tensors is None:
        return NotImplemented
    options = _options(3, lambda: [group[name] for name in ("lr", "momentum", "weight_decay")])
    _launch("sgd", tensors, options, bool(group["nesterov"]), starting[0])
    if velocities:
        for known, velocity in zip(states, velocities, strict=True):
            known["momentum_buffer"] = velocity
    return None


@register(Adam, "step")
@register(AdamW, "step")
def adam(op: Adam, first: Array, group: dict[str, Any], parameters: list[Any], states: list[dict[str, Any]]) -> Any:
    steps = {known.get("step", 0) for known in states}
    moments = [
        [known[name] if name in known else cupy.zeros_like(p.data) for name in Adam.arrays]
        for p, known in zip(parameters, states, strict=True)
    ]
    tensors = _flat([[p.data, p.grad.data, *both] for p, both in zip(parameters, moments, strict=True)])
    if tensors is None or len(steps) > 1:
        return NotImplemented
    for known, both in zip(states, moments, strict=True):
        known.update(zip(Adam.arrays, both, strict=True))

    def numbers() -> list[float]:
        for known in states:
            known["step"] = known.get("step", 0) + 1
        step, (beta1, beta2), lr, decay = states[0]["step"], group["betas"], group["lr"], group["weight_decay"]
        decoupled = isinstance(op, AdamW)
        return [
            lr / (1 - beta1**step), beta1, 1 - beta1, beta2, 1 - beta2, group["eps"], 0 if decoupled else decay,
            1 - lr * decay if decoupled else 1, math.sqrt(1 - beta2**step),
        ]  # fmt: skip

    _launch("adam", tensors, _options(9, numbers))
    return None
