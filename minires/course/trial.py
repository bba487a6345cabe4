"""A trial of a property: one draw of its inputs, the calls that are made with them, and the checks of the results.

A check is a function that takes a :class:`Trial`, and raises a MismatchError if the property does not hold. The checks
in this module suit any assignment; an assignment may add its own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from inspect import signature
from typing import TYPE_CHECKING, Any

import numpy as np

from ..gradcheck.diagnosis import Difference, NumPyArray, axis_sizes, difference
from .child import Other
from .draw import Draw
from .sandbox import CallError, Here, Returned, Runner

if TYPE_CHECKING:
    from .content import Property, Question

RELATIVE, ABSOLUTE = 1e-9, 1e-11  # float64 sums of a few hundred products have errors a thousand times smaller


class MismatchError(Exception):
    """Raised when a property does not hold.

    Attributes
    ----------
    sentence : str
        What is wrong.
    pattern : str
        What the wrong numbers have in common, and the likely cause, or "".
    error : CallError or None
        The error of the call, if the function did not return.
    """

    def __init__(self, sentence: str, pattern: str = "", error: CallError | None = None) -> None:
        super().__init__(sentence)
        self.sentence, self.pattern, self.error = sentence, pattern, error


@dataclass
class Call:
    """A call of the function that is graded: its arguments, and the value or the error that came back."""

    arguments: dict[str, Any]
    value: Any = None
    error: CallError | None = None


@dataclass
class Trial:
    """A property with one draw of its inputs.

    Attributes
    ----------
    question, tested
        The question and the property.
    draw : Draw
        The source of the inputs.
    runner : Runner
        Runs the function that is graded.
    reference : Here
        Computes the expected values.
    known : dict
        Expected values from earlier trials, which are reused because all submissions of a class get the same trials.
    inputs : dict
        The arguments of the function, and values that only the check needs, whose names begin with ``_``.
    calls : list of Call
        The calls made so far.
    mismatch : MismatchError or None
        Why the property does not hold, or None.
    """

    question: Question
    tested: Property
    draw: Draw
    runner: Runner
    reference: Here
    known: dict[Any, Any] = field(default_factory=dict)
    inputs: dict[str, Any] = field(init=False)
    calls: list[Call] = field(init=False, default_factory=list)
    mismatch: MismatchError | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        self.inputs = self.question.inputs(self.draw, **self.tested.options)

    @property
    def arguments(self) -> dict[str, Any]:
        """The arguments of the function."""
        return {name: value for name, value in self.inputs.items() if not name.startswith("_")}

    def run(self) -> bool:
        """Try the property. Returns whether it holds."""
        try:
            with np.errstate(all="ignore"):  # the returned numbers may be anything
                self.tested.check(self)
        except MismatchError as mismatch:
            self.mismatch = mismatch
        return self.mismatch is None

    def ended_by(self, *kinds: str) -> bool:
        """Return whether the property failed because a call ended in a CallError of one of these kinds."""
        return bool(self.mismatch and self.mismatch.error and self.mismatch.error.kind in kinds)

    def call(self, **changed: Any) -> Returned:
        """Call the function with the inputs, some of them ``changed``. Raises MismatchError if it does not return."""
        call = Call(self.arguments | changed)
        self.calls.append(call)
        try:
            returned = self.runner.call(self.question.function, call.arguments)
        except CallError as error:
            call.error = error
            raise MismatchError(f"{self.question.function} {error.text}.{error.line}", error=error) from None
        call.value = returned.value
        return returned

    def expected(self) -> Any:
        """Return the reference's result for the inputs."""
        key = (self.question.function, self.tested.name, self.draw.seed, self.draw.scale)
        if key not in self.known:
            self.known[key] = self.reference.call(self.question.function, self.arguments).value
        return self.known[key]

    def code(self) -> str:
        """Return the call as Python code that a student can run."""
        arrays = {name: value for name, value in self.inputs.items() if isinstance(value, np.ndarray)}
        lines = [f"{name.lstrip('_')} = {self.draw.code(value)}" for name, value in arrays.items()]
        words = [name if name in arrays else f"{name}={value!r}" for name, value in self.arguments.items()]
        return "\n".join([*lines, f"{self.question.function}({', '.join(words)})"])


# --- checks

Check = Callable[[Trial], None]


def equals(trial: Trial, output: str | None = None) -> None:
    """Check that the result, or one output of several, equals that of the reference."""
    compare(trial, trial.call().value, output)


def has_shape(trial: Trial) -> None:
    """Check that the result has the same shape as that of the reference."""
    shaped(trial)


