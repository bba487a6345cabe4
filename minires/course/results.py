"""The results of grading: as text for students, as JSON, and in the format that Gradescope reads."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from .content import Assignment, Property, Question


@dataclass(frozen=True)
class Feedback:
    """Why a property does not hold.

    Attributes
    ----------
    sentence : str
        What is wrong.
    pattern : str
        What the wrong numbers have in common, and the likely cause, or "".
    code : str
        Python code with a call that shows the mistake, for the student to try, or "".
    known : str
        What the bug in the bank is that gives the same results, or "".
    """

    sentence: str
    pattern: str = ""
    code: str = ""
    known: str = ""

    def lines(self) -> list[str]:
        """Return the lines that a student reads."""
        lines = [f"    {line}" for line in self.code.splitlines()]
        lines += [part for part in (self.sentence, self.pattern) if part]
        return [*lines, f"Your result equals that of {self.known}."] if self.known else lines


@dataclass
class PropertyResult:
    """Whether a function has a property in the public tests, and in the hidden ones if there are any."""

    tested: Property
    public: bool
    hidden: bool | None = None
    feedback: Feedback | None = None

    @property
    def passed(self) -> bool:
        return self.public and self.hidden is not False

    @property
    def score(self) -> int:
        return self.tested.points if self.passed else 0


@dataclass
class QuestionResult:
    """The outcome of a question, property by property."""

    question: Question
    properties: list[PropertyResult] = field(default_factory=list)

    @property
    def score(self) -> int:
        return sum(each.score for each in self.properties)

    @property
    def hidden(self) -> tuple[int, int] | None:
        """The number of hidden tests that passed, and the total number; None if there are no hidden tests."""
        ran = [each.hidden for each in self.properties if each.hidden is not None]
        return (sum(ran), len(ran)) if ran else None

    def common_feedback(self) -> Feedback | None:
        """Return the feedback that all properties share, such as that a function is not written yet, or None."""
        first = self.properties[0].feedback
        alike = all(each.feedback == first for each in self.properties)
        return first if first and not first.code and alike else None


@dataclass
class Result:
    """The outcome of a submission.

    Attributes
    ----------
    submission : str
        The name of the submission's folder.
    assignment : Assignment
    questions : list of QuestionResult
        The results of the questions that are graded so far.
    problem : str
        Why nothing could be graded, or "".
    complete : bool
        Whether grading has finished.
    """

    submission: str
    assignment: Assignment
    questions: list[QuestionResult] = field(default_factory=list)
    problem: str = ""
    complete: bool = False

    @property
    def score(self) -> int:
        return sum(each.score for each in self.questions)

    @property
    def points(self) -> int:
        """The maximum number of points for the questions that are graded so far."""
        return sum(each.question.points for each in self.questions)

    def as_json(self) -> dict[str, Any]:
        """Return the result as JSON data, for the instructor's own programs."""
        return {
            "assignment": self.assignment.name,
            "submission": self.submission,
            "score": self.score,
            "max_score": self.assignment.points,
            "complete": self.complete,
            "problem": self.problem,
            "questions": [_question(each) for each in self.questions],
        }

    def as_gradescope(self) -> dict[str, Any]:
        """Return the content of Gradescope's results.json: one test per question, with the text for the student."""
        tests = [
            {
                "number": str(number),
                "name": f"{each.question.function}: {each.question.title}",
                "score": each.score,
                "max_score": each.question.points,
                "status": "passed" if each.score == each.question.points else "failed",
                "output": "\n".join(question_lines(each)),
                "output_format": "text",
                "visibility": "visible",
            }
            for number, each in enumerate(self.questions, start=1)
        ]
        output = self.problem or ("" if self.complete else "Grading did not finish: ask your instructor.")
        return {"score": self.score, "output": output, "visibility": "visible", "tests": tests}


Report = Callable[[Result], None]  # called with a result that may still be incomplete


def _question(result: QuestionResult) -> dict[str, Any]:
    hidden = result.hidden
    return {
        "function": result.question.function,
        "score": result.score,
        "max_score": result.question.points,
        "hidden": None if hidden is None else {"passed": hidden[0], "of": hidden[1]},
        "properties": [
            {
                "name": each.tested.name,
                "score": each.score,
                "max_score": each.tested.points,
                "public": each.public,
                "hidden": each.hidden,
                "feedback": each.feedback.lines() if each.feedback else [],
            }
            for each in result.properties
        ],
    }


def lines_of(result: Result) -> list[str]:
    """Return the lines that a student reads about a submission."""
    if result.problem:
        return [f"FAIL  {result.problem}", ""]
    lines: list[str] = []
    for each in result.questions:
        lines += [f"{each.question.function}: {each.score} of {each.question.points} points"]
        lines += [*(f"  {line}" for line in question_lines(each)), ""]
    return lines


def question_lines(result: QuestionResult) -> list[str]:
    """Return the lines about a question: each property, why it fails, and how many hidden tests passed."""
    common = result.common_feedback()
    lines = ["FAIL  all properties", *_indented(common.lines())] if common else []
    shown: list[list[str]] = []
    for each in result.properties if common is None else ():
        title = f"{each.tested.name}, {each.score} of {each.tested.points}: {each.tested.says}"
        lines.append(f"{'ok  ' if each.passed else 'FAIL'}  {title}")
        if not each.passed:
            reason = each.feedback.lines() if each.feedback else [HIDDEN_FAILED]
            lines += _indented(["For the reason above."] if reason in shown else reason)
            shown.append(reason)
    if result.hidden:
        lines.append("hidden: {}/{} passed".format(*result.hidden))
    return lines


def _indented(lines: list[str]) -> list[str]:
    return [f"      {line}" for line in lines]


HIDDEN_FAILED = (
    "The public test passes, but the hidden one fails: it tries the same property with other numbers and sizes. "
    "Does the code rely on something that held only by chance?"
)
