"""The parts of an assignment: questions with properties that a right answer has, and a bank of wrong answers.

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
        The points that are given if the property holds in all tests, public and hidden.
    says : str
        What must hold, as a sentence for the student.
    options : mapping
        Keyword arguments for the question's ``inputs``, so that the inputs are suited to test the property.
    check : callable
        Takes a :class:`minires.course.trial.Trial`, and raises a MismatchError if the property does not hold. By
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
        The name of the function, which is also the name of the question.
    title : str
        What the function does, in a few words.
    inputs : callable
        Takes a :class:`Draw` and the options of a property, and returns a dict of the arguments of a call. Those whose
        names begin with ``_`` are only for the check.
    outputs : sequence of str
        What messages call the values that the function returns, in order.
    properties : sequence of Property
        The properties to test. The points of the question are the sum of theirs.
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
        A few words that identify the bug in tables.
    function : str
        The function that has the bug.
    old, new : str
        A text that occurs once in the function's solution, and the text that replaces it.
    says : str
        What the bug is, worded to complete the sentence "Your result equals that of ...".
    loses : str
        The name of the property that must detect the bug.
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
        The name, such as ``A2``, and the topic.
    file : str
        The file that the student writes, such as ``conv_pool.py``. In the package, it has solutions between marks.
    package : str
        The package that contains the solution in ``file``, an independent version of every function in
        ``reference.py``, the bank of wrong answers in ``bugs/``, the notebook in ``walk.py``, and what the student
        reads first in ``README.md``.
    questions : sequence of Question
        The questions, in the order in which they are solved.
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
        """The folder of the package."""
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
        """Return the text of one of the files in the package."""
        return (self.folder / file).read_text(encoding="utf-8")

    def earlier(self, function: str) -> list[str]:
        """Return the functions of earlier questions, which ``function`` may call. The reference answers these calls."""
        functions = [question.function for question in self.questions]
        return functions[: functions.index(function)]

    def question(self, function: str) -> Question:
        """Return the question of that name. Raises ArgumentError if the name is unknown."""
        questions = {question.function: question for question in self.questions}
        return questions[choice("course", function, f"{self.name} question", questions)]


def read_bugs(function: str, text: str) -> list[Bug]:
    r"""Return the bugs of a function, given the text of their file.

    Each bug has a title, with the property that must detect it in parentheses, a line that says what the bug is, the
    lines of the solution that it changes (``-``), and the lines that replace them (``+``):

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
