"""State dicts on disk, as safetensors: a header of JSON and raw arrays, which cannot hold code."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import DataError, DTypeError

PathLike = str | os.PathLike[str]


def save(path: PathLike, state_dict: Mapping[str, Any], metadata: Mapping[str, str] | None = None) -> None:
    """Write named arrays to ``path``, so that it either holds all of them or is what it was before.

    Parameters
    ----------
    path : str or path
        Conventionally ``.safetensors``.
    state_dict : mapping of str to array
        As ``Module.state_dict()`` returns it.
    metadata : mapping of str to str, optional
        Notes for the header, see :func:`load_metadata`.

    Raises
    ------
    DTypeError
        If a name is no string or a value no array of numbers.
    DataError
        If the file cannot be written.
    """
    from safetensors.numpy import save as encode

    arrays = {}
    for name, value in state_dict.items():
        array = np.asarray(value.numpy() if hasattr(value, "numpy") else value)
        if not isinstance(name, str) or array.dtype.kind not in "fiub":
            raise DTypeError(f"save: entry {name!r} is {array.dtype}; a state dict maps names to arrays of numbers.")
        arrays[name] = np.ascontiguousarray(array).reshape(array.shape)
    write_atomically(path, encode(arrays, metadata=dict(metadata) if metadata else None))


def load(path: PathLike) -> dict[str, np.ndarray[Any, Any]]:
    """The named arrays that :func:`save`, or any other safetensors writer, left at ``path``.

    Raises
    ------
    DataError
        If there is no such file, or it is damaged or of another format.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        return load_file(path)
    except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
        raise _unreadable("load", path, error) from error


def load_metadata(path: PathLike) -> dict[str, str]:
    """The notes in the header of a safetensors file. Raises DataError if it cannot be read."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            return dict(file.metadata() or {})
    except (SafetensorError, OSError, ValueError) as error:
        raise _unreadable("load_metadata", path, error) from error


def write_atomically(path: PathLike, content: bytes) -> None:
    """Write to a temporary file beside ``path``, sync it, and rename it: a crash leaves the old file or the new one.

    Raises DataError if that fails, with nothing left behind.
    """
    target = Path(path)
    temporary = ""
    try:
        descriptor, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).chmod(0o644)
        Path(temporary).replace(target)
    except OSError as error:
        if temporary:
            Path(temporary).unlink(missing_ok=True)
        raise DataError(f"save: {target} cannot be written: {error.strerror or error}.") from error


def _unreadable(function: str, path: PathLike, error: Exception) -> DataError:
    reason = "there is no such file" if not Path(path).exists() else str(error).rstrip(".")
    return DataError(f"{function}: {os.fspath(path)} cannot be read as safetensors: {reason}.")
