"""``minires course``: assignments for a class, from handing them out to grading."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Annotated

import typer

from ..course.assignments import assignment as assignment_named
from ..course.assignments import assignments
from ..course.classroom import (
    assignment_of,
    check_folder,
    grade_class,
    grade_submission,
    histogram,
    submissions_in,
    summary_rows,
)
from ..course.grading import Grader
from ..course.release import write_instructor_folder, write_student_folder
from ..course.results import Result, lines_of
from ..course.verify import page
from ..course.verify import verify as verify_assignment
from ..errors import ArgumentError, CourseError, counted
from ..interop.files import write_atomically, write_json
from ..kernels.threads import usable_cores
from .options import count_option, file_option
from .output import make_console, print_table, printable

course = typer.Typer(help="Start, check, grade, release and verify assignments.")
Name = Annotated[str, typer.Argument(metavar="NAME", help="The name, as shown by `minires course list`.")]


@course.command("list")
def list_() -> None:
    """Show the assignments."""
    rows = [
        [each.name, each.title, str(len(each.questions)), str(each.points), each.file]
        for each in assignments().values()
    ]
    print_table(["name", "about", ">functions", ">points", "file"], rows)
    print("\nTo start one: minires course start NAME")


@course.command()
def start(name: Name) -> None:
    """Create the folder of an assignment, to work in."""
    content = assignment_named(name)
    folder = write_student_folder(content, content.name)
    print(f"{folder}: {content.title}, {content.points} points. Read its README.md first. In short:")
    print(f"  cd {folder}")
    print(f"  write a function in {content.file}")
    print(f"  minires course check {content.questions[0].function}")


@course.command()
def check(
    function: Annotated[str, typer.Argument(metavar="FUNCTION", help="The function to check; by default all.")] = "",
    folder: Annotated[str, typer.Option(metavar="FOLDER", help="The folder of the assignment.")] = ".",
) -> None:
    """Run the public tests on the file in this folder. The exit status is 1 if a test fails."""
    with make_console().status(f"checking {printable(folder)}"):
        result = check_folder(folder, function)
    _show(result, result.points, " in the public tests", "; the hidden tests check the same with other numbers")


@course.command()
def grade(
    folder: Annotated[str, typer.Argument(metavar="FOLDER", help="A submission, or a folder of submissions.")],
    assignment: Annotated[
        str | None, typer.Option(metavar="NAME", help="The assignment.", show_default="determined by the file names")
    ] = None,
    secret: Annotated[
        str | None, file_option("The secret that the hidden tests are drawn from.", show_default="a new one each time")
    ] = None,
    json: Annotated[
        str | None, typer.Option(metavar="PATH", help="Write the results to this file or, for a class, to this folder.")
    ] = None,
    gradescope: Annotated[str | None, file_option("Write the results of one submission for Gradescope.")] = None,
    workers: Annotated[
        int | None, count_option("Number of submissions to grade at a time.", show_default="one for each core")
    ] = None,
) -> None:
    """Grade submissions by public and hidden tests.

    For one submission, this shows its questions, and the exit status is 1 if it lost points. For a class, it shows a
    table and a histogram. Results are written after each test.
    """
    content = assignment_named(assignment) if assignment else assignment_of(folder)
    grader = Grader(content, _read_secret(secret) if secret else secrets.token_hex(16))
    folders = [Path(folder)] if gradescope else submissions_in(folder, content.file)
    if folders == [Path(folder)]:
        _grade_one(grader, folders[0], json, gradescope)
    else:
        _grade_class(grader, folders, json, workers)


def _grade_one(grader: Grader, folder: Path, json: str | None, gradescope: str | None) -> None:

    def keep(result: Result) -> None:
        if json:
            write_json(json, result.as_json())
        if gradescope:
            write_json(gradescope, result.as_gradescope())

    with make_console().status(f"grading {printable(str(folder))}"):
        result = grade_submission(grader, folder, keep)
    _show(result, result.assignment.points)


def _grade_class(grader: Grader, folders: list[Path], json: str | None, workers: int | None) -> None:

    out = Path(json) if json else None
    if out:
        out.mkdir(parents=True, exist_ok=True)
    done: list[Result] = []
    with make_console().status("grading") as status:

        def tell(result: Result) -> None:
            done.append(result)
            status.update(f"{len(done)} of {counted(len(folders), 'submission')} graded")

        results = grade_class(grader, folders, out, workers or usable_cores(), tell)
    rows = summary_rows(results)
    _, *points, _ = rows[0]
    columns = ["submission", *(f">{name}" for name in points), ""]
    print_table(columns, [[printable(str(cell)) for cell in row.values()] for row in rows])
    print()
    print("\n".join(histogram([result.score for result in results], grader.assignment.points)))
    mean = sum(result.score for result in results) / len(results)
    print(f"\n{counted(len(results), 'submission')}, {mean:.1f} of {grader.assignment.points} points on average")


@course.command()
def release(name: Name, out: Annotated[str, typer.Option(metavar="DIR", help="The folder to create them in.")]) -> None:
    """Create the student's folder, and the instructor's with the solution, a new secret and the zip for Gradescope."""
    content = assignment_named(name)
    print(f"for students:    {printable(str(write_student_folder(content, Path(out, 'student', content.name))))}")
    print(f"for instructors: {printable(str(write_instructor_folder(content, Path(out, 'instructor', content.name))))}")


@course.command()
def verify(
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="The assignment; by default all.")] = None,
    out: Annotated[str | None, file_option("Also write the output to this file.")] = None,
) -> None:
    """Grade the stub, the solution and every wrong answer of the bank, and print which property detects which.

    The exit status is 1 if something is wrong with an assignment.
    """
    pages, faults = [], []
    for content in [assignment_named(name)] if name else assignments().values():
        with make_console().status("") as status:
            found = verify_assignment(content, status.update)
        pages.append(page(found))
        faults += found.faults()
        print(pages[-1])
    if out:
        write_atomically(out, ("\n\n".join(pages) + "\n").encode())
    for fault in faults:
        print(fault)
    if faults:
        raise CourseError(f"course: {counted(len(faults), 'fault')} in the assignments.")


def _read_secret(file: str) -> str:
    """Read the secret from a file. On the command line, every process on the machine could see it."""
    secret = Path(file).read_text(encoding="utf-8").strip()
    if not secret:
        raise ArgumentError(f"course: {file} is empty; it must hold the secret.")
    return secret


def _show(result: Result, points: int, where: str = "", remark: str = "") -> None:
    """Print what a student reads, and the points. Raises CourseError if points are missing."""
    for line in lines_of(result):
        print(printable(line))
    total = f"{result.score} of {points} points{where}"
    if result.score < points:
        raise CourseError(f"course: {total}.")
    print(f"{total}{remark}")
