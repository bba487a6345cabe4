"""Grading a submission: every property of every question is tried in public tests and in hidden ones."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from .bank import nearest
from .content import Assignment, Property, Question
from .draw import Draw, seed_of
from .results import Feedback, PropertyResult, QuestionResult, Result
from .sandbox import CallError, Child, Limits, Runner
from .trial import Call, MismatchError, Trial

TRIALS = 2  # with different numbers in each test
SCALES = range(4)  # of examples, the smallest first
PATIENCE = 2  # after so many calls that take too long, the other properties of a question are not tried
PUBLIC = "public"  # takes the place of the secret

Report = Callable[[Result], None]


class Answers:
    """The reference's answers to calls of a submission's own functions from earlier questions.

    They come from a process with limits, because the submission chooses the arguments and may ask for a huge result.
    """

    def __init__(self, assignment: Assignment, limits: Limits) -> None:
        self.reference = assignment.reference
        self.child = Child(assignment.read("reference.py"), "reference.py", limits=limits)

    def __call__(self, name: str, arguments: Sequence[Any], keywords: dict[str, Any]) -> Any:
        try:
            bound = inspect.signature(getattr(self.reference, name)).bind(*arguments, **keywords)
        except TypeError as error:
            raise CallError("raised", f"cannot be called like that: {error}") from None
        return self.child.call(name, dict(bound.arguments)).value


class Grader:
    """Grades submissions to an assignment.

    Parameters
    ----------
    assignment : Assignment
    secret : str, optional
        The seed of the hidden tests. Without a secret, there are only public tests.
    limits : Limits, optional
        For the student's process.
    show_output : bool
        Whether what the submission prints appears on stderr.
    """

    def __init__(
        self, assignment: Assignment, secret: str | None = None, limits: Limits | None = None, show_output: bool = False
    ) -> None:
        self.assignment, self.secret, self.limits = assignment, secret, limits or Limits()
        self.show_output = show_output
        self._known: dict[Any, Any] = {}  # expected values

    def grade(
        self, source: str, submission: str = "", functions: Sequence[str] = (), report: Report | None = None
    ) -> Result:
        """Grade a file.

        Parameters
        ----------
        source : str
            Its text.
        submission : str
            The name of the submission.
        functions : sequence of str
            Which questions to grade; by default all.
        report : callable, optional
            Called with the result so far after each test, so that nothing is lost if grading stops.

        Returns
        -------
        Result
        """
        result = Result(submission, self.assignment)
        answers = Answers(self.assignment, self.limits)
        try:
            for question in self.assignment.questions:
                if functions and question.function not in functions:
                    continue
                runner = Child(
                    source, self.assignment.file, question.uses, answers, self.limits, show_output=self.show_output
                )
                try:
                    if not result.problem:
                        result.problem = self._problem(runner, source)
                    self.grade_question(question, runner, result, report, source)
                finally:
                    runner.close()
        finally:
            answers.child.close()
        result.complete = True
        if report:
            report(result)
        return result

    def grade_question(
        self, question: Question, runner: Runner, result: Result, report: Report | None = None, source: str = ""
    ) -> None:
        """Try every property of a function, and add the outcome to a result."""
        found = QuestionResult(question)
        result.questions.append(found)
        calls: list[Call] = []
        failures: list[tuple[PropertyResult, list[Call]]] = []
        for each in question.properties:
            outcome = PropertyResult(each, False, None if self.secret is None else False)
            slow = sum(call.error is not None and call.error.kind == "time" for call in calls)
            if result.problem:
                outcome.feedback = Feedback(result.problem)
            elif slow >= PATIENCE:
                why = f"Not tried, because {question.function} has exceeded the time limit {PATIENCE} times."
                outcome.feedback = Feedback(why)
            else:
                failures.append((outcome, self._try(question, outcome, runner, calls, source)))
            found.properties.append(outcome)
            if report:
                report(result)
        for outcome, failed in failures:  # now all calls are known, and a bug of the bank has to explain each of them
            if outcome.feedback and (bug := nearest(self.assignment, question.function, calls, failed)):
                outcome.feedback = replace(outcome.feedback, known=bug.says)

    def _problem(self, runner: Child, source: str) -> str:
        """Why the file cannot be loaded, or ""."""
        try:
            runner.load()
        except CallError as error:
            return f"{self.assignment.file} {error.text}.{_at_line(error, source)}"
        return ""

    def _try(
        self, question: Question, outcome: PropertyResult, runner: Runner, calls: list[Call], source: str
    ) -> list[Call]:
        """Try a property in public and hidden tests, record the outcome, and return the calls that failed."""
        failure = self._test(question, outcome.tested, runner, PUBLIC, calls)
        outcome.public = failure is None
        if self.secret is not None and not (failure and failure[1].error and failure[1].error.kind == "time"):
            outcome.hidden = self._test(question, outcome.tested, runner, self.secret, calls) is None
        if failure is None:
            return []
        trial, mismatch, failed = self._example(*failure, calls)
        outcome.feedback = _feedback(trial, mismatch, source)
        return failed

    def _test(
        self, question: Question, each: Property, runner: Runner, secret: str, calls: list[Call]
    ) -> tuple[Trial, MismatchError] | None:
        """Try a property several times. Returns the first trial in which it does not hold, and why."""
        for number in range(TRIALS):
            seed = seed_of(secret, self.assignment.name, question.function, each.name, number)
            trial = Trial(question, each, Draw(seed), runner, self.assignment.reference, self._known)
            if mismatch := _outcome(trial, calls):
                return trial, mismatch
        return None

    def _example(
        self, trial: Trial, mismatch: MismatchError, calls: list[Call]
    ) -> tuple[Trial, MismatchError, list[Call]]:
        """The smallest example that fails, or else this trial, and the calls of both."""
        if mismatch.error is None or mismatch.error.kind == "raised":
            for scale in SCALES:
                example = replace(trial, draw=Draw(scale=scale))
                if found := _outcome(example, calls):
                    return example, found, trial.calls + example.calls
        return trial, mismatch, trial.calls


def _feedback(trial: Trial, mismatch: MismatchError, source: str) -> Feedback:
    error = mismatch.error
    sentence, pattern = mismatch.difference.sentence, mismatch.difference.pattern
    if error and error.text.startswith("raises NotImplementedError"):
        return Feedback(f"{trial.question.function} is not written yet.")
    if error and error.kind == "missing":
        return Feedback(sentence)
    return Feedback(sentence + (_at_line(error, source) if error else ""), pattern, trial.code())


def _outcome(trial: Trial, calls: list[Call]) -> MismatchError | None:
    try:
        trial.run()
    except MismatchError as mismatch:
        return mismatch
    finally:
        calls += trial.calls
    return None


def _at_line(error: CallError, source: str) -> str:
    """The line of the student's file, as the end of a message."""
    lines = source.splitlines()
    if error.line is None or not 0 < error.line <= len(lines):
        return ""
    return f" Line {error.line}: {lines[error.line - 1].strip()[:100]}"
