"""Downloading a published data set, and checking one that is there."""

from __future__ import annotations

import gzip
import hashlib
import http.client
import os
import tarfile
import urllib.error
import urllib.request
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO

from ..errors import DataError
from .places import PathLike, file_at, locate, places
from .sources import Archive, Source

PIECE = 1 << 18  # bytes at a time
TIMEOUT = 30.0  # seconds without a byte
TRIES = 5  # at one mirror, as long as each brings some bytes
LARGEST_MEMBER = 1 << 28  # bytes; the largest batch has 155 million

#: ``progress(file, done, size)`` is told of every piece of a download, in bytes.
Progress = Callable[[str, int, int], None]


class _FailedError(Exception):
    """Why a mirror did not give the whole file."""


def fetch(source: Source, root: PathLike | None = None, progress: Progress | None = None) -> Path:
    """Download a data set, unless it is there already, and return its folder.

    A download that was cut off goes on where it stopped, at the same mirror or the next one. Files get their names
    only when they are whole and their md5 sums are right.

    Parameters
    ----------
    source : Source
    root : str or path, optional
        The data folder; by default ``MINIRES_DATA``, or else the user's cache folder.
    progress : callable, optional
        Takes (file, bytes that are there, bytes that it has).

    Raises
    ------
    DataError
        If no mirror gives a file that is right, or it cannot be written.
    """
    place = places(root)[0]
    folder = place / source.folder
    sums = source.sums[source.folder]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if all(_is_right(folder / name, md5) for name, md5 in sums.items()):
            return folder
        for archive in source.archives:
            packed = archive.file.endswith(".tar.gz")
            target = (place if packed else folder) / archive.file
            content = folder / target.stem  # of a single file
            if not packed and _is_right(content, sums[content.name]):
                continue
            if not target.is_file() or _md5(target) != archive.md5:
                download(source, archive, target, progress)
            if packed:
                unpack(target, folder, sums)
                target.unlink()
            else:
                content.unlink(missing_ok=True)  # a damaged one, which would be read before the new one
    except OSError as error:
        raise DataError(f"fetch: {error.filename or folder} cannot be written: {error.strerror or error}.") from error
    return folder


def download(source: Source, archive: Archive, target: Path, progress: Progress | None = None) -> None:
    """Get one file from the first mirror that has it whole. Raises DataError if none has."""
    part = target.with_name(f"{target.name}.part")
    reasons = []
    for mirror in source.mirrors:
        try:
            _from_mirror(mirror + archive.file, archive, part, progress)
            os.replace(part, target)
            return
        except _FailedError as failed:
            reasons.append(f"{mirror} {failed}")
    raise DataError(f"fetch: {archive.file} of {source.name} cannot be had: {'; '.join(reasons)}.")


def _from_mirror(url: str, archive: Archive, part: Path, progress: Progress | None) -> None:
    """Fill ``part`` from one mirror, until it is right. Raises _FailedError if that fails."""
    for attempt in range(1, TRIES + 1):
        begin = part.stat().st_size if part.exists() else 0
        try:
            _append(url, archive, part, begin, progress)
        except (OSError, http.client.HTTPException) as error:
            if isinstance(error, urllib.error.HTTPError):
                error.close()
                raise _FailedError(f"answers {error.code} ({error.reason})") from error
            brought = part.exists() and part.stat().st_size > begin
            if not brought or attempt == TRIES:
                cause = getattr(error, "reason", error)
                reason = getattr(cause, "strerror", None) or str(cause) or type(cause).__name__
                raise _FailedError(f"fails ({reason})") from error
            continue
        if _md5(part) == archive.md5:
            return
        part.unlink()
        if not begin:
            raise _FailedError("gives another file, with a wrong md5 sum")
        # What was there before may have been the wrong part: once more, from the first byte.
    raise _FailedError("gives another file, with a wrong md5 sum")


def _append(url: str, archive: Archive, part: Path, begin: int, progress: Progress | None) -> None:
    """Write what the server sends behind the first ``begin`` bytes, or from the start if it sends all.

    Raises OSError or HTTPException if that is not all of it.
    """
    if begin > archive.size:
        part.unlink()
        begin = 0
    if begin == archive.size:
        return
    request = urllib.request.Request(url, headers={"Range": f"bytes={begin}-"} if begin else {})
    with urllib.request.urlopen(request, timeout=TIMEOUT) as answer:
        goes_on = answer.status == 206 and answer.headers.get("Content-Range", "").startswith(f"bytes {begin}-")
        done = begin if goes_on else 0
        with open(part, "ab" if goes_on else "wb") as file:
            # read1 hands over what has come; read would wait for the whole piece, and lose it if no more comes.
            while done < archive.size and (piece := answer.read1(min(PIECE, archive.size - done))):
                file.write(piece)
                done += len(piece)
                if progress is not None:
                    progress(archive.file, done, archive.size)
    if done < archive.size:
        raise ConnectionError(f"after {done:,} of {archive.size:,} bytes")


