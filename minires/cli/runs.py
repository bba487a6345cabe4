"""``minires evaluate`` and ``export``: commands that use a trained network."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any

from ..data import Dataset
from ..errors import ArgumentError, DataError, counted, sizes
from ..interop import export_onnx
from ..interop.safetensors_file import save
from ..training import Run, load_run
from ..training.folder import Row
from ..training.recipe import load_data
from ..training.task import Task, find
from .options import DataOption, DeviceOption, RunArgument, check_output, file_option
from .output import percent, print_table, printable, times


def evaluate(run: RunArgument, data: DataOption = None, device: DeviceOption = "cpu") -> None:
    """Test a trained network on the test images: its scores and loss, and results for each class."""
    trained, dataset = load_with_data(run, data, device)
    task = find(trained.config.task)
    result: Any = task.evaluate(trained.config, trained.model, dataset.test, trained.normalize)

    print(f"{printable(run)}: {trained.config.model}, trained on {trained.config.data_name}")
    print(f"tested on {counted(len(dataset.test), task.example)} of {dataset.name}\n")
    if trained.config.task == "classification":
        print(f"accuracy  {percent(result.scores['accuracy'])} ({result.errors:,} wrong)")
        print(f"loss      {result.loss:.4f}\n")
        columns = ["class", ">images", ">right", ">recall", ">precision", ">F1", "most often mistaken for"]
        print_table(columns, map(cells, result.table(dataset.classes)))
        return
    lines = {**result.summary(dataset.classes), "loss": f"{result.loss:.4f}"}
    for name, value in lines.items():
        print(f"{name:<{max(map(len, lines))}}  {value}")
    print()
    print_results(result.table(dataset.classes))


def print_results(rows: Sequence[Mapping[str, Any]]) -> None:
    """Print rows of results: shares as percentages, None as a dash."""

    def cell(value: Any) -> str:
        if value is None:
            return "-"
        return (
            percent(value) if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else printable(value)
        )

    columns = [name if isinstance(value, str) else f">{name}" for name, value in rows[0].items()]
    print_table(columns, [[cell(value) for value in row.values()] for row in rows])


def load_with_data(run: str, data: str | None, device: str, task: str | None = None) -> tuple[Run, Dataset]:
    """Load a run, and its data set or another one with the same image size and classes.

    Raises ArgumentError if ``task`` is given and the run is of another one.
    """
    trained = load_run(run, device)
    if task is not None and trained.config.task != task:
        raise ArgumentError(f"{run} is a run of {trained.config.task}; this command takes runs of {task}.")
    *_, channels, height, width = trained.image_shape
    dataset = load_data(data or trained.config.data, (height, width), channels, trained.config.task)
    check_fits(trained, dataset)
    return trained, dataset


def check_fits(run: Run, dataset: Dataset) -> None:
    """Raise DataError unless the data set has the image size and the classes of the run."""
    if run.image_shape != dataset.image_shape:
        raise DataError(
            f"{run.path} takes images of {sizes(run.image_shape)}, but those of {dataset.name} are "
            f"{sizes(dataset.image_shape)}; evaluate it on {run.config.data}."
        )
    if run.classes != dataset.classes:
        raise DataError(
            f"{run.path} was trained on the {len(run.classes)} classes of {run.config.data}, but the "
            f"{len(dataset.classes)} classes of {dataset.name} are different; evaluate it on {run.config.data}."
        )


def cells(row: Row) -> list[str]:
    """Format a row of the table of classes for printing; an undefined ratio is a dash."""
    ratios = ["-" if row[name] is None else percent(row[name]) for name in ("recall", "precision", "f1")]
    taken_for = f"{printable(row['taken_for'])} ({times(row['times'])})" if row["times"] else ""
    return [printable(row["class"]), f"{row['images']:,}", f"{row['right']:,}", *ratios, taken_for]


def export(
    run: RunArgument,
    onnx: Annotated[str | None, file_option("Write an ONNX file with the layers and weights.")] = None,
    safetensors: Annotated[str | None, file_option("Write only the weights, with torchvision's names.")] = None,
) -> None:
    """Write a trained network to a file that other programs can read.

    The input of the ONNX file is a batch of images of type uint8 and shape
    (N, C, H, W), with values from 0 to 255, or of clips (N, T, C, H, W); the
    network normalises them itself. The output is logits (N, classes), for
    segmentation (N, classes, H, W). Detectors have three outputs, of which
    minires.vision.detect makes boxes.

    The safetensors file holds only the weights. Normalise images with the mean
    and std in its header: (image / 255 - mean) / std.

    Both files hold the names of the classes. Existing files are replaced.
    """
    if onnx is None and safetensors is None:
        raise ArgumentError("there is nothing to write; give --onnx FILE, --safetensors FILE, or both.")
    check_output("--onnx", onnx)
    check_output("--safetensors", safetensors)
    trained = load_run(run)
    notes = dict(about(trained))
    network = f"{printable(run)}: {trained.config.model}, trained on {trained.config.data}"
    if onnx is not None:
        task = find(trained.config.task)
        axes = "images (N, C, H, W)" if len(trained.image_shape) == 3 else "clips (N, T, C, H, W)"
        own = {"input": f"uint8 {axes}, 0 to 255", "output": task.outputs}
        export_onnx(trained.model, onnx, (1, *trained.image_shape), normalize=trained.normalize, metadata=notes | own)
        takes = f"uint8 {axes.split()[0]} of {sizes(trained.image_shape)}"
        gives = f"{len(trained.classes)} logits" if task.outputs == Task.outputs else task.outputs
        print(f"{network}, written to {printable(onnx)}; takes {takes}, gives {gives}")
    if safetensors is not None:
        weights = trained.model.state_dict()
        save(safetensors, weights, metadata=notes)
        print(f"{network}, {counted(len(weights), 'array')} written to {printable(safetensors)}")


def about(run: Run) -> Iterator[tuple[str, str]]:
    """Yield the metadata needed to use the file, as pairs of strings; lists are JSON."""
    yield "classes", json.dumps(run.classes)
    yield "image_shape", json.dumps(run.image_shape)
    yield "mean", json.dumps(run.normalize.mean)
    yield "std", json.dumps(run.normalize.std)
    yield "model", run.config.model
    yield "data", run.config.data
    if hasattr(run.model, "strides"):  # of a detector, which its locations follow from
        yield "strides", json.dumps(run.model.strides)
