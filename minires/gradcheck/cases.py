"""The table of all ops with the cases that gradcheck tries: different sizes, strides 1 to 3, broadcasting both ways.

The inputs keep away from the kinks of their op: max needs values that are well apart, log needs positive ones. Ties and
values at a kink have separate tests, because there is no gradient to compare with.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from .. import ops
from ..core import backend
from ..core.tensor import Tensor
from ..errors import ArgumentError, GradcheckError
from .check import largest_error
from .diagnosis import NumPyArray
from .problem import Function

Draw = Callable[[np.random.Generator], NumPyArray]


class Case:
    """An op with its options, and how to draw the inputs that are checked."""

    def __init__(self, name: str, function: Function, *draws: Draw, **options: Any) -> None:
        self.name, self.function, self.draws = name, partial(function, **options), draws

    def inputs(self, seed: int = 0) -> list[Tensor]:
        """Float64 tensors that require a gradient, the same for the same seed."""
        rng = np.random.default_rng(seed)
        return [Tensor(draw(rng), requires_grad=True, dtype="float64") for draw in self.draws]


@dataclass(frozen=True)
class CheckedCase:
    """The outcome of one case at one order. ``error`` is the largest relative error, or None if the check failed."""

    op: str
    case: str
    order: int
    ok: bool
    error: float | None
    message: str
    seconds: float


def check_ops(names: Sequence[str] = (), orders: Sequence[int] = (1, 2), seed: int = 0) -> Iterator[CheckedCase]:
    """Check the cases of the named ops, by default of all ops, at every order.

    Returns
    -------
    iterator of CheckedCase
        The results, each as soon as it is computed.

    Raises
    ------
    ArgumentError
        Immediately, for a name that is not an op with a gradient.
    """
    for name in names:
        if name in EXEMPT:
            raise ArgumentError(f"gradcheck: {name} is not checked: {EXEMPT[name]}.")
        if name not in CASES:
            raise ArgumentError(f"gradcheck: there is no op {name!r}; the ops are {', '.join(sorted(CASES))}.")
    return (_result(op, case, order, seed) for op in names or sorted(CASES) for case in CASES[op] for order in orders)


def _result(op: str, case: Case, order: int, seed: int) -> CheckedCase:
    start, error, message = time.perf_counter(), None, ""
    try:
        error = largest_error(case.function, case.inputs(seed), order=order, seed=seed)
    except GradcheckError as failure:
        message = str(failure)
    return CheckedCase(op, case.name, order, not message, error, message, time.perf_counter() - start)


def normal(*shape: int) -> Draw:
    """Standard normal numbers."""
    return lambda rng: np.asarray(rng.standard_normal(shape))


def nonzero(*shape: int) -> Draw:
    """Numbers of both signs, at least 0.3 away from zero, for ops with a kink or a pole at 0."""
    return lambda rng: np.asarray(rng.choice([-1.0, 1.0], shape) * rng.uniform(0.3, 2.0, shape))


def positive(*shape: int) -> Draw:
    """Numbers from 0.3 to 2."""
    return lambda rng: np.asarray(rng.uniform(0.3, 2.0, shape))


def fractions(*shape: int) -> Draw:
    """Numbers from 0.1 to 0.9, for probabilities."""
    return lambda rng: np.asarray(rng.uniform(0.1, 0.9, shape))


def distinct(*shape: int) -> Draw:
    """Numbers around 0 that differ from each other and from 0 by at least 0.05, so that a step changes no winner."""
    count = math.prod(shape)
    return lambda rng: (rng.permutation(count) - count // 2 + 0.5).reshape(shape) / 10


def _elementwise(function: Function, draw: Callable[..., Draw]) -> list[Case]:
    return [Case("matrix", function, draw(4, 3)), Case("scalar", function, draw())]


def _broadcast(function: Function, draw: Callable[..., Draw]) -> list[Case]:
    """Equal shapes, either side stretched, axes of size 1, and missing axes."""
    return [
        Case("same shape", function, draw(3, 4), draw(3, 4)),
        Case("left stretched", function, draw(3, 1), draw(2, 3, 4)),
        Case("right stretched", function, draw(2, 3, 4), draw(1, 4)),
        Case("both stretched", function, draw(5, 1, 3), draw(4, 1)),
        Case("with a scalar", function, draw(2, 3), draw()),
    ]


def _reduction(function: Function, draw: Callable[..., Draw]) -> list[Case]:
    return [
        Case("all axes", function, draw(3, 4)),
        Case("axis 1", function, draw(3, 4, 2), axis=1),
        Case("axes 0 and -1, kept", function, draw(3, 4, 2), axis=(0, -1), keepdims=True),
    ]


def _dropout_with_one_mask(x: Tensor) -> Tensor:
    """Dropout that restores the random generator, so that every call draws the same mask."""
    bits = backend.generator().bit_generator
    before = bits.state
    try:
        return ops.dropout(x, 0.4)
    finally:
        bits.state = before


def _softmax(function: Function, draw: Callable[..., Draw]) -> list[Case]:
    return [
        Case("last axis", function, draw(3, 5)),
        Case("axis 0", function, draw(4, 3), axis=0),
        Case("axis 1 of 3", function, draw(2, 4, 3), axis=1),
    ]


def _batch_norm(training: bool) -> Function:
    mean, var = (None, None) if training else (np.array([0.3, -0.2, 0.5]), np.array([0.5, 2.0, 1.2]))
    return lambda x, gamma, beta: ops.batch_norm(x, gamma, beta, mean, var, training)


def _pooling(function: Function, draw: Callable[..., Draw]) -> list[Case]:
    return [
        Case("side by side", function, draw(2, 3, 6, 4), kernel_size=(3, 2)),
        Case("overlapping, padded", function, draw(2, 3, 7, 5), kernel_size=3, stride=2, padding=1),
        Case("rows left over", function, draw(1, 3, 7, 5), kernel_size=2, stride=(3, 1)),
    ]


def _each(names: list[str], cases: Callable[..., list[Case]], draw: Callable[..., Draw]) -> dict[str, list[Case]]:
    """The same cases for several ops."""
    return {name: cases(getattr(ops, name), draw) for name in names}


_X, _W = normal(2, 3, 7, 5), normal(4, 3, 3, 2)  # of convolutions
_MASK = np.array([[True, False, True, True], [False, True, False, True], [True, True, False, False]])
_LABELS = np.array([4, 0, 2])

# op -> its cases
CASES: dict[str, list[Case]] = {
    # arithmetic
    **_each(["add", "sub", "mul", "maximum", "minimum"], _broadcast, normal),
    **_each(["div"], _broadcast, nonzero),
    **_each(["neg", "exp"], _elementwise, normal),
    **_each(["log", "sqrt"], _elementwise, positive),
    **_each(["abs"], _elementwise, nonzero),
    "pow": [
        *(Case(f"exponent {p:g}", lambda x, p=p: x**p, nonzero(4, 3)) for p in (0, 1, 2, 3, -1, -2)),
        Case("exponent 2.5", lambda x: x**2.5, positive(4, 3)),
        Case("tensor exponent", ops.pow, positive(4, 3), normal(3)),
        Case("number to a tensor", lambda x: 2.0**x, normal(4, 3)),
    ],
    "clip": [
        Case("both bounds", ops.clip, nonzero(4, 3), low=-0.2, high=0.2),
        Case("low only", ops.clip, nonzero(4, 3), low=0),
        Case("high only", ops.clip, nonzero(4, 3), high=0.1),
    ],
    "where": [
        Case("same shape", lambda a, b: ops.where(_MASK, a, b), normal(3, 4), normal(3, 4)),
        Case("broadcast", lambda a, b: ops.where(_MASK, a, b), normal(2, 1, 4), normal(3, 1)),
    ],
    # reductions and broadcasting
    **_each(["sum", "mean", "logsumexp"], _reduction, normal),
    **_each(["max", "min"], _reduction, distinct),
    "var": [*_reduction(ops.var, normal), Case("biased", ops.var, normal(3, 4), axis=0, correction=0)],
    "broadcast_to": [
        Case("size 1", ops.broadcast_to, normal(3, 1), shape=(3, 4)),
        Case("missing axes", ops.broadcast_to, normal(4), shape=(2, 3, 4)),
        Case("both", ops.broadcast_to, normal(3, 1), shape=(2, 3, 4)),
    ],
    "sum_to": [
        Case("size 1", ops.sum_to, normal(3, 4), shape=(3, 1)),
        Case("missing axes", ops.sum_to, normal(2, 3, 4), shape=(4,)),
        Case("scalar", ops.sum_to, normal(3, 4), shape=()),
    ],
    # shapes
    "reshape": [Case("with -1", lambda x: x.reshape(4, -1), normal(2, 3, 4))],
    "flatten": [Case("from axis 1", ops.flatten, normal(2, 3, 4), start_axis=1)],
    "squeeze": [
        Case("all", ops.squeeze, normal(1, 3, 1, 2)),
        Case("one axis", ops.squeeze, normal(1, 3, 1), axis=2),
    ],
    "expand_dims": [Case("last", ops.expand_dims, normal(2, 3), axis=-1)],
    "transpose": [
        Case("reversed", ops.transpose, normal(2, 3, 4)),
        Case("cyclic", lambda x: ops.transpose(x, 1, 2, 0), normal(2, 3, 4)),
        Case("cyclic, equal sizes", lambda x: ops.transpose(x, 1, 2, 0), normal(3, 3, 3)),
    ],
    "concatenate": [
        Case("axis 0", lambda a, b: ops.concatenate([a, b]), normal(2, 3), normal(4, 3)),
        Case("three, axis -1", lambda *parts: ops.concatenate(parts, -1), normal(3, 2), normal(3, 1), normal(3, 4)),
    ],
    "stack": [Case("axis 1", lambda a, b: ops.stack([a, b], axis=1), normal(3, 4), normal(3, 4))],
    "pad": [
        Case("pairs", ops.pad, normal(3, 4), padding=((1, 0), (0, 2))),
        Case("from the last axis", ops.pad, normal(2, 3, 4), padding=(1, 2, 0, 3), value=7.0),
    ],
    "flip": [
        Case("all axes", ops.flip, normal(3, 4)),
        Case("last axis", ops.flip, normal(2, 3, 4), axis=-1),
    ],
    "getitem": [
        Case("slices", lambda x: x[1:, ::-2], normal(3, 5)),
        Case("integer and new axis", lambda x: x[1, None], normal(3, 4)),
        Case("ellipsis", lambda x: x[..., 2], normal(2, 3, 4)),
        Case("repeated integers", lambda x: x[np.array([2, 0, 2, 2])], normal(3, 4)),
        Case("pairs, one repeated", lambda x: x[np.array([0, 2, 0]), np.array([1, 3, 1])], normal(3, 4)),
        Case("mask", lambda x: x[_MASK], normal(3, 4)),
    ],
    "astype": [Case("to its own type", ops.astype, normal(3, 4), dtype="float64")],
    "to_device": [Case("to the CPU", ops.to_device, normal(3, 4), device="cpu")],
    # matrix products
    "matmul": [
        Case("matrices", ops.matmul, normal(3, 4), normal(4, 2)),
        Case("square", ops.matmul, normal(3, 3), normal(3, 3)),
        Case("stacks", ops.matmul, normal(2, 3, 4), normal(2, 4, 5)),
        Case("stacks that broadcast", ops.matmul, normal(3, 1, 2, 4), normal(2, 4, 3)),
        Case("one matrix for a stack", ops.matmul, normal(3, 2, 4), normal(4, 5)),
        Case("row vector", ops.matmul, normal(4), normal(2, 4, 3)),
        Case("column vector", ops.matmul, normal(2, 3, 4), normal(4)),
        Case("two vectors", ops.matmul, normal(4), normal(4)),
    ],
    "linear": [
        Case("with bias", ops.linear, normal(4, 5), normal(3, 5), normal(3)),
        Case("without bias", ops.linear, normal(4, 5), normal(3, 5)),
        Case("three axes", ops.linear, normal(2, 4, 5), normal(3, 5), normal(3)),
        Case("one vector", ops.linear, normal(5), normal(3, 5), normal(3)),
    ],
    # convolution: x is (N, C, H, W), weight is (O, C, KH, KW)
    "conv2d": [
        Case("plain", ops.conv2d, normal(2, 3, 5, 4), normal(4, 3, 3, 2), normal(4)),
        Case("stride 2, padding 1", ops.conv2d, _X, _W, stride=2, padding=1),
        Case("rows left over", ops.conv2d, _X, _W, normal(4), stride=3),
        Case("uneven options", ops.conv2d, _X, _W, stride=(3, 1), padding=(0, 2), dilation=(1, 3)),
        Case("dilation 2", ops.conv2d, normal(2, 3, 6, 5), normal(2, 3, 3, 2), normal(2), dilation=2, padding=1),
        Case("groups", ops.conv2d, normal(3, 4, 5, 6), normal(6, 2, 3, 2), normal(6), groups=2, stride=2, padding=1),
        Case("depthwise", ops.conv2d, normal(2, 3, 5, 4), normal(3, 1, 3, 2), groups=3, padding=1),
        Case("1x1", ops.conv2d, normal(2, 3, 5, 4), normal(6, 3, 1, 1), stride=2),
        Case("batch 1", ops.conv2d, normal(1, 3, 5, 4), normal(4, 3, 3, 2), normal(4), padding=1),
    ],
    "conv_transpose2d": [
        Case("plain", ops.conv_transpose2d, normal(2, 3, 5, 4), normal(3, 4, 3, 2), normal(4)),
        Case("stride 2, padding 1", ops.conv_transpose2d, normal(2, 3, 4, 5), normal(3, 4, 3, 2), stride=2, padding=1),
        Case(
            "uneven options", ops.conv_transpose2d, normal(2, 3, 3, 4), normal(3, 4, 3, 2), normal(4),
            stride=(3, 2), padding=(2, 0), output_padding=(2, 1), dilation=(1, 2),
        ),
        Case("groups", ops.conv_transpose2d, normal(3, 4, 2, 5), normal(4, 3, 3, 2), normal(6), groups=2, stride=2),
        Case("batch 1", ops.conv_transpose2d, normal(1, 3, 5, 4), normal(3, 2, 3, 4), padding=1),
    ],
    "im2col": [
        Case("overlapping", ops.im2col, normal(2, 3, 4, 5), kernel_size=(3, 2), padding=1),
        Case("uneven options", ops.im2col, _X, kernel_size=(2, 3), stride=(3, 1), padding=(0, 1), dilation=(1, 2)),
    ],
    "col2im": [
        Case("overlapping", ops.col2im, normal(2, 3, 5, 18), x_shape=(2, 3, 3, 4), kernel_size=(3, 2), padding=1),
        Case("stride", ops.col2im, normal(1, 3, 2, 12), x_shape=(1, 2, 7, 5), kernel_size=(3, 2), stride=(2, 3)),
    ],
    # pooling
    **_each(["max_pool2d"], _pooling, distinct),
    **_each(["avg_pool2d"], _pooling, normal),
    "global_avg_pool2d": [Case("images", ops.global_avg_pool2d, normal(2, 3, 5, 4))],
    # normalisation
    "batch_norm": [
        Case("training", _batch_norm(training=True), normal(2, 3, 5, 4), nonzero(3), normal(3)),
        Case("training, vectors", _batch_norm(training=True), normal(5, 3), nonzero(3), normal(3)),
        Case("training, batch 1", _batch_norm(training=True), normal(1, 3, 4, 2), nonzero(3), normal(3)),
        Case("evaluation", _batch_norm(training=False), normal(2, 3, 5, 4), nonzero(3), normal(3)),
        Case("evaluation, batch 1", _batch_norm(training=False), normal(1, 3), nonzero(3), normal(3)),
    ],
    "layer_norm": [
        Case("last axis", ops.layer_norm, normal(3, 5), nonzero(5), normal(5)),
        Case("two axes", ops.layer_norm, normal(2, 3, 4), nonzero(3, 4), normal(3, 4)),
        Case("without scale and shift", ops.layer_norm, normal(3, 5)),
    ],
    # activations
    **_each(["relu"], _elementwise, nonzero),
    **_each(["gelu", "tanh", "sigmoid"], _elementwise, normal),
    **_each(["softmax", "log_softmax"], _softmax, normal),
    "leaky_relu": [Case("slope 0.2", ops.leaky_relu, nonzero(4, 3), negative_slope=0.2)],
    "dropout": [
        Case("training", _dropout_with_one_mask, normal(4, 5)),
        Case("evaluation", ops.dropout, normal(4, 5), p=0.4, training=False),
    ],
    "residual_add": [
        Case("with relu", ops.residual_add, nonzero(2, 3, 4), nonzero(2, 3, 4)),
        Case("without activation", ops.residual_add, normal(2, 3, 4), normal(2, 3, 4), activation=None),
    ],
    # losses
    "cross_entropy": [
        Case("labels", ops.cross_entropy, normal(3, 5), labels=_LABELS),
        Case("smoothed", ops.cross_entropy, normal(3, 5), labels=_LABELS, label_smoothing=0.2),
        Case("batch 1", ops.cross_entropy, normal(1, 5), labels=_LABELS[:1]),
    ],
    "mse_loss": [Case("both sides", ops.mse_loss, normal(3, 5), normal(3, 5))],
    "binary_cross_entropy_with_logits": [
        Case("both sides", ops.binary_cross_entropy_with_logits, nonzero(3, 5), fractions(3, 5))
    ],
}  # fmt: skip

# op -> why it has no cases
EXEMPT: dict[str, str] = {"argmax": "an index does not change with a small step, so it has no gradient"}
