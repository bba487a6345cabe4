"""The bank of wrong answers: it tests the grader, and it tells students which mistake gives their result."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from functools import lru_cache
from types import CodeType, ModuleType

from ..errors import ArgumentError
from .content import Assignment, Bug
from .sandbox import CallError, Here
from .trial import Call, same


def solution(assignment: Assignment) -> Here:
    """The right answers, as functions in this process."""
    return _runner(compile(assignment.read(assignment.file), assignment.file, "exec"))


def wrong_answer(assignment: Assignment, bug: Bug) -> Here:
    """The solution with a bug, as if it had just been imported. The reference answers calls of earlier questions."""
    runner = _runner(_wrong_code(assignment.file, assignment.read(assignment.file), bug))
    for function in assignment.question(bug.function).uses:
        setattr(runner.module, function, getattr(assignment.reference, function))
    return runner


def wrong_source(source: str, bug: Bug) -> str:
    """The text of the solution with a bug.

    Raises
    ------
    ArgumentError
        If the text that the bug changes does not occur exactly once in its function.
    """
    lines = source.splitlines(keepends=True)
    functions = [node for node in ast.parse(source).body if isinstance(node, ast.FunctionDef)]
    start, end = next((node.lineno - 1, node.end_lineno) for node in functions if node.name == bug.function)
    own = "".join(lines[start:end])
    if own.count(bug.old) != 1:
        raise ArgumentError(
            f"course: what '{bug.name}' changes occurs {own.count(bug.old)} times in {bug.function}, not once."
        )
    return "".join([*lines[:start], own.replace(bug.old, bug.new), *lines[end:]])


def nearest(assignment: Assignment, function: str, calls: Sequence[Call], failed: Sequence[Call]) -> Bug | None:
    """The bug that gives the same results in all ``calls``, or else in those that failed; or None."""
    for history in (calls, failed) if failed else ():
        for bug in assignment.bugs:
            if bug.function == function and _explains(wrong_answer(assignment, bug), function, history):
                return bug
    return None


def _explains(runner: Here, function: str, calls: Sequence[Call]) -> bool:
    for call in calls:
        try:
            value = runner.call(function, call.arguments).value
        except CallError as error:
            if call.error is None or error.text != call.error.text:
                return False
        else:
            if call.error is not None or not same(value, call.value):
                return False
    return True


@lru_cache(maxsize=1024)
def _wrong_code(file: str, source: str, bug: Bug) -> CodeType:
    return compile(wrong_source(source, bug), file, "exec")


def _runner(code: CodeType) -> Here:
    module = ModuleType(code.co_filename.removesuffix(".py"))
    exec(code, module.__dict__)
    return Here(module)
