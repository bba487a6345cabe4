"""Progress reports of a training run, for a progress bar, a notebook or TensorBoard."""

from __future__ import annotations

import math
import time
import weakref
from pathlib import Path
from typing import Any

import numpy as np

from ..data import Dataset
from ..errors import RunError
from .checkpoint import TrainingState, saving
from .config import Config
from .folder import CURVES, GRADIENTS_FIGURE, TENSORBOARD, Row
from .task import Tally, Test


class Progress:
    """Base class of progress reports, which reports nothing. A subclass overrides the methods that it needs."""

    def start(self, config: Config, dataset: Dataset, state: TrainingState, origin: str) -> None:
        """Called before training begins, with the state before the first batch or, in a resumed run, the next one.

        ``config.out`` is the run folder, even if it was not given. ``origin`` describes where the initial weights come
        from, and is empty if they are random.
        """

    def batch(self, epoch: int, done: int, total: int, tally: Tally) -> None:
        """Called after batch ``done`` of ``total``, both counted from 1. ``tally`` covers the epoch so far."""

    def epoch(self, epoch: int, row: Row) -> None:
        """Called after epoch ``epoch`` was trained, tested and written to ``history.csv``; ``row`` is its row there."""

    def end(self, metrics: dict[str, Any], test: Test) -> None:
        """Called when the run is complete, with the content of ``metrics.json`` and the last test of the model."""


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
        # Its SummaryWriter is not used: it writes later, from another thread, which is too late if the run is killed.
        self._library = tensorboardX

    def start(self, config: Config, dataset: Dataset, state: TrainingState, origin: str) -> None:
        self._run = Path(str(config.out))
        images = len(dataset.train)
        batches = images // config.batch_size if config.drop_last else math.ceil(images / config.batch_size)
        self._step = (state.epoch - 1) * batches + state.tally.batches
        folder = self._run / TENSORBOARD
        with saving(self._run):
            folder.mkdir(exist_ok=True)
            # File names contain the time in seconds, which two files may share, and this number.
            number = len(list(folder.iterdir()))
            self._file = self._library.event_file_writer.EventsWriter(str(folder / "events"), f".{number}")
        self._close = weakref.finalize(self, self._file.close)  # also if an error stops the run
        session = self._library.proto.event_pb2.SessionLog  # drops what was written after the last checkpoint
        self._write(step=self._step + 1, session_log=session(status=session.START))

    def batch(self, epoch: int, done: int, total: int, tally: Tally) -> None:
        self._step = (epoch - 1) * total + done
        if done % EVERY == 0:
            accuracy = {"batch/accuracy": tally.accuracy} if tally.judged else {}
            self._scalars({"batch/loss": tally.loss, **accuracy})

    def epoch(self, epoch: int, row: Row) -> None:
        self._scalars({name.replace("_", "/", 1): row[name] for name in row if name not in ("epoch", "seconds")})

    def end(self, metrics: dict[str, Any], test: Test) -> None:
        from PIL import Image

        for path in sorted(self._run.glob("*.png")):
            if path.name not in (CURVES, GRADIENTS_FIGURE):  # which TensorBoard draws itself
                with Image.open(path) as figure:
                    pixels = np.asarray(figure.convert("RGB"))  # (H, W, 3)
                image = self._library.summary.image(path.stem, pixels, dataformats="HWC")
                self._write(step=self._step, summary=image)
        self._close()

    def _scalars(self, values: dict[str, float]) -> None:
        for name, value in values.items():
            self._write(step=self._step, summary=self._library.summary.scalar(name, value))
        with saving(self._run):
            self._file.flush()

    def _write(self, **content: Any) -> None:
        with saving(self._run):
            self._file.write_event(self._library.proto.event_pb2.Event(wall_time=time.time(), **content))
