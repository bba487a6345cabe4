"""The loader, which yields the batches of a split in a reproducible order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from itertools import islice
from typing import Any

import numpy as np

from ..core import checks
from ..core.backend import Array, check_device, generator, to_device
from ..core.calls import pytorch_names, refuses
from ..core.dispatch import engine
from ..core.state import state
from ..errors import ArgumentError, DataError
from .dataset import Source, Split, Transform
from .transforms import to_float

Batch = tuple[Array, Any]  # images, and labels or other targets
AHEAD = 2  # batches that each worker makes in advance, like PyTorch's prefetch_factor


class Loader:
    """Iterate over a split: ``for images, labels in loader`` runs through one epoch.

    All random numbers depend only on (seed, epoch, batch): batch 5 of epoch 7 is the same whether or not the batches
    before it were made, so a run can be resumed as if it had never stopped. The number of workers does not matter
    either: the batches are bit for bit the same, in the same order.

    Parameters
    ----------
    split : Split, or another source
        N images and labels. A source supports ``len(source)`` and ``source[chosen]``, which reads the images, uint8
        (B, C, H, W), and the labels, int64 (B,), at an array of B indices. The images need not all be in memory.
    batch_size : int
        The last batch of an epoch may be smaller.
    shuffle : bool
        Whether to shuffle the images in each epoch anew.
    seed : int, optional
        An integer >= 0. By default, it is drawn once from the generator that ``manual_seed`` seeds.
    transform : callable, optional
        Called as ``transform(batch, rng)`` with a batch of uint8 (B, C, H, W) and a numpy.random.Generator. By default,
        images are converted to float32 in [0, 1]. A transform with a true attribute ``moves_targets`` is called as
        ``transform(batch, targets, rng)`` and returns both.
    drop_last : bool
        Whether to leave out a last batch that is smaller than the others.
    num_workers : int
        The number of threads that read and transform batches in advance, at most two batches each. They end when the
        loop ends, even if it is left early. With 0, each batch is made when it is needed. With threads, the source and
        the transform must be thread-safe. NumPy and Pillow release the GIL during long operations, which then run in
        parallel; pure Python code does not.
    device : {"cpu", "cuda"}
        The device of the images; labels stay on the CPU. Images are moved to the GPU as bytes and transformed there if
        the transform supports it (``on_any_device``); otherwise they are moved after the transform.

    Attributes
    ----------
    epoch : int
        The epoch of the next iteration. Each iteration increments it.
    start_batch : int
        The batch at which the next iteration begins: 0 unless :meth:`set_epoch` sets another.

    Yields
    ------
    images : array, (B, C, H, W)
        The images that the transform returns, usually float32.
    labels : array of int64, (B,)
        Or the targets of another task, from a source whose attribute ``task`` names it: boxes, masks, ...

    Raises
    ------
    ArgumentError
        If an argument is invalid.
    DeviceError
        If the device is not available.
    DataError
        During iteration, if the source does not return images and labels as described above. Errors that the source or
        the transform raises are passed on unchanged, except a TypeError of the source.

    Examples
    --------
    >>> import minires as mr
    >>> loader = mr.data.Loader(mr.data.digits().train, batch_size=128, shuffle=True, seed=0)
    >>> images, labels = next(iter(loader))
    >>> images.shape, labels.shape, len(loader)
    ((128, 1, 8, 8), (128,), 12)
    """

    @partial(pytorch_names, name="Loader")
    @refuses(
        dataset="the argument is called split",
        sampler="the order depends on shuffle and seed alone; choose images with your own source",
        batch_sampler="batches follow from batch_size; choose images with your own source",
        collate_fn="source[chosen] returns a whole batch; change batches in transform",
        pin_memory="images move to the GPU as bytes; leave it out",
        prefetch_factor="each worker makes at most two batches in advance",
        persistent_workers="workers are threads, which start quickly; leave it out",
        generator="pass seed, an integer",
        worker_init_fn="workers are threads; transforms get their random generator as an argument",
        timeout="an error in a worker ends the loop; leave it out",
    )
    def __init__(
        self,
        split: Source,
        batch_size: int,
        shuffle: bool = False,
        seed: int | None = None,
        transform: Transform | None = None,
        drop_last: bool = False,
        num_workers: int = 0,
        device: str = "cpu",
    ) -> None:
        # Arrays and lists have a length and can be indexed, like a source, but they have no labels.
        if isinstance(split, (np.ndarray, Sequence)) or not isinstance(split, Source):
            given = ", such as digits().train"
            if isinstance(split, (tuple, list)) and len(split) == 2:
                given = "; write Loader(minires.data.Split(images, labels), ...)"
            raise ArgumentError(f"Loader: split is {type(split).__name__}; it must be a Split{given}.")
        if transform is not None and not callable(transform):
            raise ArgumentError(f"Loader: transform is {transform!r}; it must be callable with (batch, rng).")
        self.split = split
        self.batch_size = checks.integer("Loader", batch_size, "batch_size", 1)
        self.shuffle = shuffle
        self.seed = int(generator().integers(2**32)) if seed is None else checks.integer("Loader", seed, "seed", 0)
        self.transform: Transform = transform or to_float
        self.drop_last = drop_last
        self.num_workers = checks.integer("Loader", num_workers, "num_workers", 0)
        check_device(device)
        self.device = device
        self.epoch = 0
        self.start_batch = 0
        if len(split) == 0:
            raise ArgumentError("Loader: the source holds no images.")
        if len(self) == 0:
            raise ArgumentError(
                f"Loader: drop_last leaves no batch of {len(split)} images with batch_size {batch_size}; "
                "use a smaller batch_size."
            )

    def __len__(self) -> int:
        """Return the number of batches in an epoch."""
        whole, left_over = divmod(len(self.split), self.batch_size)
        return whole + (left_over > 0 and not self.drop_last)

    def set_epoch(self, epoch: int, start_batch: int = 0) -> None:
        """Make the next iteration run through ``epoch``, an integer >= 0, without its first ``start_batch`` batches.

        The skipped batches are not made; the others are the same as in the whole epoch. Raises ArgumentError if a value
        is out of range.
        """
        start_batch = checks.integer("Loader", start_batch, "start_batch", 0)
        if start_batch > len(self):
            raise ArgumentError(f"Loader: start_batch is {start_batch}, but an epoch has {len(self)} batches.")
        self.epoch = checks.integer("Loader", epoch, "epoch", 0)
        self.start_batch = start_batch

    def __iter__(self) -> Iterator[Batch]:
        make = partial(self._batch, self.epoch, self._order(self.epoch))
        numbers = range(self.start_batch, len(self))
        self.epoch, self.start_batch = self.epoch + 1, 0
        return self._prefetched(make, iter(numbers)) if self.num_workers else map(make, numbers)

    def _prefetched(self, make: Callable[[int], Batch], numbers: Iterator[int]) -> Iterator[Batch]:
        """Yield ``make(b)`` for each number b, in order, although the workers may finish in another order."""
        pool = ThreadPoolExecutor(self.num_workers, thread_name_prefix="minires-loader")

        def work(b: int, engine_name: str) -> Batch:
            with engine(engine_name):  # the engine is chosen per thread; use that of the iterating thread
                return make(b)

        def start(count: int) -> list[Future[Batch]]:
            return [pool.submit(work, b, state.engine) for b in islice(numbers, count)]

        try:
            ahead = deque(start(AHEAD * self.num_workers))
            while ahead:
                ahead.extend(start(1))
                yield ahead.popleft().result()
        finally:  # also after an error, and when the loop is left early
            pool.shutdown(wait=True, cancel_futures=True)

    # In each epoch, generator 0 is used for the order of the images, and generator b + 1 for the augmentation of batch
    # b. The numbers of one generator do not depend on how many numbers another one has drawn, or when.

    def _order(self, epoch: int) -> Array:
        order = np.arange(len(self.split))
        if self.shuffle:
            np.random.default_rng([self.seed, epoch, 0]).shuffle(order)
        return order

    def _batch(self, epoch: int, order: Array, b: int) -> Batch:
        chosen = order[b * self.batch_size : (b + 1) * self.batch_size]
        images, targets = self._read(chosen)
        if getattr(self.transform, "on_any_device", False):
            images = to_device(images, self.device)
        rng = np.random.default_rng([self.seed, epoch, b + 1])
        if getattr(self.transform, "moves_targets", False):
            images, targets = self.transform(images, targets, rng)
        else:
            images = self.transform(images, rng)
        return to_device(images, self.device), targets

    def _read(self, chosen: Array) -> tuple[Array, Any]:
        try:
            found = self.split[chosen]
        except TypeError as error:
            raise DataError(
                f"Loader: source[chosen] raises TypeError ({error}); chosen is an array of {len(chosen)} indices, not "
                "one index as in PyTorch: return arrays of all their images and labels, e.g. with np.stack."
            ) from error
        if not isinstance(found, tuple) or len(found) != 2:
            raise DataError(f"Loader: source[chosen] is {type(found).__name__}; it must be (images, labels).")
        if getattr(self.split, "task", "classification") == "classification":
            part = Split(*found)  # checks the arrays
            found = part.images, part.labels
        for name, values in zip(("images", "targets"), found, strict=True):
            if len(values) != len(chosen):
                raise DataError(f"Loader: the source returned {len(values)} {name} for {len(chosen)} indices.")
        return found

    def __repr__(self) -> str:
        return f"Loader({self.split}, {len(self)} batches of {self.batch_size})"
