"""Checkpoints: everything that the next epoch depends on, so that a resumed run ends bit for bit like any other.

The order of the pictures and their augmentation need no entry: they follow from the seed and the epoch's number.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ..backend import generator
from ..errors import DataError, StateDictError
from ..nn import Module
from ..nn.serialization import load, load_metadata, save
from ..optim import EMA, Optimizer, Schedule
from .folder import CHECKPOINT, MODEL, Row, damaged

MODEL_PREFIX, OPTIMIZER_PREFIX, EMA_PREFIX = "model.", "optimizer.", "ema."


def save_checkpoint(
    folder: Path, model: Module, optimizer: Optimizer, schedule: Schedule, ema: EMA | None, history: list[Row]
) -> None:
    """Write the weights (their average, if there is one), and beside them what it takes to go on.

    Arrays go into the body of the checkpoint, all else as JSON into its header. It comes last: a run that is killed
    between the two files repeats the epoch and writes both again. Raises DataError if one cannot be written.
    """
    weights, remembered = model.state_dict(), optimizer.state_dict()
    average: dict[str, Any] = ema.state_dict() if ema is not None else {"arrays": {}, "updates": 0}
    arrays = {
        **{MODEL_PREFIX + name: array for name, array in weights.items()},
        **{OPTIMIZER_PREFIX + name: array for name, array in remembered.pop("arrays").items()},
        **{EMA_PREFIX + name: array for name, array in average["arrays"].items()},
    }
    notes = {
        "optimizer": remembered,
        "schedule": schedule.state_dict(),
        "ema": average["updates"],
        "generator": generator().bit_generator.state,  # dropout draws from it
        "history": history,
    }
    save(folder / MODEL, weights if ema is None else average["arrays"])
    save(folder / CHECKPOINT, arrays, metadata={key: json.dumps(value) for key, value in notes.items()})


def load_checkpoint(
    folder: Path, model: Module, optimizer: Optimizer, schedule: Schedule, ema: EMA | None
) -> list[Row]:
    """Put everything back as it was when the checkpoint was saved, and return the history until then.

    Without a checkpoint (the run was stopped before its first) nothing changes and the history is empty.

    Raises
    ------
    RunError
        If the checkpoint is damaged or belongs to another model.
    """
    path = folder / CHECKPOINT
    if not path.exists():
        return []
    try:
        arrays = load(path)
        notes = {key: json.loads(value) for key, value in load_metadata(path).items()}
        model.load_state_dict(_with_prefix(arrays, MODEL_PREFIX))
        optimizer.load_state_dict({"arrays": _with_prefix(arrays, OPTIMIZER_PREFIX), **notes["optimizer"]})
        schedule.load_state_dict(notes["schedule"])
        if ema is not None:
            ema.load_state_dict({"arrays": _with_prefix(arrays, EMA_PREFIX), "updates": notes["ema"]})
        generator().bit_generator.state = notes["generator"]
        history: list[Row] = notes["history"]
    except (DataError, StateDictError, KeyError, ValueError, TypeError, RecursionError) as error:
        raise damaged(folder, error) from error
    return history


def _with_prefix(arrays: dict[str, Any], prefix: str) -> dict[str, Any]:
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}
