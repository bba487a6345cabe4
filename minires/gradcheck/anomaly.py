"""detect_anomaly: find the first NaN or infinity, with an observer of ops."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from typing import Any
from weakref import WeakKeyDictionary

from ..core.autograd import Op
from ..core.backend import Array, array_module
from ..core.state import Block, state
from ..errors import AnomalyError, sizes

INSIDE = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep  # the folder of minires

_called_from: WeakKeyDictionary[Op, str] = WeakKeyDictionary()  # op -> "file:line" of the call of its forward


def detect_anomaly(function: Callable[..., Any] | None = None) -> Any:
    """Raise AnomalyError at the first NaN or infinity, forward or backward, with the op and the line that called it.

    It also detects direct writes to an array that backward needs (``x.data[0] = 1``), which no version counter can see.
    Every result is read once more, so use it for debugging, not for training.

    Examples
    --------
    >>> import minires as mr
    >>> with mr.detect_anomaly():
    ...     mr.ops.exp(mr.tensor([1.0, float("inf")]))
    Traceback (most recent call last):
        ...
    minires.errors.AnomalyError: exp: the result (2) holds an infinity at index (1,), called at <...>:2.
    """
    return Block(_searching)(function)


def _searching() -> dict[str, Any]:
    """Return the switches inside of ``detect_anomaly``: an observer searches the results of all ops."""
    running: list[Op] = []  # ops whose backward is running; unless it is recorded, only its results are checked

    def search(op: Op, phase: str, arrays: Sequence[Array]) -> Callable[[Any], None] | None:
        if phase == "backward":
            running.append(op)
            return check_gradients
        if running and not state.grad_enabled:
            return None
        _called_from[op] = line = _line_of_user()
        return lambda result: None if result is None else _check_finite(op.name, result, "the result", line)

    def check_gradients(gradients: Any) -> None:
        op = running.pop()
        line = _called_from.get(op, "a line that was not under detect_anomaly()")
        for i, gradient in enumerate(gradients or ()):
            if gradient is not None and op.needs(i):
                _check_finite(f"backward of {op.name}", gradient, f"the gradient with respect to input {i}", line)

    return {"anomaly": True, "observers": (*state.observers, search)}


def _check_finite(op: str, array: Array, what: str, line: str) -> None:
    xp = array_module(array)
    finite = xp.isfinite(array)
    if not finite.all():
        index = tuple(map(int, xp.argwhere(~finite)[0]))
        kind = "a NaN" if xp.isnan(array[index]) else "an infinity"
        raise AnomalyError(f"{op}: {what} ({sizes(array.shape)}) holds {kind} at index {index}, called at {line}.")


def _line_of_user() -> str:
    """Return ``file:line`` of the innermost caller that is not part of minires."""
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_code.co_filename.startswith(INSIDE):
        frame = frame.f_back
    return f"{frame.f_code.co_filename}:{frame.f_lineno}"
