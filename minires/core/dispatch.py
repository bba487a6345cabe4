"""Which code runs an op: the textbook, or a faster twin that was registered for it on this device."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from importlib import import_module
from typing import Any

from ..errors import ArgumentError
from .backend import DEVICES, Array, device_of
from .state import state, switched

Kernel = Callable[..., Any]
PHASES = ("forward", "backward", "update", "step")
SMALL = 1024  # elements: with fewer, calling one of our own kernels takes longer than NumPy does


_kernels: dict[tuple[type, str, str], Kernel] = {}
_smallest: dict[Kernel, int] = {}
# Imported when the first op could use them, or never: those of the CPU with the first array that is not small.
_rooms = {"cpu": "minires.kernels.cpu", "cuda": "minires.kernels.cuda"}
_importing = threading.RLock()


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


def register_kernel(op: type, phase: str, device: str, smallest: int = 0) -> Callable[[Kernel], Kernel]:
    """Register a faster twin of ``op.forward`` or ``op.backward`` on raw arrays; used as a decorator.

    Parameters
    ----------
    op : subclass of Op
        The textbook op; or an optimiser, or a transform.
    phase : {"forward", "backward", "update", "step"}
        A forward twin is called with (op, *arrays) and gives the output array; a backward twin with (op, upstream
        array) and gives a tuple of arrays or None; an optimiser's update with what its ``update`` takes, and its step
        with what ``step_group`` takes, after the first parameter's array. Each may return NotImplemented to hand the
        case back.
    device : {"cpu", "cuda"}
        Where it runs.
    smallest : int
        With fewer elements in the first array, the textbook runs.

    Raises
    ------
    ArgumentError
        For another phase or device.
    """
    if phase not in PHASES or device not in DEVICES:
        raise ArgumentError(
            f"register_kernel: phase is {phase!r} and device is {device!r}; "
            "they must be 'forward', 'backward', 'update' or 'step', and 'cpu' or 'cuda'."
        )

    def register(kernel: Kernel) -> Kernel:
        _kernels[op, phase, device] = kernel
        _smallest[kernel] = smallest
        return kernel

    return register


def run_kernel(op: object, phase: str, array: Array, *others: Any) -> Any:
    """The result of the faster twin, or NotImplemented where there is none or it hands the case back."""
    if state.engine == "textbook":
        return NotImplemented
    device = device_of(array)
    if device in _rooms and (array.size >= SMALL or device != "cpu"):  # no op on a GPU is too small for a kernel
        load_kernels(device)
    kernel = _kernels.get((type(op), phase, device))
    return NotImplemented if kernel is None or array.size < _smallest.get(kernel, 0) else kernel(op, array, *others)


def load_kernels(device: str) -> bool:
    """Import the kernels of a device; False if what they need is not installed. Doing it twice does nothing.

    Another thread that needs them meanwhile waits: which code runs its ops must not depend on who came first.
    """
    with _importing:
        room = _rooms.get(device)
        if room is not None:
            try:
                import_module(room)
            except ImportError:
                return False
            finally:
                _rooms.pop(device, None)
    return any(where == device for _, _, where in _kernels)
