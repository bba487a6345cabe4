"""PyTorch's arguments and methods in reductions, shapes and products."""

from __future__ import annotations

import numpy as np
import pytest

import minires as mr
from minires import ops

X = np.arange(24.0).reshape(2, 3, 4) % 7
SAME = {  # what is written as in PyTorch, and the same in NumPy
    "sum": (lambda x: x.sum(dim=1, keepdim=True), lambda x: x.sum(1, keepdims=True)),
    "mean": (lambda x: x.mean(dim=(0, 2)), lambda x: x.mean((0, 2))),
    "var": (lambda x: x.var(1, False), lambda x: x.var(1)),
    "var of all": (lambda x: x.var(unbiased=True), lambda x: x.var(ddof=1)),
    "var, biased": (lambda x: x.var(False), lambda x: x.var()),
    "std": (lambda x: x.std(dim=-1, unbiased=False), lambda x: x.std(-1)),
    "logsumexp": (lambda x: x[:, :0].logsumexp(dim=1), lambda x: np.full((2, 4), -np.inf)),
    "argmax": (lambda x: x.argmax(dim=2, keepdim=True), lambda x: x.argmax(2, keepdims=True)),
    "argmin": (lambda x: x.argmin(0), lambda x: x.argmin(0)),
    "flip": (lambda x: x.flip(0, 2), lambda x: np.flip(x, (0, 2))),
    "flip dims": (lambda x: x.flip(dims=[1]), lambda x: np.flip(x, 1)),
    "flatten": (lambda x: x.flatten(start_dim=0, end_dim=1), lambda x: x.reshape(6, 4)),
    "squeeze": (lambda x: x.squeeze(1), lambda x: x),
    "unsqueeze": (lambda x: x.unsqueeze(-1), lambda x: x[..., None]),
    "view": (lambda x: x.view(-1, 6), lambda x: x.reshape(4, 6)),
    "np.transpose": (np.transpose, np.transpose),
    "permute": (lambda x: x.permute(2, 0, 1), lambda x: x.transpose(2, 0, 1)),
    "expand": (lambda x: x[:, :1].expand(5, -1, 3, -1), lambda x: np.broadcast_to(x[:, :1], (5, 2, 3, 4))),
    "cat": (lambda x: ops.concatenate([x, x], dim=2), lambda x: np.concatenate([x, x], 2)),
    "cat with []": (lambda x: ops.concatenate([mr.tensor([]), x]), lambda x: x),
    "stack": (lambda x: ops.stack([x, x], dim=-1), lambda x: np.stack([x, x], -1)),
    "pad": (
        lambda x: ops.pad(input=x, pad=(1, 2), mode="reflect"),
        lambda x: np.pad(x, ((0, 0), (0, 0), (1, 2)), "reflect"),
    ),
    "matmul": (lambda x: ops.matmul(x, other=x[0].T), lambda x: x @ x[0].T),
    "linear": (lambda x: ops.linear(x[0, 0], x[1]), lambda x: x[1] @ x[0, 0]),
    "linear without rows": (lambda x: ops.linear(x[:0], x[1]), lambda x: np.zeros((0, 3, 3))),
}


@pytest.mark.parametrize("what", SAME)
def test_spelled_as_in_pytorch(what):
    ours, numpys = SAME[what]
    x = mr.tensor(X, requires_grad=True)
    y = ours(x)
    np.testing.assert_allclose(y.numpy(), numpys(X))
    if y.requires_grad:
        y.sum().backward()
        assert np.isfinite(x.grad.numpy()).all()


@pytest.mark.parametrize("axis", [0, -1])
@pytest.mark.parametrize(
    "op", ["sum", "mean", "max", "min", "logsumexp", "squeeze", "flip", "flatten", "argmax", "argmin"]
)
def test_a_scalar_takes_axis_0_and_minus_1(op, axis):
    assert getattr(mr.tensor(3.0), op)(axis).item() == (0 if "arg" in op else 3)
    with pytest.raises(mr.errors.ShapeError, match="scalar"):
        getattr(mr.tensor(3.0), op)(1)


@pytest.mark.parametrize("left", ["bool", "int32", "int64", "float16", "float32", "float64"])
@pytest.mark.parametrize("right", ["int64", "float32"])
def test_joined_tensors_get_the_dtype_of_the_floats(left, right):
    found = ops.concatenate([np.ones(2, left), np.ones(3, right)]).dtype
    floats = [dtype for dtype in (left, right) if "float" in dtype]
    assert found == (max(floats, key=lambda dtype: int(dtype[5:])) if floats else "int64")
    assert ops.stack([mr.tensor(1, dtype=left), mr.tensor(1, dtype=right)]).dtype == found


@pytest.mark.parametrize("mode", ["reflect", "replicate", "circular"])
def test_padding_modes_hand_out_every_gradient(mode):
    x = mr.tensor(np.ones((1, 1, 3, 5)), requires_grad=True)
    ops.pad(x, (2, 2, 1, 1), mode).sum().backward()
    assert x.grad.numpy().sum() == 5 * 9  # each element of the result is one of x
    assert x.grad.numpy().min() >= 1
