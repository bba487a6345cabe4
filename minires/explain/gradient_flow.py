"""``mr.explain.flow``: the norms of activations and gradients along depth, for one batch.

They test a claim of He et al. (arXiv 1512.03385, section 4.1): vanishing gradients are not the reason why very deep
plain networks train badly, because with batch norm their gradients have healthy norms.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from ..core.autograd import grad
from ..core.state import enable_grad
from ..core.tensor import Tensor, TensorLike
from ..errors import ArgumentError
from ..nn import Module
from ..nn.module import undisturbed
from ..ops import cross_entropy
from ..optim import l2_norm
from ..training.folder import Row
from .measurement import Measurement, batch_for, depth_figure, layers_of, no_layers, own_weights, watch

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True, repr=False)
class Flow(Measurement):
    """The result of :func:`flow`: a row for each call of a layer, in the order of the forward pass.

    ========================  =========================================================================================
    ``layer``                 the path of the layer in the model
    ``activation_norm``       the L2 norm of the layer's input for one image
    ``gradient_norm``         the L2 norm of the gradient of an image's loss with respect to that input
    ``weight_norm``           the L2 norm of the layer's weights
    ``weight_gradient_norm``  the L2 norm of the gradient of the batch's loss with respect to the weights
    ========================  =========================================================================================

    Norms for one image are root mean squares over the batch, so that they do not depend on the size of the batch. The
    norm of a gradient is None if the weights are frozen, or if the loss does not depend on the layer.
    """

    columns = ("layer", "activation_norm", "gradient_norm", "weight_norm", "weight_gradient_norm")
    subject = "activations and gradients along depth"

    def _draw(self) -> Figure:
        """Draw activations above and gradients below, both on a logarithmic scale, from the input to the output."""
        activations = {"activation_norm": "input of the layer"}
        gradients = {
            "gradient_norm": "w.r.t. the layer's input (for an image)",
            "weight_gradient_norm": "w.r.t. the layer's weights (for the batch)",
        }
        panels = {"L2 norm of an image's activation": activations, "L2 norm of the gradient": gradients}
        return depth_figure(self.rows, panels, log=True)


def flow(model: Module, x: TensorLike, labels: Any, loss_fn: Callable[[Tensor, Any], Tensor] = cross_entropy) -> Flow:
    """Run the forward and backward pass of one training step, and measure activations and gradients at each layer.

    The model runs in training mode, so batch norm uses the statistics of the batch. Afterwards its weights, running
    statistics, modes, hooks and every ``.grad`` are as before.

    Parameters
    ----------
    model : Module
        Any module. Its layers are the modules that have a weight with at least two axes.
    x : Tensor or array, (N, ...)
        A batch of floats that the model accepts, such as normalised images.
    labels : Tensor or array
        The targets with which ``loss_fn`` compares the model's output.
    loss_fn : callable
        A function whose result ``loss_fn(model(x), labels)`` is one number, a mean over the batch.

    Returns
    -------
    Flow

    Raises
    ------
    ArgumentError
        If ``model`` is not a module, the batch is empty, no layer with weights is called, ``loss_fn`` does not return
        one number, or no gradient reaches ``x``, as in a model made by ``nn.fold``.
    ShapeError, DTypeError, LabelError
        If the batch does not fit the model, or the labels do not fit the loss.

    Examples
    --------
    >>> import minires as mr
    >>> images, labels = mr.data.digits().train[range(32)]
    >>> flow = mr.explain.flow(mr.models.resnet8(in_channels=1), (images / 255).astype("float32"), labels)
    >>> [row["layer"] for row in flow.rows][:3]
    ['conv1', 'layer1.0.conv1', 'layer1.0.conv2']
    >>> flow.save("flow.png")  # doctest: +SKIP
    """
    batch = Tensor(batch_for("flow", model, x), requires_grad=True)  # a copy: its gradient is needed only here
    rows: list[Row] = []
    weights = {name: own_weights(layer) for name, layer in layers_of(model).items()}
    gradients: dict[Tensor, Tensor] = {}

    def measure(name: str, layer: Module, inputs: tuple[Any, ...], output: Tensor) -> None:
        read = inputs[0]
        row: Row = {
            "layer": name,
            "activation_norm": l2_norm(read.data) / math.sqrt(len(batch)),
            "gradient_norm": None,
            "weight_norm": l2_norm(*(weight.data for weight in weights[name])),
        }
        rows.append(row)
        if read.requires_grad:  # undo the loss's mean over the images
            read.register_hook(lambda grad: row.update(gradient_norm=l2_norm(grad.data) * math.sqrt(len(batch))))

    with undisturbed(model), enable_grad(), ExitStack() as hooks:
        watch(layers_of(model.train()), measure)
        loss = loss_fn(model(batch), labels)
        if not rows:
            raise no_layers("flow", model)
        if not isinstance(loss, Tensor) or loss.size != 1:
            raise ArgumentError("flow: loss_fn must return one number, a tensor that was computed from the model.")
        if not loss.requires_grad:
            raise _no_gradient(model)
        learned = {weight for of_layer in weights.values() for weight in of_layer if weight.requires_grad}
        for leaf in (batch, *learned):
            hooks.callback(leaf.register_hook(partial(gradients.__setitem__, leaf)).remove)
        grad(loss, loss)  # visits the whole tape without adding to any `.grad`; the hooks see each gradient
    if batch not in gradients:
        raise _no_gradient(model)
    for row in rows:
        found = [gradients[weight].data for weight in weights[row["layer"]] if weight in gradients]
        row["weight_gradient_norm"] = l2_norm(*found) if found else None
    return Flow(type(model).__name__, rows)


def _no_gradient(model: Module) -> ArgumentError:
    return ArgumentError(
        f"flow: the loss of {type(model).__name__} has no gradient with respect to x; for a network made by nn.fold, "
        "use the original."
    )
