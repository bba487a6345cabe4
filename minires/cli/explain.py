"""``minires explain``: images of why residual learning works."""

from __future__ import annotations

from typing import Annotated

import typer

from .. import data as datasets
from .. import models
from . import instruments
from .numbers import integer
from .output import counted, printable

explain = typer.Typer(help="Look inside: pages and figures of what a network does.")


@explain.command()
def step(
    model: Annotated[
        str, typer.Option(metavar="NAME", help=f"Whose first block. One of {', '.join(models.names())}.")
    ] = "resnet8",
    data: Annotated[
        str, typer.Option(metavar="NAME", help=f"Whose first image. One of {', '.join(datasets.names())}.")
    ] = "digits",
    seed: Annotated[int, typer.Option(metavar="N", parser=integer, help="Decides the weights.")] = 0,
    out: Annotated[str, typer.Option(metavar="FILE", help="The page. A file that exists is replaced.")] = "step.html",
) -> None:
    """Write a page that steps through a residual block, node by node.

    The page is one file for any browser and needs no network. The arrow keys
    walk forward and backward through real tensors, the source of each op
    beside them. The network is cut down to its first block, and untrained.
    """
    from ..explain import block_loss
    from ..explain import step as step_through

    example = block_loss(model, data, seed)
    stepper = step_through(example.loss, example.network, {"x": example.x, "loss": example.loss})
    path = stepper.save(out)
    nodes = counted(len(stepper.tape.nodes), "node")
    print(f"{printable(str(path))}: {nodes} forward, and backward again, {len(stepper.html) / 1000:.0f} kB")


for command in (instruments.flow, instruments.responses, instruments.lesion, instruments.swap):
    explain.command()(command)
