"""What the command line says when something goes wrong: one sentence, and the exit status that belongs to it."""

from __future__ import annotations

import re

import typer

from ..errors import ArgumentError, MiniresError
from ..training.stopping import Terminated

# Typer's class for words that it cannot make sense of. Where it lives depends on Typer's version, which may bring its
# own copy of Click or use the installed one; that it is the base of BadParameter does not.
UsageError: type[Exception] = typer.BadParameter.__bases__[0]


def status_and_sentence(error: BaseException, command: str) -> tuple[int, str]:
    """The exit status and the sentence for ``error``.

    Parameters
    ----------
    error : exception
    command : str
        As the user typed it, e.g. ``minires train``, for the hint on its help.
    """
    if isinstance(error, UsageError):
        return 2, f"{_sentence(_usage(error))} Try '{command} --help'."
    if isinstance(error, ArgumentError):
        return 2, _without_function(error)
    if isinstance(error, MiniresError):
        return 1, _without_function(error)
    if isinstance(error, Terminated):
        return 143, _sentence(str(error) or "stopped by SIGTERM")
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
    option = max(parameter.opts, key=len)  # --help, not -h; an argument has only its name
    name = option if option.startswith("-") else parameter.metavar
    return f"{name} {getattr(error, 'message', '') or 'is missing'}"


def _without_function(error: Exception) -> str:
    """The message without the function that it begins with, ``data.load: ...``, which the user did not call."""
    return _sentence(re.sub(r"^[A-Za-z_][\w.]*: ", "", str(error)))


def _sentence(text: str) -> str:
    """One line that ends as a sentence does."""
    line = " ".join(text.split())
    return line if line.endswith((".", "?", "!")) else f"{line}."
