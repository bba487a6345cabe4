"""``minires train``: its options, and the settings that they make."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import fields, replace
from pathlib import Path
from typing import Annotated, Any

import typer

from .. import data as datasets
from .. import models
from ..core.backend import DEVICES, check_device
from ..errors import ArgumentError, StoppedError
from ..training import OPTIMIZERS, SCHEDULES, Config, StopSignals, read_settings
from ..training.folder import CONFIG, load_config
from .numbers import integer, number
from .output import option

DEFAULT = Config()
DATA, NETWORK, OPTIMISATION, AUGMENTATION, RUN = "Data", "Network", "Optimisation", "Augmentation", "Run"


def one_of(choices: Iterable[str], panel: str, help: str = "") -> Any:
    return typer.Option(metavar="NAME", help=f"{help}One of {', '.join(choices)}.", rich_help_panel=panel)


def integer_option(panel: str, help: str) -> Any:
    return typer.Option(metavar="N", parser=integer, help=help, rich_help_panel=panel)


def number_option(panel: str, help: str, default: str | None = None) -> Any:
    return typer.Option(metavar="X", parser=number, help=help, show_default=default or True, rich_help_panel=panel)


def _by_optimizer(name: str) -> str:
    """E.g. ``sgd 0.1, adam 0.001, adamw 0.001``."""
    return ", ".join(f"{optimizer} {defaults[name]:g}" for optimizer, defaults in OPTIMIZERS.items())


def train(
    context: typer.Context,
    data: Annotated[
        str,
        typer.Option(
            metavar="NAME_OR_FOLDER",
            help=f"One of {', '.join(datasets.names())}, or a folder of images: with a folder for each class.",
            rich_help_panel=DATA,
        ),
    ] = DEFAULT.data,
    size: Annotated[
        int, integer_option(DATA, "Resize the images of a folder to N x N pixels; 0 for their own size.")
    ] = DEFAULT.size,
    model: Annotated[str, one_of(models.names(), NETWORK)] = DEFAULT.model,
    weights: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="RUN_OR_WEIGHTS",
            help="Start from the weights of a run, or of a file (safetensors, npz), with a new head for new classes.",
            show_default="random weights",
            rich_help_panel=NETWORK,
        ),
    ] = DEFAULT.weights,
    freeze: Annotated[
        str | None,
        typer.Option(
            metavar="PART",
            help="Leave the network up to this part as it is: layer1, layer2, ..., or backbone for all but the head.",
            show_default="all of it learns",
            rich_help_panel=NETWORK,
        ),
    ] = DEFAULT.freeze,
    epochs: Annotated[int, integer_option(OPTIMISATION, "Passes over the training images.")] = DEFAULT.epochs,
    batch_size: Annotated[int, integer_option(OPTIMISATION, "Images a step.")] = DEFAULT.batch_size,
    optimizer: Annotated[str, one_of(OPTIMIZERS, OPTIMISATION)] = DEFAULT.optimizer,
    lr: Annotated[
        float, number_option(OPTIMISATION, "The highest learning rate of the schedule.", _by_optimizer("lr"))
    ] = DEFAULT.lr,
    schedule: Annotated[str, one_of(SCHEDULES, OPTIMISATION, "How the learning rate changes. ")] = DEFAULT.schedule,
    warmup: Annotated[float, number_option(OPTIMISATION, "Epochs in which the learning rate rises.")] = DEFAULT.warmup,
    momentum: Annotated[
        float, number_option(OPTIMISATION, "Of sgd; of the others, the first beta.")
    ] = DEFAULT.momentum,
    weight_decay: Annotated[
        float, number_option(OPTIMISATION, "How strongly weights are drawn to zero.", _by_optimizer("weight_decay"))
    ] = DEFAULT.weight_decay,
    clip: Annotated[
        float, number_option(OPTIMISATION, "The largest norm of all gradients together; 0 for any.")
    ] = DEFAULT.clip,
    ema: Annotated[
        float, number_option(OPTIMISATION, "Test and keep the average of the weights with this decay; 0 for none.")
    ] = DEFAULT.ema,
    label_smoothing: Annotated[
        float, number_option(OPTIMISATION, "The part of each target that all classes share.")
    ] = DEFAULT.label_smoothing,
    augment: Annotated[
        bool,
        typer.Option(
            "--augment/--no-augment",
            help="Change training images at random, as their data allows.",
            rich_help_panel=AUGMENTATION,
        ),
    ] = DEFAULT.augment,
    color_jitter: Annotated[
        float, number_option(AUGMENTATION, "Change brightness, contrast and saturation by factors of 1 - X to 1 + X.")
    ] = DEFAULT.color_jitter,
    cutout: Annotated[
        int, integer_option(AUGMENTATION, "Cut a square of N pixels a side out of training images.")
    ] = DEFAULT.cutout,
    mixup: Annotated[
        float, number_option(AUGMENTATION, "Mix training images in pairs, by shares of Beta(X, X).")
    ] = DEFAULT.mixup,
    flip_test: Annotated[
        bool,
        typer.Option(
            "--flip-test/--no-flip-test",
            help="Test and predict by the mean of each image and its mirror image.",
            rich_help_panel=AUGMENTATION,
        ),
    ] = DEFAULT.flip_test,
    config_file: Annotated[
        str | None,
        typer.Option(
            "--config",
            metavar="FILE",
            help="Settings from a TOML file, or the config.json of a run. Options on the command line win.",
            rich_help_panel=RUN,
        ),
    ] = None,
    device: Annotated[str, one_of(DEVICES, RUN)] = DEFAULT.device,
    seed: Annotated[int, integer_option(RUN, "The same seed gives the same network.")] = DEFAULT.seed,
    out: Annotated[
        str | None,
        typer.Option(
            metavar="FOLDER", help="The run folder.", show_default="runs/MODEL-DATA-seedN", rich_help_panel=RUN
        ),
    ] = DEFAULT.out,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on where the run in the folder stopped.", rich_help_panel=RUN)
    ] = False,
    save_every: Annotated[int, integer_option(RUN, "Epochs between checkpoints.")] = DEFAULT.save_every,
    workers: Annotated[int, integer_option(RUN, "Threads that prepare batches in advance.")] = DEFAULT.workers,
    log_gradients: Annotated[
        bool,
        typer.Option(
            "--log-gradients", help="Write the norm of each layer's gradient, epoch by epoch.", rich_help_panel=RUN
        ),
    ] = DEFAULT.log_gradients,
    tensorboard: Annotated[
        bool,
        typer.Option(
            "--tensorboard/--no-tensorboard", help="Write event files for TensorBoard, too.", rich_help_panel=RUN
        ),
    ] = DEFAULT.tensorboard,
) -> None:
    """Train a residual network, by default a small one on real handwritten digits in under a minute.

    The run folder keeps the network, its history and figures of both. Ctrl-C stops with a checkpoint of that very
    moment, from which --resume goes on; a second Ctrl-C stops at once.
    """
    from ..training import train as run_training
    from .output import make_console
    from .progress import TrainingProgress
    from .summary import folder_as_word, print_summary

    config = _settings(context)
    check_device(config.device)  # before anything else takes its time
    with TrainingProgress(make_console()) as progress, StopSignals(progress.stopping) as stop:
        try:
            metrics = run_training(config, resume=resume, progress=progress, stop=stop)
        except (StoppedError, KeyboardInterrupt) as error:
            if progress.config is None:  # there is no folder yet
                raise
            saved = " and saved" if isinstance(error, StoppedError) else ""
            again = f"minires train --resume --out {folder_as_word(progress.config)}"
            raise stop.interrupt(f"stopped by {stop.name}{saved}; go on with: {again}") from None
    assert progress.config is not None and progress.test is not None  # the run is complete
    print_summary(progress.config, metrics, progress.test, progress.classes)


def _settings(context: typer.Context) -> Config:
    """The settings on the command line, then those of ``--config``. A run that is resumed keeps its own otherwise."""
    file = context.params["config_file"]
    given = read_settings(file) if file is not None else {}
    for field in fields(Config):
        if _is_given(context, field.name):
            given[field.name] = context.params[field.name]
    with as_options(given):
        if context.params["resume"] and given.get("out") and (Path(given["out"]) / CONFIG).is_file():
            return replace(load_config(Path(given["out"])), **given)
        if given.get("weights") and "model" not in given and (Path(given["weights"]) / CONFIG).is_file():
            given["model"] = load_config(Path(given["weights"])).model
        return Config(**given)  # where there is no run to resume, train says so


@contextmanager
def as_options(names: Iterable[str]) -> Iterator[None]:
    """In what ``Config`` says is wrong, name options: ``train: batch_size is 0`` becomes ``--batch-size is 0``."""
    try:
        yield
    except ArgumentError as error:
        message = str(error)
        for name in names:
            message = message.replace(f"train: {name} is ", f"{option(name)} is ")
        raise ArgumentError(message) from error


def _is_given(context: typer.Context, name: str) -> bool:
    """Whether the option is on the command line, be it with its default value."""
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"
