"""Where data sets lie on this machine."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from ..errors import DataError, listed

PathLike = str | os.PathLike[str]


def cache_folder() -> Path:
    """The user's folder for what can be had again, as each system has it, and ``minires`` in it."""
    home = os.path.expanduser("~")
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or os.path.join(home, "AppData", "Local")
    elif sys.platform == "darwin":
        base = os.path.join(home, "Library", "Caches")
    else:
        base = os.environ.get("XDG_CACHE_HOME") or os.path.join(home, ".cache")
    return Path(base, "minires")


def places(root: PathLike | None = None) -> list[Path]:
    """The folders that are searched, in this order: ``root`` alone, or else ``MINIRES_DATA`` and the cache folder."""
    if root is not None:
        return [Path(root)]
    named = os.environ.get("MINIRES_DATA")
    return [*([Path(named)] if named else []), cache_folder()]


def file_at(path: Path) -> Path | None:
    """``path``, or ``path`` with ``.gz`` behind it, whichever is a file."""
    for candidate in (path, path.with_name(f"{path.name}.gz")):
        if os.path.isfile(candidate):  # unlike Path.is_file, it is False where one may not look
            return candidate
    return None


def locate(name: str, contents: Mapping[str, Sequence[str]], root: PathLike | None = None) -> Path:
    """The first folder that holds all of a data set.

    Parameters
    ----------
    name : str
        Of the data set.
    contents : mapping of str to sequence of str
        The folders that it may lie in, and the files of each, which may be compressed (``.gz``).
    root : str or path, optional
        See :func:`places`.

    Raises
    ------
    DataError
        If there is none, with the places that were searched and the command that fetches it.
    """
    incomplete = []
    for place in places(root):
        for folder, files in contents.items():
            missing = [file for file in files if file_at(place / folder / file) is None]
            if not missing:
                return place / folder
            if len(missing) < len(files):
                incomplete.append(f"{place / folder} lacks {listed(missing)}")
    found = f"; {' and '.join(incomplete)}" if incomplete else ""
    raise DataError(
        f"data set {name!r} was not found: neither {' nor '.join(contents)} lies whole in "
        f"{' or '.join(map(str, places(root)))}{found}; fetch it with `minires data fetch {name}`, or say with "
        "MINIRES_DATA or root= where it is."
    )
