"""What a learner calls the nodes of the tape: by variable, by parameter of the model, or by kind and number."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import TypeAlias

from ..core.autograd import Op
from ..core.tensor import Tensor
from ..nn import Module

Source: TypeAlias = Op | Tensor  # an op of the tape, or a tensor that no op made


def known_names(variables: Mapping[str, Tensor], model: Module | None) -> dict[Source, str]:
    """The names of a model's parameters and buffers, and of variables.

    Variables that begin with an underscore are left out: a notebook keeps its outputs in them.
    """
    names: dict[Source, str] = {}
    if model is not None:
        names.update({tensor: name for name, tensor in (*model.named_parameters(), *model.named_buffers())})
    for name, tensor in variables.items():
        if not name.startswith("_"):
            names.setdefault(tensor.source, name)
    return names


def give_names(sources: Sequence[Source], known: Mapping[Source, str]) -> Iterator[str]:
    """A name for each source, no two alike. An op that uses a layer's parameters is called like the layer."""
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


def _layer(op: Op, known: Mapping[Source, str]) -> str:
    """``layer1.0.conv1`` for an op with the input ``layer1.0.conv1.weight``; nothing if that is not unique."""
    names = (known.get(edge, "") for edge in op.edges if isinstance(edge, Tensor))
    layers = {name.rpartition(".")[0] for name in names} - {""}
    return layers.pop() if len(layers) == 1 else ""
