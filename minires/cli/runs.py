"""``minires evaluate``, ``predict`` and ``export``: commands that use a trained network."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from .. import training
from ..core.backend import Array, to_device
from ..core.state import no_grad
from ..core.tensor import as_tensor
from ..data import Dataset
from ..errors import ArgumentError, DataError, counted, sizes
from ..interop import export_onnx
from ..interop.safetensors_file import save
from ..ops import softmax
from ..training import Run, load_run
from ..training.classification import class_table, predict_logits
from ..training.folder import Row, write_table
from ..training.recipe import load_data
from .options import DataOption, DeviceOption, RunArgument, check_output, count_option, file_option
from .output import percent, print_table, printable, times

BATCH_SIZE = 256
Prediction = dict[str, str | float]


def evaluate(run: RunArgument, data: DataOption = None, device: DeviceOption = "cpu") -> None:
    """Test a trained network: accuracy and loss on the test images, and results for each class."""
    trained, dataset = load_with_data(run, data, device)
    result = training.evaluate(trained.model, dataset.test, trained.normalize, flip=trained.config.flip_test)

    print(f"{printable(run)}: {trained.config.model}, trained on {trained.config.data_name}")
    print(f"tested on {counted(len(dataset.test), 'image')} of {dataset.name}\n")
    print(f"accuracy  {percent(result.accuracy)} ({result.errors:,} wrong)")
    print(f"loss      {result.loss:.4f}\n")
    print_table(
        ["class", ">images", ">right", ">recall", ">precision", ">F1", "most often mistaken for"],
        map(cells, class_table(result.confusion, dataset.classes)),
    )


def load_with_data(run: str, data: str | None, device: str) -> tuple[Run, Dataset]:
    """Load a run, and its data set or another one with the same image size and classes."""
    trained = load_run(run, device)
    channels, *size = trained.image_shape
    dataset = load_data(data or trained.config.data, (size[0], size[1]), channels)
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


def predict(
    run: RunArgument,
    images: Annotated[
        list[str],
        typer.Argument(metavar="IMAGE_OR_FOLDER", help="Images of any format and size, or folders of images."),
    ],
    out: Annotated[str | None, file_option("Write a CSV file instead of a table.")] = None,
    top: Annotated[int, count_option("Predict the K most probable classes.", metavar="K")] = 1,
    device: DeviceOption = "cpu",
) -> int:
    """Predict the classes of images with a trained network.

    Each image is turned upright and converted to the colours and the size of
    the training images; transparent pixels become white. Predictions are only
    good for images that resemble the training images.

    Files that cannot be read are reported and skipped. The exit status is 1 if
    none could be read.
    """
    check_output("--out", out)
    trained = load_run(run, device)
    if top > len(trained.classes):
        raise ArgumentError(f"--top is {top}, but {run} has only {len(trained.classes)} classes.")
    predictions = list(predict_files(trained, images, top))
    if not predictions:
        return 1
    if out is not None:
        write_table(Path(out), list(predictions[0]), predictions, sys.getfilesystemencodeerrors())  # exact file names
        print(f"{counted(len(predictions), 'prediction')} written to {printable(out)}")
        return 0
    columns = [f">{name}" if name.startswith("probability") else name for name in predictions[0]]
    print_table(columns, [[_cell(value) for value in row.values()] for row in predictions])
    return 0


def _cell(value: str | float) -> str:
    return percent(value) if isinstance(value, float) else printable(value)


def predict_files(run: Run, paths: Iterable[str], top: int) -> Iterator[Prediction]:
    """Yield a row for each file that can be read: file, class, probability, class_2, probability_2, ...

    Files that cannot be read are reported on stderr.
    """
    device = next(run.model.parameters()).device
    suffixes = ["", *(f"_{rank}" for rank in range(2, top + 1))]
    readable = read_all(paths, run.image_shape)
    while batch := list(islice(readable, BATCH_SIZE)):
        images = np.stack([image for _, image in batch])  # (N, C, H, W)
        with no_grad():
            floats = to_device(run.normalize(images), device)
            logits = predict_logits(run.model, floats, run.config.flip_test)  # (N, K)
            probabilities = softmax(as_tensor(logits), axis=1).numpy()  # (N, K)
        best = np.argsort(-probabilities, axis=1, kind="stable")[:, :top]
        for (path, _), classes, row in zip(batch, best, probabilities, strict=True):
            prediction: Prediction = {"file": str(path)}
            for suffix, number in zip(suffixes, classes, strict=True):
                prediction[f"class{suffix}"] = run.classes[number]
                prediction[f"probability{suffix}"] = float(row[number])
            yield prediction


def read_all(paths: Iterable[str], image_shape: tuple[int, int, int]) -> Iterator[tuple[Path, Array]]:
    """Yield the path and the image (C, H, W) of each image file in ``paths``, which may include folders.

    Files that cannot be read and folders without images are reported on stderr.
    """
    from ..data.images import find, read

    channels, height, width = image_shape
    for path in paths:
        files = list(find(path))
        if not files:
            report(f"folder {path} holds no images.")
        for file in files:
            try:
                yield file, read(file, channels, (height, width))
            except DataError as error:
                report(str(error))


def report(sentence: str) -> None:
    """Print a warning to stderr."""
    print(f"minires predict: {printable(sentence)}", file=sys.stderr)


def export(
    run: RunArgument,
    onnx: Annotated[str | None, file_option("Write an ONNX file with the layers and weights.")] = None,
    safetensors: Annotated[str | None, file_option("Write only the weights, with torchvision's names.")] = None,
) -> None:
    """Write a trained network to a file that other programs can read.

    The input of the ONNX file is a batch of images of type uint8 and shape
    (N, C, H, W), with values from 0 to 255; the network normalises them
    itself. The output is logits (N, classes).

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
        own = {"input": "uint8 images (N, C, H, W), 0 to 255", "output": "logits (N, classes)"}
        export_onnx(trained.model, onnx, trained.image_shape, normalize=trained.normalize, metadata={**notes, **own})
        images = f"uint8 images of {sizes(trained.image_shape)}"
        print(f"{network}, written to {printable(onnx)}; takes {images}, gives {len(trained.classes)} logits")
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
