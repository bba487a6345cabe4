"""Every op on ONNX's own test cases (``onnx.backend.test``) of the node types that minires has, in both engines.

A case whose attribute minires does not offer is counted, and at most a tenth may be. Cases of dtypes that minires does
not have (strings, bfloat16, float8, ...), and of images without two axes, are left out.
"""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest

import minires as mr
from minires import ops

pytest.importorskip("onnx")
pytestmark = [pytest.mark.parity, pytest.mark.slow, pytest.mark.filterwarnings("ignore")]


# Words of the refusals that are right, which count as not offered.
REFUSALS = ("but floats are needed", "has no elements along axes")


class NotOfferedError(Exception):
    """The case needs what minires does not have; the message names it."""


def offered(options, **only):
    """Raise NotOfferedError if an attribute has another value than the one that is offered."""
    for name, value in only.items():
        if options.get(name, value) != value:
            raise NotOfferedError(f"{name}={options[name]}")


def ints(values):
    return [int(value) for value in np.asarray(values).ravel()]


def elementwise(f):
    return lambda *inputs, **options: f(*inputs)


def axes_of(options, axes):
    """The axes of a reduction, which are an attribute in old versions of ONNX and an input in new ones."""
    given = options["axes"] if axes is None and "axes" in options else axes
    return None if given is None or not len(ints(given)) else tuple(ints(given))


def reduction(f):
    def run(x, axes=None, **options):
        axis = axes_of(options, axes)
        if axis is None and options.get("noop_with_empty_axes"):
            raise NotOfferedError("noop_with_empty_axes")
        return f(x, axis, keepdims=bool(options.get("keepdims", 1)))

    return run


