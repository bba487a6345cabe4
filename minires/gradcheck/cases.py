"""The table of the cases that gradcheck checks for each op: different sizes, strides 1 to 3, broadcasting both ways.

The inputs keep away from the kinks of their op: max needs values that are well apart, log needs positive ones. Ties and
values at a kink have separate tests, because finite differences do not give a gradient there.
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
from ..core import backend, checks
from ..core.tensor import Tensor
from ..errors import ArgumentError, GradcheckError
from .check import largest_error
from .diagnosis import NumPyArray
from .problem import Function

Draw = Callable[[np.random.Generator], NumPyArray]


class Case:
    """An op with its options, and the functions that draw its inputs.

    ``call``, a function of the inputs, replaces the op if the inputs are not its first arguments.
    """

    def __init__(self, op: str, name: str, *draws: Draw, call: Function | None = None, **options: Any) -> None:
        self.op, self.name, self.draws = op, name, draws
        self.function = call or partial(getattr(ops, op), **options)

    def inputs(self, seed: int = 0) -> list[Tensor]:
        """Draw float64 tensors that require a gradient; the same seed gives the same tensors."""
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
    """Check the cases of the named ops, by default of all ops, at each of the orders.

    Returns
    -------
    iterator of CheckedCase
        The results, each as soon as it is computed.

    Raises
    ------
    ArgumentError
        If a name is not that of an op with a gradient. It is raised immediately, not by the iterator.
    """
    for name in names:
        if name in EXEMPT:
            raise ArgumentError(f"gradcheck: {name} is not checked: {EXEMPT[name]}.")
        if name not in CASES:
            checks.choice("gradcheck", name, "op", sorted(CASES))
    return (_result(case, order, seed) for op in names or sorted(CASES) for case in CASES[op] for order in orders)


def _result(case: Case, order: int, seed: int) -> CheckedCase:
    start, error, message = time.perf_counter(), None, ""
    try:
        error = largest_error(case.function, case.inputs(seed), order=order, seed=seed)
    except GradcheckError as failure:
        message = str(failure)
    return CheckedCase(case.op, case.name, order, not message, error, message, time.perf_counter() - start)


def normal(*shape: int) -> Draw:
    """Return a function that draws standard normal numbers."""
    return lambda rng: np.asarray(rng.standard_normal(shape))


def nonzero(*shape: int) -> Draw:
    """Return a function that draws numbers of magnitude 0.3 to 2 and either sign, for ops with a kink or pole at 0."""
    return lambda rng: np.asarray(rng.choice([-1.0, 1.0], shape) * rng.uniform(0.3, 2.0, shape))


def positive(*shape: int) -> Draw:
    """Return a function that draws numbers from 0.3 to 2."""
    return lambda rng: np.asarray(rng.uniform(0.3, 2.0, shape))


def fractions(*shape: int) -> Draw:
    """Return a function that draws numbers from 0.1 to 0.9, for probabilities."""
    return lambda rng: np.asarray(rng.uniform(0.1, 0.9, shape))


def distinct(*shape: int) -> Draw:
    """Return a function that draws numbers that are well apart, so that a step does not change which one is largest.

    They differ by at least 0.1 from each other, and by 0.05 from 0.
    """
    count = math.prod(shape)
    return lambda rng: (rng.permutation(count) - count // 2 + 0.5).reshape(shape) / 10


def _boxes(*shape: int, away: float = 0.0) -> Draw:
    """Return a function that draws boxes that contain the point (1, 1) moved by ``away``, with edges well apart."""
    edges = distinct(2, *shape, 2)

    def draw(rng: np.random.Generator) -> NumPyArray:
        near, far = np.abs(edges(rng)) + 0.01 * rng.random((2, *shape, 2))
        return np.concatenate([1 + away - near, 1 + away + far], axis=-1)

    return draw


def _elementwise(op: str, draw: Callable[..., Draw]) -> list[Case]:
    return [Case(op, "matrix", draw(4, 3)), Case(op, "scalar", draw())]


def _broadcast(op: str, draw: Callable[..., Draw]) -> list[Case]:
    """Return cases with equal shapes, with either side or both stretched, and with missing axes."""
    return [
        Case(op, "same shape", draw(3, 4), draw(3, 4)),
        Case(op, "left stretched", draw(3, 1), draw(2, 3, 4)),
        Case(op, "right stretched", draw(2, 3, 4), draw(1, 4)),
        Case(op, "both stretched", draw(5, 1, 3), draw(4, 1)),
        Case(op, "with a scalar", draw(2, 3), draw()),
    ]


def _reduction(op: str, draw: Callable[..., Draw]) -> list[Case]:
    return [
        Case(op, "all axes", draw(3, 4)),
        Case(op, "axis 1", draw(3, 4, 2), axis=1),
        Case(op, "axes 0 and -1, kept", draw(3, 4, 2), axis=(0, -1), keepdims=True),
    ]


def _dropout_with_one_mask(x: Tensor) -> Tensor:
    """Apply dropout and restore the random generator, so that every call draws the same mask."""
    bits = backend.generator().bit_generator
    before = bits.state
    try:
        return ops.dropout(x, 0.4)
    finally:
        bits.state = before


def _layer_norm(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return ops.layer_norm(x, weight.shape, weight, bias)


def _softmax(op: str, draw: Callable[..., Draw]) -> list[Case]:
    return [
        Case(op, "last axis", draw(3, 5)),
        Case(op, "axis 0", draw(4, 3), axis=0),
        Case(op, "axis 1 of 3", draw(2, 4, 3), axis=1),
    ]


def _pooling(op: str, draw: Callable[..., Draw]) -> list[Case]:
    return [
        Case(op, "side by side", draw(2, 3, 6, 4), kernel_size=(3, 2)),
        Case(op, "overlapping, padded", draw(2, 3, 7, 5), kernel_size=3, stride=2, padding=1),
        Case(op, "rows left over", draw(1, 3, 7, 5), kernel_size=2, stride=(3, 1)),
    ]


def _each(cases: Callable[..., list[Case]], draw: Callable[..., Draw], *names: str) -> list[Case]:
    """Return ``cases(op, draw)`` for each of the ops, in one list."""
    return [case for op in names for case in cases(op, draw)]


_X, _W = normal(2, 3, 7, 5), normal(4, 3, 3, 2)  # x and weight of convolutions
_MASK = np.array([[True, False, True, True], [False, True, False, True], [True, True, False, False]])
_LABELS = np.array([4, 0, 2])
_MEAN, _VAR = np.array([0.3, -0.2, 0.5]), np.array([0.5, 2.0, 1.2])
_TRAINING: dict[str, Any] = {"running_mean": None, "running_var": None, "training": True}
_EVALUATION: dict[str, Any] = {"running_mean": _MEAN, "running_var": _VAR, "training": False}

_TABLE = [
    # arithmetic
    *_each(_broadcast, normal, "add", "sub", "mul", "maximum", "minimum"),
    *_broadcast("div", nonzero),
    Case("div", "rounded", distinct(3, 4), call=lambda x: x * ops.div(x, 0.7, rounding_mode="trunc")),
    Case("floor_divide", "times x", distinct(3, 4), call=lambda x: x * (x // 0.7)),
    Case("remainder", "both sides", distinct(3, 4), call=lambda x: x % 0.7 + 1.33 % x),
    *_each(_elementwise, normal, "neg", "exp"),
    *_each(_elementwise, positive, "log", "sqrt"),
    *_elementwise("abs", nonzero),
    *(Case("pow", f"exponent {p:g}", nonzero(4, 3), call=lambda x, p=p: x**p) for p in (0, 1, 2, 3, -1, -2)),
    Case("pow", "exponent 2.5", positive(4, 3), call=lambda x: x**2.5),
    Case("pow", "tensor exponent", positive(4, 3), normal(3)),
    Case("pow", "any base", nonzero(4, 3), call=lambda x: x ** np.array([-2, 0, 3])),
    Case("pow", "exponents around 0", positive(4, 3), lambda rng: np.zeros(3)),
    Case("pow", "number to a tensor", normal(4, 3), call=lambda x: 2.0**x),
    Case("clip", "both bounds", nonzero(4, 3), low=-1, high=1),
    Case("clip", "low only", nonzero(4, 3), low=0),
    Case("clip", "high only", nonzero(4, 3), high=0.1),
    Case("clip", "tensors", distinct(4, 3), call=lambda x: ops.clip(x, 0.3 * x.mean(0) - 0.12, x.mean() + 0.24)),
    Case("where", "same shape", normal(3, 4), normal(3, 4), call=partial(ops.where, _MASK)),
    Case("where", "broadcast", normal(2, 1, 4), normal(3, 1), call=partial(ops.where, _MASK)),
    Case("masked_fill", "broadcast", normal(2, 1, 4), call=lambda x: x.masked_fill(_MASK, 2.0)),
    Case("masked_fill", "a tensor of one number", normal(3, 4), normal(), call=lambda x, v: x.masked_fill(_MASK, v)),
    # reductions and broadcasting
    *_each(_reduction, normal, "sum", "mean", "var", "std", "logsumexp"),
    *_each(_reduction, distinct, "max", "min"),
    Case("var", "biased", normal(3, 4), axis=0, correction=0),
    Case("broadcast_to", "size 1", normal(3, 1), shape=(3, 4)),
    Case("broadcast_to", "missing axes", normal(4), shape=(2, 3, 4)),
    Case("broadcast_to", "both", normal(3, 1), shape=(2, 3, 4)),
    Case("sum_to", "size 1", normal(3, 4), shape=(3, 1)),
    Case("sum_to", "missing axes", normal(2, 3, 4), shape=(4,)),
    Case("sum_to", "scalar", normal(3, 4), shape=()),
    # shapes
    Case("reshape", "with -1", normal(2, 3, 4), call=lambda x: x.reshape(4, -1)),
    Case("flatten", "from axis 1", normal(2, 3, 4), start_axis=1),
    Case("squeeze", "all", normal(1, 3, 1, 2)),
    Case("squeeze", "one axis", normal(1, 3, 1), axis=2),
    Case("expand_dims", "last", normal(2, 3), axis=-1),
    Case("transpose", "reversed", normal(2, 3, 4)),
    Case("transpose", "two axes", normal(2, 3, 4), call=lambda x: x.transpose(0, -1)),
    Case("permute", "cyclic", normal(2, 3, 4), call=lambda x: x.permute(1, 2, 0)),
    Case("transpose", "cyclic", normal(2, 3, 4), call=lambda x: x.transpose(1, 2, 0)),
    Case("transpose", "cyclic, equal sizes", normal(3, 3, 3), call=lambda x: x.transpose(1, 2, 0)),
    Case("concatenate", "axis 0", normal(2, 3), normal(4, 3), call=lambda *x: ops.concatenate(x)),
    Case("concatenate", "last axis", normal(3, 2), normal(3, 1), normal(3, 4), call=lambda *x: ops.concatenate(x, -1)),
    Case("stack", "axis 1", normal(3, 4), normal(3, 4), call=lambda *x: ops.stack(x, axis=1)),
    Case("pad", "pairs", normal(3, 4), padding=((1, 0), (0, 2))),
    Case("pad", "from the last axis", normal(2, 3, 4), padding=(1, 2, 0, 3), value=7.0),
    Case("pad", "negative", normal(3, 4), padding=(-1, 2, 1, -2)),
    *(Case("pad", m, normal(2, 3, 4), padding=(2, 3, -1, 1), mode=m) for m in ("reflect", "replicate", "circular")),
    Case("flip", "all axes", normal(3, 4)),
    Case("flip", "last axis", normal(2, 3, 4), axis=-1),
    Case("getitem", "slices", normal(3, 5), call=lambda x: x[1:, ::-2]),
    Case("getitem", "integer and new axis", normal(3, 4), call=lambda x: x[1, None]),
    Case("getitem", "ellipsis", normal(2, 3, 4), call=lambda x: x[..., 2]),
    Case("getitem", "repeated integers", normal(3, 4), call=lambda x: x[np.array([2, 0, 2, 2])]),
    Case("getitem", "pairs, one repeated", normal(3, 4), call=lambda x: x[np.array([0, 2, 0]), np.array([1, 3, 1])]),
    Case("getitem", "mask", normal(3, 4), call=lambda x: x[_MASK]),
    Case("astype", "to its own type", normal(3, 4), dtype="float64"),
    Case("to_device", "to the CPU", normal(3, 4), device="cpu"),
    # matrix products
    Case("matmul", "matrices", normal(3, 4), normal(4, 2)),
    Case("matmul", "square", normal(3, 3), normal(3, 3)),
    Case("matmul", "stacks", normal(2, 3, 4), normal(2, 4, 5)),
    Case("matmul", "stacks that broadcast", normal(3, 1, 2, 4), normal(2, 4, 3)),
    Case("matmul", "one matrix for a stack", normal(3, 2, 4), normal(4, 5)),
    Case("matmul", "row vector", normal(4), normal(2, 4, 3)),
    Case("matmul", "column vector", normal(2, 3, 4), normal(4)),
    Case("matmul", "two vectors", normal(4), normal(4)),
    Case("linear", "with bias", normal(4, 5), normal(3, 5), normal(3)),
    Case("linear", "without bias", normal(4, 5), normal(3, 5)),
    Case("linear", "three axes", normal(2, 4, 5), normal(3, 5), normal(3)),
    Case("linear", "one vector", normal(5), normal(3, 5), normal(3)),
    # convolution: x is (N, C, H, W), weight is (O, C, KH, KW)
    Case("conv2d", "plain", normal(2, 3, 5, 4), normal(4, 3, 3, 2), normal(4)),
    Case("conv2d", "stride 2, padding 1", _X, _W, stride=2, padding=1),
    Case("conv2d", "rows left over", _X, _W, normal(4), stride=3),
    Case("conv2d", "uneven options", _X, _W, stride=(3, 1), padding=(0, 2), dilation=(1, 3)),
    Case("conv2d", "dilation 2", normal(2, 3, 6, 5), normal(2, 3, 3, 2), normal(2), dilation=2, padding=1),
    Case("conv2d", "groups", normal(3, 4, 5, 6), normal(6, 2, 3, 2), normal(6), groups=2, stride=2, padding=1),
    Case("conv2d", "depthwise", normal(2, 3, 5, 4), normal(3, 1, 3, 2), groups=3, padding=1),
    Case("conv2d", "1x1", normal(2, 3, 5, 4), normal(6, 3, 1, 1), stride=2),
    Case("conv2d", "batch 1", normal(1, 3, 5, 4), normal(4, 3, 3, 2), normal(4), padding=1),
    Case("conv2d", "same, one image", normal(3, 5, 4), normal(2, 3, 2, 4), normal(2), padding="same"),
    Case("conv_transpose2d", "plain", normal(2, 3, 5, 4), normal(3, 4, 3, 2), normal(4)),
    Case("conv_transpose2d", "stride 2, padding 1", normal(2, 3, 4, 5), normal(3, 4, 3, 2), stride=2, padding=1),
    Case(
        "conv_transpose2d", "uneven options", normal(2, 3, 3, 4), normal(3, 4, 3, 2), normal(4),
        stride=(3, 2), padding=(2, 0), output_padding=(2, 1), dilation=(1, 2),
    ),
    Case("conv_transpose2d", "groups", normal(3, 4, 2, 5), normal(4, 3, 3, 2), normal(6), groups=2, stride=2),
    Case("conv_transpose2d", "batch 1", normal(1, 3, 5, 4), normal(3, 2, 3, 4), padding=1),
    Case("im2col", "overlapping", normal(2, 3, 4, 5), kernel_size=(3, 2), padding=1),
    Case("im2col", "uneven options", _X, kernel_size=(2, 3), stride=(3, 1), padding=(0, 1), dilation=(1, 2)),
    Case("col2im", "overlapping", normal(2, 3, 5, 18), x_shape=(2, 3, 3, 4), kernel_size=(3, 2), padding=1),
    Case("col2im", "stride", normal(1, 3, 2, 12), x_shape=(1, 2, 7, 5), kernel_size=(3, 2), stride=(2, 3)),
    # pooling
    *_pooling("max_pool2d", distinct),
    *_pooling("avg_pool2d", normal),
    Case("max_pool2d", "dilation 2, one image", distinct(3, 5, 6), kernel_size=2, stride=1, padding=1, dilation=2),
    Case("max_pool2d", "pixels left over are pooled", distinct(2, 2, 5, 4), kernel_size=3, stride=3, ceil_mode=True),
    Case("avg_pool2d", "only pixels count", normal(2, 2, 5, 4), kernel_size=3, padding=1, count_include_pad=False),
    Case("avg_pool2d", "pixels left over are pooled", normal(2, 2, 5, 4), kernel_size=(2, 3), ceil_mode=True),
    Case("avg_pool2d", "own divisor", normal(2, 2, 5, 4), kernel_size=2, divisor_override=3),
    Case("adaptive_avg_pool2d", "equal areas", normal(2, 3, 4, 6), output_size=(2, 3)),
    Case("adaptive_avg_pool2d", "overlapping areas", normal(2, 3, 5, 4), output_size=(3, None)),
    Case("global_avg_pool2d", "images", normal(2, 3, 5, 4)),
    Case("interpolate", "nearest", normal(2, 2, 3, 4), size=(5, 3)),
    Case("interpolate", "nearest, doubled", normal(2, 2, 3, 2), scale_factor=2),
    Case("interpolate", "bilinear", normal(2, 2, 3, 4), size=(5, 3), mode="bilinear"),
    Case("interpolate", "corners", normal(2, 2, 3, 4), size=(4, 6), mode="bilinear", align_corners=True),
    # normalisation
    Case("batch_norm", "training", normal(2, 3, 5, 4), nonzero(3), normal(3), **_TRAINING),
    Case("batch_norm", "training, vectors", normal(5, 3), nonzero(3), normal(3), **_TRAINING),
    Case("batch_norm", "training, batch 1", normal(1, 3, 4, 2), nonzero(3), normal(3), **_TRAINING),
    Case("batch_norm", "evaluation", normal(2, 3, 5, 4), nonzero(3), normal(3), **_EVALUATION),
    Case("batch_norm", "evaluation, batch 1", normal(1, 3), nonzero(3), normal(3), **_EVALUATION),
    Case("layer_norm", "last axis", normal(3, 5), nonzero(5), normal(5), call=_layer_norm),
    Case("layer_norm", "two axes", normal(2, 3, 4), nonzero(3, 4), normal(3, 4), call=_layer_norm),
    Case("layer_norm", "without scale and shift", normal(3, 5)),
    Case("group_norm", "images", normal(2, 6, 3, 2), num_groups=2, weight=np.arange(1.0, 7), bias=np.arange(6.0)),
    Case("group_norm", "one group, vectors", normal(3, 4), num_groups=1),
    # activations
    *_elementwise("relu", nonzero),
    *_each(_elementwise, normal, "gelu", "silu", "tanh", "sigmoid"),
    *_each(_softmax, normal, "softmax", "log_softmax"),
    Case("gelu", "approximated by tanh", normal(4, 3), approximate="tanh"),
    Case("leaky_relu", "slope 0.2", nonzero(4, 3), negative_slope=0.2),
    Case("dropout", "training", normal(4, 5), call=_dropout_with_one_mask),
    Case("dropout", "evaluation", normal(4, 5), p=0.4, training=False),
    Case("residual_add", "with relu", nonzero(2, 3, 4), nonzero(2, 3, 4)),
    Case("residual_add", "without activation", normal(2, 3, 4), normal(2, 3, 4), activation=None),
    # losses
    Case("cross_entropy", "labels", normal(3, 5), labels=_LABELS),
    Case("cross_entropy", "smoothed", normal(3, 5), labels=_LABELS, label_smoothing=0.2),
    Case("cross_entropy", "batch 1", normal(1, 5), labels=_LABELS[:1]),
    Case(
        "cross_entropy", "weight, one ignored", normal(3, 5), labels=_LABELS, weight=np.array([1.0, 2, 3, 4, 0.5]),
        ignore_index=2, label_smoothing=0.2,
    ),
    Case("cross_entropy", "maps", normal(3, 5, 2), labels=np.array([[4, 0], [1, 2], [0, 3]]), reduction="none"),
    Case("cross_entropy", "probabilities", normal(3, 5), fractions(3, 5), label_smoothing=0.2),
    Case("mse_loss", "both sides", normal(3, 5), normal(3, 5)),
    Case("binary_cross_entropy_with_logits", "both sides", nonzero(3, 5), fractions(3, 5)),
    Case(
        "binary_cross_entropy_with_logits", "weights", nonzero(3, 5), fractions(3, 5), normal(3, 1), normal(5),
        call=lambda x, t, w, p: ops.binary_cross_entropy_with_logits(x, t, w, pos_weight=p, reduction="sum"),
    ),
    Case("sigmoid_focal_loss", "both sides", nonzero(3, 5), fractions(3, 5)),
    Case("sigmoid_focal_loss", "options", nonzero(4), fractions(4), alpha=-1, gamma=0.5, reduction="mean"),
    Case("giou_loss", "both sides", _boxes(5), _boxes(5)),
    Case("giou_loss", "apart", _boxes(2, 3), _boxes(2, 3, away=3.0), reduction="sum"),
]  # fmt: skip

# the cases of each op
CASES: dict[str, list[Case]] = {}
for _case in _TABLE:
    CASES.setdefault(_case.op, []).append(_case)

# the ops without cases, and the reason
EXEMPT: dict[str, str] = dict.fromkeys(
    ["argmax", "argmin"], "an index does not change with a small step, so it has no gradient"
)
