"""The run folder: which one a run writes to, and its files.

============================  ==========================================================================
``config.json``               the settings, and what it takes to use the model without its data set
``model.safetensors``         the weights after the last epoch, or with ``ema`` their average
``history.csv``               a row an epoch: learning rate at its start, losses, accuracies, seconds
``metrics.json``              the result, written when the run is complete
``curves.png``                loss and error over the epochs
``confusion.png``             which test images were taken for what
``gradients.csv``             with ``log_gradients``: a row for each epoch and layer, the norm of its gradient
``gradients.png``             that norm by depth
``classes.csv``               how it does on each class: recall, precision, F1, what it is taken for
``mistakes.png``              the test images that it is most confidently wrong about, if there are any
``tensorboard``               a folder of event files for TensorBoard, if asked for
``checkpoint.safetensors``    what ``--resume`` continues from
============================  ==========================================================================

Every file is written atomically: a run that is killed leaves whole files only, and perhaps a temporary one that the
resumed run removes.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..errors import ArgumentError, RunError
from ..interop.files import write_atomically
from .config import Config

CONFIG = "config.json"
MODEL = "model.safetensors"
HISTORY = "history.csv"
METRICS = "metrics.json"
CURVES = "curves.png"
CONFUSION = "confusion.png"
GRADIENTS, GRADIENTS_FIGURE = "gradients.csv", "gradients.png"
CLASSES = "classes.csv"
MISTAKES = "mistakes.png"
TENSORBOARD = "tensorboard"
CHECKPOINT = "checkpoint.safetensors"
LARGEST_JSON = 1 << 20  # characters; the names of 20,000 classes fit in

COLUMNS = ("epoch", "lr", "train_loss", "train_accuracy", "test_loss", "test_accuracy", "seconds")

Row = dict[str, Any]  # of the history, with the keys COLUMNS


def new_folder(config: Config) -> Config:
    """``config`` with ``out`` set to a folder for a new run, which is made; no earlier run is ever overwritten.

    Without ``out`` it is ``runs/<model>-<data>-seed<seed>``, with a number added if there is one already.

    Raises
    ------
    RunError
        If ``out`` was given and holds a run, or the folder cannot be made.
    """
    try:
        if config.out is not None:
            folder = Path(config.out)
            folder.mkdir(parents=True, exist_ok=True)
            if any((folder / name).exists() for name in (CONFIG, CHECKPOINT, MODEL, METRICS)):
                raise RunError(
                    f"train: {folder} already holds a run; continue it with --resume, or choose another --out."
                )
            return config
        number = 1
        while (folder := _default_folder(config, number)).exists():
            number += 1
        folder.mkdir(parents=True)
    except OSError as error:
        raise RunError(f"train: the run folder {folder} cannot be made: {error.strerror or error}.") from error
    return replace(config, out=str(folder))


def existing_folder(config: Config) -> Config:
    """``config`` with ``out`` set to the folder of the run to be resumed: by default the latest of that name.

    Raises
    ------
    RunError
        If there is no run, or it was started with other settings.
    """
    number = 1
    while _default_folder(config, number + 1).exists():
        number += 1
    folder = Path(config.out) if config.out is not None else _default_folder(config, number)
    if not (folder / CONFIG).is_file():
        raise RunError(
            f"train: there is no run to resume in {folder}: it has no {CONFIG}; leave --resume out to start one."
        )
    if different := differences(load_config(folder), config):
        raise RunError(
            f"train: the run in {folder} was started with {different}; resume it with the settings that it was started "
            "with, or choose another --out."
        )
    return replace(config, out=str(folder))


def differences(found: Config, wanted: Config) -> str:
    """E.g. ``epochs 2, not 5, lr 0.1, not 0.2``; empty if the two runs would turn out the same."""
    names = found.differences(wanted)
    return ", ".join(f"{name} {getattr(found, name)}, not {getattr(wanted, name)}" for name in names)


def _default_folder(config: Config, number: int) -> Path:
    name = f"{config.model}-{config.data_name}-seed{config.seed}"
    return Path("runs") / (name if number == 1 else f"{name}-{number}")


def load_config(folder: Path) -> Config:
    """The settings that the run in ``folder`` was started with. Raises RunError if they cannot be read."""
    try:
        return Config.from_json(read_json(folder / CONFIG))
    except ArgumentError as error:
        raise damaged(folder, error) from error


def damaged(folder: Path, error: Exception) -> RunError:
    """The error for a folder whose files are not what a run wrote."""
    reason = f"it lacks {error}" if isinstance(error, KeyError) else str(error).rstrip(".")
    return RunError(f"the run in {folder} is damaged ({reason}); train it again in another folder.")


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file of at most a megabyte. Raises RunError if it holds no such thing."""
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read(LARGEST_JSON + 1)
        if len(text) > LARGEST_JSON:
            raise ValueError("it is too long")
        content = json.loads(text)
    except (OSError, ValueError, RecursionError) as error:
        raise damaged(path.parent, ValueError(f"{path.name} cannot be read as JSON ({error})")) from error
    if not isinstance(content, dict):
        raise damaged(path.parent, ValueError(f"{path.name} holds {type(content).__name__}, not an object"))
    return content


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write an object as JSON that people can read. Raises DataError if that fails."""
    write_atomically(path, (json.dumps(content, indent=2) + "\n").encode())


def write_history(folder: Path, history: list[Row]) -> None:
    """Write ``history.csv``. Raises DataError if that fails."""
    write_table(folder / HISTORY, COLUMNS, history)


def write_table(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """Write the named columns of rows as CSV: floats with six digits, None as an empty cell.

    Raises DataError if that fails.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    for row in rows:
        writer.writerow(f"{row[name]:.6g}" if isinstance(row[name], float) else row[name] for name in columns)
    write_atomically(path, text.getvalue().encode(errors="replace"))  # a class may be named after a folder


def read_table(path: Path) -> list[Row]:
    """The rows, one at least, that :func:`write_table` wrote, numbers as numbers. Raises RunError if there are none."""
    try:
        with open(path, encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file, strict=True))
        if not rows or any(None in row or None in row.values() for row in rows):
            raise ValueError("it has no rows, or one with not as many cells as there are columns")
    except (OSError, ValueError, csv.Error) as error:
        raise damaged(path.parent, ValueError(f"{path.name} cannot be read as a table ({error})")) from error
    return [{name: _as_number(cell) for name, cell in row.items()} for row in rows]


def _as_number(cell: str) -> int | float | str:
    for kind in (int, float):
        with suppress(ValueError):
            return kind(cell)
    return cell
