"""The number of threads that kernels use, and the small thread pool that runs them.

A kernel is a serial loop over a range, and it releases Python's global interpreter lock (GIL) while it runs. So the
range is cut into one slice for each thread::

    share(work, units=128)        work(0, 64)   on the calling thread
                                  work(64, 128) on a thread of the pool

The slices depend only on the number of threads, not on their speed, so results are the same in every run. Several
Python threads may call these functions at the same time; each waits only for its own slices. A forked child process
starts its own pool.

Each thread of the pool has a queue. Pieces of one call may wait for each other (``kernels/cpu/team.py``), so all of
them must run at the same time. This is guaranteed because all queues hold the calls in the same order. If two Python
threads could put their pieces into two queues in different orders, one thread of the pool would run a piece of the
first call and another thread a piece of the second, and both would wait forever for pieces later in the queues.
"""

from __future__ import annotations

import itertools
import math
import os
import threading
from collections.abc import Callable, Sequence
from queue import SimpleQueue
from typing import Any

import numpy as np

from ..core import checks
from ..core.backend import Array
from ..errors import ArgumentError

Work = Callable[[int, int], Any]  # called with the first unit and the unit after the last one

WORTH_A_THREAD = 10_000  # nanoseconds: with less work, it takes longer to start a second thread and wait for it

_setting: int | None = None
_workers: list[SimpleQueue[Any]] = []
_handing_out = threading.Lock()  # held while the pieces of one call are put into the queues


def usable_cores() -> int:
    """Return the number of cores that this process may use, which can be fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def set_num_threads(number: int) -> None:
    """Set the number of threads that the fast engine's kernels use.

    The default is the value of the environment variable ``MINIRES_NUM_THREADS`` or, if it is not set, the number of
    cores that the process may use. The number of threads that NumPy uses for matrix products (in the textbook ops) is a
    setting of its BLAS library; this function does not change it.

    Raises
    ------
    ArgumentError
        If ``number`` is not an integer >= 1.
    """
    global _setting
    _setting = checks.integer("set_num_threads", number, "number", 1)


def get_num_threads() -> int:
    """Return the number of threads that the fast engine's kernels use.

    Raises ArgumentError if ``MINIRES_NUM_THREADS`` is set, but is not an integer >= 1.
    """
    global _setting
    if _setting is None:
        given = os.environ.get("MINIRES_NUM_THREADS", "").strip()
        if given and not (given.isdecimal() and int(given) >= 1):
            raise ArgumentError(f"MINIRES_NUM_THREADS is {given!r}; it must be an integer >= 1.")
        _setting = int(given) if given else usable_cores()
    return _setting


def slices(units: int) -> list[tuple[int, int]]:
    """Cut ``range(units)`` into slices (first, last + 1) of nearly equal length, at most one for each thread."""
    count = max(1, min(units, get_num_threads()))
    ends = [units * i // count for i in range(count + 1)]
    return list(itertools.pairwise(ends))


def share(work: Work, units: int, nanoseconds: float = math.inf) -> None:
    """Call ``work(first, last + 1)`` for each slice of ``range(units)``, each on a different thread, and wait.

    ``nanoseconds`` is a rough estimate of how long the work takes on one core. If waking a thread would take longer,
    the work is done in one slice on the calling thread. An exception in a slice is raised here, after all slices have
    ended.
    """
    if nanoseconds > 10 * WORTH_A_THREAD:
        hand_out(work, slices(units))
    else:
        work(0, units)


def share_sums(
    work: Callable[[Array, int, int], Any], units: int, empty: Callable[[int], Array], nanoseconds: float = math.inf
) -> Array:
    """Call ``work(sums, first, last + 1)`` for each slice of ``range(units)``, like :func:`share`; return all sums.

    Each slice writes its sums to its own row of ``empty(number of slices)``, so that the caller can add them in order.
    """
    pieces = slices(units) if nanoseconds > 10 * WORTH_A_THREAD else [(0, units)]
    sums = empty(len(pieces))

    def several(first: int, last: int) -> None:
        for piece in range(first, last):
            work(sums[piece], *pieces[piece])

    share(several, len(pieces))
    return sums


def hand_out(work: Callable[..., Any], pieces: Sequence[tuple[int, ...]]) -> None:
    """Call ``work(*piece)`` for all pieces at the same time, each on a different thread, and wait.

    Pieces may wait for each other. An exception in a piece is raised here, after all pieces have ended.
    """
    mine, *others = pieces
    if not others:
        work(*mine)
        return
    done: SimpleQueue[BaseException | None] = SimpleQueue()
    with _handing_out:
        for queue, piece in zip(_pool(len(others)), others, strict=True):
            queue.put((work, piece, done))
    errors: list[BaseException | None] = []
    try:
        work(*mine)
    finally:
        errors = [done.get() for _ in others]
    for error in errors:
        if error is not None:
            raise error


def take_turns(work: Callable[[Array, int], Any], units: int, nanoseconds: float = math.inf) -> None:
    """Call ``work(turn, units)`` on each thread, for work whose result does not depend on which thread does what.

    ``turn`` holds a counter, from which the kernels take the next unit (see ``kernels/cpu/team.py``) until all are
    taken. A thread that starts late or is slow computes fewer units.
    """
    turn = np.zeros(1, np.int64)
    share(lambda first, last: work(turn, units), min(units, get_num_threads()), nanoseconds)


def _pool(number: int) -> list[SimpleQueue[Any]]:
    while len(_workers) < number:
        queue: SimpleQueue[Any] = SimpleQueue()
        threading.Thread(target=_serve, args=(queue,), name="minires", daemon=True).start()
        _workers.append(queue)
    return _workers[:number]


def _serve(queue: SimpleQueue[Any]) -> None:
    while True:
        work, piece, done = queue.get()
        error = None
        try:
            work(*piece)
        except BaseException as raised:
            error = raised
        del work  # otherwise the arrays of the last kernel would be kept until the next call
        done.put(error)
        del error, done


def _forget_pool() -> None:
    """Start with an empty pool in a forked child process, because the parent's threads do not exist there."""
    global _handing_out
    _workers.clear()
    _handing_out = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_pool)
