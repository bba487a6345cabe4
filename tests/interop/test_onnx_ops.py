"""Every op of minires in an ONNX file: onnxruntime computes the same as minires, or the op is refused."""

import functools

import numpy as np
import pytest

import minires as mr
from minires import nn, ops
from minires.errors import ArgumentError

onnxruntime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
pytest.importorskip("onnx", reason="onnx is not installed")

RNG = np.random.default_rng(3)
CHANNELS = RNG.standard_normal((3, 1, 1)).astype("f")
POSITIVE = RNG.uniform(0.5, 1.5, 3).astype("f")


@functools.cache
def weight(*shape):
    """The same numbers for the same shape."""
    return np.random.default_rng(sum(shape)).standard_normal(shape).astype("f")


class Net(nn.Module):
    """A module that computes a function of x."""

    def __init__(self, function):
        self.function = function

    def forward(self, x):
        return self.function(x)


def run(path, x):
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return session.run(None, {"input": x})


IMAGES = (3, 6, 7)
KEPT = ops.batch_norm, (mr.tensor(POSITIVE), mr.tensor(POSITIVE - 1), mr.tensor(POSITIVE - 2), mr.tensor(POSITIVE))
EXPORTED = {  # op: functions of a batch (N, 3, 6, 7)
    "abs": [lambda x: ops.abs(x)],
    "add": [lambda x: x + CHANNELS, lambda x: x + x.relu() + 1, lambda x: 2 + x],
    "astype": [lambda x: (3 * x).astype("int32"), lambda x: (3 * x).astype("int64") + x, lambda x: x.astype("float64")],
    "avg_pool2d": [lambda x: ops.avg_pool2d(x, 2), lambda x: ops.avg_pool2d(x, (3, 2), (2, 3), 1)],
    "batch_norm": [
        lambda x: KEPT[0](x, *KEPT[1], training=False),
        lambda x: KEPT[0](x, *KEPT[1], training=False, eps=0.1, activation="relu"),
        lambda x: KEPT[0](x, *KEPT[1], training=False, shortcut=x, activation="relu"),
        lambda x: KEPT[0](x, *KEPT[1], training=False, shortcut=x.relu()),
        lambda x: KEPT[0](x.sum((2, 3)), *KEPT[1], training=False),
    ],
    "broadcast_to": [
        lambda x: ops.broadcast_to(x.mean((2, 3), keepdims=True), (len(x), 3, 4, 5)),
        lambda x: ops.broadcast_to(x, (2, *x.shape)),
    ],
    "clip": [
        lambda x: ops.clip(x, CHANNELS, 2 * CHANNELS),
        lambda x: ops.clip(x, -0.5, 6),
        lambda x: x.clip(high=0.25),
        lambda x: x.clip(0),
    ],
    "concatenate": [lambda x: ops.concatenate([x, x.relu(), x * 2], axis=1), lambda x: ops.concatenate([x, -x])],
    "conv2d": [
        lambda x: ops.conv2d(x, weight(4, 3, 3, 2), weight(4), stride=(2, 1), padding=(1, 2)),
        lambda x: ops.conv2d(x, weight(6, 1, 2, 3), padding="same", dilation=(2, 3), groups=3),
    ],
    "conv_transpose2d": [
        lambda x: ops.conv_transpose2d(x, weight(3, 4, 3, 2), weight(4), stride=(3, 2), padding=1),
        lambda x: ops.conv_transpose2d(x, weight(3, 2, 3, 3), None, 2, 1, (1, 0), 3, (2, 1)),
    ],
    "div": [lambda x: x / CHANNELS, lambda x: 1 / (x * x + 1)],
    "dropout": [lambda x: ops.dropout(x, 0.5, training=False) * 2, lambda x: ops.dropout(x, 0.5, training=False)],
    "exp": [lambda x: ops.exp(x)],
    "expand_dims": [lambda x: ops.expand_dims(x, 0), lambda x: ops.expand_dims(x, 2), lambda x: x.expand_dims(-1)],
    "flatten": [lambda x: ops.flatten(x, 1), lambda x: ops.flatten(x), lambda x: ops.flatten(x, 2)],
    "flip": [lambda x: ops.flip(x, 3), lambda x: ops.flip(x, (0, 2))],
    "gelu": [lambda x: ops.gelu(x), lambda x: ops.gelu(x, approximate="tanh")],
    "getitem": [
        lambda x: x[:, :, ::2, 1::3],
        lambda x: x[:, 1],
        lambda x: x[:, -1, 2:, None, ::-2],
        lambda x: x[..., 0],
        lambda x: x[:, [2, 0]],
        lambda x: x[:, :, None, [[1, 2], [0, 0]]],
        lambda x: x[:, :, -3:-1, :100],
        lambda x: x[None, ..., 4::-2],
        lambda x: x[0],
        lambda x: x[:],
    ],
    "adaptive_avg_pool2d": [lambda x: ops.adaptive_avg_pool2d(x, 1), lambda x: ops.adaptive_avg_pool2d(x, (4, 3))],
    "group_norm": [lambda x: ops.group_norm(x, 3, weight(3), weight(3)), lambda x: ops.group_norm(x, 1)],
    "global_avg_pool2d": [lambda x: ops.global_avg_pool2d(x)],
    "interpolate": [
        lambda x: ops.interpolate(x, scale_factor=2),
        lambda x: ops.interpolate(x, (4, 9), mode="bilinear"),
    ],
    "layer_norm": [lambda x: ops.layer_norm(x, (6, 7), weight(6, 7), weight(6, 7)), lambda x: ops.layer_norm(x)],
    "leaky_relu": [lambda x: ops.leaky_relu(x), lambda x: ops.leaky_relu(x, 0.3)],
    "linear": [
        lambda x: ops.linear(x.flatten(1), weight(4, 126), weight(4)),
        lambda x: ops.linear(x.flatten(1), weight(4, 126)),
        lambda x: ops.linear(x, weight(4, 7), weight(4)),
        lambda x: ops.linear(x, weight(4, 7)),
    ],
    "log": [lambda x: ops.log(x * x)],
    "log_softmax": [lambda x: ops.log_softmax(x), lambda x: ops.log_softmax(x * 100, axis=1)],
    "logsumexp": [lambda x: ops.logsumexp(x, 1), lambda x: ops.logsumexp(x * 100, (1, -1), keepdims=True)],
    "matmul": [
        lambda x: x @ weight(7, 4),
        lambda x: weight(2, 6) @ x,
        lambda x: x @ weight(7),
        lambda x: x @ x.transpose(0, 1, 3, 2),
    ],
    "max": [lambda x: ops.max(x, 1), lambda x: ops.max(x, (2, 3), keepdims=True)],
    "max_pool2d": [lambda x: ops.max_pool2d(x, 2), lambda x: ops.max_pool2d(x, 2, 2, 1, 2, True)],
    "maximum": [lambda x: ops.maximum(x, CHANNELS), lambda x: ops.maximum(x, 0.5)],
    "mean": [lambda x: ops.mean(x, (2, 3)), lambda x: x.mean(1, keepdims=True), lambda x: x.mean(0)],
    "min": [lambda x: ops.min(x, 1), lambda x: ops.min(x, (2, 3), keepdims=True)],
    "minimum": [lambda x: ops.minimum(x, CHANNELS)],
    "mul": [lambda x: x * CHANNELS, lambda x: x * x, lambda x: x * (np.arange(7) % 2 == 0)],
    "neg": [lambda x: -x],
    "pad": [
        lambda x: ops.pad(x, (1, 2, 0, 3)),
        lambda x: ops.pad(x, ((0, 0), (2, 1), (0, 0), (0, 0)), value=-1.5),
        lambda x: ops.pad(x, (1, 2, -1, 1), "circular"),
    ],
    "pow": [lambda x: x**2, lambda x: (x * x + 0.1) ** -0.5, lambda x: (x * x + 0.1) ** mr.tensor([1.5])],
    "relu": [lambda x: ops.relu(x)],
    "reshape": [
        lambda x: x.reshape(len(x), -1),
        lambda x: x.reshape(-1, 7),
        lambda x: x.reshape(3, -1, 2),
        lambda x: x.reshape(len(x), 1, 18, 7),
    ],
    "residual_add": [lambda x: ops.residual_add(x * 2, x), lambda x: ops.residual_add(-x, x.exp(), activation=None)],
    "sigmoid": [lambda x: ops.sigmoid(x * 10)],
    "silu": [lambda x: ops.silu(x)],
    "softmax": [lambda x: ops.softmax(x), lambda x: ops.softmax(x * 100, axis=1)],
    "sqrt": [lambda x: ops.sqrt(x * x)],
    "squeeze": [lambda x: x[:, :1].squeeze(1)],
    "stack": [lambda x: ops.stack([x, -x], axis=1), lambda x: ops.stack([x, -x])],
    "sub": [lambda x: x - CHANNELS, lambda x: 1 - x],
    "sum": [lambda x: ops.sum(x, (1, 3)), lambda x: ops.sum(x, -1, keepdims=True), lambda x: x.sum(0)],
    "sum_to": [lambda x: ops.sum_to(x, (3, 1, 7))],
    "tanh": [lambda x: ops.tanh(x)],
    "to_device": [lambda x: ops.to_device(x, "cpu") + 1],
    "permute": [lambda x: x.permute(0, 3, 1, 2)],
    "std": [lambda x: x.std(1, keepdims=True)],
    "transpose": [lambda x: x.transpose(0, 2, 3, 1), lambda x: x.T],
    "var": [lambda x: ops.var(x, (2, 3)), lambda x: x.var(1, correction=0, keepdims=True)],
    "where": [lambda x: ops.where(np.arange(7) > 3, x, 0.5), lambda x: ops.where(CHANNELS > 0, x, -x)],
    "masked_fill": [lambda x: x.masked_fill(np.arange(7) > 3, 0.5)],
}
CASES = [(name, function) for name, functions in EXPORTED.items() for function in functions]
REFUSED = {
    "argmin": (lambda x: x.argmin(1), "is not computed from the input by ops"),
    "argmax": (lambda x: x.argmax(1), "is not computed from the input by ops"),
    "binary_cross_entropy_with_logits": (
        lambda x: ops.binary_cross_entropy_with_logits(x, 0 * x) + x, "depends on the input",
    ),
    "col2im": (
        lambda x: ops.col2im(x.transpose(0, 2, 3, 1), x.shape, 1), "op col2im cannot be exported",
    ),
    "cross_entropy": (
        lambda x: ops.cross_entropy(x.flatten(1), [0] * len(x)) + x, "depends on the input",
    ),
    "giou_loss": (
        lambda x: ops.giou_loss(x.flatten(1)[:, :4], x.flatten(1)[:, 2:6]), "depends on the input",
    ),
    "sigmoid_focal_loss": (
        lambda x: ops.sigmoid_focal_loss(x, 0 * x) + x, "op binary_cross_entropy_with_logits cannot be exported",
    ),
    "floor_divide": (lambda x: x // 0.3, "op rounded_div cannot be exported"),
    "remainder": (lambda x: x % 0.3, "op remainder cannot be exported"),
    "im2col": (lambda x: ops.im2col(x, 2), "op im2col cannot be exported"),
    "mse_loss": (lambda x: ops.mse_loss(x, x.detach() * 2), "reductions to one number"),
}  # fmt: skip


@pytest.mark.parametrize(("name", "function"), CASES, ids=[name for name, _ in CASES])
def test_onnxruntime_computes_what_the_op_does(name, function, tmp_path, rng):
    model, path = Net(function), tmp_path / "op.onnx"
    mr.interop.export_onnx(model, path, IMAGES)
    for batch in (1, 4):
        x = rng.standard_normal((batch, *IMAGES)).astype("f")
        expected = model(mr.tensor(x)).numpy()
        (got,) = run(path, x)
        assert got.dtype == expected.dtype and got.shape == expected.shape
        np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", REFUSED)
def test_what_has_no_counterpart_is_refused(name, tmp_path):
    function, sentence = REFUSED[name]
    with pytest.raises(ArgumentError, match=sentence) as error:
        mr.interop.export_onnx(Net(function), tmp_path / "op.onnx", IMAGES)
    assert str(error.value).startswith("export_onnx: ") and str(error.value).endswith(".")
    assert not list(tmp_path.iterdir())


def test_no_op_is_forgotten():
    assert sorted([*EXPORTED, *REFUSED]) == sorted(ops.__all__)


BAKED = {
    "a mask": lambda x: x * (x > 0.5),
    "a condition": lambda x: ops.where(x > 0.5, x, 0),
    "a picked mask": lambda x: x[x > 0.5],
    "an index": lambda x: x.flatten(1)[:, x.mean((0, 1)).argmax()],
    "numpy": lambda x: x + x.data.mean(),
    "a shift": lambda x: x - mr.tensor(x.data.max(axis=1, keepdims=True)),
    "zeros": lambda x: ops.concatenate([x, np.zeros(x.shape, "f")], axis=1),
    "a size": lambda x: ops.broadcast_to(x.sum(0, keepdims=True), x.shape),
    "half of the batch": lambda x: x[: len(x) - 1],
    "a loop": lambda x: ops.stack([x[i] for i in range(len(x))]),
    "a branch": lambda x: x.relu() if len(x) > 2 else x.exp(),
    "a variance of the batch": lambda x: x.var(0),
}


@pytest.mark.parametrize("what", BAKED)
def test_what_would_freeze_the_numbers_or_the_batch_of_the_trace_is_refused(what, tmp_path):
    with pytest.raises(ArgumentError, match=r"export_onnx: .*(depends on the input|same for every batch|with a mask)"):
        mr.interop.export_onnx(Net(BAKED[what]), tmp_path / "op.onnx", IMAGES)


def test_ops_in_place_are_traced_or_refused(tmp_path, rng):
    """Where gradients are recorded, += makes a new tensor; inside no_grad it would not be recorded."""

    def to_the_input(x):
        x += x.relu()
        return x

    def to_a_result(x):
        y = x * 2
        y += x
        return y

    x = rng.standard_normal((2, *IMAGES)).astype("f")
    for function, expected in ((to_the_input, x + np.maximum(x, 0)), (to_a_result, 3 * x)):
        mr.interop.export_onnx(Net(function), tmp_path / "add.onnx", IMAGES)
        np.testing.assert_allclose(run(tmp_path / "add.onnx", x)[0], expected, rtol=1e-6)
        with pytest.raises(ArgumentError, match=r"the (input|result of mul) \(2x3x6x7\) is changed in place"):
            mr.interop.export_onnx(Net(mr.no_grad()(function)), tmp_path / "refused.onnx", IMAGES)
    assert not (tmp_path / "refused.onnx").exists()


def test_only_what_leads_to_the_output_is_written(tmp_path, rng):
    def forward(x):
        ops.im2col(x, 2)  # cannot be exported, and need not be
        return x.relu(), [x.exp()][0], x

    mr.interop.export_onnx(Net(forward), tmp_path / "three.onnx", IMAGES)
    x = rng.standard_normal((2, *IMAGES)).astype("f")
    relu, exp, same = run(tmp_path / "three.onnx", x)
    np.testing.assert_array_equal(relu, np.maximum(x, 0))
    np.testing.assert_allclose(exp, np.exp(x), rtol=1e-6)
    np.testing.assert_array_equal(same, x)
