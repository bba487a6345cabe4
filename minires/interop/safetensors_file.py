"""Named arrays on disk in the safetensors format: a JSON header and the raw arrays, which cannot contain code.

The format (https://github.com/huggingface/safetensors, "Format")::

    8 bytes          N, the length of the header
    N bytes          JSON: {"conv1.weight": {"dtype": "F32", "shape": [16, 3, 3, 3], "data_offsets": [0, 1728]}, ...}
    the rest         the arrays, one after the other, without gaps

The package ``safetensors`` writes the files, and checks every shape, dtype and offset of a header against the size of
the file before an array is made. In addition, this module lowers the package's limit on headers from 100 MB, refuses
names that occur twice, and reads arrays one at a time, even bfloat16, which the package does not convert for NumPy.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np

from ..core.backend import Array
from ..errors import ArgumentError, DataError, DTypeError
from .files import PathLike, brief, foreign, opened, write_atomically

LARGEST_HEADER = 3 << 20  # bytes (as Python objects, up to 25 times as many); ResNet-1202 with Adam's state has 1.3 MB
MOST_AXES = 32  # NumPy 1's limit
DTYPES = {"BOOL": "?", "U8": "u1", "I8": "i1", "U16": "<u2", "I16": "<i2", "U32": "<u4", "I32": "<i4",
          "U64": "<u8", "I64": "<i8", "F16": "<f2", "BF16": "<f4", "F32": "<f4", "F64": "<f8"}  # fmt: skip
STORED = {"BF16": "<u2", "BOOL": "u1"}  # how to read the dtypes that have to be converted afterwards


@dataclass(frozen=True)
class StoredArray:
    """An array in an open file: its dtype and shape as a NumPy array, and ``read()``, which reads it."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    read: Callable[[], Array]


def save(path: PathLike, state_dict: Mapping[str, Any], metadata: Mapping[str, str] | None = None) -> None:
    """Write named arrays to ``path`` atomically: after a crash, the file has either its new or its old content.

    Parameters
    ----------
    path : str or path
        Conventionally ``.safetensors``.
    state_dict : mapping of str to array
        Maps names to arrays, like the result of ``Module.state_dict()``.
    metadata : mapping of str to str, optional
        Notes to store in the header; :func:`load_metadata` reads them.

    Raises
    ------
    DTypeError
        If a name is not a string, or a value is not an array of numbers.
    ArgumentError
        If a name is empty or ``"__metadata__"``, which the format reserves, or a note is not a string.
    DataError
        If the file cannot be written, or its header would be larger than :func:`load` accepts.
    """
    from safetensors.numpy import save as encode

    if not isinstance(state_dict, Mapping):
        raise ArgumentError(
            f"save: the state is {type(state_dict).__name__}; it must be a dict of arrays, such as model.state_dict()."
        )
    arrays = {}
    for name, value in state_dict.items():
        if not isinstance(name, str):
            raise DTypeError(f"save: the name {name!r} is {type(name).__name__}; names must be strings.")
        if name in ("", "__metadata__") or not _encodable(name):
            raise ArgumentError(f"save: an array cannot have the name {brief(name)!r} in this format; choose another.")
        try:
            array = np.asarray(value.numpy() if hasattr(value, "numpy") else value)
        except (TypeError, ValueError, RuntimeError) as error:  # such as bfloat16 of PyTorch, or ragged lists
            raise DTypeError(f"save: entry {name!r} is not an array: {error}") from error
        if array.dtype.newbyteorder("<") not in map(np.dtype, DTYPES.values()):
            raise DTypeError(
                f"save: entry {name!r} is {array.dtype}; a state dict maps names to arrays of numbers: floats up to "
                "float64, integers or booleans."
            )
        native = array.astype(array.dtype.newbyteorder("="), copy=False)
        arrays[name] = np.ascontiguousarray(native).reshape(array.shape)
    notes = dict(metadata or {})
    for note in (*notes, *notes.values()):
        if not isinstance(note, str) or not _encodable(note):
            raise ArgumentError(f"save: metadata holds {note!r}; names and notes must be strings.")
    content = encode(arrays, metadata=notes or None)
    if (length := int.from_bytes(content[:8], "little")) > LARGEST_HEADER:
        raise DataError(f"save: the names and notes take {length} bytes; load reads no more than {LARGEST_HEADER}.")
    write_atomically(path, content)


