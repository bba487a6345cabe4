"""A tape as plain data: nodes and edges, their names, and the paths of residual blocks that they belong to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np

from ..core.autograd import Op, Shape
from ..core.backend import Array
from ..core.tensor import Tensor
from ..nn import Module
from ..ops.activation import ResidualAdd
from ..ops.arithmetic import Add
from ..ops.norm import BatchNormAct

OpOrLeaf: TypeAlias = Op | Tensor  # an op of the tape, or a tensor that no op computed
F, SHORTCUT = "F", "shortcut"


@dataclass
class TapeInput:
    """One input of an op: an edge of the graph."""

    name: str  # as the op's forward calls it: "x", "weight", ...
    shape: Shape
    node: int | None  # the number of the node that it comes from; None if it needs no gradient
    value: Array | None  # None if no backward reads it, and it cannot be recomputed
    label: str = ""  # the name of the variable, if it has one and needs no gradient
    gradient: Array | None = None  # the gradient that this op sent back along the edge
    adds: bool = False  # whether another gradient had arrived before, so that this one was added by +=
    summed_from: Shape | None = None  # if it was broadcast: the shape of its gradient before the sum to `shape`
    role: str = ""  # at the join of a residual block: "F" or "shortcut"


@dataclass
class Arrival:
    """A gradient that arrives at a node, sent by input ``input`` of node ``consumer``."""

    consumer: int
    input: int
    role: str = ""  # where the paths of a residual block part: the path that it came along, "F" or "shortcut"


@dataclass
class TapeNode:
    """An op of the tape, or a leaf that requires a gradient."""

    name: str
    shape: Shape
    dtype: np.dtype[Any]
    op: Op | None  # None for a leaf
    value: Array | None  # None if no backward reads it, and it cannot be recomputed
    inputs: list[TapeInput] = field(default_factory=list)
    arrivals: list[Arrival] = field(default_factory=list)  # in the order of the backward pass
    gradient: Array | None = None  # the sum of the gradients that arrived; None if none did
    on_shortcut: bool = False  # whether it lies on the shortcut of a residual block

    @property
    def kind(self) -> str:
        """The name of the op, or "leaf"."""
        return "leaf" if self.op is None else self.op.name


@dataclass
class Tape:
    """The nodes in the order of a forward pass, the loss last. Backward visits them in reverse.

    On the CPU, the arrays are those of the graph, not copies: later changes to a parameter show here, too.
    """

    nodes: list[TapeNode]


def known_names(variables: Mapping[str, Tensor], model: Module | None) -> dict[OpOrLeaf, str]:
    """Return the names of a model's parameters and buffers, and of variables.

    Variables whose name begins with an underscore are left out: a notebook keeps its outputs in them.
    """
    names: dict[OpOrLeaf, str] = {}
    if model is not None:
        names.update({tensor: name for name, tensor in (*model.named_parameters(), *model.named_buffers())})
    for name, tensor in variables.items():
        if not name.startswith("_"):
            names.setdefault(tensor.source, name)
    return names


def give_names(sources: Sequence[OpOrLeaf], known: Mapping[OpOrLeaf, str]) -> Iterator[str]:
    """Yield a unique name for each source. An op that uses a layer's parameters is named after the layer."""
    taken: set[str] = set()
    count: Counter[str] = Counter()
    for source in sources:
        name = known.get(source) or (_layer(source, known) if isinstance(source, Op) else "")
        base = name or (source.name if isinstance(source, Op) else "leaf")
        count[base] += 1
        free = name if name and name not in taken else f"{base}_{count[base]}"
        while free in taken:
            count[base] += 1
            free = f"{base}_{count[base]}"
        taken.add(free)
        yield free


def _layer(op: Op, known: Mapping[OpOrLeaf, str]) -> str:
    """Return ``layer1.0.conv1`` for an op with the input ``layer1.0.conv1.weight``, or "" if that is ambiguous."""
    names = (known.get(edge, "") for edge in op.edges if isinstance(edge, Tensor))
    layers = {name.rpartition(".")[0] for name in names} - {""}
    return layers.pop() if len(layers) == 1 else ""


def mark_joins(nodes: Sequence[TapeNode]) -> None:
    """Mark the inputs, arrivals and nodes that belong to a path of a residual block.

    ::

        forward    fork ──┬── ... F ... ──(join)──>        the join adds F and the shortcut,
                          └── shortcut ──────┘
        backward   fork <─┬── ... F ... <─(join)<──        and the fork adds the two gradients: here += happens
                          └── shortcut <─────┘
    """
    for number, node in enumerate(nodes):
        places = _join(nodes, node)
        if places is None:
            continue
        branch, shortcut = (node.inputs[place] for place in places)
        branch.role, shortcut.role = F, SHORTCUT
        if branch.node is None or shortcut.node is None:
            continue
        on_branch, on_shortcut = _ancestors(nodes, branch.node), _ancestors(nodes, shortcut.node)
        both = on_branch & on_shortcut
        if not both:
            continue
        fork = nodes[max(both)]  # the last node before the paths part
        for beside in on_shortcut - on_branch:
            nodes[beside].on_shortcut = nodes[beside].op is not None
        for arrival in fork.arrivals:
            if arrival.consumer == number:
                arrival.role = SHORTCUT if arrival.input == places[1] else F
            elif arrival.consumer in on_branch ^ on_shortcut:
                arrival.role = F if arrival.consumer in on_branch else SHORTCUT


def _join(nodes: Sequence[TapeNode], node: TapeNode) -> tuple[int, int] | None:
    """Return the numbers of the inputs that are F and the shortcut, if a residual block's paths meet at ``node``."""
    if isinstance(node.op, ResidualAdd):
        return 0, 1
    if isinstance(node.op, BatchNormAct) and len(node.inputs) == 4:
        return 0, 3
    if isinstance(node.op, Add):  # F(x) + x, written out
        a, b = (edge.node for edge in node.inputs)
        if a is not None and b is not None and a != b:
            if b in _ancestors(nodes, a):
                return 0, 1
            if a in _ancestors(nodes, b):
                return 1, 0
    return None


def _ancestors(nodes: Sequence[TapeNode], number: int) -> set[int]:
    """Return the numbers of the node and of all nodes that it is computed from."""
    found = {number}
    for below in range(number, -1, -1):  # backward's order: a node comes after all that use it
        if below in found:
            found.update(edge.node for edge in nodes[below].inputs if edge.node is not None)
    return found
