"""The marks around solutions, which are those of nbgrader, and the file that a student gets in their place."""

from __future__ import annotations

import re

from ..errors import DataError

BEGIN, END = "### BEGIN SOLUTION", "### END SOLUTION"


def student_version(source: str) -> str:
    r"""A file of functions without what stands between the marks: there, each raises NotImplementedError.

    Raises
    ------
    DataError
        If the marks do not come in pairs, one after the other.

    >>> print(student_version("def f(x):\n    ### BEGIN SOLUTION\n    return 2 * x\n    ### END SOLUTION"))
    def f(x):
        raise NotImplementedError("f is not written yet")
    """
    lines: list[str] = []
    function, inside = "", False
    for number, line in enumerate(source.split("\n"), start=1):
        mark = line.strip()
        if mark in (BEGIN, END):
            if inside == (mark == BEGIN):
                raise DataError(f"course: '{mark}' in line {number} has no counterpart.")
            inside = not inside
            if inside:
                indent = line[: len(line) - len(line.lstrip())]
                lines.append(f'{indent}raise NotImplementedError("{function} is not written yet")')
        elif not inside:
            if found := re.match(r"\s*def (\w+)", line):
                function = found[1]
            lines.append(line)
    if inside:
        raise DataError(f"course: the last '{BEGIN}' has no counterpart.")
    return "\n".join(lines)
