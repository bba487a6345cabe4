"""Which nodes of ONNX compute what an op of minires computes: a function for each op, found by its class or name.

Operators of ONNX are described at https://onnx.ai/onnx/operators/; these are those of operator set 18.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..errors import ArgumentError
from ..nn.folding import Conv2dAct
from ..ops import activation, arithmetic, conv, linalg, norm, pool, reduce, shape
from ..ops.conv import Window
from .graph import Graph
from .tracing import Call, Trace

OPSET = 18
LAST = np.iinfo(np.int64).max  # what a slice ends at if it says nothing

Translator = Callable[[Graph, Call, Any], str]  # adds nodes; gives the name of what they compute


def translate(trace: Trace, state: dict[str, Any]) -> Graph:
    """The graph of ``trace``, for the size of its batch; ``state`` names parameters and buffers.

    Raises
    ------
    ArgumentError
        For an op that ONNX has no counterpart of.
    """
    graph = Graph.start(trace, state)
    for call in trace.calls:
        translator = _TRANSLATORS.get(type(call.op))
        if translator is None:
            raise ArgumentError(f"export_onnx: op {call.name} cannot be exported; the model has to do without it.")
        graph.source = call.name
        graph.names[id(call.output)] = translator(graph, call, call.op)
    graph.finish(trace.outputs)
    return graph


# One node for one op


def _elementwise(kind: str) -> Translator:
    """Inputs of one dtype, that of the result, as ONNX wants them."""

    def translator(graph: Graph, call: Call, op: Any) -> str:
        return graph.add(kind, *(graph.value(array, call.output.dtype) for array in call.inputs))

    return translator


def _pow(graph: Graph, call: Call, op: Any) -> str:
    x = graph.value(call.inputs[0])
    return graph.add("Pow", x, graph.constant(op.exponent, call.output.dtype))


def _where(graph: Graph, call: Call, op: Any) -> str:
    condition = graph.constant(op.condition, bool)
    return graph.add("Where", condition, *(graph.value(array, call.output.dtype) for array in call.inputs))


def _reduction(kind: str) -> Translator:
    def translator(graph: Graph, call: Call, op: Any) -> str:
        x = graph.value(call.inputs[0], call.output.dtype)
        return graph.add(kind, x, graph.constant(op.axes), keepdims=int(op.keepdims))

    return translator


def _var(graph: Graph, call: Call, op: Any) -> str:
    x, axes = graph.value(call.inputs[0]), graph.constant(op.axes)
    deviation = graph.add("Sub", x, graph.add("ReduceMean", x, axes, keepdims=1))
    squares = graph.add("ReduceSumSquare", deviation, axes, keepdims=int(op.keepdims))
    return graph.add("Div", squares, graph.constant(op.divisor, call.output.dtype))


def _convert(graph: Graph, call: Call, op: Any) -> str:
    return graph.value(call.inputs[0], call.output.dtype)


def _clip(graph: Graph, call: Call, op: Any) -> str:
    dtype = call.output.dtype
    names = ("" if bound is None else graph.constant(bound, dtype) for bound in (op.low, op.high))
    return graph.add("Clip", graph.value(call.inputs[0], dtype), *names)


def _leaky_relu(graph: Graph, call: Call, op: Any) -> str:
    return graph.add("LeakyRelu", graph.value(call.inputs[0]), alpha=op.negative_slope)


def _softmax(kind: str) -> Translator:
    def translator(graph: Graph, call: Call, op: Any) -> str:
        return graph.add(kind, graph.value(call.inputs[0]), axis=op.axis)

    return translator


# Shapes


def _reshape(graph: Graph, call: Call, op: Any) -> str:
    return graph.add("Reshape", graph.value(call.inputs[0]), graph.constant(call.output.shape))


def _transpose(graph: Graph, call: Call, op: Any) -> str:
    return graph.add("Transpose", graph.value(call.inputs[0]), perm=list(op.axes))


def _concatenate(graph: Graph, call: Call, op: Any) -> str:
    parts = (graph.value(array, call.output.dtype) for array in call.inputs)
    return graph.add("Concat", *parts, axis=op.axis)


def _broadcast_to(graph: Graph, call: Call, op: Any) -> str:
    (x,), target = call.inputs, call.output.shape
    missing = len(target) - x.ndim
    same = [size if a < missing or x.shape[a - missing] != size else 1 for a, size in enumerate(target)]
    return graph.add("Expand", graph.value(x), graph.constant(same))  # 1 keeps the size that there is


def _pad(graph: Graph, call: Call, op: Any) -> str:
    before, after = zip(*op.widths, strict=True)
    value = graph.constant(op.value, call.output.dtype)
    return graph.add("Pad", graph.value(call.inputs[0]), graph.constant(before + after), value, mode="constant")


def _getitem(graph: Graph, call: Call, op: Any) -> str:
    """Slices first, then single places and lists of them from the last axis on, then new axes."""
    x = call.inputs[0]
    index = op.index if isinstance(op.index, tuple) else (op.index,)
    arrays = [part for part in index if isinstance(part, np.ndarray)]
    integers = [part for part in index if isinstance(part, (int, np.integer))]
    if any(isinstance(part, bool) for part in index) or any(part.dtype.kind == "b" for part in arrays):
        raise ArgumentError("export_onnx: getitem by a mask cannot be exported; where(mask, x, 0) can.")
    if len(arrays) + bool(arrays and integers) > 1:
        raise ArgumentError("export_onnx: getitem by an array beside integers or other arrays cannot be exported.")
    if Ellipsis not in [part for part in index if not isinstance(part, np.ndarray)]:
        index = (*index, Ellipsis)
    place = next(i for i, part in enumerate(index) if part is Ellipsis)
    named = sum(part is not None for part in index) - 1
    index = (*index[:place], *(slice(None),) * (x.ndim - named), *index[place + 1 :])

    slices: list[tuple[int, int, int, int]] = []  # start, end, axis, step
    picked: list[tuple[int, Any]] = []  # axis, place or places
    new_axes: list[int] = []  # in the result
    axis = axis_of_result = 0
    for part in index:
        if part is None:
            new_axes.append(axis_of_result)
        elif isinstance(part, slice):
            step = 1 if part.step is None else int(part.step)
            start = (0 if step > 0 else LAST) if part.start is None else int(part.start)
            end = (LAST if step > 0 else -LAST) if part.stop is None else int(part.stop)
            if (start, end, step) != (0, LAST, 1):
                slices.append((start, end, axis, step))
        else:
            picked.append((axis, part))
        axis += part is not None
        axis_of_result += np.ndim(part) if isinstance(part, (int, np.integer, np.ndarray)) else 1
    name = graph.value(x)
    if slices:
        name = graph.add("Slice", name, *(graph.constant(numbers) for numbers in zip(*slices, strict=True)))
    for axis, part in reversed(picked):
        name = graph.add("Gather", name, graph.constant(part), axis=axis)
    return graph.add("Unsqueeze", name, graph.constant(new_axes)) if new_axes else name


# Layers


def _relu(graph: Graph, name: str, op: Any) -> str:
    return graph.add("Relu", name) if op.activation == "relu" else name


def _window(window: Window) -> dict[str, list[int]]:
    return {"kernel_shape": list(window.kernel), "strides": list(window.stride), "pads": list(window.padding * 2)}


def _conv(graph: Graph, call: Call, op: Any) -> str:
    names = (graph.value(array, call.output.dtype) for array in call.inputs)
    return graph.add("Conv", *names, **_window(op.window), dilations=list(op.window.dilation), group=op.groups)


def _conv_transpose(graph: Graph, call: Call, op: Any) -> str:
    names = [graph.value(array, call.output.dtype) for array in call.inputs]
    w = op.window
    geometry = zip(call.inputs[0].shape[2:], op.image, w.kernel, w.stride, w.padding, w.dilation, strict=True)
    extra = [made - ((size - 1) * s - 2 * p + d * (k - 1) + 1) for size, made, k, s, p, d in geometry]
    options = {"dilations": list(w.dilation), "group": op.groups, "output_padding": extra}
    return graph.add("ConvTranspose", *names, **_window(w), **options)


def _conv_act(graph: Graph, call: Call, op: Any) -> str:
    """What ``nn.fold`` makes of a convolution and a batch norm."""
    x, weight, bias, *shortcut = call.inputs
    name = _conv(graph, Call(call.name, [x, weight, bias], call.output, op), op)
    return _relu(graph, graph.add("Add", name, graph.value(shortcut[0])) if shortcut else name, op)


def _linear(graph: Graph, call: Call, op: Any) -> str:
    x, weight, *bias = (graph.value(array, call.output.dtype) for array in call.inputs)
    if call.inputs[0].ndim == 2:
        return graph.add("Gemm", x, weight, *bias, transB=1)
    product = graph.add("MatMul", x, graph.add("Transpose", weight, perm=[1, 0]))
    return graph.add("Add", product, *bias) if bias else product


def _batch_norm(graph: Graph, call: Call, op: Any) -> str:
    if op.running is None:
        raise ArgumentError(
            "export_onnx: the model normalises by the statistics of the batch, as in training; "
            "give batch_norm the running ones."
        )
    dtype = call.output.dtype
    x, gamma, beta, *shortcut = (graph.value(array, dtype) for array in call.inputs)
    running = []
    for kind, statistic in zip(("running_mean", "running_var"), op.running, strict=True):  # copies of the buffers
        buffer = f"{gamma.removesuffix('weight')}{kind}"
        known = np.array_equal(graph.state.get(buffer, 0), statistic)
        running.append(graph.constant(statistic, dtype, buffer if known else None))
    y = graph.add("BatchNormalization", x, gamma, beta, *running, epsilon=op.eps)
    y = graph.add("Add", y, shortcut[0]) if shortcut else y
    return _relu(graph, y, op) if isinstance(op, norm.BatchNormAct) else y


def _residual_add(graph: Graph, call: Call, op: Any) -> str:
    return _relu(graph, _elementwise("Add")(graph, call, op), op)


def _pool(kind: str, **options: int) -> Translator:
    def translator(graph: Graph, call: Call, op: Any) -> str:
        return graph.add(kind, graph.value(call.inputs[0]), **_window(op.window), **options)

    return translator


def _global_avg_pool(graph: Graph, call: Call, op: Any) -> str:
    return graph.add("Flatten", graph.add("GlobalAveragePool", graph.value(call.inputs[0])), axis=1)


_TRANSLATORS: dict[Any, Translator] = {
    arithmetic.Add: _elementwise("Add"),
    arithmetic.Sub: _elementwise("Sub"),
    arithmetic.Mul: _elementwise("Mul"),
    arithmetic.Div: _elementwise("Div"),
    arithmetic.Neg: _elementwise("Neg"),
    arithmetic.Exp: _elementwise("Exp"),
    arithmetic.Log: _elementwise("Log"),
    arithmetic.Maximum: _elementwise("Max"),
    arithmetic.Minimum: _elementwise("Min"),
    arithmetic.Pow: _pow,
    arithmetic.Where: _where,
    arithmetic.Abs: _elementwise("Abs"),
    arithmetic.Clip: _clip,
    activation.ReLU: _elementwise("Relu"),
    activation.Tanh: _elementwise("Tanh"),
    activation.Sigmoid: _elementwise("Sigmoid"),
    activation.Erf: _elementwise("Erf"),
    activation.LeakyReLU: _leaky_relu,
    activation.LogSoftmax: _softmax("LogSoftmax"),
    activation.Softmax: _softmax("Softmax"),
    activation.ResidualAdd: _residual_add,
    reduce.Sum: _reduction("ReduceSum"),
    reduce.Max: _reduction("ReduceMax"),
    reduce.Min: _reduction("ReduceMin"),
    reduce.Mean: _reduction("ReduceMean"),
    reduce.Var: _var,
    reduce.LogSumExp: _reduction("ReduceLogSumExp"),
    reduce.BroadcastTo: _broadcast_to,
    shape.Reshape: _reshape,
    shape.Transpose: _transpose,
    shape.Concatenate: _concatenate,
    shape.Pad: _pad,
    shape.GetItem: _getitem,
    shape.Convert: _convert,
    linalg.MatMul: _elementwise("MatMul"),
    linalg.Linear: _linear,
    conv.Conv2d: _conv,
    conv.ConvTranspose2d: _conv_transpose,
    Conv2dAct: _conv_act,
    norm.BatchNorm: _batch_norm,
    norm.BatchNormAct: _batch_norm,
    pool.MaxPool2d: _pool("MaxPool"),
    pool.AvgPool2d: _pool("AveragePool", count_include_pad=1),
    pool.GlobalAvgPool2d: _global_avg_pool,
}
