"""The exercises of a tutorial, and how answers are compared with the right ones, with messages that explain errors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ...core.tensor import Tensor
from ...errors import CheckError, MiniresError
from ...gradcheck.diagnosis import difference

Judge = Callable[..., None]


class OpenError(Exception):
    """Raised when there is no answer yet."""


class Exercises(dict[str, tuple[Judge, str]]):
    """A dict that maps the number of an exercise to its judge and to the explanation that a right answer gets."""

    def judged(self, number: str, moral: str) -> Callable[[Judge], Judge]:
        """Return a decorator that adds an exercise. The decorated function judges the answer.

        It raises CheckError if the answer is wrong, and OpenError if there is none.
        """

        def add(judge: Judge) -> Judge:
            self[number] = judge, moral
            return judge

        return add

    def predicted(
        self, number: str, moral: str, name: str, right: Any, *mistakes: tuple[Any, str], nearly: float = 0.0
    ) -> None:
        """Add an exercise that asks for numbers.

        ``mistakes`` are likely wrong answers, each with its explanation. A float that is off by less than ``nearly``
        counts as right.
        """

        def judge(answer: Any) -> None:
            if not (nearly and isinstance(answer, float) and abs(answer - right) < nearly):
                compare(name, answer, right, {sentence: wrong for wrong, sentence in mistakes})

        self[number] = judge, moral

    def chosen(self, number: str, moral: str, right: str, *others: tuple[str, str]) -> None:
        """Add an exercise that asks for one of several words. Each of the ``others`` comes with why it is wrong."""

        def judge(answer: Any) -> None:
            if answer != right:
                reasons = dict(others)
                words = ", ".join(sorted([right, *reasons]))
                raise CheckError(reasons.get(answer, f"{answer!r} is not one of the choices: {words}."))

        self[number] = judge, moral


def compare(
    name: str,
    answer: Any,
    expected: Any,
    mistakes: Mapping[str, Any] | None = None,
    sizes: Mapping[str, int] | None = None,
) -> None:
    """Compare an answer with the right one, up to float32 rounding.

    Parameters
    ----------
    name : str
        What the messages call the answer.
    answer : number, array or Tensor
        The reader's answer.
    expected : number or array
        The right answer, computed in a different way from the one that the reader is asked for.
    mistakes : mapping, optional
        Maps the explanation of each likely mistake to the result of making it. The first explanation whose result
        equals the answer becomes the error message.
    sizes : mapping, optional
        Maps descriptions to sizes, such as ``{"the number of rows": 3}``. If the answer is off by a factor of one of
        these sizes, the message says so.

    Raises
    ------
    OpenError
        If there is no answer.
    CheckError
        If the answer is wrong. The message gives the likely reason.
    """
    if answer is None or answer is ...:
        raise OpenError
    try:
        got = np.asarray(answer.numpy() if isinstance(answer, Tensor) else answer, dtype=float)
    except (TypeError, ValueError):
        raise CheckError(f"{name} must be numeric, but is of type {type(answer).__name__}: {answer!r:.60}.") from None
    right = np.asarray(expected, float)
    with np.errstate(all="ignore"):
        found = difference(name, got, right, sizes)
        if found is None:
            return
        for sentence, wrong in (mistakes or {}).items():
            if difference(name, got, np.asarray(wrong, float)) is None:
                raise CheckError(sentence)
    if got.size == right.size == 1:  # do not give the right number away
        hint = found.cause or f"Its magnitude is too {'small' if abs(right.item()) > abs(got.item()) else 'large'}."
        raise CheckError(f"{got.item():.6g} is not {name}. {hint}")
    if found.extent and found.cause:
        raise CheckError(f"{name} is wrong. {found.cause}")
    raise CheckError(f"{found.sentence} {found.pattern}".rstrip())


def call(function: Any, *arguments: Any) -> Any:
    """Call the reader's function and return its result. Raises OpenError if that is None, CheckError if it fails."""
    if not callable(function):
        raise CheckError(f"this exercise asks for a function, but the answer is of type {type(function).__name__}.")
    name = getattr(function, "__name__", "your function")
    try:
        result = function(*arguments)
    except MiniresError as error:
        raise CheckError(f"{name} fails: {error}") from error
    except Exception as error:  # the reader's code may raise anything
        raise CheckError(f"{name} raises {type(error).__name__}: {error}.") from error
    if result is None:
        raise OpenError
    return result
