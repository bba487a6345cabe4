"""The interface between the host files and a device, and the one place that knows the memory layout of images.

Each op with kernels has one *host file* in this folder (conv.py, pool.py, ...). It decides which cases the kernels
handle, converts the arrays to the right layout, allocates the results, and calls the functions that compute them. Each
device has these functions in its own folder: ``device.pool.max_pool`` is in ``cpu/pool.py`` or ``cuda/single.py``.

Shapes are (N, C, H, W), as in the papers. In memory the channels come last: all channels of a pixel are next to each
other, so that a CPU vector, or neighbouring threads of a GPU, can load them together. An array of shape (N, C, H, W) is
therefore a transposed view of a contiguous *block* (N, H, W, C). The functions here convert one into the other; nothing
is copied as long as every op keeps this layout.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from ..core.backend import Array
from ..core.dispatch import SMALL, Kernel, register_kernel

_hosts: list[tuple[type, str, Callable[..., bool], tuple[int, ...], int, Kernel]] = []


@dataclass(eq=False)
class ComputeDevice:
    """The properties and functions of a device that the host files use.

    ``empty`` returns an uninitialised float32 array.
    """

    name: str
    xp: Any  # numpy or cupy
    empty: Callable[[tuple[int, ...]], Array]
    smallest: int  # if the first input has fewer elements, the textbook is faster
    most: float  # arrays must have fewer elements than this
    # The modules in the device's folder. Their functions read blocks and write to blocks.
    augment: Any
    conv: Any
    elementwise: Any
    loss: Any
    norm: Any
    optim: Any
    pool: Any
    group_norm: Any = None  # the CPU only
    resize: Any = None  # the CPU only
    copies: int = 0  # how many images were copied to another layout; tests check that a training step copies none

    def takes(self, *arrays: Array | None) -> bool:
        """Whether all arrays (except None) are float32, not empty and not too large."""
        for array in arrays:
            if array is not None and (array.dtype != np.float32 or not 0 < array.size < self.most):
                return False
        return True

    def contiguous(self, array: Array) -> Array:
        """Return ``array`` itself if it is C-ordered and writeable; otherwise, a copy that is.

        For a read-only array, Numba would compile another kernel.
        """
        return array if array.flags.c_contiguous and _writeable(array) else self.xp.array(array, order="C")

    def channels_last(self, x: Array) -> Array:
        """Convert x (N, C, H, W), (N, C, L) or (N, C) to a block (N, H, W, C). This is a view if x has this layout."""
        block = _channels_last_view(x)
        if block.flags.c_contiguous and _writeable(block):
            return block
        self.copies += 1
        if block.ndim == 4 and self.takes(block) and not block.flags.c_contiguous:
            return self.arrange(block, block.shape)
        return self.xp.array(block, order="C")

    def arrange(self, source: Array, shape: tuple[int, ...], before: int = 0, steps: tuple[int, int] = (1, 1)) -> Array:
        """Copy the float32 block ``source``, of any strides, into a new block of zeros, and return the new block.

        The copy starts at channel ``before``, and ``steps`` says to which rows and columns it is written.
        """
        block = self.empty(shape)
        self.elementwise.arrange(source, block, before, steps)
        return block

    def block_like(self, x: Array) -> Array:
        """Return an uninitialised block (N, H, W, C) for images like x (N, C, H, W)."""
        return self.empty((x.shape[0], *x.shape[2:], x.shape[1]))

    def empty_like(self, x: Array) -> Array:
        """Return an uninitialised float32 array with the shape and the memory order of x."""
        return self.empty(x.shape) if x.flags.c_contiguous or x.ndim < 3 else as_images(self.block_like(x))

    def flat(self, *arrays: Array) -> list[Array] | None:
        """Return flat views of the arrays, or None unless they have the same shape and memory order, without gaps."""
        if any(array.shape != arrays[0].shape or not _writeable(array) for array in arrays):
            return None
        views = arrays if all(array.flags.c_contiguous for array in arrays) else map(_channels_last_view, arrays)
        flat = [view.reshape(-1) for view in views if view.flags.c_contiguous]
        return flat if len(flat) == len(arrays) else None


def as_images(block: Array) -> Array:
    """Return a block (N, H, W, C), (N, L, C) or (N, C) as a view (N, C, H, W), (N, C, L) or (N, C)."""
    return block.transpose(0, block.ndim - 1, *range(1, block.ndim - 1))


def _channels_last_view(x: Array) -> Array:
    return x.transpose(0, *range(2, x.ndim), 1) if x.ndim > 2 else x


def _writeable(array: Array) -> bool:
    return getattr(array.flags, "writeable", True)  # CuPy's arrays always are


def host(
    phase: str, *ops: type, takes: Callable[..., bool] = ComputeDevice.takes, accumulates: tuple[int, ...] = (),
    smallest: int = SMALL,
) -> Callable[[Kernel], Kernel]:  # fmt: skip
    """Decorator that marks a function as the host code of some ops, for every device.

    The function is called with the device, followed by the arguments of a kernel.

    Parameters
    ----------
    phase, accumulates
        See :func:`minires.register_kernel`.
    smallest : int
        The textbook runs for fewer elements than this; at most, and by default, ``device.smallest``.
    takes : callable
        Called with the device and all arrays that the function reads: the inputs of a forward pass, or the upstream
        gradient of a backward pass and the saved inputs. The textbook runs unless ``takes`` returns True.
    """

    def mark(function: Kernel) -> Kernel:
        _hosts.extend((op, phase, takes, accumulates, smallest, function) for op in ops)
        return function

    return mark


def register_kernels(device: ComputeDevice) -> None:
    """Register all host code as kernels of ``device``."""
    from . import augment, conv, elementwise, loss, norm, optim, pool  # noqa: F401  They mark their functions.

    for op, phase, takes, accumulates, smallest, function in _hosts:
        if phase == "step":  # it updates all parameters, so the size of the first does not matter
            register_kernel(op, phase, device.name)(partial(function, device))
        else:
            kernel = partial(_run_host, device, function, takes, phase)
            register_kernel(op, phase, device.name, min(device.smallest, smallest), accumulates)(kernel)


def _run_host(
    device: ComputeDevice, function: Kernel, takes: Callable[..., bool], phase: str, op: Any, *arrays: Any
) -> Any:
    # A backward pass may also receive the gradients that have already arrived; these are not checked.
    seen = arrays if phase == "forward" else (arrays[0], *(x.data for x in op.inputs))
    return function(device, op, *arrays) if takes(device, *seen) else NotImplemented
