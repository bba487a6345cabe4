"""Every op on the samples that PyTorch's own tests use (OpInfo): values, dtypes and gradients, in both engines.

A sample may also be refused. The error must then name what is not offered; the arguments that it may name are listed
in ``NOT_OFFERED``, and all refusals together are at most a tenth of the samples.
"""

from __future__ import annotations

import re
import warnings
from functools import partial

import numpy as np
import pytest

import minires as mr
from minires import ops
from minires.core import dispatch

torch = pytest.importorskip("torch")
pytest.importorskip("expecttest", reason="PyTorch's samples need the package expecttest")
pytestmark = [pytest.mark.parity, pytest.mark.slow, pytest.mark.filterwarnings("ignore")]

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from torch.testing._internal.common_methods_invocations import op_db

OP_INFOS = {f"{info.name}/{info.variant_test_name}".rstrip("/"): info for info in op_db}


def method(name):
    return lambda x, *args, **options: getattr(x, name)(*args, **options)


def reversed_operator(name):
    return lambda x, other: getattr(x, name)(other)


def batch_norm(x, mean, var, weight=None, bias=None, training=False, momentum=0.1, eps=1e-5):
    return ops.batch_norm(x, weight, bias, mean, var, training, momentum, eps)


def unfold(x, kernel_size, dilation=1, padding=0, stride=1):
    """im2col in PyTorch's layout, (N, C*KH*KW, OH*OW)."""
    rows = ops.im2col(x, kernel_size, stride, padding, dilation)
    n, oh, ow, columns = rows.shape
    return rows.reshape(n, oh * ow, columns).permute(0, 2, 1)


def sum_to_size(x, *shape):
    """sum_to. PyTorch turns a boolean scalar into int64, even if there is nothing to add up."""
    return ops.sum_to(x.to("int64") if x.dtype == bool and x.ndim == 0 else x, shape[0] if len(shape) == 1 else shape)


def upsample(x, size=None, scale_factor=None, *, mode, align_corners=None):
    return ops.interpolate(x, size, scale_factor, mode, align_corners)


SAME_NAME = [
    "abs", "add", "argmax", "broadcast_to", "exp", "flatten", "flip", "log", "log_softmax", "logsumexp", "matmul",
    "maximum", "mean", "minimum", "mul", "neg", "pow", "reshape", "sigmoid", "softmax", "sqrt", "squeeze", "stack",
    "sub", "sum", "tanh", "transpose", "var", "std", "masked_fill", "silu", "permute", "unsqueeze", "view",
    "adaptive_avg_pool2d", "avg_pool2d", "binary_cross_entropy_with_logits", "conv2d", "conv_transpose2d",
    "cross_entropy", "gelu", "group_norm", "interpolate", "layer_norm", "leaky_relu", "linear", "max_pool2d",
    "mse_loss", "relu", "zeros", "ones", "full", "arange", "zeros_like", "ones_like",
]  # fmt: skip
VARIANTS = {
    "log_softmax/with_dtype": ops.log_softmax,
    "softmax/with_dtype": ops.softmax,
    "squeeze/multiple": ops.squeeze,
    "var/unbiased": ops.var,
    "std/unbiased": method("std"),
    "div/no_rounding_mode": ops.div,
    "div/floor_rounding": ops.div,
    "div/trunc_rounding": ops.div,
    "true_divide": ops.div,
    "nn.functional.pad/constant": ops.pad,
    "nn.functional.pad/reflect": ops.pad,
    "nn.functional.pad/replicate": ops.pad,
    "nn.functional.pad/replicate_negative": ops.pad,
    "nn.functional.pad/circular": ops.pad,
    "nn.functional.interpolate/nearest": lambda x, *args, **options: ops.interpolate(x, *args, **options),
    "nn.functional.interpolate/bilinear": lambda x, *args, **options: ops.interpolate(x, *args, **options),
    "nn.functional.upsample_bilinear": partial(upsample, mode="bilinear", align_corners=True),
    "nn.functional.upsample_nearest": partial(upsample, mode="nearest"),
    "nn.functional.batch_norm": batch_norm,
    "nn.functional.unfold": unfold,
    "where": lambda x, condition, other: ops.where(condition, x, other),
    "cat": ops.concatenate,
    "clamp": ops.clip,
    "sum_to_size": sum_to_size,
    "mm": ops.matmul,
    "mv": ops.matmul,
    "bmm": ops.matmul,
    "dot": ops.matmul,
    "T": lambda x: x.T,
    "to": method("to"),
    "__getitem__": lambda x, index: x[index],
    "max/binary": ops.maximum,
    "min/binary": ops.minimum,
    "max/reduction_no_dim": ops.max,
    "min/reduction_no_dim": ops.min,
    "max/reduction_with_dim": lambda x, dim, keepdim=False: ops.max(x, axis=dim, keepdims=keepdim),
    "min/reduction_with_dim": lambda x, dim, keepdim=False: ops.min(x, axis=dim, keepdims=keepdim),
    "floor_divide": lambda x, other: x // other,
    "remainder": lambda x, other: x % other,
    "bitwise_and": lambda x, other: x & other,
    "bitwise_or": lambda x, other: x | other,
    "bitwise_xor": lambda x, other: x ^ other,
    "bitwise_not": lambda x: ~x,
    "positive": lambda x: +x,
    "all": method("all"),
    "any": method("any"),
    "item": method("item"),
    "eq": lambda x, other: x == other,
    "ne": lambda x, other: x != other,
    "lt": lambda x, other: x < other,
    "le": lambda x, other: x <= other,
    "gt": lambda x, other: x > other,
    "ge": lambda x, other: x >= other,
    "__radd__": reversed_operator("__radd__"),
    "__rsub__": reversed_operator("__rsub__"),
    "__rmul__": reversed_operator("__rmul__"),
    "__rdiv__": reversed_operator("__rtruediv__"),
    "__rmod__": reversed_operator("__rmod__"),
    "__rpow__": reversed_operator("__rpow__"),
    "__rmatmul__": reversed_operator("__rmatmul__"),
    "__rand__": reversed_operator("__rand__"),
    "__ror__": reversed_operator("__ror__"),
    "__rxor__": reversed_operator("__rxor__"),
}
FUNCTIONS = dict(VARIANTS)
for _name in SAME_NAME:
    _info = next(name for name in (_name, f"nn.functional.{_name}", "") if name in OP_INFOS or not name)
    if _info:
        FUNCTIONS[_info] = getattr(ops, _name, None) or getattr(mr, _name, None) or method(_name)

