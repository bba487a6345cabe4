"""``minires predict``: what a trained network takes images for."""

from __future__ import annotations

import csv
import io
import os
import sys
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import typer

from ..errors import ArgumentError, DataError
from .devices import Device, DeviceOption
from .numbers import count
from .output import counted, percent, print_table, printable

if TYPE_CHECKING:
    from ..core.backend import Array
    from ..training import Run

BATCH_SIZE = 256
Prediction = tuple[Path, list[tuple[str, float]]]  # a file, and its most probable classes with their probabilities


def predict(
    run: Annotated[str, typer.Argument(metavar="RUN", help="The folder of a training run.")],
    images: Annotated[
        list[str],
        typer.Argument(metavar="IMAGE_OR_FOLDER", help="Images of any format and size, or folders of them."),
    ],
    out: Annotated[
        str | None, typer.Option(metavar="FILE", help="Write a CSV file instead of a table.", show_default=False)
    ] = None,
    top: Annotated[int, typer.Option(metavar="K", parser=count, help="Give the K most probable classes.")] = 1,
    device: DeviceOption = Device.cpu,
) -> int:
    """Say what images show, as a trained network sees them.

    Each image is turned upright, and brought to the colours and the size of
    those that the network was trained on; what is transparent becomes white.
    Good answers are to be had only for images like those.

    Files that cannot be read are reported and left out. The exit status is 1
    if not one could be read.
    """
    from ..interop.files import write_atomically
    from ..training import load_run

    trained = load_run(run, device.value)
    if top > len(trained.classes):
        raise ArgumentError(f"--top is {top}; {run} knows {len(trained.classes)} classes.")
    predictions = list(predict_files(trained, find_all(images), top))
    if not predictions:
        return 1
    if out is None:
        print_table(*as_table(predictions, top))
    else:
        write_atomically(out, as_csv(predictions, top))
        print(f"{counted(len(predictions), 'prediction')} written to {printable(out)}")
    return 0


def find_all(paths: Iterable[str]) -> Iterator[Path]:
    """The images that ``paths`` name or hold; a folder without any is reported."""
    from ..data.images import find

    for path in paths:
        found = None
        for found in find(path):
            yield found
        if found is None:
            report(f"folder {path} holds no images.")


def predict_files(run: Run, paths: Iterator[Path], top: int) -> Iterator[Prediction]:
    """A prediction for each file that can be read; the others are reported."""
    from ..core.backend import to_device
    from ..core.state import no_grad
    from ..core.tensor import as_tensor
    from ..ops import softmax
    from ..training.evaluation import predict_logits

    device = next(run.model.parameters()).device
    readable = read_all(paths, run.image_shape)
    while batch := list(islice(readable, BATCH_SIZE)):
        images = np.stack([image for _, image in batch])  # (N, C, H, W)
        with no_grad():
            floats = to_device(run.normalize(images), device)
            logits = predict_logits(run.model, floats, run.config.flip_test)  # (N, K)
            probabilities = softmax(as_tensor(logits), axis=1).numpy()  # (N, K)
        best = np.argsort(-probabilities, axis=1, kind="stable")[:, :top]
        for (path, _), classes, row in zip(batch, best, probabilities, strict=True):
            yield path, [(run.classes[number], float(row[number])) for number in classes]


def read_all(paths: Iterable[Path], image_shape: tuple[int, int, int]) -> Iterator[tuple[Path, Array]]:
    """Files and their images (C, H, W); those that cannot be read are reported."""
    from ..data.images import read

    channels, height, width = image_shape
    for path in paths:
        try:
            yield path, read(path, channels, (height, width))
        except DataError as error:
            report(str(error))


def report(sentence: str) -> None:
    """Say on stderr what is wrong, and go on."""
    print(f"minires predict: {printable(sentence)}", file=sys.stderr)


def as_table(predictions: list[Prediction], top: int) -> tuple[list[str], list[list[str]]]:
    """Columns and rows for ``print_table``."""
    columns = ["file", "class", ">probability"] + ["class", ">probability"] * (top - 1)
    rows = [
        [printable(str(path)), *[cell for name, probability in best for cell in (name, percent(probability))]]
        for path, best in predictions
    ]
    return columns, rows


def as_csv(predictions: list[Prediction], top: int) -> bytes:
    """The content of a CSV file: file, class, probability, class_2, probability_2, ..."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    numbers = ["", *[f"_{rank}" for rank in range(2, top + 1)]]
    writer.writerow(["file", *[f"{column}{number}" for number in numbers for column in ("class", "probability")]])
    for path, best in predictions:
        writer.writerow([path, *[cell for name, probability in best for cell in (name, f"{probability:.6f}")]])
    return os.fsencode(text.getvalue())
