"""The exercises of the tutorials: ``check("4.2", answer)`` says whether an answer is right, and if not, what is wrong.

>>> from minires.course.tutorials import check
>>> check("1.2", 7)
1.2: right. Each of the three uses of x contributes: x, x and 1.
"""

from __future__ import annotations

from typing import Any

from ...core.checks import choice
from ...errors import CheckError
from . import block, convolution, degradation, detection, scalars, segmentation, video
from .exercise import OpenError

__all__ = ["check"]

EXERCISES = scalars.EXERCISES | convolution.EXERCISES | degradation.EXERCISES | block.EXERCISES
EXERCISES |= detection.EXERCISES | segmentation.EXERCISES | video.EXERCISES


def check(number: str, answer: Any = None, *given: Any) -> None:
    """Say whether the answer to an exercise of a tutorial is right, and if not, what is wrong with it.

    Parameters
    ----------
    number : str
        The number in the tutorial: ``"4.2"`` is the second exercise of tutorial 4.
    answer : number, array, Tensor, function, ...
        What the exercise asks for. If it is None, or a function that returns None, the exercise is still open. This is
        not an error, so that a notebook runs from start to end before anything is solved.
    *given
        Values that the right answer depends on, such as the results of the reader's training runs.

    Raises
    ------
    CheckError
        If the answer is wrong, or is a function that fails. A notebook shows only the message.
    ArgumentError
        If there is no such exercise.

    Examples
    --------
    >>> check("1.2")
    1.2: open. Write your answer between the two marks.
    >>> check("1.2", 6)
    Traceback (most recent call last):
        ...
    minires.errors.CheckError: 1.2: 6 is the slope of x * x alone. The other path from x to y, the + x, adds 1.
    """
    judge, moral = EXERCISES[choice("check", number, "exercise", sorted(EXERCISES))]
    try:
        if answer is None or answer is ...:
            raise OpenError
        judge(answer, *given)
    except OpenError:
        print(f"{number}: open. Write your answer between the two marks.")
    except CheckError as error:
        raise CheckError(f"{number}: {error}") from None
    else:
        print(f"{number}: right. {moral}")
