"""Reading safetensors: files that come from elsewhere, and may be damaged or made to do harm.

The format (https://github.com/huggingface/safetensors, "Format") is short enough to be read here, byte by byte::

    8 bytes          N, the length of the header
    N bytes          JSON: {"conv1.weight": {"dtype": "F32", "shape": [16, 3, 3, 3], "data_offsets": [0, 1728]}, ...}
    all the rest     the arrays, one behind the other, without gaps

The library that defined it also checks much, but takes headers of 100 MB and names that occur twice, and has no answer
for types that NumPy lacks. Here the header is short, and everything in it is held against the file's size before any
array is made: no header can ask for more memory than the file has bytes (twice as many for bfloat16).
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np

from ..errors import DataError, MiniresError

PathLike = str | os.PathLike[str]
Array = np.ndarray[Any, Any]

LARGEST_HEADER = 3 << 20  # bytes; as Python objects up to 25 times as many. ResNet-1202 and Adam's state take 1.3 MB
MOST_AXES = 32  # of an array, in NumPy 1
DTYPES = {"BOOL": "?", "U8": "u1", "I8": "i1", "U16": "<u2", "I16": "<i2", "U32": "<u4", "I32": "<i4",
          "U64": "<u8", "I64": "<i8", "F16": "<f2", "BF16": "<f4", "F32": "<f4", "F64": "<f8"}  # fmt: skip


@dataclass(frozen=True)
class Entry:
    """An array in a file: what it will be, and ``read()``, which makes it while the file is open."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    read: Callable[[], Array]


def brief(name: str) -> str:
    r"""A name from a file as a sentence can show it: on one line, and not too long.

    >>> print(brief("conv1.weight"), brief("a\n" + 100 * "b"))
    conv1.weight a\nbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb...
    """
    return repr(name if len(name) <= 60 else name[:59] + "...")[1:-1]


@contextmanager
def opened(function: str, path: PathLike, kind: str) -> Iterator[BinaryIO]:
    """``path``, open for reading as ``kind``; whatever goes wrong with it is a DataError of one sentence."""
    try:
        if not os.path.exists(path):
            raise ValueError("there is no such file")
        if not os.path.isfile(path):
            raise ValueError("it is no file")  # a pipe would be waited for
        with open(path, "rb") as file:
            yield file
    except MiniresError:
        raise
    except (OSError, ValueError, RecursionError) as error:
        reason = getattr(error, "strerror", None) or str(error).rstrip(".")
        raise DataError(f"{function}: {os.fspath(path)} cannot be read as {kind}: {reason}.") from error


def read_header(file: BinaryIO) -> tuple[dict[str, Entry], dict[str, str]]:
    """The arrays in a safetensors file by name, none of them read yet, and the notes in its header.

    Raises
    ------
    ValueError
        With the reason, if the file breaks a rule of the format.
    """
    size = os.fstat(file.fileno()).st_size
    length = int.from_bytes(file.read(8), "little")
    start = 8 + length  # of the arrays
    if size < 8 or start > size:
        raise ValueError(f"it has {size} bytes, too few for the header that its first 8 bytes promise")
    if length > LARGEST_HEADER:
        raise ValueError(f"its header is {length} bytes long, more than {LARGEST_HEADER}")
    header = _parse(file.read(length))
    notes = header.pop("__metadata__", {})
    if not isinstance(notes, dict) or not all(isinstance(note, str) for note in notes.values()):
        raise ValueError("its __metadata__ is no map of strings")

    entries, spans = {}, []
    for name, description in header.items():
        kind, shape, begin, end = _checked(name, description)
        entries[name] = _entry(file, name, kind, shape, start + begin)
        spans.append((begin, end, name))
    covered = 0
    for begin, end, name in sorted(spans):
        if begin != covered:
            raise ValueError(f"entry '{brief(name)}' begins at byte {begin}, but those before it end at {covered}")
        covered = end
    if start + covered != size:
        raise ValueError(f"its arrays take {covered} bytes, but {size - start} are there")
    return entries, notes


def _parse(header: bytes) -> dict[str, Any]:
    try:
        content = json.loads(header.decode("utf-8"), object_pairs_hook=_unique)
    except json.JSONDecodeError as error:
        raise ValueError("its header is no JSON") from error
    except UnicodeDecodeError as error:
        raise ValueError("its header is no UTF-8") from error
    except RecursionError as error:
        raise ValueError("its header is nested too deeply") from error
    if not isinstance(content, dict):
        raise ValueError("its header is no JSON object")
    return content


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        raise ValueError("a name occurs twice in its header")
    return content


def _checked(name: str, description: Any) -> tuple[str, tuple[int, ...], int, int]:
    """The type, the shape, and where the array begins and ends; it takes as many bytes as its shape says."""
    match description:
        case {"dtype": str(kind), "shape": [*shape], "data_offsets": [begin, end]} if len(description) == 3:
            pass
        case _:
            raise ValueError(f"entry '{brief(name)}' is not described by dtype, shape and two data_offsets")
    if kind not in DTYPES:
        raise ValueError(f"entry '{brief(name)}' is of type '{brief(kind)}', and NumPy has no such numbers")
    if len(shape) > MOST_AXES:
        raise ValueError(f"entry '{brief(name)}' has {len(shape)} axes")
    if not all(type(number) is int and 0 <= number < 2**63 for number in (*shape, begin, end)):
        raise ValueError(f"entry '{brief(name)}' has a size or an offset that is no whole number from 0 up")
    needed = math.prod(shape) * _stored(kind).itemsize
    if end - begin != needed:
        raise ValueError(
            f"entry '{brief(name)}' needs {needed} bytes for its shape, but its offsets give it {end - begin}"
        )
    return kind, tuple(shape), begin, end


def _stored(kind: str) -> np.dtype[Any]:
    """How the numbers lie in the file; NumPy has no bfloat16."""
    return np.dtype({"BF16": "<u2", "BOOL": "u1"}.get(kind, DTYPES[kind]))


def _entry(file: BinaryIO, name: str, kind: str, shape: tuple[int, ...], begin: int) -> Entry:
    def read() -> Array:
        flat = np.empty(math.prod(shape), _stored(kind))
        file.seek(begin)
        if file.readinto(flat.view(np.uint8)) < flat.nbytes:  # type: ignore[attr-defined]
            raise ValueError(f"it ends within entry '{brief(name)}'")
        if kind == "BF16":  # the upper half of a float32
            flat = (flat.astype("<u4") << 16).view("<f4")
        if kind == "BOOL":
            flat = flat != 0
        return flat.astype(flat.dtype.newbyteorder("="), copy=False).reshape(shape)

    return Entry(np.dtype(DTYPES[kind]).newbyteorder("="), shape, read)
