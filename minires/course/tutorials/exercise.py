"""What an exercise is, and how an answer is compared with the right one, in sentences that teach."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ...core.tensor import Tensor
from ...errors import CheckError, MiniresError
from ...gradcheck.diagnosis import difference

Judge = Callable[..., None]


class OpenError(Exception):
    """There is no answer yet."""


class Exercises(dict[str, tuple[Judge, str]]):
    """The exercises of a tutorial by their numbers: how an answer is judged, and the moral for those who are right."""

    def judged(self, number: str, moral: str) -> Callable[[Judge], Judge]:
        """Add an exercise by its judge, which raises CheckError for a wrong answer, and OpenError for none."""

        def add(judge: Judge) -> Judge:
            self[number] = judge, moral
            return judge

        return add

    def predicted(
        self, number: str, moral: str, name: str, right: Any, *mistakes: tuple[Any, str], nearly: float = 0.0
    ) -> None:
        """Add an exercise that asks for numbers.

        ``mistakes`` are likely wrong answers, each with its explanation. A float that is off by less than ``nearly`` is
        right.
        """

        def judge(answer: Any) -> None:
            if not (nearly and isinstance(answer, float) and abs(answer - right) < nearly):
                compare(name, answer, right, {sentence: wrong for wrong, sentence in mistakes})

        self[number] = judge, moral

    def chosen(self, number: str, moral: str, right: str, *others: tuple[str, str]) -> None:
        """Add an exercise that asks for one of several words; each of the ``others`` comes with why it is wrong."""

        def judge(answer: Any) -> None:
            if answer != right:
                reasons = dict(others)
                words = ", ".join(sorted([right, *reasons]))
                raise CheckError(reasons.get(answer, f"{answer!r} is not one of the words to choose from: {words}."))

        self[number] = judge, moral


def compare(
    name: str,
    answer: Any,
    expected: Any,
    mistakes: Mapping[str, Any] | None = None,
    sizes: Mapping[str, int] | None = None,
) -> None:
    """Compare an answer with what it should be, up to rounding in float32.

    Parameters
    ----------
    name : str
        What the sentences call it.
    answer : number, array or Tensor
        From the reader.
    expected : number or array
        Computed in another way than the reader is asked to.
    mistakes : mapping, optional
        From a sentence to the result of that mistake. The first that equals the answer is the explanation.
    sizes : mapping, optional
        Sizes that a factor may turn out to be, by the words for them, such as ``{"the number of rows": 3}``.

    Raises
    ------
    OpenError
        If there is no answer.
    CheckError
        If it is not right, with the likely reason.
    """
    if answer is None or answer is ...:
        raise OpenError
    try:
        got = np.asarray(answer.numpy() if isinstance(answer, Tensor) else answer, dtype=float)
    except (TypeError, ValueError):
        raise CheckError(f"{name} must be numbers, but it is {type(answer).__name__}: {answer!r:.60}.") from None
    right = np.asarray(expected, float)
    with np.errstate(all="ignore"):
        found = difference(name, got, right, sizes)
        if found is None:
            return
        for sentence, wrong in (mistakes or {}).items():
            if difference(name, got, np.asarray(wrong, float)) is None:
                raise CheckError(sentence)
    if got.size == right.size == 1:  # the right number stays a secret
        hint = found.cause or f"It is {'larger' if abs(right.item()) > abs(got.item()) else 'smaller'}."
        raise CheckError(f"{name} is {got.item():.6g}: that is not it. {hint}")
    if found.extent and found.cause:
        raise CheckError(f"{name} is wrong. {found.cause}")
    raise CheckError(f"{found.sentence} {found.pattern}".rstrip())


def call(function: Any, *arguments: Any) -> Any:
    """What the reader's function returns. Raises OpenError if that is None, CheckError if it fails."""
    if not callable(function):
        raise CheckError(f"this exercise asks for a function, not {type(function).__name__}.")
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