def _encodable(text: str) -> bool:
    """Whether text can be stored: half of a surrogate pair cannot."""
    return text.encode(errors="replace").decode() == text


def load(path: PathLike) -> dict[str, Array]:
    """Load the named arrays in a safetensors file, written by :func:`save` or another program.

    bfloat16, which NumPy lacks, becomes float32 with the same values.

    Raises
    ------
    DataError
        If the file is missing, damaged or of another format, or holds numbers that NumPy lacks (float8).
    """
    with opened("load", path, "safetensors") as file:
        arrays, _ = read_header(file)
        return {name: array.read() for name, array in arrays.items()}


def load_metadata(path: PathLike) -> dict[str, str]:
    """Load the notes in the header of a safetensors file. Raises DataError if it cannot be read."""
    with opened("load_metadata", path, "safetensors") as file:
        return read_header(file)[1]


def read_header(file: BinaryIO) -> tuple[dict[str, StoredArray], dict[str, str]]:
    """Return the arrays in a safetensors file, keyed by name and not read yet, and the notes in its header.

    Raises
    ------
    ValueError
        If the file is not a valid safetensors file. The message gives the reason.
    """
    from safetensors import SafetensorError, safe_open

    start = file.read(1000)
    length = int.from_bytes(start[:8], "little")
    if length > LARGEST_HEADER or not start:
        if reason := foreign(start):
            raise ValueError(reason)
        if start.startswith(b"PK\3\4"):
            raise ValueError("it is a zip file; mr.interop.load_weights(model, path) reads those of np.savez")
        raise ValueError(f"its header is {length} bytes long, more than {LARGEST_HEADER}")
    try:
        with safe_open(os.fspath(file.name), framework="numpy"):
            pass  # opening checks the whole header and reads no array
    except SafetensorError as error:
        reason = foreign(start) or brief(str(error).removeprefix("Error while deserializing header: "))
        raise ValueError(reason) from error
    file.seek(8)
    header = json.loads(file.read(length), object_pairs_hook=_unique)
    notes = header.pop("__metadata__", None) or {}
    return {name: _stored(file, 8 + length, name, description) for name, description in header.items()}, notes


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        raise ValueError("a name occurs twice in its header")
    return content


def _stored(file: BinaryIO, start: int, name: str, description: dict[str, Any]) -> StoredArray:
    """Return an array whose description in the header has passed the checks of the package."""
    if description.keys() != {"dtype", "shape", "data_offsets"}:
        raise ValueError(f"entry '{brief(name)}' has the wrong fields: {brief(', '.join(description))}")
    dtype, shape, offsets = description["dtype"], description["shape"], description["data_offsets"]
    if dtype not in DTYPES:
        raise ValueError(f"entry '{brief(name)}' is of type '{brief(dtype)}', which NumPy does not have")
    if len(shape) > MOST_AXES:
        raise ValueError(f"entry '{brief(name)}' has {len(shape)} axes, more than {MOST_AXES}")

    def read() -> Array:
        file.seek(start + offsets[0])
        flat = np.fromfile(file, STORED.get(dtype, DTYPES[dtype]), math.prod(shape))
        if dtype == "BF16":  # the upper half of a float32
            flat = (flat.astype("<u4") << 16).view("<f4")
        if dtype == "BOOL":
            flat = flat != 0
        return flat.astype(flat.dtype.newbyteorder("="), copy=False).reshape(shape)

    return StoredArray(np.dtype(DTYPES[dtype]).newbyteorder("="), tuple(shape), read)
