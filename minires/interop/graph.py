"""A network as an ONNX graph: nodes, each of which computes a named array, and constant arrays.

A model is traced twice, with two batch sizes, and each trace becomes a graph. Where the graphs agree, nothing depends
on the batch. Where they differ, each of them contains the size or the values of its batch. That is an error, except in
the shape of a Reshape, where ONNX can infer one size.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..core.backend import Array
from ..errors import ArgumentError, sizes
from ..nn.folding import merged

INPUT = "input"
RESERVED = (INPUT, "output")  # all other names begin with a slash, except those of parameters and buffers


class OnnxGraph:
    """A graph for the input ``x``, at first without nodes; ``state`` maps names to arrays of parameters and buffers.

    Attributes
    ----------
    nodes : list of onnx.NodeProto
        The nodes in the order of computation. Each has one output.
    constants : dict of str to array
        Maps names to parameters and to all other arrays that do not depend on the input.
    computed : dict of int to str
        Maps the id of a traced array, which is the input or is computed by a node, to its name in the graph.
    ends : dict of str to array
        Maps the names of the input and the outputs to the traced arrays.
    shapes : dict of str to list
        Maps the same names to shapes for any batch size, such as ``["batch", 3, 32, 32]``. Empty before :func:`merge`.
    """

    def __init__(self, x: Array, state: Mapping[str, Array]) -> None:
        self.state = state
        self.nodes: list[Any] = []
        self.constants: dict[str, Array] = {}
        self.computed = {id(x): INPUT}
        self.parameters = {id(array): f"/{name}" if name in RESERVED else name for name, array in state.items()}
        self.ends = {INPUT: x}
        self.shapes: dict[str, list[Any]] = {}

    def add(self, kind: str, *inputs: str, **attributes: Any) -> str:
        """Add a node, and return the name of its output."""
        from onnx import helper

        output = f"/{kind.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [output], name=output, **attributes))
        return output

    def constant(self, value: Any, dtype: Any = np.int64, name: str | None = None) -> str:
        """Add a constant array, and return its name."""
        name = name or f"/constant_{len(self.constants)}"
        self.constants[name] = np.asarray(value, dtype)
        return name

    def value(self, array: Array, dtype: np.dtype[Any]) -> str:
        """Return the name of a traced array or of a new constant for it, converted to ``dtype`` if necessary."""
        if name := self.computed.get(id(array)):
            return name if array.dtype == dtype else self.add("Cast", name, to=type_of(dtype))
        return self.constant(array, dtype, self.parameters.get(id(array)) if array.dtype == dtype else None)

    def finish(self, outputs: Sequence[Array]) -> None:
        """Name the outputs: ``output``, or ``/output_0``, ``/output_1``, ... if there are several."""
        for number, array in enumerate(outputs):
            old, new = self.computed[id(array)], "output" if len(outputs) == 1 else f"/output_{number}"
            if old in self.ends:  # the input, or an array that is returned twice, keeps its name
                old = self.add("Identity", old)
            for node in self.nodes:
                node.input[:] = [new if name == old else name for name in node.input]
                node.output[:] = [new if name == old else name for name in node.output]
            self.computed = {key: new if name == old else name for key, name in self.computed.items()}
            self.ends[new] = array


def type_of(dtype: np.dtype[Any]) -> int:
    """Return ONNX's number for a dtype."""
    from onnx import helper

    return int(helper.np_dtype_to_tensor_dtype(dtype))


def merge(small: OnnxGraph, large: OnnxGraph) -> OnnxGraph:
    """Return ``small``, changed to take any batch size, if ``large`` is the same graph for a larger batch.

    Raises
    ------
    ArgumentError
        If the model does something different for another batch size, or uses an array that depends on the batch.
    """
    batch = len(small.ends[INPUT]), len(large.ends[INPUT])
    if small.nodes != large.nodes or small.ends.keys() != large.ends.keys():
        raise ArgumentError(
            "export_onnx: the model does not do the same for every batch size: with batches of "
            f"{batch[0]} and {batch[1]}, it called different ops or used different options."
        )
    for node in small.nodes:
        for name in set(node.input) & small.constants.keys():
            _merge_constant(node, name, small.constants, large.constants)
    for name, array in small.ends.items():
        pairs = zip(array.shape, large.ends[name].shape, strict=True)
        small.shapes[name] = [p if p == q else "batch" if (p, q) == batch else None for p, q in pairs]
    return small


def _merge_constant(node: Any, name: str, small: dict[str, Array], large: dict[str, Array]) -> None:
    a, b = small[name], large[name]
    if a.shape == b.shape and np.array_equal(a, b, equal_nan=a.dtype.kind == "f"):
        return
    if node.op_type == "Reshape" and a.shape == b.shape and (a != b).sum() == 1:
        small[name] = np.where(a == b, a, -1)
        return
    if node.op_type == "Reshape":
        raise ArgumentError(f"export_onnx: reshape to {tuple(a.tolist())} contains the batch size more than once.")
    raise ArgumentError(
        f"export_onnx: {node.op_type} uses an array ({sizes(a.shape)}) that depends on the input or on the batch size "
        "but was not computed by ops of minires; argmax, comparisons and changes of .data are not recorded."
    )


def fold_batch_norms(graph: OnnxGraph) -> None:
    """Merge each batch norm into the convolution before it, as :func:`minires.nn.fold` does."""
    from onnx.helper import get_node_attr_value

    uses = Counter(name for node in graph.nodes for name in node.input) + Counter(graph.ends.keys())
    convs = {node.output[0]: node for node in graph.nodes if node.op_type == "Conv"}
    kept = []
    for node in graph.nodes:
        conv = convs.get(node.input[0])
        if (
            node.op_type != "BatchNormalization"
            or conv is None
            or uses[conv.output[0]] > 1
            or not {*conv.input[1:], *node.input[1:]} <= graph.constants.keys()
        ):
            kept.append(node)
            continue
        weight, *bias = (graph.constants[name] for name in conv.input[1:])
        gamma, beta, mean, var = (graph.constants[name] for name in node.input[1:])
        eps = get_node_attr_value(node, "epsilon")
        new = merged(weight, bias[0] if bias else 0, gamma, beta, mean, var, eps)
        names = [conv.input[1], f"{conv.input[1].removesuffix('weight')}bias"]
        if any(uses[name] > (name in conv.input) for name in names):  # shared parameters must not change
            names = [f"{conv.output[0]}.weight", f"{conv.output[0]}.bias"]
        conv.input[1:] = [graph.constant(array, weight.dtype, name) for array, name in zip(new, names, strict=True)]
        conv.output[:] = node.output
        convs[conv.output[0]] = conv
    graph.nodes = kept
