"""The source of the textbook, as the page shows it beside each op."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent, indent
from typing import Any

from ..core.autograd import Op

PACKAGE = Path(__file__).parents[1]


@dataclass(frozen=True)
class Method:
    """The source of a method of an op."""

    place: str  # "minires/ops/conv.py, line 143"
    text: str


@dataclass(frozen=True)
class OpSource:
    """How an op computes, and how its gradient."""

    forward: Method
    backward: Method


def source_of(op: type[Op]) -> OpSource:
    """The source of an op's class; a comment in its place where Python has none (a class typed into a prompt)."""
    return OpSource(_method(op, "forward"), _method(op, "backward"))


def options_of(op: Op) -> dict[str, str]:
    """The arguments that the op was made with, as far as it keeps them under their names: a stride, an axis."""
    options: dict[str, str] = {}
    for name in inspect.signature(type(op).__init__).parameters:
        value = getattr(op, name, None)
        if name == "window":  # of a convolution or a pooling: kernel, stride, padding, dilation
            options.update({part: "x".join(map(str, pair)) for part, pair in vars(value).items()})
        elif isinstance(value, (bool, int, float, str, tuple)):
            options[name] = str(value)
    return options


def _method(op: type[Op], name: str) -> Method:
    """A method as the class has it or inherits it, followed by that of the class above where it calls ``super()``."""
    places, texts = [], []
    for owner in (cls for cls in op.__mro__ if name in vars(cls)):
        place, text = _place_and_text(vars(owner)[name])
        places.append(place)
        texts.append(f"class {owner.__name__}:\n{text}")
        if "super()" not in text:
            break
    return Method(places[0], "\n\n".join(texts))


def _place_and_text(method: Any) -> tuple[str, str]:
    try:
        lines, line = inspect.getsourcelines(method)
        path = Path(inspect.getsourcefile(method) or "")
    except (OSError, TypeError):
        return method.__qualname__, "    ...  # Python has no source of it"
    shown = path.relative_to(PACKAGE.parent).as_posix() if path.is_relative_to(PACKAGE) else path.name
    return f"{shown}, line {line}", indent(dedent("".join(lines)).rstrip(), "    ")
