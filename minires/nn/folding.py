"""Folding for inference: batch norm, shortcut and ReLU become part of the convolution before them.

In evaluation, batch norm multiplies each channel by one number and adds another. The weight and bias of the convolution
can do the same: gamma / sqrt(var + eps) * (W x - mean) + beta is W' x + b'. Shortcut and ReLU are then applied to each
pixel while it is still in a register, so no activation is read a second time.

A folded convolution does not compute anything when it is called. It returns a tensor that *waits*: if it is passed to a
folded batch norm, both are computed as one op; if it is used in any other way, the plain convolution is computed. So
the model's ``forward`` decides which layer follows which, and nothing has to be guessed from names.
"""

from __future__ import annotations

import copy
from collections.abc import MutableMapping
from typing import Any
from weakref import WeakKeyDictionary

from ..core import checks
from ..core.autograd import Op
from ..core.backend import Array, array_module
from ..core.state import no_grad
from ..core.tensor import Tensor
from ..errors import ArgumentError, GraphError, sizes
from ..ops.activation import join_inputs
from ..ops.conv import Conv2d as Conv2dOp
from ..ops.conv import Window, conv_inputs
from .layers import BatchNorm2d, Conv2d
from .module import Keys, Module, check_module


class Conv2dAct(Conv2dOp, saves="shapes"):
    """relu(conv2d(x, weight, bias) + shortcut), for inference. The shortcut and the ReLU are optional.

    ``prepared`` is a dict that exists as long as the weights; a kernel stores them there in its own memory layout.
    """

    def __init__(self, window: Window, groups: int, activation: str | None, prepared: dict[Any, Any]) -> None:
        super().__init__(window, groups)
        self.activation, self.prepared = activation, prepared

    def forward(self, x: Array, weight: Array, bias: Array, *shortcut: Array) -> Array:  # type: ignore[override]
        y = super().forward(x, weight, bias)
        y = y + shortcut[0] if shortcut else y
        return y if self.activation is None else array_module(y).maximum(y, 0)

    def backward(self, upstream: Tensor) -> Any:
        raise NotImplementedError("A folded model is for inference; train the model that it was folded from.")


class _SeveralOutputsError(Exception):
    """A model did not return one tensor, so that it cannot be one op."""


class Replay(Op, saves="shapes"):
    """A whole folded model as one op. ``programs`` is a dict that a kernel may use; it exists as long as the model."""

    def __init__(self, model: Module, programs: dict[Any, Any]) -> None:
        self.model, self.programs = model, programs

    def forward(self, x: Array) -> Array:
        output = self.model(Tensor.wrap(x))
        if not isinstance(output, Tensor):
            raise _SeveralOutputsError
        return output.data


class _Replayed(Module):
    def __init__(self, model: Module) -> None:
        self.model = model
        self._programs: dict[Any, Any] = {}
        self._one_output = True  # until the model returns anything else

    def __getstate__(self) -> dict[str, Any]:  # programs hold addresses of this model's arrays
        return {**vars(self), "_programs": {}}

    def to(self, *targets: Any, **options: Any) -> _Replayed:
        self._programs = {}
        return super().to(*targets, **options)

    def load_state_dict(self, *state: Any, **options: Any) -> Keys:
        self._programs = {}
        return super().load_state_dict(*state, **options)

    def forward(self, x: Tensor) -> Any:
        x = checks.floats("fold", x)
        with no_grad():
            if self._one_output:
                try:
                    return Replay(self.model, self._programs)(x)
                except _SeveralOutputsError:
                    self._one_output = False
            return self.model(x)


class _Waiting(Tensor):
    """The output of a folded convolution, which is computed only if it is used by anything but a folded batch norm."""

    def __init__(self, x: Tensor, conv: Conv2d) -> None:
        self._computed: Array | None = None
        self._set(None)
        self.x, self.conv, self._changed = x, conv, x.changed_from_now()

    def input(self) -> Tensor:
        """Return the input of the convolution. Raises GraphError if it has been changed since the convolution ran."""
        if self._changed():
            raise GraphError(
                f"fold: the input of a convolution ({sizes(self.x.shape)}) was changed in place before its output was "
                "used; compute a new tensor instead."
            )
        return self.x

    @property
    def _data(self) -> Array:  # type: ignore[override]
        if self._computed is None:
            with no_grad():
                self._computed = self.conv(self.input()).data
        return self._computed

    @_data.setter
    def _data(self, array: Array) -> None:
        self._computed = array


class _FoldedConv2d(Module):
    def __init__(self, conv: Conv2d) -> None:
        self.conv = conv

    def forward(self, x: Tensor) -> Tensor:
        return _Waiting(x, self.conv)


