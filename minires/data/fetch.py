"""Downloading a published data set, and checking its files."""

from __future__ import annotations

import gzip
import hashlib
import http.client
import os
import queue
import shutil
import tarfile
import threading
import time
import urllib.error
import urllib.request
import zlib
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, cast

from ..errors import DataError, printable
from ..interop.files import PathLike, stand_in, start_of
from .places import Archive, PublishedFiles, find, places

PIECE = 1 << 18  # bytes to read at a time
TIMEOUT = 30.0  # seconds to wait for an answer, and for each piece
SLOWEST = 1000.0  # bytes per second, on average since the answer; a slower mirror is abandoned after TIMEOUT
LONGEST = 3 * 3600.0  # seconds for a whole data set
TRIES = 5  # attempts per mirror; an attempt that fails without a single byte is the last
LARGEST_MEMBER = 1 << 28  # bytes; the largest file of CIFAR has 155 million
LARGEST_TAR, LARGEST_TAR_HEADER = 1 << 30, 1 << 20  # bytes when unpacked

#: ``progress(file, done, size)`` is called after every piece of a download; ``done`` and ``size`` are in bytes.
Progress = Callable[[str, int, int], None]
#: ``say(text)`` is called before each request, with the file and the address.
Say = Callable[[str], None]


def fetch(
    published: PublishedFiles, root: PathLike | None = None, progress: Progress | None = None, say: Say = lambda _: None
) -> Path:
    """Download a data set, unless it is already there, and return its folder.

    An interrupted download continues where it stopped, from the same mirror or the next one. Files get their names
    only when they are complete and their md5 sums are right. A mirror that does not answer for 30 seconds, or sends
    less than 1,000 bytes per second, is abandoned, and so is the whole download after three hours.

    Parameters
    ----------
    published : PublishedFiles
    root : str or path, optional
        The data folder. By default, it is ``MINIRES_DATA`` if that is set, and otherwise the user's cache folder.
    progress : callable, optional
        Called as ``progress(file, bytes so far, total bytes)``.
    say : callable, optional
        Called as ``say(text)`` before each request, with the name and size of the file and the address.

    Raises
    ------
    DataError
        If no mirror delivers the right file, there is not enough space for it, or a file cannot be written.
    """
    end = time.monotonic() + LONGEST
    place = places(root)[0]
    folder = place / published.folder
    sums = published.sums[published.folder]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for archive in published.archives:
            packed = archive.file.endswith(".tar.gz")
            target = (place if packed else folder) / archive.file
            wanted = sums if packed else {target.stem: sums[target.stem]}
            if not any(_mistake(published, folder / name, md5) for name, md5 in wanted.items()):
                continue
            if not target.is_file() or _md5(target) != archive.md5:
                _check_space(published, archive, target)
                download(published, archive, target, progress, say, end)
            if packed:
                unpack(target, folder, sums)
                target.unlink()
            else:
                (folder / target.stem).unlink(missing_ok=True)  # damaged; it would be read instead of the new one
    except OSError as error:
        raise DataError(f"fetch: {error.filename or folder} cannot be written: {error.strerror or error}.") from error
    return folder


def _check_space(published: PublishedFiles, archive: Archive, target: Path) -> None:
    """Raise DataError unless there is space for the rest of an archive, and for the files in it."""
    part = _part(target)
    needed = archive.size * (2.2 if target.suffixes[-2:] == [".tar", ".gz"] else 1)
    needed -= part.stat().st_size if part.exists() else 0
    free = shutil.disk_usage(target.parent).free
    if free < needed:
        raise DataError(
            f"fetch: {published.name} needs {needed / 1e6:,.0f} MB in {target.parent}, where {free / 1e6:,.0f} MB are "
            "free; make space, or set MINIRES_DATA to a folder on another disk."
        )


def download(
    published: PublishedFiles,
    archive: Archive,
    target: Path,
    progress: Progress | None = None,
    say: Say = lambda _: None,
    end: float = float("inf"),
) -> None:
    """Download one file from the first mirror that delivers it.

    Raises DataError if all mirrors fail, or when ``time.monotonic()`` is past ``end``.
    """
    part = _part(target)
    reasons = []
    for mirror in published.mirrors:
        failure = _from_mirror(mirror + archive.file, archive, part, progress, say, end)
        if failure is None:
            os.replace(part, target)
            return
        reasons.append(f"{mirror} {printable(failure, 200)}")
    raise DataError(f"fetch: {archive.file} of {published.name} cannot be downloaded: {'; '.join(reasons)}.")


def _part(target: Path) -> Path:
    return target.with_name(f"{target.name}.part")


