"""What a training run tells whoever watches: a progress bar, a notebook, a test, or nobody."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..data import Dataset
from ..nn import Module
from .config import Config
from .evaluation import Evaluation


class Progress:
    """Base class: says nothing. A subclass overrides the methods that it needs."""

    def start(self, config: Config, model: Module, dataset: Dataset, start_epoch: int) -> None:
        """Training begins with epoch ``start_epoch``: 1, or a later one when a run is resumed.

        ``config.out`` is the run folder by now, even if it was not given.
        """

    def note(self, text: str) -> None:
        """Something about the run that is worth knowing, before it starts: where its first weights come from."""

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
        """Batch number ``done`` of ``total`` is done, both counted from 1.

        ``loss`` and ``accuracy`` (0 to 1) are means over the epoch so far; ``seconds_left`` is for the whole run.
        """

    def epoch(self, epoch: int, row: dict[str, Any]) -> None:
        """Epoch number ``epoch`` is done, evaluated and saved; ``row`` is its row of ``history.csv``."""

    def end(self, metrics: dict[str, Any], test: Evaluation) -> None:
        """The run is complete: ``metrics`` is what ``metrics.json`` holds, ``test`` the last test of the model."""


class Several(Progress):
    """Tells each of several watchers in turn."""

    def __init__(self, watchers: Sequence[Progress]) -> None:
        self.watchers = watchers

    def start(self, *told: Any, **named: Any) -> None:
        for watcher in self.watchers:
            watcher.start(*told, **named)

    def note(self, *told: Any, **named: Any) -> None:
        for watcher in self.watchers:
            watcher.note(*told, **named)

    def batch(self, *told: Any, **named: Any) -> None:
        for watcher in self.watchers:
            watcher.batch(*told, **named)

    def epoch(self, *told: Any, **named: Any) -> None:
        for watcher in self.watchers:
            watcher.epoch(*told, **named)

    def end(self, *told: Any, **named: Any) -> None:
        for watcher in self.watchers:
            watcher.end(*told, **named)
