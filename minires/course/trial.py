"""A property on trial: one draw of its inputs, the calls that are made with them, and what came of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import numpy as np

from .comparison import Difference
from .content import Property, Question
from .draw import Draw
from .sandbox import CallError, Here, Returned, Runner


class MismatchError(Exception):
    """The property does not hold.

    Attributes
    ----------
    difference : Difference
    error : CallError or None
        If it is because the function returned nothing.
    """

    def __init__(self, difference: Difference, error: CallError | None = None) -> None:
        super().__init__(difference.sentence)
        self.difference, self.error = difference, error


@dataclass
class Call:
    """A call of the function that is graded: its arguments, and what came back: a value, or an error."""

    arguments: dict[str, Any]
    value: Any = None
    error: CallError | None = None


@dataclass
class Trial:
    """A property with one draw of its inputs.

    Attributes
    ----------
    question, tested
        What is tried.
    draw : Draw
        Where the inputs come from.
    runner : Runner
        Where the function is.
    reference : module
        Where expected values come from.
    known : dict
        Expected values that other trials found out already: a class gets the same trials.
    inputs : dict
        The arguments for the function, and what the check alone needs, with a ``_`` before its name.
    calls : list of Call
        What was called.
    """

    question: Question
    tested: Property
    draw: Draw
    runner: Runner
    reference: ModuleType
    known: dict[Any, Any] = field(default_factory=dict)
    inputs: dict[str, Any] = field(init=False)
    calls: list[Call] = field(init=False, default_factory=list)

    def __post_init__(self) -> None:
        self.inputs = self.tested.inputs(self.draw)

    @property
    def arguments(self) -> dict[str, Any]:
        """The arguments of the function."""
        return {name: value for name, value in self.inputs.items() if not name.startswith("_")}

    def run(self) -> None:
        """Try it. Raises MismatchError if the property does not hold."""
        with np.errstate(all="ignore"):  # whatever was returned
            self.tested.check(self)

    def call(self, **changed: Any) -> Returned:
        """Call the function with the inputs. Raises MismatchError if it returns nothing."""
        call = Call(self.arguments | changed)
        self.calls.append(call)
        try:
            returned = self.runner.call(self.question.function, call.arguments)
        except CallError as error:
            call.error = error
            raise MismatchError(Difference(f"{self.question.function} {error.text}."), error) from None
        call.value = returned.value
        return returned

    def expected(self) -> Any:
        """What the reference returns for the inputs."""
        key = (self.question.function, self.tested.name, self.draw.seed, self.draw.scale)
        if key not in self.known:
            self.known[key] = self.other(self.question.function, self.arguments)
        return self.known[key]

    def other(self, function: str, arguments: dict[str, Any]) -> Any:
        """What any function of the reference returns."""
        return Here(self.reference).call(function, arguments).value

    def code(self) -> str:
        """The call as a student can type it."""
        arrays = {name: value for name, value in self.inputs.items() if isinstance(value, np.ndarray)}
        lines = [f"{name.lstrip('_')} = {self.draw.code(value)}" for name, value in arrays.items()]
        words = [name if name in arrays else f"{name}={value!r}" for name, value in self.arguments.items()]
        return "\n".join([*lines, f"{self.question.function}({', '.join(words)})"])
