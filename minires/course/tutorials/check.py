"""``check``: the exercises by their numbers, and what a reader is told."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from ...errors import ArgumentError, CheckError, MiniresError, listed
from .compare import OpenError

Judge = Callable[..., None]


class Exercise(NamedTuple):
    """How an answer is judged, and what is said about a right one."""

    judge: Judge
    moral: str


_exercises: dict[str, Exercise] = {}


def exercise(number: str, moral: str) -> Callable[[Judge], Judge]:
    """Register how the answer to ``number`` is judged; a decorator.

    The judge raises CheckError for a wrong answer, and OpenError where there is none; ``moral`` is what a right one is
    told.
    """

    def register(judge: Judge) -> Judge:
        _exercises[number] = Exercise(judge, moral)
        return judge

    return register


def numbers() -> list[str]:
    """All exercises there are, such as ``"1.2"``."""
    return sorted(_exercises)


def check(number: str, answer: Any = None, *given: Any) -> None:
    """Say whether the answer to a tutorial's exercise is right, and if not, what is wrong with it.

    Parameters
    ----------
    number : str
        As the tutorial has it: ``"4.2"`` is the second of tutorial 4.
    answer : number, array, Tensor, function, ...
        What the exercise asks for. None, or a function that returns None, is an exercise that is still open: this is
        said, and no error, so that a notebook runs from start to end before anything is solved.
    *given
        What the answer is about, where that comes from a run.

    Raises
    ------
    CheckError
        If it is wrong, or a function that was asked for fails. A notebook shows only its sentence.
    ArgumentError
        If there is no such exercise.

    Examples
    --------
    >>> check("1.2")
    1.2: open. Write your answer between the two marks.
    >>> check("1.2", 6)
    Traceback (most recent call last):
        ...
    minires.errors.CheckError: 1.2: 6 is the slope of x * x alone. The other way from x to y, the + x, adds its 1.
    """
    if number not in _exercises:
        raise ArgumentError(f"check: there is no exercise {number!r}, only {listed(numbers(), 40)}.")
    judge, moral = _exercises[number]
    try:
        judge(answer, *given)
    except OpenError:
        print(f"{number}: open. Write your answer between the two marks.")
    except CheckError as error:
        raise CheckError(f"{number}: {error}") from None
    else:
        print(f"{number}: right. {moral}")


def call(function: Any, *arguments: Any) -> Any:
    """What the reader's function returns. Raises OpenError if that is None, CheckError if it fails."""
    if function is None:
        raise OpenError
    if not callable(function):
        raise CheckError(f"a function is asked for, not {type(function).__name__}.")
    name = getattr(function, "__name__", "your function")
    try:
        result = function(*arguments)
    except MiniresError as error:
        raise CheckError(f"{name} fails: {error}") from error
    except Exception as error:  # whatever went wrong in it
        raise CheckError(f"{name} raises {type(error).__name__}: {error}.") from error
    if result is None:
        raise OpenError
    return result
