"""Reused memory for results, and scratch memory for each thread.

Every training step creates the same arrays, and frees them before the next step. If their memory went back to the
operating system, it would have to be mapped and cleared again, page by page, in the next step; when measured, this took
a fifth of ResNet-20's step. So when the last array in a block of memory is freed, the block waits here for the next
array of the same or a somewhat smaller size. If no block fits, new memory is requested from the operating system, and
at least the same amount of waiting memory (or all of it, if there is less) is given back.
"""

from __future__ import annotations

import math
import threading
from typing import Any, NamedTuple

import numpy as np

from ...core.backend import Array

CACHE_LINE = 16  # floats in a cache line
LARGE = 1 << 14  # floats; NumPy allocates smaller arrays just as fast
ROOMY = 4  # a block may be this many times larger than its array, as sizes halve from stage to stage of a network

_scratch = threading.local()


class _Memory(NamedTuple):
    """A row of floats, and its address, which NumPy takes long to look up."""

    floats: Array
    address: int


class _Block:
    """Lends its memory to one array. When the array and all its views are gone, the memory waits for the next array."""

    __slots__ = ("__array_interface__", "memory")

    def __init__(self, memory: _Memory, shape: tuple[int, ...]) -> None:
        self.memory = memory
        self.__array_interface__ = {"version": 3, "typestr": "=f4", "shape": shape, "data": (memory.address, False)}

    def __del__(self) -> None:
        if _waiting is not None:  # it is None while Python shuts down
            _waiting.setdefault(self.memory.floats.size, []).append(self.memory)


_waiting: dict[int, list[_Memory]] = {}  # maps a size in floats to its free memory; the size freed last is at the end


def empty(shape: tuple[int, ...]) -> Array:
    """Return an uninitialised, contiguous float32 array."""
    floats = math.prod(shape)
    if floats < LARGE:
        return np.empty(shape, np.float32)
    memory = _take(floats)
    if memory is None:
        fitting = (size for size in list(_waiting) if floats <= size <= ROOMY * floats)
        memory = _take(min(fitting, default=floats))
    if memory is None:
        _let_go(floats)
        new = aligned(floats)
        memory = _Memory(new, new.ctypes.data)
    return np.asarray(_Block(memory, shape))


def _take(size: int) -> _Memory | None:
    """Return waiting memory of this size, or None. Several threads may call this at the same time."""
    blocks = _waiting.pop(size, [])
    memory = blocks.pop() if blocks else None
    if blocks:
        _waiting.setdefault(size, []).extend(blocks)
    return memory


def _let_go(floats: int) -> None:
    """Give waiting blocks of at least ``floats`` floats in total, or all blocks, back to the operating system."""
    for size in list(_waiting):
        while floats > 0 and _take(size) is not None:
            floats -= size


def scratch(floats: int, purpose: str) -> np.ndarray[Any, Any]:
    """Return at least ``floats`` uninitialised float32 elements that only this thread uses.

    The next call with the same ``purpose`` returns the same memory, unless it asks for more.
    """
    buffers = _scratch.__dict__
    found = buffers.get(purpose)
    if found is None or found.size < floats:
        buffers[purpose] = found = aligned(floats)
    return found


def scratch_rows(rows: int, floats: int, purpose: str) -> np.ndarray[Any, Any]:
    """Return scratch memory (rows, at least ``floats``): a row for each thread, which begins at a cache line."""
    length = -(-floats // CACHE_LINE) * CACHE_LINE
    return scratch(rows * length, purpose)[: rows * length].reshape(rows, length)


def aligned(floats: int) -> np.ndarray[Any, Any]:
    """Return ``floats`` uninitialised float32 elements that begin at a cache line: no vector then spans two lines."""
    memory = np.empty(floats + CACHE_LINE, np.float32)
    begin = -(memory.ctypes.data // 4) % CACHE_LINE
    return memory[begin : begin + floats]
