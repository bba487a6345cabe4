"""What users choose by name: models, data sets, optimisers, schedules."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from . import checks

T = TypeVar("T")
Made = TypeVar("Made", bound=Callable[..., Any])


class Registry(dict[str, T]):
    """A dictionary that a decorator adds to, and whose error lists what it holds.

    Parameters
    ----------
    what : str
        What it holds, for the error: "model", "data set".
    entries : mapping of str, optional
        What it holds at first.

    Examples
    --------
    >>> greetings = Registry("greeting")
    >>> @greetings.register("hello")
    ... def hello():
    ...     return "Hello!"
    >>> greetings.choose("greet", "hello")()
    'Hello!'
    >>> greetings.choose("greet", "goodbye")
    Traceback (most recent call last):
    minires.errors.ArgumentError: greet: there is no greeting 'goodbye'; choose one of hello.
    """

    def __init__(self, what: str, entries: Mapping[str, T] | None = None) -> None:
        super().__init__(entries or {})
        self.what = what

    def register(self, name: str) -> Callable[[Made], Made]:
        """A decorator that adds a function or class under ``name``."""

        def add(made: Made) -> Made:
            self[name] = made  # type: ignore[assignment]
            return made

        return add

    def choose(self, where: str, name: Any) -> T:
        """The entry of that name. Raises ArgumentError, which lists all names, if there is none."""
        return self[checks.choice(where, name, self.what, self)]
