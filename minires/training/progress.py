"""What a training run reports while it runs: to a progress bar, to a notebook, to TensorBoard."""

from __future__ import annotations

import math
import time
import weakref
from collections.abc import Sequence
from functools import partialmethod
from pathlib import Path
from typing import Any

import numpy as np

from ..data import Dataset
from ..errors import RunError
from ..nn import Module
from .classification import Evaluation
from .config import Config
from .folder import CONFUSION, MISTAKES, TENSORBOARD


class Progress:
    """Base class, which reports nothing. A subclass overrides the methods that it needs."""

    def start(self, config: Config, model: Module, dataset: Dataset, start_epoch: int) -> None:
        """Training begins with epoch ``start_epoch``, which is 1 unless the run is resumed.

        ``config.out`` is the run folder, also if it was not given.
        """

    def note(self, text: str) -> None:
        """A note about the run before it starts, such as where its initial weights come from."""

    def batch(
        self,
        epoch: int,
        done: int,
        total: int,
        loss: float,
        accuracy: float,
        images_per_second: float,
        seconds_left: float,
    ) -> None:
        """Batch ``done`` of ``total`` is done; both count from 1.

        ``loss`` and ``accuracy`` (0 to 1) are means over the epoch so far; ``seconds_left`` is for the whole run.
        """

    def epoch(self, epoch: int, row: dict[str, Any]) -> None:
        """Epoch ``epoch`` is done, evaluated and saved; ``row`` is its row of ``history.csv``."""

    def end(self, metrics: dict[str, Any], test: Evaluation) -> None:
        """The run is complete; ``metrics`` is the content of ``metrics.json``, ``test`` the last test of the model."""


class Several(Progress):
    """Reports to several watchers."""

    def __init__(self, watchers: Sequence[Progress]) -> None:
        self.watchers = watchers

    def _tell(self, method: str, *told: Any, **named: Any) -> None:
        for watcher in self.watchers:
            getattr(watcher, method)(*told, **named)

    start: Any = partialmethod(_tell, "start")
    note: Any = partialmethod(_tell, "note")
    batch: Any = partialmethod(_tell, "batch")
    epoch: Any = partialmethod(_tell, "epoch")
    end: Any = partialmethod(_tell, "end")


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
        self._step = 0

    def start(self, config: Config, model: Module, dataset: Dataset, start_epoch: int) -> None:
        self._run = Path(str(config.out))
        self._step = (start_epoch - 1) * math.ceil(len(dataset.train) / config.batch_size)
        folder = self._run / TENSORBOARD
        folder.mkdir(exist_ok=True)
        # File names contain the time in seconds, which two files may share, and this number.
        number = len(list(folder.iterdir()))
        self._file = self._library.event_file_writer.EventsWriter(str(folder / "events"), f".{number}")
        self._close = weakref.finalize(self, self._file.close)  # also if an error stops the run
        self._begun = False

    def batch(
        self,
        epoch: int,
        done: int,
        total: int,
        loss: float,
        accuracy: float,
        images_per_second: float,
        seconds_left: float,
    ) -> None:
        self._step = (epoch - 1) * total + done
        if not self._begun:  # TensorBoard then drops what a stopped run wrote after its last checkpoint
            session = self._library.proto.event_pb2.SessionLog
            self._write(step=self._step, session_log=session(status=session.START))
            self._begun = True
        if done % EVERY == 0:
            self._scalars({"batch/loss": loss, "batch/accuracy": accuracy})

    def epoch(self, epoch: int, row: dict[str, Any]) -> None:
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
