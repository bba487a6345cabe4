"""PyTorch's names of arguments, calls with wrong arguments, mixed dtypes, and tensors of a given shape."""

from __future__ import annotations

import inspect
import math
import pickle

import numpy as np
import pytest

import minires as mr
from minires import ops
from minires.core.calls import pytorch_names, refuses
from minires.errors import WRITTEN_HERE, ArgumentError, DTypeError, GraphError, ShapeError

X = mr.tensor([[1.0, 2.0], [3.0, 5.0]])


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        (lambda: X.sum(dim=1), [3, 8]),
        (lambda: X.mean(dim=0, keepdim=True), [[2, 3.5]]),
        (lambda: ops.sum(input=X, dim=0), [4, 7]),
        (lambda: ops.sum(X, axis=None, out=None, dtype=None), 11),
        (lambda: ops.maximum(X, other=mr.tensor(3.0)), [[3, 3], [3, 5]]),
        (lambda: X.clip(min=2.0, max=3.0), [[2, 2], [3, 3]]),
        (lambda: ops.where(X > 2, input=X, other=0), [[0, 0], [3, 5]]),
        (lambda: X.var(dim=1, unbiased=False), [0.25, 1]),
        (lambda: X.reshape(shape=(4, 1)), [[1], [2], [3], [5]]),
        (lambda: X.permute(dims=(1, 0)), [[1, 3], [2, 5]]),
        (lambda: mr.zeros(size=(1, 2)), [[0, 0]]),
        (lambda: X.flip(dims=(0,)), [[3, 5], [1, 2]]),
        (lambda: X.flatten(start_dim=0), [1, 2, 3, 5]),
        (lambda: X.softmax(dim=1).sum(dim=1), [1, 1]),
        (lambda: X.var(dim=1, ddof=0), [0.25, 1]),
    ],
)
def test_names_of_pytorch_and_numpy_mean_the_same(call, expected):
    np.testing.assert_allclose(call().numpy(), expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: X.sum(1, 2, 3, 4, 5, 6), ["sum: too many arguments without a name", "(x, axis=None"]),
        (lambda: X.sum(axes=1), ["sum: got an unexpected", "'axes'", "axis=None"]),
        (lambda: X.sum(1, dim=1), ["sum: got multiple values", "'axis'"]),
        (lambda: X.sum(dim=1, axis=1), ["dim and axis", "same argument"]),
        (lambda: X.sum(axis=1, dim=1), ["dim and axis", "same argument"]),
        (lambda: ops.sum(), ["sum: missing 1", "'x'"]),
        (lambda: X.exp(out=X), ["exp: out is not offered", "y[...] = exp(...)"]),
        (lambda: X.exp(dtype="float64"), ["exp: dtype is not offered", "exp(...).to(dtype)"]),
        (lambda: mr.grad(X, X, retain_graph=True), ["grad: retain_graph", "create_graph=True"]),
        (lambda: X.backward(inputs=[X]), ["backward", "'inputs'", "create_graph=False"]),
        (lambda: mr.Tensor(2, 3), ["requires_grad is 3", "mr.zeros(2, 3)"]),
        (lambda: mr.tensor(2.0, "float64"), ["requires_grad is 'float64'", "name the arguments"]),
        (lambda: X.to("cpu", non_blocking=True), ["to: got an unexpected", "'non_blocking'", "dtype=None"]),
        (lambda: mr.tensor(2.0, pin_memory=True), ["tensor: got an unexpected", "'pin_memory'", "dtype=None"]),
        (lambda: mr.zeros(2, pin_memory=True), ["got an unexpected", "'pin_memory'", "requires_grad=False"]),
        (lambda: mr.zeros(2, -1), ["zeros", "(2, -1)"]),
        (lambda: mr.full((2,), [1.0]), ["full", "fill_value", "one number"]),
        (lambda: mr.arange(0, 5, -1), ["arange", "steps of -1"]),
        (lambda: mr.arange(0, 5, 0), ["arange", "steps of 0"]),
        (lambda: mr.arange(math.nan), ["arange", "nan"]),
    ],
)
def test_a_wrong_call_names_the_arguments(call, words):
    with pytest.raises(ArgumentError) as caught:
        call()
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize("name", ops.__all__)
def test_every_function_says_which_arguments_it_takes(name):
    """A call that Python rejects raises ArgumentError; what is raised inside of the function is left as it is."""
    function = getattr(ops, name)
    with pytest.raises(ArgumentError, match=f"^{name}: .*no_such_argument") as caught:
        function(X, no_such_argument=1)
    assert all(f"{key}" in str(caught.value) for key in inspect.signature(function).parameters)
    assert pickle.loads(pickle.dumps(function)) is function
    assert function.__doc__
    assert function.__module__.startswith("minires.ops")


