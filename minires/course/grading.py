"""Grade a submission: try every property of every question in public tests and in hidden ones."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import Any

from .bank import nearest
from .content import Assignment, Question
from .draw import Draw, seed_of
from .results import Feedback, PropertyResult, QuestionResult, Report, Result
from .sandbox import CallError, Child, Here, Limits, Runner
from .trial import Trial

TRIALS = 2  # number of trials in each test, all with different inputs
SCALES = range(4)  # scales of the examples, smallest first
PATIENCE = 2  # after this many calls that exceed the time limit, no more properties of a question are tried
PUBLIC = "public"  # replaces the secret in public tests


@dataclass
class Grader:
    """Grades submissions to an assignment.

    Parameters
    ----------
    assignment : Assignment
    secret : str, optional
        The seed of the hidden tests. Without a secret, there are only public tests.
    limits : Limits, optional
        Limits of the processes that run the student's functions and the reference's.
    show_output : bool
        Whether what the submission prints appears on stderr.
    """

    assignment: Assignment
    secret: str | None = None
    limits: Limits = field(default_factory=Limits)
    show_output: bool = False
    _known: dict[Any, Any] = field(init=False, default_factory=dict)  # expected values

    def grade(
        self, source: str, submission: str = "", functions: Sequence[str] = (), report: Report = lambda _: None
    ) -> Result:
        """Grade a file.

        Parameters
        ----------
        source : str
            The text of the file.
        submission : str
            The name of the submission.
        functions : sequence of str
            The functions whose questions are graded; by default all.
        report : callable, optional
            Called with the result so far after each test, so that nothing is lost if grading stops.

        Returns
        -------
        Result
        """
        result = Result(submission, self.assignment)
        with closing(Child(self.assignment.read("reference.py"), "reference.py", limits=self.limits)) as reference:
            for question in self.assignment.questions:
                if functions and question.function not in functions:
                    continue
                file, given = self.assignment.file, self.assignment.earlier(question.function)
                with closing(Child(source, file, given, reference, self.limits, self.show_output)) as runner:
                    try:
                        if not result.problem:
                            runner.load()
                    except CallError as error:
                        result.problem = f"{file} {error.text}.{error.line}"
                    self.grade_question(question, runner, result, report)
        result.complete = True
        report(result)
        return result

    def grade_question(
        self, question: Question, runner: Runner, result: Result, report: Report = lambda _: None
    ) -> QuestionResult:
        """Try every property of a function, and add the outcome to a result."""
        found = QuestionResult(question)
        result.questions.append(found)
        trials: list[Trial] = []
        for each in question.properties:
            outcome = PropertyResult(each, False, None if self.secret is None else False)
            if result.problem:
                outcome.feedback = Feedback(result.problem)
            elif sum(trial.ended_by("time") for trial in trials) >= PATIENCE:
                why = f"Not tried, because {question.function} has exceeded the time limit {PATIENCE} times."
                outcome.feedback = Feedback(why)
            else:
                self._try(question, outcome, runner, trials)
            found.properties.append(outcome)
            report(result)
        for outcome in found.properties:  # now that all calls are known, compare them with the bank
            failed = [trial for trial in trials if trial.tested is outcome.tested and trial.mismatch]
            if outcome.feedback and (bug := nearest(self.assignment, question.function, trials, failed)):
                outcome.feedback = replace(outcome.feedback, known=bug.says)
        return found

    def _try(self, question: Question, outcome: PropertyResult, runner: Runner, trials: list[Trial]) -> None:
        """Try a property in public and hidden tests, record the outcome, and add the trials to a list."""
        tested, reference = outcome.tested, Here(self.assignment.reference)

        def first_failing(draws: Iterable[Draw]) -> Trial | None:
            for draw in draws:
                trials.append(Trial(question, tested, draw, runner, reference, self._known))
                if not trials[-1].run():
                    return trials[-1]
            return None

        def test(secret: str) -> Trial | None:
            words = self.assignment.name, question.function, tested.name
            return first_failing(Draw(seed_of(secret, *words, number)) for number in range(TRIALS))

        failing = test(PUBLIC)
        outcome.public = failing is None
        if self.secret is not None and not (failing and failing.ended_by("time")):
            outcome.hidden = test(self.secret) is None
        if failing:
            no_example = failing.ended_by("time", "ended", "missing")
            example = None if no_example else first_failing(Draw(scale=scale) for scale in SCALES)
            outcome.feedback = _feedback(example or failing)


def _feedback(trial: Trial) -> Feedback:
    mismatch = trial.mismatch
    assert mismatch is not None
    if mismatch.error and mismatch.error.text.startswith("raises NotImplementedError"):
        return Feedback(f"{trial.question.function} is not written yet.")
    return Feedback(mismatch.sentence, mismatch.pattern, "" if trial.ended_by("missing") else trial.code())
