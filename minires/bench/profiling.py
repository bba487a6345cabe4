"""Measure where the time goes: calls, time, operations and bytes of each op, for ``with minires.profile() as p``.

A table of times says what is slow, but not whether it could be faster. Every op has two limits: the number of
floating-point operations and the number of bytes that the machine can process per second. The table therefore also
shows the share of the nearer limit that each op reaches (the *roofline* model of Williams, Waterman and Patterson,
2009). An op at 90 % can only become faster by doing less work.
"""

from __future__ import annotations

import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..core.autograd import Op
from ..core.backend import Array, array_module, device_of
from ..core.state import observed
from ..errors import counted
from ..kernels.threads import get_num_threads

if TYPE_CHECKING:
    from .machine import Peak


@contextmanager
def profile() -> Iterator[Profile]:
    """Measure calls, time, operations and bytes of each op in ``with profile() as p:``; ``print(p)`` shows the table.

    Once ``minires doctor`` has measured the peaks of this machine, the table also shows each op's share of the peak of
    arithmetic or of memory, whichever limit is nearer. For your own ops, GFLOP/s are shown if they implement
    :meth:`minires.Op.multiply_adds`.

    Examples
    --------
    >>> import minires as mr
    >>> with mr.profile() as p:
    ...     y = mr.tensor([1.0, 2.0]) * 3
    >>> p.rows["mul", "forward"].calls
    1
    """
    table = Profile()
    with observed(table):
        yield table


@dataclass
class Row:
    """The totals of one op in one phase ("forward" or "backward")."""

    calls: int = 0
    seconds: float = 0.0  # without the ops that it called, which have their own rows
    bytes: int = 0  # of the input and output arrays; at least these were moved
    operations: int = 0  # see Op.multiply_adds; 0 if not counted, or if other ops did them
    moves: bool = True  # False if it called other ops, which moved the bytes, or returned a view
    device: str = "cpu"

    @property
    def operations_per_second(self) -> float | None:
        """Floating-point operations per second, or None if they are not counted."""
        return self.operations / self.seconds if self.operations and self.seconds else None

    @property
    def bytes_per_second(self) -> float | None:
        """Bytes moved per second, or None for an op that called others or returned a view."""
        return self.bytes / self.seconds if self.seconds and self.moves else None

    def share_of(self, peak: Peak) -> tuple[float, str] | None:
        """Return the share of the nearer limit that the op reached, and the limit's name: "compute" or "memory"."""
        compute = self.operations_per_second, peak.operations, "compute"
        memory = self.bytes_per_second, peak.bytes, "memory"
        return max(((rate / limit, name) for rate, limit, name in (compute, memory) if rate is not None), default=None)


class Profile:
    """The table filled by ``minires.profile()``; ``print`` shows it.

    Attributes
    ----------
    rows : dict
        Maps ``(op name, "forward" or "backward")`` to :class:`Row`. If a backward pass calls other ops, their time is
        listed under their own names, and only the remaining time under the backward's.

    Notes
    -----
    Bytes are those of the input and output arrays (for a backward: the upstream gradient and the gradients that it
    returns), so at least these were moved. Operations are counted from the textbook formula, including padding. An op
    can therefore exceed 100 % of a peak if its arrays were still in a cache, or if its algorithm needs fewer
    operations (Winograd's needs a quarter of the multiplications).
    """

    def __init__(self) -> None:
        self.rows: dict[tuple[str, str], Row] = defaultdict(Row)
        self._callees: list[list[float]] = []  # for each running op, the seconds of the ops that it has called

    def __call__(self, op: Op, phase: str, arrays: Sequence[Array]) -> Callable[[Any], None]:
        """Start the clock of one call of an op; return the function that stops it. Nested calls are left out."""
        callees: list[float] = []
        self._callees.append(callees)
        _synchronize()
        start = time.perf_counter()

        def stop(result: Any) -> None:
            _synchronize()
            elapsed = time.perf_counter() - start
            self._callees.pop()
            if self._callees:
                self._callees[-1].append(elapsed)
            row = self.rows[op.name, phase]
            row.calls += 1
            row.seconds += elapsed - sum(callees)
            row.device = device_of(arrays[0])
            if result is None:  # the op raised an error
                return
            results = [result] if phase == "forward" else [grad for grad in result if grad is not None]
            row.bytes += sum(array.nbytes for array in (*arrays, *results))
            row.moves &= not callees and not _share_memory(arrays, results)
            row.operations += 0 if callees else _operations(op, phase, arrays, results)

        return stop

    @property
    def seconds(self) -> float:
        """The total time of all ops."""
        return sum(row.seconds for row in self.rows.values())

    @property
    def peak(self) -> Peak | None:
        """The peak of the CPU, or None if no op ran on the CPU or its peak has not been measured."""
        from .machine import cached_peak  # imported here to keep `import minires` quick

        return cached_peak() if any(row.device == "cpu" for row in self.rows.values()) else None

    def __str__(self) -> str:
        peak, total = self.peak, self.seconds or 1.0
        table: list[tuple[Any, ...]] = [("op", "phase", "calls", "ms", "share", "MB", "GFLOP/s", "GB/s", "of peak")]
        for (op, phase), row in sorted(self.rows.items(), key=lambda item: -item[1].seconds):
            reached = row.share_of(peak) if peak and row.device == "cpu" else None
            table.append((
                op, phase, row.calls, f"{1e3 * row.seconds:.3f}", f"{row.seconds / total:.1%}",
                f"{row.bytes / 1e6:.3f}", _giga(row.operations_per_second), _giga(row.bytes_per_second),
                f"{reached[0]:.0%} {reached[1]}" if reached else "-",
            ))  # fmt: skip
        calls, operations = (sum(getattr(row, name) for row in self.rows.values()) for name in ("calls", "operations"))
        speed = _giga(operations / total) if operations else ""
        table.append(("total", "", calls, f"{1e3 * self.seconds:.3f}", "", "", speed, "", ""))
        form = "{:<24}{:<10}{:>7}{:>11}{:>8}{:>11}{:>10}{:>8}" + ("{:>15}" if peak else "")
        lines = [form.format(*cells).rstrip() for cells in table]
        if peak:
            lines.append(f"peak, {counted(get_num_threads(), 'thread')}: {peak}")
        elif any(row.device == "cpu" for row in self.rows.values()):
            lines.append(
                "run `minires doctor` to measure the peak of this CPU, and see what share of it each op reaches"
            )
        return "\n".join(lines)


def _giga(rate: float | None) -> str:
    return "-" if rate is None else f"{rate / 1e9:.1f}"


def _share_memory(arrays: Sequence[Array], results: Sequence[Array]) -> bool:
    return any(array_module(a).may_share_memory(a, b) for a in arrays for b in results)


def _operations(op: Op, phase: str, arrays: Sequence[Array], results: Sequence[Array]) -> int:
    """Return the floating-point operations of one call, two for each multiply-add."""
    if phase == "forward":
        return 2 * op.multiply_adds(results[0].shape, *(array.shape for array in arrays))
    forward = op.multiply_adds(op.shape, *op.input_shapes)
    return 2 * forward * sum(op.needs(factor) for factor in (0, 1)) if forward else 0


def _synchronize() -> None:
    """Wait for the GPU, so that the time of an op is not attributed to the next one."""
    if (cupy := sys.modules.get("cupy")) is not None and cupy.cuda.is_available():
        cupy.cuda.get_current_stream().synchronize()