def test_refusals_of_a_function_come_first_and_errors_inside_pass():
    @pytorch_names
    @refuses(dim="{0}(dim=) returns two tensors in PyTorch; use axis")
    def largest(x, axis=None):
        return x + None

    with pytest.raises(ArgumentError, match=r"^largest: dim is not offered; largest\(dim=\) returns two"):
        largest(1, dim=0)
    with pytest.raises(TypeError, match="unsupported operand") as caught:
        largest(1)
    assert not isinstance(caught.value, ArgumentError)


def test_a_freed_graph_names_the_argument_of_mr_grad():
    w = mr.tensor(2.0, requires_grad=True)
    loss = w * w
    mr.grad(loss, w)
    with pytest.raises(GraphError, match="create_graph=True"):
        mr.grad(loss, w)


# ------------------------------------------------------------------------------------------------------------ dtypes

F32, F64 = (mr.tensor(np.ones((2, 2)), dtype=dtype) for dtype in ("float32", "float64"))
IMAGE32, IMAGE64 = (mr.tensor(np.ones((2, 2, 3, 3)), dtype=dtype) for dtype in ("float32", "float64"))
ONE32, TWO32 = mr.tensor([1.0, 1.0]), mr.tensor([1.0, 1.0])


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: ops.conv2d(IMAGE64, mr.ones(4, 2, 2, 2)), ["conv2d: x is float64 but weight is float32"]),
        (lambda: ops.conv2d(IMAGE32, np.ones((4, 2, 2, 2))), ["conv2d: x is float32 but weight is float64"]),
        (lambda: ops.conv_transpose2d(IMAGE64, mr.ones(2, 4, 2, 2)), ["x is float64 but weight is float32"]),
        (lambda: ops.linear(F64, F32), ["x.astype('float32')", "model.to('float64')"]),
        (lambda: ops.linear(F32, F32, ops.astype(ONE32, "float64")), ["x is float32 but bias is float64"]),
        (lambda: ops.matmul(F64, F32), ["float64", "float32", ".astype("]),
        (lambda: ops.matmul(F32, np.ones((2, 2))), ["matmul: a is float32 but b is float64", "b.astype('float32')"]),
        (lambda: F64 @ F32, ["matmul"]),
        (lambda: ops.batch_norm(F64, ONE32, ONE32, ONE32, TWO32, True), ["batch_norm: x is float64 but gamma"]),
        (lambda: ops.layer_norm(F64, 2, ONE32), ["layer_norm: x is float64 but weight is float32"]),
        (lambda: ops.residual_add(F64, F32), ["residual_add: branch is float64 but shortcut is float32"]),
        (lambda: mr.nn.Linear(2, 3)(F64), ["linear: x is float64 but weight is float32"]),
        (lambda: mr.nn.Conv2d(2, 3, 1)(IMAGE64), ["conv2d: x is float64 but weight is float32"]),
        (lambda: mr.nn.BatchNorm2d(2)(IMAGE64), ["x is float64 but"]),
        (lambda: mr.models.resnet20()(mr.zeros(2, 3, 8, 8, dtype="float64")), ["x is float64 but weight is float32"]),
    ],
)
def test_layers_refuse_another_float_dtype(call, words):
    with pytest.raises(DTypeError) as caught:
        call()
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize(
    ("one", "other", "dtype"),
    [
        (F32, mr.tensor(2.0, dtype="float64"), "float32"),
        (F32, np.array(2.0), "float32"),
        (F32, mr.tensor(2.0, dtype="float16"), "float32"),
        (ops.astype(F32, "float16"), F32.mean(), "float16"),
        (mr.tensor(2.0), mr.tensor(2.0, dtype="float64"), "float64"),
        (F32, F64, "float64"),
        (mr.tensor([1, 2]), mr.tensor(2.0), "float32"),
    ],
)
def test_a_scalar_does_not_change_the_dtype_of_a_tensor(one, other, dtype):
    results = [ops.add(one, other), ops.mul(other, one), ops.maximum(one, other), ops.where(F32 > 0, other, one)]
    assert [str(result.dtype) for result in results] == [dtype] * 4


