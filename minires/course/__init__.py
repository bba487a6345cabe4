"""Assignments: the files for students, and the code that checks and grades their work and explains mistakes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from .assignments import assignment
from .classroom import check_folder, read_submission
from .content import Property
from .grading import Grader
from .results import Feedback, lines_of

__all__ = ["check", "public_tests"]


def check(function: str = "", folder: str = ".") -> bool:
    """Run the public tests of one function, or of all, on the file in a folder, and print the results.

    This is for notebooks; ``minires course check`` does the same. The file is read again each time, and runs in a
    separate process.

    Returns
    -------
    bool
        Whether all tests passed.
    """
    result = check_folder(folder, function)
    print("\n".join(lines_of(result)))
    return result.score == result.points


@dataclass(frozen=True)
class PublicTest:
    """A property of a function, as a test for pytest. ``graded`` returns the feedback on a function's properties."""

    function: str
    tested: Property
    graded: Callable[[str], dict[str, Feedback | None]]

    def __str__(self) -> str:
        return f"{self.function}: {self.tested.name}"

    def run(self) -> None:
        """Raise AssertionError, with the feedback, if the function does not have the property."""
        if feedback := self.graded(self.function)[self.tested.name]:
            raise AssertionError("\n".join(["", self.tested.says, *feedback.lines()]))


def public_tests(name: str, file: str) -> list[PublicTest]:
    """Return the public tests of an assignment for a file, to be passed to ``pytest.mark.parametrize``."""
    content, path = assignment(name), Path(file)

    @cache
    def graded(function: str) -> dict[str, Feedback | None]:
        (question,) = Grader(content).grade(read_submission(path.parent, path.name), functions=[function]).questions
        return {each.tested.name: each.feedback for each in question.properties}

    return [PublicTest(each.function, tested, graded) for each in content.questions for tested in each.properties]
