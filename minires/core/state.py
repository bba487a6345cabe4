"""Global switches: recording, engine, anomaly detection, observers. Each thread has its own set."""

from __future__ import annotations

import inspect
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
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
    """A context manager that can be entered again, also inside itself, and that can decorate functions."""

    def __init__(self, enter: Callable[[], AbstractContextManager[Any]]) -> None:
        self._enter = enter
        self._entered: list[AbstractContextManager[Any]] = []  # a threading.local has one list for each thread

    def __enter__(self) -> Any:
        entered = self._enter()
        value = entered.__enter__()
        self._entered.append(entered)
        return value

    def __exit__(self, *error: Any) -> bool | None:
        return self._entered.pop().__exit__(*error)

    def __call__(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return ``function``, such that each call of it, or each step if it is a generator, runs inside the block."""
        is_async = inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function)
        if is_async or not callable(function) or isinstance(function, type):
            what = "an async function, during which other code runs" if is_async else repr(function)
            raise ArgumentError(f"no_grad, engine and the like decorate functions, not {what}; use them with `with`.")

        @wraps(function)
        def call(*arguments: Any, **options: Any) -> Any:
            with self._enter():
                return function(*arguments, **options)

        @wraps(function)
        def steps(*arguments: Any, **options: Any) -> Any:
            generator = function(*arguments, **options)
            step = partial(next, generator)
            while True:
                try:
                    with self._enter():
                        value = step()
                except StopIteration as stop:
                    return stop.value
                try:
                    step = partial(generator.send, (yield value))
                except BaseException as error:
                    step = partial(generator.throw, error)

        return steps if inspect.isgeneratorfunction(function) else call


def block(function: Callable[..., Iterator[Any]]) -> Callable[..., Any]:
    """Decorator that makes a function with one ``yield`` a :class:`Block`: what ``contextmanager`` does, and more.

    The function itself can be a decorator, too, without parentheses, if it has no parameters.
    """
    enter = contextmanager(function)
    bare = not inspect.signature(function).parameters

    @wraps(function)
    def create(*arguments: Any, **options: Any) -> Any:
        if bare and arguments:
            return Block(enter)(*arguments, **options)
        return Block(partial(enter, *arguments, **options))

    return create


@block
def switched(switch: str, value: Any) -> Iterator[Any]:
    """Set one switch inside a ``with`` block, and restore it afterwards."""
    previous = getattr(state, switch)
    setattr(state, switch, value)
    try:
        yield value
    finally:
        setattr(state, switch, previous)


@block
def no_grad() -> Iterator[Any]:
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
    with switched("grad_enabled", False):
        yield


@block
def enable_grad() -> Iterator[Any]:
    """Switch recording on again inside ``no_grad()``."""
    with switched("grad_enabled", True):
        yield


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
