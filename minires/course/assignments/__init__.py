"""The assignments. Every package in this folder is one."""

from __future__ import annotations

import importlib
import pkgutil

from ...core.checks import choice
from ..content import Assignment


def assignments() -> dict[str, Assignment]:
    """Return all assignments, keyed by name."""
    modules = [importlib.import_module(f"{__name__}.{module.name}") for module in pkgutil.iter_modules(__path__)]
    return {module.ASSIGNMENT.name: module.ASSIGNMENT for module in modules}


def assignment(name: str) -> Assignment:
    """Return the assignment of that name, in upper or lower case. Raises ArgumentError if the name is unknown."""
    known = assignments()
    return known[choice("course", name.upper(), "assignment", known)]
