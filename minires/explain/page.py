"""The stepper's page: one HTML file with everything in it, which loads nothing else.

It shows each tensor as a heat map, with a byte for each number, and the source of each op.
"""

from __future__ import annotations

import base64
import html
import inspect
import json
import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from importlib.resources import files
from pathlib import Path
from textwrap import dedent, indent
from typing import Any

import numpy as np

from ..core.autograd import Op
from ..core.backend import Array
from ..ops.conv import Conv2d, Im2Col
from ..optim import l2_norm
from .tape import Tape, TapeInput, TapeNode

NUMBERS = 130_000  # shown by all heat maps together: in base64 they take 175 of a page's 300 kB
LARGEST = 16_384  # numbers of one heat map
SCRIPTS = ("heatmap.js", "overview.js", "columns.js", "steps.js", "stepper.js")
EXACT = 64  # up to this many numbers are shown exactly
LEVELS = 254  # of the bytes 1 to 255; byte 0 stands for NaN and infinity
PACKAGE = Path(__file__).parents[1]


def page(tape: Tape, title: str) -> str:
    """The page as HTML. Names and sources are escaped: they are text in it, never markup."""
    web = files(__package__) / "web"
    parts = {
        "title": html.escape(title),
        "style": (web / "stepper.css").read_text(encoding="utf-8"),
        "script": "\n".join((web / name).read_text(encoding="utf-8") for name in SCRIPTS),
        "data": _as_script(page_data(tape, title)),
    }
    text = (web / "stepper.html").read_text(encoding="utf-8")
    before, *sections = text.split("{{")
    for section in sections:  # the parts that are filled in are not searched for placeholders
        name, after = section.split("}}", 1)
        before += parts[name] + after
    return before


