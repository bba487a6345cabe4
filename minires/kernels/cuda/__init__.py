"""Kernels for NVIDIA GPUs: CUDA sources, compiled by CuPy when first needed. Importing this registers them."""

import cupy
import numpy as np

from ..device import Device, register_kernels
from . import augment, conv, elementwise, loss, norm, optim, pool
from .launch import MOST

DEVICE = Device(
    "cuda", cupy, lambda shape: cupy.empty(shape, np.float32), 0, MOST, augment, conv, elementwise, loss, norm, optim,
    pool,
)  # fmt: skip
register_kernels(DEVICE)
