"""``minires evaluate``: how good a trained network is, class by class."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import DataError, sizes
from .devices import Device, DeviceOption
from .output import counted, percent, print_table, printable, times

if TYPE_CHECKING:
    from ..data import Dataset
    from ..training import Run
    from ..training.classes import ClassRow


def evaluate(
    run: Annotated[str, typer.Argument(metavar="RUN", help="The folder of a training run.")],
    data: Annotated[
        str | None,
        typer.Option(
            metavar="NAME_OR_FOLDER", help="Another data set, or folder, of the same classes.", show_default=False
        ),
    ] = None,
    device: DeviceOption = Device.cpu,
) -> None:
    """Test a trained network: accuracy and loss on the test images, and how it does on each class."""
    from .. import training
    from ..training.classes import class_table

    trained, dataset = load_with_data(run, data, device)
    result = training.evaluate(trained.model, dataset.test, trained.normalize, flip=trained.config.flip_test)

    print(f"{printable(run)}: {trained.config.model}, trained on {trained.config.data_name}")
    print(f"tested on {counted(len(dataset.test), 'image')} of {dataset.name}\n")
    print(f"accuracy  {percent(result.accuracy)} ({result.errors:,} wrong)")
    print(f"loss      {result.loss:.4f}\n")
    print_table(
        ["class", ">images", ">right", ">recall", ">precision", ">F1", "most often taken for"],
        map(cells, class_table(result.confusion, dataset.classes)),
    )


def load_with_data(run: str, data: str | None, device: Device) -> tuple[Run, Dataset]:
    """A run, and its data set or another one of the same classes."""
    from ..training import load_run
    from ..training.recipe import load_data

    trained = load_run(run, device.value)
    channels, *size = trained.image_shape
    dataset = load_data(data or trained.config.data, (size[0], size[1]), channels)
    check_fits(trained, dataset)
    return trained, dataset


def check_fits(run: Run, dataset: Dataset) -> None:
    """Raise DataError unless the run's network was made for such images and classes."""
    if run.image_shape != dataset.image_shape:
        raise DataError(
            f"{run.path} takes images of {sizes(run.image_shape)}, but those of {dataset.name} are "
            f"{sizes(dataset.image_shape)}; evaluate it on {run.config.data}."
        )
    if run.classes != dataset.classes:
        raise DataError(
            f"{run.path} knows the {len(run.classes)} classes of {run.config.data}, but {dataset.name} has other "
            f"classes ({len(dataset.classes)}); evaluate it on {run.config.data}."
        )


def cells(row: ClassRow) -> list[str]:
    """A row of the table of classes as it is printed; a dash stands for a ratio of nothing to nothing."""
    ratios = ["-" if ratio is None else percent(ratio) for ratio in (row.recall, row.precision, row.f1)]
    taken_for = f"{printable(row.taken_for)} ({times(row.times)})" if row.times else ""
    return [printable(row.name), f"{row.images:,}", f"{row.right:,}", *ratios, taken_for]
