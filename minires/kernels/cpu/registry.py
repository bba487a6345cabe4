"""How kernels of this room are registered."""

from __future__ import annotations

from collections.abc import Callable

from ...core.dispatch import SMALL, Kernel, register_kernel


def register(op: type, phase: str) -> Callable[[Kernel], Kernel]:
    """``register_kernel`` for the CPU, from as many elements on as are worth it."""
    return register_kernel(op, phase, "cpu", SMALL)
