"""The checks of properties that hold in any assignment; an assignment may bring its own.

A check is a function of a :class:`Trial` that raises a MismatchError. The functions here make such checks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .child import Other
from .comparison import ABSOLUTE, RELATIVE, Difference, difference, same
from .trial import MismatchError, Trial

Array = np.ndarray[Any, Any]
Check = Callable[[Trial], None]


def outputs_of(trial: Trial, value: Any) -> tuple[Any, ...]:
    """What was returned as a tuple with an element for each output. Raises MismatchError if there are more or fewer."""
    names = trial.question.outputs
    if len(names) == 1:
        return (value,)
    if not isinstance(value, tuple) or len(value) != len(names):
        found = f"{len(value)} values" if isinstance(value, tuple) else "one value"
        found = "None: is there a return?" if value is None else str(value) if isinstance(value, Other) else found
        wanted = f"{', '.join(names[:-1])} and {names[-1]}"
        raise MismatchError(Difference(f"{trial.question.function} should return {wanted}, but it returns {found}."))
    return value


def compare(trial: Trial, value: Any, output: str | None = None) -> None:
    """Compare what was returned, or one output of it, with what the reference returns. Raises MismatchError."""
    names = trial.question.outputs
    expected = trial.expected()
    expected = expected if len(names) > 1 else (expected,)
    for name, got, right in zip(names, outputs_of(trial, value), expected, strict=True):
        if output in (None, name) and (found := difference(name, got, right, trial.arguments)):
            raise MismatchError(found)


def equals(output: str | None = None) -> Check:
    """The result, or one of several, is that of the reference."""

    def check(trial: Trial) -> None:
        compare(trial, trial.call().value, output)

    return check


def shaped(trial: Trial, value: Any) -> Array:
    """What was returned, if it is an array of the reference's shape, whatever its numbers. Raises MismatchError."""
    (value,) = outputs_of(trial, value)
    if not isinstance(value, np.ndarray) or value.shape != trial.expected().shape:
        compare(trial, value)
    return np.asarray(value)


def has_shape() -> Check:
    """The result has the shape of the reference's."""

    def check(trial: Trial) -> None:
        shaped(trial, trial.call().value)

    return check


def clean() -> Check:
    """The result is right, the arguments are as they were, and a second call returns the same."""

    def check(trial: Trial) -> None:
        first = trial.call()
        compare(trial, first.value)
        for name, value in trial.arguments.items():
            if isinstance(value, np.ndarray) and not same(first.arguments.get(name), value):
                raise MismatchError(
                    Difference(f"{trial.question.function} changes its argument {name}.", "Work on a copy of it.")
                )
        if not same(trial.call().value, first.value):
            raise MismatchError(
                Difference(
                    f"{trial.question.function} returns something else when it is called again with the same.",
                    "Something is kept from one call to the next, or drawn at random.",
                )
            )

    return check


def adjoint(function: str, argument: str, other: str, shared: Sequence[str]) -> Check:
    """<f(x), y> = <x, g(y)> for a linear function f of the reference and the one that is graded, g.

    ``argument`` is what g calls y; f calls x ``other``, and it is the input ``_x``. The arguments in ``shared`` are for
    both.
    """

    def check(trial: Trial) -> None:
        y, x = trial.inputs[argument], trial.inputs["_x"]
        got = shaped(trial, trial.call().value)
        fx = trial.other(function, {other: x} | {name: trial.inputs[name] for name in shared})
        left = float(np.sum(fx * y))
        right = float(np.sum(x * got))
        if not np.isclose(left, right, RELATIVE, ABSOLUTE * x.size):
            name = trial.question.function
            found = difference(trial.question.outputs[0], got, trial.expected(), trial.arguments)
            raise MismatchError(
                Difference(
                    f"The sum of {function}({other}) * {argument} is {left:.6g}, but that of {other} * {name}"
                    f"({argument}) is {right:.6g}: they must be the same for every {other} and {argument}.",
                    found.sentence if found else "",
                )
            )

    return check
