"""Compare the threads of minires with Numba's: python benchmarks/prange.py

The same serial kernel (batch norm with ReLU) runs on two threads: (a) called by a team, as in the engine; (b) called
from a function that is compiled with ``parallel=True``, once for each slice of a ``prange``. (b) depends on Numba's
threading layer; only ``workqueue`` is in every wheel. The output also shows the times of both. It ends, for each layer,
with what happens to (b) in a program that has several Python threads, or forks (Numba 0.68)::

    workqueue
      two Python threads call (b): exit status -6, Numba workqueue threading layer is terminating: Concurrent access
      a forked child calls (b): exit status 0
    omp
      two Python threads call (b): exit status 0
      a forked child calls (b): exit status 241, Terminating: fork() called from a process already using GNU OpenMP

Only (a) works both with several Python threads and after a fork.
"""

from __future__ import annotations

import os
import signal
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit, prange

import minires as mr
from minires.kernels.cpu.compiler import kernel
from minires.kernels.cpu.memory import aligned
from minires.kernels.cpu.simd import at, put
from minires.kernels.cpu.team import enter, leave, part_of, run, this_call

ROW, ROWS = 512, 32  # elements in a row, and rows in a block, which a thread takes at a time
LAYERS = ("workqueue", "omp")
SIZES = {"128x32x32x16": (128 * 32 * 32 * 16, ROW), "1x8x8x64": (8 * 8 * 64, 64)}  # elements in total, and in a row
TURNS, SECONDS = 31, 0.03


@kernel  # type: ignore[untyped-decorator]
def _normalise(x, scale, shift, y, first, last):  # type: ignore[no-untyped-def]
    length = len(scale)
    for i in range(first * ROWS * length, min(last * ROWS * length, len(x)), length):
        for j in range(min(length, len(x) - i)):
            v = at(x, i + j) * scale[j] + shift[j]
            put(y, i + j, v if v > 0 else np.float32(0))


@kernel  # type: ignore[untyped-decorator]
def _by_team(x, scale, shift, y, blocks, team, rank):  # type: ignore[no-untyped-def]
    enter(team, rank, this_call())
    first, last = part_of(blocks, team, rank)
    _normalise(x, scale, shift, y, first, last)
    leave(team, rank)


@njit(parallel=True, nogil=True, cache=True)  # type: ignore[untyped-decorator]
def _by_prange(x, scale, shift, y, pieces, blocks):  # type: ignore[no-untyped-def]
    for piece in prange(pieces):
        _normalise(x, scale, shift, y, blocks * piece // pieces, blocks * (piece + 1) // pieces)


def ways(size: int, row: int) -> tuple[Callable[[], None], Callable[[], None]]:
    """Return the functions (a) and (b), after checking that both compute the same result."""
    x, y, scale, shift = aligned(size), aligned(size), aligned(row), aligned(row)
    x[:], scale[:], shift[:] = np.random.default_rng(0).standard_normal(size), 2, 1
    blocks = -(-size // (row * ROWS))

    def by_team() -> None:
        run(2, _by_team, x, scale, shift, y, blocks)

    def by_prange() -> None:
        _by_prange(x, scale, shift, y, 2, blocks)

    for way in (by_team, by_prange):
        y[:] = -1
        way()
        assert np.array_equal(y, np.maximum(2 * x + 1, 0))
    return by_team, by_prange


def time_of(way: Callable[[], None], calls: int) -> float:
    time.sleep(0.01)  # OpenMP's threads spin for a while after their work, on a core that the other function needs
    for _ in range(calls // 2):
        way()  # warm up cores and caches
    begin = time.perf_counter()
    for _ in range(calls):
        way()
    return (time.perf_counter() - begin) / calls


def race() -> None:
    for name, sizes in SIZES.items():
        pair = ways(*sizes)
        calls = [max(1, int(SECONDS / time_of(way, 10))) for way in pair]
        times = [[time_of(way, n) for way, n in zip(pair, calls, strict=True)] for _ in range(TURNS)]
        a, b = (1e6 * statistics.median(column) for column in zip(*times, strict=True))
        ratio = statistics.median(b / a for a, b in times)
        print(f"  {name:14} (a) {a:8.1f} us   (b) {b:8.1f} us   (b) / (a) {ratio:6.2f}")


def start(which: str) -> None:
    """Time the first call in a process, which loads code that an earlier process compiled. Numba is loaded first."""
    mr.ops.relu(mr.tensor(np.ones(4096, np.float32)))
    x, y, row = (np.ones(size, np.float32) for size in (4096, 4096, 64))
    begin = time.perf_counter()
    if which == "a":
        run(2, _by_team, x, row, row, y, 2)
    else:
        _by_prange(x, row, row, y, 2, 2)
    print(1e3 * (time.perf_counter() - begin))


def at_once() -> None:
    """Call (b) from two Python threads."""
    _, by_prange = ways(*SIZES["128x32x32x16"])
    callers = [threading.Thread(target=lambda: [by_prange() for _ in range(200)]) for _ in range(2)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()


def after_fork() -> None:
    """Call (b) in a forked child."""
    _, by_prange = ways(*SIZES["128x32x32x16"])
    pid = os.fork()
    if pid == 0:
        signal.alarm(20)
        by_prange()
        os._exit(0)
    sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))


def child(layer: str, *arguments: str) -> tuple[int, str, str]:
    """Run this script with one of Numba's threading layers; return its exit status, output and error message."""
    done = subprocess.run(
        [sys.executable, __file__, *arguments], capture_output=True, text=True, timeout=100,
        env={**os.environ, "NUMBA_THREADING_LAYER": layer, "NUMBA_NUM_THREADS": "2", "MINIRES_NUM_THREADS": "2"},
    )  # fmt: skip
    complaints = [line for line in done.stderr.splitlines() if ":" in line or "." in line] or ["nothing on stderr"]
    return done.returncode, done.stdout, complaints[0][:66].rstrip()


def main() -> None:
    for layer in LAYERS:
        status, table, complaint = child(layer, "race")
        print(layer if status == 0 else f"{layer}: {complaint}")
        if status != 0:
            continue
        print(table, end="")
        first = {way: min(float(child(layer, "start", way)[1]) for _ in range(3)) for way in "ab"}
        print(f"  first call     (a) {first['a']:8.1f} ms   (b) {first['b']:8.1f} ms")
        for what, name in (("two Python threads call (b)", "at_once"), ("a forked child calls (b)", "after_fork")):
            status, _, complaint = child(layer, name)
            print(f"  {what}: exit status {status}" + (f", {complaint}" if status else ""))


if __name__ == "__main__":
    mr.set_num_threads(2)
    choice: dict[str, Any] = {"race": race, "start": start, "at_once": at_once, "after_fork": after_fork}
    choice[sys.argv[1]](*sys.argv[2:]) if sys.argv[1:] else main()
