"""Write down the tape under a loss: every node with its value, every edge with the gradient that came back along it.

The graph of :mod:`minires.core.autograd` holds only what backward needs. The rest is added here: values that no op kept
are recomputed, and a separate backward pass keeps the part of each gradient that each consumer sent, which the real one
does not keep. The user's graph and gradients are not changed.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np

from ..core.autograd import Op, Shape
from ..core.backend import Array, to_device
from ..core.dispatch import engine
from ..core.state import enable_grad, switched
from ..core.tensor import Tensor
from ..errors import GraphError
from ..ops.arithmetic import Neg
from ..ops.reduce import Sum
from ..ops.shape import Convert, Reshape
from .tape import Arrival, OpOrLeaf, Tape, TapeInput, TapeNode, give_names, mark_joins


def trace(loss: Tensor, names: Mapping[OpOrLeaf, str], held: Iterable[Tensor] = ()) -> Tape:
    """Write down the tape under ``loss``.

    Parameters
    ----------
    loss : Tensor
        A tensor with one number that was computed from something with ``requires_grad=True``.
    names : mapping of Op or Tensor to str
        The names of ops, leaves, and tensors that need no gradient. Others are named by their kind and a number.
    held : iterable of Tensor
        Tensors that the user still holds: their values are known, even if no op has kept them.

    Returns
    -------
    Tape

    Raises
    ------
    GraphError
        If no graph was recorded, backward has freed it, or an array that it needs was changed in place.
    ShapeError
        If ``loss`` holds more than one number.
    """
    upstream = loss.upstream()
    sources = _in_forward_order(loss)
    numbers = {source: number for number, source in enumerate(sources)}
    values = _kept_values([loss, *held], sources)
    nodes = []
    for source, name in zip(sources, give_names(sources, names), strict=True):
        node = TapeNode(name, source.shape, np.dtype(source.dtype), None, None)
        if isinstance(source, Op):
            kept = [x.data for x in source.inputs] or [None] * len(source.edges)
            given = [x if edge is None else values.get(edge) for edge, x in zip(source.edges, kept, strict=True)]
            if source not in values and all(array is not None for array in given):
                with np.errstate(all="ignore"):  # on a copy of the op, because forward may store something on it
                    values[source] = copy.copy(source).forward(*given)
            node.op, node.inputs = source, _inputs(source, given, numbers, names)
        node.value = _on_cpu(values.get(source))
        nodes.append(node)
    _backward(nodes, upstream)
    mark_joins(nodes)
    return Tape(nodes)


def _in_forward_order(loss: Tensor) -> list[OpOrLeaf]:
    """Return every op and leaf below ``loss``, each after its operands, with operands from left to right."""
    if not loss.requires_grad:
        raise GraphError(
            "step: the loss was not computed from anything with requires_grad=True, or it was computed in no_grad()."
        )
    order: list[OpOrLeaf] = []
    seen: set[OpOrLeaf] = set()
    stack: list[tuple[OpOrLeaf, bool]] = [(loss.source, False)]
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
            f"step: the graph of {op.name} was freed by backward(); call step(loss) before, or backward with "
            "retain_graph=True."
        )
    op.check_saved()


def _kept_values(held: Iterable[Tensor], sources: Sequence[OpOrLeaf]) -> dict[OpOrLeaf, Array]:
    """Return the outputs, keyed by source, that the user holds or that the graph has kept."""
    values: dict[OpOrLeaf, Array] = {tensor.source: tensor.data for tensor in held}
    for source in sources:
        if isinstance(source, Tensor):
            values[source] = source.data
            continue
        if source.saves in ("output", "both"):
            values[source] = source.output.data
        for edge, kept in zip(source.edges, source.inputs, strict=False):  # empty if backward does not read them
            if edge is not None:
                values[edge] = kept.data
    return values


def _inputs(
    op: Op, given: Sequence[Array | None], numbers: Mapping[OpOrLeaf, int], names: Mapping[OpOrLeaf, str]
) -> list[TapeInput]:
    """Describe the inputs of ``op``; ``given`` are their arrays, None where they are not known."""
    inputs = []
    for i, (name, edge, array) in enumerate(zip(_input_names(op), op.edges, given, strict=True)):
        number = None if edge is None else numbers[edge]
        label = names.get(op.inputs[i], "") if edge is None and op.inputs else ""
        inputs.append(TapeInput(name, op.input_shapes[i], number, _on_cpu(array), label))
    return inputs


def _input_names(op: Op) -> Iterator[str]:
    """Yield the names of the inputs in ``forward``: ``arrays[2]`` and so on if it takes any number of them."""
    try:
        given = inspect.signature(op.forward).bind(*op.edges).arguments
    except ValueError:  # a C function may not have a signature
        given = {f"input {i}": edge for i, edge in enumerate(op.edges)}
    for name, edges in given.items():
        if isinstance(edges, tuple) and len(edges) > 1:
            yield from (f"{name}[{i}]" for i in range(len(edges)))
        else:
            yield name


def _backward(nodes: Sequence[TapeNode], upstream: Tensor) -> None:
    """Apply the chain rule, node by node, and write down every part of every sum.

    The textbook engine is used even if another one is on, because a kernel may already add up the parts. Hooks are not
    called. Each op's backward is itself recorded, which shows where it sums.
    """
    gradients: dict[int, Tensor] = {len(nodes) - 1: upstream}
    unobserved = switched(observers=())  # a profile does not count what is computed here
    with enable_grad(), engine("textbook"), unobserved, np.errstate(all="ignore"):
        for number in reversed(range(len(nodes))):
            node, gradient = nodes[number], gradients.pop(number, None)
            if gradient is None:
                continue
            node.gradient = _on_cpu(gradient.data)
            if node.op is None:
                continue
            gradient.requires_grad = True
            for i, (edge, part) in enumerate(zip(node.inputs, node.op.gradients(gradient), strict=True)):
                if edge.node is None or part is None:
                    continue
                edge.gradient = _on_cpu(part.data)
                edge.summed_from = None if edge.shape == node.shape else _summed_from(part.source)
                edge.adds = edge.node in gradients
                gradients[edge.node] = (gradients[edge.node] + part if edge.adds else part).detach()
                nodes[edge.node].arrivals.append(Arrival(number, i))


def _summed_from(source: OpOrLeaf | None) -> Shape | None:
    """Return the shape before the sum, if a backward ended in a sum, apart from changes of sign, shape and dtype."""
    while isinstance(source, (Neg, Reshape, Convert)):
        source = source.edges[0]
    return source.input_shapes[0] if type(source) is Sum else None  # and not its subclass Mean


def _on_cpu(array: Array | None) -> Array | None:
    return None if array is None else to_device(array, "cpu")
