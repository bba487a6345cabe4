"""Models by name, with their options."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from ..core import checks
from ..errors import ArgumentError

Builder = Callable[..., Any]

#: What makes each model: a function or class with the parameters ``num_classes`` and ``in_channels``, and its options.
MODELS: dict[str, Builder] = {}


def names() -> list[str]:
    """The names that :func:`build` takes."""
    return list(MODELS)


def options(name: str) -> list[str]:
    """The options of the model of that name: what it takes besides ``num_classes`` and ``in_channels``."""
    return [option for option in _parameters("options", name) if option not in ("num_classes", "in_channels")]


def build(name: str, **given: Any) -> Any:
    """The model of that name, with ``num_classes``, ``in_channels`` and the model's own options.

    Raises
    ------
    ArgumentError
        For a name that is not in :func:`names`, or an option that the model does not take.
    """
    known = _parameters("build", name)
    for option in given:
        if option not in known:
            raise ArgumentError(f"models.build: {name} does not take {option}; it takes {', '.join(known)}.")
    return MODELS[name](**given)


def _parameters(function: str, name: str) -> list[str]:
    return list(inspect.signature(MODELS[checks.choice(f"models.{function}", name, "model", MODELS)]).parameters)
