"""Where the time goes: calls, time, operations and bytes of each op, for ``with minires.profile() as p``.

A table of times says what is slow, but not whether it could be faster. Two limits hold for every op: a machine does
only so many floating-point operations a second, and moves only so many bytes. Beside the rates of each op stands its
share of the nearer limit (the *roofline* of Williams, Waterman and Patterson, 2009): an op at 90 % can only become
faster by doing less.
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
    """``with profile() as p:`` counts calls, time, operations and bytes of each op; ``print(p)`` shows the table.

    Once ``minires doctor`` has measured the peaks of this machine, the table also shows what share of them each op
    reached, of arithmetic or of memory, whichever limit is nearer. An op of your own has GFLOP/s if it implements
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
    """What one op did in one phase ("forward" or "backward")."""

    calls: int = 0
    seconds: float = 0.0  # without the time of ops that it called, which have their own rows
    bytes: int = 0  # of the arrays that went in and came out: at least these were moved
    operations: int = 0  # see Op.multiply_adds; 0 if not counted, or done by ops that it called
    moves: bool = True  # False if it called ops that moved its bytes, or gave a view
    device: str = "cpu"

    @property
    def operations_per_second(self) -> float | None:
        """None if operations are not counted."""
        return self.operations / self.seconds if self.operations and self.seconds else None

    @property
    def bytes_per_second(self) -> float | None:
        """None for an op that called others, or gave a view."""
        return self.bytes / self.seconds if self.seconds and self.moves else None

    def share_of(self, peak: Peak) -> tuple[float, str] | None:
        """The share of ``peak`` that it reached, and of which limit, the nearer one: "compute" or "memory"."""
        compute = self.operations_per_second, peak.operations, "compute"
        memory = self.bytes_per_second, peak.bytes, "memory"
        return max(((rate / limit, name) for rate, limit, name in (compute, memory) if rate is not None), default=None)


class Profile:
    """The table that ``minires.profile()`` fills; ``print`` it.

    Attributes
    ----------
    rows : dict
        ``(op name, "forward" or "backward")`` to :class:`Row`. A backward that is written in tensors calls other ops:
        their time is listed under their own names, and only the rest under the backward's.

    Notes
    -----
    Bytes are those of the arrays that went in and came out (for a backward: the upstream gradient and the gradients it
    returns), so at least these were moved. Operations are those of the sum as it is written down, padding included. An
    op can therefore exceed 100 % of a peak: its arrays were still in a cache, or its algorithm does fewer operations
    (Winograd's does a quarter of the multiplications).
    """

    def __init__(self) -> None:
        self.rows: dict[tuple[str, str], Row] = defaultdict(Row)
        self._callees: list[list[float]] = []  # for each running op, the seconds of the ops that it has called

    def __call__(self, op: Op, phase: str, arrays: Sequence[Array]) -> Callable[[Any], None]:
        """Start the clock of one call: an observer of ops. Nested calls subtract their time from the outer one's."""
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
        """The time of all ops together."""
        return sum(row.seconds for row in self.rows.values())

    @property
    def peak(self) -> Peak | None:
        """What the CPU can do, if it took part and its peak was measured on this machine before."""
        from .machine import cached_peak  # here, to keep `import minires` quick

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
    """The floating-point operations of one call: two for each multiply-add."""
    if phase == "forward":
        return 2 * op.multiply_adds(results[0].shape, *(array.shape for array in arrays))
    forward = op.multiply_adds(op.shape, *op.input_shapes)
    return 2 * forward * sum(op.needs(factor) for factor in (0, 1)) if forward else 0


def _synchronize() -> None:
    """Wait for the GPU, so that the time of an op does not count for the next one."""
    if (cupy := sys.modules.get("cupy")) is not None and cupy.cuda.is_available():
        cupy.cuda.get_current_stream().synchronize()
