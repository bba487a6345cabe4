"""Which code runs an op: the textbook, or a faster twin that was registered for it on this device."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

from .backend import DEVICES, Array, device_of
from .errors import ArgumentError
from .state import state, switched

Kernel = Callable[..., Any]
_kernels: dict[tuple[type, str, str], Kernel] = {}


def engine(name: str) -> AbstractContextManager[Any]:
    """``with engine("textbook"):`` runs every op as it is written in ``minires/ops``; ``"fast"`` is the default.

    Raises
    ------
    ArgumentError
        For any other name.
    """
    if name not in ("fast", "textbook"):
        raise ArgumentError(f"engine: name is {name!r}; it must be 'fast' or 'textbook'.")
    return switched("engine", name)


def register_kernel(op: type, phase: str, device: str) -> Callable[[Kernel], Kernel]:
    """Register a faster twin of ``op.forward`` or ``op.backward`` on raw arrays; used as a decorator.

    Parameters
    ----------
    op : subclass of Op
        The textbook op.
    phase : {"forward", "backward"}
        A forward twin is called with (op, *arrays) and gives the output array; a backward twin with (op, upstream
        array) and gives a tuple of arrays or None. Either may return NotImplemented to hand the case back.
    device : {"cpu", "cuda"}
        Where it runs.

    Raises
    ------
    ArgumentError
        For another phase or device.
    """
    if phase not in ("forward", "backward") or device not in DEVICES:
        raise ArgumentError(
            f"register_kernel: phase is {phase!r} and device is {device!r}; "
            "they must be 'forward' or 'backward', and 'cpu' or 'cuda'."
        )

    def register(kernel: Kernel) -> Kernel:
        _kernels[op, phase, device] = kernel
        return kernel

    return register


def run_kernel(op: object, phase: str, *arrays: Array) -> Any:
    """The result of the faster twin, or NotImplemented where there is none or it hands the case back."""
    if not _kernels or state.engine == "textbook":
        return NotImplemented
    kernel = _kernels.get((type(op), phase, device_of(arrays[0])))
    return NotImplemented if kernel is None else kernel(op, *arrays)
