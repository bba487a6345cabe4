"""What an assignment consists of: questions with properties that a right answer has, and a bank of wrong answers.

An assignment is a package in ``minires/course/assignments`` whose ``ASSIGNMENT`` is made of these classes. The grader
knows nothing else about it, so a new assignment needs no change elsewhere.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import Any

from ..core.checks import choice
from .trial import Check, equals


@dataclass(frozen=True)
class Property:
    """Something that holds for every right answer to a question, whatever the numbers.

    Attributes
    ----------
    name : str
        One or two words.
    points : int
        Given if it holds in the public tests and the hidden ones.
    says : str
        What must hold, as a sentence for the student.
    options : mapping
        For the question's ``inputs``: what the inputs are like that show the property.
    check : callable
        Gets a :class:`minires.course.trial.Trial`, and raises a MismatchError if the property does not hold. By
        default, it compares all outputs with the reference's.
    """

    name: str
    points: int
    says: str
    options: Mapping[str, Any] = field(default_factory=dict)
    check: Check = equals


@dataclass(frozen=True)
class Question:
    """A function to write.

    Attributes
    ----------
    function : str
        Its name, which is also the question's.
    title : str
        What it does, in a few words.
    inputs : callable
        From a :class:`Draw`, and the options of a property, to the named arguments of a call. Only the check sees those
        that begin with ``_``.
    outputs : sequence of str
        What messages call the results, in their order.
    properties : sequence of Property
        The points of the question are the sum of theirs.
    """

    function: str
    title: str
    inputs: Callable[..., dict[str, Any]]
    outputs: Sequence[str]
    properties: Sequence[Property]

    @property
    def points(self) -> int:
        return sum(each.points for each in self.properties)


@dataclass(frozen=True)
class Bug:
    """A wrong answer, as a small change to the solution.

    Attributes
    ----------
    name : str
        A few words for tables.
    function : str
        The function that has the bug.
    old, new : str
        The text in the function's solution, which occurs once, and what the bug makes of it.
    says : str
        What it is, to complete the sentence "Your result equals that of ...".
    loses : str
        The property that is meant to notice it.
    """

    name: str
    function: str
    old: str
    new: str
    says: str
    loses: str


@dataclass(frozen=True)
class Assignment:
    """Everything about an assignment.

    Attributes
    ----------
    name, title : str
        E.g. ``A2``, and what it is about.
    file : str
        What the student writes, e.g. ``conv_pool.py``. The package has it with solutions between marks.
    package : str
        Where its content is: the solution in ``file``, an independent version of every function in ``reference.py``,
        the bank of wrong answers in ``bugs/``, the notebook in ``walk.py``, and what the student reads first in
        ``README.md``.
    questions : sequence of Question
        In the order in which they are solved.
    """

    name: str
    title: str
    file: str
    package: str
    questions: Sequence[Question]

    @property
    def points(self) -> int:
        return sum(question.points for question in self.questions)

    @cached_property
    def folder(self) -> Path:
        """Where its files are."""
        return Path(str(importlib.import_module(self.package).__file__)).parent

    @cached_property
    def reference(self) -> ModuleType:
        """The independent version of every function, from which expected values come."""
        return importlib.import_module(f"{self.package}.reference")

    @cached_property
    def bugs(self) -> list[Bug]:
        """The bank of wrong answers, question by question."""
        functions = [question.function for question in self.questions]
        return [bug for name in functions for bug in read_bugs(name, self.read(f"bugs/{name}.txt"))]

    def read(self, file: str) -> str:
        """The text of one of its files."""
        return (self.folder / file).read_text(encoding="utf-8")

    def earlier(self, function: str) -> list[str]:
        """The functions of the questions before that one, which it may call. The reference answers these calls."""
        functions = [question.function for question in self.questions]
        return functions[: functions.index(function)]

    def question(self, function: str) -> Question:
        """The question of that name. Raises ArgumentError if there is none."""
        questions = {question.function: question for question in self.questions}
        return questions[choice("course", function, f"{self.name} question", questions)]


def read_bugs(function: str, text: str) -> list[Bug]:
    r"""The bugs of a function from the text of their file.

    Each has a title, with the property that notices it in parentheses, a line that says what it is, the lines of the
    solution that it changes, and what becomes of them:

    >>> text = "== no sum (overlap)\na col2im that overwrites overlaps\n- += back\n+ = back\n"
    >>> read_bugs("col2im", text)[0].new
    '= back'
    """
    bugs = []
    for entry in re.split(r"^== ", text, flags=re.MULTILINE)[1:]:
        title, says, *lines = entry.strip("\n").split("\n")
        name, loses = title.removesuffix(")").rsplit(" (", 1)
        old, new = ("\n".join(line[2:] for line in lines if line[0] == sign) for sign in "-+")
        bugs.append(Bug(name, function, old, new, says, loses))
    return bugs
