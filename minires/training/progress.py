"""What a training run reports while it runs: to a progress bar, to a notebook, to TensorBoard."""

from __future__ import annotations

import math
import time
import weakref
from pathlib import Path
from typing import Any

import numpy as np

from ..data import Dataset
from ..errors import RunError
from .checkpoint import TrainingState
from .classification import Evaluation, Tally
from .config import Config
from .folder import CONFUSION, MISTAKES, TENSORBOARD, Row


class Progress:
    """Base class, which reports nothing. A subclass overrides the methods that it needs."""

    def start(self, config: Config, dataset: Dataset, state: TrainingState, origin: str) -> None:
        """Training begins with the next batch of ``state``, which is the first one unless the run is resumed.

        ``config.out`` is the run folder, also if it was not given. ``origin`` says where initial weights come from;
        it is empty if they are random.
        """

    def batch(self, epoch: int, done: int, total: int, tally: Tally) -> None:
        """Batch ``done`` of ``total`` is done; both count from 1. ``tally`` is of the epoch so far."""

    def epoch(self, epoch: int, row: Row) -> None:
        """Epoch ``epoch`` is done, evaluated and saved; ``row`` is its row of ``history.csv``."""

    def end(self, metrics: dict[str, Any], test: Evaluation) -> None:
        """The run is complete; ``metrics`` is the content of ``metrics.json``, ``test`` the last test of the model."""


SCALARS = ("lr", "train_loss", "train_accuracy", "test_loss", "test_accuracy")  # of a row of the history
EVERY = 20  # batches between two points of a curve


class TensorBoard(Progress):
    """Writes event files to the run folder: the columns of ``history.csv`` as scalars, and the figures as images.

    A step is a batch; the scalars of an epoch have the step of its last batch. ``batch/loss`` and ``batch/accuracy``
    are means over the epoch so far, as in a progress bar.

    Raises
    ------
    RunError
        If the package tensorboardX is not installed.
    """

    def __init__(self) -> None:
        try:
            import tensorboardX.event_file_writer
            import tensorboardX.proto.event_pb2
            import tensorboardX.summary
        except ImportError as error:
            raise RunError(
                "train: --tensorboard needs the package tensorboardX, which is not installed: "
                "pip install 'minires[tensorboard]', or pip install tensorboardX."
            ) from error
        # Not its SummaryWriter, which writes later, from another thread: too late if the run is killed.
        self._library = tensorboardX

    def start(self, config: Config, dataset: Dataset, state: TrainingState, origin: str) -> None:
        self._run = Path(str(config.out))
        self._step = (state.epoch - 1) * math.ceil(len(dataset.train) / config.batch_size) + state.tally.batches
        folder = self._run / TENSORBOARD
        folder.mkdir(exist_ok=True)
        # File names contain the time in seconds, which two files may share, and this number.
        number = len(list(folder.iterdir()))
        self._file = self._library.event_file_writer.EventsWriter(str(folder / "events"), f".{number}")
        self._close = weakref.finalize(self, self._file.close)  # also if an error stops the run
        session = self._library.proto.event_pb2.SessionLog  # drops what a stopped run wrote after its last checkpoint
        self._write(step=self._step + 1, session_log=session(status=session.START))

    def batch(self, epoch: int, done: int, total: int, tally: Tally) -> None:
        self._step = (epoch - 1) * total + done
        if done % EVERY == 0:
            self._scalars({"batch/loss": tally.loss, "batch/accuracy": tally.accuracy})

    def epoch(self, epoch: int, row: Row) -> None:
        self._scalars({column.replace("_", "/"): row[column] for column in SCALARS})

    def end(self, metrics: dict[str, Any], test: Evaluation) -> None:
        from PIL import Image

        for name in (CONFUSION, MISTAKES):
            if (self._run / name).exists():
                with Image.open(self._run / name) as figure:
                    pixels = np.asarray(figure.convert("RGB"))  # (H, W, 3)
                image = self._library.summary.image(Path(name).stem, pixels, dataformats="HWC")
                self._write(step=self._step, summary=image)
        self._close()

    def _scalars(self, values: dict[str, float]) -> None:
        for name, value in values.items():
            self._write(step=self._step, summary=self._library.summary.scalar(name, value))
        self._file.flush()

    def _write(self, **content: Any) -> None:
        self._file.write_event(self._library.proto.event_pb2.Event(wall_time=time.time(), **content))
