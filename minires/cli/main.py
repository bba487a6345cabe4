"""The command ``minires`` itself: its sub-commands, and the one place that turns an error into an exit status."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence
from typing import Annotated, Any

import typer
from typer.main import get_command

from ..version import __version__
from .bench import bench
from .compare import compare
from .course import course
from .data import data
from .doctor import doctor
from .evaluate import evaluate
from .explain import explain
from .export import export
from .failures import status_and_sentence
from .gradcheck import gradcheck
from .predict import predict
from .train import train

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
    """Take part in the help; ``main`` looks for ``--debug`` itself, so that it may stand anywhere."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    argv : sequence of str, optional
        The words after ``minires``; by default those that the program was started with.

    Returns
    -------
    int
        The exit status: 0, 1 for something that failed, 2 for wrong arguments, 130 after Ctrl-C, 143 after SIGTERM. A
        status other than 0 comes with a sentence on stderr.
    """
    given = list(sys.argv[1:] if argv is None else argv)
    words = [word for word in given if word != "--debug"] or ["--help"]
    group: Any = get_command(app)
    name = " ".join(["minires", *[word for word in words if word in group.commands][:1]])
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="replace")  # a file name need not be printable
    try:
        with group.make_context("minires", words) as context:
            status = group.invoke(context)
        sys.stdout.flush()  # so that what goes wrong with stdout goes wrong here
    except typer.Exit as stop:
        return stop.exit_code
    except BrokenPipeError:  # whoever reads us has seen enough, as in `minires doctor | head -1`
        _discard_stdout()
        return 1
    except (Exception, KeyboardInterrupt) as error:
        if "--debug" in given:
            traceback.print_exc()
        status, sentence = status_and_sentence(error, name)
        print(f"{name}: {sentence}", file=sys.stderr)
    return status or 0


def _discard_stdout() -> None:
    """Send what is still buffered nowhere, or Python would try again at its end, and complain."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
