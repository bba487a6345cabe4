"""The stepper's page: one HTML file with everything in it, which asks nobody for anything."""

from __future__ import annotations

import html
import json
from dataclasses import asdict
from importlib.resources import files
from typing import Any

from ..core.backend import Array
from ..ops.conv import Conv2d, Im2Col
from .heatmap import common_limit, encode
from .textbook import options_of, source_of
from .trace import Input, Node, Tape

NUMBERS = 130_000  # that all heat maps show together: in base64 they are 175 kB of a page's 300
LARGEST = 16_384  # numbers of one heat map
SCRIPTS = ("heatmap.js", "overview.js", "columns.js", "steps.js", "stepper.js")


def page(tape: Tape, title: str) -> str:
    """The page as HTML. Whatever comes from outside, a name or a source, is text in it and never markup."""
    web = files(__package__) / "web"
    parts = {
        "title": html.escape(title),
        "style": (web / "stepper.css").read_text(encoding="utf-8"),
        "script": "\n".join((web / name).read_text(encoding="utf-8") for name in SCRIPTS),
        "data": _as_script(page_data(tape, title)),
    }
    text = (web / "stepper.html").read_text(encoding="utf-8")
    before, *sections = text.split("{{")
    for section in sections:  # each placeholder once: what is put in is not searched again
        name, after = section.split("}}", 1)
        before += parts[name] + after
    return before


def _as_script(data: Any) -> str:
    """JSON for a <script>: without ``<``, it can neither end the script nor begin a comment."""
    return json.dumps(data, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")


def page_data(tape: Tape, title: str) -> dict[str, Any]:
    """What the page's script works on. Tensors, and the classes of ops, are listed once and referred to by number."""
    tensors = _Tensors()
    classes = list(dict.fromkeys(type(node.op) for node in tape.nodes if node.op is not None))
    nodes = [_node(node, tensors, classes) for node in tape.nodes]
    return {
        "title": title,
        "nodes": nodes,
        "tensors": tensors.encoded(),
        "sources": [asdict(source_of(op)) for op in classes],
    }


def _node(node: Node, tensors: _Tensors, classes: list[type]) -> dict[str, Any]:
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


def _windows(node: Node) -> tuple[int, ...]:
    """(OH, OW): how many windows there are, of a convolution (N, O, OH, OW) or an im2col (N, OH, OW, C*KH*KW)."""
    return node.shape[2:] if isinstance(node.op, Conv2d) else node.shape[1:3]


def _input(edge: Input, tensors: _Tensors) -> dict[str, Any]:
    return {
        "name": edge.name,
        "shape": edge.shape,
        "node": edge.node,
        "label": edge.label,
        "role": edge.role,
        "value": tensors.number(edge.value) if edge.node is None else None,  # the node has it otherwise
        "gradient": tensors.number(edge.gradient),
        "adds": edge.adds,
        "summed_from": edge.summed_from,
    }


class _Tensors:
    """Arrays in the order in which they were first asked for; the same array has the same number."""

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
    """The page in a frame that may run its script and nothing else, for the output of a notebook's cell."""
    return (
        f'<iframe sandbox="allow-scripts" title="{html.escape(title)}" srcdoc="{html.escape(page)}" '
        f'style="width: 100%; height: {height}px; border: 1px solid #8886; border-radius: 8px"></iframe>'
    )
