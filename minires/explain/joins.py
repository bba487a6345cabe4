"""Where the two paths of a residual block part and meet.

::

    forward    fork ──┬── ... F ... ──(join)──>        the join adds F and the shortcut,
                      └── shortcut ──────┘
    backward   fork <─┬── ... F ... <─(join)<──        and the fork adds the two gradients: here += happens
                      └── shortcut <─────┘
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..ops.activation import ResidualAdd
from ..ops.arithmetic import Add
from ..ops.norm import BatchNormAct

if TYPE_CHECKING:
    from .trace import Node

F, SHORTCUT = "F", "shortcut"


def mark_joins(nodes: Sequence[Node]) -> None:
    """Say of inputs, arrivals and nodes which path of a residual block they belong to."""
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


def _join(nodes: Sequence[Node], node: Node) -> tuple[int, int] | None:
    """Which inputs of ``node`` are F and the shortcut, if it is where the two paths of a residual block meet."""
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


def _ancestors(nodes: Sequence[Node], number: int) -> set[int]:
    """The node and everything that it is computed from."""
    found, stack = {number}, [number]
    while stack:
        below = {edge.node for edge in nodes[stack.pop()].inputs if edge.node is not None} - found
        found |= below
        stack.extend(below)
    return found
