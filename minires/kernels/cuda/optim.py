"""Optimiser steps on the GPU, with one launch for up to 100 parameters."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cupy
import numpy as np

from ...core.backend import Array
from ...core.state import state
from .launch import THREADS, launch

TENSORS = 100  # the largest number of tensors in a launch; the same as in optim.cu
BLOCKS = 64  # the largest number of blocks for a tensor
POINTERS = ("parameter", "grad", "first", "second")
ARGUMENT = np.dtype([(name, np.uint64, TENSORS) for name in POINTERS] + [("size", np.int32, TENSORS)])

Numbers = Callable[[], list[float]]  # returns the numbers that a step needs, such as the learning rate


def sgd(tensors: list[list[Array]], numbers: Numbers, nesterov: bool) -> None:
    """Update parameters by SGD. Velocities are zero before the first step; without momentum, they do not exist."""
    _launch("sgd", tensors, _options(numbers, 3), nesterov)


def adam(tensors: list[list[Array]], numbers: Numbers) -> None:
    _launch("adam", tensors, _options(numbers, 9))


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


def _options(numbers: Numbers, count: int) -> Array:
    """Copy the numbers to the GPU. In a CUDA graph, they are computed and copied again before each replay."""
    if state.capture is None:
        return cupy.asarray(np.array(numbers(), np.float32))
    options = cupy.empty(count, np.float32)

    def refresh() -> None:
        # Copy on the graph's stream, because the previous replay may still be reading the old numbers.
        options.set(np.array(numbers(), np.float32), stream=cupy.cuda.get_current_stream())

    state.capture.before_replay.append(refresh)
    return options
