"""Global switches: recording, engine, anomaly detection, observers. Each thread has its own set."""

from __future__ import annotations

import inspect
import threading
from collections.abc import Callable, Sequence
from functools import partial, wraps
from typing import Any

from ..errors import ArgumentError

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


class Block(threading.local):
    """Sets switches inside a ``with`` block, or in a decorated function, and restores them afterwards.

    A block can be entered again, also inside itself. At each entry, ``switches()`` returns the values.
    """

    def __init__(self, switches: Callable[[], dict[str, Any]]) -> None:
        self._switches = switches
        self._before: list[dict[str, Any]] = []  # a threading.local has one list for each thread

    def __enter__(self) -> None:
        inside = self._switches()
        self._before.append({switch: getattr(state, switch) for switch in inside})
        vars(state).update(inside)

    def __exit__(self, *error: Any) -> None:
        vars(state).update(self._before.pop())

    def __call__(self, function: Callable[..., Any] | None = None) -> Any:
        """Return ``function``, such that each call of it, or each step if it is a generator, runs inside the block.

        Without a function, return the block itself: ``no_grad`` can then be written with and without parentheses.
        """
        if function is None:
            return self
        is_async = inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function)
        if is_async or not callable(function) or isinstance(function, type):
            what = "async functions, because other code runs while they wait" if is_async else repr(function)
            raise ArgumentError(f"no_grad, engine and the like decorate functions, not {what}; use them with `with`.")

        @wraps(function)
        def call(*arguments: Any, **options: Any) -> Any:
            with self:
                return function(*arguments, **options)

        @wraps(function)
        def steps(*arguments: Any, **options: Any) -> Any:
            generator = function(*arguments, **options)
            step = partial(next, generator)
            while True:
                try:
                    with self:
                        value = step()
                except StopIteration as stop:
                    return stop.value
                try:
                    step = partial(generator.send, (yield value))
                except BaseException as error:
                    step = partial(generator.throw, error)

        return steps if inspect.isgeneratorfunction(function) else call


def switched(**switches: Any) -> Block:
    """Set switches inside a ``with`` block, and restore them afterwards."""
    return Block(lambda: switches)


_RECORDING, _NOT_RECORDING = switched(grad_enabled=True), switched(grad_enabled=False)


def no_grad(function: Callable[..., Any] | None = None) -> Any:
    """Switch recording off, inside ``with no_grad():`` or in a function decorated with ``@no_grad()``.

    Examples
    --------
    >>> import minires as mr
    >>> @mr.no_grad()
    ... def twice(x):
    ...     return x * 2
    >>> twice(mr.tensor([1.0], requires_grad=True)).requires_grad
    False
    """
    return _NOT_RECORDING(function)


def enable_grad(function: Callable[..., Any] | None = None) -> Any:
    """Switch recording on again inside ``no_grad()``."""
    return _RECORDING(function)


def is_grad_enabled() -> bool:
    """Whether ops are being recorded."""
    return state.grad_enabled


def observed(observer: Observer) -> Block:
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
    return Block(lambda: {"observers": (*state.observers, observer)})