# Words of the refusals that are right: for every op, and by op the arguments of PyTorch's that are not offered.
REFUSALS = ("but floats are needed",)
NOT_OFFERED: dict[str, tuple[str, ...]] = {
    "__rpow__": ("exponent is negative",),
    "add": ("alpha is not offered",),
    "sub": ("alpha is not offered",),
    "nn.functional.max_pool2d": ("return_indices",),
    "nn.functional.batch_norm": ("momentum is -", "x has 1 axes"),
    "nn.functional.group_norm": ("eps is -",),
    "nn.functional.layer_norm": ("eps is -",),
}

# The kernels that must have run for an op's samples.
WITH_KERNELS = {
    f"nn.functional.{name}": {f"{name} forward", f"{name} backward"}
    for name in ("relu", "conv2d", "max_pool2d", "avg_pool2d", "cross_entropy")
} | {"where": {"where forward"}}

DTYPES = {"float32": torch.float32, "float64": torch.float64, "int64": torch.int64, "bool": torch.bool}
TOLERANCE = {"float32": {"rtol": 2e-4, "atol": 2e-5}, "float64": {"rtol": 1e-9, "atol": 1e-9}}


def convert(value, leaves):
    """What a user of minires would pass instead: tensors for tensors, names for dtypes."""
    if isinstance(value, torch.Tensor):
        ours = mr.tensor(value.detach().resolve_conj().numpy(), requires_grad=value.requires_grad)
        leaves.append((value, ours))
        return ours
    if isinstance(value, torch.dtype):
        return str(value).removeprefix("torch.")
    if isinstance(value, torch.device):
        return value.type
    if isinstance(value, (list, tuple)):
        return type(value)(convert(item, leaves) for item in value)
    if isinstance(value, dict):
        return {name: convert(item, leaves) for name, item in value.items()}
    return value


def tensors(outputs):
    """The results to compare; of values and indices, PyTorch's tuple, only the values."""
    return outputs[0] if isinstance(outputs, tuple) else outputs


def complaint(name, info, sample, dtype, engine):
    """Run one sample in both frameworks. Return None, a difference, or the error by which minires refuses it."""
    given = (sample.input, *sample.args), sample.kwargs
    expected = tensors(info(*given[0], **given[1]))
    leaves = []
    args, options = convert(given[0], leaves), convert(given[1], leaves)
    try:
        with mr.engine(engine):
            found = FUNCTIONS[name](*args, **options)
            if isinstance(expected, torch.Tensor) and expected.requires_grad:
                upstream = torch.tensor(np.random.default_rng(0).standard_normal(expected.shape), dtype=expected.dtype)
                if not found.requires_grad:
                    return f"no gradient is recorded for {expected.shape}"
                found.backward(mr.tensor(upstream.numpy()))
    except mr.errors.MiniresError as error:
        return error
    except Exception as error:
        return f"raw error {type(error).__name__}: {error}"
    if not isinstance(expected, torch.Tensor):
        return None if found == expected else f"{found!r} for {expected!r}"
    problem = difference("value", found, expected.detach(), dtype)
    if problem or not expected.requires_grad:
        return problem
    theirs = [tensor for tensor, _ in leaves if tensor.requires_grad]
    grads = torch.autograd.grad(expected, theirs, upstream, allow_unused=True)
    for grad, (tensor, ours) in zip(grads, [leaf for leaf in leaves if leaf[0].requires_grad], strict=True):
        if grad is None:
            grad = torch.zeros_like(tensor)
        problem = difference("gradient", ours.grad if ours.grad is not None else mr.zeros_like(ours), grad, dtype)
        if problem:
            return problem
    return None


