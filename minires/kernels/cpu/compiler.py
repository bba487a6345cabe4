"""How kernels are compiled: once for each machine, then kept on disk."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from numba import njit

_OPTIONS: dict[str, Any] = {
    "nogil": True,
    # A kernel is given its memory and allocates none, so nothing needs Numba's reference counts, which cost time.
    "_nrt": False,
    # The compiler may reorder sums, but NaN and infinity mean what they mean.
    "fastmath": {"contract", "reassoc", "arcp", "nsz"},
    "error_model": "numpy",
    "boundscheck": False,
}
_SOURCES = hashlib.sha256(
    b"".join(path.read_bytes() for path in sorted(Path(__file__).parent.glob("*.py")))
).hexdigest()


def inlined(function: Callable[..., Any]) -> Any:
    """Compile a part of kernels, which is copied into each of them: a call would take longer than the part itself."""
    return njit(forceinline=True, **_OPTIONS)(function)


def kernel(function: Callable[..., Any]) -> Any:
    """Compile at the first call, without bounds checks and without Python's lock; later processes load the result."""
    compiled = njit(cache=True, **_OPTIONS)(function)
    # Numba would only look at the date of the function's own file, but the function uses other files, too.
    cache_file: Any = getattr(getattr(compiled, "_cache", None), "_cache_file", None)
    if hasattr(cache_file, "_source_stamp"):
        cache_file._source_stamp = _SOURCES
        cache_file._load_index = _empty_if_unreadable(cache_file._load_index)
    return compiled


def _empty_if_unreadable(load_index: Callable[[], Any]) -> Callable[[], Any]:
    """The index on disk, or an empty one: a file of another version may name classes that no longer exist, and pickle
    then raises almost anything.
    """

    def load() -> Any:
        try:
            return load_index()
        except Exception:
            return {}

    return load