def window(x, options, kernel, fill=0):
    """Return x, and the arguments stride, padding and dilation. Padding that differs between two sides is added to x.

    So is padding of more than half a kernel, which pooling refuses.
    """
    dilation, stride = options.get("dilations", [1, 1]), options.get("strides", [1, 1])
    pads, automatic = options.get("pads", [0, 0, 0, 0]), options.get("auto_pad", b"NOTSET")
    if automatic in (b"SAME_UPPER", b"SAME_LOWER"):
        covered = [(k - 1) * d + 1 for k, d in zip(kernel, dilation, strict=True)]
        missing = [max((-(-n // s) - 1) * s + c - n, 0) for n, s, c in zip(x.shape[2:], stride, covered, strict=True)]
        small, large = [m // 2 for m in missing], [m - m // 2 for m in missing]
        pads = small + large if automatic == b"SAME_UPPER" else large + small
    elif automatic == b"VALID":
        pads = [0, 0, 0, 0]
    (top, left), (bottom, right) = pads[:2], pads[2:]
    if (top, left) != (bottom, right) or 2 * top > kernel[0] or 2 * left > kernel[1]:
        x, top, left = ops.pad(x, (left, right, top, bottom), value=fill), 0, 0
    return x, {"stride": tuple(stride), "padding": (top, left), "dilation": tuple(dilation)}


def conv(x, weight, bias=None, **options):
    x, given = window(x, options, weight.shape[2:])
    return ops.conv2d(x, weight, bias, **given, groups=options.get("group", 1))


def conv_transpose(x, weight, bias=None, **options):
    offered(options, auto_pad=b"NOTSET", output_shape=None)
    (top, left, bottom, right), ones = options.get("pads", [0, 0, 0, 0]), [1, 1]
    if (top, left) != (bottom, right):
        raise NotOfferedError("padding that differs between two sides")
    given = {"stride": tuple(options.get("strides", ones)), "dilation": tuple(options.get("dilations", ones))}
    extra = tuple(options.get("output_padding", (0, 0)))
    return ops.conv_transpose2d(
        x, weight, bias, **given, padding=(top, left), output_padding=extra, groups=options.get("group", 1)
    )


def max_pool(x, **options):
    offered(options, storage_order=0)
    kernel = options["kernel_shape"]
    x, given = window(x, options, kernel, -math.inf)
    return ops.max_pool2d(x, tuple(kernel), **given, ceil_mode=bool(options.get("ceil_mode", 0)))


def average_pool(x, **options):
    kernel, counted = options["kernel_shape"], bool(options.get("count_include_pad", 0))
    offered(options, dilations=[1, 1])
    padded, given = window(x, options, kernel)
    if padded is not x and not counted:
        raise NotOfferedError("padding that differs between two sides and does not count")
    del given["dilation"]
    ceil = bool(options.get("ceil_mode", 0))
    return ops.avg_pool2d(padded, tuple(kernel), **given, ceil_mode=ceil, count_include_pad=counted)


def batch_norm(x, gamma, beta, mean, var, epsilon=1e-5, momentum=0.9, training_mode=0, **_):
    if not training_mode:
        return ops.batch_norm(x, gamma, beta, mean, var, False, eps=epsilon)
    raise NotOfferedError("training_mode: the running variance of ONNX is biased")


def layer_norm(x, scale=None, bias=None, axis=-1, epsilon=1e-5, **_):
    start = axis % x.ndim
    return ops.layer_norm(x, x.shape[start:], scale, bias, epsilon)


def group_norm(x, scale, bias, num_groups, epsilon=1e-5, **_):
    return ops.group_norm(x, num_groups, scale, bias, epsilon)


def softmax(f):
    return lambda x, axis=-1, **options: f(x, axis)


def gemm(a, b, c=None, alpha=1.0, beta=1.0, transA=0, transB=0, **_):
    y = alpha * ((a.T if transA else a) @ (b.T if transB else b))
    return y if c is None else y + beta * c


def gelu(x, approximate=b"none", **_):
    return ops.gelu(x, approximate=approximate.decode())


def clip(x, low=None, high=None, **options):
    low, high = options.get("min", low), options.get("max", high)
    return x if low is None and high is None else ops.clip(x, low, high)


def pad(x, pads, value=None, axes=None, mode=b"constant", **_):
    before, after = np.asarray(pads).reshape(2, -1).tolist()
    given = range(x.ndim) if axes is None else ints(axes)
    widths = [(0, 0)] * x.ndim
    for axis, pair in zip(given, zip(before, after, strict=True), strict=True):
        widths[axis % x.ndim] = pair
    names = {"constant": "constant", "reflect": "reflect", "edge": "replicate", "wrap": "circular"}
    return ops.pad(x, widths, names[mode.decode()], 0 if value is None else value.item())


def resize(x, roi=None, scales=None, sizes=None, **options):
    mode = options.get("mode", b"nearest").decode()
    offered(options, antialias=0, exclude_outside=0, keep_aspect_ratio_policy=b"stretch")
    where = options.get("coordinate_transformation_mode", b"half_pixel").decode()
    rounding = options.get("nearest_mode", b"round_prefer_floor").decode() if mode == "nearest" else "-"
    known = {
        ("nearest", "asymmetric", "floor"): "nearest",
        (
            "nearest",
            "half_pixel",
            "round_prefer_floor",
        ): "nearest-exact",  # the same but halfway between two pixels, where ``sizes`` lead
        ("linear", "half_pixel", "-"): "bilinear",
        ("linear", "align_corners", "-"): "bilinear",
    }
    if (mode, where, rounding) not in known or (rounding == "round_prefer_floor" and sizes is not None):
        raise NotOfferedError(f"{mode}, {where}, {rounding}")
    given = np.asarray(scales if sizes is None else sizes).tolist()
    given = dict(zip(options.get("axes", range(x.ndim)), given, strict=True))
    ours = tuple(given[axis] for axis in (2, 3))
    if where == "align_corners" and any(factor * n % 1 for factor, n in zip(ours, x.shape[2:], strict=True)):
        raise NotOfferedError("align_corners with sizes that are rounded")
    corners = {"align_corners": where == "align_corners"} if mode == "linear" else {}
    name = "scale_factor" if sizes is None else "size"
    return ops.interpolate(x, mode=known[mode, where, rounding], **{name: ours}, **corners)


def slice_(x, starts, ends, axes=None, steps=None, **_):
    index = [slice(None)] * x.ndim
    axes = range(len(ints(starts))) if axes is None else ints(axes)
    steps = [1] * len(ints(starts)) if steps is None else ints(steps)
    for axis, start, end, step in zip(axes, ints(starts), ints(ends), steps, strict=True):
        end = None if step < 0 and end < -x.shape[axis] else end
        index[axis] = slice(start, end, step)
    return x[tuple(index)]


def cross_entropy(logits, labels, weight=None, ignore_index=-100, reduction=b"mean", **_):
    return ops.cross_entropy(logits, labels, weight, ignore_index, reduction.decode())


def reshape(x, shape, allowzero=0, **_):
    sizes = ints(shape)
    return ops.reshape(x, [x.shape[i] if size == 0 and not allowzero else size for i, size in enumerate(sizes)])


def flatten(x, axis=1, **_):
    start = axis % x.ndim if axis < 0 else axis
    return ops.reshape(x, math.prod(x.shape[:start]), math.prod(x.shape[start:]))


def unsqueeze(x, axes=None, **options):
    given = ints(axes if axes is not None else options["axes"])
    for axis in sorted(axis % (x.ndim + len(given)) for axis in given):
        x = ops.expand_dims(x, axis)
    return x


def argmax(x, axis=0, keepdims=1, select_last_index=0, **_):
    if select_last_index:
        return x.shape[axis] - 1 - ops.argmax(x.flip(axis), axis, keepdims=bool(keepdims))
    return ops.argmax(x, axis, keepdims=bool(keepdims))


def mod(a, b, fmod=0, **_):
    if fmod:
        raise NotOfferedError("fmod")
    return a % b


def fold_pairs(f):
    def run(first, *others, **_):
        for other in others:
            first = f(first, other)
        return first

    return run


def col2im(x, image, block, dilations=(1, 1), strides=(1, 1), pads=(0, 0, 0, 0), **options):
    n, columns, _ = x.shape
    kernel, size = tuple(ints(block)), tuple(ints(image))
    if len(size) != 2:
        raise NotOfferedError("images of three axes")
    given = window(x, {"dilations": dilations, "strides": strides, "pads": list(pads)}, kernel)[1]
    shape = n, columns // math.prod(kernel), *size
    rows = ops.im2col(mr.zeros(shape), kernel, **given).shape
    return ops.col2im(x.permute(0, 2, 1).reshape(rows), shape, kernel, **given)


def divide(a, b, **_):
    if a.dtype.kind == "f":
        return a / b
    return ops.div(a, b, rounding_mode="trunc")


def power(a, b):
    if a.dtype.kind + b.dtype.kind == "if":
        raise NotOfferedError("integers to the power of floats: the result is float, as in PyTorch")
    return a**b


NODES = {
    "Abs": elementwise(ops.abs), "Add": elementwise(ops.add), "ArgMax": argmax, "AveragePool": average_pool,
    "BatchNormalization": batch_norm, "Clip": clip, "Concat": lambda *x, axis, **_: ops.concatenate(list(x), axis),
    "Conv": conv, "ConvTranspose": conv_transpose, "Div": divide, "Exp": elementwise(ops.exp),
    "Col2Im": col2im, "Expand": lambda x, shape, **_: x.broadcast_to(np.broadcast_shapes(x.shape, tuple(ints(shape)))),
    "Flatten": flatten, "Gather": lambda x, index, axis=0, **_: x[(slice(None),) * (axis % x.ndim) + (index,)],
    "Gelu": gelu, "Gemm": gemm, "GlobalAveragePool": lambda x, **_: ops.adaptive_avg_pool2d(x, 1),
    "GroupNormalization": group_norm, "Identity": elementwise(lambda x: x), "LayerNormalization": layer_norm,
    "LeakyRelu": lambda x, alpha=0.01, **_: ops.leaky_relu(x, alpha), "Log": elementwise(ops.log),
    "LogSoftmax": softmax(ops.log_softmax), "MatMul": elementwise(ops.matmul), "Max": fold_pairs(ops.maximum),
    "MaxPool": max_pool, "Min": fold_pairs(ops.minimum), "Mod": mod, "Mul": elementwise(ops.mul),
    "Neg": elementwise(ops.neg), "Pad": pad, "Pow": power,
    "Range": lambda start, end, step, **_: mr.arange(start.item(), end.item(), step.item(), dtype=start.dtype),
    "ReduceLogSumExp": reduction(ops.logsumexp), "ReduceMax": reduction(ops.max), "ReduceMean": reduction(ops.mean),
    "ReduceMin": reduction(ops.min), "ReduceSum": reduction(ops.sum), "Relu": elementwise(ops.relu),
    "Reshape": reshape, "Resize": resize, "Sigmoid": elementwise(ops.sigmoid), "Slice": slice_,
    "Softmax": softmax(ops.softmax), "SoftmaxCrossEntropyLoss": cross_entropy, "Sqrt": elementwise(ops.sqrt),
    "Squeeze": lambda x, axes=None, **options: ops.squeeze(x, axes_of(options, axes)), "Sub": elementwise(ops.sub),
    "Sum": fold_pairs(ops.add), "Swish": elementwise(lambda x: ops.silu(x)), "Tanh": elementwise(ops.tanh),
    "Transpose": lambda x, perm=None, **_: x.transpose(tuple(perm or reversed(range(x.ndim)))),
    "Unsqueeze": unsqueeze, "Where": elementwise(ops.where), "And": elementwise(lambda a, b: a & b),
    "Or": elementwise(lambda a, b: a | b), "Xor": elementwise(lambda a, b: a ^ b), "Not": elementwise(lambda a: ~a),
    "BitwiseAnd": elementwise(lambda a, b: a & b), "BitwiseOr": elementwise(lambda a, b: a | b),
    "BitwiseXor": elementwise(lambda a, b: a ^ b), "BitwiseNot": elementwise(lambda a: ~a),
    "Equal": elementwise(lambda a, b: a == b), "Greater": elementwise(lambda a, b: a > b),
    "GreaterOrEqual": elementwise(lambda a, b: a >= b), "Less": elementwise(lambda a, b: a < b),
    "LessOrEqual": elementwise(lambda a, b: a <= b),
}  # fmt: skip


def collect():
    """ONNX's cases of one node, by node type, with arrays that minires can hold."""
    from onnx.backend.test.case.node import collect_testcases

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        every = collect_testcases(None)
    found = {}
    for case in every:
        node = case.model.graph.node[0]
        if (
            len(case.model.graph.node) == 1
            and node.op_type in NODES
            and case.data_sets
            and fits(node, *case.data_sets[0])
        ):
            found.setdefault(node.op_type, []).append((case.name, node, *case.data_sets[0]))
    return found


def fits(node, inputs, outputs):
    """Whether all arrays have dtypes that minires has and, where the node is about images, four axes."""
    arrays = [*inputs, *outputs]
    if not all(isinstance(array, (np.ndarray, np.generic)) and array.dtype.kind in "fiub" for array in arrays):
        return False
    images = node.op_type in ("AveragePool", "Conv", "ConvTranspose", "MaxPool")
    return not (images and inputs[0].ndim != 4) and (len(outputs) == 1 or node.op_type == "LayerNormalization")


@pytest.fixture(scope="module")
def cases():
    return collect()


def run(node, inputs, engine):
    """The output that minires computes for a node."""
    from onnx.helper import get_attribute_value

    options = {attribute.name: get_attribute_value(attribute) for attribute in node.attribute}
    given = iter(inputs)
    tensors = [mr.tensor(next(given)) if name else None for name in node.input]
    try:
        with mr.engine(engine):
            return np.asarray(NODES[node.op_type](*tensors, **options))
    except mr.errors.MiniresError as error:
        if any(words in str(error) for words in REFUSALS):
            raise NotOfferedError(str(error)) from error
        raise


@pytest.mark.parametrize("kind", NODES)
def test_cases(kind, cases):
    problems, ran = [], 0
    for name, node, inputs, (expected, *_) in cases[kind]:
        for engine in ("fast", "textbook"):
            try:
                found = run(node, inputs, engine)
            except NotOfferedError:
                continue
            except Exception as error:
                problems.append(f"{name}: {type(error).__name__}: {error}")
                continue
            ran += 1
            expected = np.asarray(expected)
            tolerance = {"rtol": 1e-3, "atol": 1e-3 if expected.dtype == np.float16 else 1e-6}
            if found.shape != expected.shape or found.dtype != expected.dtype:
                problems.append(f"{name}: {found.dtype} {found.shape} for {expected.dtype} {expected.shape}")
            elif not np.allclose(found, expected, equal_nan=True, **tolerance):
                problems.append(f"{name}: {found.ravel()[:6]} for {expected.ravel()[:6]}")
    assert not problems, f"{len(problems)} problems:\n" + "\n".join(problems[:20])
    assert ran


def test_at_most_a_tenth_is_not_offered(cases):
    total, missing = 0, []
    for kind in NODES:
        for name, node, inputs, _ in cases[kind]:
            total += 1
            try:
                run(node, inputs, "textbook")
            except NotOfferedError as error:
                missing.append(f"{name}: {error}")
    print(f"{total} cases, {len(missing)} not offered: {missing}")
    assert len(missing) <= 0.1 * total
