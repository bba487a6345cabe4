"""Checkpoints, and stopping a run with a checkpoint.

A checkpoint holds everything that the next batch depends on, so a resumed run gives the same result, bit for bit, as
one that was never stopped. The order of the images and their augmentation are not stored, because they follow from the
seed, the epoch and the batch.
"""

from __future__ import annotations

import hashlib
import json
import signal
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np

from ..core import checks
from ..core.backend import generator
from ..errors import DataError, MiniresError, RunError
from ..interop.safetensors_file import load, load_metadata, save
from ..nn import Module
from ..optim import EMA, Optimizer, Schedule
from .config import Config
from .folder import CHECKPOINT, MODEL, Row, damaged, differences
from .gradients import GradientLog
from .task import Tally

Arrays = dict[str, Any]  # keyed by name


@dataclass
class TrainingState:
    """The state of a run between two batches.

    Attributes
    ----------
    model, optimizer, schedule
    ema : EMA or None
        The average of the weights, if the run tests and saves it.
    gradients : GradientLog or None
        The log of gradient norms, with its measurements in the current epoch.
    columns : sequence of str
        The columns of the history.
    history : list of Row
        The rows of completed epochs.
    tally : Tally
        The sums over the current epoch so far.
    """

    model: Module
    optimizer: Optimizer
    schedule: Schedule
    ema: EMA | None = None
    gradients: GradientLog | None = None
    columns: Sequence[str] = ()
    history: list[Row] = field(default_factory=list)
    tally: Tally = field(init=False)

    def __post_init__(self) -> None:
        self.start_epoch()

    @property
    def epoch(self) -> int:
        """The number of the current epoch, counted from 1."""
        return len(self.history) + 1

    @property
    def result(self) -> Module:
        """The model that is tested, and saved as ``model.safetensors``."""
        return self.model if self.ema is None else self.ema.module

    def start_epoch(self) -> None:
        """Reset the tally for the next epoch."""
        self.tally = Tally(lr=self.schedule.get_last_lr()[0])

    def state_dict(self) -> tuple[dict[str, Arrays], dict[str, Any]]:
        """Return the arrays of each part, and everything else as values for JSON, which stores floats exactly."""
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
        """Restore what :meth:`state_dict` returned. If it does not fit a part, the error of that part is raised."""
        self.model.load_state_dict(arrays["model"])
        for name, part in self._parts().items():
            part.load_state_dict({"arrays": arrays[name], **notes[name]})
        self.schedule.load_state_dict(notes["schedule"])
        generator().bit_generator.state = notes["generator"]
        self.history, self.tally = [_numbers(row, self.columns) for row in notes["history"]], _tally(notes["tally"])
        if self.gradients is not None:
            self.gradients.norms = _norms(notes["gradients"], self.gradients)

    def _parts(self) -> dict[str, Optimizer | EMA]:
        """Return the parts whose state has both arrays and other values."""
        return {"optimizer": self.optimizer} if self.ema is None else {"optimizer": self.optimizer, "ema": self.ema}


def _numbers(row: Row, names: Sequence[str]) -> Row:
    """Return a row of numbers, one for each name. Raises DataError if it has other names or values."""
    if set(row) != set(names) or not all(checks.is_number(value) for value in row.values()):
        raise DataError(f"{CHECKPOINT} does not hold a number for each of {', '.join(names)}")
    return dict(row)


def _tally(stored: dict[str, Any]) -> Tally:
    """Return the tally of the epoch that was stopped. Raises DataError if it is not valid."""
    stored = {"judged": stored.get("images"), **stored}  # earlier versions only judged images
    tally = Tally(**_numbers(stored, [each.name for each in fields(Tally)]))
    if not all(checks.is_integer(count, 0) for count in (tally.batches, tally.images, tally.correct, tally.judged)):
        raise DataError(f"{CHECKPOINT} holds counts that are not integers >= 0")
    return tally


def _norms(stored: dict[str, Any], log: GradientLog) -> dict[str, list[list[float]]]:
    """Return the norms of the epoch that was stopped. Raises DataError if they are not those of layers of the model."""
    for name, pairs in stored.items():
        if name not in log.weights or not pairs or not all(map(checks.is_number, np.ravel(pairs))):
            raise DataError(f"{CHECKPOINT} holds other norms of gradients than those of the layers")
        if np.shape(pairs)[1:] != (2,):
            raise DataError(f"{CHECKPOINT} does not hold two norms for each batch")
    return stored


def save_checkpoint(folder: Path, config: Config, state: TrainingState) -> None:
    """Write the weights (or their average) to ``model.safetensors``, and the whole state to the checkpoint.

    The body of the checkpoint holds arrays, and its header everything else as JSON. It is written last: a run that is
    killed between the two files repeats the epoch and writes both again. In the middle of an epoch, only the checkpoint
    is written, and the weights remain those of the last epoch. Raises DataError if a file cannot be written.
    """
    parts, notes = state.state_dict()
    if state.tally.batches == 0:
        save(folder / MODEL, state.result.state_dict())
    arrays = {f"{part}.{name}": np.asarray(array) for part, named in parts.items() for name, array in named.items()}
    header = {key: json.dumps(value) for key, value in {"config": config.to_json(), **notes}.items()}
    save(folder / CHECKPOINT, arrays, metadata={**header, "checksum": checksum(arrays, header)})


