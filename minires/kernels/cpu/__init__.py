"""Kernels for the CPU, compiled by Numba. Importing this module registers them."""

import math
from functools import partial

import numpy as np
from numba.core import config

if config.DISABLE_JIT:
    raise ModuleNotFoundError("Numba's compiler is switched off (NUMBA_DISABLE_JIT)", name="numba")

from ...core.dispatch import SMALL, register_kernel
from ...nn.folding import Replay
from ...ops.norm import GroupNorm
from ...ops.resize import Resize
from ...optim.optimizer import RMSprop
from ..device import ComputeDevice, register_kernels
from ..norm import group_norm as normalise_groups
from ..norm import group_norm_backward
from ..optim import rmsprop
from ..resize import resize as resize_images
from ..resize import resize_backward
from . import augment, conv, elementwise, group_norm, loss, norm, optim, pool, resize
from .memory import empty
from .program import replay

DEVICE = ComputeDevice(
    "cpu", np, empty, SMALL, math.inf, augment, conv, elementwise, loss, norm, optim, pool, group_norm, resize
)
register_kernels(DEVICE)
register_kernel(RMSprop, "step", "cpu")(partial(rmsprop, DEVICE))
register_kernel(Replay, "forward", "cpu", SMALL)(partial(replay, DEVICE))
register_kernel(Resize, "forward", "cpu", SMALL)(partial(resize_images, DEVICE))
register_kernel(Resize, "backward", "cpu", SMALL)(partial(resize_backward, DEVICE))
register_kernel(GroupNorm, "forward", "cpu", SMALL)(partial(normalise_groups, DEVICE))
register_kernel(GroupNorm, "backward", "cpu", SMALL)(partial(group_norm_backward, DEVICE))
