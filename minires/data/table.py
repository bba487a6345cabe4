"""Reading labels.csv, as written by spreadsheets or by hand."""

from __future__ import annotations

import codecs
import csv
import io
from pathlib import Path

from ..errors import DataError, printable

NEEDED, OPTIONAL = ("file", "class"), ("split", "text")
SEPARATORS = ",;\t|"


def read_table(path: Path) -> list[tuple[int, dict[str, str]]]:
    """Read the rows of a table with a header line: each with its line number, as a dict that maps columns to cells.

    The dict is empty if a row has more or fewer cells than there are columns.

    Cells are separated by commas, semicolons, tabs or bars: the first of these that finds the columns ``file``
    and ``class`` in the header line. Names of columns may be in any case. Spaces around cells, empty lines, and
    comments before the header line, which begin with ``#``, are dropped. The text is UTF-8, or UTF-16 with a byte order
    mark.

    Raises
    ------
    DataError
        If the file cannot be read or has other columns. The message says what was found.
    """
    try:
        with open(path, "rb") as file:
            lines = list(io.StringIO(_decoded(file.read()), newline=""))
        begin = next((i for i, line in enumerate(lines) if line.strip() and not line.startswith(("#", "sep="))), None)
        if begin is None:
            raise ValueError("it is empty")
        header = lines[begin].strip()
        columns, separator = _columns(header)
        reader = csv.reader(lines[begin:], delimiter=separator, strict=True, skipinitialspace=True)
        next(reader)
        rows = []
        for cells in reader:
            if any(cell.strip() for cell in cells):
                row = zip(columns, (cell.strip() for cell in cells), strict=False)
                rows.append((begin + reader.line_num, dict(row) if len(cells) == len(columns) else {}))
        if not rows:
            raise ValueError("there are no rows below its header line")
    except (OSError, ValueError, csv.Error) as error:
        raise DataError(f"folder: {path} cannot be read: {getattr(error, 'strerror', None) or error}.") from error
    return rows


def _decoded(content: bytes) -> str:
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return content.decode("utf-16")
    if content.startswith((b"PK", b"\xd0\xcf")):
        raise ValueError("it is a workbook; save it as a CSV file in UTF-8")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise ValueError(
            f"line {line} is not UTF-8 (it has the byte {content[error.start]:#x}); save the table as UTF-8"
        ) from error


def _columns(header: str) -> tuple[list[str], str]:
    """Return the names of the columns, in lower case, and the separator."""
    for separator in SEPARATORS:
        cells = next(csv.reader([header], delimiter=separator, skipinitialspace=True))
        columns = [cell.strip().lower() for cell in cells]
        if twice := [name for name in (*NEEDED, *OPTIONAL) if columns.count(name) > 1]:
            raise ValueError(f"it has the column {twice[0]} twice")
        if set(NEEDED) <= set(columns):
            return columns, separator
    raise ValueError(
        f"its header line reads `{printable(header, 100)}`, but it must name the columns, as `file,class` does"
    )
