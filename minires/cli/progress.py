"""The output of ``minires train``: a line for each epoch, a progress bar on a terminal, and a summary at the end."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import replace
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from .. import models
from ..data import Dataset, FileSplit
from ..data.annotated import OnDemand
from ..errors import counted, listed, sizes
from ..kernels import on_compile
from ..training import Config, Progress
from ..training.checkpoint import TrainingState
from ..training.config import no_option, option
from ..training.folder import Row
from ..training.task import Tally, Test, find
from .output import percent, printable


class TrainingProgress(Progress):
    """Progress printed to ``console``. Use it in a ``with`` statement, which removes the progress bar at the end.

    Attributes
    ----------
    config : Config or None
        The settings of the run, including its folder; None until the run has started.
    classes : tuple of str
        The names of the classes; empty until the run has started.
    test : Test or None
        The last test; None until the run is complete.
    unread : bool
        Whether the reader of stdout has closed it, as in ``minires train | head -1``. The run should then stop.
    """

    def __init__(self, console: Console) -> None:
        self.config: Config | None = None
        self.classes: tuple[str, ...] = ()
        self.test: Test | None = None
        self.unread = False
        self._console = console
        self._bar = Bar(
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            TextColumn("{task.fields[numbers]}"),
            TimeRemainingColumn(compact=True),
            console=console,
            transient=True,
            expand=True,
            refresh_per_second=4,
            disable=not console.is_terminal,
        )
        self._task = self._bar.add_task("preparing", total=None, numbers="")
        self._kernels = 0  # compiled so far

    def __enter__(self) -> TrainingProgress:
        self._bar.start()
        on_compile.append(self._compiling)
        return self

    def __exit__(self, *error: object) -> None:
        on_compile.remove(self._compiling)
        if not self._bar.disable:  # older versions of Rich would print an empty line
            with suppress(OSError):  # the terminal is closed
                self._bar.stop()

    def start(self, config: Config, dataset: Dataset, state: TrainingState, origin: str) -> None:
        self.config, self.classes = config, dataset.classes
        self._bar.reset(self._task)  # an earlier run may have used it
        parameters = sum(parameter.size for parameter in state.model.parameters())
        learned = sum(parameter.size for parameter in state.model.parameters() if parameter.requires_grad)
        frozen = f" ({learned:,} of them are trained, --freeze {config.freeze})" if learned < parameters else ""
        files = FileSplit, OnDemand
        on_disk = isinstance(dataset.train, files) or isinstance(getattr(dataset.train, "images", None), files)
        kept = ", read from their files batch by batch" if on_disk else ""
        example = find(config.task).example
        augmented = "augmented" if config.augment and dataset.augmentation is not None else "not augmented"
        unused = "" if dataset.val is None else f", {len(dataset.val):,} in val (not used)"
        if origin:
            self._print(origin)
        self._print(
            f"{config.model}: {counted(parameters, 'parameter')}{frozen}, seed {config.seed}, on {config.device}"
        )
        self._print(
            f"{dataset.name}: {counted(len(dataset.train), example)} to train ({augmented}), {len(dataset.test):,} "
            f"to test{unused}, {sizes(dataset.image_shape)}, {len(dataset.classes)} classes{kept}"
        )
        for part, split in (("training", dataset.train), ("test", dataset.test)):
            missing = np.flatnonzero(np.bincount(split.labels, minlength=len(dataset.classes)) == 0)
            if len(missing):
                names = listed([printable(dataset.classes[number]) for number in missing])
                self._print(f"no {part} {example}s of {names}")
        if state.epoch > 1:
            self._print(f"resumed after {counted(state.epoch - 1, 'epoch')} of {config.epochs}")
        if state.epoch <= config.epochs:
            self._print(f"\n{header(state.columns)}")

    def _compiling(self) -> None:
        self._kernels += 1
        self._bar.update(self._task, numbers=f"compiling kernels, once: {self._kernels} so far")

    def batch(self, epoch: int, done: int, total: int, tally: Tally) -> None:
        assert self.config is not None
        epochs = self.config.epochs
        accuracy = f"accuracy {percent(tally.accuracy):>7}  " if tally.judged else ""
        self._bar.update(
            self._task,
            description=f"{epoch}/{epochs}",
            completed=(epoch - 1) * total + done,
            total=epochs * total,
            numbers=f"loss {tally.loss:.3f}  {accuracy}{tally.speed:,.0f} {find(self.config.task).example}s/s  left",
        )

    def epoch(self, epoch: int, row: Row) -> None:
        assert self.config is not None
        cells = [f"{row[name]:>12.4f}" if name.endswith("loss") else f"{percent(row[name]):>10}" for name in shown(row)]
        self._print(f"{epoch:>4}/{self.config.epochs:<4}{''.join(cells)}{row['lr']:>10.5f}{row['seconds']:>10.1f}")

    def stopping(self) -> None:
        """Show that Ctrl-C was received."""
        hint = "stopping: Ctrl-C again stops at once and saves nothing"
        self._bar.columns = (TextColumn(hint), BarColumn(bar_width=None))  # later updates do not replace it

    def end(self, metrics: dict[str, Any], test: Test) -> None:
        self.test = test

    def _print(self, line: str) -> None:
        try:
            self._console.print(line, soft_wrap=True)
        except BrokenPipeError:
            self.unread = True
        except OSError:  # the terminal is closed, or the disk of a log is full; the run goes on
            pass


def shown(columns: Iterable[str]) -> list[str]:
    """Return the columns with results, in the order of the history: losses, and scores from 0 to 1."""
    return [name for name in columns if name not in ("epoch", "lr", "seconds")]


def header(columns: Iterable[str]) -> str:
    """Return the names above the rows that :meth:`TrainingProgress.epoch` prints."""
    names = [(name, *name.split("_", 1)) for name in shown(columns)]  # such as train_loss, train, loss
    cells = [
        f"{name.replace('_', ' '):>12}" if short == "loss" else f"{short.replace('_', ' '):>10}"
        for name, _, short in names
    ]
    return f"epoch    {''.join(cells)}        lr   seconds"


def print_summary(config: Config, metrics: dict[str, Any], test: Test, classes: tuple[str, ...]) -> None:
    """Print how good the network is on the test images, and what to try next.

    Parameters
    ----------
    config : Config
        The settings of a complete run, including its folder.
    metrics : dict
        The content of ``metrics.json``.
    test : Test
        The test after the last epoch.
    classes : tuple of str
        The names of the classes.
    """
    print("\nwhat it learned")
    for name, result in test.summary(classes).items():
        print(f"  {name:<13}  {result}")
    speed = f"{metrics['images_per_second']:,.0f} {find(config.task).example}s/s"
    print(f"  time           {metrics['train_seconds']:.1f} s, {speed}")
    print(f"  run folder     {printable(str(config.out))}")
    print("\nwhat to try next")
    for command, purpose in next_commands(config):
        print(f"  {command}\n      {purpose}")


def next_commands(config: Config) -> Iterator[tuple[str, str]]:
    """Yield commands to try after the run, each with its purpose."""
    folder = folder_as_word(config)
    yield f"minires evaluate {folder}", "its results for each class"
    example = find(config.task).example
    yield f"minires predict {folder} {example.upper()}_OR_FOLDER", f"its predictions for your own {example}s"
    if config.model.startswith("resnet"):
        twin, how = config.model.replace("resnet", "plain"), "without"
    else:
        twin, how = config.model.replace("plain", "resnet"), "with"
    if twin in models.names() and config.weights is None:  # weights fit one network only
        others = {name: getattr(Config, name) for name in config.model_options if name not in models.options(twin)}
        command = f"minires train --model {twin} {options(replace(config, model=twin, **others))}".rstrip()
        yield command, f"the same layers {how} shortcuts"


def options(config: Config) -> str:
    """Return the settings that differ from the defaults, except the model, as options of ``minires train``."""
    words = [] if config.task == Config.task else [f"--task {config.task}"]
    for name in config.differences(Config(task=config.task)):
        value = getattr(config, name)
        if isinstance(value, bool):
            words.append(option(name) if value else no_option(name))
        elif name != "model":
            words.append(f"{option(name)} {shlex.quote(printable(str(value)))}")
    return " ".join(words)


def folder_as_word(config: Config) -> str:
    """Return the run folder, quoted for the shell."""
    return shlex.quote(printable(str(config.out)))
