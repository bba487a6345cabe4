"""Compile kernels with Numba, once for each machine; the results are kept on disk."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from numba import njit

_OPTIONS: dict[str, Any] = {
    "nogil": True,
    # Kernels do not allocate memory, so they do not need Numba's reference counts, which cost time.
    "_nrt": False,
    # A product and a sum may become one multiply-add. Nothing else may be rewritten: (0.001 * g) * g is finite where
    # 0.001 * (g * g) is not, and 1 / x may underflow where m / x does not.
    "fastmath": {"contract"},
    "error_model": "numpy",
    "boundscheck": False,
}
_SOURCES = hashlib.sha256(
    b"".join(path.read_bytes() for path in sorted(Path(__file__).parent.glob("*.py")))
).hexdigest()


def inlined(function: Callable[..., Any]) -> Any:
    """Compile a function that kernels use. It is inlined, as a call would take longer than the function itself."""
    return njit(forceinline=True, **_OPTIONS)(function)


def kernel(function: Callable[..., Any]) -> Any:
    """Compile at the first call; later processes load the result. Kernels release the GIL and do not check bounds."""
    compiled = njit(cache=True, **_OPTIONS)(function)
    # Numba would only check the date of the function's own file, but the function also uses code from other files.
    cache_file: Any = getattr(getattr(compiled, "_cache", None), "_cache_file", None)
    if hasattr(cache_file, "_source_stamp"):
        cache_file._source_stamp = _SOURCES
        cache_file._load_index = _empty_if_unreadable(cache_file._load_index)
    return compiled


def _empty_if_unreadable(load_index: Callable[[], Any]) -> Callable[[], Any]:
    """Make ``load_index`` return an empty index if the index on disk cannot be read.

    A file from another version may name classes that no longer exist, and pickle can then raise almost any exception.
    """

    def load() -> Any:
        try:
            return load_index()
        except Exception:
            return {}

    return load
