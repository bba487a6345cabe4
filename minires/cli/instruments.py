"""``minires explain flow|responses|lesion|swap``: the instruments on a trained network."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import ArgumentError
from .devices import Device, DeviceOption
from .evaluate import load_with_data
from .numbers import count, integer, integers
from .output import counted, print_table, printable

if TYPE_CHECKING:
    from ..data import Dataset
    from ..data.dataset import LabelledSource
    from ..explain import Measurement
    from ..training import Run
    from ..training.folder import Row

RunArgument = Annotated[str, typer.Argument(metavar="RUN", help="The folder of a training run.")]
DataOption = Annotated[
    str | None,
    typer.Option(metavar="NAME_OR_FOLDER", help="Another data set or folder of the same classes.", show_default=False),
]
ImagesOption = Annotated[int, typer.Option(metavar="N", parser=count, help="How many images, chosen at random.")]
MostImagesOption = Annotated[
    int | None,
    typer.Option(metavar="N", parser=count, help="Test on so many images, chosen at random.", show_default="all"),
]
OutOption = Annotated[str, typer.Option(metavar="FILE", help="The figure, a PNG. A file that exists is replaced.")]
CsvOption = Annotated[
    str | None, typer.Option(metavar="FILE", help="Write the numbers as CSV, too.", show_default=False)
]
TrialsOption = Annotated[int, typer.Option(metavar="N", parser=count, help="How often each of --counts is tried.")]
SeedOption = Annotated[int, typer.Option(metavar="N", parser=integer, help="Decides what is chosen.")]


def flow(
    run: RunArgument,
    data: DataOption = None,
    images: ImagesOption = 256,
    out: OutOption = "flow.png",
    csv: CsvOption = None,
    device: DeviceOption = Device.cpu,
) -> None:
    """Draw the norms of activations and gradients along depth.

    They are those of one training step, on training images as they
    are. The run stays as it is.
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
    print(f"L2 norms, over {counted(len(batch), 'training image')}; an activation is what the layer reads")
    write(result, trained, out, csv)


def responses(
    run: RunArgument,
    data: DataOption = None,
    images: ImagesOption = 256,
    out: OutOption = "responses.png",
    csv: CsvOption = None,
    device: DeviceOption = Device.cpu,
) -> None:
    """Draw the standard deviation of each layer's response, after batch norm.

    Beside it that of the shortcut, where the response is added to one.
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
    print(f"standard deviations, over {counted(len(batch), 'test image')}")
    write(result, trained, out, csv)


def lesion(
    run: RunArgument,
    data: DataOption = None,
    images: MostImagesOption = None,
    counts: Annotated[
        str | None,
        typer.Option(
            metavar="N,N,...", help="Also take so many blocks out at once, chosen at random.", show_default=False
        ),
    ] = None,
    trials: TrialsOption = 5,
    seed: SeedOption = 0,
    out: OutOption = "lesion.png",
    csv: CsvOption = None,
    device: DeviceOption = Device.cpu,
) -> None:
    """Take each block out in turn, and draw the error of what is left.

    The shortcut of the block remains; a plain block is replaced by the one
    that its residual twin has. Nothing is trained again, and the run stays
    as it is.
    """
    from .. import explain

    check_files(out, csv)
    numbers = None if counts is None else integers("--counts", counts, "2,4,8")
    trained, dataset = load_with_data(run, data, device)
    test = _test_images(dataset, images)
    result = explain.lesion(trained.model, test, trained.normalize, None, numbers or (), trials, seed)
    print_table(
        [">blocks", "taken out", ">error", ">loss"],
        ([str(row["count"]), row["removed"], *_error_and_loss(row)] for row in result.rows),
    )
    print(f"on {counted(len(test), 'test image')}; guessing: {result.guessing_percent:.1f} %")
    write(result, trained, out, csv)


def swap(
    run: RunArgument,
    data: DataOption = None,
    images: MostImagesOption = None,
    counts: Annotated[
        str | None, typer.Option(metavar="N,N,...", help="How many pairs change places.", show_default="1,2,3,4,5")
    ] = None,
    trials: TrialsOption = 5,
    seed: SeedOption = 0,
    out: OutOption = "swap.png",
    csv: CsvOption = None,
    device: DeviceOption = Device.cpu,
) -> None:
    """Let random pairs of blocks change places, and draw the error.

    They are blocks that keep the size of their input. Nothing is trained
    again, and the run stays as it is.
    """
    from .. import explain

    check_files(out, csv)
    numbers = None if counts is None else integers("--counts", counts, "2,4,8")
    trained, dataset = load_with_data(run, data, device)
    test = _test_images(dataset, images)
    result = explain.swap(trained.model, test, trained.normalize, None, numbers, trials, seed)
    print_table(
        [">pairs", ">Kendall's tau", ">error", ">loss"],
        ([str(row["count"]), f"{row['kendall_tau']:.3f}", *_error_and_loss(row)] for row in result.rows),
    )
    print(f"on {counted(len(test), 'test image')}; guessing: {result.guessing_percent:.1f} %")
    write(result, trained, out, csv)


def check_files(out: str, csv: str | None) -> None:
    """Raise ArgumentError, before anything takes its time, for a file that cannot be written."""
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


def _test_images(dataset: Dataset, count: int | None) -> LabelledSource:
    from .. import explain

    return dataset.test if count is None else explain.sample(dataset.test, count)


def _three_digits(number: float | None) -> str:
    return "-" if number is None else f"{number:.3g}"


def _error_and_loss(row: Row) -> list[str]:
    return [f"{row['error_percent']:.2f} %", f"{row['loss']:.4f}"]
