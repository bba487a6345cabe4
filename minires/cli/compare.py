"""``minires compare``: plain against residual networks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from .. import data as datasets
from ..errors import StoppedError
from ..training import SCHEDULES, Config, StopSignals
from .devices import Device, DeviceOption
from .numbers import integers
from .output import counted, print_table, printable
from .train import DATA, DEFAULT, NETWORK, OPTIMISATION, RUN, as_options, integer_option, number_option, one_of

if TYPE_CHECKING:
    from ..training.folder import Row


def compare(
    depths: Annotated[
        str, typer.Option(metavar="N,N,...", help="Numbers of layers, 6n + 2.", rich_help_panel=NETWORK)
    ] = "8,20,56",
    data: Annotated[str, one_of(datasets.names(), DATA)] = DEFAULT.data,
    epochs: Annotated[int, integer_option(OPTIMISATION, "Passes over the training images.")] = DEFAULT.epochs,
    batch_size: Annotated[int, integer_option(OPTIMISATION, "Images a step.")] = DEFAULT.batch_size,
    lr: Annotated[float, number_option(OPTIMISATION, "The highest learning rate of the schedule.")] = DEFAULT.lr,
    schedule: Annotated[str, one_of(SCHEDULES, OPTIMISATION, "How the learning rate changes. ")] = DEFAULT.schedule,
    seed: Annotated[int, integer_option(RUN, "Decides the first weights and the order of the images.")] = DEFAULT.seed,
    device: DeviceOption = Device.cpu,
    out: Annotated[
        str | None,
        typer.Option(
            metavar="FOLDER",
            help="Where the runs and figures go.",
            show_default="runs/compare-DATA-seedN",
            rich_help_panel=RUN,
        ),
    ] = DEFAULT.out,
) -> None:
    """Train plain and residual networks of several depths on the same images in the same order, and compare them.

    The default takes some minutes on two cores. The same command goes on where it was stopped.
    """
    from ..explain import write_comparison
    from ..training import comparison
    from .output import make_console
    from .progress import TrainingProgress

    numbers = integers("--depths", depths, "8,20,56")
    settings: dict[str, Any] = {
        "data": data,
        "epochs": epochs,
        "batch_size": batch_size,
        "lr": lr,
        "schedule": schedule,
        "seed": seed,
        "device": device.value,
        "out": out,
    }
    with as_options(settings):
        config = Config(**settings)
    with TrainingProgress(make_console()) as progress, StopSignals(progress.stopping) as stop:
        try:
            rows = comparison.compare(numbers, config, progress, stop)
        except (StoppedError, KeyboardInterrupt):
            raise stop.interrupt(f"stopped by {stop.name}; the same command goes on from there") from None
    print()
    print_comparison(rows)
    folder = comparison.comparison_folder(config)
    write_comparison(folder, [row["model"] for row in rows], device.value)
    print(f"\nfigures and runs  {printable(str(folder))}")


def print_comparison(rows: list[Row]) -> None:
    """Print the rows of ``compare.csv``, and what they show."""
    from ..training.comparison import MARGIN, findings, two_digits

    columns = [
        "network",
        ">parameters",
        ">train error",
        ">test error",
        ">train loss",
        ">gradient, first/last block",
        ">time",
    ]
    print_table(
        columns,
        (
            [
                row["model"],
                f"{row['parameters']:,}",
                f"{row['train_error_percent']:.2f} %",
                f"{row['test_error_percent']:.2f} %",
                f"{row['train_loss']:.4f}",
                f"{two_digits(row['gradient_ratio_first_epoch'])}, then {two_digits(row['gradient_ratio_last_epoch'])}",
                f"{row['train_seconds']:,.0f} s",
            ]
            for row in rows
        ),
    )
    print(f"after {counted(rows[0]['epochs'], 'epoch')}, on images as they are; gradients: first epoch, then last\n")
    for sentence in findings(rows):
        print(sentence)
    print(f"One seed: errors that differ by less than {MARGIN} points are called the same.")
