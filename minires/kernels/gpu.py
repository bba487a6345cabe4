"""More control over the GPU than ``device="cuda"`` gives: graphs, memory, TF32.

minires launches all work on CuPy's current stream; use ``with cupy.cuda.Stream():`` to choose another one.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..core import checks
from ..core.backend import check_device, cupy_module, is_array, to_device
from ..core.state import switched
from ..core.tensor import Tensor
from ..errors import ArgumentError, DeviceError, sizes

WARM_UP = 2  # normal calls, which compile kernels, create the optimiser's arrays and fill the memory pool


def is_available() -> bool:
    """Whether ``device="cuda"`` can be used here."""
    try:
        check_device("cuda")
    except DeviceError:
        return False
    return True


def synchronize() -> None:
    """Wait until the GPU has finished all work. Raises DeviceError if there is no GPU."""
    cupy_module().cuda.get_current_stream().synchronize()


@dataclass(frozen=True)
class Memory:
    """GPU memory in bytes: used by live arrays, held by CuPy's pool (including unused memory), free, and in total."""

    used: int
    pool: int
    free: int
    total: int

    def __str__(self) -> str:
        parts = {"used": self.used, "in the pool": self.pool, "free": self.free, "in total": self.total}
        return ", ".join(f"{value / 2**20:,.0f} MiB {what}" for what, value in parts.items())


def memory() -> Memory:
    """Return how the GPU's memory is used. Raises DeviceError if there is no GPU."""
    cupy = cupy_module()
    pool = cupy.get_default_memory_pool()
    return Memory(pool.used_bytes(), pool.total_bytes(), *cupy.cuda.runtime.memGetInfo())


def free_memory() -> None:
    """Give the unused memory in CuPy's pool back to the GPU. Raises DeviceError if there is no GPU."""
    cupy_module().get_default_memory_pool().free_all_blocks()


def allow_tf32(allowed: bool = True) -> None:
    """Allow cuBLAS to round the factors of float32 products to TF32, which has a mantissa of 10 bits instead of 23.

    Tensor cores multiply TF32 numbers several times faster, and the error of a product is then about 1e-3 of its
    largest term. TF32 is off by default, so that float32 means the same on the GPU and on the CPU. GPUs before Ampere
    (sm_80) do not have TF32 and ignore this setting. Raises DeviceError if there is no GPU.
    """
    linalg = cupy_module()._core._routines_linalg
    linalg.set_compute_type(np.float32, linalg.COMPUTE_TYPE_TF32 if allowed else linalg.COMPUTE_TYPE_DEFAULT)


