r"""Reading npz files, which are zip files of NumPy arrays and may be damaged or malicious.

``numpy.load`` trusts the file: it allocates an array as large as its header says, unpacks a gigabyte from a member of a
megabyte, and passes the header to ``ast.literal_eval``, which can crash the interpreter. Here, headers are compared
with a pattern and with the sizes in the zip file's directory, and an array is read only on request.

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

from ..core.backend import Array
from .files import brief
from .safetensors_file import LARGEST_HEADER, MOST_AXES, StoredArray

MAGIC = b"\x93NUMPY\x01\x00"
LONGEST_HEADER = 10_000  # bytes of an array's header, as in NumPy
HEADER = re.compile(  # the header of an array of numbers; the groups are its dtype and its shape, as `3, 4` or `5,`
    r"\{ *'descr': *'([<>|=][fiub][0-9]{1,2})', *'fortran_order': *(?:True|False), "
    r"*'shape': *\((|[0-9]{1,18},|(?:[0-9]{1,18}, *)+[0-9]{1,18}) *\) *,? *\} *\n?",
    re.ASCII,
)


def read_directory(file: BinaryIO) -> dict[str, StoredArray]:
    """Return a dict that maps the names in an npz file to the arrays, which are not read yet.

    Raises
    ------
    ValueError
        If it is not a zip file, or a member is not an array of numbers. The message gives the reason.
    """
    archive = _open_zip(file)
    arrays: dict[str, StoredArray] = {}
    for member in archive.infolist():
        name = member.filename.removesuffix(".npy")
        if name in arrays:
            raise ValueError(f"member '{brief(name)}' occurs twice")
        arrays[name] = _stored(archive, member)
    return arrays


def _open_zip(file: BinaryIO) -> ZipFile:
    """Open the zip file. Raises ValueError if it is damaged, or its directory, which is read at once, is too long."""
    file.seek(max(file.seek(0, 2) - 42, 0))
    tail = file.read()
    if tail[-22:-18] != b"PK\5\6" or tail[-2:] != b"\0\0":  # the last record, without a comment after it
        raise ValueError("it is not a zip file, or its end is missing")
    if tail[:4] == b"PK\6\7":  # a zip64 record, which overrides the last one
        raise ValueError("its directory is zip64, which is for files beyond 4 GB; write it as safetensors")
    if int.from_bytes(tail[-10:-6], "little") > LARGEST_HEADER:
        raise ValueError(f"its directory is longer than {LARGEST_HEADER} bytes")
    try:
        return ZipFile(file)
    except (BadZipFile, NotImplementedError, OverflowError, struct.error) as error:
        raise ValueError(f"its directory is damaged ({error})") from error


def _stored(archive: ZipFile, member: ZipInfo) -> StoredArray:
    name = f"'{brief(member.filename)}'"
    if member.compress_type not in (ZIP_STORED, ZIP_DEFLATED):
        raise ValueError(f"member {name} is compressed in a way that NumPy does not write")
    with _unpacking(archive, member) as stream:
        dtype, shape = _read_header(name, stream)
        needed, found = math.prod(shape) * dtype.itemsize, member.file_size - stream.tell()
    if needed != found:
        raise ValueError(f"member {name} needs {needed} bytes for its shape, but {found} follow")

    def read() -> Array:
        with _unpacking(archive, member) as stream:
            array = np.lib.format.read_array(stream, allow_pickle=False)
            stream.read(1)  # at the end of the member, the checksum is compared
        return array.astype(dtype, copy=False)

    return StoredArray(dtype, shape, read)


@contextmanager
def _unpacking(archive: ZipFile, member: ZipInfo) -> Iterator[IO[bytes]]:
    try:
        with archive.open(member) as stream:
            yield stream
    except (BadZipFile, zlib.error, EOFError, RuntimeError, OverflowError, struct.error) as error:
        reason = brief(str(error)) or "it ends too soon"
        raise ValueError(f"member '{brief(member.filename)}' cannot be unpacked ({reason})") from error


def _read_header(name: str, stream: IO[bytes]) -> tuple[np.dtype[Any], tuple[int, ...]]:
    """Return the dtype, in this machine's byte order, and the shape."""
    start = stream.read(len(MAGIC) + 2)
    if start[:-2] != MAGIC:
        raise ValueError(f"member {name} is not an array")
    text = stream.read(int.from_bytes(start[-2:], "little")).decode("latin-1")  # at most 65,535 bytes
    match = HEADER.fullmatch(text)
    if match is None or len(text) > LONGEST_HEADER:
        raise ValueError(f"member {name} does not have the header of an array of numbers, but {brief(text)}")
    kind, sizes = match.groups()
    shape = tuple(map(int, re.findall("[0-9]+", sizes)))
    try:
        dtype = np.dtype(kind)
    except TypeError as error:
        raise ValueError(f"member {name} is of type {kind!r}, which NumPy does not have") from error
    if len(shape) > MOST_AXES:
        raise ValueError(f"member {name} has {len(shape)} axes, more than {MOST_AXES}")
    return dtype.newbyteorder("="), shape
