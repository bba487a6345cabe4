"""The loader: a split, batch by batch, in an order that can be repeated."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from .. import checks
from ..backend import generator
from ..errors import ArgumentError
from .dataset import Array, Split, Transform
from .transforms import to_float


class Loader:
    """Iterate over a split: ``for pictures, labels in loader``, once through all of it for each ``for``.

    Everything random follows from (seed, epoch): epoch 7 gives the same batches whether the epochs before it ran
    or not, which is what lets a run continue as if it had never stopped.

    Parameters
    ----------
    split : Split
        N pictures and labels.
    batch_size : int
        The last batch has what is left over.
    shuffle : bool
        Whether each epoch has an order of its own.
    seed : int, optional
        An integer >= 0; by default drawn, once, from the generator that ``manual_seed`` restarts.
    transform : callable, optional
        Takes (batch of uint8 (B, C, H, W), numpy.random.Generator); by default pictures become float32 in [0, 1].
    drop_last : bool
        Leave out a last batch that is smaller than the others.

    Attributes
    ----------
    epoch : int
        That of the next iteration; it counts itself up.

    Yields
    ------
    pictures : array, (B, C, H, W)
        What the transform returns: float32.
    labels : array of int64, (B,)

    Raises
    ------
    ArgumentError
        For anything else than these arguments.

    Examples
    --------
    >>> import minires as mr
    >>> loader = mr.data.Loader(mr.data.digits().train, batch_size=128, shuffle=True, seed=0)
    >>> pictures, labels = next(iter(loader))
    >>> pictures.shape, labels.shape, len(loader)
    ((128, 1, 8, 8), (128,), 12)
    """

    def __init__(
        self,
        split: Split,
        batch_size: int,
        shuffle: bool = False,
        seed: int | None = None,
        transform: Transform | None = None,
        drop_last: bool = False,
    ) -> None:
        if not isinstance(split, Split):
            raise ArgumentError(f"Loader: split is {type(split).__name__}; it must be a Split, such as digits().train.")
        if transform is not None and not callable(transform):
            raise ArgumentError(f"Loader: transform is {transform!r}; it must be callable with (batch, rng).")
        self.split = split
        self.batch_size = checks.integer("Loader", batch_size, "batch_size", 1)
        self.shuffle = shuffle
        self.seed = int(generator().integers(2**32)) if seed is None else checks.integer("Loader", seed, "seed", 0)
        self.transform = transform or to_float
        self.drop_last = drop_last
        self.epoch = 0
        if len(self) == 0:
            raise ArgumentError(
                f"Loader: drop_last leaves nothing of {len(split)} pictures in batches of {batch_size}; "
                "use smaller batches."
            )

    def __len__(self) -> int:
        """The number of batches."""
        whole, left_over = divmod(len(self.split), self.batch_size)
        return whole + (left_over > 0 and not self.drop_last)

    def set_epoch(self, epoch: int) -> None:
        """Make ``epoch``, an integer >= 0, that of the next iteration. Raises ArgumentError for another value."""
        self.epoch = checks.integer("Loader", epoch, "epoch", 0)

    def __iter__(self) -> Iterator[tuple[Array, Array]]:
        epoch, self.epoch = self.epoch, self.epoch + 1
        return self._batches(epoch)

    def _batches(self, epoch: int) -> Iterator[tuple[Array, Array]]:
        # Generator number 0 of an epoch makes the order, number b + 1 the augmentation of batch b: none of them
        # depends on how many random numbers another one drew.
        pictures, labels = self.split.pictures, self.split.labels
        order = np.arange(len(labels))
        if self.shuffle:
            np.random.default_rng([self.seed, epoch, 0]).shuffle(order)
        for b in range(len(self)):
            chosen = order[b * self.batch_size : (b + 1) * self.batch_size]
            rng = np.random.default_rng([self.seed, epoch, b + 1])
            yield self.transform(pictures[chosen], rng), labels[chosen]

    def __repr__(self) -> str:
        return f"Loader({self.split}, {len(self)} batches of {self.batch_size})"
