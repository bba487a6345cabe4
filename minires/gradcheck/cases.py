"""The table of all ops with the cases that gradcheck tries: different sizes, strides 1 to 3, broadcasting both ways.

The inputs keep away from the kinks of their op: max needs values that are well apart, log needs positive ones. Ties and
values at a kink have separate tests, because there is no gradient to compare with.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
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


@dataclass(frozen=True)
class Case:
    """An op with its options, and how to draw the inputs that are checked."""

    name: str
    function: Function
    draws: tuple[Draw, ...]

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
    return (
        _result(name, case, order, seed) for name in names or sorted(CASES) for case in CASES[name] for order in orders
    )


def _result(name: str, case: Case, order: int, seed: int) -> CheckedCase:
    start, error, message = time.perf_counter(), None, ""
    try:
        error = largest_error(case.function, case.inputs(seed), order=order, seed=seed)
    except GradcheckError as failure:
        message = str(failure)
    return CheckedCase(name, case.name, order, not message, error, message, time.perf_counter() - start)


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

    def draw(rng: np.random.Generator) -> NumPyArray:
        count = int(np.prod(shape))
        return (rng.permutation(count) - count // 2 + 0.5).reshape(shape) / 10

    return draw


def case(name: str, function: Function, *draws: Draw) -> Case:
    """A case, with the draws of its inputs as the last arguments."""
    return Case(name, function, draws)


def _elementwise(function: Function, draw: Callable[..., Draw]) -> list[Case]:
    return [case("matrix", function, draw(4, 3)), case("scalar", function, draw())]


def _broadcast(function: Function, draw: Callable[..., Draw]) -> list[Case]:
    """Equal shapes, either side stretched, axes of size 1, and missing axes."""
    return [
        case("same shape", function, draw(3, 4), draw(3, 4)),
        case("left stretched", function, draw(3, 1), draw(2, 3, 4)),
        case("right stretched", function, draw(2, 3, 4), draw(1, 4)),
        case("both stretched", function, draw(5, 1, 3), draw(4, 1)),
        case("with a scalar", function, draw(2, 3), draw()),
    ]


def _reduction(function: Function, draw: Callable[..., Draw]) -> list[Case]:
    return [
        case("all axes", function, draw(3, 4)),
        case("axis 1", lambda x: function(x, axis=1), draw(3, 4, 2)),
        case("axes 0 and -1, kept", lambda x: function(x, axis=(0, -1), keepdims=True), draw(3, 4, 2)),
    ]


def _dropout_with_one_mask(x: Tensor) -> Tensor:
    """Dropout that restores the random generator, so that every call draws the same mask."""
    bits = backend.generator().bit_generator
    before = bits.state
    try:
        return ops.dropout(x, 0.4)
    finally:
        bits.state = before


def _batch_norm(training: bool) -> Function:
    mean, var = (None, None) if training else (np.array([0.3, -0.2, 0.5]), np.array([0.5, 2.0, 1.2]))
    return lambda x, gamma, beta: ops.batch_norm(x, gamma, beta, mean, var, training)


def _convolution(**options: Any) -> Function:
    return lambda x, weight, bias=None: ops.conv2d(x, weight, bias, **options)


def _transposed(**options: Any) -> Function:
    return lambda x, weight, bias=None: ops.conv_transpose2d(x, weight, bias, **options)


_MASK = np.array([[True, False, True, True], [False, True, False, True], [True, True, False, False]])
_LABELS = np.array([4, 0, 2])

# op -> its cases
CASES: dict[str, list[Case]] = {
    # arithmetic
    "add": _broadcast(ops.add, normal),
    "sub": _broadcast(ops.sub, normal),
    "mul": _broadcast(ops.mul, normal),
    "div": _broadcast(ops.div, nonzero),
    "maximum": _broadcast(ops.maximum, normal),
    "minimum": _broadcast(ops.minimum, normal),
    "neg": _elementwise(ops.neg, normal),
    "exp": _elementwise(ops.exp, normal),
    "log": _elementwise(ops.log, positive),
    "sqrt": _elementwise(ops.sqrt, positive),
    "abs": _elementwise(ops.abs, nonzero),
    "pow": [
        *(case(f"exponent {p:g}", lambda x, p=p: x**p, nonzero(4, 3)) for p in (0, 1, 2, 3, -1, -2)),
        case("exponent 2.5", lambda x: x**2.5, positive(4, 3)),
        case("tensor exponent", ops.pow, positive(4, 3), normal(3)),
        case("number to a tensor", lambda x: 2.0**x, normal(4, 3)),
    ],
    "clip": [
        case("both bounds", lambda x: ops.clip(x, -0.2, 0.2), nonzero(4, 3)),
        case("low only", lambda x: ops.clip(x, low=0), nonzero(4, 3)),
        case("high only", lambda x: ops.clip(x, high=0.1), nonzero(4, 3)),
    ],
    "where": [
        case("same shape", lambda a, b: ops.where(_MASK, a, b), normal(3, 4), normal(3, 4)),
        case("broadcast", lambda a, b: ops.where(_MASK, a, b), normal(2, 1, 4), normal(3, 1)),
    ],
    # reductions and broadcasting
    "sum": _reduction(ops.sum, normal),
    "mean": _reduction(ops.mean, normal),
    "var": [*_reduction(ops.var, normal), case("biased", lambda x: ops.var(x, axis=0, correction=0), normal(3, 4))],
    "max": _reduction(ops.max, distinct),
    "min": _reduction(ops.min, distinct),
    "logsumexp": _reduction(ops.logsumexp, normal),
    "broadcast_to": [
        case("size 1", lambda x: ops.broadcast_to(x, (3, 4)), normal(3, 1)),
        case("missing axes", lambda x: ops.broadcast_to(x, (2, 3, 4)), normal(4)),
        case("both", lambda x: ops.broadcast_to(x, (2, 3, 4)), normal(3, 1)),
    ],
    "sum_to": [
        case("size 1", lambda x: ops.sum_to(x, (3, 1)), normal(3, 4)),
        case("missing axes", lambda x: ops.sum_to(x, (4,)), normal(2, 3, 4)),
        case("scalar", lambda x: ops.sum_to(x, ()), normal(3, 4)),
    ],
    # shapes
    "reshape": [case("with -1", lambda x: x.reshape(4, -1), normal(2, 3, 4))],
    "flatten": [case("from axis 1", lambda x: ops.flatten(x, 1), normal(2, 3, 4))],
    "squeeze": [
        case("all", ops.squeeze, normal(1, 3, 1, 2)),
        case("one axis", lambda x: ops.squeeze(x, 2), normal(1, 3, 1)),
    ],
    "expand_dims": [case("last", lambda x: ops.expand_dims(x, -1), normal(2, 3))],
    "transpose": [
        case("reversed", ops.transpose, normal(2, 3, 4)),
        case("cyclic", lambda x: ops.transpose(x, 1, 2, 0), normal(2, 3, 4)),
        case("cyclic, equal sizes", lambda x: ops.transpose(x, 1, 2, 0), normal(3, 3, 3)),
    ],
    "concatenate": [
        case("axis 0", lambda a, b: ops.concatenate([a, b]), normal(2, 3), normal(4, 3)),
        case("three, axis -1", lambda *parts: ops.concatenate(parts, -1), normal(3, 2), normal(3, 1), normal(3, 4)),
    ],
    "stack": [case("axis 1", lambda a, b: ops.stack([a, b], axis=1), normal(3, 4), normal(3, 4))],
    "pad": [
        case("pairs", lambda x: ops.pad(x, ((1, 0), (0, 2))), normal(3, 4)),
        case("from the last axis", lambda x: ops.pad(x, (1, 2, 0, 3), value=7.0), normal(2, 3, 4)),
    ],
    "flip": [
        case("all axes", ops.flip, normal(3, 4)),
        case("last axis", lambda x: ops.flip(x, -1), normal(2, 3, 4)),
    ],
    "getitem": [
        case("slices", lambda x: x[1:, ::-2], normal(3, 5)),
        case("integer and new axis", lambda x: x[1, None], normal(3, 4)),
        case("ellipsis", lambda x: x[..., 2], normal(2, 3, 4)),
        case("repeated integers", lambda x: x[np.array([2, 0, 2, 2])], normal(3, 4)),
        case("pairs, one repeated", lambda x: x[np.array([0, 2, 0]), np.array([1, 3, 1])], normal(3, 4)),
        case("mask", lambda x: x[_MASK], normal(3, 4)),
    ],
    "astype": [case("to its own type", lambda x: ops.astype(x, "float64"), normal(3, 4))],
    "to_device": [case("to the CPU", lambda x: ops.to_device(x, "cpu"), normal(3, 4))],
    # matrix products
    "matmul": [
        case("matrices", ops.matmul, normal(3, 4), normal(4, 2)),
        case("square", ops.matmul, normal(3, 3), normal(3, 3)),
        case("stacks", ops.matmul, normal(2, 3, 4), normal(2, 4, 5)),
        case("stacks that broadcast", ops.matmul, normal(3, 1, 2, 4), normal(2, 4, 3)),
        case("one matrix for a stack", ops.matmul, normal(3, 2, 4), normal(4, 5)),
        case("row vector", ops.matmul, normal(4), normal(2, 4, 3)),
        case("column vector", ops.matmul, normal(2, 3, 4), normal(4)),
        case("two vectors", ops.matmul, normal(4), normal(4)),
    ],
    "linear": [
        case("with bias", ops.linear, normal(4, 5), normal(3, 5), normal(3)),
        case("without bias", ops.linear, normal(4, 5), normal(3, 5)),
        case("three axes", ops.linear, normal(2, 4, 5), normal(3, 5), normal(3)),
        case("one vector", ops.linear, normal(5), normal(3, 5), normal(3)),
    ],
    # convolution: x is (N, C, H, W) = (2, 3, 7, 5) or so, weight (O, C, KH, KW) = (4, 3, 3, 2) or so
    "conv2d": [
        case("plain", _convolution(), normal(2, 3, 5, 4), normal(4, 3, 3, 2), normal(4)),
        case("stride 2, padding 1", _convolution(stride=2, padding=1), normal(2, 3, 7, 5), normal(4, 3, 3, 2)),
        case("rows left over", _convolution(stride=3), normal(2, 3, 7, 5), normal(4, 3, 3, 2), normal(4)),
        case(
            "uneven options", _convolution(stride=(3, 1), padding=(0, 2), dilation=(1, 3)),
            normal(2, 3, 7, 5), normal(4, 3, 3, 2),
        ),
        case("dilation 2", _convolution(dilation=2, padding=1), normal(2, 3, 6, 5), normal(2, 3, 3, 2), normal(2)),
        case("groups", _convolution(groups=2, stride=2, padding=1), normal(3, 4, 5, 6), normal(6, 2, 3, 2), normal(6)),
        case("depthwise", _convolution(groups=3, padding=1), normal(2, 3, 5, 4), normal(3, 1, 3, 2)),
        case("1x1", _convolution(stride=2), normal(2, 3, 5, 4), normal(6, 3, 1, 1)),
        case("batch 1", _convolution(padding=1), normal(1, 3, 5, 4), normal(4, 3, 3, 2), normal(4)),
    ],
    "conv_transpose2d": [
        case("plain", _transposed(), normal(2, 3, 5, 4), normal(3, 4, 3, 2), normal(4)),
        case("stride 2, padding 1", _transposed(stride=2, padding=1), normal(2, 3, 4, 5), normal(3, 4, 3, 2)),
        case(
            "uneven options", _transposed(stride=(3, 2), padding=(2, 0), output_padding=(2, 1), dilation=(1, 2)),
            normal(2, 3, 3, 4), normal(3, 4, 3, 2), normal(4),
        ),
        case("groups", _transposed(groups=2, stride=2), normal(3, 4, 2, 5), normal(4, 3, 3, 2), normal(6)),
        case("batch 1", _transposed(padding=1), normal(1, 3, 5, 4), normal(3, 2, 3, 4)),
    ],
    "im2col": [
        case("overlapping", lambda x: ops.im2col(x, (3, 2), padding=1), normal(2, 3, 4, 5)),
        case("stride and dilation", lambda x: ops.im2col(x, (2, 3), (3, 1), (0, 1), (1, 2)), normal(2, 3, 7, 5)),
    ],
    "col2im": [
        case("overlapping", lambda cols: ops.col2im(cols, (2, 3, 3, 4), (3, 2), padding=1), normal(2, 3, 5, 18)),
        case("stride", lambda cols: ops.col2im(cols, (1, 2, 7, 5), (3, 2), stride=(2, 3)), normal(1, 3, 2, 12)),
    ],
    # pooling
    "max_pool2d": [
        case("side by side", lambda x: ops.max_pool2d(x, (3, 2)), distinct(2, 3, 6, 4)),
        case("overlapping, padded", lambda x: ops.max_pool2d(x, 3, stride=2, padding=1), distinct(2, 3, 7, 5)),
        case("rows left over", lambda x: ops.max_pool2d(x, 2, stride=(3, 1)), distinct(1, 3, 7, 5)),
    ],
    "avg_pool2d": [
        case("side by side", lambda x: ops.avg_pool2d(x, (3, 2)), normal(2, 3, 6, 4)),
        case("overlapping, padded", lambda x: ops.avg_pool2d(x, 3, stride=2, padding=1), normal(2, 3, 7, 5)),
        case("rows left over", lambda x: ops.avg_pool2d(x, 2, stride=(3, 1)), normal(1, 3, 7, 5)),
    ],
    "global_avg_pool2d": [case("images", ops.global_avg_pool2d, normal(2, 3, 5, 4))],
    # normalisation
    "batch_norm": [
        case("training", _batch_norm(training=True), normal(2, 3, 5, 4), nonzero(3), normal(3)),
        case("training, vectors", _batch_norm(training=True), normal(5, 3), nonzero(3), normal(3)),
        case("training, batch 1", _batch_norm(training=True), normal(1, 3, 4, 2), nonzero(3), normal(3)),
        case("evaluation", _batch_norm(training=False), normal(2, 3, 5, 4), nonzero(3), normal(3)),
        case("evaluation, batch 1", _batch_norm(training=False), normal(1, 3), nonzero(3), normal(3)),
    ],
    "layer_norm": [
        case("last axis", ops.layer_norm, normal(3, 5), nonzero(5), normal(5)),
        case("two axes", ops.layer_norm, normal(2, 3, 4), nonzero(3, 4), normal(3, 4)),
        case("without scale and shift", ops.layer_norm, normal(3, 5)),
    ],
    # activations
    "relu": _elementwise(ops.relu, nonzero),
    "leaky_relu": [case("slope 0.2", lambda x: ops.leaky_relu(x, 0.2), nonzero(4, 3))],
    "gelu": _elementwise(ops.gelu, normal),
    "tanh": _elementwise(ops.tanh, normal),
    "sigmoid": _elementwise(ops.sigmoid, normal),
    "softmax": [
        case("last axis", ops.softmax, normal(3, 5)),
        case("axis 1 of 3", lambda x: ops.softmax(x, axis=1), normal(2, 4, 3)),
    ],
    "log_softmax": [
        case("last axis", ops.log_softmax, normal(3, 5)),
        case("axis 0", lambda x: ops.log_softmax(x, axis=0), normal(4, 3)),
    ],
    "dropout": [
        case("training", _dropout_with_one_mask, normal(4, 5)),
        case("evaluation", lambda x: ops.dropout(x, 0.4, training=False), normal(4, 5)),
    ],
    "residual_add": [
        case("with relu", ops.residual_add, nonzero(2, 3, 4), nonzero(2, 3, 4)),
        case("without activation", lambda f, x: ops.residual_add(f, x, None), normal(2, 3, 4), normal(2, 3, 4)),
    ],
    # losses
    "cross_entropy": [
        case("labels", lambda x: ops.cross_entropy(x, _LABELS), normal(3, 5)),
        case("smoothed", lambda x: ops.cross_entropy(x, _LABELS, label_smoothing=0.2), normal(3, 5)),
        case("batch 1", lambda x: ops.cross_entropy(x, _LABELS[:1]), normal(1, 5)),
    ],
    "mse_loss": [case("both sides", ops.mse_loss, normal(3, 5), normal(3, 5))],
    "binary_cross_entropy_with_logits": [
        case("both sides", ops.binary_cross_entropy_with_logits, nonzero(3, 5), fractions(3, 5))
    ],
}  # fmt: skip

# op -> why it has no cases
EXEMPT: dict[str, str] = {"argmax": "an index does not change with a small step, so it has no gradient"}
