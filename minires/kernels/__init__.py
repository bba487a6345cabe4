"""Fast kernels for some of the ops.

A kernel works on raw arrays and computes the same result as the op's textbook code in ``minires/ops``. It is registered
for an op and a device by ``minires.register_kernel``. The kernels of a device are imported when an op can first use one
of them.

Each op with kernels has one host file here, for all devices (see :mod:`minires.kernels.device`). The code that computes
is in ``cpu/`` (Numba) and ``cuda/`` (CUDA C++).
"""

from __future__ import annotations

from collections.abc import Callable

on_compile: list[Callable[[], object]] = []  # called before a kernel is compiled, which can take seconds
