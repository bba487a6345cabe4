"""How the commands print: tables, numbers, and text from outside."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

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


class _Missing:
    """A value that is not known: a dash in every format."""

    def __format__(self, form: str) -> str:
        return "-"


def print_rows(columns: Mapping[str, str], rows: Iterable[Mapping[str, Any]]) -> None:
    """Print a table of rows with named values: each column has a format, such as ``{loss:.4f}``; None is a dash."""
    known = [{name: _Missing() if value is None else value for name, value in row.items()} for row in rows]
    print_table(list(columns), [[form.format_map(row) for form in columns.values()] for row in known])


def percent(part: float) -> str:
    """A fraction of 1 as a percentage, e.g. ``98.3 %``."""
    return f"{100 * part:.1f} %"


def times(count: int) -> str:
    """E.g. ``once``, ``3 times``."""
    return "once" if count == 1 else f"{count:,} times"


def printable(text: str) -> str:
    """``text`` with ``?`` for characters that could confuse a terminal: file names may hold escape codes."""
    return "".join(character if character.isprintable() else "?" for character in text)