def clean(trial: Trial) -> None:
    """Check that the result is right, the arguments are not changed, and a second call returns the same."""
    name, first = trial.question.function, trial.call()
    compare(trial, first.value)
    for argument, value in trial.arguments.items():
        if isinstance(value, np.ndarray) and not same(first.arguments.get(argument), value):
            raise MismatchError(f"{name} changes its argument {argument}.", "Work on a copy of it.")
    if not same(trial.call().value, first.value):
        why = "Something is kept from one call to the next, or drawn at random."
        raise MismatchError(f"{name} returns a different result when it is called again.", why)


def adjoint(trial: Trial, function: str) -> None:
    """Check that <f(x), y> = <x, g(y)> for a linear function f of the reference and the graded function g.

    y is the first argument of g. x, the first argument of f, is the input ``_x``; the other arguments of f are also
    arguments of g.
    """
    other, *shared = signature(getattr(trial.reference.module, function)).parameters
    argument, y = next(iter(trial.inputs.items()))
    x = trial.inputs["_x"]
    got = shaped(trial)
    fx = trial.reference.call(function, {other: x} | {name: trial.inputs[name] for name in shared}).value
    left, right = float(np.sum(fx * y)), float(np.sum(x * got))
    if not np.isclose(left, right, RELATIVE, ABSOLUTE * x.size):
        found = output_difference(trial.question.outputs[0], got, trial.expected(), trial.arguments)
        sentence = (
            f"The sum of {function}({other}) * {argument} is {left:.6g}, but that of {other} * "
            f"{trial.question.function}({argument}) is {right:.6g}: they must be equal for all {other} and {argument}."
        )
        raise MismatchError(sentence, found.sentence if found else "")


def compare(trial: Trial, value: Any, output: str | None = None) -> None:
    """Compare a result, or one output of it, with that of the reference. Raises MismatchError if they differ."""
    got, expected = _outputs(trial, value), _outputs(trial, trial.expected())
    for name, one, right in zip(trial.question.outputs, got, expected, strict=True):
        if output in (None, name) and (found := output_difference(name, one, right, trial.arguments)):
            raise MismatchError(found.sentence, found.pattern)


def shaped(trial: Trial, **changed: Any) -> NumPyArray:
    """Call the function and return its result. Raises MismatchError if that is not an array of the right shape."""
    value = trial.call(**changed).value
    if not isinstance(value, np.ndarray) or value.shape != trial.expected().shape:
        compare(trial, value)
    return np.asarray(value, float)


def output_difference(name: str, got: Any, expected: Any, arguments: dict[str, Any]) -> Difference | None:
    """Describe how an output differs from the expected array. Returns None if it does not differ.

    If the output is off by a factor that is the size of an axis of the output or of one of the ``arguments``, the
    description says so.
    """
    if got is None or isinstance(got, (str, tuple, dict)):
        return Difference(f"{name} should be an array, but it is {_described(got)}.")
    got, expected = np.asarray(got), np.asarray(expected, dtype=float)
    if got.shape == expected.shape and got.dtype != np.float64:
        return Difference(f"{name} is {got.dtype}, but should be float64, like the inputs.")
    arrays = {key: value for key, value in arguments.items() if isinstance(value, np.ndarray)}
    sizes = axis_sizes({key: value.shape for key, value in {name: expected, **arrays}.items()})
    return difference(name, got, expected, sizes, RELATIVE)


def same(a: Any, b: Any) -> bool:
    """Return whether two results are the same up to rounding; they may be arrays, tuples of them, or anything else."""
    if isinstance(a, tuple) or isinstance(b, tuple):
        return isinstance(a, tuple) and isinstance(b, tuple) and len(a) == len(b) and all(map(same, a, b))
    numbers = (np.ndarray, np.generic, float, int)
    if not isinstance(a, numbers) or not isinstance(b, numbers):
        return type(a) is type(b) and bool(a == b)
    a, b = np.asarray(a), np.asarray(b)
    return bool(a.shape == b.shape and a.dtype == b.dtype and np.allclose(a, b, RELATIVE, ABSOLUTE, equal_nan=True))


def _outputs(trial: Trial, value: Any) -> tuple[Any, ...]:
    """Return a result as a tuple of outputs. Raises MismatchError if there are too many or too few."""
    names = trial.question.outputs
    if len(names) == 1:
        return (value,)
    if not isinstance(value, tuple) or len(value) != len(names):
        wanted = f"{', '.join(names[:-1])} and {names[-1]}"
        raise MismatchError(f"{trial.question.function} should return {wanted}, but it returns {_described(value)}.")
    return value


def _described(value: Any) -> str:
    if value is None:
        return "None: is there a return?"
    if isinstance(value, tuple):
        return f"a sequence of length {len(value)}"
    if isinstance(value, np.ndarray):
        return "one array"
    return str(value) if isinstance(value, Other) else f"a {type(value).__name__}"
