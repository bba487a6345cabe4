"""Grade a whole class: find and read submissions, grade several at a time, and write the results."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

import numpy as np

from ..errors import ArgumentError, DataError
from ..interop.files import PathLike, opened, write_json
from ..training.folder import Row, write_table
from .assignments import assignments
from .content import Assignment
from .grading import Grader
from .results import Report, Result

LARGEST = 1 << 20  # maximum size of a submission, in bytes
DEEPEST = 3  # how many levels below a submission's folder its file may be
BARS = 10  # number of bars in the histogram
WIDEST = 50  # maximum length of a bar, in characters


def find_file(folder: PathLike, name: str) -> Path | None:
    """Return the file of that name in a submission, the one closest to its top, or None. Links are ignored."""
    level = [Path(folder)]
    for _ in range(DEEPEST + 1):
        for place in level:
            if os.path.isfile(place / name) and not (place / name).is_symlink():  # Path.is_file raises PermissionError
                return place / name
        level = [path for place in level for path in _folders(place)]
    return None


def read_submission(folder: PathLike, name: str) -> str:
    """Return the text of the file of that name in a submission.

    Raises
    ------
    DataError
        If the file does not exist, is too large or is not text.
    """
    path = find_file(folder, name)
    if path is None:
        others = sorted(entry.name for entry in Path(folder).iterdir())[:5] if Path(folder).is_dir() else []
        there = f"; it contains {', '.join(others)}" if others else ""
        raise DataError(f"course: there is no file {name} in {folder}{there}.")
    if (size := path.stat().st_size) > LARGEST:
        raise DataError(f"course: {path} has {size} bytes; a submission may have at most {LARGEST}.")
    with opened("course", path, "text in UTF-8") as file:
        return file.read().decode("utf-8-sig")


def submissions_in(folder: PathLike, name: str) -> list[Path]:
    """Return the submissions in a folder: the folder itself if it contains the file, or else its subfolders.

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
        raise DataError(f"course: neither {folder} nor its subfolders contain {name}.")
    return found


def assignment_of(folder: PathLike) -> Assignment:
    """Return the assignment whose file is in a folder of submissions. Raises ArgumentError if no file matches."""
    for content in assignments().values():
        if find_file(folder, content.file):
            return content
    files = ", ".join(f"{content.file} ({content.name})" for content in assignments().values())
    raise ArgumentError(f"course: {folder} does not contain the file of an assignment: {files}.")


def check_folder(folder: PathLike, function: str = "") -> Result:
    """Run the public tests of one function, or of all, on the file in a folder. What it prints appears on stderr."""
    content = assignment_of(folder)
    functions = [content.question(function).function] if function else []
    return Grader(content, show_output=True).grade(read_submission(folder, content.file), functions=functions)


def grade_submission(grader: Grader, folder: Path, report: Report = lambda _: None) -> Result:
    """Grade the submission in a folder. If it cannot be read, the result says why and has no points.

    ``report`` is called with the result so far after each test.
    """
    name = folder.resolve().name
    try:
        source = read_submission(folder, grader.assignment.file)
    except (DataError, OSError) as error:
        result = Result(name, grader.assignment, problem=str(error).removeprefix("course: "), complete=True)
        report(result)
        return result
    return grader.grade(source, name, report=report)


def grade_class(
    grader: Grader, folders: Sequence[Path], out: Path | None = None, workers: int = 1, report: Report = lambda _: None
) -> list[Result]:
    """Grade several submissions at the same time.

    Parameters
    ----------
    grader : Grader
    folders : sequence of Path
        One folder for each submission.
    out : Path, optional
        The folder for ``summary.csv`` and for a JSON file per submission, which is updated after each test.
    workers : int
        The number of submissions that are graded at the same time.
    report : callable
        Called with the result of each submission.

    Returns
    -------
    list of Result
        The results, in the order of the folders.
    """

    def grade(folder: Path) -> Result:
        def keep(result: Result) -> None:
            if out:
                write_json(out / f"{result.submission}.json", result.as_json())

        try:
            return grade_submission(grader, folder, keep)
        except Exception as error:  # a bug in the grader must not cost the others their results
            why = f"The grader failed with {type(error).__name__}: {error}"
            return Result(folder.resolve().name, grader.assignment, problem=why)

    pool = ThreadPoolExecutor(workers)
    try:
        futures = [pool.submit(grade, folder) for folder in folders]
        for future in as_completed(futures):
            report(future.result())
    finally:  # after Ctrl-C, the submissions that wait are not graded
        pool.shutdown(cancel_futures=True)
    results = [future.result() for future in futures]
    if out:
        rows = [{name: _as_text(cell) for name, cell in row.items()} for row in summary_rows(results)]
        write_table(out / "summary.csv", list(rows[0]), rows)
    return results


def summary_rows(results: Sequence[Result]) -> list[Row]:
    """Return a row for each submission: its points in total and for each question."""
    rows = []
    for result in results:
        none = {question.function: 0 for question in result.assignment.questions}
        points = none | {each.question.function: each.score for each in result.questions}
        rows.append({"submission": result.submission, "points": result.score, **points, "problem": result.problem})
    return rows


def histogram(scores: Sequence[int], most: int) -> list[str]:
    r"""Return a line for each tenth of the points, the highest first.

    >>> print("\n".join(histogram([0, 42, 95, 100], 100)[::4]))
     90-100  ##  2
     50-59       0
     10-19       0
    """
    edges = [-(-most * bar // BARS) for bar in range(BARS)] + [most + 1]
    counts = np.histogram(scores, edges)[0].tolist()
    for_each = max(1, -(-max(counts) // WIDEST))  # submissions per character
    bars = ["#" * -(-count // for_each) for count in counts]
    width = max(map(len, bars))
    lines = [
        f"{f'{low}-{above - 1}':>7}  {bar:<{width}}  {count}"
        for low, above, bar, count in zip(edges[:-1], edges[1:], bars, counts, strict=True)
    ]
    return lines[::-1]


def _as_text(cell: int | str) -> int | str:
    """Put a quote before a cell that spreadsheets would read as a formula, such as some folder names."""
    return f"'{cell}" if str(cell).startswith(("=", "+", "-", "@")) else cell


def _folders(place: Path) -> list[Path]:
    try:
        found = [path for path in place.iterdir() if path.is_dir() and not path.is_symlink() and path.name[0] != "."]
    except OSError:
        return []
    return sorted(found)
