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
from ..threads import get_num_threads, share
from .compiler import kernel
from .memory import aligned
from .simd import at, put
from .tile import WIDE, outer_add, rows_of_tile, sizes, start, store

STEPS = 64  # steps of a tile before it reads the same factors again, which take 4 to 12 KB
REPEATS = 40_000  # enough for a few milliseconds, which is much longer than waking a thread takes
BUDGET = 0.15  # seconds for each of the two measurements
LEAST, MOST = 64 << 20, 256 << 20  # bytes of the large array


@kernel
def _multiply_add(shape, x, w, y, repeats):
    """Add ``repeats`` times a sum of outer products to a tile, y. Storing it keeps the loop from being removed."""
    pixels, block = sizes(shape)
    tile = start(shape, y, 0)
    for _ in range(repeats):
        for k in range(STEPS):
            tile = outer_add(shape, tile, x, k * pixels, w, k * block)
    store(y, rows_of_tile(shape), 0, tile)


@kernel
def _scale(x, factor, first, last):
    for i in range(first, last):
        put(x, i, at(x, i) * factor)


def measure(threads: int) -> tuple[float, float]:
    """Return the float32 operations and the bytes per second of ``threads`` threads, at most as many as kernels use."""
    threads = min(threads, get_num_threads())
    return _arithmetic(threads), _memory(threads)


def _arithmetic(threads: int) -> float:
    pixels, block = len(WIDE.pixels), WIDE.block
    factors = [tuple(map(aligned, (STEPS * pixels, STEPS * block, WIDE.size))) for _ in range(threads)]
    for x, w, y in factors:
        x[:], w[:], y[:] = 1, 1, 0

    def work(first: int, last: int) -> None:
        for thread in range(first, last):
            _multiply_add(WIDE, *factors[thread], REPEATS)

    return threads * 2 * REPEATS * STEPS * WIDE.size / _best_time(lambda: share(work, threads))


def _memory(threads: int) -> float:
    x = large_array()

    def work(first: int, last: int) -> None:
        _scale(x, np.float32(-1), x.size * first // threads, x.size * last // threads)

    return 2 * x.nbytes / _best_time(lambda: share(work, threads))


def _best_time(run: Callable[[], None]) -> float:
    """Return the duration in seconds of the fastest of at least three runs, repeated until BUDGET is used up."""
    run()  # the first run may compile
    times: list[float] = []
    while sum(times) < BUDGET or len(times) < 3:
        begin = time.perf_counter()
        run()
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
