"""Run folders: their files, and functions that write them and read a run back.

============================  ==========================================================================
``config.json``               the settings, and what is needed to use the model without its data set
``model.safetensors``         the weights after the last epoch or, with ``ema``, their average
``history.csv``               a row for each epoch: learning rate at its start, losses, accuracies, seconds
``metrics.json``              the result, written when the run is complete
``curves.png``                loss and error over the epochs
``confusion.png``             the predicted classes of the test images of each class
``gradients.csv``             with ``log_gradients``: the norm of each layer's gradient in each epoch
``gradients.png``             with ``log_gradients``: these norms by depth
``classes.csv``               the results for each class: recall, precision, F1, the most frequent mistake
``mistakes.png``              the mistakes with the highest probabilities, if there are any
``tensorboard``               with ``tensorboard``: a folder of event files
``checkpoint.safetensors``    the state that ``--resume`` continues from
============================  ==========================================================================

Every file is written atomically: a run that is killed leaves complete files, and perhaps a temporary one, which the
resumed run removes.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..core.backend import check_device
from ..core.checks import is_integer
from ..data import Dataset
from ..data.transforms import Normalize
from ..errors import ArgumentError, DataError, MiniresError, RunError
from ..interop.files import PathLike, brief, write_atomically
from ..interop.safetensors_file import load
from ..nn import Module
from ..version import __version__
from .config import Config, read_object
from .lock import locked
from .recipe import model_options
from .task import Row as Row
from .task import find

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
LARGEST_IMAGE = 1 << 24  # values in an image


@contextmanager
def run_folder(config: Config, resume: bool) -> Iterator[Config]:
    """Open the folder of a new run or, with ``resume``, of an earlier one, and lock it inside the ``with`` block.

    Yields ``config`` with ``out`` set to the folder. By default, the folder of a new run is
    ``runs/<model>-<data>-seed<seed>``, with a number added if that folder exists. Earlier runs are never overwritten.

    Raises
    ------
    RunError
        If ``out`` was given and already holds a run (or, with ``resume``, holds no run, or one with other settings), if
        another process is writing to the folder, or if it cannot be created.
    """
    folder = Path(str((existing_folder(config) if resume else new_folder(config)).out))
    with locked(folder):
        if not resume and any((folder / name).exists() for name in (CONFIG, CHECKPOINT, MODEL, METRICS)):
            raise RunError(f"train: {folder} already holds a run; continue it with --resume, or choose another --out.")
        yield replace(config, out=str(folder))


def new_folder(config: Config) -> Config:
    """Create the folder of a new run, and return ``config`` with ``out`` set to it. Raises RunError if that fails."""
    while True:
        folder = Path(config.out) if config.out is not None else _default_folders(config)[-1]
        try:
            folder.mkdir(parents=True, exist_ok=config.out is not None)
            return replace(config, out=str(folder))
        except OSError as error:
            if config.out is None and folder.is_dir():
                continue  # another process has just created it: take the next name
            reason = "it is a file" if folder.is_file() else error.strerror or error
            raise RunError(f"train: the run folder {folder} cannot be created: {reason}.") from error


def existing_folder(config: Config) -> Config:
    """Return ``config`` with ``out`` set to the folder of the run to resume, by default the latest of that name.

    Raises
    ------
    RunError
        If there is no such run, or it was started with other settings.
    """
    folder = Path(config.out) if config.out is not None else _default_folders(config)[-2:][0]
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


def check_same_data(folder: Path, dataset: Dataset) -> None:
    """Raise RunError unless the run in ``folder`` was started on images of the same number, size and classes."""
    stored = read_json(folder / CONFIG)
    now = {
        "classes": list(dataset.classes),
        "image_shape": list(dataset.image_shape),
        "images": [len(dataset.train), len(dataset.test)],
    }
    if changed := [name for name, value in now.items() if stored.get(name, value) != value]:
        raise RunError(
            f"train: the images of {dataset.name} have changed since the run in {folder} was started: "
            f"{changed[0]} was {brief(str(stored[changed[0]]))}, but is {brief(str(now[changed[0]]))} now; "
            "restore them, or start another run."
        )


def differences(found: Config, wanted: Config) -> str:
    """Describe the differences, such as ``epochs 2, not 5, lr 0.1, not 0.2``, or "" if none changes the result."""
    names = found.differences(wanted)
    return ", ".join(f"{name} {getattr(found, name)}, not {getattr(wanted, name)}" for name in names)


def _default_folders(config: Config) -> list[Path]:
    """Return the folders of earlier runs of this model, data and seed, and the next one, which does not exist yet."""
    name = f"{config.model}-{config.data_name}-seed{config.seed}"
    folders = [Path("runs", name)]
    while folders[-1].exists():
        folders.append(Path("runs", f"{name}-{len(folders) + 1}"))
    return folders


def load_config(folder: Path) -> Config:
    """Return the settings that the run in ``folder`` was started with. Raises RunError if they cannot be read."""
    try:
        return Config.from_json(read_json(folder / CONFIG))
    except ArgumentError as error:
        raise damaged(folder, error) from error


def damaged(folder: Path, error: Exception) -> RunError:
    """Return the error for a folder whose files are damaged."""
    reason = f"it lacks {error}" if isinstance(error, KeyError) else str(error).removeprefix("train: ").rstrip(".")
    return RunError(f"the run in {folder} is damaged ({reason}); train it again in another folder.")


def read_json(path: Path) -> dict[str, Any]:
    """Read an object from a JSON file of a run. Raises RunError if that fails."""
    try:
        return read_object(path, "JSON")
    except DataError as error:
        raise damaged(path.parent, error) from error


def write_table(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, Any]], errors: str = "replace") -> None:
    """Write the columns of rows as CSV: floats with six significant digits, None as an empty cell.

    Names of files and folders may contain bytes that are not UTF-8; ``errors`` says how to encode them, as in
    ``str.encode``. Raises DataError if the file cannot be written.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    for row in rows:
        writer.writerow(f"{row[name]:.6g}" if isinstance(row[name], float) else row[name] for name in columns)
    write_atomically(path, text.getvalue().encode(errors=errors))


