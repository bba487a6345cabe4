"""Settings from a file: TOML that people write, or the ``config.json`` of a run that is to be repeated."""

from __future__ import annotations

import difflib
import json
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

from ..errors import ArgumentError
from ..interop.files import PathLike, brief, opened
from .config import Config
from .folder import LARGEST_JSON
from .run import NOTES


def read_settings(path: PathLike) -> dict[str, Any]:
    """The settings that a file gives, checked; what it leaves out is not in the result.

    Parameters
    ----------
    path : str or path
        Named ``.json``, it is read as the ``config.json`` of a run: what it says about the run's images is passed
        over, and its ``out`` as well, so that the new run gets a folder of its own. Any other file is TOML, with the
        parameters of :class:`Config` at its top.

    Returns
    -------
    dict
        ``Config(**read_settings(path))`` are all settings.

    Raises
    ------
    DataError
        If there is no such file, or it is not TOML or JSON.
    ArgumentError
        If it holds a setting that there is not, or a value that the setting does not take.
    """
    stored = _read(path)
    if _is_json(path):
        stored = {name: value for name, value in stored.items() if name not in (*NOTES, "out")}
    names = [field.name for field in fields(Config)]
    for name in stored:
        if name not in names:
            near = difflib.get_close_matches(name, names, n=1)
            meant = f"; did you mean {near[0]!r}?" if near else "."
            raise ArgumentError(
                f"train: {path}: there is no setting '{brief(name)}'{meant} The settings are {', '.join(names)}."
            )
    try:
        Config(**stored)
    except ArgumentError as error:
        raise ArgumentError(f"train: {path}: {str(error).removeprefix('train: ')}") from error
    return stored


def _is_json(path: PathLike) -> bool:
    return Path(path).suffix == ".json"


def _read(path: PathLike) -> dict[str, Any]:
    kind = "JSON" if _is_json(path) else "TOML"
    with opened("train", path, kind) as file:
        content = file.read(LARGEST_JSON + 1)
        if len(content) > LARGEST_JSON:
            raise ValueError("it is too long")
        text = content.decode("utf-8-sig")
        stored = json.loads(text) if kind == "JSON" else _toml(text)
        if not isinstance(stored, dict):
            raise ValueError(f"it holds {type(stored).__name__}, not an object")
    return stored


def _toml(text: str) -> dict[str, Any]:
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    return tomllib.loads(text)