def test_the_gradient_of_a_scalar_has_the_dtype_of_the_scalar():
    scale = mr.tensor(2.0, dtype="float64", requires_grad=True)
    (F32 * scale).sum().backward()
    assert (scale.grad.dtype, scale.grad.item()) == (np.float64, 4.0)


@pytest.mark.parametrize(
    ("held", "assigned"),
    [("float32", "int64"), ("float32", "bool"), ("int64", "float32"), ("bool", "int64"), ("float32", "complex64")],
)
def test_data_keeps_its_kind_of_dtype(held, assigned):
    t = mr.zeros(2, dtype=held)
    with pytest.raises(DTypeError, match=assigned):
        t.data = np.zeros(2, assigned)
    assert t.dtype == held


# ---------------------------------------------------------------------------------------------------------- creation


@pytest.mark.parametrize(
    ("make", "expected", "dtype"),
    [
        (lambda: mr.zeros(2, 3), [[0] * 3] * 2, "float32"),
        (lambda: mr.zeros((2, 1), dtype="int64"), [[0], [0]], "int64"),
        (lambda: mr.zeros(), 0, "float32"),
        (lambda: mr.ones(2), [1, 1], "float32"),
        (lambda: mr.full((2,), 7), [7, 7], "int64"),
        (lambda: mr.full(size=(2,), fill_value=0.5), [0.5, 0.5], "float32"),
        (lambda: mr.full((1,), True), [True], "bool"),
        (lambda: mr.zeros_like(X), [[0, 0], [0, 0]], "float32"),
        (lambda: mr.zeros_like(X, dtype=None, device=None), [[0, 0], [0, 0]], "float32"),
        (lambda: mr.ones_like(input=X, dtype="float64"), [[1, 1], [1, 1]], "float64"),
        (lambda: mr.arange(3), [0, 1, 2], "int64"),
        (lambda: mr.arange(1, 2.5, 0.5), [1, 1.5, 2], "float32"),
        (lambda: mr.arange(5, 0, -2), [5, 3, 1], "int64"),
        (lambda: mr.arange(0), [], "int64"),
        (lambda: mr.arange(start=0, end=2, dtype="float64"), [0, 1], "float64"),
    ],
)
def test_tensors_of_a_shape(make, expected, dtype):
    t = make()
    assert (t.tolist(), t.dtype, t.requires_grad) == (expected, dtype, False)


@pytest.mark.parametrize("draw", [mr.rand, mr.randn])
def test_random_tensors_follow_the_seed_and_their_distribution(draw):
    mr.manual_seed(3)
    first = draw(100, 200, requires_grad=True)
    mr.manual_seed(3)
    assert (draw((100, 200)).numpy() == first.numpy()).all()
    assert (first.dtype, first.requires_grad) == (np.float32, True)
    mean, variance = (0.5, 1 / 12) if draw is mr.rand else (0, 1)
    assert abs(first.mean().item() - mean) < 0.03
    assert abs(first.var().item() - variance) < 0.03
    with pytest.raises(DTypeError, match="int64"):
        draw(2, dtype="int64")


