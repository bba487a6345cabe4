"""What ``minires train`` shows while it trains: a line for each epoch, and on a terminal a bar below them."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.progress import BarColumn, TextColumn
from rich.progress import Progress as Bar

from ..data import Dataset, Split
from ..errors import sizes
from ..nn import Module
from ..training import Config, Evaluation, Progress
from .output import counted, percent

HEADER = "epoch      train loss  accuracy   test loss  accuracy        lr   seconds"


class TrainingProgress(Progress):
    """Prints on ``console``; used in a ``with``, which takes the bar away at the end, however it comes.

    Attributes
    ----------
    config : Config or None
        That of the run, once it has started, with its folder.
    classes : tuple of str
    test : Evaluation or None
        The last test of the run, once it is complete.
    """

    def __init__(self, console: Console) -> None:
        self.config: Config | None = None
        self.classes: tuple[str, ...] = ()
        self.test: Evaluation | None = None
        self._console = console
        self._bar = Bar(
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            TextColumn("{task.fields[numbers]}"),
            console=console,
            transient=True,
            expand=True,
            refresh_per_second=4,
            disable=not console.is_terminal,
        )
        self._task = self._bar.add_task("preparing", total=None, numbers="")

    def __enter__(self) -> TrainingProgress:
        self._bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        if not self._bar.disable:  # older versions of Rich print an empty line even then
            self._bar.stop()

    def start(self, config: Config, model: Module, dataset: Dataset, start_epoch: int) -> None:
        self.config, self.classes = config, dataset.classes
        parameters = sum(parameter.size for parameter in model.parameters())
        learned = sum(parameter.size for parameter in model.parameters() if parameter.requires_grad)
        frozen = f" ({learned:,} of them learn, --freeze {config.freeze})" if learned < parameters else ""
        kept = "" if isinstance(dataset.train, Split) else ", read from their files batch by batch"
        augmented = "augmented" if config.augment and dataset.augmentation is not None else "as they are"
        self._print(
            f"{config.model}: {counted(parameters, 'parameter')}{frozen}, seed {config.seed}, on {config.device}"
        )
        self._print(
            f"{dataset.name}: {counted(len(dataset.train), 'image')} to train ({augmented}), {len(dataset.test):,} "
            f"to test, {sizes(dataset.image_shape)}, {len(dataset.classes)} classes{kept}"
        )
        if start_epoch > 1:
            self._print(f"resumed: {counted(start_epoch - 1, 'epoch')} of {config.epochs} are done")
        if start_epoch <= config.epochs:
            self._print(f"\n{HEADER}")

    def note(self, text: str) -> None:
        self._print(text)

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
        assert self.config is not None
        epochs = self.config.epochs
        numbers = (
            f"loss {loss:.3f}  accuracy {percent(accuracy):>7}  {images_per_second:,.0f} images/s  "
            f"{duration(seconds_left)} left"
        )
        self._bar.update(
            self._task,
            description=f"{epoch}/{epochs}",
            completed=(epoch - 1) * total + done,
            total=epochs * total,
            numbers=numbers,
        )

    def epoch(self, epoch: int, row: dict[str, Any]) -> None:
        assert self.config is not None
        self._print(
            f"{epoch:>4}/{self.config.epochs:<4}{row['train_loss']:>12.4f}{percent(row['train_accuracy']):>10}"
            f"{row['test_loss']:>12.4f}{percent(row['test_accuracy']):>10}{row['lr']:>10.5f}{row['seconds']:>10.1f}"
        )

    def stopping(self) -> None:
        """Say that Ctrl-C was understood."""
        self._bar.update(self._task, description="stopping", numbers="Ctrl-C again stops at once, and saves nothing")

    def end(self, metrics: dict[str, Any], test: Evaluation) -> None:
        self.test = test

    def _print(self, line: str) -> None:
        self._console.print(line, soft_wrap=True)


def duration(seconds: float) -> str:
    """E.g. ``0:07``, ``12:30``, ``1:02:03``."""
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"
