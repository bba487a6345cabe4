"""Where the time goes: calls, time, operations and bytes of each op, for ``with minires.profile() as p``.

A table of times says what is slow; it does not say whether it could be faster. Two limits hold for every op: a machine
does so many floating-point operations a second, and moves so many bytes. Beside each op's rates stands the share of
the limit that is nearer (the *roofline* of Williams, Waterman and Patterson, 2009): an op at 90 % has nothing left to
win but by doing less.
"""

from __future__ import annotations

import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from ..kernels.threads import get_num_threads
from .backend import Array, array_module, device_of

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Peak:
    """The most that was measured on a machine, a second."""

    operations: float  # float32, a multiply-add is two
    bytes: float  # read from memory and written to it, caches aside

    def __str__(self) -> str:
        return f"{self.operations / 1e9:.0f} GFLOP/s, {self.bytes / 1e9:.1f} GB/s"


@dataclass
class Row:
    """What one op did in one phase ("forward" or "backward")."""

    calls: int = 0
    seconds: float = 0.0  # its own: time spent in ops that it called is theirs
    bytes: int = 0  # of the arrays that went in and came out: memory has moved at least these
    operations: int = 0  # done directly, see costs.py; 0 where nobody has counted, or the ops that it called did them
    moves: bool = True  # False if the ops that it called moved its bytes, or (a view) nobody did
    device: str = "cpu"

    @property
    def operations_per_second(self) -> float | None:
        """None where nobody has counted."""
        return self.operations / self.seconds if self.operations and self.seconds else None

    @property
    def bytes_per_second(self) -> float | None:
        """None for an op that called others, or gave a view."""
        return self.bytes / self.seconds if self.seconds and self.moves else None

    def share_of(self, peak: Peak) -> tuple[float, str] | None:
        """How much of ``peak`` it reached, and which limit that is: "compute" or "memory", whichever is nearer."""
        compute = self.operations_per_second, peak.operations, "compute"
        memory = self.bytes_per_second, peak.bytes, "memory"
        return max(((rate / limit, name) for rate, limit, name in (compute, memory) if rate is not None), default=None)


@dataclass
class Call:
    """One call while it is measured. Whoever makes it says which ``arrays`` go in and out, inputs first."""

    arrays: tuple[Array, ...] = ()
    seconds_of_callees: float = 0.0
    has_callees: bool = False


class Profile:
    """The table that ``minires.profile()`` fills; ``print`` it.

    Attributes
    ----------
    rows : dict
        ``(op name, "forward" or "backward")`` to :class:`Row`. A backward written in tensors calls other ops:
        their time is listed under their own names, and only what is left under the backward's.

    Notes
    -----
    Bytes are those of the arrays that went in and came out (of a backward: its upstream and its gradients), so they are
    the least that was moved. Operations are those of the sum as it is written down, padding included. An op can
    therefore come out above 100 % of a peak: its arrays were still in a cache, or its algorithm does fewer operations
    (Winograd's takes four times fewer multiplications).
    """

    def __init__(self) -> None:
        self.rows: dict[tuple[str, str], Row] = defaultdict(Row)
        self._open: list[Call] = []

    @contextmanager
    def measure(self, op: Any, phase: str) -> Iterator[Call]:
        """Time one call. Nested calls subtract themselves from the one around them."""
        call = Call()
        _synchronize()
        self._open.append(call)
        start = time.perf_counter()
        try:
            yield call
        finally:
            _synchronize()
            elapsed = time.perf_counter() - start
            self._open.pop()
            if self._open:
                self._open[-1].seconds_of_callees += elapsed
                self._open[-1].has_callees = True
            row = self.rows[op.name, phase]
            row.calls += 1
            row.seconds += elapsed - call.seconds_of_callees
            row.bytes += sum(array.nbytes for array in call.arrays)
            row.moves &= not call.has_callees and not _gives_view(phase, call.arrays)
            if call.arrays:  # and not an error
                row.device = device_of(call.arrays[0])
                row.operations += 0 if call.has_callees else count_operations(op, phase, call.arrays)

    @property
    def seconds(self) -> float:
        """The time of all ops together."""
        return sum(row.seconds for row in self.rows.values())

    @property
    def peaks(self) -> dict[str, Peak]:
        """What each device that took part can do at most, where its kernels know how to measure it.

        That takes a part of a second, the first time.
        """
        found = {device: measured_peak(device) for device in sorted({row.device for row in self.rows.values()})}
        return {device: peak for device, peak in found.items() if peak is not None}

    def __str__(self) -> str:
        peaks, total = self.peaks, self.seconds or 1.0
        last = f"{'of peak':>15}" if peaks else ""
        lines = [f"{'op':<24}{'phase':<10}{'calls':>7}{'ms':>11}{'share':>8}{'MB':>11}{'GFLOP/s':>10}{'GB/s':>8}{last}"]
        for (op, phase), row in sorted(self.rows.items(), key=lambda item: -item[1].seconds):
            reached = row.share_of(peaks[row.device]) if row.device in peaks else None
            share = f"{reached[0]:.0%} {reached[1]}" if reached else "-"
            lines.append(
                f"{op:<24}{phase:<10}{row.calls:>7}{1e3 * row.seconds:>11.3f}{row.seconds / total:>8.1%}"
                f"{row.bytes / 1e6:>11.3f}{_giga(row.operations_per_second):>10}{_giga(row.bytes_per_second):>8}"
                + (f"{share:>15}" if peaks else "")
            )
        calls, operations = (sum(getattr(row, name) for row in self.rows.values()) for name in ("calls", "operations"))
        rate = operations / total if operations else None
        lines.append(f"{'total':<34}{calls:>7}{1e3 * self.seconds:>11.3f}{'':>19}{_giga(rate):>10}".rstrip(" -"))
        for device, peak in peaks.items():
            where = f"{get_num_threads()} threads" if device == "cpu" else device
            lines.append(f"peak, {where.replace('1 threads', '1 thread')}: {peak}")
        return "\n".join(lines)


