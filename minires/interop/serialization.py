"""State dicts on disk, as safetensors: a header of JSON and raw arrays, which cannot hold code."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import DataError, DTypeError
from .safetensors_reader import LARGEST_HEADER, opened, read_header
from .safetensors_reader import PathLike as PathLike

TEMPORARY = ".minires-tmp"  # the end of the names of files that are being written


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
        If the file cannot be written, or there are more names and notes than :func:`load` reads.
    """
    from safetensors.numpy import save as encode

    arrays = {}
    for name, value in state_dict.items():
        array = np.asarray(value.numpy() if hasattr(value, "numpy") else value)
        if not isinstance(name, str) or array.dtype.kind not in "fiub":
            raise DTypeError(f"save: entry {name!r} is {array.dtype}; a state dict maps names to arrays of numbers.")
        arrays[name] = np.ascontiguousarray(array).reshape(array.shape)
    content = encode(arrays, metadata=dict(metadata) if metadata else None)
    if (length := int.from_bytes(content[:8], "little")) > LARGEST_HEADER:
        raise DataError(f"save: the names and notes take {length} bytes; load reads no more than {LARGEST_HEADER}.")
    write_atomically(path, content)


def load(path: PathLike) -> dict[str, np.ndarray[Any, Any]]:
    """The named arrays that :func:`save`, or any other safetensors writer, left at ``path``.

    bfloat16, which NumPy lacks, becomes float32 of the same values.

    Raises
    ------
    DataError
        If there is no such file, it is damaged or of another format, or it holds numbers that NumPy lacks (float8).
        No more memory is asked for than the file has bytes.
    """
    with opened("load", path, "safetensors") as file:
        entries, _ = read_header(file)
        return {name: entry.read() for name, entry in entries.items()}


def load_metadata(path: PathLike) -> dict[str, str]:
    """The notes in the header of a safetensors file. Raises DataError if it cannot be read."""
    with opened("load_metadata", path, "safetensors") as file:
        return read_header(file)[1]


def write_atomically(path: PathLike, content: bytes) -> None:
    """Write to a temporary file beside ``path``, sync it, and rename it: a crash leaves the old file or the new one.

    Raises DataError if that fails, with nothing left behind. Only a process that is killed leaves its temporary file:
    see :func:`remove_temporary_files`.
    """
    target = Path(path)
    temporary = ""
    try:
        descriptor, temporary = tempfile.mkstemp(TEMPORARY, f".{target.name}.", target.parent)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).chmod(0o644)
        Path(temporary).replace(target)
        _sync_folder(target.parent)
    except OSError as error:
        raise DataError(f"save: {target} cannot be written: {error.strerror or error}.") from error
    finally:
        if temporary:  # also after Ctrl-C; once it is renamed, there is none
            with suppress(OSError):
                Path(temporary).unlink()


def remove_temporary_files(folder: PathLike) -> None:
    """Remove what :func:`write_atomically` left in ``folder`` when the process was killed, as far as possible."""
    with suppress(OSError):
        for file in list(Path(folder).glob(f".*{TEMPORARY}")):
            file.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    """Make a rename outlast a power cut, where the system can: Windows and some network disks cannot."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
