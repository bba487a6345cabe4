"""How close batch norm comes to the memory bandwidth that np.add reaches: python benchmarks/batch_norm.py [THREADS]

For each block (N, H, W, C) of ResNet-20 and of ResNet-18 and -50: the time of the forward and the backward pass of
batch norm with ReLU, without and with a shortcut, and their bandwidth as a share of that of ``np.add(a, b, out=c)`` on
arrays of the same size. np.add uses one thread. Only the bytes that must move are counted: forward reads x twice and
writes y, backward reads x and dy twice and writes dx. With a shortcut, forward also reads the shortcut, and backward
also reads y and writes the gradient of the shortcut.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

import minires as mr
from minires.core.dispatch import load_kernels
from minires.kernels.norm import batch_norm, batch_norm_backward
from minires.ops.norm import BatchNormAct

BLOCKS = (
    (128, 32, 32, 16), (128, 16, 16, 32), (128, 8, 8, 64),
    (8, 112, 112, 64), (16, 56, 56, 64), (8, 56, 56, 256), (8, 28, 28, 512), (8, 14, 14, 1024), (8, 7, 7, 2048),
)  # fmt: skip
WALKS = {"forward": 3, "backward": 5, "forward, shortcut": 4, "backward, shortcut": 7}  # bytes / bytes of x
TURNS, SECONDS = 9, 0.01


def images(shape: tuple[int, ...], rng: np.random.Generator) -> mr.Tensor:
    """Return random images (N, C, H, W), in memory with the channels last."""
    block = rng.standard_normal(shape, dtype=np.float32)
    return mr.Tensor.wrap(block.transpose(0, 3, 1, 2))


def passes(shape: tuple[int, ...]) -> dict[str, Callable[[], Any]]:
    """Return what is timed, by name."""
    from minires.kernels.cpu import DEVICE

    rng = np.random.default_rng(0)
    x, shortcut, dy = (images(shape, rng) for _ in range(3))
    gamma, beta = (mr.tensor(rng.standard_normal(shape[-1], dtype=np.float32)) for _ in range(2))
    a, b, c = (np.empty(x.data.size, np.float32) for _ in range(3))
    a[:], b[:], c[:] = 1, 2, 3
    found: dict[str, Callable[[], Any]] = {"np.add": lambda: np.add(a, b, out=c)}
    for suffix, more in (("", ()), (", shortcut", (shortcut,))):
        op = BatchNormAct(1e-5, None, "relu")
        inputs = x, gamma, beta, *more
        for tensor in inputs:
            tensor.requires_grad = True
        op(*inputs)
        arrays = tuple(tensor.data for tensor in inputs)
        found["forward" + suffix] = lambda op=op, arrays=arrays: batch_norm(DEVICE, op, *arrays)
        found["backward" + suffix] = lambda op=op: batch_norm_backward(DEVICE, op, dy.data)
    return found


def time_of(run: Callable[[], Any], calls: int) -> float:
    begin = time.perf_counter()
    for _ in range(calls):
        run()
    return (time.perf_counter() - begin) / calls


def measure(shape: tuple[int, ...]) -> None:
    runs = passes(shape)
    calls = {name: max(1, int(SECONDS / min(time_of(run, 2) for _ in range(3)))) for name, run in runs.items()}
    turns = [{name: time_of(run, calls[name]) for name, run in runs.items()} for _ in range(TURNS)]
    n, size = " x ".join(map(str, shape)), 4 * np.prod(shape)
    add = statistics.median(turn["np.add"] for turn in turns)
    cells = [f"{n:20} {3 * size / add / 1e9:6.1f} GB/s"]
    for name, walks in WALKS.items():
        seconds = statistics.median(turn[name] for turn in turns)
        share = statistics.median(walks / 3 * turn["np.add"] / turn[name] for turn in turns)
        cells.append(f"{1e3 * seconds:9.2f} ms {share:5.0%}")
    print("  ".join(cells), flush=True)


def main(threads: int) -> None:
    mr.set_num_threads(threads)
    load_kernels("cpu")
    print(f"{threads} thread(s)     np.add {'':11}", *(f"{name:18}" for name in WALKS))
    for shape in BLOCKS:
        measure(shape)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:] or ["1"]))
