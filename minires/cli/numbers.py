"""Numbers on the command line, and what is said of words that are none.

Typer's own conversion would do, but what it says depends on its version.
"""

from __future__ import annotations

import typer


def integer(text: str | int) -> int:
    """A whole number."""
    try:
        return int(text)
    except ValueError:
        raise typer.BadParameter(f"is {text!r}; it must be an integer") from None


def count(text: str | int) -> int:
    """A whole number of at least 1."""
    number = integer(text)
    if number < 1:
        raise typer.BadParameter(f"is {number}; it must be an integer >= 1")
    return number


def number(text: str | float) -> float:
    """Any number."""
    try:
        return float(text)
    except ValueError:
        raise typer.BadParameter(f"is {text!r}; it must be a number") from None


def integers(text: str | list[int]) -> list[int]:
    """Whole numbers with commas between them."""
    try:
        return text if isinstance(text, list) else [int(word) for word in text.split(",")]
    except ValueError:
        raise typer.BadParameter(f"is {text!r}; it must be whole numbers with commas, such as 2,4,8") from None
