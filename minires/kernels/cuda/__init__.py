"""Kernels for NVIDIA GPUs: CUDA sources, compiled by CuPy when first needed. Importing this module registers them."""

import cupy

from ..device import ComputeDevice, register_kernels
from . import conv, norm, optim, single
from .launch import MOST, empty

DEVICE = ComputeDevice(
    "cuda", cupy, lambda shape: empty(*shape), smallest=0, most=MOST, conv=conv, norm=norm, optim=optim,
    augment=single, elementwise=single, loss=single, pool=single,
)  # fmt: skip
register_kernels(DEVICE)