def test_only_floats_can_require_a_gradient():
    assert mr.ones(2, requires_grad=True).requires_grad
    with pytest.raises(DTypeError, match="int64"):
        mr.zeros(2, dtype="int64", requires_grad=True)
    with pytest.raises(ShapeError):
        mr.zeros(2).reshape(3)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: X.clone(), "Tensor has no attribute 'clone'; write x \\* 1, or mr.tensor"),
        (lambda: X.float(), "write x.to\\('float32'\\)"),
        (lambda: X.gelu(), "write mr.ops.gelu\\(x, ...\\)"),
        (lambda: X.where(X > 2, X), "write mr.ops.where\\(x > 0, x, y\\)"),
        (lambda: X.sort(), "write np.sort\\(x.numpy\\(\\)\\)"),
        (lambda: X.no_such_thing, "'no_such_thing'$"),
        (lambda: mr.relu, "mr has no attribute 'relu'; write mr.ops.relu."),
        (lambda: mr.cat, "write mr.ops.concatenate"),
        (lambda: mr.no_such_thing, "'no_such_thing'.$"),
        (lambda: mr.ops.norm(X), r"write \(x \* x\).sum\(\) \*\* 0.5"),
        (lambda: mr.nn.ELU(), "write mr.ops.where"),
        (lambda: mr.data.DataLoader, "write Loader"),
        (lambda: mr.data.transforms.ToTensor(), "write to_float"),
    ],
)
def test_a_name_of_pytorchs_says_what_to_write(call, words):
    with pytest.raises(AttributeError, match=words):
        call()


def test_what_is_written_here_exists():
    for instead in WRITTEN_HERE.values():
        if instead == "x.to('cuda')":
            continue
        code = instead.split(", or")[0].replace(" itself", "").replace("value", "0").replace("dtype)", "'float64')")
        exec(
            code,
            {
                "x": mr.tensor([[1.0, 2.0], [3.0, 4.0]]),
                "y": X,
                "mr": mr,
                "np": np,
                "i": 0,
                "start": 0,
                "end": 1,
                "low": 0,
                "high": 1,
            },
        )


def test_to_takes_a_device_and_a_dtype():
    for moved in (X.to("cpu", "float64"), X.to(dtype="float64"), X.to(device="cpu", dtype="float64"), X.to(F64)):
        assert (moved.dtype, moved.device) == (np.float64, "cpu")
    assert X.to(device="cpu") is X


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: mr.ops.conv2d(mr.ones(1, 1, 3, 3), np.ones((1, 1, 2, 2))), r"convert weight with weight.astype"),
        (lambda: mr.nn.Linear(3, 2)(np.ones((1, 3))), r"convert x with x.astype\('float32'\)"),
    ],
)
def test_an_array_of_another_dtype_is_the_one_to_convert(call, words):
    with pytest.raises(DTypeError, match=words):
        call()


def test_ignore_index_is_refused_for_probabilities():
    with pytest.raises(ArgumentError, match="ignore_index is 1; it must be an integer, < 0"):
        mr.ops.cross_entropy(mr.zeros(2, 3), mr.ones(2, 3) / 3, ignore_index=1)


def test_a_layer_takes_none_for_no_bias():
    assert mr.nn.Linear(3, 2, bias=None).bias is None
    assert mr.nn.Conv2d(3, 2, 1, bias=None).bias is None


@pytest.mark.parametrize("function", [np.sin, np.sign, np.expm1])
def test_numpy_functions_without_gradients_name_no_way_that_loses_them(function):
    with pytest.raises(GraphError, match=r"its gradient would be lost; write t.detach\(\) if no gradient is needed"):
        function(mr.tensor([1.0], requires_grad=True))
