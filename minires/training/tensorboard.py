"""Event files, for those who watch their runs in TensorBoard: ``tensorboard --logdir runs``."""

from __future__ import annotations

import math
import time
import weakref
from pathlib import Path
from typing import Any

import numpy as np

from ..data import Dataset
from ..errors import RunError
from ..nn import Module
from .config import Config
from .evaluation import Evaluation
from .folder import CONFUSION, MISTAKES, TENSORBOARD
from .progress import Progress

SCALARS = ("lr", "train_loss", "train_accuracy", "test_loss", "test_accuracy")  # of a row of the history
EVERY = 20  # batches between two points of an epoch


class TensorBoard(Progress):
    """Writes the numbers of ``history.csv`` into the run folder as scalars, and the figures of test images as images.

    A step is a batch: an epoch's numbers stand at its last one. In between, ``batch/loss`` and ``batch/accuracy`` are
    means over the epoch so far, as in a progress bar.

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
        # Its SummaryWriter would write from another thread, some time later: too late for a run that is killed.
        self._library = tensorboardX
        self._step = 0

    def start(self, config: Config, model: Module, dataset: Dataset, start_epoch: int) -> None:
        self._run = Path(str(config.out))
        self._step = (start_epoch - 1) * math.ceil(len(dataset.train) / config.batch_size)
        folder = self._run / TENSORBOARD
        folder.mkdir(exist_ok=True)
        # The names of files differ by the second in which they are begun, and by a number.
        number = len(list(folder.iterdir()))
        self._file = self._library.event_file_writer.EventsWriter(str(folder / "events"), f".{number}")
        self._close = weakref.finalize(self, self._file.close)  # at the end, or when an error has stopped the run
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
        if not self._begun:  # here, TensorBoard forgets what a stopped run wrote after its last checkpoint
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
