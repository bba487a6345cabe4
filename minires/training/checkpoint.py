"""Checkpoints: everything that the next batch depends on, so that a resumed run ends bit for bit like any other.

The order of the images and their augmentation need no entry: they follow from the seed, the epoch and the batch.
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ..core.backend import generator
from ..errors import DataError, MiniresError, RunError
from ..interop.safetensors_file import load, load_metadata, save
from ..nn import Module
from ..optim import EMA, Optimizer, Schedule
from .config import Config
from .folder import CHECKPOINT, MODEL, Row, damaged, differences
from .gradients import GradientLog
from .tally import Tally

Arrays = dict[str, Any]  # by name


@dataclass
class TrainingState:
    """A run between two batches.

    Attributes
    ----------
    model, optimizer, schedule
    ema : EMA or None
        The average of the weights, if it is the result.
    gradients : GradientLog or None
        With what it measured in the epoch under way.
    history : list of Row
        The epochs that are done.
    tally : Tally
        The epoch under way, as far as it is done.
    """

    model: Module
    optimizer: Optimizer
    schedule: Schedule
    ema: EMA | None = None
    gradients: GradientLog | None = None
    history: list[Row] = field(default_factory=list)
    tally: Tally = field(init=False)

    def __post_init__(self) -> None:
        self.start_epoch()

    @property
    def epoch(self) -> int:
        """The number of the epoch under way, from 1."""
        return len(self.history) + 1

    @property
    def result(self) -> Module:
        """The model that is tested, and saved as ``model.safetensors``."""
        return self.model if self.ema is None else self.ema.module

    def start_epoch(self) -> None:
        """Begin to count anew."""
        self.tally = Tally(lr=self.schedule.get_last_lr()[0])

    def state_dict(self) -> tuple[dict[str, Arrays], dict[str, Any]]:
        """The arrays of each part, and all else as JSON can store it: floats come back exactly."""
        parts = {name: part.state_dict() for name, part in self._parts().items()}
        arrays = {"model": self.model.state_dict(), **{name: part.pop("arrays") for name, part in parts.items()}}
        notes = {
            **parts,
            "schedule": self.schedule.state_dict(),
            "generator": generator().bit_generator.state,  # dropout and mixup draw from it
            "history": self.history,
            "tally": asdict(self.tally),
            "gradients": {} if self.gradients is None else self.gradients.norms,
        }
        return arrays, notes

    def load_state_dict(self, arrays: dict[str, Arrays], notes: dict[str, Any]) -> None:
        """Continue from what :meth:`state_dict` returned. Raises what its parts raise for what does not fit them."""
        self.model.load_state_dict(arrays["model"])
        for name, part in self._parts().items():
            part.load_state_dict({"arrays": arrays[name], **notes[name]})
        self.schedule.load_state_dict(notes["schedule"])
        generator().bit_generator.state = notes["generator"]
        self.history, self.tally = list(notes["history"]), Tally(**notes["tally"])
        if self.gradients is not None:
            self.gradients.norms = notes["gradients"]

    def _parts(self) -> dict[str, Optimizer | EMA]:
        """Those whose state is arrays and more."""
        return {"optimizer": self.optimizer} if self.ema is None else {"optimizer": self.optimizer, "ema": self.ema}


def save_checkpoint(folder: Path, config: Config, state: TrainingState) -> None:
    """Write the weights (their average, if there is one), and beside them what it takes to go on.

    Arrays go into the body of the checkpoint, all else as JSON into its header. It comes last: a run that is killed
    between the two files repeats the epoch and writes both again. In the middle of an epoch only the checkpoint is
    written, and the weights remain those of the last epoch. Raises DataError if a file cannot be written.
    """
    parts, notes = state.state_dict()
    if state.tally.batches == 0:
        save(folder / MODEL, state.result.state_dict())
    arrays = {f"{part}.{name}": np.asarray(array) for part, named in parts.items() for name, array in named.items()}
    header = {key: json.dumps(value) for key, value in {"config": config.to_json(), **notes}.items()}
    save(folder / CHECKPOINT, arrays, metadata={**header, "checksum": checksum(arrays, header)})


def load_checkpoint(folder: Path, config: Config, state: TrainingState) -> None:
    """Put everything back as it was when the checkpoint was saved.

    Without a checkpoint (the run was stopped before its first) nothing changes.

    Raises
    ------
    RunError
        If the checkpoint is damaged, or belongs to another model or to other settings. The file stays as it is.
    """
    path = folder / CHECKPOINT
    if not path.exists():
        return
    try:
        arrays, header = load(path), load_metadata(path)
        if header.pop("checksum") != checksum(arrays, header):
            raise DataError(f"{CHECKPOINT} is not as it was written: its checksum is another")
        notes = {key: json.loads(value) for key, value in header.items()}
        if different := differences(Config.from_json(notes["config"]), config):
            raise DataError(f"{CHECKPOINT} is of a run with {different}")
        parts: dict[str, Arrays] = defaultdict(dict)
        for key, array in arrays.items():
            part, _, name = key.partition(".")
            parts[part][name] = array
        state.load_state_dict(parts, notes)
    except (MiniresError, KeyError, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise damaged(folder, error) from error


def checksum(arrays: Arrays, header: dict[str, str]) -> str:
    """SHA-256 of names, shapes, numbers and notes: a disk may give back other bits than it was given."""
    described = {name: (str(array.dtype), array.shape) for name, array in arrays.items()}
    digest = hashlib.sha256(json.dumps([described, header], sort_keys=True).encode())
    for name in sorted(arrays):
        digest.update(np.ascontiguousarray(arrays[name]).data)
    return digest.hexdigest()


@contextmanager
def saving(folder: Path) -> Iterator[None]:
    """Where a run writes to its folder: what cannot be written is a RunError that says how to go on."""
    try:
        yield
    except DataError as error:
        reason = str(error).removeprefix("save: ").rstrip(".")
        if folder.is_dir():
            remedy = "make room, or make the folder writable, then go on with --resume; what was saved before is whole"
        else:
            remedy = "the run folder is gone; if it was moved, go on with --resume and its new place as --out"
        raise RunError(f"training stopped: {reason}; {remedy}.") from error
