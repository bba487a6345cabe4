"""Helpers of the commands to print tables, numbers, and text from outside, such as file names."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

# for the commands, which print numbers, and names of files and classes
from ..errors import percent as percent
from ..errors import printable as printable
from ..errors import times as times

if TYPE_CHECKING:
    from rich.console import Console


def make_console() -> Console:
    """Return Rich's console for stdout. A stdout that is not a terminal gets plain text, up to 1000 columns wide."""
    from rich.console import Console

    class RaisingConsole(Console):
        def on_broken_pipe(self) -> None:  # Rich would raise SystemExit, which would end a training run
            raise

    terminal = sys.stdout.isatty()
    return RaisingConsole(force_terminal=terminal, width=None if terminal else 1000, highlight=False, markup=False)


def print_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a table of rows of cells. A column whose name begins with ``>`` is right-aligned."""
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
    """An unknown value, printed as a dash in every format."""

    def __format__(self, form: str) -> str:
        return "-"


def print_rows(columns: Mapping[str, str], rows: Iterable[Mapping[str, Any]]) -> None:
    """Print a table. ``columns`` maps names to formats of a row's values, such as ``{loss:.4f}``; None is a dash."""
    known = [{name: _Missing() if value is None else value for name, value in row.items()} for row in rows]
    print_table(list(columns), [[form.format_map(row) for form in columns.values()] for row in known])
