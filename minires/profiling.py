"""Where the time goes: calls, time and bytes of each op, for ``with minires.profile() as p``."""

from __future__ import annotations

import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from .backend import Array


@dataclass
class Row:
    """What one op did in one phase ("forward" or "backward")."""

    calls: int = 0
    seconds: float = 0.0  # its own: time spent in ops that it called is theirs
    bytes: int = 0  # of the arrays that went in and came out


class Profile:
    """The table that ``minires.profile()`` fills; ``print`` it.

    Attributes
    ----------
    rows : dict
        ``(op name, "forward" or "backward")`` to :class:`Row`. A backward written in tensors calls other ops:
        their time is listed under their own names, and only what is left under the backward's.
    """

    def __init__(self) -> None:
        self.rows: dict[tuple[str, str], Row] = defaultdict(Row)
        self._time_of_callees: list[float] = []

    @contextmanager
    def measure(self, op: str, phase: str) -> Iterator[Row]:
        """Time one call. Nested calls subtract themselves from the one around them."""
        row = self.rows[op, phase]
        _synchronize()
        self._time_of_callees.append(0.0)
        start = time.perf_counter()
        try:
            yield row
        finally:
            _synchronize()
            elapsed = time.perf_counter() - start
            row.calls += 1
            row.seconds += elapsed - self._time_of_callees.pop()
            if self._time_of_callees:
                self._time_of_callees[-1] += elapsed

    @property
    def seconds(self) -> float:
        """The time of all ops together."""
        return sum(row.seconds for row in self.rows.values())

    def __str__(self) -> str:
        lines = [f"{'op':<24}{'phase':<10}{'calls':>7}{'ms':>11}{'share':>8}{'MB':>11}"]
        total = self.seconds or 1.0
        for (op, phase), row in sorted(self.rows.items(), key=lambda item: -item[1].seconds):
            lines.append(
                f"{op:<24}{phase:<10}{row.calls:>7}{1e3 * row.seconds:>11.3f}"
                f"{row.seconds / total:>8.1%}{row.bytes / 1e6:>11.3f}"
            )
        calls = sum(row.calls for row in self.rows.values())
        lines.append(f"{'total':<34}{calls:>7}{1e3 * self.seconds:>11.3f}")
        return "\n".join(lines)


def count_bytes(*arrays: Array | None) -> int:
    """The size of all ``arrays`` together (``None`` counts nothing)."""
    return sum(array.nbytes for array in arrays if array is not None)


def _synchronize() -> None:
    """Wait for the GPU, so that the time of an op is not billed to the next one."""
    if (cupy := sys.modules.get("cupy")) is not None and cupy.cuda.is_available():
        cupy.cuda.get_current_stream().synchronize()
