"""Kernels for NVIDIA GPUs: CUDA sources, compiled by CuPy when first needed. Importing this registers them."""

from . import augment, conv, elementwise, loss, norm, optim, pool  # noqa: F401
