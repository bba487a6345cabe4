"""What a complete run leaves behind for people to look at."""

from __future__ import annotations

from pathlib import Path

from ..data import Dataset
from .classes import class_table, write_classes
from .config import Config
from .evaluation import Evaluation
from .figures import write_confusion, write_curves, write_mistakes
from .folder import CLASSES, CONFUSION, CURVES, MISTAKES, Row


def write_report(folder: Path, config: Config, dataset: Dataset, history: list[Row], test: Evaluation) -> None:
    """Write the figures and the table of classes. Raises DataError if that fails."""
    write_curves(folder / CURVES, history, title=f"{config.model} on {config.data_name}")
    write_confusion(folder / CONFUSION, test.confusion, dataset.classes)
    write_mistakes(folder / MISTAKES, test, dataset.test, dataset.classes)
    write_classes(folder / CLASSES, class_table(test.confusion, dataset.classes))
