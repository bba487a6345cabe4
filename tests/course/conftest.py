"""A tiny assignment, and fixtures that grade submissions to it quickly."""

import pytest
from toy_course import ASSIGNMENT

from minires.course import assignments
from minires.course.grading import Grader
from minires.course.sandbox import Limits

SOLUTION = ASSIGNMENT.read("toy.py")


@pytest.fixture
def toy():
    return ASSIGNMENT


@pytest.fixture
def solution():
    return SOLUTION


@pytest.fixture
def grade(toy):
    """Grade the text of a submission, with hidden tests and a short time limit."""
    grader = Grader(toy, "secret", Limits(seconds=3, memory=1 << 30))
    return lambda source, **options: grader.grade(source, "somebody", **options)


@pytest.fixture
def installed(toy, monkeypatch):
    """Make the toy the only assignment."""
    monkeypatch.setattr(assignments, "assignments", lambda: {toy.name: toy})
    monkeypatch.setattr("minires.course.classroom.assignments", lambda: {toy.name: toy})
    monkeypatch.setattr("minires.cli.course.assignments", lambda: {toy.name: toy})
    return toy
