"""Kernels for the CPU, compiled by Numba. Importing this registers them."""

from numba.core import config

if config.DISABLE_JIT:
    raise ImportError("Numba's compiler is switched off (NUMBA_DISABLE_JIT)")

from . import augment, conv, elementwise, loss, norm, optim, peak, pool, program  # noqa: F401