def difference(what, found, expected, dtype):
    """Say how an array differs from PyTorch's, or return None."""
    found, expected = np.asarray(found), expected.numpy()
    if found.shape != expected.shape:
        return f"{what}: shape {found.shape} for {expected.shape}"
    if found.dtype != expected.dtype:
        return f"{what}: dtype {found.dtype} for {expected.dtype}"
    if found.dtype.kind != "f":
        return None if np.array_equal(found, expected) else f"{what}: {found} for {expected}"
    if not np.allclose(found, expected, equal_nan=True, **TOLERANCE[str(found.dtype)]):
        return f"{what}: {found.ravel()[:8]} for {expected.ravel()[:8]}"
    return None


def samples(info, dtype):
    """PyTorch's samples of an op. The seed is fixed, as they are drawn at random."""
    torch.manual_seed(0)
    np.random.seed(0)
    if DTYPES[dtype] not in info.supported_dtypes("cpu"):
        return []
    grad = DTYPES[dtype].is_floating_point and info.supports_autograd
    found = info.sample_inputs("cpu", DTYPES[dtype], requires_grad=grad)
    return [sample for sample in found if not unreadable(sample)]


def unreadable(sample):
    """Whether a sample is about memory formats, sparse tensors or indices of windows, which minires does not have."""
    given = [sample.input, *sample.args, *sample.kwargs.values()]
    if sample.kwargs.get("return_indices"):
        return True
    return any(isinstance(value, torch.memory_format) or getattr(value, "is_sparse", False) for value in given)


@pytest.fixture
def eager_kernels(monkeypatch):
    """Kernels run for arrays of any size, since PyTorch's samples are small. Returns the kernels that ran."""
    dispatch.load_kernels("cpu")
    ran = set()

    def counted(key, kernel):
        def run(*args):
            result = kernel.run(*args)
            if result is not NotImplemented:
                ran.add(key)
            return result

        return kernel._replace(run=run, smallest=0)

    monkeypatch.setattr(dispatch, "_kernels", {key: counted(key, kernel) for key, kernel in dispatch._kernels.items()})
    return ran


@pytest.mark.parametrize("name", FUNCTIONS)
def test_samples(name, eager_kernels):
    problems = []
    for dtype in DTYPES:
        for i, sample in enumerate(samples(OP_INFOS[name], dtype)):
            for engine in ("fast", "textbook") if dtype == "float32" else ("fast",):
                found = complaint(name, OP_INFOS[name], sample, dtype, engine)
                if isinstance(found, Exception) and any(
                    word in str(found) for word in (*REFUSALS, *NOT_OFFERED.get(name, ()))
                ):
                    continue
                if found is not None:
                    problems.append(f"{dtype} {engine} sample {i} {describe(sample)}: {found!r}")
    assert not problems, f"{len(problems)} problems:\n" + "\n".join(problems[:20])
    assert {f"{op.name} {phase}" for op, phase, _ in eager_kernels} >= WITH_KERNELS.get(name, set())


def describe(sample):
    def short(value):
        if isinstance(value, torch.Tensor):
            return f"{tuple(value.shape)}"
        return [short(item) for item in value] if isinstance(value, (list, tuple)) else repr(value)

    options = ", ".join(f"{name}={short(value)}" for name, value in sample.kwargs.items())
    return f"({', '.join(map(str, map(short, (sample.input, *sample.args))))}; {options})"


def test_at_most_a_tenth_is_refused():
    total, refused, messages = 0, {}, []
    for name in FUNCTIONS:
        for dtype in DTYPES:
            for sample in samples(OP_INFOS[name], dtype):
                total += 1
                problem = complaint(name, OP_INFOS[name], sample, dtype, "textbook")
                if isinstance(problem, Exception):
                    refused[name] = refused.get(name, 0) + 1
                    messages.append(re.sub(r"\d+", "N", f"{name}: {problem}"))
    print(f"{total} samples, {sum(refused.values())} refused: {refused}", *set(messages), sep="\n")
    assert sum(refused.values()) <= 0.1 * total
