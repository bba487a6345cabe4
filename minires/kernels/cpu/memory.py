"""Memory for results, used again and again, and scratch memory of each thread.

A training step makes the same arrays each time, and between steps they are all gone. Given back to the system, their
memory has to be mapped and cleared again page by page at the next step, which was a fifth of ResNet-20's step when it
was measured. So when the last array in a block of memory has gone, the block waits here for the next array of its size
or not much less. The system is only asked for memory when no block fits, and as many waiting bytes are given back then.
"""

from __future__ import annotations

import math
import threading
from typing import Any

import numpy as np

from ...core.backend import Array

CACHE_LINE = 16  # floats
LARGE = 1 << 14  # floats; NumPy allocates smaller arrays as fast
ROOMY = 4  # how many times larger than its array a block may be: between layers of a network, sizes halve
_waiting: dict[int, list[Array]] = {}  # floats -> free blocks, the size used last at the end

_scratch = threading.local()


class _Block:
    """Lends its memory to one array; when the array and all its views are gone, the memory waits for the next."""

    __slots__ = ("__array_interface__", "memory")

    def __init__(self, memory: Array) -> None:
        self.memory = memory
        self.__array_interface__ = memory.__array_interface__

    def __del__(self) -> None:
        if _waiting is not None:  # Python is not about to end
            _waiting.setdefault(self.memory.size, []).append(self.memory)


def empty(shape: tuple[int, ...]) -> Array:
    """A contiguous float32 array that is not filled."""
    floats = math.prod(shape)
    if floats < LARGE:
        return np.empty(shape, np.float32)
    fitting = (size for size in list(_waiting) if floats <= size <= ROOMY * floats)
    memory = _take(min(fitting, default=floats))
    if memory is None:
        _let_go(floats)
        memory = aligned(floats)
    return np.asarray(_Block(memory))[:floats].reshape(shape)


def _take(size: int) -> Array | None:
    """A waiting block of this size, or None. Several threads may ask at once."""
    blocks = _waiting.pop(size, [])
    memory = blocks.pop() if blocks else None
    if blocks:
        _waiting.setdefault(size, []).extend(blocks)
    return memory


def _let_go(floats: int) -> None:
    """Return ``floats`` numbers of waiting memory, or all there is, to the system."""
    for size in list(_waiting):
        while floats > 0 and _take(size) is not None:
            floats -= size


def scratch(floats: int, purpose: str = "") -> np.ndarray[Any, Any]:
    """At least ``floats`` float32 numbers of this thread's own memory, not filled.

    The next call with the same ``purpose`` returns the same memory.
    """
    buffers = _scratch.__dict__
    found = buffers.get(purpose)
    if found is None or found.size < floats:
        buffers[purpose] = found = aligned(floats)
    return found


def aligned(floats: int) -> np.ndarray[Any, Any]:
    """``floats`` float32 numbers that begin at a cache line, so that no vector lies across two lines."""
    memory = np.empty(floats + CACHE_LINE, np.float32)
    begin = -(memory.ctypes.data // 4) % CACHE_LINE
    return memory[begin : begin + floats]
