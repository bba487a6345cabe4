"""The tape under a loss as plain data: every node with its value, every edge with the gradient that came back along it.

The graph that :mod:`minires.core.autograd` leaves behind knows only what backward needs. Here it is written down whole:
values that no op kept are computed once more from those that were, and a backward pass of its own keeps what the real
one throws away, which is the part of the gradient that each consumer sent. The user's graph and gradients stay as they
are.
"""

from __future__ import annotations

import copy
import inspect
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..core.autograd import Op
from ..core.backend import Array, array_module, to_device
from ..core.dispatch import engine
from ..core.state import no_grad, switched
from ..core.tensor import Tensor
from ..errors import GraphError
from ..ops.reduce import Sum
from .joins import mark_joins
from .names import Source, give_names

Shape = tuple[int, ...]


@dataclass
class Input:
    """One input of an op: an edge of the graph."""

    name: str  # as the op's forward calls it: "x", "weight", ...
    shape: Shape
    node: int | None  # the number of the node that it comes from; None where no gradient is wanted
    value: Array | None  # None if no backward reads it, and it cannot be computed again
    label: str = ""  # of what no gradient is wanted for: the name of the variable, if it has one
    gradient: Array | None = None  # what this op sent back along the edge
    adds: bool = False  # whether another gradient was there already, so that this one came by +=
    summed_from: Shape | None = None  # un-broadcast: the shape that its gradient had before it was summed to this one
    role: str = ""  # at the join of a residual block: "F" or "shortcut"


@dataclass
class Arrival:
    """A gradient that arrives at a node: input ``input`` of node ``consumer`` sent it."""

    consumer: int
    input: int
    role: str = ""  # where a residual block's paths part: "F" or "shortcut", whichever the gradient came along


@dataclass
class Node:
    """An op of the tape, or a leaf that requires a gradient."""

    name: str
    shape: Shape
    dtype: np.dtype[Any]
    op: Op | None  # None for a leaf
    value: Array | None  # None if no backward reads it, and it cannot be computed again
    inputs: list[Input] = field(default_factory=list)
    arrivals: list[Arrival] = field(default_factory=list)  # in the order in which they came
    gradient: Array | None = None  # their sum; None if none arrived
    on_shortcut: bool = False  # whether it lies on the path beside a residual branch

    @property
    def kind(self) -> str:
        """The name of the op, or "leaf"."""
        return "leaf" if self.op is None else self.op.name


@dataclass
class Tape:
    """Nodes in the order of a forward pass, the loss last. Backward visits them in reverse.

    Arrays are those of the graph, and no copies: what changes a parameter later shows here, too.
    """

    nodes: list[Node]


def trace(loss: Tensor, names: Mapping[Source, str], held: Iterable[Tensor] = ()) -> Tape:
    """Write down the tape under ``loss``.

    Parameters
    ----------
    loss : Tensor
        One number that was computed from something with ``requires_grad=True``.
    names : mapping
        What to call ops, leaves, and tensors that need no gradient; the others are called by their kind and a number.
    held : iterable of Tensor
        Tensors that are in somebody's hands: their values are there, even if no op has kept them.

    Returns
    -------
    Tape
        It refers to the arrays of the graph where it can, and computes the others.

    Raises
    ------
    GraphError
        If nothing was recorded, the graph was freed by a backward, or an array that it needs was changed in place.
    ShapeError
        If ``loss`` is no single number.
    """
    upstream = loss.upstream()
    sources = _in_forward_order(loss)
    numbers = {source: number for number, source in enumerate(sources)}
    values = _values([loss, *held], sources)
    nodes = []
    for source, name in zip(sources, give_names(sources, names), strict=True):
        node = Node(name, source.shape, np.dtype(source.dtype), None, _on_cpu(values[source]))
        if isinstance(source, Op):
            node.op, node.inputs = source, _inputs(source, numbers, values, names)
        nodes.append(node)
    _backward(nodes, upstream)
    mark_joins(nodes)
    return Tape(nodes)


def _in_forward_order(loss: Tensor) -> list[Source]:
    """Every op and leaf below ``loss``, each after what it is computed from, operands from left to right."""
    if not loss.requires_grad:
        raise GraphError(
            "step: the loss was not computed from anything with requires_grad=True, or it was computed in no_grad()."
        )
    order: list[Source] = []
    seen: set[Source] = set()
    stack: list[tuple[Source, bool]] = [(loss.source, False)]
    while stack:
        source, operands_done = stack.pop()
        if operands_done:
            order.append(source)
        elif source not in seen:
            seen.add(source)
            stack.append((source, True))
            if isinstance(source, Op):
                _check_usable(source)
                stack.extend((edge, False) for edge in reversed(source.edges) if edge is not None)
    return order


