"""The parts that lesions and swaps share: take blocks out of a model, move them, and measure its error.

A block that is taken out is replaced by its shortcut: F(x) is 0, and the ReLU after the addition stays. A plain block
has no shortcut; it is replaced by the shortcut without parameters (option A) of its residual twin, so that both
networks lose the same. Any other module is replaced by its input, if its output has the same shape.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import combinations, permutations
from typing import Any

import numpy as np

from ..core import checks
from ..core.autograd import Shape
from ..core.tensor import Tensor
from ..data.dataset import Source, Transform
from ..errors import ArgumentError, listed, sizes
from ..models.blocks import PreActivation, ResidualBlock
from ..models.shortcuts import make_shortcut
from ..nn import Module
from ..nn.module import check_module, undisturbed
from ..ops import relu
from ..training.classification import Evaluation, evaluate
from ..training.folder import Row
from .measurement import watch


@dataclass(frozen=True)
class Place:
    """A block, its path in the model, and the shapes of its input and output for one image."""

    name: str
    block: Module
    reads: Shape
    gives: Shape


class Study:
    """A model whose blocks are taken out or change places, and its error on a split.

    Parameters
    ----------
    where : str
        The name of the instrument, for error messages.
    model, split, transform, blocks, trials, seed, batch_size
        The arguments of the instrument.

    Attributes
    ----------
    places : list of Place
        The blocks, in the order in which they are called.
    intact : dict
        ``error_percent`` and ``loss`` of the unchanged model.
    guessing : float
        The error, in %, of always predicting the most frequent class.
    """

    def __init__(
        self,
        where: str,
        model: Module,
        split: Source,
        transform: Transform | None,
        blocks: Sequence[str] | None,
        trials: int,
        seed: int,
        batch_size: int,
    ) -> None:
        self.where, self.model = where, check_module(where, model)
        self.trials = checks.integer(where, trials, "trials", 1)
        self.rng = np.random.default_rng(checks.integer(where, seed, "seed", 0))
        self.evaluate = partial(evaluate, model, split, transform, batch_size)
        places: dict[str, Place] = {}
        chosen = _chosen(where, model, blocks)

        def look(name: str, block: Module, inputs: tuple[Any, ...], output: Tensor) -> None:
            places[name] = Place(name, block, inputs[0].shape[1:], output.shape[1:])

        with undisturbed(model):
            watch(chosen, look)
            test = self.evaluate()
        if uncalled := [name for name in chosen if name not in places]:
            raise ArgumentError(f"{where}: {listed(uncalled)} was not called with a tensor, or did not return one.")
        self.places = list(places.values())
        self.intact = _error_and_loss(test)
        self.guessing = 100 * (1 - int(np.bincount(test.labels).max()) / len(test.labels))

    def draws(self, counts: Iterable[int], most: int, what: str) -> list[list[int]]:
        """For each of ``counts``, in ascending order, and each trial, draw that many different numbers below ``most``.

        Raises ArgumentError unless all counts are from 1 to ``most``, the number of the things called ``what``.
        """
        if not isinstance(counts, Iterable) or isinstance(counts, str):
            raise ArgumentError(f"{self.where}: counts is {counts!r}; it must be a list of integers, such as [1, 2].")
        given = list(counts)
        for count in given:
            if not checks.is_integer(count, 1) or count > most:
                raise ArgumentError(
                    f"{self.where}: counts holds {count!r}; it must hold integers from 1 to {most}, the number of "
                    f"{what}."
                )
        of_trials = [count for count in sorted(set(given)) for _ in range(self.trials)]
        return [self.rng.choice(most, count, replace=False).tolist() for count in of_trials]

    def without(self, numbers: Iterable[int]) -> Row:
        """Return ``error_percent`` and ``loss`` of the model without the blocks at these places."""
        with undisturbed(self.model):
            for number in numbers:
                place = self.places[number]
                vars(place.block)["forward"] = self.instead(place)
            return _error_and_loss(self.evaluate())

    def reordered(self, order: Sequence[int]) -> Row:
        """Return ``error_percent`` and ``loss`` of the model with the block of ``places[order[i]]`` at place i."""
        modules = dict(self.model.named_modules())
        with undisturbed(self.model):
            for place, number in zip(self.places, order, strict=True):
                parent, _, attribute = place.name.rpartition(".")
                setattr(modules[parent], attribute, self.places[number].block)
            return _error_and_loss(self.evaluate())

    def names(self, numbers: Iterable[int]) -> str:
        """Return the names of these places, separated by spaces."""
        return " ".join(self.places[number].name for number in numbers)

    def instead(self, place: Place) -> Callable[..., Tensor]:
        """Return the function that replaces the block's ``forward``."""
        block = place.block
        if isinstance(block, ResidualBlock):
            shortcut = _shortcut_of_twin(place.reads, place.gives) if block.downsample is None else block.downsample
            if not isinstance(block, PreActivation):
                return lambda x: relu(shortcut(x))
            return lambda x: shortcut(block.bn1(x, activation="relu") if block.shares_activation else x)
        if place.reads != place.gives:
            raise ArgumentError(
                f"{self.where}: {place.name} turns {sizes(place.reads)} into {sizes(place.gives)}, so its input cannot "
                "replace it; leave it out of blocks."
            )
        return lambda x, *others, **options: x

    def interchangeable(self) -> list[tuple[int, int]]:
        """Return the pairs of places, by number, whose blocks have inputs and outputs of the same shape.

        Raises ArgumentError if there are none, or a block is part of another.
        """
        for outer, inner in permutations(self.places, 2):
            if inner.name.startswith(f"{outer.name}."):
                raise ArgumentError(f"{self.where}: {inner.name} is part of {outer.name}; name only one of them.")
        pairs = [
            (i, j)
            for (i, one), (j, other) in combinations(enumerate(self.places), 2)
            if one.reads == one.gives == other.reads == other.gives
        ]
        if not pairs:
            raise ArgumentError(
                f"{self.where}: no two of the {len(self.places)} blocks of {type(self.model).__name__} have inputs and "
                "outputs of the same size, so none can change places; take a deeper network."
            )
        return pairs


def _error_and_loss(test: Evaluation) -> Row:
    return {"error_percent": 100 * test.errors / len(test.labels), "loss": test.loss}


def _chosen(where: str, model: Module, blocks: Sequence[str] | None) -> dict[str, Module]:
    modules = {name: module for name, module in model.named_modules() if name}
    if blocks is None:
        blocks = [name for name, module in modules.items() if isinstance(module, ResidualBlock)]
        if not blocks:
            raise ArgumentError(
                f"{where}: {type(model).__name__} has no blocks of minires.models; name your own blocks, such as "
                f"blocks=[{', '.join(map(repr, list(modules)[:2]))}]."
            )
    elif isinstance(blocks, str) or not blocks:
        raise ArgumentError(f"{where}: blocks is {blocks!r}; it must be a list of names of modules.")
    if unknown := [str(name) for name in blocks if name not in modules]:
        raise ArgumentError(
            f"{where}: {type(model).__name__} has no {listed(unknown)}; it has {listed(list(modules))}."
        )
    return {name: modules[name] for name in blocks}


def _shortcut_of_twin(reads: Shape, gives: Shape) -> Module:
    """Return the shortcut of option A for a plain block."""
    stride = max(-(-size // new) for size, new in zip(reads[1:], gives[1:], strict=True))  # rounded up
    shortcut = make_shortcut("A", reads[0], gives[0], stride)
    assert shortcut is not None
    return shortcut
