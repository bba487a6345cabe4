"""The number of threads that kernels use. How they share the work is in ``kernels/cpu/team.py``."""

from __future__ import annotations

import os

from ..core import checks
from ..errors import ArgumentError

WORTH_A_THREAD = 10_000  # nanoseconds: with less work, it takes longer to start a second thread and wait for it

_setting: int | None = None


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
