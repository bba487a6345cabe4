"""A whole network in one call: its layers become a list of steps, which compiled code runs.

For one small image, calling twenty layers from Python takes longer than computing them. For many images, running layer
after layer sends every activation through memory, although the activations of a few images would stay in the cache. So
the ops of a folded network are observed once and recorded as *steps*: what to compute, where to read and write in one
piece of memory, and the tables and sizes that the kernels need::

    step 0   LOAD      images --> memory[0]
    step 1   WINOGRAD  memory[0] --> memory[a], with weights, bias, ReLU
    step 2   WINOGRAD  memory[a] --> memory[b], plus the shortcut at memory[0]
    ...

The steps (see steps.py) run for some images at a time. If there are at least as many images as threads, each thread
runs all steps for its own images, in its own memory, and never waits for another. If there are fewer images, the
threads share the work of each step and wait for each other after it (see team.py).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ...core.autograd import Op
from ...core.backend import Array
from ...core.state import observed
from ...core.tensor import Tensor
from ...nn.folding import Conv2dAct, Replay
from ...ops.conv import Window
from ...ops.linalg import Linear
from ...ops.pool import GlobalAvgPool2d
from ...ops.shape import GetItem, Pad
from ..conv import ONE_PIXEL
from ..device import ComputeDevice
from ..elementwise import pads_channels
from ..threads import get_num_threads
from . import winograd
from .gather import pack
from .memory import CACHE_LINE, aligned, scratch_rows
from .plan import GatherPlan, forward_plan
from .steps import AVERAGE, GATHER, LOAD, PAD, STEP, TABLES, WINOGRAD, run_steps
from .team import LINE, run
from .tile import WIDE, shape_for

CACHE_FLOATS = 128 * 1024  # limit for the largest activation of the images that go through the steps together
MOST_PROGRAMS = 16  # programs kept for a model; each holds a copy of the weights
MOST_WEIGHTS = 1 << 22  # floats; with more, it is faster to read the weights of each layer once for all images

Watched = Sequence[tuple[Op, Sequence[Array], Array]]  # each op with its inputs and its output, in order


class UnsuitableError(Exception):
    """The network does something that steps cannot express. Users never see this error."""


def _address(array: Array) -> int:
    return array.__array_interface__["data"][0]


def _append(parts: list[Array], part: Array) -> int:
    """Append a part; return where it begins when all parts are joined."""
    parts.append(part)
    return sum(map(len, parts[:-1]))


class Program:
    """The steps of a network for images of one size, recorded while it ran."""

    def __init__(self, device: ComputeDevice, watched: Watched, x: Array, output: Array, members: int) -> None:
        self._device = device
        self.members = members  # threads that share a step; if 1, each thread has its own images
        self._steps: list[dict[str, int]] = []
        self._tables: list[Array] = []
        self._weights: list[Array] = []
        self._scratch = dict.fromkeys(("padded", "patches", "products", "table"), 0)
        self._arrays: dict[int, Array] = {}  # maps an address to its array, which may have views
        self._places: dict[int, tuple[int, int]] = {}  # maps an address to (offset in memory, floats), for one image
        self._free: list[tuple[int, int]] = []
        self._end = 0
        last_use = {_address(array): time for time, (_, arrays, _) in enumerate(watched) for array in arrays}
        last_use[_address(output)] = len(watched)
        n, c, h, w = x.shape
        self._add(LOAD, target=self._place(x), channels=c, out_channels=c, out_height=h, out_width=w)
        for time, (op, arrays, result) in enumerate(watched):
            self._write_down(op, arrays, result)
            for address in dict.fromkeys(map(_address, arrays)):
                if address in self._places and last_use[address] == time:
                    self._free.append(self._places[address])
        if output.ndim != 2 or len(output) != n or self._steps[-1]["target"] != self._where(output):
            raise UnsuitableError  # the output must be the result of the last step
        self.outputs = output.shape[1]
        if sum(map(len, self._weights)) > MOST_WEIGHTS:
            raise UnsuitableError
        largest = max(size for _, size in self._places.values())
        self.together = max(1, CACHE_FLOATS // largest)
        self._close()

    # Recording of ops

    def _write_down(self, op: Op, arrays: Sequence[Array], result: Array) -> None:
        if isinstance(op, Conv2dAct) and op.groups == 1:
            x, weight, bias, *shortcut = arrays
            self._convolution(x, weight, bias, shortcut, op.window, op.activation == "relu", result)
        elif isinstance(op, Linear) and arrays[0].ndim == 2:
            x, weight, *bias = arrays
            shift = bias[0] if bias else np.zeros(len(weight), np.float32)
            self._convolution(x, weight[:, :, None, None], shift, [], ONE_PIXEL, False, result)
        elif isinstance(op, GlobalAvgPool2d):
            _, c, h, w = arrays[0].shape
            source, target = self._where(arrays[0]), self._place(result)
            self._add(AVERAGE, source=source, target=target, channels=c, height=h, width=w)
        elif isinstance(op, GetItem):
            pass  # later ops find the array of a view by its address; a copy is not found, and so refused
        elif isinstance(op, Pad) and pads_channels(op):
            self._padding(arrays[0], result, op.widths[1][0])
        else:
            raise UnsuitableError

    def _convolution(
        self, x: Array, weight: Array, bias: Array, shortcut: list[Array], window: Window, relu: bool, result: Array
    ) -> None:
        if not self._device.takes(x, weight, bias, *shortcut):
            raise UnsuitableError
        size, outputs, channels = (*x.shape[2:], 1, 1)[:2], len(weight), x.shape[1]
        more = {
            "source": self._where(x), "shortcut": self._where(shortcut[0]) if shortcut else 0,
            "adds": bool(shortcut), "relu": relu, "target": self._place(result),
        }  # fmt: skip
        block = np.broadcast_to(np.float32(0), (1 << 13, *size, channels))  # as large as any batch
        plan: winograd.PatchPlan | GatherPlan
        shape = shape_for(outputs)
        by_outputs = self.members > 1 and outputs >= self.members * shape.block
        if winograd.fits(block.shape, outputs, window):
            split = 1 if by_outputs else self.members
            patches = winograd.patches_at_once(channels)
            kind, plan = WINOGRAD, winograd.patch_plan(size, channels, outputs, window.padding, split, patches)
            packed = winograd.transform(self._device.contiguous(weight), flipped=False)
            if packed is None:
                raise UnsuitableError
            self._need(**winograd.scratch_floats(plan, shape))
        else:
            by_outputs = by_outputs and weight.size > x.size // len(x)
            split = 1 if by_outputs else self.members
            kind, plan = GATHER, forward_plan(size, channels, outputs, window, split)
            packed = pack(self._device.contiguous(weight), plan, channels_first=False)
            self._need(padded=plan.sizes.padded_floats, products=shape.size)
            more["direct"] = plan.direct
        more["by_outputs"] = by_outputs
        shift = np.pad(bias, (0, -outputs % shape.block))
        self._add(kind, plan, weights=self._keep(packed), bias=self._keep(shift), **more)

    def _padding(self, x: Array, result: Array, before: int) -> None:
        """Record the padding of channels; x is a recorded array, or a view of some of its rows and columns."""
        source = self._arrays.get(_address(x), np.empty(0))
        if x.ndim != 4 or source.ndim != 4 or (x.shape[:2], x.strides[:2]) != (source.shape[:2], source.strides[:2]):
            raise UnsuitableError
        (sh, between_rows), (sw, between_columns) = map(divmod, x.strides[2:], source.strides[2:])
        if between_rows or between_columns:
            raise UnsuitableError
        _, channels, height, width = source.shape
        _, outputs, oh, ow = result.shape
        self._add(
            PAD, source=self._where(source), target=self._place(result), size=height * width * channels,
            row=sh * width * channels, column=sw * channels, before=before, channels=channels, out_channels=outputs,
            out_height=oh, out_width=ow,
        )  # fmt: skip

    # Memory. An array's place becomes free after the last step that reads the array.

    def _where(self, x: Array) -> int:
        address = _address(x)
        if address not in self._places or self._arrays[address].shape != x.shape:
            raise UnsuitableError
        return self._places[address][0]

    def _place(self, x: Array) -> int:
        size = x.size // len(x)
        place = min((place for place in self._free if place[1] >= size), key=lambda place: place[1], default=None)
        if place is None:
            place = (self._end, size)
            self._end += size
        else:
            self._free.remove(place)
        self._arrays[_address(x)], self._places[_address(x)] = x, place
        return place[0]

    # Tables, weights and steps

    def _need(self, **floats: int) -> None:
        for name, number in floats.items():
            self._scratch[name] = max(self._scratch[name], number)

    def _keep(self, numbers: Array) -> int:
        """Append numbers to the weights; return where they begin, which is at a cache line."""
        return _append(self._weights, np.pad(numbers.reshape(-1), (0, -numbers.size % CACHE_LINE)))

    def _add(self, kind: int, plan: winograd.PatchPlan | GatherPlan | None = None, **fields: int) -> None:
        step = {"kind": kind, **fields, **(plan.sizes._asdict() if plan else {})}
        for name in TABLES:
            if hasattr(plan, name):
                table = getattr(plan, name).ravel()
                step[name] = _append(self._tables, table)
                step[name + "_end"] = step[name] + len(table)
        self._steps.append(step)

    def _close(self) -> None:
        """Join everything into a few arrays, and make places large enough for all images that are computed together."""
        self.steps = np.zeros(len(self._steps), STEP)
        for row, step in zip(self.steps, self._steps, strict=True):
            for name, number in step.items():
                row[name] = int(number) * (self.together if name in ("source", "target", "shortcut") else 1)
        self.tables = np.concatenate([*self._tables, np.zeros(1, np.int64)])
        weights = [*self._weights, np.zeros(16, np.float32)]
        self.weights = aligned(sum(map(len, weights)))
        np.concatenate(weights, out=self.weights)
        self.floats = self._end * self.together + WIDE.block
        del self._tables, self._weights, self._steps, self._arrays, self._places, self._free

    def __call__(self, x: Array) -> Any:
        """Compute the logits (N, K) of images (N, C, H, W); decline if some of their numbers are extreme."""
        n = len(x)
        flat = x if x.flags.c_contiguous else x.transpose(0, 2, 3, 1)
        if not (flat.flags.c_contiguous and flat.flags.writeable):
            x = flat = np.array(x, order="C")
        strides = np.array(x.strides, np.int64) // x.itemsize
        flat = flat.reshape(-1)
        y, extreme = np.empty((n, self.outputs), np.float32), np.zeros(self.together, np.bool_)
        alone = self.members == 1  # each thread has its own images
        threads = get_num_threads() if alone else self.members
        memories = scratch_rows(threads if alone else 1, self.floats, "activations")
        areas = (scratch_rows(threads, floats, name) for name, floats in self._scratch.items())
        run(
            threads, run_steps, self.steps, self.tables, self.weights, memories, *areas, flat, strides, y.reshape(-1),
            self.outputs, self.together, extreme, np.zeros((threads, LINE), np.int64), n,
        )  # fmt: skip
        return NotImplemented if extreme.any() else y


def replay(device: ComputeDevice, op: Replay, x: Array) -> Any:
    """Run the program of a :class:`Replay` op for x, recording it first if necessary: the host code of this op."""
    if x.ndim != 4 or not device.takes(x):
        return NotImplemented
    threads = get_num_threads()
    members = 1 if len(x) >= threads else threads
    key = (*x.shape[1:], members)
    try:
        program = op.programs[key]
    except KeyError:
        program = op.programs[key] = _watch(device, op.model, x, members)
        for oldest in list(op.programs)[:-MOST_PROGRAMS]:
            op.programs.pop(oldest, None)
    return NotImplemented if program is None else program(x)


def _watch(device: ComputeDevice, model: Any, x: Array, members: int) -> Program | None:
    """Record the ops for two images: with only one, a slice of the batch would look like the whole batch."""
    watched: list[Any] = []
    _, channels, height, width = x.shape
    two = np.resize(x[:2].transpose(0, 2, 3, 1), (2, height, width, channels)).transpose(0, 3, 1, 2)

    def watch(op: Op, phase: str, arrays: Sequence[Array]) -> Callable[[Array], None]:
        return lambda output: watched.append((op, arrays, output))

    with observed(watch):
        output = model(Tensor.wrap(two))
    if not isinstance(output, Tensor):  # several of them
        return None
    try:
        return Program(device, watched, two, output.data, members)
    except UnsuitableError:
        return None
