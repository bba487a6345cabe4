"""The ``.cu`` sources of this folder, compiled once by NVRTC and launched by name."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import cupy
import numpy as np

FOLDER = Path(__file__).parent
SOURCES = ("augment", "conv", "elementwise", "loss", "norm", "optim", "pool", "product")
OPTIONS = ("--std=c++17",)
THREADS = 256  # threads in a block
BLOCKS = 4096  # the largest number of blocks; for more elements, each thread computes several
MOST = 1 << 30  # arrays have fewer elements than this, so that an index of type int cannot overflow


def source(name: str) -> str:
    """Return the text that is compiled for one of SOURCES."""
    return (FOLDER / "common.cuh").read_text() + (FOLDER / f"{name}.cu").read_text()


@cache
def _module(name: str) -> Any:
    return cupy.RawModule(code=source(name), options=OPTIONS)


@cache
def _function(name: str, kernel: str) -> Any:
    return _module(name).get_function(kernel)


def _argument(value: Any) -> Any:
    """Convert Python numbers to the int and float of CUDA C++, and None to a null pointer."""
    if value is None:
        return np.uintp(0)
    if isinstance(value, (bool, int, np.integer)):
        return np.int32(value)
    return np.float32(value) if isinstance(value, float) else value


def empty(*shape: int) -> Any:
    """Return an uninitialised float32 array."""
    return cupy.empty(shape, np.float32)


def launch(name: str, kernel: str, grid: tuple[int, ...], threads: int, *arguments: Any) -> None:
    """Run ``kernel`` of the source ``name`` on the current stream. Arrays are passed as pointers, without strides."""
    _function(name, kernel)(grid, (threads,), tuple(map(_argument, arguments)))


def for_each(name: str, kernel: str, count: int, *arguments: Any) -> None:
    """Run a kernel that computes ``count`` independent elements; ``count`` becomes its last argument."""
    launch(name, kernel, (min(-(-count // THREADS), BLOCKS),), THREADS, *arguments, count)
