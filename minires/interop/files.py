"""Opening files that may be missing or damaged, and writing files that survive a crash."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from ..errors import DataError, MiniresError

PathLike = str | os.PathLike[str]

TEMPORARY = ".minires-tmp"  # suffix of files that are being written


def brief(text: str) -> str:
    r"""Shorten text from a file for an error message, and escape its line breaks and control characters.

    >>> print(brief("conv1.weight"), brief("a\n" + 100 * "b"))
    conv1.weight a\nbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb...
    """
    return repr(text if len(text) <= 60 else text[:59] + "...")[1:-1]


def stand_in(start: bytes) -> str | None:
    """Describe what was downloaded in place of a file, judging by its first bytes; None if it is unknown."""
    text = start.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith(b"version https://git-lfs"):
        return "it is a Git LFS pointer, not the file itself; run `git lfs pull` in its folder"
    if text.startswith((b"<!doctype", b"<html", b"<?xml", b"<!--")):
        return "it is a web page; use the link that downloads the file itself"
    return None


def start_of(path: PathLike) -> bytes:
    """Return the first bytes of a file, or nothing if it cannot be read."""
    with suppress(OSError):
        if os.path.isfile(path):
            with open(path, "rb") as file:
                return file.read(512)
    return b""


def foreign(start: bytes) -> str | None:
    """Describe a file that holds no arrays, judging by its first bytes, and say what to do; None if it is unknown.

    >>> foreign(b"version https://git-lfs.github.com/spec/v1")
    'it is a Git LFS pointer, not the file itself; run `git lfs pull` in its folder'
    """
    if text := stand_in(start):
        return text
    for magic, what in (
        (b"\x1f\x8b", "compressed with gzip"),
        (b"BZh", "compressed with bzip2"),
        (b"7z\xbc", "a 7z archive"),
    ):
        if start.startswith(magic):
            return f"it is {what}; unpack it first"
    is_zip = start.startswith(b"PK\3\4")
    first_member = start[30 : 30 + int.from_bytes(start[26:28], "little")] if is_zip else b""
    is_bare = start[:1] == b"\x80" and start[1:2] in b"\2\3\4\5" and any(start[5:8])  # not a length, as in safetensors
    if is_bare or first_member.endswith(b".pkl"):
        return (
            "it is a pickle, which can run code when it is read; convert it where PyTorch is: "
            "safetensors.torch.save_file(torch.load(path, weights_only=True), 'weights.safetensors')"
        )
    if start.startswith(b"\x89HDF"):
        return "it is an HDF5 file, as Keras writes; save the arrays with np.savez instead"
    if not start:
        return "it is empty"
    if len(start) >= 8 and start[:8].isascii() and start[:8].decode().isprintable():
        return f"it begins with the text '{brief(start[:30].decode('latin-1'))}'"
    return None


@contextmanager
def opened(function: str, path: PathLike, kind: str) -> Iterator[BinaryIO]:
    """Open ``path`` for reading; an OSError or ValueError raised inside the ``with`` becomes a DataError.

    Parameters
    ----------
    function : str
        The name of the calling function, for the message.
    path : str or path
    kind : str
        The expected format, e.g. "safetensors", for the message.

    Raises
    ------
    DataError
        If the file cannot be read, with a message such as "load: weights.safetensors cannot be read as safetensors:
        there is no such file."
    """
    try:
        if not os.path.exists(path):
            raise ValueError("there is no such file")
        if not os.path.isfile(path):
            raise ValueError("it is not a file")  # reading a pipe would block
        with open(path, "rb") as file:
            yield file
    except MiniresError:
        raise
    except (OSError, ValueError, OverflowError, RecursionError) as error:
        reason = stand_in(start_of(path)) or getattr(error, "strerror", None) or str(error).rstrip(".")
        raise DataError(f"{function}: {os.fspath(path)} cannot be read as {kind}: {reason}.") from error


def write_atomically(path: PathLike, content: bytes) -> None:
    """Write a temporary file next to ``path``, sync it, and rename it, so a crash leaves the old or the new file.

    A process that is killed may leave its temporary file; :func:`remove_temporary_files` removes it.

    Raises
    ------
    DataError
        If the file cannot be written. The old file, if any, is unchanged, and no temporary file is left.
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
        if temporary:  # also after Ctrl-C; after the rename there is nothing to remove
            with suppress(OSError):
                Path(temporary).unlink()


def write_json(path: PathLike, content: Any) -> None:
    """Write a dict as indented JSON, with :func:`write_atomically`. Raises DataError if it cannot be written."""
    write_atomically(path, (json.dumps(content, indent=2) + "\n").encode())


def remove_temporary_files(folder: PathLike) -> None:
    """Remove the files that :func:`write_atomically` left in ``folder`` when a process was killed, if possible."""
    with suppress(OSError):
        for file in list(Path(folder).glob(f".*{TEMPORARY}")):
            file.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    """Make a rename survive a power failure. Windows and some network disks do not support this."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
