"""The bank of wrong answers: it tests the grader, and it tells students which mistake leads to their result."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from functools import lru_cache
from types import CodeType, ModuleType

from ..errors import ArgumentError
from .content import Assignment, Bug
from .sandbox import CallError, Here
from .trial import Call, Trial, same


def wrong_answer(assignment: Assignment, bug: Bug) -> Here:
    """Execute the solution with a bug, and return it. The reference answers calls of functions of earlier questions."""
    module = ModuleType(assignment.name)
    exec(_wrong_code(assignment.file, assignment.read(assignment.file), bug), module.__dict__)
    for function in assignment.earlier(bug.function):
        setattr(module, function, getattr(assignment.reference, function))
    return Here(module)


def wrong_source(source: str, bug: Bug) -> str:
    """Return the text of the solution with a bug.

    Raises
    ------
    ArgumentError
        If the text that the bug changes does not occur exactly once in its function.
    """
    functions = [node for node in ast.parse(source).body if isinstance(node, ast.FunctionDef)]
    (function,) = [node for node in functions if node.name == bug.function]
    own = ast.get_source_segment(source, function) or ""
    if own.count(bug.old) != 1:
        raise ArgumentError(
            f"course: the text that '{bug.name}' changes occurs {own.count(bug.old)} times in {bug.function}, not once."
        )
    return source.replace(own, own.replace(bug.old, bug.new))


def nearest(assignment: Assignment, function: str, trials: Sequence[Trial], failed: Sequence[Trial]) -> Bug | None:
    """Return a bug that gives the same results in all ``trials`` or else in those that ``failed``, or None."""
    for history in (trials, failed) if failed else ():
        calls = [call for trial in history for call in trial.calls]
        for bug in assignment.bugs:
            if bug.function == function and _explains(wrong_answer(assignment, bug), function, calls):
                return bug
    return None


def _explains(runner: Here, function: str, calls: Sequence[Call]) -> bool:
    def alike(call: Call) -> bool:
        try:
            value = runner.call(function, call.arguments).value
        except CallError as error:
            return call.error is not None and error.text == call.error.text
        return call.error is None and same(value, call.value)

    return all(map(alike, calls))


@lru_cache(maxsize=1024)
def _wrong_code(file: str, source: str, bug: Bug) -> CodeType:
    return compile(wrong_source(source, bug), file, "exec")
