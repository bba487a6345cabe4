"""``minires explain``: pages and figures that show why residual learning works."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import typer

from .. import data as datasets
from .. import explain as instruments
from .. import models
from ..data import Dataset
from ..errors import counted
from ..training import Run
from .options import (
    DataOption,
    DeviceOption,
    RunArgument,
    check_output,
    count_option,
    file_option,
    integer,
    integers,
    parameters_of,
    with_parameters,
)
from .output import print_rows, printable
from .runs import load_with_data

# A measurement, the columns of its table (in the format of print_rows), and the line below the table.
Shown = tuple[instruments.Measurement, dict[str, str], str]

explain = typer.Typer(help="Look inside a network: pages and figures that show what it does.")

ImagesOption = Annotated[int, count_option("Number of images, chosen at random.")]
MostImagesOption = Annotated[
    int | None, count_option("Test on this many images, chosen at random.", show_default="all")
]
OutOption = Annotated[str, file_option("The PNG file for the figure. An existing file is replaced.")]
CsvOption = Annotated[str | None, file_option("Also write the numbers as CSV.")]
TrialsOption = Annotated[int, count_option("Number of trials for each of --counts.")]
SeedOption = Annotated[int, typer.Option(metavar="N", parser=integer, help="Seed of the random choices.")]
ERROR_AND_LOSS = {">error": "{error_percent:.2f} %", ">loss": "{loss:.4f}"}


@explain.command()
def step(
    model: Annotated[
        str, typer.Option(metavar="NAME", help=f"The model. One of {', '.join(models.names())}.")
    ] = "resnet8",
    data: Annotated[
        str, typer.Option(metavar="NAME", help=f"The data set. One of {', '.join(datasets.names())}.")
    ] = "digits",
    seed: Annotated[int, typer.Option(metavar="N", parser=integer, help="Seed of the initial weights.")] = 0,
    out: Annotated[str, file_option("The HTML file for the page. An existing file is replaced.")] = "step.html",
) -> None:
    """Write a page that steps through a residual block, node by node.

    The page is one file for any browser and needs no network. The arrow keys
    walk forward and backward through real tensors, with the source of each op
    beside them. The network is cut down to its first block and untrained; the
    image is the first of the data set.
    """
    example = instruments.block_loss(model, data, seed)
    stepper = instruments.step(example.loss, example.network, {"x": example.x, "loss": example.loss})
    path = stepper.save(out)
    nodes = counted(len(stepper.tape.nodes), "node")
    print(f"{printable(str(path))}: {nodes} forward and backward, {len(stepper.html) / 1000:.0f} kB")


def instrument(measure: Callable[..., Shown]) -> Callable[..., Shown]:
    """Turn ``measure``, a function of a run and its data set, into a command that prints and saves its result.

    The other parameters of ``measure`` become options of the command, in addition to those that all instruments share.
    """

    def command(
        run: RunArgument,
        data: DataOption = None,
        out: OutOption = f"{measure.__name__}.png",
        csv: CsvOption = None,
        device: DeviceOption = "cpu",
        **own: Any,
    ) -> None:
        check_output("--out", out, ".png")
        check_output("--csv", csv)
        trained, dataset = load_with_data(run, data, device, "classification")
        result, columns, note = measure(trained, dataset, **own)
        print_rows(columns, result.rows)
        print(note)
        result.save(out, f"{trained.config.model} on {trained.config.data_name}: {result.subject}")
        print(f"\nfigure   {printable(out)}")
        if csv is not None:
            result.save_csv(csv)
            print(f"numbers  {printable(csv)}")

    run, data, *shared, _ = parameters_of(command)
    _, _, *others = parameters_of(measure)
    explain.command(measure.__name__, help=measure.__doc__)(with_parameters(command, [run, data, *others, *shared]))
    return measure


@instrument
def flow(trained: Run, dataset: Dataset, images: ImagesOption = 256) -> Shown:
    """Draw the norms of activations and gradients along depth.

    They are measured in one training step, on training images without
    augmentation. The run is not changed.
    """
    batch = instruments.sample(dataset.train, images)
    result = instruments.flow(trained.model, trained.normalize(batch.images), batch.labels)
    columns = {
        "layer": "{layer}",
        ">activation": "{activation_norm:.3g}",
        ">its gradient": "{gradient_norm:.3g}",
        ">weights": "{weight_norm:.3g}",
        ">their gradient": "{weight_gradient_norm:.3g}",
    }
    images_used = counted(len(batch), "training image")
    return result, columns, f"L2 norms over {images_used}; an activation is the input of the layer"


@instrument
def responses(trained: Run, dataset: Dataset, images: ImagesOption = 256) -> Shown:
    """Draw the standard deviation of each layer's response, after batch norm.

    Where the response is added to a shortcut, the standard deviation of
    the shortcut is drawn too.
    """
    batch = instruments.sample(dataset.test, images)
    result = instruments.responses(trained.model, trained.normalize(batch.images))
    columns = {
        "layer": "{layer}", "after": "{norm}", ">response": "{std:.3g}", ">shortcut": "{shortcut_std:.3g}"
    }  # fmt: skip
    return result, columns, f"standard deviations over {counted(len(batch), 'test image')}"


@instrument
def lesion(
    trained: Run,
    dataset: Dataset,
    images: MostImagesOption = None,
    counts: Annotated[
        str | None, typer.Option(metavar="N,N,...", help="Also take out this many blocks at once, chosen at random.")
    ] = None,
    trials: TrialsOption = 5,
    seed: SeedOption = 0,
) -> Shown:
    """Take each block out in turn, and draw the error of the network without it.

    The shortcut of the block remains; a plain block is replaced by the shortcut
    of its residual twin. Nothing is retrained, and the run is not changed.
    """
    numbers = integers("--counts", counts, "2,4,8") if counts is not None else []
    test = dataset.test if images is None else instruments.sample(dataset.test, images)
    result = instruments.lesion(trained.model, test, trained.normalize, None, numbers, trials, seed)
    columns = {">blocks": "{count}", "taken out": "{removed}", **ERROR_AND_LOSS}
    return result, columns, f"on {counted(len(test), 'test image')}; guessing: {result.guessing_percent:.1f} %"


@instrument
def swap(
    trained: Run,
    dataset: Dataset,
    images: MostImagesOption = None,
    counts: Annotated[
        str | None, typer.Option(metavar="N,N,...", help="Numbers of pairs to swap.", show_default="1,2,3,4,5")
    ] = None,
    trials: TrialsOption = 5,
    seed: SeedOption = 0,
) -> Shown:
    """Swap random pairs of blocks, and draw the error.

    Only blocks that keep the size of their input are swapped. Nothing is
    retrained, and the run is not changed.
    """
    numbers = integers("--counts", counts, "2,4,8") if counts is not None else None
    test = dataset.test if images is None else instruments.sample(dataset.test, images)
    result = instruments.swap(trained.model, test, trained.normalize, None, numbers, trials, seed)
    columns = {">pairs": "{count}", ">Kendall's tau": "{kendall_tau:.3f}", **ERROR_AND_LOSS}
    return result, columns, f"on {counted(len(test), 'test image')}; guessing: {result.guessing_percent:.1f} %"
