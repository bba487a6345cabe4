"""``minires explain``: pages and figures that show why residual learning works."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .. import data as datasets
from .. import models
from ..errors import ArgumentError, counted
from .options import DataOption, Device, DeviceOption, RunArgument, count, integer, integers
from .output import print_table, printable
from .runs import load_with_data

if TYPE_CHECKING:
    from ..data.dataset import LabelledSource
    from ..explain import Measurement
    from ..training import Run
    from ..training.folder import Row

explain = typer.Typer(help="Look inside: pages and figures of what a network does.")

ImagesOption = Annotated[int, typer.Option(metavar="N", parser=count, help="How many images, chosen at random.")]
MostImagesOption = Annotated[
    int | None,
    typer.Option(metavar="N", parser=count, help="Test on this many images, chosen at random.", show_default="all"),
]
OutOption = Annotated[str, typer.Option(metavar="FILE", help="The figure, a PNG. A file that exists is replaced.")]
CsvOption = Annotated[
    str | None, typer.Option(metavar="FILE", help="Also write the numbers as CSV.", show_default=False)
]
TrialsOption = Annotated[int, typer.Option(metavar="N", parser=count, help="How often each of --counts is tried.")]
SeedOption = Annotated[int, typer.Option(metavar="N", parser=integer, help="Decides what is chosen.")]


@explain.command()
def step(
    model: Annotated[
        str, typer.Option(metavar="NAME", help=f"The model. One of {', '.join(models.names())}.")
    ] = "resnet8",
    data: Annotated[
        str, typer.Option(metavar="NAME", help=f"The data set. One of {', '.join(datasets.names())}.")
    ] = "digits",
    seed: Annotated[int, typer.Option(metavar="N", parser=integer, help="Decides the weights.")] = 0,
    out: Annotated[str, typer.Option(metavar="FILE", help="The page. A file that exists is replaced.")] = "step.html",
) -> None:
    """Write a page that steps through a residual block, node by node.

    The page is one file for any browser and needs no network. The arrow keys
    walk forward and backward through real tensors, with the source of each op
    beside them. The network is cut down to its first block and untrained; the
    image is the first of the data set.
    """
    from ..explain import block_loss
    from ..explain import step as step_through

    example = block_loss(model, data, seed)
    stepper = step_through(example.loss, example.network, {"x": example.x, "loss": example.loss})
    path = stepper.save(out)
    nodes = counted(len(stepper.tape.nodes), "node")
    print(f"{printable(str(path))}: {nodes} forward and backward, {len(stepper.html) / 1000:.0f} kB")


@explain.command()
def flow(
    run: RunArgument,
    data: DataOption = None,
    images: ImagesOption = 256,
    out: OutOption = "flow.png",
    csv: CsvOption = None,
    device: DeviceOption = Device.cpu,
) -> None:
    """Draw the norms of activations and gradients along depth.

    They are measured in one training step, on training images without
    augmentation. The run is not changed.
    """
    from .. import explain

    check_files(out, csv)
    trained, dataset = load_with_data(run, data, device)
    batch = explain.sample(dataset.train, images)
    result = explain.flow(trained.model, trained.normalize(batch.images), batch.labels)
    norms = ("activation_norm", "gradient_norm", "weight_norm", "weight_gradient_norm")
    print_table(
        ["layer", ">activation", ">its gradient", ">weights", ">their gradient"],
        ([row["layer"], *(_three_digits(row[name]) for name in norms)] for row in result.rows),
    )
    print(f"L2 norms over {counted(len(batch), 'training image')}; an activation is the input of the layer")
    write(result, trained, out, csv)


@explain.command()
def responses(
    run: RunArgument,
    data: DataOption = None,
    images: ImagesOption = 256,
    out: OutOption = "responses.png",
    csv: CsvOption = None,
    device: DeviceOption = Device.cpu,
) -> None:
    """Draw the standard deviation of each layer's response, after batch norm.

    Where the response is added to a shortcut, that of the shortcut is drawn too.
    """
    from .. import explain

    check_files(out, csv)
    trained, dataset = load_with_data(run, data, device)
    batch = explain.sample(dataset.test, images)
    result = explain.responses(trained.model, trained.normalize(batch.images))
    print_table(
        ["layer", "after", ">response", ">shortcut"],
        (
            [row["layer"], row["norm"] or "", _three_digits(row["std"]), _three_digits(row["shortcut_std"])]
            for row in result.rows
        ),
    )
    print(f"standard deviations over {counted(len(batch), 'test image')}")
    write(result, trained, out, csv)


@explain.command()
def lesion(
    run: RunArgument,
    data: DataOption = None,
    images: MostImagesOption = None,
    counts: Annotated[
        str | None,
        typer.Option(
            metavar="N,N,...", help="Also take this many blocks out at once, chosen at random.", show_default=False
        ),
    ] = None,
    trials: TrialsOption = 5,
    seed: SeedOption = 0,
    out: OutOption = "lesion.png",
    csv: CsvOption = None,
    device: DeviceOption = Device.cpu,
) -> None:
    """Take each block out in turn, and draw the error of the network without it.

    The shortcut of the block remains; a plain block is replaced by the shortcut
    of its residual twin. Nothing is trained again, and the run is not changed.
    """
    from .. import explain

    check_files(out, csv)
    numbers = integers("--counts", counts, "2,4,8") if counts is not None else []
    trained, test = _with_test_images(run, data, images, device)
    result = explain.lesion(trained.model, test, trained.normalize, None, numbers, trials, seed)
    print_table(
        [">blocks", "taken out", ">error", ">loss"],
        ([str(row["count"]), row["removed"], *_error_and_loss(row)] for row in result.rows),
    )
    print(f"on {counted(len(test), 'test image')}; guessing: {result.guessing_percent:.1f} %")
    write(result, trained, out, csv)


@explain.command()
def swap(
    run: RunArgument,
    data: DataOption = None,
    images: MostImagesOption = None,
    counts: Annotated[
        str | None, typer.Option(metavar="N,N,...", help="How many pairs are swapped.", show_default="1,2,3,4,5")
    ] = None,
    trials: TrialsOption = 5,
    seed: SeedOption = 0,
    out: OutOption = "swap.png",
    csv: CsvOption = None,
    device: DeviceOption = Device.cpu,
) -> None:
    """Swap random pairs of blocks, and draw the error.

    Only blocks that keep the size of their input are swapped. Nothing is
    trained again, and the run is not changed.
    """
    from .. import explain

    check_files(out, csv)
    numbers = integers("--counts", counts, "2,4,8") if counts is not None else None
    trained, test = _with_test_images(run, data, images, device)
    result = explain.swap(trained.model, test, trained.normalize, None, numbers, trials, seed)
    print_table(
        [">pairs", ">Kendall's tau", ">error", ">loss"],
        ([str(row["count"]), f"{row['kendall_tau']:.3f}", *_error_and_loss(row)] for row in result.rows),
    )
    print(f"on {counted(len(test), 'test image')}; guessing: {result.guessing_percent:.1f} %")
    write(result, trained, out, csv)


def check_files(out: str, csv: str | None) -> None:
    """Raise ArgumentError for a file that cannot be written, before anything takes its time."""
    for option, name in (("--out", out), ("--csv", csv)):
        if name is not None and (Path(name).is_dir() or not Path(name).parent.is_dir()):
            raise ArgumentError(f"{option} is {printable(name)!r}; it must be a file in a folder that exists.")
    if Path(out).suffix.lower() != ".png":
        raise ArgumentError(f"--out is {printable(out)!r}; the figure is a PNG, so its name must end in .png.")


def write(result: Measurement, run: Run, out: str, csv: str | None) -> None:
    """Write the figure and the table, and say where they are."""
    result.save(out, f"{run.config.model} on {run.config.data_name}: {result.subject}")
    print(f"\nfigure   {printable(out)}")
    if csv is not None:
        result.save_csv(csv)
        print(f"numbers  {printable(csv)}")


def _with_test_images(run: str, data: str | None, images: int | None, device: Device) -> tuple[Run, LabelledSource]:

    from ..explain import sample

    trained, dataset = load_with_data(run, data, device)
    return trained, dataset.test if images is None else sample(dataset.test, images)


def _three_digits(number: float | None) -> str:
    return "-" if number is None else f"{number:.3g}"


def _error_and_loss(row: Row) -> list[str]:
    return [f"{row['error_percent']:.2f} %", f"{row['loss']:.4f}"]