def unpack(archive: Path, folder: Path, sums: Mapping[str, str]) -> None:
    """Take the files of ``sums`` out of a ``.tar.gz``; no other name in it is ever made a file.

    Members are copied byte by byte into files named here, so neither paths nor links in the archive lead anywhere.

    Parameters
    ----------
    archive : Path
    folder : Path
        Where they go; in the archive they lie in a folder of the same name.
    sums : mapping of str to str
        The md5 sum of each.

    Raises
    ------
    DataError
        If one is missing, or is a link, or damaged.
    """
    wanted = {f"{folder.name}/{name}": name for name in sums}
    found = set()
    try:
        with tarfile.open(archive, "r:gz") as members:
            for member in members:
                name = wanted.get(member.name.removeprefix("./"))
                if name is None:
                    continue
                content = members.extractfile(member) if member.isfile() else None
                if content is None or member.size > LARGEST_MEMBER:
                    raise DataError(f"fetch: {member.name} in {archive} is no file of a sensible size.")
                part = folder / f"{name}.part"
                with open(part, "wb") as file:
                    while piece := content.read(PIECE):
                        file.write(piece)
                if sums[name] not in ("", _md5(part)):
                    part.unlink()
                    raise DataError(f"fetch: {member.name} in {archive} has a wrong md5 sum.")
                os.replace(part, folder / name)
                found.add(name)
    except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"fetch: {archive} is no whole .tar.gz: {error}.") from error
    if missing := sorted(set(sums) - found):
        raise DataError(f"fetch: {archive} lacks {', '.join(missing)}.")


def check(source: Source, root: PathLike | None = None) -> tuple[Path, int]:
    """Hold the files of a data set against their md5 sums, compressed ones unpacked.

    Returns
    -------
    folder : Path
    unknown : int
        How many files have no published sum.

    Raises
    ------
    DataError
        If the data set is not there, or a file is not as it was published.
    """
    folder = find(source, root)
    sums = next(sums for name, sums in source.sums.items() if folder.as_posix().endswith(name))
    for name, md5 in sums.items():
        path = file_at(folder / name) or folder / name
        try:
            found = _md5_unpacked(path)
        except (OSError, EOFError, zlib.error) as error:
            raise DataError(f"check: {path} cannot be read: {getattr(error, 'strerror', None) or error}.") from error
        if md5 not in ("", found):
            raise DataError(
                f"check: {path} is not as published: its content has the md5 sum {found}, not {md5}; remove it and "
                f"fetch it again with `minires data fetch {source.name}`."
            )
    return folder, sum(not md5 for md5 in sums.values())


def find(source: Source, root: PathLike | None = None) -> Path:
    """The folder of a data set. Raises DataError if it is not there."""
    return locate(source.name, {folder: list(sums) for folder, sums in source.sums.items()}, root)


def is_here(source: Source) -> bool:
    """Whether a data set is here, be it damaged."""
    try:
        find(source)
    except DataError:
        return False
    return True


def _is_right(path: Path, md5: str) -> bool:
    """Whether the file is there, compressed or not, and its content has that sum."""
    found = file_at(path)
    try:
        return found is not None and _md5_unpacked(found) == md5
    except (OSError, EOFError, zlib.error):
        return False


def _md5(path: Path) -> str:
    with open(path, "rb") as file:
        return _md5_of(file)


def _md5_unpacked(path: Path) -> str:
    with open(path, "rb") as file:
        if path.suffix != ".gz":
            return _md5_of(file)
        with gzip.GzipFile(fileobj=file) as unpacked:
            return _md5_of(unpacked)


def _md5_of(file: IO[bytes] | gzip.GzipFile) -> str:
    """The md5 sum of what is left of an open file."""
    digest = hashlib.md5(usedforsecurity=False)
    while piece := file.read(PIECE):
        digest.update(piece)
    return digest.hexdigest()
