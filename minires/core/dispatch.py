"""Decide which code runs an op: the textbook, or a faster twin (a kernel) that is registered for the device."""

from __future__ import annotations

import threading
from collections.abc import Callable
from importlib import import_module
from typing import Any, NamedTuple

from ..errors import ArgumentError, KernelError
from .backend import DEVICES, Array, device_of
from .state import Block, state, switched

Kernel = Callable[..., Any]
PHASES = ("forward", "backward", "step")
SMALL = 1024  # elements; the CPU's kernels are not imported for smaller arrays, for which NumPy is faster


class Registered(NamedTuple):
    """A kernel, and when and how it is called; see :func:`register_kernel`."""

    run: Kernel
    smallest: int
    accumulates: tuple[int, ...]


_kernels: dict[tuple[type, str, str], Registered] = {}
_rooms: dict[str, str] = {}  # maps a device to the module that registers its kernels, until it is imported
_importing = threading.RLock()


def kernel_room(device: str, module: str) -> None:
    """Set the module that registers the kernels of a device. It is imported when an op can first use one of them."""
    _rooms[device] = module


def engine(name: str) -> Block:
    """Select the code that runs ops inside a ``with`` block.

    ``with engine("textbook"):`` runs every op as written in ``minires/ops``. The default is ``"fast"``, which uses
    kernels where they are available.

    Raises
    ------
    ArgumentError
        If ``name`` is neither ``"fast"`` nor ``"textbook"``.
    """
    if name not in ("fast", "textbook"):
        raise ArgumentError(f"engine: name is {name!r}; it must be 'fast' or 'textbook'.")
    return switched(engine=name)


def register_kernel(
    op: type, phase: str, device: str, smallest: int = 0, accumulates: tuple[int, ...] = ()
) -> Callable[[Kernel], Kernel]:
    """Decorator that registers a faster twin of ``op.forward`` or ``op.backward`` on raw arrays.

    Parameters
    ----------
    op : subclass of Op
        The textbook op, an optimiser or a transform.
    phase : {"forward", "backward", "step"}
        A forward twin is called with (op, *arrays) and returns the output array. A backward twin is called with
        (op, upstream array) and returns a tuple with an array or None for each input. An optimiser's step is called
        with (optimiser, the array of the first parameter, *arguments of ``step_group``). Each may return NotImplemented
        to decline a case; the textbook then runs.
    device : {"cpu", "cuda"}
        The device on which the twin runs.
    smallest : int
        The textbook runs if the first input has fewer elements than this and, in a backward pass, so has the upstream
        gradient.
    accumulates : tuple of int
        The indices of the inputs for which a backward twin adds the gradients from other consumers to its own, which
        saves a pass over memory. It is then called with (op, upstream array, arrived), where ``arrived`` holds, for
        each input, the gradient array that has arrived so far, or None.

    Raises
    ------
    ArgumentError
        If ``phase`` or ``device`` is not one of those listed.
    """
    if phase not in PHASES or device not in DEVICES:
        raise ArgumentError(f"register_kernel: phase {phase!r} must be in {PHASES}, device {device!r} in {DEVICES}.")

    def register(kernel: Kernel) -> Kernel:
        _kernels[op, phase, device] = Registered(kernel, smallest, accumulates)
        return kernel

    return register


def find_kernel(op: object, phase: str, array: Array, size: int = 0) -> Registered | None:
    """Return the faster twin of an op whose first array is ``array``, or None if the textbook should run.

    ``size`` counts instead of the size of ``array`` if it is larger: the upstream gradient of a loss is one number.
    """
    if state.engine == "textbook":
        return None
    device, size = device_of(array), max(array.size, size)
    if device in _rooms and (size >= SMALL or device != "cpu"):  # on a GPU, even the smallest op uses kernels
        load_kernels(device)
    kernel = _kernels.get((type(op), phase, device))
    return None if kernel is None or size < kernel.smallest else kernel


def run_kernel(op: object, phase: str, array: Array, *others: Any) -> Any:
    """Run the faster twin and return its result, or NotImplemented if the op has no twin or the twin declines."""
    kernel = find_kernel(op, phase, array)
    return NotImplemented if kernel is None else kernel.run(op, array, *others)


def load_kernels(device: str) -> bool:
    """Import the kernels of a device. Returns False if a package that they need is not installed.

    Other threads that need the kernels wait for the import to finish, so that timing does not decide which code runs
    their ops.

    Raises
    ------
    KernelError
        If the import fails for any other reason.
    """
    with _importing:
        if device in _rooms:
            try:
                import_module(_rooms[device])
            except Exception as error:
                ours = __name__.partition(".")[0]
                if not isinstance(error, ModuleNotFoundError) or (error.name or ours).partition(".")[0] == ours:
                    raise KernelError(
                        f"the kernels of device {device!r} cannot be imported ({type(error).__name__}: {error}); "
                        "run `minires doctor` to check the installation, or use mr.engine('textbook')."
                    ) from error
            _rooms.pop(device, None)
    return any(where == device for _, _, where in _kernels)
