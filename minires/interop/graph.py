"""A network as an ONNX graph: nodes, each of which computes a named array, and constant arrays.

A model is traced twice, with two batch sizes, and each trace becomes a graph. Where the graphs agree, nothing depends
on the batch. Where they differ, a number of this batch has got into the graph. That is an error, except in the shape of
a Reshape, where ONNX can infer one size.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..core.backend import Array
from ..errors import ArgumentError, sizes
from ..nn.folding import merged
from .tracing import Trace, TracedCall

INPUT = "input"
RESERVED = (INPUT, "output")  # all other names that are not parameters' begin with a slash


@dataclass
class OnnxNode:
    """One ONNX operation."""

    kind: str  # "Conv", "Relu", ...
    inputs: list[str]
    output: str
    attributes: dict[str, Any]
    source: str  # the op of minires that it comes from


@dataclass
class OnnxGraph:
    """Nodes in the order of computation.

    Attributes
    ----------
    nodes : list of OnnxNode
    constants : dict of str to array
        Parameters under their own names, and everything else that does not depend on the input.
    outputs : dict of str to array
        As they were traced.
    shapes : dict of str to list
        Of the input and the outputs, for any batch: ``["batch", 3, 32, 32]``. Empty before :func:`merge`.
    """

    x: Array
    names: dict[int, str]  # of parameters, and of every array that was computed, by id
    state: Mapping[str, Array]  # parameters and buffers
    nodes: list[OnnxNode] = field(default_factory=list)
    constants: dict[str, Array] = field(default_factory=dict)
    outputs: dict[str, Array] = field(default_factory=dict)
    shapes: dict[str, list[Any]] = field(default_factory=dict)
    source: str = ""  # the op that is being translated
    computed: set[str] = field(default_factory=lambda: {INPUT})

    @classmethod
    def start(cls, trace: Trace, state: Mapping[str, Array]) -> OnnxGraph:
        """A graph without nodes, which knows its input and the names of parameters."""
        names = {id(array): f"/{name}" if name in RESERVED else name for name, array in state.items()}
        return cls(trace.x, {**names, id(trace.x): INPUT}, state)

    def add(self, kind: str, *inputs: str, **attributes: Any) -> str:
        """Add a node, and return the name of what it computes."""
        output = f"/{kind.lower()}_{len(self.nodes)}"
        self.nodes.append(OnnxNode(kind, list(inputs), output, attributes, self.source))
        self.computed.add(output)
        return output

    def constant(self, value: Any, dtype: Any = np.int64, name: str | None = None) -> str:
        """Add a constant array, and return its name."""
        array = np.asarray(value, dtype)
        name = name or f"/constant_{len(self.constants)}"
        self.constants[name] = array
        return name

    def value(self, array: Array, dtype: Any = None) -> str:
        """The name of a traced array, or of a new constant; converted to ``dtype``."""
        wanted = array.dtype if dtype is None else np.dtype(dtype)
        name = self.names.get(id(array))
        if name is not None and name in self.computed:
            return name if array.dtype == wanted else self.add("Cast", name, to=wanted)
        return self.constant(array, wanted, name if array.dtype == wanted else None)

    def values(self, call: TracedCall) -> list[str]:
        """The names of the inputs of a call, converted to the dtype of its output."""
        return [self.value(array, call.output.dtype) for array in call.inputs]

    def finish(self, outputs: Sequence[Array]) -> None:
        """Name the outputs: ``output``, or ``/output_0``, ``/output_1``, ... if there are several."""
        for number, array in enumerate(outputs):
            name = "output" if len(outputs) == 1 else f"/output_{number}"
            old = self.names[id(array)]
            if old == INPUT or old in self.outputs:
                self.nodes.append(OnnxNode("Identity", [old], name, {}, "output"))
            else:
                self._rename(old, name)
            self.outputs[name] = array

    def _rename(self, old: str, new: str) -> None:
        for node in self.nodes:
            node.inputs = [new if name == old else name for name in node.inputs]
            node.output = new if node.output == old else node.output
        self.names = {key: new if name == old else name for key, name in self.names.items()}


def merge(small: OnnxGraph, large: OnnxGraph) -> OnnxGraph:
    """``small``, corrected for any batch size, if ``large`` is the same graph for a larger batch.

    Raises
    ------
    ArgumentError
        If the model does something else for another batch, or uses an array that depends on the batch.
    """
    same = len(small.nodes) == len(large.nodes)
    for a, b in zip(small.nodes, large.nodes, strict=False):
        if (a.kind, a.inputs, a.output, a.attributes) != (b.kind, b.inputs, b.output, b.attributes):
            same = False
            break
        for name in set(a.inputs) & small.constants.keys():
            _merge_constant(a, name, small.constants, large.constants)
    if not same or list(small.outputs) != list(large.outputs):
        raise ArgumentError(
            "export_onnx: the model does not do the same for every batch: with batches of "
            f"{len(small.x)} and {len(large.x)} it called different ops, or with different options."
        )
    for name, a, b in [(INPUT, small.x, large.x), *((n, small.outputs[n], large.outputs[n]) for n in small.outputs)]:
        batch = len(small.x), len(large.x)
        small.shapes[name] = [
            p if p == q else "batch" if (p, q) == batch else None for p, q in zip(a.shape, b.shape, strict=True)
        ]
    return small


def _merge_constant(node: OnnxNode, name: str, small: dict[str, Array], large: dict[str, Array]) -> None:
    a, b = small[name], large[name]
    if a.shape == b.shape and np.array_equal(a, b, equal_nan=a.dtype.kind == "f"):
        return
    if node.kind == "Reshape" and a.shape == b.shape and (a != b).sum() == 1:
        small[name] = np.where(a == b, a, -1)
        return
    if node.kind == "Reshape":
        raise ArgumentError(
            f"export_onnx: reshape to {tuple(a.tolist())} contains the size of the batch in more than one place."
        )
    raise ArgumentError(
        f"export_onnx: {node.source} uses an array ({sizes(a.shape)}) that depends on the input or on the size of the "
        "batch but was not computed by ops of minires; argmax, comparisons and changes of .data are not recorded."
    )


def fold_batch_norms(graph: OnnxGraph) -> None:
    """Merge each batch norm into the convolution before it, as :func:`minires.nn.fold` does."""
    uses = Counter(name for node in graph.nodes for name in node.inputs) + Counter(graph.outputs.keys())
    producers = {node.output: node for node in graph.nodes}
    kept = []
    for node in graph.nodes:
        conv = producers.get(node.inputs[0])
        if (
            node.kind != "BatchNormalization"
            or conv is None
            or conv.kind != "Conv"
            or uses[conv.output] > 1
            or not {*conv.inputs[1:], *node.inputs[1:]} <= graph.constants.keys()
        ):
            kept.append(node)
            continue
        weight, *bias = (graph.constants[name] for name in conv.inputs[1:])
        gamma, beta, mean, var = (graph.constants[name] for name in node.inputs[1:])
        new = merged(weight, bias[0] if bias else 0, gamma, beta, mean, var, node.attributes["epsilon"])
        names = [conv.inputs[1], f"{conv.inputs[1].removesuffix('weight')}bias"]
        if any(uses[name] > (name in conv.inputs) for name in names):  # shared parameters must not change
            names = [f"{conv.output}.weight", f"{conv.output}.bias"]
        conv.inputs[1:] = [graph.constant(array, weight.dtype, name) for array, name in zip(new, names, strict=True)]
        conv.output = node.output
        producers[conv.output] = conv
    graph.nodes = kept