def _from_mirror(url: str, archive: Archive, part: Path, progress: Progress | None, say: Say, end: float) -> str | None:
    """Download ``part`` from one mirror. Return None if its md5 sum is right, or else the reason for the failure."""
    failure = ""
    for _ in range(TRIES):
        begin = part.stat().st_size if part.exists() else 0
        if time.monotonic() > end:
            return failure or f"was not tried, because the limit of {LONGEST / 3600:g} hours has passed"
        try:
            if begin < archive.size:
                say(f"{archive.file} ({archive.size / 1e6:,.0f} MB) from {url}")
                _append(url, archive, part, begin, progress, end)
        except urllib.error.HTTPError as error:
            error.close()
            if error.code == 416 and begin:  # the part on disk is not the beginning of this file
                part.unlink()
                continue
            return f"answers {error.code} ({error.reason})"
        except (OSError, http.client.HTTPException, ValueError) as error:
            cause = getattr(error, "reason", error)
            failure = f"fails ({getattr(cause, 'strerror', None) or str(cause) or type(cause).__name__})"
            if not part.exists() or part.stat().st_size <= begin:
                break
        else:
            if _md5(part) == archive.md5:
                return None
            failure = "delivers a file with the wrong md5 sum"
        if instead := stand_in(start_of(part)):
            begin, failure = 0, f"delivers another file: {instead}"
        if instead or failure.endswith("sum"):
            part.unlink()
            if not begin:
                break
            # The part that was there before may have been wrong: try again from the first byte.
    return failure


def _append(url: str, archive: Archive, part: Path, begin: int, progress: Progress | None, end: float) -> None:
    """Append what the server sends after the first ``begin`` bytes, or start over if it sends the whole file.

    Raises OSError, HTTPException or ValueError if the file is incomplete afterwards.
    """
    answer = Answer(url, begin, archive.size)
    started = time.monotonic()
    try:
        kept = answer.next(TIMEOUT)
        done = kept
        with open(part, "ab" if kept else "wb") as file:
            while piece := answer.next(TIMEOUT):
                file.write(piece)
                done += len(piece)
                if progress is not None:
                    progress(archive.file, done, archive.size)
                seconds = time.monotonic() - started
                if seconds > TIMEOUT and done - kept < SLOWEST * seconds:
                    raise TimeoutError(f"only {done - kept:,} bytes in {seconds:.0f} seconds")
                if time.monotonic() > end:
                    raise TimeoutError(f"{LONGEST / 3600:g} hours are over after {done:,} of {archive.size:,} bytes")
    finally:
        answer.given_up.set()
    if done < archive.size:
        raise ConnectionError(f"after {done:,} of {archive.size:,} bytes")


class Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects. A redirect to an invalid address is closed, which urllib does not do."""

    def http_error_302(self, req: Any, fp: Any, code: int, msg: str, headers: Any) -> Any:
        try:
            return super().http_error_302(req, fp, code, msg, headers)
        except ValueError:
            fp.close()
            raise

    http_error_301 = http_error_303 = http_error_307 = http_error_308 = http_error_302


class Answer(threading.Thread):
    """The answer to an HTTP request, read in a thread of its own, so that no server can make the program wait forever.

    :meth:`next` returns first the number of bytes that the server leaves out, 0 or ``begin``; then pieces of the file;
    and then b"".
    """

    def __init__(self, url: str, begin: int, size: int) -> None:
        super().__init__(name="minires-fetch", daemon=True)
        self.url, self.begin, self.size = url, begin, size
        self.pieces: queue.Queue[Any] = queue.Queue(maxsize=16)
        self.given_up = threading.Event()
        self.start()

    def next(self, seconds: float) -> Any:
        """Return what comes next, or raise what went wrong. Raises TimeoutError after ``seconds``."""
        try:
            piece = self.pieces.get(timeout=seconds)
        except queue.Empty:
            raise TimeoutError(f"nothing came for {seconds:g} seconds") from None
        if isinstance(piece, Exception):
            raise piece
        return piece

    def run(self) -> None:
        try:
            request = urllib.request.Request(self.url, headers={"Range": f"bytes={self.begin}-"} if self.begin else {})
            with urllib.request.build_opener(Redirects).open(request, timeout=TIMEOUT) as answer:
                span = answer.headers.get("Content-Range", "")
                kept = self.begin if answer.status == 206 and span.startswith(f"bytes {self.begin}-") else 0
                self.put(kept)
                left = self.size - kept
                # read1 returns what has arrived; read would wait for a whole piece, and lose it after a timeout.
                while left > 0 and (piece := answer.read1(min(PIECE, left))) and self.put(piece):
                    left -= len(piece)
            self.put(b"")
        except Exception as error:  # raised by next
            self.put(error)

    def put(self, piece: Any) -> bool:
        """Hand over a piece, and return whether it was wanted."""
        while not self.given_up.is_set():
            with suppress(queue.Full):
                self.pieces.put(piece, timeout=0.1)
                return True
        return False


def unpack(archive: Path, folder: Path, sums: Mapping[str, str]) -> None:
    """Extract the files named in ``sums`` from a ``.tar.gz``, and nothing else.

    Members are copied into files that are named here, so paths and links in the archive have no effect.

    Parameters
    ----------
    archive : Path
    folder : Path
        Where the files are written. In the archive, they are in a folder with the same name.
    sums : mapping of str to str
        Maps the name of each file to its md5 sum.

    Raises
    ------
    DataError
        If the archive is damaged, or if one of the files is missing, damaged, too large, or not a regular file.
    """
    wanted = {f"{folder.name}/{name}": name for name in sums}
    found = set()
    try:
        with gzip.open(archive) as file, tarfile.open(fileobj=cast("IO[bytes]", Forward(file)), mode="r:") as members:
            for member in members:
                name = wanted.get(member.name.removeprefix("./"))
                if name is None:
                    continue
                content = members.extractfile(member) if member.isfile() else None
                if content is None or not 0 <= member.size <= LARGEST_MEMBER:
                    raise DataError(f"fetch: {member.name} in {archive} is not a regular file, or is too large.")
                part = folder / f"{name}.part"
                with open(part, "wb") as unpacked:
                    shutil.copyfileobj(content, unpacked)
                if _md5(part) != sums[name]:
                    part.unlink()
                    raise DataError(f"fetch: {member.name} in {archive} has the wrong md5 sum.")
                os.replace(part, folder / name)
                found.add(name)
    except DataError:
        raise
    except Exception as error:  # tarfile raises almost anything on damaged archives
        if isinstance(error, OSError) and error.errno is not None:
            raise
        reason = stand_in(start_of(archive)) or printable(str(error) or type(error).__name__, 200).rstrip(".")
        raise DataError(f"fetch: {archive} is not a complete .tar.gz: {reason}.") from error
    if missing := sorted(set(sums) - found):
        raise DataError(f"fetch: {archive} lacks {', '.join(missing)}.")


class Forward:
    """What tarfile needs of an unpacked archive, which it can read only forward, and only in parts that fit in memory.

    A small damaged archive could claim headers of any size, or make tarfile read the same part again and again.
    """

    def __init__(self, file: gzip.GzipFile) -> None:
        self.file, self.tell = file, file.tell

    def seek(self, position: int) -> int:
        if not self.tell() <= position <= LARGEST_TAR:
            raise tarfile.ReadError("it would be read backwards, or it is too large")
        return self.file.seek(position)

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= LARGEST_TAR_HEADER:
            raise tarfile.ReadError("its header is too large")
        return self.file.read(size)


def check(published: PublishedFiles, root: PathLike | None = None) -> tuple[Path, int]:
    """Compare the files of a data set with the published md5 sums of their uncompressed content.

    Returns
    -------
    folder : Path
        The folder of the data set.
    unknown : int
        The number of files for which no md5 sum was published.

    Raises
    ------
    DataError
        If the data set is not found, or a file cannot be read or differs from the published one.
    """
    folder = find(published, root)
    sums = next(sums for name, sums in published.sums.items() if folder.as_posix().endswith(name))
    for name, md5 in sums.items():
        if mistake := _mistake(published, folder / name, md5):
            raise DataError(f"check: {mistake}.")
    return folder, sum(not md5 for md5 in sums.values())


def _mistake(published: PublishedFiles, path: Path, md5: str) -> str | None:
    """Return what is wrong with a file, compressed or not, or None if its md5 sum is right or ``md5`` is ""."""
    path = published.readable(path)
    try:
        found = _md5(path, unpack=True)
    except (OSError, EOFError, zlib.error) as error:
        return f"{path} cannot be read: {getattr(error, 'strerror', None) or error}"
    if md5 in ("", found):
        return None
    return (
        f"{path} differs from the published file: its content has the md5 sum {found}, not {md5}; "
        f"remove it and fetch it again with `minires data fetch {published.name}`"
    )


def _md5(path: Path, unpack: bool = False) -> str:
    """Return the md5 sum of a file; with ``unpack``, that of the uncompressed content of a ``.gz``."""
    digest = hashlib.md5(usedforsecurity=False)
    with gzip.open(path) if unpack and path.suffix == ".gz" else open(path, "rb") as file:
        while piece := file.read(PIECE):
            digest.update(piece)
            if unpack and file.tell() > LARGEST_MEMBER:
                raise EOFError(f"it unpacks to more than {LARGEST_MEMBER:,} bytes")
    return digest.hexdigest()