def _giga(rate: float | None) -> str:
    return "-" if rate is None else f"{rate / 1e9:.1f}"


def _gives_view(phase: str, arrays: tuple[Array, ...]) -> bool:
    """Whether what came out is memory of what went in."""
    split = -1 if phase == "forward" else 1
    return any(array_module(a).may_share_memory(a, b) for a in arrays[:split] for b in arrays[split:])


_multiply_adds: dict[type, Callable[..., int]] = {}
_measures: dict[str, Callable[[int], Peak]] = {}


def multiply_adds_of(op: type) -> Callable[[Callable[..., int]], Callable[..., int]]:
    """Say how many multiply-adds the forward of ``op`` takes; a decorator. An op without it has no GFLOP/s.

    The function gets the shape of the output and those of the inputs. What is counted are products of the first two
    inputs, linear in each. Then the gradient to either takes as many as the forward, so backward needs no count of
    its own.

    Examples
    --------
    >>> import minires as mr
    >>> from minires.core.profiling import multiply_adds_of
    >>> class Dot(mr.Op):
    ...     def forward(self, a, b):
    ...         return (a * b).sum(axis=-1)
    >>> @multiply_adds_of(Dot)
    ... def dot(output, a, b):
    ...     return a[0] * a[1]
    >>> a = mr.tensor([[1.0, 2.0, 3.0]])
    >>> with mr.profile() as p:
    ...     y = Dot()(a, a)
    >>> p.rows["dot", "forward"].operations
    6
    """

    def register(count: Callable[..., int]) -> Callable[..., int]:
        _multiply_adds[op] = count
        return count

    return register


def count_operations(op: Any, phase: str, arrays: tuple[Array, ...]) -> int:
    """The floating-point operations of one call: two for each multiply-add; 0 where nobody has counted."""
    count = _multiply_adds.get(type(op))
    if count is None:
        return 0
    if phase == "forward":
        *inputs, output = (array.shape for array in arrays)
        return 2 * count(output, *inputs)
    return 2 * count(op.shape, *op.input_shapes) * sum(op.needs(factor) for factor in (0, 1))


def register_peak(device: str) -> Callable[[Callable[[int], Peak]], Callable[[int], Peak]]:
    """Kernels say how to measure what their device can do at most, with a number of threads; a decorator."""

    def register(measure: Callable[[int], Peak]) -> Callable[[int], Peak]:
        _measures[device] = measure
        return measure

    return register


def measured_peak(device: str = "cpu", threads: int | None = None) -> Peak | None:
    """What a device can do at most, with the threads in use unless a number is given; None without its kernels."""
    return _measures[device](threads or get_num_threads()) if device in _measures else None


def _synchronize() -> None:
    """Wait for the GPU, so that the time of an op is not billed to the next one."""
    if (cupy := sys.modules.get("cupy")) is not None and cupy.cuda.is_available():
        cupy.cuda.get_current_stream().synchronize()
