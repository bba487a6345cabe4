"""What an assignment is: questions with properties that a right answer has, and a bank of wrong answers.

An assignment is a package in ``minires/course/assignments`` whose ``ASSIGNMENT`` is made of these classes. The grader
knows nothing but them; whoever adds an assignment adds content, and nothing else.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from ..errors import ArgumentError, listed
from .draw import Draw

if TYPE_CHECKING:
    from .trial import Trial


@dataclass(frozen=True)
class Property:
    """Something that every right answer to a question has, whatever the numbers.

    Attributes
    ----------
    name : str
        One or two words.
    points : int
        For a function that has it, in the public tests and the hidden ones.
    says : str
        The sentence that a student reads: what must hold.
    inputs : callable
        From a :class:`Draw` to the named arguments of a call. A name that begins with ``_`` is for the check alone.
    check : callable
        Tries it: gets a :class:`Trial` and raises its MismatchError. See :mod:`minires.course.checks`.
    """

    name: str
    points: int
    says: str
    inputs: Callable[[Draw], dict[str, Any]]
    check: Callable[[Trial], None]


@dataclass(frozen=True)
class Question:
    """A function to write.

    Attributes
    ----------
    function : str
        Its name, and the question's.
    title : str
        What it does, in a few words.
    properties : sequence of Property
        Their points add up to the question's.
    outputs : sequence of str
        What messages call the results, in their order.
    uses : sequence of str
        The functions of earlier questions which it may call: the reference answers them.
    """

    function: str
    title: str
    properties: Sequence[Property]
    outputs: Sequence[str]
    uses: Sequence[str] = ()

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
        The function that has it.
    old, new : str
        The text in the function's solution, which occurs once, and what the bug makes of it.
    says : str
        What it is, so that "your result equals that of ..." can go on with it.
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
        What the student writes, e.g. ``conv_pool.py``. The package holds it with solutions, between marks.
    package : str
        The package of its content: the solution in ``file``, ``reference.py`` with an independent version of every
        function, ``bugs/`` with the bank of wrong answers, ``walk.py`` with the notebook and ``README.md`` with what
        the student reads first.
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
        from .bank import read_bugs

        functions = [question.function for question in self.questions]
        return [bug for name in functions for bug in read_bugs(name, self.read(f"bugs/{name}.txt"))]

    def read(self, file: str) -> str:
        """The text of one of its files."""
        return (self.folder / file).read_text(encoding="utf-8")

    def question(self, function: str) -> Question:
        """The question of that name. Raises ArgumentError if there is none."""
        for question in self.questions:
            if question.function == function:
                return question
        names = [question.function for question in self.questions]
        raise ArgumentError(f"course: {self.name} has no question '{function}'; choose one of {listed(names, 20)}.")


def assignments() -> dict[str, Assignment]:
    """All assignments by name."""
    from . import assignments as package

    found = {}
    for module in pkgutil.iter_modules(package.__path__):
        content = importlib.import_module(f"{package.__name__}.{module.name}").ASSIGNMENT
        found[content.name] = content
    return dict(sorted(found.items()))


def assignment(name: str) -> Assignment:
    """The assignment of that name, in capitals or not. Raises ArgumentError if there is none."""
    known = assignments()
    if name.upper() not in known:
        raise ArgumentError(f"course: there is no assignment '{name}'; choose one of {listed(list(known))}.")
    return known[name.upper()]
