"""The ``minires`` command: its sub-commands, and the exit status and the message for each error."""

from __future__ import annotations

import os
import re
import sys
import traceback
from collections.abc import Sequence
from contextlib import suppress
from typing import Annotated, Any

import typer
from typer.main import get_command

from ..errors import ArgumentError, MiniresError, printable
from ..training.checkpoint import HungUp, Terminated
from ..version import __version__
from .bench import bench, gradcheck
from .course import course
from .data import data
from .doctor import doctor
from .explain import explain
from .predict import predict
from .runs import evaluate, export
from .train import compare, train

# Typer's exception for arguments that it does not understand. Its module depends on Typer's version, which may bundle
# its own copy of Click or use the installed one, but it is always the base class of BadParameter.
UsageError: type[Exception] = typer.BadParameter.__bases__[0]

app = typer.Typer(
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Residual networks from scratch: train them, try them, look inside.",
    epilog="Start with: minires train",
)
for command in (train, compare, evaluate, predict, export, gradcheck, bench, doctor):
    app.command()(command)
app.add_typer(data, name="data")
app.add_typer(explain, name="explain")
app.add_typer(course, name="course")


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"minires {__version__}")
        raise typer.Exit


@app.callback()
def common_options(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_print_version, is_eager=True)
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    """Add the options to the help. ``main`` handles ``--debug`` itself, so that it may appear anywhere."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    argv : sequence of str, optional
        The arguments after ``minires``; by default, those of the command line.

    Returns
    -------
    int
        The exit status: 0 for success, 1 for a failure, 2 for wrong arguments, 130 after Ctrl-C, 143 after SIGTERM, 129
        after SIGHUP. An error is reported on stderr in one sentence.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:  # closed by the shell, as in `minires train >&-`
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115
    status = _run(argv)
    for stream in (sys.stdout, sys.stderr):  # at exit, Python would do it and print a warning
        try:
            stream.flush()
        except OSError as error:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())  # discards what is buffered
            if not isinstance(error, BrokenPipeError):
                _complain(f"minires: the output cannot be written: {error.strerror}.")
            status = status or 1
    return status


def _run(argv: Sequence[str] | None) -> int:
    """Run the command line, and return the exit status."""
    given = list(sys.argv[1:] if argv is None else argv)
    words = [word for word in given if word != "--debug"] or ["--help"]
    group: Any = get_command(app)
    name = " ".join(["minires", *[word for word in words if word in group.commands][:1]])
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="replace")  # a file name may not be printable
    try:
        with group.make_context("minires", words) as context:
            return group.invoke(context) or 0
    except typer.Exit as stop:
        return stop.exit_code
    except BrokenPipeError:  # the reader has closed the pipe, as in `minires doctor | head -1`
        return 1
    except (Exception, KeyboardInterrupt) as error:
        if "--debug" in given:
            traceback.print_exc()
        status, sentence = status_and_sentence(error, name)
        _complain(f"{name}: {sentence}")
        return status


def _complain(sentence: str) -> None:
    with suppress(OSError):  # stderr may be closed, too
        print(printable(sentence), file=sys.stderr)


def status_and_sentence(error: BaseException, command: str) -> tuple[int, str]:
    """Return the exit status and the message for ``error``.

    Parameters
    ----------
    error : BaseException
        The exception that ended the command.
    command : str
        The command as the user typed it, such as ``minires train``, for the hint to try ``--help``.
    """
    if isinstance(error, UsageError):
        return 2, f"{_sentence(_usage(error))} Try '{command} --help'."
    if isinstance(error, ArgumentError):
        return 2, _without_function(error)
    if isinstance(error, MiniresError):
        return 1, _without_function(error)
    if isinstance(error, Terminated):
        return 143, _sentence(str(error) or "stopped by SIGTERM")
    if isinstance(error, HungUp):
        return 129, _sentence(str(error) or "stopped by SIGHUP")
    if isinstance(error, KeyboardInterrupt):
        return 130, _sentence(str(error) or "stopped by Ctrl-C")
    if isinstance(error, MemoryError):
        return 1, "there is not enough memory; a smaller --batch-size or model needs less."
    if isinstance(error, OSError) and error.strerror:
        where = f"{error.filename}: " if error.filename is not None else ""
        return 1, _sentence(f"{where}{error.strerror}")
    return 1, _sentence(f"unexpected error, {type(error).__name__}: {error}") + " Run it with --debug to see where."


def _usage(error: Exception) -> str:
    parameter = getattr(error, "param", None)
    if parameter is None:
        message = error.format_message()  # type: ignore[attr-defined]
        return message[0].lower() + message[1:]
    option = max(parameter.opts, key=len)  # prefer --help to -h; an argument has only its name
    name = option if option.startswith("-") else parameter.metavar
    return f"{name} {getattr(error, 'message', '') or 'is missing'}"


def _without_function(error: Exception) -> str:
    """Return the message without the function at its beginning (``data.load: ...``), which the user did not call."""
    return _sentence(re.sub(r"^[A-Za-z_][\w.]*: ", "", str(error)))


def _sentence(text: str) -> str:
    """Return ``text`` on one line, with punctuation at the end."""
    line = printable(" ".join(text.split()))
    return line if line.endswith((".", "?", "!")) else f"{line}."
