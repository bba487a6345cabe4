r"""Reading npz: a zip file of NumPy arrays, which may be damaged or made to do harm.

``numpy.load`` trusts the file: an array is made as large as its header says, and a member of a kilobyte may unpack to a
gigabyte. Here the headers come first, and an array is read only when somebody who knows what it should be asks for it.

An array is a member ``name.npy`` of the zip file: 8 bytes (``\x93NUMPY`` and the version, 1.0), 2 bytes with the
length of the header, the header (a Python dict as text), and the numbers (numpy.lib.format, "Format Version 1.0").
"""

from __future__ import annotations

import math
import re
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any, BinaryIO
from zipfile import ZIP_DEFLATED, ZIP_STORED, BadZipFile, ZipFile, ZipInfo

import numpy as np

from .safetensors_reader import LARGEST_HEADER, MOST_AXES, Array, Entry, brief

MAGIC = b"\x93NUMPY\x01\x00"
HEADER = re.compile(
    r"\{ *'descr': *'([^']+)', *'fortran_order': *(True|False), *'shape': *\(([0-9, ]*)\) *,? *\} *\n?", re.ASCII
)
NUMBERS = re.compile(r"[<>|=][fiub][0-9]{1,2}", re.ASCII)
END = struct.Struct("<4s4HIIH")  # the last record of a zip file; the sixth number is how long the directory is
BLOCK = 1 << 20  # bytes that are unpacked at a time


def read_directory(file: BinaryIO) -> dict[str, Entry]:
    """The arrays in an npz file by name, none of them read yet.

    Raises
    ------
    ValueError
        With the reason, if it is no zip file, or a member is no array of numbers.
    """
    archive = open_zip(file)
    entries: dict[str, Entry] = {}
    for member in archive.infolist():
        name = member.filename.removesuffix(".npy")
        if name in entries:
            raise ValueError(f"member '{brief(name)}' occurs twice")
        entries[name] = _entry(archive, member)
    return entries


def open_zip(file: BinaryIO) -> ZipFile:
    """The zip file, if its directory, which Python reads at once, is short. Raises ValueError with the reason."""
    file.seek(max(file.seek(0, 2) - 42, 0))
    tail = file.read()
    if tail[-22:-18] != b"PK\5\6" or tail[-2:] != b"\0\0":  # the last record, without a comment behind it
        raise ValueError("it is no zip file, or its end is missing")
    if tail[:4] == b"PK\6\7":  # a longer record overrules the last one
        raise ValueError("its directory is of the kind for files beyond 4 GB; write it as safetensors")
    if END.unpack(tail[-22:])[5] > LARGEST_HEADER:
        raise ValueError(f"its directory is longer than {LARGEST_HEADER} bytes")
    try:
        return ZipFile(file)
    except (BadZipFile, NotImplementedError, OverflowError, struct.error) as error:
        raise ValueError(f"its directory is damaged ({error})") from error


def _entry(archive: ZipFile, member: ZipInfo) -> Entry:
    name = f"'{brief(member.filename)}'"
    if member.flag_bits & 1:
        raise ValueError(f"member {name} is encrypted")
    if member.compress_type not in (ZIP_STORED, ZIP_DEFLATED):
        raise ValueError(f"member {name} is compressed in a way that NumPy does not write")
    with _unpacking(archive, member) as stream:
        start, dtype, order, shape = _read_header(name, stream)
    size = math.prod(shape) * dtype.itemsize
    if start + size != member.file_size:
        raise ValueError(f"member {name} needs {size} bytes for its shape, but {member.file_size - start} follow")

    def read() -> Array:
        flat = np.empty(math.prod(shape), dtype)
        place = flat.view(np.uint8).data
        with _unpacking(archive, member) as stream:
            stream.read(start)
            while place and (block := stream.read(min(BLOCK, len(place)))):
                place[: len(block)] = block
                place = place[len(block) :]
            stream.read(1)  # there is none, but at the end the checksum is compared
        if place:
            raise ValueError(f"member {name} ends too soon")
        return flat.reshape(shape, order=order).astype(dtype.newbyteorder("="), copy=False)

    return Entry(dtype.newbyteorder("="), shape, read)


@contextmanager
def _unpacking(archive: ZipFile, member: ZipInfo) -> Iterator[IO[bytes]]:
    try:
        with archive.open(member) as stream:
            yield stream
    except (BadZipFile, zlib.error, EOFError, RuntimeError, OverflowError, struct.error) as error:
        raise ValueError(
            f"member '{brief(member.filename)}' is damaged ({str(error) or 'it ends too soon'})"
        ) from error


def _read_header(name: str, stream: IO[bytes]) -> tuple[int, np.dtype[Any], Any, tuple[int, ...]]:
    """Where the numbers begin, their type, their order ("C" or "F") and the array's shape."""
    start = stream.read(len(MAGIC) + 2)
    if start[:-2] != MAGIC:
        raise ValueError(f"member {name} is no array")
    text = stream.read(int.from_bytes(start[-2:], "little"))  # at most 65,535 bytes
    match = HEADER.fullmatch(text.decode("latin-1"))
    if match is None:
        raise ValueError(f"member {name} has no header of an array")
    kind, fortran, sizes = match.groups()
    if "O" in kind:
        raise ValueError(f"member {name} holds Python objects, which only a pickle can; numbers are needed")
    if not NUMBERS.fullmatch(kind):
        raise ValueError(f"member {name} is of type '{brief(kind)}'; numbers are needed")
    try:
        dtype = np.dtype(kind)
    except TypeError as error:
        raise ValueError(f"member {name} is of type {kind!r}, and NumPy has no such numbers") from error
    shape = [size.strip() for size in sizes.removesuffix(",").split(",")] if sizes.strip() else []
    if len(shape) > MOST_AXES or not all(size.isdecimal() and len(size) < 19 for size in shape):
        raise ValueError(f"member {name} has a shape that no array can have")
    return len(start) + len(text), dtype, "F" if fortran == "True" else "C", tuple(map(int, shape))