def load_checkpoint(folder: Path, config: Config, state: TrainingState) -> None:
    """Restore the state from the checkpoint, if there is one.

    Raises
    ------
    RunError
        If the checkpoint is damaged, or belongs to another model or other settings. The file is not changed.
    """
    path = folder / CHECKPOINT
    if not path.exists():
        return
    try:
        arrays, header = load(path), load_metadata(path)
        if header.pop("checksum") != checksum(arrays, header):
            raise DataError(f"{CHECKPOINT} has changed since it was written: its checksum differs")
        notes = {key: json.loads(value) for key, value in header.items()}
        if different := differences(Config.from_json(notes["config"]), config):
            raise DataError(f"{CHECKPOINT} belongs to a run with {different}")
        parts: dict[str, Arrays] = defaultdict(dict)
        for key, array in arrays.items():
            part, _, name = key.partition(".")
            parts[part][name] = array
        state.load_state_dict(parts, notes)
    except (MiniresError, ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RecursionError) as error:
        raise damaged(folder, error) from error


def checksum(arrays: Arrays, header: dict[str, str]) -> str:
    """Return the SHA-256 of the header and all names, dtypes, shapes and values, to detect changed bits on the disk."""
    described = {name: (str(array.dtype), array.shape) for name, array in arrays.items()}
    digest = hashlib.sha256(json.dumps([described, header], sort_keys=True).encode())
    for name in sorted(arrays):
        digest.update(np.ascontiguousarray(arrays[name]).data)
    return digest.hexdigest()


@contextmanager
def saving(folder: Path) -> Iterator[None]:
    """Context manager in which a run writes to its folder. If that fails, a RunError says how to continue."""
    try:
        yield
    except (DataError, OSError) as error:
        reason = (getattr(error, "strerror", None) or str(error)).removeprefix("save: ").rstrip(".")
        if folder.is_dir():
            remedy = "make room, or make the folder writable, then continue with --resume; what was saved is intact"
        else:
            remedy = "the run folder is gone; if it was moved, continue with --resume and its new path as --out"
        raise RunError(f"training stopped: {reason}; {remedy}.") from error


class Terminated(KeyboardInterrupt):
    """The process received SIGTERM, which job schedulers send before they kill a process."""


class HungUp(KeyboardInterrupt):
    """The process received SIGHUP: its terminal was closed, or the connection to it was lost."""


INTERRUPTS = {signal.SIGINT: KeyboardInterrupt, signal.SIGTERM: Terminated}
if hasattr(signal, "SIGHUP"):  # not on Windows
    INTERRUPTS[signal.SIGHUP] = HungUp


class StopSignals:
    """Makes Ctrl-C, SIGTERM and SIGHUP end :func:`~minires.training.train` with a checkpoint after the current batch.

    A second signal stops the program at once by raising KeyboardInterrupt, and so does a first one before training has
    begun, while data is being read. Signals that the program ignores are still ignored. Outside the main thread, where
    Python cannot handle signals, this does nothing.

    Parameters
    ----------
    notify : callable, optional
        Called at the first signal, for instance to ask the user to wait: the current batch or test is completed first.

    Attributes
    ----------
    received : signal.Signals or None
        The first signal.

    Examples
    --------
    >>> from minires.training import Config, StopSignals, train
    >>> with StopSignals() as stop:
    ...     metrics = train(Config(), stop=stop)  # doctest: +SKIP
    """

    def __init__(self, notify: Callable[[], None] | None = None) -> None:
        self.notify = notify
        self.received: signal.Signals | None = None
        self._asked = False
        self._handlers: dict[signal.Signals, Any] = {}

    def __enter__(self) -> StopSignals:
        if threading.current_thread() is threading.main_thread():
            for number in INTERRUPTS:
                if (handler := signal.getsignal(number)) not in (signal.SIG_IGN, None):  # None: was not set from Python
                    self._handlers[number] = handler
                    signal.signal(number, self._receive)
        return self

    def __exit__(self, *error: object) -> None:
        while self._handlers:
            signal.signal(*self._handlers.popitem())

    def __call__(self) -> bool:
        """Return whether to stop."""
        self._asked = True
        return self.received is not None

    def _receive(self, number: int, frame: object) -> None:
        at_once = self.received is not None or not self._asked
        self.received = self.received or signal.Signals(number)
        if at_once:
            raise INTERRUPTS[self.received]
        if self.notify is not None:
            self.notify()

    def interrupt(self, rest: str) -> KeyboardInterrupt:
        """Return the exception for the signal, with a message such as "stopped by Ctrl-C", followed by ``rest``."""
        name = "Ctrl-C" if self.received in (None, signal.SIGINT) else self.received.name
        return INTERRUPTS[self.received or signal.SIGINT](f"stopped by {name}{rest}")