def read_table(path: Path, columns: Sequence[str], texts: Sequence[str] = ()) -> list[Row]:
    """Read a table that :func:`write_table` wrote, with these columns.

    The cells are numbers, except in the columns ``texts``. Raises RunError if a cell is not a number, if there are
    other columns or no rows, or if the file cannot be read.
    """
    try:
        with open(path, encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file, strict=True))
        if not rows or any(None in row or None in row.values() for row in rows):
            raise ValueError("it has no rows, or a row with too few or too many cells")
        if tuple(rows[0]) != tuple(columns):
            raise ValueError("it has other columns than those of a run")
        return [{name: cell if name in texts else _as_number(cell) for name, cell in row.items()} for row in rows]
    except (OSError, ValueError, csv.Error) as error:
        raise damaged(path.parent, ValueError(f"{path.name} cannot be read as a table ({error})")) from error


def _as_number(cell: str) -> int | float:
    try:
        return int(cell)
    except ValueError:
        return float(cell)


@dataclass(frozen=True, eq=False)
class Run:
    """A trained network, and what is needed to use it without its data set.

    Attributes
    ----------
    path : Path
        The run folder.
    config : Config
        The settings of the run.
    model : Module
        The network, in evaluation mode.
    classes : tuple of str
        The names of the classes, in the order of their numbers.
    normalize : Normalize
        Converts images to the input of the network: ``normalize(uint8 (N, C, H, W))``.
    image_shape : (int, int, int)
        (C, H, W) of the images, or (T, C, H, W) of clips.
    category_ids : tuple of int
        The number of each class in COCO's format: that of the data set, if it has its own.
    """

    path: Path
    config: Config
    model: Module
    classes: tuple[str, ...]
    normalize: Normalize
    image_shape: tuple[int, ...]
    category_ids: tuple[int, ...] = ()


def description(config: Config, dataset: Dataset, normalize: Normalize) -> dict[str, Any]:
    """Return the content of ``config.json``: the settings, and what :func:`load_run` needs besides the weights."""
    return {
        **config.to_json(),
        "model_options": model_options(config, len(dataset.classes), dataset.image_shape[-3]),
        "classes": list(dataset.classes),
        "image_shape": list(dataset.image_shape),
        "images": [len(dataset.train), len(dataset.test)],
        **({"category_ids": list(ids)} if (ids := getattr(dataset.train, "category_ids", ())) else {}),
        "mean": normalize.mean,
        "std": normalize.std,
        "minires": __version__,
    }


def load_run(path: PathLike, device: str = "cpu") -> Run:
    """Read the run in the folder ``path``, and put its network on ``device``, no matter where it was trained.

    Raises
    ------
    DeviceError
        If the device is not available.
    RunError
        If there is no run in the folder, it has not saved a checkpoint yet, or its files are damaged.
    """
    check_device(device)
    folder = Path(path)
    if not (folder / CONFIG).is_file():
        raise RunError(f"{folder} is not a run folder: it has no {CONFIG}; is it the --out of a `minires train`?")
    if not (folder / MODEL).exists():
        raise RunError(f"the run in {folder} has not saved a model yet; continue it with `minires train --resume`.")
    stored = read_json(folder / CONFIG)
    try:
        config = Config.from_json(stored)
        classes, image_shape = _classes(stored["classes"]), _image_shape(stored["image_shape"], config.task)
        options = {**stored["model_options"], **model_options(config, len(classes), image_shape[-3])}
        if options != stored["model_options"]:  # checked first: wrong numbers could make a huge model
            raise ArgumentError(f"model_options are {brief(str(stored['model_options']))}, but must be {options}")
        model = find(config.task).build(config.model, **options)
        model.load_state_dict(load(folder / MODEL))
        normalize = Normalize(stored["mean"], stored["std"])
        ids = tuple(stored.get("category_ids", range(1, len(classes) + 1)))
        if len(ids) != len(classes) or not all(is_integer(number, 0) for number in ids):
            raise ArgumentError("category_ids are not an integer >= 0 for each class")
        return Run(folder, config, model.to(device).eval(), classes, normalize, image_shape, ids)
    except (MiniresError, KeyError, ValueError, TypeError) as error:
        raise damaged(folder, error) from error


def _classes(stored: list[str]) -> tuple[str, ...]:
    if not isinstance(stored, list) or not all(isinstance(name, str) for name in stored):
        raise ArgumentError("classes are not a list of names")
    return tuple(stored)


def _image_shape(stored: list[int], task: str) -> tuple[int, ...]:
    axes = 4 if task == "video" else 3
    if len(stored) != axes or not all(is_integer(size, 1) for size in stored) or math.prod(stored) > LARGEST_IMAGE:
        raise ArgumentError(f"image_shape is not {axes} integers >= 1, or is too large")
    return tuple(stored)
