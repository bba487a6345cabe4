"""How an answer differs from what it should be, in a sentence that teaches."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ...core.tensor import Tensor
from ...errors import CheckError, sizes
from ...gradcheck.diagnosis import common_places

Array = np.ndarray[Any, Any]
ROUNDING, NEARLY = 1e-5, 1e-2  # relative to the largest number: float32 answers are right, rounded ones are not


class OpenError(Exception):
    """There is no answer yet."""


def compare(
    name: str,
    answer: Any,
    expected: Any,
    mistakes: Mapping[str, Any] | None = None,
    counts: Mapping[str, int] | None = None,
) -> None:
    """Hold an answer to what it should be.

    Parameters
    ----------
    name : str
        What the sentences call it.
    answer : number, array or Tensor
        From the reader.
    expected : number or array
        Computed in another way than the reader is asked to.
    mistakes : mapping, optional
        From a sentence to what that mistake leads to. The first that gives the answer is the explanation.
    counts : mapping, optional
        The sizes that a factor may be, by name, such as ``{"N": 3}``.

    Raises
    ------
    OpenError
        If the answer is None.
    CheckError
        If it is not right, with the likely reason.
    """
    if answer is None or answer is ...:
        raise OpenError
    got, expected = _numbers(name, answer), np.asarray(expected, float)
    if _equal(got, expected):
        return
    for sentence, wrong in (mistakes or {}).items():
        if _equal(got, np.asarray(wrong, float)):
            raise CheckError(sentence)
    if got.shape != expected.shape:
        raise CheckError(_shapes(name, got, expected))
    raise CheckError(_values(name, got, expected, counts or {}))


def _numbers(name: str, answer: Any) -> Array:
    try:
        return np.asarray(answer.numpy() if isinstance(answer, Tensor) else answer, dtype=float)
    except (TypeError, ValueError):
        raise CheckError(f"{name} must be numbers, but it is {type(answer).__name__}: {answer!r:.60}.") from None


def _equal(a: Array, b: Array, tolerance: float = ROUNDING) -> bool:
    if a.shape != b.shape:
        return False
    return bool(np.isfinite(a).all() and np.abs(a - b).max(initial=0) <= tolerance * np.abs(b).max(initial=0))


def _shapes(name: str, got: Array, expected: Array) -> str:
    sentence = f"{name} is {sizes(got.shape)}, but should be {sizes(expected.shape)}."
    if sorted(got.shape) == sorted(expected.shape):
        return f"{sentence} The sizes are right, in another order: a transpose is missing, or one too many."
    if got.size == expected.size:
        return f"{sentence} It has as many numbers as it should: reshape it."
    if got.size in (0, 1):
        return sentence
    missing = [size for size in expected.shape if size not in got.shape]
    return sentence + (f" Which axis has the size {missing[0]}?" if missing else "")


def _values(name: str, got: Array, expected: Array, counts: Mapping[str, int]) -> str:
    """Of the right shape: what all of its numbers, or the wrong ones, have in common."""
    if not np.isfinite(got).all():
        return f"{name} holds NaN or infinity. Is something divided by zero?"
    if not got.any():
        return f"{name} is zero{' everywhere' if got.size > 1 else ''}. Is it filled at all?"
    if _equal(got, -expected):
        return f"{name} has the wrong sign."
    if _equal(got, expected, NEARLY):
        return f"{name} is nearly right, but off by more than rounding. Has a number been rounded, or an epsilon added?"
    if (factor := _factor(got, expected)) is not None:
        return f"{name} is {_in_words(factor, counts)}."
    if got.ndim > 1 and _equal(got, expected.swapaxes(-1, -2)):
        return f"{name} is transposed: its last two axes are swapped."
    wrong = np.flatnonzero(np.abs(got - expected) > ROUNDING * np.abs(expected).max())
    if got.size == 1:
        return f"{name} is {got.item():.6g}: that is not it." + _larger(got.item(), expected.item())
    if _equal(np.sort(got, axis=None), np.sort(expected, axis=None)):
        return f"{name} has the right numbers in the wrong places. Is it reshaped where a transpose is due?"
    where = ", ".join(str(i) for i in np.unravel_index(wrong[0], got.shape))
    extent = "everywhere" if len(wrong) == got.size else f"at {len(wrong)} of {got.size} places"
    return (
        f"{name} is wrong {extent}{common_places(got.shape, wrong.tolist())}; at [{where}] it is "
        f"{got.flat[wrong[0]]:.6g}, and should be {expected.flat[wrong[0]]:.6g}."
    )


def _larger(got: float, expected: float) -> str:
    return " It is larger." if abs(expected) > abs(got) else " It is smaller."


def _factor(got: Array, expected: Array) -> float | None:
    """What the answer is too large by, everywhere alike; a single number proves only round factors."""
    factor = float((got * expected).sum() / (expected**2).sum()) if expected.any() else 0.0
    if not factor or not _equal(got, factor * expected):
        return None
    ratio = max(factor, 1 / factor)
    return factor if got.size > 1 or abs(ratio - round(ratio)) < ROUNDING else None


def _in_words(factor: float, counts: Mapping[str, int]) -> str:
    for name, count in counts.items():
        for power, words in ((1, "too large by the factor {}: is a division by it missing?"),
                             (-1, "too small by the factor {}: a mean where a sum is due?")):  # fmt: skip
            if count > 1 and abs(factor / count**power - 1) < ROUNDING:
                return words.format(f"{name} = {count}").rstrip(".")
    if abs(factor - 2) < ROUNDING:
        return "twice what it should be: something is counted twice"
    if abs(factor - 0.5) < ROUNDING:
        return "half of what it should be: one of two contributions is missing"
    return f"off by the constant factor {factor:.4g}"
