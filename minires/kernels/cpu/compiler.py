"""How kernels are compiled: once for each machine, then kept on disk."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from numba import njit

# What the compiler may assume: sums may be reordered, but NaN and infinity mean what they mean.
FASTMATH = {"contract", "reassoc", "arcp", "nsz"}
# Without reference counts, which each use of an array would change: a kernel is given its memory, and allocates none.
OPTIONS: dict[str, Any] = {
    "nogil": True,
    "_nrt": False,
    "fastmath": FASTMATH,
    "error_model": "numpy",
    "boundscheck": False,
}
_SOURCES = hashlib.sha256(
    b"".join(path.read_bytes() for path in sorted(Path(__file__).parent.glob("*.py")))
).hexdigest()


def inlined(function: Callable[..., Any]) -> Any:
    """A part of kernels, which is copied into each of them: a call would take longer than what it does."""
    return njit(nogil=True, _nrt=False, fastmath=FASTMATH, error_model="numpy", boundscheck=False, forceinline=True)(
        function
    )


def kernel(function: Callable[..., Any]) -> Any:
    """Compile at the first call, without bounds checks, without Python's lock; later processes load the result."""
    compiled = njit(cache=True, nogil=True, _nrt=False, fastmath=FASTMATH, error_model="numpy", boundscheck=False)(
        function
    )
    # Numba compares the date of the file that holds the function; what it uses of the other files counts as well.
    cache_file: Any = getattr(getattr(compiled, "_cache", None), "_cache_file", None)
    if hasattr(cache_file, "_source_stamp"):
        cache_file._source_stamp = _SOURCES
        cache_file._load_index = _empty_if_unreadable(cache_file._load_index)
    return compiled


def _empty_if_unreadable(load_index: Callable[[], Any]) -> Callable[[], Any]:
    """What another version left on disk may name classes that are gone, and pickle raises almost anything."""

    def load() -> Any:
        try:
            return load_index()
        except Exception:
            return {}

    return load
