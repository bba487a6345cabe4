"""``minires train``, and ``minires compare``, which trains plain and residual networks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..core.backend import check_device
from ..errors import StoppedError, counted
from ..explain import write_comparison
from ..training import Config, StopSignals, comparison, read_settings
from ..training import train as run_training
from ..training.comparison import MARGIN, findings, two_digits
from ..training.folder import CONFIG, Row, load_config
from ..training.task import TASKS
from .options import as_options, file_option, given_settings, integers, setting_options
from .output import make_console, print_rows, printable

if TYPE_CHECKING:
    from .progress import TrainingProgress


@setting_options()
def train(
    context: typer.Context,
    config_file: Annotated[
        str | None,
        file_option(
            "Read settings from a TOML file or the config.json of a run. Other options override them.",
            "--config",
            rich_help_panel="Run",
        ),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue the run in the folder where it stopped.", rich_help_panel="Run")
    ] = False,
    **settings: Any,
) -> None:
    """Train a residual network, by default a small one on real handwritten digits in under a minute.

    The run folder holds the network, its history and figures of both. Ctrl-C stops after the current batch and saves a
    checkpoint, from which --resume continues; a second Ctrl-C stops at once.
    """
    from .progress import TrainingProgress, folder_as_word, print_summary

    config = _config(context, config_file, resume)
    check_device(config.device)  # raises errors before the data is loaded
    with TrainingProgress(make_console()) as progress, StopSignals(progress.stopping) as stop:
        try:
            metrics = run_training(config, resume=resume, progress=progress, stop=lambda: stop() or progress.unread)
        except (StoppedError, KeyboardInterrupt) as error:
            if progress.config is None:  # the run folder does not exist yet
                raise
            saved = " and saved" if isinstance(error, StoppedError) else ""
            again = f"minires train --resume --out {folder_as_word(progress.config)}"
            raise stopped(stop, progress, f"{saved}; continue with: {again}") from None
    assert progress.config is not None and progress.test is not None  # the run is complete
    print_summary(progress.config, metrics, progress.test, progress.classes)


def stopped(stop: StopSignals, progress: TrainingProgress, rest: str) -> BaseException:
    """Return the exception for a run that was stopped by a signal, or because its output is no longer read."""
    if progress.unread and stop.received is None:
        return StoppedError(f"the output is no longer read: stopped{rest}")
    return stop.interrupt(rest)


def _config(context: typer.Context, file: str | None, resume: bool) -> Config:
    """Return the settings of the run.

    The command line takes precedence over ``--config``, and that over the run that is resumed. If ``--weights`` names a
    run, its task and model are the defaults. For another task, the default model stands on the network of a classifier.
    """
    given = {**(read_settings(file) if file is not None else {}), **given_settings(context)}
    with as_options(given):
        if resume and given.get("out") and (Path(given["out"]) / CONFIG).is_file():
            return replace(load_config(Path(given["out"])), **given)
        if given.get("weights") and "model" not in given and (Path(given["weights"]) / CONFIG).is_file():
            start = load_config(Path(given["weights"]))
            task = given.setdefault("task", start.task)
            if start.task == "classification" != task and task in TASKS:
                method = TASKS[task].model.partition("_")[0]
                given = {"model": f"{method}_{start.model}", **start.model_options, **given}
            elif start.task == task:
                given = {"model": start.model, **start.model_options, **given}
        return Config(**given)  # if there is no run to resume, train raises an error


@setting_options(
    "data", "epochs", "batch_size", "drop_last", "lr", "schedule", "seed", "device", "out",
    **{name: {"show_default": str(getattr(Config(), name))} for name in ("data", "epochs", "batch_size", "lr")},
    out={"help": "The folder for the runs and figures.", "show_default": "runs/compare-DATA-seedN"},
)  # fmt: skip
def compare(
    depths: Annotated[
        str, typer.Option(metavar="N,N,...", help="Numbers of layers, each 6n + 2.", rich_help_panel="Network")
    ] = "8,20,56",
    **settings: Any,
) -> None:
    """Train plain and residual networks of several depths on the same images in the same order, and compare them.

    With default settings, this takes some minutes on two cores. If it is stopped, the same command continues it.
    """
    from .progress import TrainingProgress

    numbers = integers("--depths", depths, "8,20,56")
    with as_options(settings):
        config = Config(**settings)
    with TrainingProgress(make_console()) as progress, StopSignals(progress.stopping) as stop:
        try:
            rows = comparison.compare(numbers, config, progress, lambda: stop() or progress.unread)
        except (StoppedError, KeyboardInterrupt):
            raise stopped(stop, progress, "; the same command continues from there") from None
    print()
    print_comparison(rows)
    folder = comparison.comparison_folder(config)
    write_comparison(folder, [row["model"] for row in rows], config.device)
    print(f"\nfigures and runs  {printable(str(folder))}")


def print_comparison(rows: list[Row]) -> None:
    """Print the rows of ``compare.csv`` and the conclusions from them."""
    columns = {
        "network": "{model}",
        ">parameters": "{parameters:,}",
        ">train error": "{train_error_percent:.2f} %",
        ">test error": "{test_error_percent:.2f} %",
        ">train loss": "{train_loss:.4f}",
        ">gradient, first/last block": "{first}, then {last}",
        ">time": "{train_seconds:,.0f} s",
    }
    ratios = {"first": "gradient_ratio_first_epoch", "last": "gradient_ratio_last_epoch"}
    print_rows(columns, [{**row, **{name: two_digits(row[ratio]) for name, ratio in ratios.items()}} for row in rows])
    epochs = counted(rows[0]["epochs"], "epoch")
    print(f"after {epochs}, on images without augmentation; gradients: first epoch, then last\n")
    for sentence in findings(rows):
        print(sentence)
    print(f"With one seed, errors that differ by less than {MARGIN} points count as equal.")
