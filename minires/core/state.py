"""Global switches: recording, engine, anomaly detection, observers. Each thread has its own set."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any

# An observer is called with (op, "forward" or "backward", input arrays) before an op runs. If it returns a function,
# this is called after the op with the result: an array, or the gradient arrays; None if the op raised an error.
Observer = Callable[[Any, str, Sequence[Any]], Callable[[Any], None] | None]


class _State(threading.local):
    grad_enabled = True
    engine = "fast"
    anomaly = False  # whether to compare the contents of saved arrays, too, not only their change counts
    observers: tuple[Observer, ...] = ()
    capture: Any = None  # the CUDA graph that is being recorded; during recording, no values can be read


state = _State()


@contextmanager
def switched(switch: str, value: Any) -> Iterator[Any]:
    """Set one switch inside a ``with`` block, and restore it afterwards."""
    previous = getattr(state, switch)
    setattr(state, switch, value)
    try:
        yield value
    finally:
        setattr(state, switch, previous)


def no_grad() -> AbstractContextManager[Any]:
    """Switch recording off, inside ``with no_grad():`` or in a function decorated with ``@no_grad()``."""
    return switched("grad_enabled", False)


def enable_grad() -> AbstractContextManager[Any]:
    """Switch recording on again inside ``no_grad()``."""
    return switched("grad_enabled", True)


def is_grad_enabled() -> bool:
    """Whether ops are being recorded."""
    return state.grad_enabled


def observed(observer: Observer) -> AbstractContextManager[Any]:
    """Call ``observer`` for every op inside a ``with`` block, in addition to the observers already active.

    Examples
    --------
    >>> import minires as mr
    >>> from minires.core.state import observed
    >>> names = []
    >>> with observed(lambda op, phase, arrays: names.append(op.name)):
    ...     y = mr.ops.relu(mr.tensor([1.0]) * 2)
    >>> names
    ['mul', 'relu']
    """
    return switched("observers", (*state.observers, observer))
