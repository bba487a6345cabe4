"""The peak performance of this CPU, measured with loops like those of the kernels.

There are two simple loops; the fastest of several runs counts. The arithmetic loop keeps a tile of sums in registers,
as every convolution does, and its factors never leave the fastest cache. The memory loop multiplies an array several
times larger than the largest cache by a number in place, so that each byte is read once and written once, and nothing
else moves. (Writing to a second array would cause uncounted traffic: a CPU reads a line of memory before it changes
part of it.)
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from ...core.backend import Array
from ..threads import get_num_threads
from .compiler import kernel
from .simd import at, put
from .team import enter, leave, part_of, run, this_call
from .tile import WIDE, outer_add, rows_of_tile, sizes, start, store

STEPS = 64  # steps of a tile before it reads the same factors again, which take 4 to 12 KB
REPEATS = 40_000  # enough for a few milliseconds, which is much longer than waking a thread takes
BUDGET = 0.15  # seconds for each of the two measurements
LEAST, MOST = 64 << 20, 256 << 20  # bytes of the large array


@kernel
def _multiply_add(shape, xs, ws, ys, repeats, team, rank):
    """Add ``repeats`` times a sum of outer products to a tile, y. Storing it keeps the loop from being removed."""
    enter(team, rank, this_call())
    x, w, y = xs[rank], ws[rank], ys[rank]
    pixels, block = sizes(shape)
    tile = start(shape, y, 0)
    for _ in range(repeats):
        for k in range(STEPS):
            tile = outer_add(shape, tile, x, k * pixels, w, k * block)
    store(y, rows_of_tile(shape), 0, tile)
    leave(team, rank)


@kernel
def _scale(x, factor, team, rank):
    enter(team, rank, this_call())
    for i in range(*part_of(len(x), team, rank)):
        put(x, i, at(x, i) * factor)
    leave(team, rank)


def measure(threads: int) -> tuple[float, float]:
    """Return the float32 operations and the bytes per second of ``threads`` threads, at most as many as kernels use."""
    threads = min(threads, get_num_threads())
    return _arithmetic(threads), _memory(threads)


def _arithmetic(threads: int) -> float:
    pixels, block = len(WIDE.pixels), WIDE.block
    factors = [np.empty((threads, size), np.float32) for size in (STEPS * pixels, STEPS * block, WIDE.size)]
    for row, number in zip(factors, (1, 1, 0), strict=True):
        row[:] = number
    seconds = _best_time(lambda: run(threads, _multiply_add, WIDE, *factors, REPEATS))
    return threads * 2 * REPEATS * STEPS * WIDE.size / seconds


def _memory(threads: int) -> float:
    x = large_array()
    return 2 * x.nbytes / _best_time(lambda: run(threads, _scale, x, np.float32(-1)))


def _best_time(work: Callable[[], None]) -> float:
    """Return the duration in seconds of the fastest of at least three runs, repeated until BUDGET is used up."""
    work()  # the first run may compile
    times: list[float] = []
    while sum(times) < BUDGET or len(times) < 3:
        begin = time.perf_counter()
        work()
        times.append(time.perf_counter() - begin)
    return min(times)


def large_array() -> Array:
    """Return an array several times larger than the largest cache, if the system reports the size of its caches."""
    sizes = [_bytes(path) for path in Path("/sys/devices/system/cpu/cpu0/cache").glob("index*/size")]
    return np.ones(min(MOST, max(LEAST, 4 * max(sizes, default=0))) // 4, np.float32)


def _bytes(path: Path) -> int:
    """Read a number of bytes from a file like ``.../cache/index3/size``, which contains e.g. ``32768K``."""
    text = path.read_text().strip()
    return int(text.rstrip("KMG") or 0) * {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}.get(text[-1:], 1)
