"""Numbers on the command line, and what is said of words that are none.

Typer's own conversion would do, but what it says depends on its version.
"""

from __future__ import annotations

import typer

from ..errors import ArgumentError


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


def integers(option: str, text: str, example: str) -> list[int]:
    """Whole numbers with commas between them, the value of ``option``. Raises ArgumentError for other words."""
    numbers = []
    for word in text.split(","):
        try:
            numbers.append(int(word))
        except ValueError:
            raise ArgumentError(
                f"{option} has {word!r}; it must be whole numbers with commas, such as {example}."
            ) from None
    return numbers
