"""The list of wrong gradients, and how one gets into it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

import minires as mr
from minires.core.tensor import Tensor
from minires.gradcheck.cases import Draw


@dataclass(frozen=True)
class Wrong:
    """A wrong gradient, inputs that reveal it, and the lowest order at which it is wrong."""

    name: str
    function: Callable[..., Tensor]
    draws: tuple[Draw, ...]
    says: str | None
    order: int

    def inputs(self) -> list[Tensor]:
        rng = np.random.default_rng(0)
        return [mr.tensor(draw(rng), requires_grad=True, dtype="float64") for draw in self.draws]


BANK: list[Wrong] = []


def wrong(*draws: Draw, says: str | None = None, order: int = 1, options: tuple[Any, ...] = ()):
    """Add an op, called with ``options``, to the bank."""

    def register(op: type[mr.Op]) -> type[mr.Op]:
        BANK.append(Wrong(op.__name__, lambda *inputs: op(*options)(*inputs), draws, says, order))
        return op

    return register


def raw(array: Any) -> Tensor:
    return Tensor.wrap(array)
