"""The switches of a run: recording, engine, anomaly search, profile. Each thread has its own set."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from .profiling import Profile


class _State(threading.local):
    grad_enabled = True
    engine = "fast"
    anomaly = False
    profile: Profile | None = None
    watcher: Callable[..., None] | None = None  # called with (op, input arrays, output array) after each forward
    capture: Any = None  # the CUDA graph that records what is launched now; nothing can be read back meanwhile


state = _State()


@contextmanager
def switched(switch: str, value: Any) -> Iterator[Any]:
    """Set one switch for the duration of a ``with``, and put it back whatever happens inside."""
    previous = getattr(state, switch)
    setattr(state, switch, value)
    try:
        yield value
    finally:
        setattr(state, switch, previous)


def no_grad() -> AbstractContextManager[Any]:
    """Compute without recording, in ``with no_grad():`` or as the decorator ``@no_grad()``."""
    return switched("grad_enabled", False)


def enable_grad() -> AbstractContextManager[Any]:
    """Record again, inside of a ``no_grad``."""
    return switched("grad_enabled", True)


def is_grad_enabled() -> bool:
    """Whether ops are being recorded."""
    return state.grad_enabled


def profile() -> AbstractContextManager[Profile]:
    """``with profile() as p:`` counts calls, time, operations and bytes of each op; ``print(p)`` shows the table.

    It also says what share of this machine's peak an op reached, of arithmetic or of memory, whichever limit is nearer.
    An op of your own is listed without GFLOP/s, unless you count for it (``minires.core.profiling.multiply_adds_of``).

    Examples
    --------
    >>> import minires as mr
    >>> with mr.profile() as p:
    ...     y = mr.tensor([1.0, 2.0]) * 3
    >>> p.rows["mul", "forward"].calls
    1
    """
    return switched("profile", Profile())
