"""``minires train``: its options, and the settings that they make."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from .. import data as datasets
from .. import models
from ..backend import DEVICES, check_device
from ..errors import ArgumentError
from ..training import SCHEDULES, Config
from ..training.folder import CONFIG, load_config
from .numbers import integer, number

DEFAULT = Config()


def train(
    context: typer.Context,
    model: Annotated[str, typer.Option(metavar="NAME", help=f"One of {', '.join(models.names())}.")] = DEFAULT.model,
    data: Annotated[str, typer.Option(metavar="NAME", help=f"One of {', '.join(datasets.names())}.")] = DEFAULT.data,
    epochs: Annotated[
        int, typer.Option(metavar="N", parser=integer, help="Passes over the training pictures.")
    ] = DEFAULT.epochs,
    batch_size: Annotated[int, typer.Option(metavar="N", parser=integer, help="Pictures a step.")] = DEFAULT.batch_size,
    lr: Annotated[
        float, typer.Option(metavar="X", parser=number, help="The highest learning rate of the schedule.")
    ] = DEFAULT.lr,
    schedule: Annotated[
        str,
        typer.Option(metavar="NAME", help=f"How the learning rate changes: one of {', '.join(SCHEDULES)}."),
    ] = DEFAULT.schedule,
    augment: Annotated[
        bool, typer.Option("--augment/--no-augment", help="Change training pictures at random, as their data allows.")
    ] = DEFAULT.augment,
    cutout: Annotated[
        int, typer.Option(metavar="N", parser=integer, help="Cut a square of N pixels a side out of training pictures.")
    ] = DEFAULT.cutout,
    mixup: Annotated[
        float, typer.Option(metavar="A", parser=number, help="Mix training pictures in pairs, by shares of Beta(A, A).")
    ] = DEFAULT.mixup,
    device: Annotated[str, typer.Option(metavar="NAME", help=f"One of {', '.join(DEVICES)}.")] = DEFAULT.device,
    seed: Annotated[
        int, typer.Option(metavar="N", parser=integer, help="The same seed gives the same network.")
    ] = DEFAULT.seed,
    out: Annotated[
        str | None,
        typer.Option(metavar="FOLDER", help="The run folder.", show_default="runs/MODEL-DATA-seedN"),
    ] = DEFAULT.out,
    resume: Annotated[bool, typer.Option("--resume", help="Go on where the run in the folder stopped.")] = False,
    save_every: Annotated[
        int, typer.Option(metavar="N", parser=integer, help="Epochs between checkpoints.")
    ] = DEFAULT.save_every,
    workers: Annotated[
        int, typer.Option(metavar="N", parser=integer, help="Threads that prepare batches in advance.")
    ] = DEFAULT.workers,
    tensorboard: Annotated[
        bool, typer.Option("--tensorboard/--no-tensorboard", help="Write event files for TensorBoard, too.")
    ] = DEFAULT.tensorboard,
) -> None:
    """Train a residual network, by default a small one on real handwritten digits in under a minute.

    The run folder keeps the network, its history and figures of both.
    """
    from ..training import train as run_training
    from .output import make_console
    from .progress import TrainingProgress
    from .summary import folder_as_word, print_summary

    config = _settings(context)
    check_device(config.device)  # before anything else takes its time
    with TrainingProgress(make_console()) as progress:
        try:
            metrics = run_training(config, resume=resume, progress=progress)
        except KeyboardInterrupt:
            if progress.config is None:  # there is no folder yet
                raise
            again = f"minires train --resume --out {folder_as_word(progress.config)}"
            raise KeyboardInterrupt(f"stopped by Ctrl-C; go on with: {again}") from None
    assert progress.config is not None and progress.test is not None  # the run is complete
    print_summary(progress.config, metrics, progress.test, progress.classes)


def _settings(context: typer.Context) -> Config:
    """The settings of the command line. A run that is resumed keeps its own, unless others are given."""
    options = {name: value for name, value in context.params.items() if name != "resume"}
    start: Config | None = None
    if context.params["resume"] and options["out"] and (Path(options["out"]) / CONFIG).is_file():
        start = load_config(Path(options["out"]))  # where there is no run, train says so
    try:
        if start is None:
            return Config(**options)
        return replace(start, **{name: value for name, value in options.items() if _is_given(context, name)})
    except ArgumentError as error:
        message = str(error)
        for name in options:  # "train: batch_size is 0; ..." becomes "--batch-size is 0; ..."
            message = message.replace(f"train: {name} is ", f"--{name.replace('_', '-')} is ")
        raise ArgumentError(message) from error


def _is_given(context: typer.Context, name: str) -> bool:
    """Whether the option is on the command line, be it with its default value."""
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"
