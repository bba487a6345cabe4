"""A device as the host files see it, and the one place that knows how images lie in memory.

Each op with kernels has one *host file* in this folder (conv.py, pool.py, ...). It decides which cases the kernels
take, brings the arrays into the right layout, allocates the results, and calls the functions that compute them. Every
device has these functions in a file of the same name: ``device.pool.max_pool`` is ``cpu/pool.py`` or ``cuda/pool.py``.

Shapes are (N, C, H, W), as in the papers. In memory the channels come last: all numbers of one pixel lie side by side,
where a vector of the CPU finds them, or neighbouring threads of the GPU. An array of shape (N, C, H, W) is therefore a
transposed view of a contiguous *block* (N, H, W, C). Here one is made from the other, and nothing is copied as long as
every op keeps to this layout.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from ..core.backend import Array
from ..core.dispatch import Kernel, register_kernel

_hosts: list[tuple[type, str, Callable[..., bool], tuple[int, ...], Kernel]] = []


@dataclass(eq=False)
class ComputeDevice:
    """What the host files need of a device; ``empty`` makes a float32 array that is not filled."""

    name: str
    xp: Any  # numpy or cupy
    empty: Callable[[tuple[int, ...]], Array]
    smallest: int  # elements of the first array: with fewer, the textbook is faster
    most: float  # elements that an array must stay below
    # The modules of the device's folder. A function is called with blocks and writes to blocks.
    augment: Any
    conv: Any
    elementwise: Any
    loss: Any
    norm: Any
    optim: Any
    pool: Any
    copies: int = 0  # of images that came in another layout; tests see that a training step makes none

    def takes(self, *arrays: Array | None) -> bool:
        """Whether all of them (None aside) are float32, not empty and not too large."""
        for array in arrays:
            if array is not None and (array.dtype != np.float32 or not 0 < array.size < self.most):
                return False
        return True

    def contiguous(self, array: Array) -> Array:
        """``array`` in C order and writeable (Numba compiles another kernel for a read-only one); itself if it is."""
        return array if array.flags.c_contiguous and _writeable(array) else self.xp.array(array, order="C")

    def channels_last(self, x: Array) -> Array:
        """(N, C, H, W) -> the block (N, H, W, C); (N, C) and (N, C, L) likewise. A view if x lies like that."""
        block = _channels_last_view(x)
        if block.flags.c_contiguous and _writeable(block):
            return block
        self.copies += 1
        if block.ndim == 4 and self.takes(block) and not block.flags.c_contiguous:
            return self.arrange(block, block.shape)
        return self.xp.array(block, order="C")

    def arrange(self, source: Array, shape: tuple[int, ...], before: int = 0, steps: tuple[int, int] = (1, 1)) -> Array:
        """A block of zeros into which the float32 block ``source``, of any strides, is copied: behind ``before``
        channels, to every ``steps``-th row and column.
        """
        block = self.empty(shape)
        self.elementwise.arrange(source, block, before, steps)
        return block

    def block_like(self, x: Array) -> Array:
        """An empty block (N, H, W, C) for the images x (N, C, H, W)."""
        return self.empty((x.shape[0], *x.shape[2:], x.shape[1]))

    def empty_like(self, x: Array) -> Array:
        """An empty float32 array of the shape of x that lies in memory in the same order."""
        return self.empty(x.shape) if x.flags.c_contiguous or x.ndim < 3 else as_images(self.block_like(x))

    def flat(self, *arrays: Array) -> list[Array] | None:
        """Flat views of arrays of one shape that lie in the same order without gaps; None if they do not."""
        if any(array.shape != arrays[0].shape or not _writeable(array) for array in arrays):
            return None
        views = arrays if all(array.flags.c_contiguous for array in arrays) else map(_channels_last_view, arrays)
        flat = [view.reshape(-1) for view in views if view.flags.c_contiguous]
        return flat if len(flat) == len(arrays) else None


def as_images(block: Array) -> Array:
    """(N, H, W, C) -> the view (N, C, H, W); (N, C) and (N, L, C) likewise."""
    return block.transpose(0, block.ndim - 1, *range(1, block.ndim - 1))


def _channels_last_view(x: Array) -> Array:
    return x.transpose(0, *range(2, x.ndim), 1) if x.ndim > 2 else x


def _writeable(array: Array) -> bool:
    return getattr(array.flags, "writeable", True)  # CuPy's arrays always are


def host(
    phase: str, *ops: type, takes: Callable[..., bool] = ComputeDevice.takes, accumulates: tuple[int, ...] = ()
) -> Callable[[Kernel], Kernel]:
    """Mark the host code of some ops, for every device: a function of the device and what a kernel is called with.

    Parameters
    ----------
    phase, accumulates
        As :func:`minires.register_kernel` takes them.
    takes : callable
        Called with the device and all arrays that the function reads: those of a forward pass, or the upstream of a
        backward pass and the saved inputs. The textbook runs unless it returns True.
    """

    def mark(function: Kernel) -> Kernel:
        _hosts.extend((op, phase, takes, accumulates, function) for op in ops)
        return function

    return mark


def register_kernels(device: ComputeDevice) -> None:
    """Register all host code for ``device``."""
    from . import augment, conv, elementwise, loss, norm, optim, pool  # noqa: F401  They mark their functions.

    for op, phase, takes, accumulates, function in _hosts:
        if phase == "step":  # parameters of all sizes at once, whatever the size of the first
            register_kernel(op, phase, device.name)(partial(function, device))
        else:
            kernel = partial(_run_host, device, function, takes, phase)
            register_kernel(op, phase, device.name, device.smallest, accumulates)(kernel)


def _run_host(
    device: ComputeDevice, function: Kernel, takes: Callable[..., bool], phase: str, op: Any, *arrays: Any
) -> Any:
    # a backward pass is also given the gradients that have arrived, which may be None
    seen = arrays if phase == "forward" else (arrays[0], *(x.data for x in op.inputs))
    return function(device, op, *arrays) if takes(device, *seen) else NotImplemented