def _check_usable(op: Op) -> None:
    if op.freed:
        raise GraphError(
            f"step: the graph of {op.name} was freed by backward(); call step(loss) before it, or give that one "
            "retain_graph=True."
        )
    op._check_saved()


def _values(held: Iterable[Tensor], sources: Sequence[Source]) -> dict[Source, Array | None]:
    """The output of each source: what is held outside, what the graph has kept, and what follows from both."""
    values: dict[Source, Array | None] = {tensor.source: tensor.data for tensor in held}
    for source in sources:
        if isinstance(source, Tensor):
            values[source] = source.data
            continue
        if source.saves in ("output", "both"):
            values[source] = source.output.data
        for edge, kept in zip(source.edges, source.inputs, strict=False):  # none are kept by ops that do not read them
            if edge is not None:
                values[edge] = kept.data
    for source in sources:
        if isinstance(source, Op) and source not in values:
            given = [values[edge] if edge is not None else kept for edge, kept in _with_constants(source)]
            values[source] = _computed_again(source, given) if all(array is not None for array in given) else None
    return values


def _with_constants(op: Op) -> list[tuple[Source | None, Array | None]]:
    """Each edge of ``op``, with the array at its end if the op has kept it."""
    kept = [x.data for x in op.inputs] or [None] * len(op.edges)
    return list(zip(op.edges, kept, strict=True))


def _computed_again(op: Op, arrays: Sequence[Array]) -> Array:
    with np.errstate(all="ignore"):
        return copy.copy(op).forward(*arrays)  # a copy, for forward may keep something on its op


def _inputs(
    op: Op, numbers: Mapping[Source, int], values: Mapping[Source, Array | None], names: Mapping[Source, str]
) -> list[Input]:
    inputs = []
    for i, (edge, kept) in enumerate(_with_constants(op)):
        name, shape = _parameter_name(op, i), op.input_shapes[i]
        if edge is not None:
            inputs.append(Input(name, shape, numbers[edge], _on_cpu(values[edge])))
        else:
            label = names.get(op.inputs[i], "") if op.inputs else ""
            inputs.append(Input(name, shape, None, _on_cpu(kept), label))
    return inputs


def _parameter_name(op: Op, index: int) -> str:
    """What ``forward`` calls its input ``index``; ``arrays[2]`` where it takes any number of them."""
    try:
        parameters = list(inspect.signature(op.forward).parameters.values())
    except ValueError:  # a function of C need not tell
        parameters = []
    for place, parameter in enumerate(parameters):
        if parameter.kind is parameter.VAR_POSITIONAL:
            alone = len(op.edges) == place + 1
            return parameter.name if alone else f"{parameter.name}[{index - place}]"
        if place == index:
            return parameter.name
    return f"input {index}"


def _backward(nodes: Sequence[Node], upstream: Tensor) -> None:
    """The chain rule, node by node, with every part of every sum written down.

    The textbook computes, whichever engine is on: a kernel may add up what this is here to show. Hooks are not called.
    """
    gradients: dict[int, Tensor] = {len(nodes) - 1: upstream}
    sums: list[tuple[Shape, Array]] = []

    def watch(op: Op, phase: str, arrays: Sequence[Array]) -> Callable[[Array], None] | None:
        return (
            (lambda result: sums.append((arrays[0].shape, result))) if phase == "forward" and type(op) is Sum else None
        )

    with (
        no_grad(),
        engine("textbook"),
        switched("anomaly", False),
        switched("observers", (watch,)),
        np.errstate(all="ignore"),
    ):
        for number in reversed(range(len(nodes))):
            node, gradient = nodes[number], gradients.pop(number, None)
            if gradient is None:
                continue
            node.gradient = _on_cpu(gradient.data)
            if node.op is None:
                continue
            sums.clear()
            parts = node.op.gradients(gradient)
            for i, (edge, part) in enumerate(zip(node.inputs, parts, strict=True)):
                if edge.node is None or part is None:
                    continue
                edge.gradient = _on_cpu(part.data)
                edge.summed_from = None if edge.shape == node.shape else _before_sum(part.data, sums)
                edge.adds = edge.node in gradients
                gradients[edge.node] = gradients[edge.node] + part if edge.adds else part
                nodes[edge.node].arrivals.append(Arrival(number, i))


def _before_sum(part: Array, sums: Sequence[tuple[Shape, Array]]) -> Shape | None:
    """The shape that was summed to make ``part``, if it is one of the sums of a backward, or minus one."""
    for wide, total in sums:
        if total.size == part.size < math.prod(wide):
            xp = array_module(part)
            if xp.array_equal(abs(part.ravel()), abs(total.ravel()), equal_nan=True):
                return wide
    return None


def _on_cpu(array: Array | None) -> Array | None:
    return None if array is None else to_device(array, "cpu")
