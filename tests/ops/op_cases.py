"""Every op, called by minires and by PyTorch, with inputs whose sizes all differ.

The tests of this folder run over this table: the numbers agree with PyTorch's, float32 stays float32, and inputs are
not changed. Where elements compete (a maximum, a bound), whole numbers are drawn so that ties occur.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

import minires as mr
from minires import ops

try:
    import torch
    from torch.nn import functional as fn
except ImportError:
    torch = fn = None

Shape = tuple[int, ...]


class Case(NamedTuple):
    """``ours(*tensors)`` and ``theirs(*tensors)`` for inputs of ``shapes``, drawn as ``draw`` says."""

    id: str
    ours: Callable[..., Any]
    theirs: Callable[..., Any] | None
    shapes: list[Shape]
    draw: str = "normal"

    @property
    def op(self) -> str:
        return self.id.split(":")[0]

    def inputs(self, rng: np.random.Generator, dtype: str = "float64") -> list[np.ndarray]:
        draw = {
            "normal": rng.standard_normal,
            "positive": lambda shape: rng.uniform(0.5, 2.0, shape),
            "ties": lambda shape: rng.integers(-2, 3, shape),
        }[self.draw]
        return [np.asarray(draw(shape), dtype) for shape in self.shapes]


X, IMAGES, CHANNELS = (2, 3, 4), (2, 3, 7, 5), (3,)
INDEX, MASK = np.array([2, 0, 2, 2]), np.arange(12).reshape(3, 4) % 5 < 2
LABELS, YES_NO = np.array([2, 0, 4, 2]), np.arange(24).reshape(X) % 3 / 2
MEAN, VAR = np.array([0.5, -1.0, 2.0]), np.array([0.3, 1.7, 2.9])
EDGES = np.array([0, 0, 6, 6])
WINDOW = {"padding": (1, 0), "stride": (2, 1), "dilation": (1, 2)}


def as_torch(array: np.ndarray) -> Any:
    """An array for PyTorch."""
    return torch.tensor(array)


def ours(array: np.ndarray, x: mr.Tensor) -> mr.Tensor:
    """An array for minires, on the device of x."""
    return mr.tensor(array, device=getattr(x, "device", "cpu"))  # arrays of NumPy 1 have no device


def running(make: Callable[[np.ndarray], Any], x: Any) -> tuple[Any, Any]:
    """Running statistics, with the dtype of x."""
    return make(MEAN.astype(str(x.dtype).removeprefix("torch."))), make(VAR.astype(str(x.dtype).removeprefix("torch.")))


def focal_loss(x: Any, target: Any, alpha: float = 0.25, gamma: float = 2) -> Any:
    """Equation 5 of arXiv 1708.02002, written with PyTorch."""
    p, losses = x.sigmoid(), fn.binary_cross_entropy_with_logits(x, target, reduction="none")
    p_t, alpha_t = p * target + (1 - p) * (1 - target), alpha * target + (1 - alpha) * (1 - target)
    return alpha_t * (1 - p_t) ** gamma * losses


def generalised_iou_loss(a: Any, b: Any) -> Any:
    """Algorithm 1 of arXiv 1902.09630, written with PyTorch."""
    (ax, ay, ar, ab), (bx, by, br, bb) = a.unbind(-1), b.unbind(-1)
    w, h = torch.minimum(ar, br) - torch.maximum(ax, bx), torch.minimum(ab, bb) - torch.maximum(ay, by)
    shared = torch.where((w > 0) & (h > 0), w * h, 0)
    union = (ar - ax) * (ab - ay) + (br - bx) * (bb - by) - shared
    hull = (torch.maximum(ar, br) - torch.minimum(ax, bx)) * (torch.maximum(ab, bb) - torch.minimum(ay, by))
    return 1 - shared / (union + 1e-7) + (hull - union) / (hull + 1e-7)


# fmt: off
ELEMENTWISE = [
    Case("add:broadcast", ops.add, lambda a, b: a + b, [X, (3, 1)]),
    Case("add:leading axes", ops.add, lambda a, b: a + b, [(4,), X]),
    Case("sub:broadcast", ops.sub, lambda a, b: a - b, [(1, 4), X]),
    Case("sub:number", lambda a: 2.5 - a, lambda a: 2.5 - a, [X]),
    Case("mul:broadcast", ops.mul, lambda a, b: a * b, [(2, 1, 4), (3, 1)]),
    Case("mul:number", lambda a: a * 3, lambda a: a * 3, [X]),
    Case("div:broadcast", ops.div, lambda a, b: a / b, [X, (4,)], "positive"),
    Case("div:number", lambda a: 2 / a - a / 3, lambda a: 2 / a - a / 3, [X], "positive"),
    Case("div:trunc", lambda a, b: a + ops.div(a, b, rounding_mode="trunc"),
         lambda a, b: a + torch.div(a, b, rounding_mode="trunc"), [X, (4,)]),
    Case("floor_divide", lambda a, b: a + a // b, lambda a, b: a + torch.div(a, b, rounding_mode="floor"), [X, (4,)]),
    Case("remainder", ops.remainder, lambda a, b: a % b, [X, (4,)]),
    Case("neg", ops.neg, lambda x: -x, [X]),
    Case("pow:number", lambda x: ops.pow(x, -1.5), lambda x: x**-1.5, [X], "positive"),
    Case("pow:0", lambda x: ops.pow(x, 0), lambda x: x**0, [X], "ties"),
    Case("pow:3 at 0", lambda x: ops.pow(x, 3), lambda x: x**3, [X], "ties"),
    Case("pow:tensor", ops.pow, lambda x, y: x**y, [X, (4,)], "positive"),
    Case("pow:whole exponents", lambda x: x ** [-2, 0, 1, 3], lambda x: x ** torch.tensor([-2, 0, 1, 3]), [X]),
    Case("pow:of 2", lambda x: 2**x, lambda x: 2**x, [X]),
    Case("sqrt", ops.sqrt, lambda x: x.sqrt(), [X], "positive"),
    Case("exp", ops.exp, lambda x: x.exp(), [X]),
    Case("log", ops.log, lambda x: x.log(), [X], "positive"),
    Case("abs:with 0", ops.abs, lambda x: x.abs(), [X], "ties"),
    Case("maximum:ties", ops.maximum, lambda a, b: torch.maximum(a, b), [X, (3, 1)], "ties"),
    Case("minimum:ties", ops.minimum, lambda a, b: torch.minimum(a, b), [X, (3, 1)], "ties"),
    Case("clip:at bounds", lambda x: ops.clip(x, -1, 2), lambda x: x.clamp(-1, 2), [X], "ties"),
    Case("clip:tensors", ops.clip, lambda x, a, b: x.clamp(a, b), [X, (3, 1), (4,)], "ties"),
    Case("clip:low", lambda x: ops.clip(x, 0.1), lambda x: x.clamp(0.1), [X]),
    Case("clip:high", lambda x: ops.clip(x, high=0), lambda x: x.clamp(max=0), [X], "ties"),
    Case("where", lambda a, b: ops.where(MASK, a, b), lambda a, b: torch.where(as_torch(MASK), a, b), [X, (3, 1)]),
    Case("masked_fill", lambda x: ops.masked_fill(x, MASK, -2), lambda x: x.masked_fill(as_torch(MASK), -2), [X]),
    Case("relu:with 0", ops.relu, lambda x: x.relu(), [X], "ties"),
    Case("leaky_relu:with 0", ops.leaky_relu, lambda x: fn.leaky_relu(x), [X], "ties"),
    Case("leaky_relu:0.3", lambda x: ops.leaky_relu(x, 0.3), lambda x: fn.leaky_relu(x, 0.3), [X]),
    Case("tanh", ops.tanh, lambda x: x.tanh(), [X]),
    Case("sigmoid", ops.sigmoid, lambda x: x.sigmoid(), [X]),
    Case("gelu", ops.gelu, lambda x: fn.gelu(x), [X]),
    Case("gelu:tanh", lambda x: ops.gelu(x, approximate="tanh"), lambda x: fn.gelu(x, approximate="tanh"), [X]),
    Case("silu", ops.silu, lambda x: fn.silu(x), [X]),
    Case("softmax:dtype", lambda x: ops.softmax(x, 0, "float64").to(x.dtype), lambda x: x.softmax(0), [X]),
    Case("softmax", ops.softmax, lambda x: x.softmax(-1), [X]),
    Case("softmax:axis 1", lambda x: ops.softmax(x, 1), lambda x: x.softmax(1), [X]),
    Case("log_softmax:axis 0", lambda x: ops.log_softmax(x, 0), lambda x: x.log_softmax(0), [X]),
    Case("dropout:evaluation", lambda x: ops.dropout(x, 0.5, False), lambda x: fn.dropout(x, 0.5, False), [X]),
    Case("residual_add", ops.residual_add, lambda a, b: (a + b).relu(), [X, X], "ties"),
    Case("residual_add:plain", lambda a, b: ops.residual_add(a, b, None), lambda a, b: a + b, [X, X]),
]

REDUCTIONS = [
    Case("argmax", lambda x: x * ops.argmax(x, 1).expand_dims(1), lambda x: x * x.argmax(1, True), [X]),
    Case("argmax:kept", lambda x: x * ops.argmax(x, 0, True), lambda x: x * x.argmax(0, True), [X], "ties"),
    Case("argmin", lambda x: x * ops.argmin(x, -1, True), lambda x: x * x.argmin(-1, True), [X], "ties"),
    Case("argmax:all", lambda x: x * ops.argmax(x), lambda x: x * x.argmax(), [X]),
    Case("broadcast_to", lambda x: ops.broadcast_to(x, (5, *X)), lambda x: x.expand(5, *X), [(2, 1, 4)]),
    Case("broadcast_to:-1", lambda x: ops.broadcast_to(x, (5, -1, 3, -1)),
         lambda x: x.expand(5, -1, 3, -1), [(2, 1, 4)]),
    Case("sum_to", lambda x: ops.sum_to(x, (3, 1)), lambda x: x.sum((0, 2))[:, None], [X]),
    Case("sum_to:scalar", lambda x: ops.sum_to(x, ()), lambda x: x.sum(), [X]),
    Case("var:correction 0", lambda x: ops.var(x, 2, correction=0), lambda x: x.var(2, correction=0), [X]),
    Case("var:correction 2.5", lambda x: ops.var(x, 2, correction=2.5), lambda x: x.var(2, correction=2.5), [X]),
    *(
        Case(f"{op}:{axis} {keep}", lambda x, f=op, a=axis, k=keep: getattr(ops, f)(x, axis=a, keepdims=k),
             lambda x, f=theirs, a=axis, k=keep: getattr(x, f)((0, 1, 2) if a is None else a, keepdim=k), [X])
        for op, theirs in [("sum", "sum"), ("mean", "mean"), ("var", "var"), ("std", "std"), ("max", "amax"),
                           ("min", "amin"), ("logsumexp", "logsumexp")]
        for axis, keep in [(None, False), (None, True), (1, True), (-1, False), ((0, 2), False)]
    ),
]

SHAPES = [
    Case("reshape", lambda x: ops.reshape(x, 4, -1), lambda x: x.reshape(4, -1), [X]),
    Case("flatten:from 1", lambda x: ops.flatten(x, 1), lambda x: x.flatten(1), [X]),
    Case("flatten", ops.flatten, lambda x: x.flatten(), [X]),
    Case("squeeze:axis", lambda x: ops.squeeze(x, 1), lambda x: x.squeeze(1), [(2, 1, 3, 1)]),
    Case("squeeze:size 3", lambda x: ops.squeeze(x, (2, 3)), lambda x: x.squeeze((2, 3)), [(2, 1, 3, 1)]),
    Case("flatten:to -2", lambda x: ops.flatten(x, 0, -2), lambda x: x.flatten(0, -2), [X]),
    Case("squeeze", ops.squeeze, lambda x: x.squeeze(), [(2, 1, 3, 1)]),
    Case("expand_dims", lambda x: ops.expand_dims(x, -2), lambda x: x.unsqueeze(-2), [X]),
    Case("transpose", lambda x: ops.transpose(x, 2, 0, 1), lambda x: x.permute(2, 0, 1), [X]),
    Case("transpose:two", lambda x: ops.transpose(x, 0, -1), lambda x: x.transpose(0, -1), [X]),
    Case("permute", lambda x: ops.permute(x, (1, -1, 0)), lambda x: x.permute(1, -1, 0), [X]),
    Case("transpose:reversed", ops.transpose, lambda x: x.permute(2, 1, 0), [X]),
    Case("concatenate", lambda *xs: ops.concatenate(xs, 1), lambda *xs: torch.cat(xs, 1), [X, (2, 1, 4), (2, 5, 4)]),
    Case("stack", lambda *xs: ops.stack(xs, -2), lambda *xs: torch.stack(xs, -2), [X, X, X]),
    Case("pad:last axis first", lambda x: ops.pad(x, (1, 2, 3, 0), value=1.5),
         lambda x: fn.pad(x, (1, 2, 3, 0), value=1.5), [X]),
    Case("pad:pairs", lambda x: ops.pad(x, ((0, 1), (2, 0), (3, 4))), lambda x: fn.pad(x, (3, 4, 2, 0, 0, 1)), [X]),
    Case("pad:negative", lambda x: ops.pad(x, (-1, 2, 1, -2)), lambda x: fn.pad(x, (-1, 2, 1, -2)), [X]),
    *(Case(f"pad:{mode} {widths}", lambda x, w=widths, m=mode: ops.pad(x, w, m),
           lambda x, w=widths, m=mode: fn.pad(x, w, m), [IMAGES])
      for mode in ("reflect", "replicate", "circular") for widths in [(4, 0, 2, 3), (-1, 2, 3, -2)]),
    Case("flip", lambda x: ops.flip(x, (0, -1)), lambda x: x.flip(0, -1), [X]),
    Case("flip:all", ops.flip, lambda x: x.flip(0, 1, 2), [X]),
    Case("getitem:slices", lambda x: ops.getitem(x, (slice(1), 1)), lambda x: x[:1, 1], [X]),
    Case("getitem:repeated", lambda x: x[:, INDEX], lambda x: x[:, as_torch(INDEX)], [X]),
    Case("getitem:mask", lambda x: x[:, MASK], lambda x: x[:, as_torch(MASK)], [X]),
    Case("astype", lambda x: ops.astype(x, x.dtype), lambda x: x.clone(), [X]),
    Case("to_device", lambda x: ops.to_device(x, "cpu"), lambda x: x.clone(), [X]),
]

PRODUCTS = [
    Case("matmul", ops.matmul, lambda a, b: a @ b, [(2, 3), (3, 4)]),
    Case("matmul:stacks", ops.matmul, lambda a, b: a @ b, [(5, 1, 2, 3), (4, 3, 6)]),
    Case("matmul:vector left", ops.matmul, lambda a, b: a @ b, [(3,), (2, 3, 4)]),
    Case("matmul:vector right", ops.matmul, lambda a, b: a @ b, [(5, 2, 3), (3,)]),
    Case("matmul:vectors", ops.matmul, lambda a, b: a @ b, [(3,), (3,)]),
    Case("linear", ops.linear, lambda *i: fn.linear(*i), [(2, 3), (4, 3)]),
    Case("linear:bias", ops.linear, lambda *i: fn.linear(*i), [(2, 5, 3), (4, 3), (4,)]),
    Case("linear:vector", ops.linear, lambda *i: fn.linear(*i), [(3,), (4, 3), (4,)]),
    Case("im2col", lambda x: ops.im2col(x, (3, 2), **WINDOW),  # PyTorch's rows are (N, C*KH*KW, OH*OW)
         lambda x: fn.unfold(x, (3, 2), **WINDOW).transpose(1, 2).reshape(2, 4, 3, 18), [IMAGES]),
    Case("col2im", lambda cols: ops.col2im(cols, IMAGES, (3, 2), **WINDOW),
         lambda cols: fn.fold(cols.reshape(2, 12, 18).transpose(1, 2), (7, 5), (3, 2), **WINDOW), [(2, 4, 3, 18)]),
    *(
        Case(f"conv2d:{label}{bias}", lambda *i, o=options: ops.conv2d(*i, **o),
             lambda *i, o=options: fn.conv2d(*i, **o), [x, w, *([(w[0],)] if bias else [])])
        for bias in ("", " bias")
        for label, x, w, options in [
            ("plain", IMAGES, (4, 3, 3, 2), {}),
            ("stride", (2, 3, 8, 7), (4, 3, 3, 2), {"stride": (2, 3), "padding": (1, 0)}),
            ("padding", (1, 3, 4, 5), (2, 3, 2, 1), {"padding": (3, 2)}),
            ("dilation", (2, 3, 7, 6), (4, 3, 3, 2), {"dilation": (2, 3), "padding": 2, "stride": 2}),
            ("groups", (2, 4, 5, 6), (6, 2, 2, 3), {"groups": 2, "padding": (0, 1)}),
            ("depthwise", (2, 3, 7, 8), (6, 1, 3, 2), {"groups": 3, "stride": 3}),
            ("1x1", (2, 3, 5, 6), (4, 3, 1, 1), {"stride": 2}),
        ]
    ),
    *(
        Case(f"conv_transpose2d:{label}{bias}", lambda *i, o=options: ops.conv_transpose2d(*i, **o),
             lambda *i, o=options: fn.conv_transpose2d(*i, **o),
             [x, w, *([(w[1] * options.get("groups", 1),)] if bias else [])])
        for bias in ("", " bias")
        for label, x, w, options in [
            ("plain", (2, 3, 4, 5), (3, 4, 3, 2), {}),
            ("stride", (2, 3, 4, 5), (3, 4, 3, 2), {"stride": (2, 3), "padding": (1, 0), "output_padding": (1, 2)}),
            ("dilation", (2, 3, 4, 5), (3, 4, 2, 3), {"dilation": (3, 2), "padding": 1, "output_padding": (2, 1)}),
            ("groups", (1, 6, 3, 4), (6, 2, 3, 2), {"groups": 3, "stride": 2}),
        ]
    ),
]

LAYERS = [
    *(
        Case(f"{op}:{options}", lambda x, f=op, o=options: getattr(ops, f)(x, *o),
             lambda x, f=op, o=options: getattr(fn, f)(x, *o), [IMAGES], "ties")
        for op in ("max_pool2d", "avg_pool2d")
        for options in [(2,), ((3, 2), (2, 1), (1, 0)), (2, 3, 1), ((2, 3), 2)]
    ),
    Case("max_pool2d:dilated", lambda x: ops.max_pool2d(x, 2, 1, 1, 2, True),
         lambda x: fn.max_pool2d(x, 2, 1, 1, 2, True), [IMAGES], "ties"),
    *(
        Case(f"{op}:left over {options}", lambda x, f=op, o=options: getattr(ops, f)(x, *o),
             lambda x, f=op, o=options: getattr(fn, f)(x, *o), [IMAGES[1:]])
        for op, options in [
            ("max_pool2d", (2, 3, 1, 1, True)), ("avg_pool2d", ((2, 3), 2, (1, 0), True)),
            ("avg_pool2d", (3, 2, 1, True, False)), ("avg_pool2d", (2, 1, 0, False, True, 3)),
            ("adaptive_avg_pool2d", (1,)), ("adaptive_avg_pool2d", ((3, None),)),
        ]
    ),
    Case("global_avg_pool2d", ops.global_avg_pool2d, lambda x: fn.adaptive_avg_pool2d(x, 1).flatten(1), [IMAGES]),
    *(
        Case(f"batch_norm:{x} {training}",
             lambda x, g, b, t=training: ops.batch_norm(x, g, b, *running(lambda array: ours(array, x), x), t),
             lambda x, g, b, t=training: fn.batch_norm(x, *running(torch.tensor, x), g, b, t), [x, CHANNELS, CHANNELS])
        for x in [IMAGES, (4, 3), (2, 3, 5)]
        for training in (True, False)
    ),
    Case("batch_norm:eps", lambda x, g, b: ops.batch_norm(x, g, b, None, None, True, eps=0.5),
         lambda x, g, b: fn.batch_norm(x, None, None, g, b, True, eps=0.5), [IMAGES, CHANNELS, CHANNELS]),
    Case("batch_norm:without scale and shift", lambda x: ops.batch_norm(x, training=True),
         lambda x: fn.batch_norm(x, None, None, training=True), [IMAGES]),
    *(
        Case(f"interpolate:{mode} {options}", lambda x, m=mode, o=options: ops.interpolate(x, mode=m, **o),
             lambda x, m=mode, o=options: fn.interpolate(x, mode=m, **o), [IMAGES])
        for mode, options in [
            ("nearest", {"scale_factor": 2}), ("nearest", {"size": (4, 11)}), ("nearest-exact", {"size": 6}),
            ("bilinear", {"scale_factor": (1.7, 0.6)}), ("bilinear", {"size": (9, 4), "align_corners": True}),
        ]
    ),
    Case("group_norm", lambda x: ops.group_norm(x, 3), lambda x: fn.group_norm(x, 3), [IMAGES]),
    Case("group_norm:scaled", lambda x, g, b: ops.group_norm(x, 1, g, b, 0.5),
         lambda x, g, b: fn.group_norm(x, 1, g, b, 0.5), [(2, 3, 5), CHANNELS, CHANNELS]),
    Case("layer_norm", ops.layer_norm, lambda x: fn.layer_norm(x, (4,)), [X]),
    Case("layer_norm:two axes", lambda x, g, b: ops.layer_norm(x, (3, 4), g, b, 0.5),
         lambda x, g, b: fn.layer_norm(x, (3, 4), g, b, 0.5), [X, (3, 4), (3, 4)]),
    Case("cross_entropy", lambda x: ops.cross_entropy(x, LABELS),
         lambda x: fn.cross_entropy(x, as_torch(LABELS)), [(4, 5)]),
    Case("cross_entropy:smoothed", lambda x: ops.cross_entropy(x, LABELS, label_smoothing=0.3),
         lambda x: fn.cross_entropy(x, as_torch(LABELS), label_smoothing=0.3), [(4, 5)]),
    Case("cross_entropy:batch of one", lambda x: ops.cross_entropy(x, [2]),
         lambda x: fn.cross_entropy(x, as_torch(INDEX[:1])),
         [(1, 5)]),
    *(
        Case(f"cross_entropy:{label} {weight} {options}",
             lambda x, y=y, w=weight, o=options: ops.cross_entropy(x, y, w, **o),
             lambda x, y=y, w=weight, o=options: fn.cross_entropy(x, as_torch(y), w and torch.tensor(w).to(x), **o),
             [shape])
        for label, shape, y in [
            ("labels", (4, 5), LABELS), ("maps", (2, 5, 3, 2), np.arange(12).reshape(2, 3, 2) % 5),
            ("one", (5,), LABELS[0]), ("probabilities", (4, 5), np.eye(5)[LABELS] * 0.7 + 0.06),
        ]
        for weight in (None, [0.25, 0.5, 1.5, 0.0, 2.0])
        for options in ({}, {"label_smoothing": 0.3}, {"reduction": "sum"},
                        {"reduction": "none", "label_smoothing": 0.1}, {"ignore_index": 2, "label_smoothing": 0.3})
        if "ignore_index" not in options or label in ("labels", "maps")
    ),
    Case("mse_loss:sum", lambda a, b: ops.mse_loss(a, b, reduction="sum"),
         lambda a, b: fn.mse_loss(a, b, reduction="sum"), [X, X]),
    Case("mse_loss", ops.mse_loss, lambda a, b: fn.mse_loss(a, b), [X, X]),
    Case("binary_cross_entropy_with_logits", lambda x: ops.binary_cross_entropy_with_logits(x, ours(YES_NO, x)),
         lambda x: fn.binary_cross_entropy_with_logits(x, as_torch(YES_NO).to(x.dtype)), [X]),
    Case("binary_cross_entropy_with_logits:weights",
         lambda x: ops.binary_cross_entropy_with_logits(
             x, ours(YES_NO, x), [[3.0]], pos_weight=[2.0, 3, 0, 5], reduction="sum"),
         lambda x: fn.binary_cross_entropy_with_logits(
             x, as_torch(YES_NO).to(x.dtype), torch.tensor(3), pos_weight=torch.tensor([2, 3, 0, 5]), reduction="sum"),
         [X]),
    Case("binary_cross_entropy_with_logits:trained target",
         lambda x, t: ops.binary_cross_entropy_with_logits(x, ops.sigmoid(t)),
         lambda x, t: fn.binary_cross_entropy_with_logits(x, t.sigmoid()), [X, X]),
    Case("sigmoid_focal_loss", lambda x: ops.sigmoid_focal_loss(x, ours(YES_NO, x)),
         lambda x: focal_loss(x, as_torch(YES_NO).to(x.dtype)), [X]),
    Case("sigmoid_focal_loss:trained target", lambda x, t: ops.sigmoid_focal_loss(x, ops.sigmoid(t), 0.7, 1.5, "mean"),
         lambda x, t: focal_loss(x, t.sigmoid(), 0.7, 1.5).mean(), [X, X]),
    Case("giou_loss", ops.giou_loss, lambda a, b: generalised_iou_loss(a, b), [X, X]),
    Case("giou_loss:sum", lambda a, b: ops.giou_loss(a + ours(EDGES, a), b + ours(EDGES, b), "sum"),
         lambda a, b: generalised_iou_loss(a + as_torch(EDGES), b + as_torch(EDGES)).sum(), [X, X], "ties"),
]
# fmt: on

CASES = [*ELEMENTWISE, *REDUCTIONS, *SHAPES, *PRODUCTS, *LAYERS]
