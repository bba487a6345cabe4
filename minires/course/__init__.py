"""Assignments: what students get, what checks and grades their work, and what explains their mistakes to them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

__all__ = ["check", "public_tests"]


def check(function: str = "", folder: str = ".") -> bool:
    """Run the public tests of one function, or of all, on the file in a folder, and print what they find.

    For notebooks; ``minires course check`` does the same. The file is read anew and runs in a process of its own.

    Returns
    -------
    bool
        Whether all of them passed.
    """
    from .grading import Grader
    from .results import question_lines
    from .submissions import assignment_of, read_submission

    assignment = assignment_of(folder)
    functions = [assignment.question(function).function] if function else []
    result = Grader(assignment, show_output=True).grade(read_submission(folder, assignment.file), functions=functions)
    for question in result.questions:
        print(f"{question.question.function}: {question.score} of {question.question.points} points")
        print("\n".join(f"  {line}" for line in question_lines(question)))
    return result.score == sum(question.question.points for question in result.questions)


class PublicTest:
    """A property of a function, to be tried on a file by pytest or whoever calls ``run``."""

    def __init__(self, suite: _Suite, function: str, name: str) -> None:
        self.suite, self.function, self.name = suite, function, name

    def __str__(self) -> str:
        return f"{self.function}: {self.name}"

    def run(self) -> None:
        """Raises AssertionError, with the feedback, if the function does not have the property."""
        feedback = self.suite.feedback(self.function)[self.name]
        if feedback:
            raise AssertionError("\n".join(["", *feedback]))


class _Suite:
    """The public tests on a file, each question tried once, when one of its tests is asked for."""

    def __init__(self, name: str, file: str) -> None:
        from .content import assignment

        self.assignment, self.file = assignment(name), Path(file)
        self._found: dict[str, dict[str, list[str]]] = {}

    def __iter__(self) -> Iterator[PublicTest]:
        for question in self.assignment.questions:
            for each in question.properties:
                yield PublicTest(self, question.function, each.name)

    def feedback(self, function: str) -> dict[str, list[str]]:
        """What is wrong with each property; nothing if it holds."""
        from .grading import Grader
        from .submissions import read_submission

        if function not in self._found:
            source = read_submission(self.file.parent, self.file.name)
            (question,) = Grader(self.assignment).grade(source, functions=[function]).questions
            self._found[function] = {
                each.tested.name: [each.tested.says, *each.feedback.lines()] if each.feedback else []
                for each in question.properties
            }
        return self._found[function]


def public_tests(name: str, file: str) -> list[PublicTest]:
    """The public tests of an assignment on a file, for ``pytest.mark.parametrize``."""
    return list(_Suite(name, file))