class _FoldedBatchNorm2d(Module):
    def __init__(self, norm: BatchNorm2d) -> None:
        self.norm = norm
        # Maps each convolution before this layer to the weight and bias that include the batch norm, and ``prepared``;
        # and to the versions of the tensors that these were computed from.
        self._merged: MutableMapping[Conv2d, tuple[Any, Tensor, Tensor, dict[Any, Any]]] = WeakKeyDictionary()

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "_merged"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state, _merged=WeakKeyDictionary())

    def forward(self, x: Tensor, shortcut: Tensor | None = None, activation: str | None = None) -> Tensor:
        if not isinstance(x, _Waiting) or x.x.ndim != 4:
            with no_grad():
                return self.norm(x, shortcut, activation)
        conv, norm = x.conv, self.norm
        tensors = (conv.weight, conv.bias, norm.weight, norm.bias, norm.running_mean, norm.running_var)
        versions = *map(id, tensors), *[tensor._version[0] for tensor in tensors if tensor is not None]
        found = self._merged.get(conv)
        if found is None or found[0] != versions:
            found = self._merged[conv] = versions, *_merge(conv, norm), {}
        _, weight, bias, prepared = found
        source = conv_inputs("conv2d", x.input(), weight, bias, conv.groups)
        n, _, h, w = source[0].shape
        shape = n, conv.out_channels, *conv.window.output_size("conv2d", h, w)
        source += join_inputs("batch_norm", source[0], shape, shortcut, activation)
        with no_grad():
            return Conv2dAct(conv.window, conv.groups, activation, prepared)(*source)


def _finished(module: Module, inputs: tuple[Any, ...], options: dict[str, Any], output: Any) -> Any:
    """Forward hook of modules that are not folded: run a convolution that still waits, and leave out the graph."""
    if isinstance(output, Tensor):
        return output.detach() if isinstance(output, _Waiting) or output.op is not None else output
    if type(output) in (tuple, list):
        return type(output)(_finished(module, inputs, options, part) for part in output)
    if type(output) is dict:
        return {name: _finished(module, inputs, options, part) for name, part in output.items()}
    return output


def _merge(conv: Conv2d, norm: BatchNorm2d) -> tuple[Tensor, Tensor]:
    if conv.out_channels != norm.num_features:
        raise ArgumentError(
            f"fold: a convolution to {conv.out_channels} channels precedes a batch norm of {norm.num_features}."
        )
    bias = 0 if conv.bias is None else conv.bias.data
    tensors = norm.weight, norm.bias, norm.running_mean, norm.running_var  # none of them is None
    gamma, beta, mean, var = (tensor.data for tensor in tensors if tensor is not None)
    weight, bias = merged(conv.weight.data, bias, gamma, beta, mean, var, norm.eps)
    return Tensor.wrap(weight.astype(conv.weight.dtype)), Tensor.wrap(bias.astype(conv.weight.dtype))


def merged(
    weight: Array, bias: Array | int, gamma: Array, beta: Array, mean: Array, var: Array, eps: float
) -> tuple[Array, Array]:
    """Combine a convolution with the batch norm after it: return weight (O, C, KH, KW) and bias (O,), in float64."""
    gamma, beta, mean, var = (array.astype("float64") for array in (gamma, beta, mean, var))
    scale = gamma / (var + eps) ** 0.5  # (O,)
    return weight * scale[:, None, None, None], beta + (bias - mean) * scale


def fold(model: Module, replay: bool = False) -> Module:
    """Copy ``model`` for inference, with batch norm, shortcut and ReLU as parts of the convolution before them.

    Up to rounding, the copy computes the same as ``model`` in evaluation mode. It records no graph and cannot be
    trained. ``model`` is not changed, and later changes to its weights do not affect the copy. Convolutions and batch
    norms with hooks are not folded, so that their hooks see their outputs.

    Parameters
    ----------
    model : Module
    replay : bool
        Whether to record which ops the model calls for the first images of each size, and from then on to run these
        ops without calling the model's ``forward`` again. This is faster, especially for single images, and valid if
        the choice of ops depends neither on the values in ``x`` nor on the number of images. Later changes to the
        copy's parameters then have no effect. If the model uses ops other than folded convolutions, shortcuts, global
        average pooling and linear layers, or returns several tensors, ``replay`` has no effect.

    Returns
    -------
    Module
        The copy, in evaluation mode. With ``replay``, its hooks run only while the ops are recorded.

    Raises
    ------
    ArgumentError
        If ``model`` is not a Module.

    Examples
    --------
    >>> import minires as mr
    >>> model = mr.models.resnet8().eval()
    >>> x = mr.tensor([[[[0.5] * 32] * 32] * 3])
    >>> bool(abs(mr.nn.fold(model)(x).data - model(x).data).max() < 1e-4)
    True
    """
    check_module("fold", model)
    folded = _folded(copy.deepcopy(model)).eval().requires_grad_(False)
    return _Replayed(folded) if replay else folded


def _folded(module: Module) -> Module:
    if isinstance(module, (_FoldedConv2d, _FoldedBatchNorm2d, _Replayed)):
        return module
    hooks = module._forward_hooks or []
    if type(module) is Conv2d and not hooks and not module.uneven and module.padding_mode == "zeros":
        return _FoldedConv2d(module)
    complete = type(module) is BatchNorm2d and module.weight is not None and module.running_mean is not None
    if complete and not hooks:
        return _FoldedBatchNorm2d(module)  # type: ignore[arg-type]
    for name, child in list(module.named_children()):
        replacement = _folded(child)
        if replacement is not child:
            setattr(module, name, replacement)
    if _finished not in hooks:
        module._forward_hooks = [_finished, *hooks]
    return module