class Graph:
    """A recorded step for fixed shapes that is launched as a whole; see :func:`graph`.

    Attributes
    ----------
    before_replay : list of callables
        Called on the CPU before each replay. Optimisers use it to update their learning rates.
    """

    def __init__(self, step: Callable[..., Any], warm_up: int = WARM_UP) -> None:
        if not callable(step):
            raise ArgumentError(f"graph: step is {step!r}; it must be a function.")
        self.step, self.warm_up = step, checks.integer("graph", warm_up, "warm_up", 1)
        self._cupy = cupy_module()
        self.before_replay: list[Callable[[], None]] = []
        self._stream = self._cupy.cuda.Stream(non_blocking=True)
        self._pool = self._cupy.cuda.MemoryPool()  # not shared, as each replay writes to the recorded addresses
        self._inputs: list[Tensor] = []
        self._outputs: Any = None
        self._graph: Any = None

    def __call__(self, *inputs: Any) -> Any:
        """Run the step once."""
        current = self._cupy.cuda.get_current_stream()
        self._stream.wait_event(current.record())
        with self._stream, self._cupy.cuda.using_allocator(self._pool.malloc):
            self._take(inputs)
            if self.warm_up > 0:
                self.warm_up -= 1
                self._outputs = _detached(self.step(*self._inputs))
            else:
                if self._graph is None:
                    self._capture()
                for refresh in self.before_replay:
                    refresh()
                self._graph.launch(self._stream)
        current.wait_event(self._stream.record())
        return self._outputs

    def _take(self, inputs: tuple[Any, ...]) -> None:
        """Copy the inputs to the arrays that the graph reads."""
        arrays = [x.data if isinstance(x, Tensor) else x for x in inputs]
        if not all(is_array(array) for array in arrays):
            given = ", ".join(type(x).__name__ for x in inputs)
            raise ArgumentError(f"graph: inputs are {given}; they must be tensors or arrays.")
        if not self._inputs:
            self._inputs = [Tensor.wrap(to_device(array, "cuda").copy(order="K")) for array in arrays]
            return
        fixed, new = ([(array.shape, array.dtype) for array in some] for some in (self._inputs, arrays))
        if fixed != new:
            wanted, given = (", ".join(f"{sizes(s)} {d}" for s, d in some) for some in (fixed, new))
            raise ArgumentError(
                f"graph: recorded for inputs {wanted}, but called with {given}; shapes and dtypes must "
                "not change (Loader(..., drop_last=True) drops the last, smaller batch)."
            )
        for x, array in zip(self._inputs, arrays, strict=True):
            x.data[...] = to_device(array, "cuda")

    def _capture(self) -> None:
        self.before_replay = []
        self._stream.begin_capture()
        try:
            with switched(capture=self):
                outputs = _detached(self.step(*self._inputs))
        except Exception as error:
            with suppress(Exception):  # ending a failed recording raises another error
                self._stream.end_capture()
            raise DeviceError(
                f"graph: the step cannot be recorded ({type(error).__name__}: {error}); it may launch work on the GPU, "
                "but must not read results (.item(), .numpy(), float(), if) or copy arrays from the CPU."
            ) from error
        self._graph = self._stream.end_capture()
        self._outputs = outputs


def _detached(outputs: Any) -> Any:
    """Return the step's result, detached from the tape."""
    if isinstance(outputs, Tensor):
        return outputs.detach()
    return type(outputs)(map(_detached, outputs)) if isinstance(outputs, (tuple, list)) else outputs


def graph(step: Callable[..., Any], warm_up: int = WARM_UP) -> Graph:
    """Record everything that ``step`` launches on the GPU, and later launch it as a whole (a CUDA graph).

    The training step of a small ResNet consists of hundreds of launches, and the GPU finishes each of them before
    Python has prepared the next. A graph runs them without Python in between::

        def step(x, labels):
            optimizer.zero_grad()
            loss = mr.ops.cross_entropy(model(x), labels)
            loss.backward()
            optimizer.step()
            return loss

        fast_step = mr.cuda.graph(step)
        for images, labels in loader:
            loss = fast_step(images, labels)
            schedule.step()

    Every call is one step. The first ``warm_up`` calls run ``step`` normally, and the next call records it. After that,
    its Python code no longer runs: the recorded launches are repeated, with new inputs and the current learning rates.
    So the step must not depend on values, count anything, or draw random numbers (dropout is refused, because its mask
    would stay the same). Schedules, metrics and random augmentation belong outside the step.

    Parameters
    ----------
    step : callable
        Takes tensors, and returns tensors, a tuple or list of them, or None.
    warm_up : int
        The number of normal calls before the recording. It is at least 1, because optimisers create their arrays in
        their first step.

    Returns
    -------
    Graph
        A callable that replaces ``step``. Call it with arrays or tensors of the same shapes and dtypes each time. The
        next call overwrites the returned tensors, so read them before that.

    Raises
    ------
    ArgumentError
        If ``step`` is not callable, ``warm_up`` is not an integer >= 1, or the shapes or dtypes of the inputs change.
    DeviceError
        If there is no GPU, or the step does something that cannot be recorded, such as reading results or copying
        arrays from the CPU.
    """
    return Graph(step, warm_up)


__all__ = ["Graph", "Memory", "allow_tf32", "free_memory", "graph", "is_available", "memory", "synchronize"]
