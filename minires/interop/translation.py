"""Translating ops of minires to ONNX nodes: a table with a translator for each op class.

ONNX's operators are described at https://onnx.ai/onnx/operators/; this module uses operator set 18.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from ..core.backend import Array
from ..errors import ArgumentError
from ..nn.folding import Conv2dAct
from ..ops import activation, arithmetic, conv, linalg, norm, pool, reduce, resize, shape
from ..ops.conv import Window
from .graph import OnnxGraph
from .tracing import TracedCall

OPSET = 18
LAST = np.iinfo(np.int64).max  # stands for the end of an axis in a slice

# translator(graph, call, *inputs) adds nodes, and returns the name of their result. ``inputs`` are the names of the
# call's inputs, converted to the dtype of its output, as most of ONNX's operators require.
Translator = Callable[..., str]
Options = Callable[[Any], dict[str, Any]]  # returns the attributes of a node for an op


def translate(x: Array, calls: Sequence[TracedCall], outputs: Sequence[Array], state: Mapping[str, Array]) -> OnnxGraph:
    """Return the graph of a trace, for its batch size; ``state`` maps names to the arrays of parameters and buffers.

    Raises
    ------
    ArgumentError
        If an op cannot be expressed in ONNX.
    """
    graph = OnnxGraph(x, state)
    for call in calls:
        translator = _TRANSLATORS.get(type(call.op))
        if translator is None:
            raise ArgumentError(f"export_onnx: op {call.op.name} cannot be exported; use other ops in the model.")
        inputs = [graph.value(array, call.output.dtype) for array in call.inputs]
        graph.computed[id(call.output)] = translator(graph, call, *inputs)
    graph.finish(outputs)
    return graph


def _node(kind: str, options: Options = lambda op: {}) -> Translator:
    """Return a translator that adds one node."""

    def translator(graph: OnnxGraph, call: TracedCall, *inputs: str) -> str:
        return graph.add(kind, *inputs, **options(call.op))

    return translator


def _reduction(op: type) -> Translator:
    kind = f"Reduce{op.__name__}"

    def translator(graph: OnnxGraph, call: TracedCall, x: str) -> str:
        return graph.add(kind, x, graph.constant(call.op.axes), keepdims=int(call.op.keepdims))

    return translator


def _var(graph: OnnxGraph, call: TracedCall, x: str) -> str:
    axes = graph.constant(call.op.axes)
    deviation = graph.add("Sub", x, graph.add("ReduceMean", x, axes, keepdims=1))
    squares = graph.add("ReduceSumSquare", deviation, axes, keepdims=int(call.op.keepdims))
    return graph.add("Div", squares, graph.constant(call.op.divisor, call.output.dtype))


def _std(graph: OnnxGraph, call: TracedCall, x: str) -> str:
    return graph.add("Sqrt", _var(graph, call, x))


def _pow(graph: OnnxGraph, call: TracedCall, x: str) -> str:
    return graph.add("Pow", x, graph.constant(call.op.exponent, call.output.dtype))


def _clip(graph: OnnxGraph, call: TracedCall, x: str, low: str, high: str) -> str:
    if all(bound.ndim == 0 for bound in call.inputs[1:]):
        return graph.add("Clip", x, low, high)
    return graph.add("Min", graph.add("Max", x, low), high)


def _where(graph: OnnxGraph, call: TracedCall, a: str, b: str) -> str:
    return graph.add("Where", graph.constant(call.op.condition, bool), a, b)


def _convert(graph: OnnxGraph, call: TracedCall, x: str) -> str:
    return x  # which has the dtype of the output already


# Shapes


def _reshape(graph: OnnxGraph, call: TracedCall, x: str) -> str:
    return graph.add("Reshape", x, graph.constant(call.output.shape))


def _broadcast_to(graph: OnnxGraph, call: TracedCall, x: str) -> str:
    old, target = call.inputs[0].shape, call.output.shape
    missing = len(target) - len(old)
    new = [size if a < missing or old[a - missing] != size else 1 for a, size in enumerate(target)]
    return graph.add("Expand", x, graph.constant(new))  # 1 keeps the size of x


def _pad(graph: OnnxGraph, call: TracedCall, x: str) -> str:
    before, after = zip(*call.op.widths, strict=True)
    value = graph.constant(call.op.value, call.output.dtype)
    return graph.add("Pad", x, graph.constant(before + after), value, mode="constant")


def _getitem(graph: OnnxGraph, call: TracedCall, name: str) -> str:
    """Add one node for all slices, then one for each integer, list of integers and new axis, from left to right."""
    index = tuple(np.asarray(part) if isinstance(part, (int, np.integer)) else part for part in call.op.index)
    arrays = [part for part in index if isinstance(part, np.ndarray)]
    if any(part.dtype.kind == "b" for part in arrays):
        raise ArgumentError("export_onnx: getitem with a mask cannot be exported; where(mask, x, 0) can.")
    if len(arrays) > 1 and any(part.ndim for part in arrays):
        raise ArgumentError("export_onnx: getitem with an array and integers or other arrays cannot be exported.")
    place = next((i for i, part in enumerate(index) if part is Ellipsis), len(index))
    after = index[place + 1 :]
    rest = call.inputs[0].ndim - sum(part is not None for part in index[:place] + after)
    index = (*index[:place], *(slice(None),) * rest, *after)

    slices: list[tuple[int, int, int, int]] = []  # start, end, axis, step
    for axis, part in enumerate(part for part in index if part is not None):
        if isinstance(part, slice) and part != slice(None):
            step = 1 if part.step is None else int(part.step)
            start = (0 if step > 0 else LAST) if part.start is None else int(part.start)
            end = (LAST if step > 0 else -LAST) if part.stop is None else int(part.stop)
            slices.append((start, end, axis, step))
    if slices:
        name = graph.add("Slice", name, *(graph.constant(numbers) for numbers in zip(*slices, strict=True)))
    axis = 0  # of the array computed so far
    for part in index:
        if part is None:
            name = graph.add("Unsqueeze", name, graph.constant([axis]))
        elif isinstance(part, np.ndarray):
            name = graph.add("Gather", name, graph.constant(part), axis=axis)
        axis += part.ndim if isinstance(part, np.ndarray) else 1
    return name


def _resize(graph: OnnxGraph, call: TracedCall, name: str) -> str:
    """Add nodes that gather the elements for each axis, and add them up with their weights."""
    for axis, (places, weights) in enumerate(call.op.taps, start=2):
        parts = [graph.add("Gather", name, graph.constant(column), axis=axis) for column in places.T]
        if len(parts) == 1:  # with weight 1
            name = parts[0]
        else:
            factors = (graph.constant(weights[:, t], call.output.dtype) for t in range(2))
            name = graph.add("Add", *(graph.add("Mul", *pair) for pair in zip(parts, factors, strict=True)))
    return name


# Layers


def _join(graph: OnnxGraph, name: str, shortcut: Sequence[str], activation: str | None) -> str:
    """Add a shortcut, if there is one, and apply a ReLU, if it is the activation."""
    name = graph.add("Add", name, *shortcut) if shortcut else name
    return graph.add("Relu", name) if activation == "relu" else name


def _residual_add(graph: OnnxGraph, call: TracedCall, branch: str, *shortcut: str) -> str:
    return _join(graph, branch, shortcut, call.op.activation)


def _window(window: Window) -> dict[str, list[int]]:
    return {"kernel_shape": list(window.kernel), "strides": list(window.stride), "pads": list(window.padding * 2)}


def _conv(op: Any) -> dict[str, Any]:
    return {**_window(op.window), "dilations": list(op.window.dilation), "group": op.groups}


def _conv_transpose(graph: OnnxGraph, call: TracedCall, *inputs: str) -> str:
    w = call.op.window
    axes = zip(call.inputs[0].shape[2:], call.op.image, w.kernel, w.stride, w.padding, w.dilation, strict=True)
    extra = [made - ((size - 1) * s - 2 * p + d * (k - 1) + 1) for size, made, k, s, p, d in axes]
    return graph.add("ConvTranspose", *inputs, **_conv(call.op), output_padding=extra)


def _conv_act(graph: OnnxGraph, call: TracedCall, x: str, weight: str, bias: str, *shortcut: str) -> str:
    """Translate the convolution that ``nn.fold`` makes from a convolution and a batch norm."""
    return _join(graph, graph.add("Conv", x, weight, bias, **_conv(call.op)), shortcut, call.op.activation)


def _linear(graph: OnnxGraph, call: TracedCall, x: str, weight: str, *bias: str) -> str:
    if call.inputs[0].ndim == 2:
        return graph.add("Gemm", x, weight, *bias, transB=1)
    product = graph.add("MatMul", x, graph.add("Transpose", weight, perm=[1, 0]))
    return graph.add("Add", product, *bias) if bias else product


def _batch_norm(graph: OnnxGraph, call: TracedCall, x: str, gamma: str, beta: str, *shortcut: str) -> str:
    op, dtype = call.op, call.output.dtype
    if op.running is None:
        raise ArgumentError(
            "export_onnx: the model normalises with the statistics of the batch, as in training; "
            "give batch_norm running statistics."
        )
    running = []
    for kind, statistic in zip(("running_mean", "running_var"), op.running, strict=True):  # copies of the buffers
        buffer = f"{gamma.removesuffix('weight')}{kind}"
        known = np.array_equal(graph.state.get(buffer, 0), statistic)
        running.append(graph.constant(statistic, dtype, buffer if known else None))
    y = graph.add("BatchNormalization", x, gamma, beta, *running, epsilon=op.eps)
    return _join(graph, y, shortcut, getattr(op, "activation", None))


def _group_norm(graph: OnnxGraph, call: TracedCall, x: str, gamma: str, beta: str) -> str:
    """Add nodes that normalise each group as the channel of an image with one row, and then scale and shift."""
    numbers = (graph.constant(np.full(call.op.groups, value), call.output.dtype) for value in (1, 0))
    rows = graph.add("Reshape", x, graph.constant(call.op.rows(call.output.shape)))
    y = graph.add("InstanceNormalization", rows, *numbers, epsilon=call.op.eps)
    y = graph.add("Reshape", y, graph.constant(call.output.shape))
    after = graph.constant(range(1, call.output.ndim - 1))  # the axes that a (C,) array lacks
    gamma, beta = (graph.add("Unsqueeze", name, after) if call.output.ndim > 2 else name for name in (gamma, beta))
    return graph.add("Add", graph.add("Mul", y, gamma), beta)


def _global_avg_pool(graph: OnnxGraph, call: TracedCall, x: str) -> str:
    return graph.add("Flatten", graph.add("GlobalAveragePool", x), axis=1)


_TRANSLATORS: dict[type, Translator] = {
    # Ops of the same name
    **{op: _node(op.__name__) for op in (arithmetic.Add, arithmetic.Sub, arithmetic.Mul, arithmetic.Div)},
    **{op: _node(op.__name__) for op in (arithmetic.Abs, arithmetic.Neg, arithmetic.Exp, arithmetic.Log)},
    **{op: _node(op.__name__) for op in (activation.Tanh, activation.Sigmoid, activation.Erf, linalg.MatMul)},
    **{op: _reduction(op) for op in (reduce.Sum, reduce.Mean, reduce.Max, reduce.Min, reduce.LogSumExp)},
    **{op: _node(op.__name__, lambda op: {"axis": op.axis}) for op in (activation.Softmax, activation.LogSoftmax)},
    # All others
    arithmetic.Maximum: _node("Max"),
    arithmetic.Minimum: _node("Min"),
    arithmetic.Pow: _pow,
    arithmetic.PowTensor: _node("Pow"),
    arithmetic.Sqrt: _node("Sqrt"),
    arithmetic.Clip: _clip,
    arithmetic.Where: _where,
    activation.ReLU: _node("Relu"),
    activation.LeakyReLU: _node("LeakyRelu", lambda op: {"alpha": op.negative_slope}),
    activation.ResidualAdd: _residual_add,
    reduce.Var: _var,
    reduce.Std: _std,
    reduce.BroadcastTo: _broadcast_to,
    shape.Reshape: _reshape,
    shape.Transpose: _node("Transpose", lambda op: {"perm": list(op.axes)}),
    shape.Concatenate: _node("Concat", lambda op: {"axis": op.axis}),
    shape.Pad: _pad,
    shape.GetItem: _getitem,
    resize.Resize: _resize,
    shape.Convert: _convert,
    linalg.Linear: _linear,
    conv.Conv2d: _node("Conv", _conv),
    conv.ConvTranspose2d: _conv_transpose,
    Conv2dAct: _conv_act,
    norm.BatchNorm: _batch_norm,
    norm.BatchNormAct: _batch_norm,
    norm.GroupNorm: _group_norm,
    pool.MaxPool2d: _node("MaxPool", lambda op: {**_window(op.window), "dilations": list(op.window.dilation)}),
    pool.AvgPool2d: _node("AveragePool", lambda op: {**_window(op.window), "count_include_pad": 1}),
    pool.GlobalAvgPool2d: _global_avg_pool,
}
