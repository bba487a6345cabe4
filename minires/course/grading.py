"""Grading a submission: every property of every question, in public tests and in hidden ones."""

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

TRIALS = 2  # of each test, with different numbers
SCALES = range(4)  # of examples, the smallest first
PATIENCE = 2  # calls of a question that take too long; after that, its other properties are not tried
PUBLIC = "public"  # in the place of the secret

Report = Callable[[Result], None]


class Answers:
    """What a submission gets for its own functions in later questions: the reference's, from a process with limits.

    It is a process because its arguments come from the submission, which may ask for something enormous.
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
        What the numbers of the hidden tests are drawn from; without it there are none.
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
            Whose it is.
        functions : sequence of str
            Which questions; by default all.
        report : callable, optional
            Called with the result after each test, so that nothing of it is lost whatever happens next.

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
        """Try every property of a function, and add what comes of it to a result."""
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
                why = f"Not tried, since {question.function} did not come to its end {PATIENCE} times already."
                outcome.feedback = Feedback(why)
            else:
                failures.append((outcome, self._try(question, outcome, runner, calls, source)))
            found.properties.append(outcome)
            if report:
                report(result)
        for outcome, failed in failures:  # now that all calls are known, of which a bug of the bank must explain each
            if outcome.feedback and (bug := nearest(self.assignment, question.function, calls, failed)):
                outcome.feedback = replace(outcome.feedback, known=bug.says)

    def _problem(self, runner: Child, source: str) -> str:
        """Why the file cannot even be read, or ""."""
        try:
            runner.load()
        except CallError as error:
            return f"{self.assignment.file} {error.text}.{_at_line(error, source)}"
        return ""

    def _try(
        self, question: Question, outcome: PropertyResult, runner: Runner, calls: list[Call], source: str
    ) -> list[Call]:
        """Try a property in public and hidden tests, write down what comes of it, and return the calls that failed."""
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
        """Try a property several times; the first trial that shows that it does not hold, and why."""
        for number in range(TRIALS):
            seed = seed_of(secret, self.assignment.name, question.function, each.name, number)
            trial = Trial(question, each, Draw(seed), runner, self.assignment.reference, self._known)
            if mismatch := _outcome(trial, calls):
                return trial, mismatch
        return None

    def _example(
        self, trial: Trial, mismatch: MismatchError, calls: list[Call]
    ) -> tuple[Trial, MismatchError, list[Call]]:
        """The smallest trial that fails like this one, or else this one, and the calls of both."""
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
    """Where in the student's file, as the end of a message."""
    lines = source.splitlines()
    if error.line is None or not 0 < error.line <= len(lines):
        return ""
    return f" Line {error.line}: {lines[error.line - 1].strip()[:100]}"
