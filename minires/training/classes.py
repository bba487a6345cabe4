"""How a model does on each class: the table that ``classes.csv`` and ``minires evaluate`` show."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from .folder import write_table


@dataclass(frozen=True)
class ClassRow:
    """What became of the test images of one class; a ratio of nothing to nothing is None.

    Attributes
    ----------
    name : str
        The class.
    images, right : int
        How many there are, and how many of them were recognised.
    recall : float or None
        The part of its images that was recognised, which is also called the accuracy of the class.
    precision : float or None
        The part of what was taken for this class that is of it.
    f1 : float or None
        The harmonic mean of both.
    taken_for : str
        The class that its images were wrongly taken for most often; empty if they never were.
    times : int
        How often.
    """

    name: str
    images: int
    right: int
    recall: float | None
    precision: float | None
    f1: float | None
    taken_for: str
    times: int


def class_table(confusion: np.ndarray[Any, Any], classes: Sequence[str]) -> list[ClassRow]:
    """A row for each of K classes, from the confusion matrix (K, K) of an :class:`Evaluation`.

    Examples
    --------
    >>> cat, dog = class_table(np.array([[3, 1], [0, 4]]), ("cat", "dog"))
    >>> cat.recall, cat.precision, cat.taken_for, cat.times
    (0.75, 1.0, 'dog', 1)
    >>> dog.recall, dog.precision, dog.taken_for, dog.times
    (1.0, 0.8, '', 0)
    """
    rows = []
    for number, name in enumerate(classes):
        mistakes = confusion[number].copy()
        mistakes[number] = 0
        times = int(mistakes.max())
        right = int(confusion[number, number])
        images, predicted = int(confusion[number].sum()), int(confusion[:, number].sum())
        rows.append(
            ClassRow(
                name=name,
                images=images,
                right=right,
                recall=_ratio(right, images),
                precision=_ratio(right, predicted),
                f1=_ratio(2 * right, images + predicted),
                taken_for=classes[mistakes.argmax()] if times else "",
                times=times,
            )
        )
    return rows


def write_classes(path: Path, table: Sequence[ClassRow]) -> None:
    """Write the table as CSV; None is an empty cell. Raises DataError if that fails."""
    columns = ["class", *[field.name for field in fields(ClassRow)[1:]]]
    write_table(path, columns, ({"class": row.name, **asdict(row)} for row in table))


def _ratio(part: int, whole: int) -> float | None:
    return part / whole if whole else None
