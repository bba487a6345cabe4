"""Check that an assignment can be handed out, by grading its stub, its solution and all wrong answers.

Only this shows that the grader detects what it should. The result is a kill matrix: it shows which property detects
which bug.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ..errors import listed
from .bank import wrong_answer
from .content import Assignment, Bug, Question
from .grading import Grader
from .release import student_version
from .results import QuestionResult, Result

SECRET = "verify"


@dataclass(frozen=True)
class Kill:
    """The outcome of grading the solution with a bug.

    Attributes
    ----------
    bug : Bug
    result : QuestionResult
        The result of the question that the bug belongs to.
    """

    bug: Bug
    result: QuestionResult

    @property
    def lost(self) -> list[str]:
        """The properties that lost their points."""
        return [each.tested.name for each in self.result.properties if not each.passed]

    @property
    def killed(self) -> bool:
        """Whether the property that should detect the bug does."""
        return self.bug.loses in self.lost

    @property
    def named(self) -> bool:
        """Whether the feedback on that property says what the bug is."""
        feedback = (each.feedback for each in self.result.properties if each.tested.name == self.bug.loses)
        return any(each is not None and each.known == self.bug.says for each in feedback)


@dataclass(frozen=True)
class Verification:
    """The outcome of verifying an assignment.

    Attributes
    ----------
    assignment : Assignment
    stub, solution : Result
        The file that students start from and the right answers, both graded like submissions.
    kills : list of Kill
        One for each wrong answer.
    """

    assignment: Assignment
    stub: Result
    solution: Result
    kills: list[Kill]

    def faults(self) -> list[str]:
        """Return what is wrong with the assignment, one sentence for each fault."""
        faults = []
        if self.stub.score:
            faults.append(f"The stub gets {self.stub.score} points, not 0.")
        if self.solution.score != self.assignment.points:
            faults.append(f"The solution gets {self.solution.score} points, not {self.assignment.points}.")
        for graded in self.stub.questions:
            feedback = graded.common_feedback()
            if feedback is None or "is not written yet" not in feedback.sentence:
                faults.append(
                    f"The feedback on the stub of {graded.question.function} does not say that it is not written yet."
                )
        for kill in self.kills:
            if not kill.killed:
                who = f"only {listed(kill.lost)}" if kill.lost else "no property"
                faults.append(
                    f"{kill.bug.function}, {kill.bug.name}: '{kill.bug.loses}' does not detect it; {who} does."
                )
        for question in self.assignment.questions:
            noticed = {name for kill in self.kills if kill.bug.function == question.function for name in kill.lost}
            idle = [each.name for each in question.properties if each.name not in noticed]
            faults += [f"{question.function}: '{name}' does not detect any wrong answer of the bank." for name in idle]
        return faults


def verify(assignment: Assignment, report: Callable[[str], None] = lambda _: None) -> Verification:
    """Grade the stub and the solution as submissions, and each wrong answer in this process, which is faster.

    ``report`` is called with the name of what is graded next.
    """
    grader = Grader(assignment, SECRET)
    source = assignment.read(assignment.file)
    report("the stub")
    stub = grader.grade(student_version(source), "stub")
    report("the solution")
    solution = grader.grade(source, "solution")
    kills = []
    for bug in assignment.bugs:
        report(f"{bug.function}, {bug.name}")
        kills.append(kill(grader, bug))
    return Verification(assignment, stub, solution, kills)


def kill(grader: Grader, bug: Bug) -> Kill:
    """Grade the solution with a bug on the question that the bug belongs to."""
    content = grader.assignment
    question, runner = content.question(bug.function), wrong_answer(content, bug)
    return Kill(bug, grader.grade_question(question, runner, Result(bug.name, content)))


def page(found: Verification) -> str:
    """Return the kill matrix in Markdown: a table per question, with a row per bug and a column per property."""
    name, kills = found.assignment.name, found.kills
    lines = [
        f"# {name}: which property detects which wrong answer",
        "",
        f"Written by `minires course verify {name} --out FILE`. Of {found.assignment.points} points, the stub gets "
        f"{found.stub.score} and the solution {found.solution.score}.",
        f"Of {len(kills)} wrong answers, {sum(each.killed for each in kills)} are detected by the property that should "
        f"detect them (bold), and the feedback names {sum(each.named for each in kills)}.",
        "",
    ]
    for question in found.assignment.questions:
        own = [kill for kill in kills if kill.bug.function == question.function]
        lines += _table(question, own) if own else []
    return "\n".join(lines).rstrip("\n")


def _table(question: Question, kills: list[Kill]) -> list[str]:
    names = [each.name for each in question.properties]
    lines = [f"## {question.function}", "", f"| wrong answer | {' | '.join(names)} | named |"]
    lines.append(f"|---|{':-:|' * (len(names) + 1)}")
    for each in kills:
        marks = ["**x**" if name == each.bug.loses else "x" if name in each.lost else "" for name in names]
        lines.append(f"| {each.bug.name} | {' | '.join(marks)} | {'yes' if each.named else 'no'} |")
    return [*lines, ""]
