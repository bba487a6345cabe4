"""The search for the first NaN or infinity, and for arrays that were changed behind the tape's back."""

from __future__ import annotations

import os
import sys
from contextlib import AbstractContextManager
from typing import Any

from ..errors import AnomalyError, sizes
from .backend import Array, array_module
from .state import switched


def detect_anomaly() -> AbstractContextManager[Any]:
    """Stop at the first NaN or infinity, forward or backward, with the op and the line that called it.

    It also notices when an array that backward needs was written to directly (``x.data[0] = 1``), which no version
    counter can see. Every result is read once more: use it to search, not to train.

    Examples
    --------
    >>> import minires as mr
    >>> with mr.detect_anomaly():
    ...     mr.ops.exp(mr.tensor([1.0, float("inf")]))
    Traceback (most recent call last):
        ...
    minires.errors.AnomalyError: exp: the result (2) holds an infinity at index (1,), called at <...>:2.
    """
    return switched("anomaly", True)


def check_finite(op: str, array: Array, what: str, called_from: str) -> None:
    """Raise AnomalyError if ``array`` holds a NaN or an infinity."""
    xp = array_module(array)
    finite = xp.isfinite(array)
    if not finite.all():
        index = tuple(map(int, xp.argwhere(~finite)[0]))
        kind = "a NaN" if xp.isnan(array[index]) else "an infinity"
        raise AnomalyError(
            f"{op}: {what} ({sizes(array.shape)}) holds {kind} at index {index}, "
            f"called at {called_from or 'a line that was not under detect_anomaly()'}."
        )


def fingerprint(array: Array) -> int:
    """A number that changes when the array does."""
    return hash(array.tobytes())


def line_of_user() -> str:
    """``file:line`` of the innermost caller that is not part of minires."""
    package = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_code.co_filename.startswith(package):
        frame = frame.f_back
    return f"{frame.f_code.co_filename}:{frame.f_lineno}"
