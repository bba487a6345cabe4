"""``minires export``: a trained network for other programs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import ArgumentError, sizes
from .output import counted, printable

if TYPE_CHECKING:
    from ..training import Run


def export(
    run: Annotated[str, typer.Argument(metavar="RUN", help="The folder of a training run.")],
    onnx: Annotated[
        str | None, typer.Option(metavar="FILE", help="Write an ONNX file: layers and weights.", show_default=False)
    ] = None,
    safetensors: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Write the weights alone, named as in torchvision.", show_default=False),
    ] = None,
) -> None:
    """Write a trained network to a file that other programs read.

    The ONNX file takes the images as they are, bytes from 0 to 255 of shape
    (N, C, H, W) and type uint8, in batches of any size: the normalisation of
    the training images is its first layer. It gives logits (N, classes).

    The safetensors file knows no layers. Whoever uses it normalises with the
    mean and std in its header: (image / 255 - mean) / std.

    Both hold the names of the classes. A file that exists is replaced.
    """
    from ..interop import export_onnx
    from ..interop.safetensors_file import save
    from ..training import load_run

    if onnx is None and safetensors is None:
        raise ArgumentError("there is nothing to write; give --onnx FILE, --safetensors FILE, or both.")

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
    """What whoever finds the file has to know, lists as JSON."""
    yield "classes", json.dumps(run.classes)
    yield "image_shape", json.dumps(run.image_shape)
    yield "mean", json.dumps(run.normalize.mean)
    yield "std", json.dumps(run.normalize.std)
    yield "model", run.config.model
    yield "data", run.config.data
