"""How close batch norm comes to the memory bandwidth that np.add reaches: python benchmarks/batch_norm.py [THREADS]

For each block (N, H, W, C) of ResNet-20 and of ResNet-18 and -50: the time of the forward and the backward pass of
batch norm with ReLU, without and with a shortcut, and their bandwidth as a share of that of ``np.add(a, b, out=c)`` on
arrays of the same size. np.add uses one thread. Only the bytes that must move are counted: forward reads x twice and
writes y, backward reads x and dy twice and writes dx. With a shortcut, forward also reads the shortcut, and backward
also reads y and writes the gradient of the shortcut. The output on two cores of an AMD EPYC (Zen 4)::

    1 thread(s)     np.add             forward            backward           forward, shortcut  backward, shortcut
    128 x 32 x 32 x 16     42.3 GB/s       0.66 ms   90%       1.34 ms   79%       1.03 ms   75%       2.15 ms   66%
    128 x 16 x 16 x 32     73.0 GB/s       0.24 ms   72%       0.35 ms   81%       0.30 ms   75%       0.74 ms   55%
    128 x 8 x 8 x 64       89.6 GB/s       0.12 ms   58%       0.17 ms   68%       0.15 ms   64%       0.27 ms   62%
    8 x 112 x 112 x 64     28.6 GB/s       3.40 ms   79%       5.37 ms   84%       4.28 ms   85%       7.41 ms   87%
    16 x 56 x 56 x 64      35.2 GB/s       1.49 ms   77%       2.47 ms   75%       2.03 ms   74%       3.57 ms   77%
    8 x 56 x 56 x 256      29.6 GB/s       4.56 ms   57%       5.17 ms   84%       5.06 ms   71%       6.78 ms   89%
    8 x 28 x 28 x 512      33.9 GB/s       1.74 ms   65%       2.40 ms   80%       2.02 ms   74%       3.64 ms   74%
    8 x 14 x 14 x 1024     56.7 GB/s       0.54 ms   64%       1.09 ms   50%       0.80 ms   56%       1.93 ms   39%
    8 x 7 x 7 x 2048       83.8 GB/s       0.26 ms   44%       0.40 ms   51%       0.35 ms   47%       0.76 ms   35%
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
