"""Assignments: what students get, what checks and grades their work, and what explains their mistakes to them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from .assignments import assignment
from .classroom import assignment_of, read_submission
from .grading import Grader
from .results import question_lines

__all__ = ["check", "public_tests"]


def check(function: str = "", folder: str = ".") -> bool:
    """Run the public tests of one function, or of all, on the file in a folder, and print what they find.

    This is for notebooks; ``minires course check`` does the same. The file is read again each time, and runs in a
    process of its own.

    Returns
    -------
    bool
        Whether all tests passed.
    """
    content = assignment_of(folder)
    functions = [content.question(function).function] if function else []
    result = Grader(content, show_output=True).grade(read_submission(folder, content.file), functions=functions)
    for question in result.questions:
        print(f"{question.question.function}: {question.score} of {question.question.points} points")
        print("\n".join(f"  {line}" for line in question_lines(question)))
    return result.score == sum(question.question.points for question in result.questions)


@dataclass(frozen=True)
class PublicTest:
    """A property of a function as a test for pytest, with what grading that function found, property by property."""

    function: str
    name: str
    outcomes: Callable[[str], dict[str, list[str]]]

    def __str__(self) -> str:
        return f"{self.function}: {self.name}"

    def run(self) -> None:
        """Raise AssertionError, with the feedback, if the function does not have the property."""
        if feedback := self.outcomes(self.function)[self.name]:
            raise AssertionError("\n".join(["", *feedback]))


def public_tests(name: str, file: str) -> list[PublicTest]:
    """The public tests of an assignment on a file, for ``pytest.mark.parametrize``."""
    content, path = assignment(name), Path(file)

    @cache
    def outcomes(function: str) -> dict[str, list[str]]:
        (question,) = Grader(content).grade(read_submission(path.parent, path.name), functions=[function]).questions
        return {
            each.tested.name: [each.tested.says, *each.feedback.lines()] if each.feedback else []
            for each in question.properties
        }

    return [
        PublicTest(each.function, tested.name, outcomes) for each in content.questions for tested in each.properties
    ]
