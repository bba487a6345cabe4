"""How the commands print: tables, and names that come from outside."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console


def make_console() -> Console:
    """Rich's view of stdout. Anything but a terminal gets plain text without escape codes, as wide as it needs."""
    from rich.console import Console

    terminal = sys.stdout.isatty()
    return Console(force_terminal=terminal, width=None if terminal else 1000, highlight=False, markup=False)


def option(setting: str) -> str:
    """The option of ``minires train`` for a setting, e.g. ``--batch-size``."""
    return "--" + {"weights": "from"}.get(setting, setting).replace("_", "-")  # `from` is a word of Python


def print_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print rows of cells under their columns; a column whose name begins with ``>`` is aligned to the right."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for column in columns:
        table.add_column(column.lstrip(">"), justify="right" if column.startswith(">") else "left", overflow="fold")
    for row in rows:
        table.add_row(*row)
    console = make_console()
    with console.capture() as capture:
        console.print(table)
    for line in capture.get().splitlines():
        print(line.rstrip())  # Rich fills the last column with spaces


def percent(part: float) -> str:
    """A part of 1, e.g. ``98.3 %``."""
    return f"{100 * part:.1f} %"


def counted(number: int, what: str) -> str:
    """E.g. ``1 image``, ``1,437 images``."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def times(count: int) -> str:
    """E.g. ``once``, ``3 times``."""
    return "once" if count == 1 else f"{count:,} times"


def printable(text: str) -> str:
    """``text`` with a ``?`` for whatever could confuse a terminal: a file name may hold escape codes and line ends."""
    return "".join(character if character.isprintable() else "?" for character in text)
