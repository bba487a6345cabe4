"""How the commands print: tables, numbers, and text from outside."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console


def make_console() -> Console:
    """Rich's console for stdout. If that is not a terminal, it gets plain text of any width, without escape codes."""
    from rich.console import Console

    terminal = sys.stdout.isatty()
    return Console(force_terminal=terminal, width=None if terminal else 1000, highlight=False, markup=False)


def print_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print rows of cells under their columns. A column whose name begins with ``>`` is aligned to the right."""
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
        print(line.rstrip())  # Rich pads the last column with spaces


def percent(part: float) -> str:
    """A fraction of 1 as a percentage, e.g. ``98.3 %``."""
    return f"{100 * part:.1f} %"


def times(count: int) -> str:
    """E.g. ``once``, ``3 times``."""
    return "once" if count == 1 else f"{count:,} times"


def printable(text: str) -> str:
    """``text`` with ``?`` for characters that could confuse a terminal: file names may hold escape codes."""
    return "".join(character if character.isprintable() else "?" for character in text)
