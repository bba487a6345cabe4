"""The switches of a run: recording, engine, anomaly detection, observers. Each thread has its own set."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any

# Called with (op, "forward" or "backward", input arrays) before an op runs. If it returns a function, that is called
# after the op with its result: an array, or the gradient arrays; None if the op raised an error.
Observer = Callable[[Any, str, Sequence[Any]], Callable[[Any], None] | None]


class _State(threading.local):
    grad_enabled = True
    engine = "fast"
    anomaly = False  # whether the contents of saved arrays are compared, too, not only their change counts
    observers: tuple[Observer, ...] = ()
    capture: Any = None  # the CUDA graph that is being recorded; meanwhile, no values can be read


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
    """Compute without recording, in ``with no_grad():`` or as the decorator ``@no_grad()``."""
    return switched("grad_enabled", False)


def enable_grad() -> AbstractContextManager[Any]:
    """Switch recording on again inside a ``no_grad``."""
    return switched("grad_enabled", True)


def is_grad_enabled() -> bool:
    """Whether ops are being recorded."""
    return state.grad_enabled


def observed(observer: Observer) -> AbstractContextManager[Any]:
    """Call ``observer`` around every op inside a ``with`` block, in addition to those already active.

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
