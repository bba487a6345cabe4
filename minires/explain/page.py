"""The stepper's page: one self-contained HTML file, which loads nothing else.

It shows each tensor as a heat map, stored with one byte per number, and the source of each op.
"""

from __future__ import annotations

import base64
import html
import inspect
import json
import math
import re
from bisect import bisect_right
from collections.abc import Callable, Sequence
from importlib.resources import files
from pathlib import Path
from textwrap import dedent, indent
from typing import Any

import numpy as np

from ..core.autograd import Op
from ..core.backend import Array
from ..ops.conv import Conv2d, Im2Col
from ..optim import l2_norm
from .tape import Tape, TapeNode

NUMBERS = 130_000  # limit for all heat maps together; in base64, this many numbers take 175 of a page's 300 kB
SMALLEST, LARGEST = 16, 16_384  # the bounds of the limit for a single heat map
SCRIPTS = ("heatmap.js", "overview.js", "columns.js", "steps.js", "stepper.js")
EXACT = 64  # up to this many numbers are shown exactly
LEVELS = 254  # of the bytes 1 to 255; byte 0 stands for NaN and infinity
PACKAGE = Path(__file__).parents[1]


def page(tape: Tape, title: str) -> str:
    """Return the page as HTML. Names and sources are escaped, so that they are text in it, never markup."""
    web = files(__package__) / "web"
    parts = {
        "title": html.escape(title),
        "style": (web / "stepper.css").read_text(encoding="utf-8"),
        "script": "\n".join((web / name).read_text(encoding="utf-8") for name in SCRIPTS),
        "data": _as_script(page_data(tape, title)),
    }
    text = (web / "stepper.html").read_text(encoding="utf-8")
    return re.sub(r"\{\{(\w+)\}\}", lambda placeholder: parts[placeholder[1]], text)


def _as_script(data: Any) -> str:
    """Return JSON for a <script>. Without ``<``, it can neither end the script nor start a comment."""
    return json.dumps(data, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")


def page_data(tape: Tape, title: str) -> dict[str, Any]:
    """Return the data for the page's script. Tensors and classes of ops are listed once and referred to by number."""
    arrays: dict[int, tuple[int, Array]] = {}  # id of an array -> its number, and the array

    def number(array: Array | None) -> int | None:
        return None if array is None else arrays.setdefault(id(array), (len(arrays), array))[0]

    classes = list(dict.fromkeys(type(node.op) for node in tape.nodes if node.op is not None))
    nodes = [_node(node, number, classes) for node in tape.nodes]
    limit = common_limit([array.size for _, array in arrays.values()], NUMBERS)
    return {
        "title": title,
        "nodes": nodes,
        "tensors": [encode(array, limit) for _, array in arrays.values()],
        "sources": [{method: source_of(op, method) for method in ("forward", "backward")} for op in classes],
    }


def _node(node: TapeNode, number: Callable[[Array | None], int | None], classes: list[type]) -> dict[str, Any]:
    data: dict[str, Any] = {
        **vars(node),
        "kind": node.kind,
        "dtype": str(node.dtype),
        "value": number(node.value),
        "gradient": number(node.gradient),
        "inputs": [
            # an input that is a node needs no value here, because the node has it
            {**vars(x), "value": number(x.value) if x.node is None else None, "gradient": number(x.gradient)}
            for x in node.inputs
        ],
        "arrivals": [vars(arrival) for arrival in node.arrivals],
    }
    op = data.pop("op")
    if op is not None:
        data["source"] = classes.index(type(op))
        data["options"] = options_of(op)
    if isinstance(op, (Conv2d, Im2Col)):
        windows = node.shape[2:] if isinstance(op, Conv2d) else node.shape[1:3]  # (OH, OW)
        data["window"] = {**vars(op.window), "image": node.inputs[0].shape, "output": windows}
    return data


def frame(page: str, title: str, height: int = 760) -> str:
    """Return the page in a sandboxed frame that may only run its own script, for the output of a notebook cell."""
    return (
        f'<iframe sandbox="allow-scripts" title="{html.escape(title)}" srcdoc="{html.escape(page)}" '
        f'style="width: 100%; height: {height}px; border: 1px solid #8886; border-radius: 8px"></iframe>'
    )


def shown_part(shape: tuple[int, ...], limit: int) -> tuple[int, ...]:
    """Return how much of each axis, from its start, fits into ``limit`` numbers.

    The last two axes are an image or a matrix, which is cut only if it does not fit by itself.

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


def common_limit(counts: Sequence[int], budget: int) -> int:
    """Return the largest limit, from SMALLEST to LARGEST, for which ``sum(min(count, limit))`` is within ``budget``.

    >>> common_limit([10, 100, 1000], 250)
    140
    """
    limits = range(SMALLEST + 1, LARGEST + 1)
    return SMALLEST + bisect_right(limits, budget, key=lambda limit: sum(min(count, limit) for count in counts))


def encode(array: Array, limit: int) -> dict[str, Any]:
    """Encode ``array`` for the page: its shape, its statistics, and its first numbers as bytes in base64.

    Bytes 1 to 255 are even steps over ``range``. If m is the largest magnitude, the range is (-m, m) if any number is
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
    """Compute the statistics of the whole array. Minimum, maximum, mean and std are those of its finite numbers."""
    with np.errstate(over="ignore", invalid="ignore"):
        of_finite = {
            name: _json(getattr(finite, name)()) if finite.size else None for name in ("min", "max", "mean", "std")
        }
        norm = _json(l2_norm(numbers))
    return {**of_finite, "norm": norm, "zeros": int((numbers == 0).sum()), "not_finite": numbers.size - finite.size}


def _json(number: float) -> float | str:
    """Convert a number for JSON, which lacks NaN and infinity: they become strings for JavaScript's Number()."""
    return float(f"{number:.9g}") if math.isfinite(number) else json.dumps(float(number))


def options_of(op: Op) -> dict[str, str]:
    """Return the arguments that the op was made with, such as a stride or an axis, if it keeps them by name."""
    options: dict[str, str] = {}
    for name in inspect.signature(type(op).__init__).parameters:
        value = getattr(op, name, None)
        if name == "window":  # of a convolution or a pooling: kernel, stride, padding, dilation
            options.update({part: "x".join(map(str, pair)) for part, pair in vars(value).items()})
        elif isinstance(value, (bool, int, float, str, tuple)):
            options[name] = str(value)
    return options


def source_of(op: type[Op], name: str) -> dict[str, str]:
    """Return the source of a method, or a comment if Python does not have it (a class typed at the prompt).

    If the method calls ``super()``, the method of the base class follows. ``place`` is of the form
    ``"minires/ops/conv.py, line 143"``.
    """
    places, texts = [], []
    for owner in (cls for cls in op.__mro__ if name in vars(cls)):
        place, text = _place_and_text(vars(owner)[name])
        places.append(place)
        texts.append(f"class {owner.__name__}:\n{text}")
        if "super()" not in text:
            break
    return {"place": places[0], "text": "\n\n".join(texts)}


def _place_and_text(method: Any) -> tuple[str, str]:
    try:
        lines, line = inspect.getsourcelines(method)
        path = Path(inspect.getsourcefile(method) or "")
    except (OSError, TypeError):
        return method.__qualname__, "    ...  # Python does not have its source"
    shown = path.relative_to(PACKAGE.parent).as_posix() if path.is_relative_to(PACKAGE) else path.name
    return f"{shown}, line {line}", indent(dedent("".join(lines)).rstrip(), "    ")
