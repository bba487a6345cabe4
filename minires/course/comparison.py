"""How a result differs from what it should be: the first wrong number, and the pattern of all of them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, NamedTuple, cast

import numpy as np

from ..gradcheck.diagnosis import (
    Cause,
    Evidence,
    common_places,
    constant_factor,
    flipped_axes,
    flipped_sign,
    misplaced,
    reordered,
    shifted,
)
from ..gradcheck.problem import Problem
from .child import Other

Array = np.ndarray[Any, Any]
RELATIVE, ABSOLUTE = 1e-9, 1e-11  # float64 and sums of some hundred products leave errors a thousand times smaller
# The guesses of gradcheck that hold for any result, a gradient or not.
CAUSES: list[Cause] = [flipped_sign, flipped_axes, reordered, shifted, constant_factor, misplaced]


class Difference(NamedTuple):
    """What is wrong with a result.

    Attributes
    ----------
    sentence : str
        What is seen first: the type, the shape, or the first wrong number with its index.
    pattern : str
        What all wrong numbers have in common, or "".
    """

    sentence: str
    pattern: str = ""


def difference(name: str, got: Any, expected: Any, inputs: dict[str, Any]) -> Difference | None:
    """How a returned value differs from the expected array; None if it does not.

    ``inputs`` are the named arguments of the call, whose sizes explain factors.
    """
    if isinstance(got, Other) or got is None or isinstance(got, (str, tuple, dict)):
        return Difference(f"{name} should be an array, but it is {_described(got)}.")
    got, expected = np.asarray(got), np.asarray(expected, dtype=float)
    if got.shape != expected.shape:
        return Difference(
            f"{name} has the shape {got.shape}, but should have {expected.shape}.", _shape_pattern(got, expected)
        )
    if got.dtype != np.float64:
        return Difference(f"{name} is {got.dtype}, but should be float64, as its inputs are.")
    wrong = np.flatnonzero(
        ~np.isclose(got, expected, RELATIVE, ABSOLUTE * max(1.0, float(np.abs(expected).max(initial=0))))
    )
    if not wrong.size:
        return None
    index = tuple(int(i) for i in np.unravel_index(wrong[0], got.shape))
    where = f"{name}[{', '.join(map(str, index))}]" if index else name
    return Difference(
        f"{where} is {got.flat[wrong[0]]:.6g}, but should be {expected.flat[wrong[0]]:.6g}.",
        _pattern(name, got, expected, wrong.tolist(), inputs),
    )


def same(a: Any, b: Any) -> bool:
    """Whether two results are the same up to rounding; they may be arrays or tuples of them, or whatever."""
    if isinstance(a, tuple) or isinstance(b, tuple):
        return isinstance(a, tuple) and isinstance(b, tuple) and len(a) == len(b) and all(map(same, a, b))
    if not isinstance(a, (np.ndarray, np.generic, float, int)) or not isinstance(
        b, (np.ndarray, np.generic, float, int)
    ):
        return type(a) is type(b) and a == b
    a, b = np.asarray(a), np.asarray(b)
    return bool(a.shape == b.shape and a.dtype == b.dtype and np.allclose(a, b, RELATIVE, ABSOLUTE, equal_nan=True))


def _described(value: Any) -> str:
    if value is None:
        return "None: is there a return?"
    if isinstance(value, tuple):
        return f"a sequence of {len(value)}"
    return str(value) if isinstance(value, Other) else f"a {type(value).__name__}"


def _shape_pattern(got: Array, expected: Array) -> str:
    if sorted(got.shape) == sorted(expected.shape):
        return "The sizes are right, but in another order."
    if got.size == expected.size:
        return "It has as many numbers as it should: a reshape is missing."
    if got.ndim == expected.ndim:
        axes = [axis for axis in range(got.ndim) if got.shape[axis] != expected.shape[axis]]
        return f"It differs in ax{'is' if len(axes) == 1 else 'es'} {', '.join(map(str, axes))}."
    return ""


def _pattern(name: str, got: Array, expected: Array, wrong: list[int], inputs: dict[str, Any]) -> str:
    """How many are wrong, where, and what would have made them right."""
    if not np.isfinite(got).all():
        return f"It holds NaN or infinity at {int((~np.isfinite(got)).sum())} of {got.size} places."
    if not got.any():
        return "It is zero everywhere."
    if got.size > 1 and np.ptp(got) == 0:
        return "It is the same number everywhere."
    count = "all numbers are wrong" if len(wrong) == got.size else f"{len(wrong)} of {got.size} numbers are wrong"
    text = f"{count[0].upper()}{count[1:]}{common_places(got.shape, wrong)}."
    if len(wrong) > 1:
        arrays = {key: value for key, value in inputs.items() if isinstance(value, np.ndarray)}
        evidence = _evidence(name, got, expected, wrong, arrays)
        guess = next((guess for cause in CAUSES if (guess := cause(evidence))), "")
        text += f" {guess}" if guess else ""
    return text


def _evidence(name: str, got: Array, expected: Array, wrong: list[int], arrays: dict[str, Array]) -> Evidence:
    """A wrong result as gradcheck sees wrong gradients: with the right one in the place of what can be measured."""
    stands_in = SimpleNamespace(
        arrays=[expected, *arrays.values()], names=[name, *arrays], checked=[], upstream=expected, output=expected
    )
    return Evidence(cast(Problem, stands_in), 0, got, expected, wrong, eps=0.0)
