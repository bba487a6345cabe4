"""Downloading a published data set, and checking its files."""

from __future__ import annotations

import gzip
import hashlib
import http.client
import os
import shutil
import tarfile
import urllib.error
import urllib.request
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path

from ..errors import DataError
from ..interop.files import PathLike
from .places import Archive, PublishedFiles, find, places, stored

PIECE = 1 << 18  # bytes to read at a time
TIMEOUT = 30.0  # seconds to wait for the next byte
TRIES = 5  # attempts per mirror; an attempt that fails without a single byte is the last
LARGEST_MEMBER = 1 << 28  # bytes; the largest file of CIFAR has 155 million

#: ``progress(file, done, size)`` is called after every piece of a download; ``done`` and ``size`` are in bytes.
Progress = Callable[[str, int, int], None]


def fetch(published: PublishedFiles, root: PathLike | None = None, progress: Progress | None = None) -> Path:
    """Download a data set, unless it is already there, and return its folder.

    An interrupted download continues where it stopped, from the same mirror or the next one. Files get their names
    only when they are complete and their md5 sums are right.

    Parameters
    ----------
    published : PublishedFiles
    root : str or path, optional
        The data folder. By default, it is ``MINIRES_DATA`` if that is set, and otherwise the user's cache folder.
    progress : callable, optional
        Called as ``progress(file, bytes so far, total bytes)``.

    Raises
    ------
    DataError
        If no mirror delivers the right file, or a file cannot be written.
    """
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
                download(published, archive, target, progress)
            if packed:
                unpack(target, folder, sums)
                target.unlink()
            else:
                (folder / target.stem).unlink(missing_ok=True)  # damaged; it would be read instead of the new one
    except OSError as error:
        raise DataError(f"fetch: {error.filename or folder} cannot be written: {error.strerror or error}.") from error
    return folder


def download(published: PublishedFiles, archive: Archive, target: Path, progress: Progress | None = None) -> None:
    """Download one file from the first mirror that delivers it. Raises DataError if all mirrors fail."""
    part = target.with_name(f"{target.name}.part")
    reasons = []
    for mirror in published.mirrors:
        failure = _from_mirror(mirror + archive.file, archive, part, progress)
        if failure is None:
            os.replace(part, target)
            return
        reasons.append(f"{mirror} {failure}")
    raise DataError(f"fetch: {archive.file} of {published.name} cannot be downloaded: {'; '.join(reasons)}.")


def _from_mirror(url: str, archive: Archive, part: Path, progress: Progress | None) -> str | None:
    """Download ``part`` from one mirror. Return None if its md5 sum is right, or else the reason for the failure."""
    for _ in range(TRIES):
        begin = part.stat().st_size if part.exists() else 0
        try:
            _append(url, archive, part, begin, progress)
        except urllib.error.HTTPError as error:
            error.close()
            return f"answers {error.code} ({error.reason})"
        except (OSError, http.client.HTTPException) as error:
            cause = getattr(error, "reason", error)
            failure = f"fails ({getattr(cause, 'strerror', None) or str(cause) or type(cause).__name__})"
            if not part.exists() or part.stat().st_size <= begin:
                break
        else:
            if _md5(part) == archive.md5:
                return None
            part.unlink()
            failure = "delivers a file with the wrong md5 sum"
            if not begin:
                break
            # The part that was there before may have been wrong: try again from the first byte.
    return failure


def _append(url: str, archive: Archive, part: Path, begin: int, progress: Progress | None) -> None:
    """Append what the server sends after the first ``begin`` bytes, or start over if it sends the whole file.

    Raises OSError or HTTPException if the file is incomplete afterwards.
    """
    if begin >= archive.size:
        return
    request = urllib.request.Request(url, headers={"Range": f"bytes={begin}-"} if begin else {})
    with urllib.request.urlopen(request, timeout=TIMEOUT) as answer:
        goes_on = answer.status == 206 and answer.headers.get("Content-Range", "").startswith(f"bytes {begin}-")
        done = begin if goes_on else 0
        with open(part, "ab" if goes_on else "wb") as file:
            # read1 returns what has arrived; read would wait for a whole piece, and lose it after a timeout.
            while done < archive.size and (piece := answer.read1(min(PIECE, archive.size - done))):
                file.write(piece)
                done += len(piece)
                if progress is not None:
                    progress(archive.file, done, archive.size)
    if done < archive.size:
        raise ConnectionError(f"after {done:,} of {archive.size:,} bytes")


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
        with tarfile.open(archive, "r:gz") as members:
            for member in members:
                name = wanted.get(member.name.removeprefix("./"))
                if name is None:
                    continue
                content = members.extractfile(member) if member.isfile() else None
                if content is None or member.size > LARGEST_MEMBER:
                    raise DataError(f"fetch: {member.name} in {archive} is not a regular file, or is too large.")
                part = folder / f"{name}.part"
                with open(part, "wb") as file:
                    shutil.copyfileobj(content, file)
                if _md5(part) != sums[name]:
                    part.unlink()
                    raise DataError(f"fetch: {member.name} in {archive} has the wrong md5 sum.")
                os.replace(part, folder / name)
                found.add(name)
    except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"fetch: {archive} is not a complete .tar.gz: {error}.") from error
    if missing := sorted(set(sums) - found):
        raise DataError(f"fetch: {archive} lacks {', '.join(missing)}.")


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
    path = stored(path)
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
    return digest.hexdigest()
