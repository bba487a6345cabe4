"""``mr.explain.responses``: how strongly each layer responds, as in Figure 7 of He et al., arXiv 1512.03385.

"The responses are the outputs of each 3x3 layer, after BN and before other nonlinearity (ReLU/addition)". In a residual
network, they show how strong F(x) is. The paper finds that they are smaller than in plain networks, and smaller still
in deeper residual networks: each block changes its input only a little.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

import numpy as np

from ..core.state import no_grad
from ..core.tensor import Tensor, TensorLike
from ..nn import BatchNorm1d, Module
from ..nn.module import undisturbed
from ..training.figures import BOLD, COLOURS, THIN, new_figure, save_figure, style_axes
from ..training.folder import Row, load_run, write_table
from ..training.recipe import load_data
from .measurement import Measurement, batch_for, depth_figure, layers_of, no_layers, sample, watch

if TYPE_CHECKING:
    from matplotlib.figure import Figure


TABLE, FIGURE = "responses.csv", "responses.png"
IMAGES = 256  # enough to estimate the standard deviations


@dataclass(frozen=True, repr=False)
class Responses(Measurement):
    """The result of :func:`responses`: a row for each call of a layer, in the order of the forward pass.

    ================  ==================================================================================================
    ``layer``         the path of the layer in the model
    ``norm``          the path of the batch norm after it; None if the response is the layer's own output
    ``std``           the standard deviation of the response, over images, channels and pixels
    ``shortcut_std``  the standard deviation of the shortcut, if batch norm adds one to the response; None otherwise
    ================  ==================================================================================================
    """

    columns = ("layer", "norm", "std", "shortcut_std")
    subject = "response of each layer"

    def _draw(self) -> Figure:
        """Draw the standard deviations along depth, and those of the shortcuts that responses are added to."""
        lines = {"std": "response", "shortcut_std": "shortcut that it is added to"}
        return depth_figure(self.rows, {"standard deviation": lines})


def responses(model: Module, x: TensorLike) -> Responses:
    """Measure the standard deviation of each layer's response to a batch.

    A response is the output of a layer with weights (a convolution, a linear layer), after the batch norm that follows
    it, if any, and before ReLU and addition, even if the batch norm layer also performs these. The last layer, whose
    output is that of the model, is left out. The model runs in evaluation mode, and is restored afterwards.

    Parameters
    ----------
    model : Module
        Any module. Its layers are the modules that have a weight with at least two axes.
    x : Tensor or array, (N, ...)
        A batch of floats that the model accepts, such as normalised images.

    Returns
    -------
    Responses

    Raises
    ------
    ArgumentError
        If ``model`` is not a module, the batch is empty, or no layer with weights is called except the last, as in a
        model made by ``nn.fold``.
    ShapeError, DTypeError
        If the batch does not fit the model.

    Examples
    --------
    >>> import minires as mr
    >>> images, _ = mr.data.digits().test[range(32)]
    >>> responses = mr.explain.responses(mr.models.resnet8(in_channels=1), (images / 255).astype("float32"))
    >>> [(row["layer"], row["norm"]) for row in responses.rows][:3]
    [('conv1', 'bn1'), ('layer1.0.conv1', 'layer1.0.bn1'), ('layer1.0.conv2', 'layer1.0.bn2')]
    """
    batch = batch_for("responses", model, x)
    rows: list[Row] = []
    outputs: WeakValueDictionary[int, Tensor] = WeakValueDictionary()  # number of a row -> output of its layer

    def find(tensor: Any) -> Row | None:
        return next((rows[number] for number, output in outputs.items() if output is tensor), None)

    def respond(name: str, layer: Module, inputs: tuple[Any, ...], output: Tensor) -> None:
        outputs[len(rows)] = output
        rows.append({"layer": name, "norm": None, "std": _std(output), "shortcut_std": None})

    def normalise(name: str, norm: Module, inputs: tuple[Any, ...], output: Tensor) -> None:
        if (row := find(inputs[0])) is not None:
            row.update(norm=name, std=_std(norm.forward(inputs[0])))  # again, without addition and ReLU
            row["shortcut_std"] = _std(inputs[1]) if len(inputs) > 1 and isinstance(inputs[1], Tensor) else None

    with undisturbed(model), no_grad():
        watch(layers_of(model.eval()), respond)
        norms = {name: module for name, module in model.named_modules() if isinstance(module, BatchNorm1d)}
        watch(norms, normalise)  # BatchNorm2d is a BatchNorm1d, too
        last = find(model(batch))
    rows = [row for row in rows if row is not last]
    if not rows:
        raise no_layers("responses", model)
    return Responses(type(model).__name__, rows)


def _std(tensor: Tensor) -> float:
    return float(tensor.data.std(dtype=np.float64))


def responses_figure(networks: Mapping[str, Responses], title: str) -> Figure:
    """Draw the standard deviations of several networks, by depth at the left and ranked at the right, as in Figure 7.

    Parameters
    ----------
    networks : mapping of str to Responses
        The responses of each network, keyed by its name. Networks whose names end in the same number (``plain20``,
        ``resnet20``) share a colour, and the lines of those whose names begin with ``plain`` are dashed.
    title : str
        The title of the figure.
    """
    figure = new_figure(width=10, height=4.8)
    by_depth, ranked = figure.subplots(1, 2, sharey=True)
    colours: dict[str, str] = {}
    for name, of_network in networks.items():
        deviations = [row["std"] for row in of_network.rows]
        number = name[len(name.rstrip("0123456789")) :]
        style = {**(THIN if name.startswith("plain") else BOLD), "label": name}
        style["color"] = colours.setdefault(number or name, COLOURS[len(colours) % len(COLOURS)])
        by_depth.plot(range(1, len(deviations) + 1), deviations, **style)
        ranked.plot(range(1, len(deviations) + 1), sorted(deviations, reverse=True), **style)
    by_depth.set_ylabel("standard deviation of the response")
    by_depth.set_xlabel("layer, from the input to the output")
    ranked.set_xlabel("layer, from the largest to the smallest deviation")
    for axes in (by_depth, ranked):
        axes.xaxis.get_major_locator().set_params(integer=True)
        style_axes(axes)
    by_depth.set_ylim(bottom=0)  # both panels share this axis
    ranked.legend(frameon=False)
    figure.suptitle(title, parse_math=False)
    return figure


def write_comparison(folder: Path, models: Sequence[str], device: str = "cpu") -> None:
    """Write ``responses.csv`` and ``responses.png`` into the folder of a comparison, from the runs of ``models`` in it.

    All models get the same batch of at most ``IMAGES`` test images. Raises RunError or DataError if a run or its data
    cannot be read, or the files cannot be written.
    """
    runs = {model: load_run(folder / model, device) for model in models}
    config = runs[models[0]].config
    test = sample(load_data(config.data, config.size or None).test, IMAGES)
    networks = {model: responses(run.model, run.normalize(test.images)) for model, run in runs.items()}
    rows = [{"model": model, **row} for model, result in networks.items() for row in result.rows]
    write_table(folder / TABLE, ("model", *Responses.columns), rows)
    title = f"{config.data_name}, seed {config.seed}: response of each layer, after batch norm"
    save_figure(responses_figure(networks, title), folder / FIGURE)
