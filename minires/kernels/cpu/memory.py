"""Reused memory for results, and scratch memory for each thread.

Every training step creates the same arrays, and frees them before the next step. If their memory went back to the
operating system, it would have to be mapped and cleared again, page by page, in the next step; when measured, this took
a fifth of ResNet-20's step. So memory is requested in slabs, and results are laid out in them. When the last view of an
array is gone, its stretch of the slab becomes a gap, or makes its neighbours larger. A new array takes the smallest gap
in which it fits, and leaves the rest. If no gap fits, a new slab is requested, and slabs that are one gap from end to
end are given back: at least as much as is requested, or all of them.
"""

from __future__ import annotations

import math
import threading
from bisect import bisect
from collections import deque
from typing import Any

import numpy as np

from ...core.backend import Array

CACHE_LINE = 16  # floats in a cache line
LARGE = 1 << 14  # floats; NumPy allocates smaller arrays just as fast
SLAB = 1 << 23  # floats (32 MiB); larger arrays get a slab of their own

_scratch = threading.local()


class _Block:
    """Lends bytes ``begin`` to ``end`` of a slab to one array. Both are addresses."""

    __slots__ = ("__array_interface__", "begin", "end")

    def __init__(self, begin: int, end: int, shape: tuple[int, ...]) -> None:
        self.begin, self.end = begin, end
        self.__array_interface__ = {"version": 3, "typestr": "=f4", "shape": shape, "data": (begin, False)}

    def __del__(self) -> None:
        if _returned is not None:  # it is None while Python shuts down
            _returned.append((self.begin, self.end))


_slabs: dict[int, Array] = {}  # by address
_gaps: list[tuple[int, int]] = []  # (begin, end), sorted; no two of them touch
_returned: deque[tuple[int, int]] = deque()  # to become gaps: an array may be freed at any time, even during a change
_changing = threading.Lock()  # held while the slabs and gaps change


def empty(shape: tuple[int, ...]) -> Array:
    """Return an uninitialised, contiguous float32 array."""
    floats = math.prod(shape)
    if floats < LARGE:
        return np.empty(shape, np.float32)
    # Somebody may hold the lock for ever: the caller, if the garbage collector or a signal handler interrupted it, or
    # a thread that did not follow into a forked process. So nobody waits for it.
    if not _changing.acquire(blocking=False):
        return aligned(floats).reshape(shape)
    try:
        begin, end = _take_gap(-(-floats // CACHE_LINE) * CACHE_LINE * 4)
    finally:
        _changing.release()
    return np.asarray(_Block(begin, end, shape))


def _take_gap(size: int) -> tuple[int, int]:
    """Return the begin and end of ``size`` bytes, at the begin of the smallest gap that holds them."""
    while _returned:
        _add_gap(*_returned.popleft())
    sizes = [end - begin for begin, end in _gaps]
    smallest = min((gap for gap in sizes if gap >= size), default=None)
    if smallest is None:
        _request_slab(size)
        return _take_gap(size)
    index = sizes.index(smallest)
    begin, end = _gaps[index]
    # Each change of the gaps is one assignment: Ctrl+C before or after it may lose memory, but lends none twice.
    _gaps[index : index + 1] = [(begin + size, end)] if size < smallest else []
    return begin, begin + size


def _add_gap(begin: int, end: int) -> None:
    """Turn a stretch of memory into a gap, together with the gaps that touch it."""
    first = last = bisect(_gaps, (begin, end))
    if first > 0 and _gaps[first - 1][1] == begin:
        first -= 1
        begin = _gaps[first][0]
    if last < len(_gaps) and _gaps[last][0] == end:
        end = _gaps[last][1]
        last += 1
    _gaps[first:last] = [(begin, end)]


def _request_slab(size: int) -> None:
    """Give back slabs that nobody uses, and add a gap of at least ``size`` bytes."""
    size = max(size, SLAB * 4)
    given_back = 0
    for begin, end in list(_gaps):
        if begin in _slabs and end - begin == _slabs[begin].nbytes and given_back < size:
            _gaps.remove((begin, end))
            del _slabs[begin]
            given_back += end - begin
    slab = aligned(size // 4)  # it never touches another one, as aligned() asks for more than it returns
    _slabs[slab.ctypes.data] = slab
    _add_gap(slab.ctypes.data, slab.ctypes.data + size)


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
