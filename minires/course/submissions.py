"""Where submissions are, and reading them: folders come from students, and hold what they will."""

from __future__ import annotations

import os
from pathlib import Path

from ..errors import ArgumentError, DataError
from .content import Assignment, assignments

PathLike = str | os.PathLike[str]
LARGEST = 1 << 20  # bytes of a submission
DEEPEST = 3  # folders within a submission in which its file may lie


def find_file(folder: PathLike, name: str) -> Path | None:
    """The file of that name in a submission, the one nearest to its top; None if there is none. Links do not count."""
    level = [Path(folder)]
    for _ in range(DEEPEST + 1):
        for place in level:
            if (place / name).is_file() and not (place / name).is_symlink():
                return place / name
        level = [path for place in level for path in _folders(place)]
    return None


def read_submission(folder: PathLike, name: str) -> str:
    """The text of the file of that name in a submission.

    Raises
    ------
    DataError
        If there is none, it is too large, or no text.
    """
    path = find_file(folder, name)
    if path is None:
        others = sorted(entry.name for entry in Path(folder).iterdir())[:5] if Path(folder).is_dir() else []
        there = f"; there is only {', '.join(others)}" if others else ""
        raise DataError(f"course: there is no file {name} in {folder}{there}.")
    if (size := path.stat().st_size) > LARGEST:
        raise DataError(f"course: {path} has {size} bytes; a submission may have {LARGEST}.")
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"course: {path} is no text in UTF-8.") from error


def submissions_in(folder: PathLike, name: str) -> list[Path]:
    """The submissions in a folder: its folders, if there are several or the file is not in itself; else it alone.

    Raises
    ------
    DataError
        If there is no such folder, or no submission in it.
    """
    top = Path(folder)
    if not top.is_dir():
        raise DataError(f"course: there is no folder {folder}.")
    if (top / name).is_file():
        return [top]
    found = _folders(top)
    if not any(find_file(place, name) for place in found):
        raise DataError(f"course: there is no file {name} in {folder}, nor in a folder in it.")
    return found


def assignment_of(folder: PathLike) -> Assignment:
    """Which assignment a folder of submissions is of, by the names of its files. Raises ArgumentError."""
    for content in assignments().values():
        if find_file(folder, content.file):
            return content
    files = ", ".join(f"{content.file} ({content.name})" for content in assignments().values())
    raise ArgumentError(f"course: {folder} holds no file of an assignment: {files}.")


def _folders(place: Path) -> list[Path]:
    try:
        return sorted(
            path for path in place.iterdir() if path.is_dir() and not path.is_symlink() and path.name[0] != "."
        )
    except OSError:
        return []
