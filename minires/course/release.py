"""The folders for students and for instructors, created from the files of an assignment."""

from __future__ import annotations

import io
import json
import re
import secrets
import zipfile
from itertools import cycle
from pathlib import Path
from typing import Any

from ..errors import DataError
from ..interop.files import PathLike
from ..version import __version__
from .content import Assignment

BEGIN, END = "### BEGIN SOLUTION", "### END SOLUTION"  # nbgrader's marks
SECRET, ZIP = "secret.txt", "gradescope.zip"

HANDOUT = Path(__file__).parent / "handout"  # text templates with placeholders for the words of an assignment


def student_version(source: str) -> str:
    r"""Replace each solution, which is between marks, with a line that raises NotImplementedError.

    Raises
    ------
    DataError
        If the marks do not come in pairs.

    >>> print(student_version("def f(x):\n    ### BEGIN SOLUTION\n    return 2 * x\n    ### END SOLUTION"))
    def f(x):
        raise NotImplementedError("f is not written yet")
    """
    lines = source.split("\n")
    marks = [number for number, line in enumerate(lines) if line.strip() in (BEGIN, END)]
    for number, due in zip(marks, cycle((BEGIN, END)), strict=False):
        if lines[number].strip() != due:
            raise DataError(f"course: '{lines[number].strip()}' in line {number + 1} has no counterpart.")
    if len(marks) % 2:
        raise DataError(f"course: the last '{BEGIN}' has no counterpart.")
    for begin, end in zip(marks[-2::-2], marks[::-2], strict=True):  # last first, so earlier line numbers stay valid
        *_, function = re.findall(r"^\s*def (\w+)", "\n".join(lines[:begin]), re.MULTILINE)
        indent = lines[begin].removesuffix(lines[begin].lstrip())
        lines[begin : end + 1] = [f'{indent}raise NotImplementedError("{function} is not written yet")']
    return "\n".join(lines)


def as_notebook(source: str) -> str:
    r"""Convert a Python file in percent format to a Jupyter notebook (nbformat 4.5, as JSON).

    A code cell begins with a line ``# %%``. A text cell begins with ``# %% [markdown]``, and each of its lines with
    ``#``. Everything before the first cell is left out. The assignments' notebooks and the tutorials are created from
    this format, which Jupytext, VS Code and other tools open as well.

    >>> import json
    >>> cells = json.loads(as_notebook("# %% [markdown]\n# # Title\n\n# %%\n1 + 1\n"))["cells"]
    >>> [(cell["cell_type"], "".join(cell["source"])) for cell in cells]
    [('markdown', '# Title'), ('code', '1 + 1')]
    """
    cells = []
    for number, part in enumerate(re.split(r"^# %%", source, flags=re.MULTILINE)[1:], start=1):
        kind, _, body = part.partition("\n")
        lines = body.strip("\n").splitlines(keepends=True)
        cell: dict[str, Any] = {"id": f"cell-{number}", "metadata": {}}
        if kind.strip() == "[markdown]":
            text = [line.removeprefix("# ") if line.strip() != "#" else "\n" for line in lines]
            cells.append({"cell_type": "markdown", **cell, "source": text})
        else:
            cells.append({"cell_type": "code", **cell, "execution_count": None, "outputs": [], "source": lines})
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    metadata = {"kernelspec": kernel, "language_info": {"name": "python"}}
    document = {"cells": cells, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}
    return json.dumps(document, indent=1, ensure_ascii=False) + "\n"


def write_student_folder(assignment: Assignment, folder: PathLike) -> Path:
    """Create the folder that a student works in. Raises DataError if it exists."""
    files = {
        "README.md": assignment.read("README.md"),
        assignment.file: student_version(assignment.read(assignment.file)),
        f"{assignment.name}.ipynb": as_notebook(assignment.read("walk.py")),
        "test_public.py": _handout("test_public.txt", assignment),
    }
    return _new_folder(folder, files)


def write_instructor_folder(assignment: Assignment, folder: PathLike) -> Path:
    """Create the folder with the solution, a new secret and the autograder. Raises DataError if it exists."""
    secret = secrets.token_hex(16)
    files = {
        "README.md": _handout("instructor.md", assignment),
        assignment.file: assignment.read(assignment.file),
        SECRET: secret + "\n",
    }
    target = _new_folder(folder, files)
    (target / ZIP).write_bytes(gradescope_zip(assignment, secret))
    return target


def gradescope_zip(assignment: Assignment, secret: str) -> bytes:
    """Return the zip for Gradescope's autograder: setup.sh, run_autograder, the secret, and the files of minires."""
    package = Path(__file__).parent.parent
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in {
            "setup.sh": _handout("setup.sh", assignment),
            "run_autograder": _handout("run_autograder.sh", assignment),
            SECRET: secret + "\n",
        }.items():
            entry = zipfile.ZipInfo(name)
            entry.external_attr = (0o600 if name == SECRET else 0o755) << 16
            archive.writestr(entry, text)
        for path in sorted(package.rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts:
                archive.write(path, path.relative_to(package.parent))
    return content.getvalue()


def _handout(file: str, assignment: Assignment) -> str:
    words = {"name": assignment.name, "file": assignment.file, "secret": SECRET, "zip": ZIP, "version": __version__}
    return (HANDOUT / file).read_text(encoding="utf-8").format(**words)


def _new_folder(folder: PathLike, files: dict[str, str]) -> Path:
    target = Path(folder)
    if target.exists():
        raise DataError(f"course: {target} exists already, and may hold somebody's work; choose another folder.")
    try:
        target.mkdir(parents=True)
    except OSError as error:
        raise DataError(f"course: {target} cannot be created: {error.strerror or error}.") from error
    for name, text in files.items():
        (target / name).touch(mode=0o600 if name == SECRET else 0o666)
        (target / name).write_text(text, encoding="utf-8")
    return target
