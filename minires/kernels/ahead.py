"""Compile kernels in two processes at once, from both ends of a training step.

The first training step compiles about twenty kernels, in the order in which it needs them, and a compilation uses one
core. So when the first kernel must be compiled, another process is started, a *helper*. It compiles the kernels of a
training step of a residual network, the last one first, until the two meet. Both store them in the same folder, and
look there before they compile. While a process compiles a kernel, all others that need it wait.

The helper ends when it is done, or with its parent. If it cannot start or fails, the parent compiles alone.
"""

from __future__ import annotations

import atexit
import errno
import hashlib
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import lru_cache, partial
from typing import Any

import numpy as np

from .threads import get_num_threads, set_num_threads

LONGEST_WAIT = 60.0  # seconds; a kernel takes a few
HELPER = "helper"  # the name of the lock that lets a folder have only one helper at a time

_started = False  # whether this process has tried to start a helper, or is one


# A lock is one byte of a file, which a process reserves. The operating system frees it when the process ends.


def lock(folder: str, name: str, longest: float = LONGEST_WAIT) -> bool:
    """Lock a name for this process, and return whether that succeeded.

    While another process has locked it, wait, but at most ``longest`` seconds. Where files cannot be locked, return
    False at once.
    """
    end = time.monotonic() + longest
    while True:
        try:
            file = _lock_file(folder)
        except OSError:
            return False
        try:
            _reserve(file, _byte(name), True)
        except OSError as error:
            if error.errno not in (errno.EACCES, errno.EAGAIN) or time.monotonic() >= end:
                return False
            time.sleep(0.01)
        else:
            return True


def free(folder: str, name: str) -> None:
    """Undo :func:`lock`. Nothing happens if the name is not locked."""
    with suppress(OSError):
        _reserve(_lock_file(folder), _byte(name), False)


@lru_cache
def _lock_file(folder: str) -> int:
    # It stays open: on POSIX, closing a file frees all locks that the process has on it.
    return os.open(os.path.join(folder, "minires.lock"), os.O_RDWR | os.O_CREAT, 0o644)


def _byte(name: str) -> int:
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big") >> 2


def _reserve(file: int, byte: int, reserved: bool) -> None:
    """Reserve or free a byte of a file. Raises OSError if another process has reserved it."""
    if sys.platform == "win32":
        import msvcrt

        os.lseek(file, byte, os.SEEK_SET)
        msvcrt.locking(file, msvcrt.LK_NBLCK if reserved else msvcrt.LK_UNLCK, 1)
    else:
        import fcntl

        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB if reserved else fcntl.LOCK_UN, 1, byte)


def start(folder: str) -> None:
    """Start a helper that compiles into ``folder``, at the first call, unless it would not help."""
    global _started
    if _started:
        return
    _started = True
    if get_num_threads() == 1 or not sys.executable or getattr(sys, "frozen", False):
        return
    if not lock(folder, HELPER, longest=0):  # another process has a helper, or the folder is not writable
        return
    free(folder, HELPER)
    program = f"import sys; sys.path[:] = {sys.path!r}; from {__name__} import main; main({folder!r})"
    with suppress(Exception):  # a sandbox may forbid it in its own way
        process = subprocess.Popen(
            [sys.executable, "-c", program],
            stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        atexit.register(_stop, process)
        # When it has ended, its parent must take note of that.
        threading.Thread(target=process.wait, daemon=True).start()


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    if process.stdin is not None:  # Python warns of pipes that are still open at its end
        process.stdin.close()


def main(folder: str) -> None:
    """Compile the kernels of a training step into ``folder``, as a helper."""
    global _started
    _started = True
    threading.Thread(target=_end_with_parent, daemon=True).start()
    if not lock(folder, HELPER, longest=0):
        return
    set_num_threads(1)
    from .cpu.compiler import cache_folder

    if str(cache_folder()) == folder:
        for call in _training_step():
            call()


def _end_with_parent() -> None:
    with suppress(OSError):
        os.read(0, 1)  # stdin is a pipe, which ends when the parent ends
    os._exit(0)


def _training_step() -> Iterator[Callable[[], object]]:
    """Yield calls that compile the kernels of ResNet-20's training step, on small arrays, the last ones first.

    With AVX-512, other kernels are compiled for 16 channels than for 64.
    """
    from ..ops.conv import Window
    from .cpu import conv, loss, norm, optim, pool

    def zeros(*shape: int) -> Any:
        return np.zeros(shape, np.float32)

    same, halved = (Window((3, 3), (step, step), (1, 1)) for step in (1, 2))
    first, narrow, wide, half = zeros(8, 8, 8, 3), zeros(8, 8, 8, 16), zeros(8, 8, 8, 64), zeros(8, 4, 4, 64)
    row, pooled, logits, labels = zeros(64), zeros(8, 64), zeros(8, 10), np.zeros(8, np.int64)
    mean, var, scale = np.ones((3, 64))

    yield partial(optim.sgd, [[row, row, row]], lambda: [0.1, 0.9, 0.0], False)
    yield partial(conv.grad_weight, narrow, narrow, same)
    yield partial(conv.grad_weight, wide, half, halved)
    yield partial(conv.grad_weight, wide, wide, same)
    yield partial(norm.gradients, wide, wide, None, (mean, var, scale), row, 1e-5, wide, wide)
    yield partial(pool.global_avg_pool_backward, pooled, wide)
    yield partial(conv.grad_weight, first, narrow, same)
    yield partial(loss.cross_entropy_backward, logits, labels, 0.0, np.float32(1), logits)
    yield partial(loss.cross_entropy, logits, labels, 0.0)
    yield partial(pool.global_avg_pool, wide, pooled)
    yield partial(conv.forward, wide, zeros(64, 64, 3, 3), None, same)
    yield partial(conv.forward, wide, zeros(64, 64, 3, 3), None, halved)
    yield partial(conv.forward, narrow, zeros(16, 16, 3, 3), None, same)
    yield partial(norm.train, wide, row, row, 1e-5, None, wide, True)
    yield partial(conv.forward, first, zeros(16, 3, 3, 3), None, same)
