"""Counting: the loss, accuracy and speed of an epoch, its row in the history, and the result of a run."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..core.tensor import Tensor
from ..data import Dataset
from ..nn import Module
from ..version import __version__
from .config import Config
from .evaluation import Evaluation
from .folder import Row


@dataclass
class Tally:
    """Loss, accuracy and speed of an epoch so far, over the images as they were seen: augmented, in training mode.

    ``lr`` is the learning rate that the epoch began with. A run may be stopped and resumed within the epoch.
    """

    lr: float
    batches: int = 0
    images: int = 0
    correct: int = 0
    summed_loss: float = 0.0
    seconds: float = 0.0

    def start_clock(self) -> None:
        """Go on counting seconds."""
        self._start = time.perf_counter() - self.seconds

    def add(self, loss: Tensor, logits: Tensor, labels: np.ndarray[Any, Any]) -> None:
        """Count a batch: its mean loss, its logits (B, K) and labels (B,)."""
        self.batches += 1
        self.images += len(labels)
        self.correct += int((logits.numpy().argmax(axis=1) == labels).sum())
        self.summed_loss += loss.item() * len(labels)
        self.seconds = time.perf_counter() - self._start

    @property
    def loss(self) -> float:
        return self.summed_loss / self.images

    @property
    def accuracy(self) -> float:
        return self.correct / self.images

    @property
    def speed(self) -> float:
        """Images a second."""
        return self.images / self.seconds


def history_row(epoch: int, tally: Tally, test: Evaluation) -> Row:
    """What ``history.csv`` keeps of an epoch."""
    return {
        "epoch": epoch,
        "lr": tally.lr,
        "train_loss": tally.loss,
        "train_accuracy": tally.accuracy,
        "test_loss": test.loss,
        "test_accuracy": test.accuracy,
        "seconds": tally.seconds,
    }


def result(config: Config, dataset: Dataset, model: Module, history: list[Row], test: Evaluation) -> dict[str, Any]:
    """What ``metrics.json`` holds. Evaluation takes no part in ``train_seconds`` and ``images_per_second``."""
    train_seconds = sum(row["seconds"] for row in history)
    return {
        "model": config.model,
        "data": config.data,
        "epochs": config.epochs,
        "seed": config.seed,
        "device": config.device,
        "test_accuracy": test.accuracy,
        "test_error_percent": 100 * test.errors / len(dataset.test),
        "test_loss": test.loss,
        "train_seconds": train_seconds,
        "images_per_second": config.epochs * len(dataset.train) / train_seconds,
        "parameters": sum(parameter.size for parameter in model.parameters()),
        "out": config.out,
        "minires": __version__,
    }
