"""The lock of a run folder: only one process at a time writes to it."""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ..errors import RunError
from ..interop.files import brief

LOCK = ".lock"
MOST = 1000  # bytes that are read from a lock file


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Create ``folder`` if needed, and keep other processes from writing to it inside the ``with`` block.

    The operating system releases the lock when the process ends, even if it is killed. It keeps out only
    those who ask for it: reading the folder is always possible. On file systems without locks, nothing is locked.

    Raises
    ------
    RunError
        If another process (or another thread of this one) holds the lock, or the folder cannot be written to.
    """
    path = folder / LOCK
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = _acquire(path)
    except OSError as error:
        reason = "it is a file" if folder.is_file() else error.strerror or error
        raise RunError(f"train: the folder {folder} cannot be written to: {reason}.") from error
    try:
        yield
    finally:
        with suppress(OSError):  # Windows does not remove files that are open
            path.unlink()
        os.close(descriptor)


def _acquire(path: Path) -> int:
    """Return the descriptor of the lock file, which holds a note about this process; closing it releases the lock."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            if not _lock(descriptor):
                raise RunError(
                    f"train: {_holder(descriptor)} is writing to {path.parent}; wait until it ends, or choose "
                    "another --out."
                )
            if _is_current(descriptor, path):
                note = {"pid": os.getpid(), "host": socket.gethostname(), "since": time.strftime("%Y-%m-%d %H:%M:%S")}
                os.ftruncate(descriptor, 0)
                os.write(descriptor, json.dumps(note).encode())
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)  # its holder has just removed the file; another process may already have made a new one


def _is_current(descriptor: int, path: Path) -> bool:
    """Return whether the open file is still the one at ``path``."""
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except FileNotFoundError:
        return False


def _lock(descriptor: int) -> bool:
    """Lock an open file, and return whether that was possible. Also returns True if the file system has no locks."""
    try:
        import fcntl
    except ImportError:  # Windows
        import msvcrt

        try:
            os.lseek(descriptor, MOST, os.SEEK_SET)  # a byte after the note, so that the note stays readable
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined, unused-ignore]
        except OSError:
            return False
        finally:
            os.lseek(descriptor, 0, os.SEEK_SET)
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a network disk without locks
        return True
    return True


def _holder(descriptor: int) -> str:
    """Describe the process that holds the lock, such as ``process 1234 on host since 2026-01-31 12:00:00``."""
    try:
        note = json.loads(os.read(descriptor, MOST))
        pid, host, since = (brief(str(note[name])) for name in ("pid", "host", "since"))
    except (OSError, ValueError, KeyError, TypeError):  # it is just being written, or was changed by hand
        return "another process"
    return f"process {pid} on {host} (since {since})"
