"""Grading a class: every submission in a folder, some at a time, each result kept as soon as there is one."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Lock

from ..errors import DataError
from .grading import Grader
from .results import Result
from .submissions import read_submission

BARS = 10  # of the histogram
WIDEST = 50  # signs of a bar


def grade_submission(grader: Grader, folder: Path, report: Callable[[Result], None] = lambda _: None) -> Result:
    """Grade the submission in a folder. If it cannot be read, its result says why, and has no points.

    ``report`` is called after each test.
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
    grader: Grader,
    folders: Sequence[Path],
    out: Path | None = None,
    workers: int = 1,
    report: Callable[[Result], None] = lambda _: None,
) -> list[Result]:
    """Grade submissions, some at the same time.

    Parameters
    ----------
    grader : Grader
    folders : sequence of Path
        One for each submission.
    out : Path, optional
        The folder for a JSON file of each submission, which is written after each test, and ``summary.csv``.
    workers : int
        How many at a time.
    report : callable
        Called with each result.

    Returns
    -------
    list of Result
        In the order of the folders.
    """
    lock = Lock()

    def grade(folder: Path) -> Result:
        def keep(result: Result) -> None:
            if out:
                write_json(out / f"{result.submission}.json", result)

        try:
            result = grade_submission(grader, folder, keep)
        except Exception as error:  # a flaw of the grader, which must not cost the others theirs
            why = f"The grader failed, {type(error).__name__}: {error}"
            result = Result(folder.resolve().name, grader.assignment, problem=why)
        with lock:
            report(result)
        return result

    with ThreadPoolExecutor(workers) as pool:
        results = list(pool.map(grade, folders))
    if out:
        write(out / "summary.csv", summary_csv(results))
    return results


def write_json(path: Path, result: Result) -> None:
    """Write a result as JSON."""
    write(path, json.dumps(result.as_json(), indent=2))


def write_gradescope(path: Path, result: Result) -> None:
    """Write a result as Gradescope's results.json."""
    write(path, json.dumps(result.as_gradescope(), indent=2))


def write(path: Path, text: str) -> None:
    """Write a text file so that a grader which is killed leaves the last one or the new one. Raises DataError."""
    temporary = path.with_name(f".{path.name}.new")
    try:
        temporary.write_text(text + "\n", encoding="utf-8")
        temporary.replace(path)
    except OSError as error:
        raise DataError(f"course: {path} cannot be written: {error.strerror or error}.") from error


def summary_rows(results: Sequence[Result]) -> list[list[str]]:
    """The names of the columns, and a row for each submission: its points, in all and for each question."""
    functions = [question.function for question in results[0].assignment.questions]
    rows = [["submission", "points", *functions, "problem"]]
    for result in results:
        scores = {each.question.function: str(each.score) for each in result.questions}
        points = [scores.get(function, "0") for function in functions]
        rows.append([result.submission, str(result.score), *points, result.problem])
    return rows


def summary_csv(results: Sequence[Result]) -> str:
    """The rows as a file for spreadsheets, in which no name of a folder is taken for a formula."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    for row in summary_rows(results):
        writer.writerow([f"'{cell}" if cell.startswith(("=", "+", "-", "@")) else cell for cell in row])
    return file.getvalue().rstrip("\n")


def histogram(scores: Sequence[int], most: int) -> list[str]:
    r"""A line for each tenth of the points, the best first.

    >>> print("\n".join(histogram([0, 42, 95, 100], 100)[::4]))
     90-100  ##  2
     50-59       0
     10-19       0
    """
    bars = []
    for bar in reversed(range(BARS)):
        low, above = -(-most * bar // BARS), -(-most * (bar + 1) // BARS)
        high = above - 1 if bar < BARS - 1 else most
        bars.append((f"{low}-{high}", sum(low <= score <= high for score in scores)))
    for_each = max(1, -(-max(count for _, count in bars) // WIDEST))  # submissions for each sign
    signs = ["#" * -(-count // for_each) for _, count in bars]
    width = max(map(len, signs))
    return [f"{title:>7}  {bar:<{width}}  {count}" for (title, count), bar in zip(bars, signs, strict=True)]