def _as_script(data: Any) -> str:
    """JSON for a <script>: without ``<``, it can neither end the script nor start a comment."""
    return json.dumps(data, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")


def page_data(tape: Tape, title: str) -> dict[str, Any]:
    """The data for the page's script. Tensors and the classes of ops are listed once and referred to by number."""
    tensors = _TensorList()
    classes = list(dict.fromkeys(type(node.op) for node in tape.nodes if node.op is not None))
    nodes = [_node(node, tensors, classes) for node in tape.nodes]
    return {
        "title": title,
        "nodes": nodes,
        "tensors": tensors.encoded(),
        "sources": [asdict(source_of(op)) for op in classes],
    }


def _node(node: TapeNode, tensors: _TensorList, classes: list[type]) -> dict[str, Any]:
    data: dict[str, Any] = {
        "name": node.name,
        "kind": node.kind,
        "shape": node.shape,
        "dtype": str(node.dtype),
        "value": tensors.number(node.value),
        "gradient": tensors.number(node.gradient),
        "inputs": [_input(edge, tensors) for edge in node.inputs],
        "arrivals": [asdict(arrival) for arrival in node.arrivals],
        "on_shortcut": node.on_shortcut,
    }
    if node.op is not None:
        data["source"] = classes.index(type(node.op))
        data["options"] = options_of(node.op)
    if isinstance(node.op, (Conv2d, Im2Col)):
        window = asdict(node.op.window)
        data["window"] = {**window, "image": node.inputs[0].shape, "output": _windows(node)}
    return data


def _windows(node: TapeNode) -> tuple[int, ...]:
    """(OH, OW), the numbers of windows of a convolution (N, O, OH, OW) or an im2col (N, OH, OW, C*KH*KW)."""
    return node.shape[2:] if isinstance(node.op, Conv2d) else node.shape[1:3]


def _input(edge: TapeInput, tensors: _TensorList) -> dict[str, Any]:
    return {
        **vars(edge),
        "value": tensors.number(edge.value) if edge.node is None else None,  # otherwise the node has it
        "gradient": tensors.number(edge.gradient),
    }


class _TensorList:
    """Arrays, numbered in the order in which they are first used."""

    def __init__(self) -> None:
        self.arrays: list[Array] = []
        self.numbers: dict[int, int] = {}

    def number(self, array: Array | None) -> int | None:
        if array is None:
            return None
        if id(array) not in self.numbers:
            self.numbers[id(array)] = len(self.arrays)
            self.arrays.append(array)
        return self.numbers[id(array)]

    def encoded(self) -> list[dict[str, Any]]:
        limit = min(LARGEST, common_limit((array.size for array in self.arrays), NUMBERS))
        return [encode(array, limit) for array in self.arrays]


def frame(page: str, title: str, height: int = 760) -> str:
    """The page in a sandboxed frame that may only run its script, for the output of a notebook's cell."""
    return (
        f'<iframe sandbox="allow-scripts" title="{html.escape(title)}" srcdoc="{html.escape(page)}" '
        f'style="width: 100%; height: {height}px; border: 1px solid #8886; border-radius: 8px"></iframe>'
    )


def shown_part(shape: tuple[int, ...], limit: int) -> tuple[int, ...]:
    """How much of each axis, from its start, fits into ``limit`` numbers.

    The last two axes are an image or a matrix, which is only cut if it does not fit by itself.

    >>> shown_part((128, 16, 32, 32), 4096), shown_part((640,), 100), shown_part((50, 200), 900)
    ((1, 4, 32, 32), (100,), (30, 30))
    """
    if 0 in shape:
        return shape
    *leading, height, width = (1, 1, *shape)
    shown_width = min(width, max(math.isqrt(limit), limit // height))
    shown_height = min(height, limit // shown_width)
    left = limit // (shown_height * shown_width)
    shown = [shown_height, shown_width]
    for size in reversed(leading):
        shown.insert(0, min(size, left))
        left //= shown[0]
    return tuple(shown[len(shown) - len(shape) :])


def common_limit(counts: Iterable[int], budget: int) -> int:
    """The largest limit for which ``sum(min(count, limit))`` stays within ``budget``; at least 16.

    >>> common_limit([10, 100, 1000], 250)
    140
    """
    ordered = sorted(counts)
    left = budget
    for position, count in enumerate(ordered):
        share = left // (len(ordered) - position)
        if count > share:
            return max(share, 16)
        left -= count
    return max(ordered[-1], 16) if ordered else 16


def encode(array: Array, limit: int) -> dict[str, Any]:
    """``array`` for the page: its shape, its statistics, and its first numbers as bytes in base64.

    Bytes 1 to 255 are even steps over ``range``. With the largest magnitude m, that is (-m, m) if any number is
    negative, so that byte 128 is zero, and (0, m) otherwise, so that byte 1 is zero.
    """
    shown = shown_part(array.shape, limit)
    numbers = array.astype(np.float64)
    finite = numbers[np.isfinite(numbers)]
    largest = float(np.abs(finite).max(initial=0))
    low = -largest if finite.min(initial=0) < 0 else 0.0
    part = numbers[tuple(slice(size) for size in shown)]
    return {
        "shape": list(array.shape),
        "dtype": str(array.dtype),
        "shown": list(shown),
        "range": [low, largest],
        "bytes": base64.b64encode(_quantised(part, low, largest).tobytes()).decode("ascii"),
        "exact": [_json(x) for x in part.ravel()] if part.size <= EXACT else None,
        "stats": _statistics(numbers, finite),
    }


def _quantised(numbers: Array, low: float, high: float) -> Array:
    known = np.isfinite(numbers)
    scaled = np.where(known, numbers, 0) / (high or 1)  # -1 to 1 if numbers are signed, otherwise 0 to 1
    steps = ((scaled + 1) / 2 if low < 0 else scaled) * LEVELS
    return np.where(known, np.rint(steps) + 1, 0).astype(np.uint8)


def _statistics(numbers: Array, finite: Array) -> dict[str, Any]:
    """Of the whole array. Minimum, maximum, mean and standard deviation are those of its finite numbers."""
    stats: dict[str, Any] = {"min": None, "max": None, "mean": None, "std": None}
    with np.errstate(over="ignore", invalid="ignore"):
        if finite.size:
            found = {"min": finite.min(), "max": finite.max(), "mean": finite.mean(), "std": finite.std()}
            stats = {name: _json(number) for name, number in found.items()}
        stats["norm"] = _json(l2_norm(numbers))
    return {**stats, "zeros": int((numbers == 0).sum()), "not_finite": numbers.size - finite.size}


def _json(number: float) -> float | str:
    """A number for JSON, which lacks NaN and infinity: they become strings that JavaScript's Number() takes."""
    if math.isnan(number):
        return "NaN"
    return float(f"{number:.9g}") if math.isfinite(number) else ("Infinity" if number > 0 else "-Infinity")


@dataclass(frozen=True)
class MethodSource:
    """The source of a method of an op."""

    place: str  # "minires/ops/conv.py, line 143"
    text: str


@dataclass(frozen=True)
class OpSource:
    """The source of an op's forward and backward."""

    forward: MethodSource
    backward: MethodSource


def source_of(op: type[Op]) -> OpSource:
    """The source of an op's class, or a comment if Python does not have it (a class typed at the prompt)."""
    return OpSource(_method(op, "forward"), _method(op, "backward"))


def options_of(op: Op) -> dict[str, str]:
    """The arguments that the op was made with, such as a stride or an axis, if it keeps them under their names."""
    options: dict[str, str] = {}
    for name in inspect.signature(type(op).__init__).parameters:
        value = getattr(op, name, None)
        if name == "window":  # of a convolution or a pooling: kernel, stride, padding, dilation
            options.update({part: "x".join(map(str, pair)) for part, pair in vars(value).items()})
        elif isinstance(value, (bool, int, float, str, tuple)):
            options[name] = str(value)
    return options


def _method(op: type[Op], name: str) -> MethodSource:
    """A method of the class or one that it inherits, followed by its base class's where it calls ``super()``."""
    places, texts = [], []
    for owner in (cls for cls in op.__mro__ if name in vars(cls)):
        place, text = _place_and_text(vars(owner)[name])
        places.append(place)
        texts.append(f"class {owner.__name__}:\n{text}")
        if "super()" not in text:
            break
    return MethodSource(places[0], "\n\n".join(texts))


def _place_and_text(method: Any) -> tuple[str, str]:
    try:
        lines, line = inspect.getsourcelines(method)
        path = Path(inspect.getsourcefile(method) or "")
    except (OSError, TypeError):
        return method.__qualname__, "    ...  # Python does not have its source"
    shown = path.relative_to(PACKAGE.parent).as_posix() if path.is_relative_to(PACKAGE) else path.name
    return f"{shown}, line {line}", indent(dedent("".join(lines)).rstrip(), "    ")
