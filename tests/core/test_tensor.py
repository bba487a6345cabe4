"""Tensor: how it is created and printed, and how it works together with NumPy and Python."""

from __future__ import annotations

import ast
import copy
import inspect
import operator
import pickle
import re
import sys

import numpy as np
import pytest

import minires as mr
from minires.core.backend import array_module
from minires.core.tensor import Tensor
from minires.errors import ArgumentError, DeviceError, DTypeError, GraphError, ShapeError

# -------------------------------------------------------------------------------------------------- construction

NUMPY_2 = pytest.mark.skipif(np.__version__ < "2", reason="NumPy 1 chooses the smallest integers that fit")


@pytest.mark.parametrize(
    ("data", "dtype"),
    [
        (1.5, "float32"),
        ([[1.0, 2.0], [3, 4]], "float32"),
        ([], "float32"),
        (3, "int64"),
        ([1, 2], "int64"),
        (True, "bool"),
        ([[True], [False]], "bool"),
        (np.float64(1.5), "float64"),
        ([np.float64(1.5)], "float64"),
        (np.float16(1.5), "float16"),
        (np.array([1.5]), "float64"),
        (np.array([1.5], "float32"), "float32"),
        (np.array([1], "uint8"), "uint8"),
        (np.array(2.0), "float64"),
        (mr.tensor([1.0], dtype="float64"), "float64"),
        ([mr.tensor([1.0]), mr.tensor([2.0])], "float32"),
    ],
    ids=repr,
)
def test_dtypes_of_python_are_small_and_numpys_are_kept(data, dtype):
    t = mr.tensor(data)
    assert t.dtype == dtype
    np.testing.assert_array_equal(t.numpy(), np.asarray(data))


def test_a_dtype_that_is_asked_for_is_made_without_a_detour_over_float32():
    assert mr.tensor(0.1, dtype="float64").item() == 0.1
    assert mr.tensor([1 / 3], dtype=np.float64).numpy()[0] == 1 / 3
    assert mr.tensor([1.9, -1.9], dtype="int64").numpy().tolist() == [1, -1]


@pytest.mark.parametrize("make", [mr.tensor, mr.Tensor])
def test_construction_copies(make):
    array = np.array([[1.0, 2.0], [3.0, 4.0]]).T
    t = make(array, requires_grad=True)
    other = make(t)
    array[0, 0] = 100.0
    with mr.no_grad():
        t += 1
    assert other.numpy().tolist() == [[1.0, 3.0], [2.0, 4.0]]
    assert t.numpy().tolist() == [[2.0, 4.0], [3.0, 5.0]]
    assert (t.requires_grad, other.requires_grad, other.op) == (True, False, None)


def test_sizes_and_places():
    t = mr.tensor(np.zeros((2, 3, 5), "float32"))
    assert (t.shape, t.ndim, t.size, len(t), t.device, t.T.shape) == ((2, 3, 5), 3, 30, 2, "cpu", (5, 3, 2))
    assert array_module(t.data) is np
    scalar = mr.tensor(7)
    assert (scalar.shape, scalar.ndim, scalar.size) == ((), 0, 1)


@pytest.mark.parametrize("data", [[1, 2], [True], np.zeros(2, "uint8")], ids=repr)
def test_only_floats_can_require_a_gradient(data):
    with pytest.raises(DTypeError, match="only floats can require a gradient"):
        mr.tensor(data, requires_grad=True)
    t = mr.tensor(data)
    with pytest.raises(DTypeError, match="only floats can require a gradient"):
        t.requires_grad = True


def test_requires_grad_freezes_leaves_only():
    x = mr.tensor([1.0], requires_grad=True)
    y = x * 2
    with pytest.raises(GraphError, match="output of mul; use detach"):
        y.requires_grad = False
    x.requires_grad = False
    assert not (x * 2).requires_grad
    assert not y.detach().requires_grad
    assert y.detach().data is y.data


# -------------------------------------------------------------------------------------------------- how it looks


@pytest.mark.parametrize(
    ("t", "expected"),
    [
        (mr.tensor(1.5), "tensor(1.5)"),
        (mr.tensor([1, 2]), "tensor([1, 2])"),
        (mr.tensor([True]), "tensor([ True])"),
        (mr.tensor([[1.0, -2.0]]), "tensor([[ 1., -2.]])"),
        (mr.tensor([[1.0], [2.0]], dtype="float64"), "tensor([[1.],\n        [2.]], dtype=float64)"),
        (mr.tensor([1.0], requires_grad=True), "tensor([1.], requires_grad=True)"),
        (mr.tensor([1.0], requires_grad=True) * 2, "tensor([2.], op=<mul>)"),
    ],
    ids=str,
)
def test_repr(t, expected):
    assert repr(t) == str(t) == expected


# -------------------------------------------------------------------------------------------------- as Python values


def test_python_numbers_come_out():
    assert (mr.tensor([[2.5]]).item(), float(mr.tensor(2.5)), int(mr.tensor([2.9])), mr.tensor(7).item()) == (
        2.5,
        2.5,
        2,
        7,
    )
    assert isinstance(mr.tensor(7).item(), int)
    assert isinstance(mr.tensor(True).item(), bool)
    assert bool(mr.tensor([[0.5]]))
    assert not mr.tensor(0)


@pytest.mark.parametrize(
    ("f", "words"),
    [
        (lambda t: t.item(), r"^item: the tensor \(2x3\) has 6 elements"),
        (float, r"^item: the tensor \(2x3\)"),
        (int, r"^item: the tensor \(2x3\)"),
        (bool, "^bool: the tensor is 2x3"),
        (lambda t: len(t[0, 0]), "^len: the tensor is a scalar"),
        (lambda t: iter(t[0, 0]), "^iter: the tensor is a scalar"),
    ],
    ids=["item", "float", "int", "bool", "len", "iter"],
)
def test_what_is_no_single_number_says_so(f, words):
    with pytest.raises(ShapeError, match=words):
        f(mr.tensor(np.ones((2, 3))))


def test_iteration_gives_recorded_rows():
    x = mr.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]], requires_grad=True)
    first, second, third = x
    (first * 1 + second * 10 + third * 100).sum().backward()
    assert x.grad.numpy().tolist() == [[1, 1], [10, 10], [100, 100]]


@pytest.mark.parametrize("other", [2.0, 2, [1.0, 2.0, 3.0], np.array([3.0, 2.0, 1.0]), mr.tensor([[2], [1]])], ids=repr)
@pytest.mark.parametrize(
    ("compare", "reference"),
    [
        (operator.eq, np.equal),
        (operator.ne, np.not_equal),
        (operator.lt, np.less),
        (operator.le, np.less_equal),
        (operator.gt, np.greater),
        (operator.ge, np.greater_equal),
    ],
)
def test_comparisons_give_booleans_outside_of_the_graph(compare, reference, other):
    x = mr.tensor([1.0, 2.0, 3.0], requires_grad=True)
    raw = other.numpy() if isinstance(other, Tensor) else np.asarray(other)
    for result, expected in ((compare(x, other), reference(x.data, raw)), (compare(other, x), reference(raw, x.data))):
        assert isinstance(result, Tensor)
        assert (result.dtype, result.requires_grad) == (np.bool_, False)
        np.testing.assert_array_equal(result.numpy(), expected)


def test_comparisons_with_numbers_that_the_dtype_cannot_hold():
    t = mr.tensor(np.array([0, 200], "uint8"))
    assert (t > -1).numpy().tolist() == [True, True]
    assert (t < 300).numpy().tolist() == [True, True]
    assert (t > 0.5).numpy().tolist() == [False, True]


def test_tensors_are_dictionary_keys_by_identity():
    a, b = mr.tensor([1.0, 2.0]), mr.tensor([1.0, 2.0])
    names = {a: "a", b: "b"}
    assert (names[a], names[b], len({a, b, a})) == ("a", "b", 2)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda t: pickle.loads(pickle.dumps(t))], ids=["deepcopy", "pickle"])
def test_leaves_can_be_copied_and_pickled(copied):
    x = mr.tensor([[1.0, 2.0]], requires_grad=True)
    (x * 3).sum().backward()
    y = copied(x)
    with mr.no_grad():
        x += 1
        x.grad += 1
    assert (y.numpy().tolist(), y.grad.numpy().tolist(), y.requires_grad) == ([[1.0, 2.0]], [[3.0, 3.0]], True)
    (y * y).sum().backward()
    assert y.grad.numpy().tolist() == [[5.0, 7.0]]


# -------------------------------------------------------------------------------------------------- with NumPy


@pytest.mark.parametrize(
    "number", [2, 2.5, True, np.float64(2.5), np.float32(2.5), np.int64(2), np.bool_(True)], ids=repr
)
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_numbers_take_the_dtype_of_floats(number, dtype):
    x = mr.tensor([0.5, 1.5], dtype=dtype)
    array = x.numpy()
    for result, expected in (
        (x + number, array + array.dtype.type(number)),
        (number - x, array.dtype.type(number) - array),
        (x * number, array * array.dtype.type(number)),
        (number / x, array.dtype.type(number) / array),
        (mr.ops.maximum(number, x), np.maximum(array, array.dtype.type(number))),
    ):
        assert result.dtype == dtype
        np.testing.assert_array_equal(result.numpy(), expected)


def test_a_python_float_keeps_its_digits_beside_float64():
    assert (mr.tensor(1.0, dtype="float64") * 0.1).item() == 0.1
    assert (mr.tensor([1.0], dtype="float64") + [0.1]).numpy()[0] == 1.1


@pytest.mark.parametrize(
    ("a", "b", "dtype"),
    [
        (np.array([1, 2], "int64"), 3, "int64"),
        (np.array([1, 2], "uint8"), 3, "uint8"),
        pytest.param(np.array([1, 2], "uint8"), 300, "int64", marks=NUMPY_2),
        pytest.param(np.array([1, 2], "uint8"), -1, "int64", marks=NUMPY_2),
        (np.array([True, False]), 1, "int64"),
        (np.array([True, False]), 1.0, "float32"),
        (np.array([1, 2], "int64"), 0.5, "float32"),
        (np.array([1, 2], "int64"), np.array([0.5], "float32"), "float32"),
        (np.array([1, 2], "int64"), np.array([0.5]), "float64"),
        (np.array([True, False]), np.array([0.5], "float32"), "float32"),
        (np.array([1.0], "float32"), np.array([0.5]), "float64"),
    ],
    ids=str,
)
def test_integers_and_booleans_never_widen_floats(a, b, dtype):
    for result in (mr.tensor(a) + b, b * mr.tensor(a)):
        assert result.dtype == dtype
    np.testing.assert_allclose((mr.tensor(a) + b).numpy(), a.astype("f8") + np.asarray(b, "f8"))
    np.testing.assert_allclose((b * mr.tensor(a)).numpy(), a.astype("f8") * np.asarray(b, "f8"))


def test_an_array_on_the_left_leaves_the_work_to_the_tensor():
    array, x = np.array([[1.0], [2.0]]), mr.tensor([3.0, 4.0], requires_grad=True, dtype="float64")
    for result, expected in (
        (array + x, array + x.numpy()),
        (array - x, array - x.numpy()),
        (array * x, array * x.numpy()),
        (array / x, array / x.numpy()),
        (array // x, array // x.numpy()),
        (array % x, array % x.numpy()),
        (array**x, array ** x.numpy()),
        (x**array, x.numpy() ** array),
        (x ** [2, 3], x.numpy() ** [2, 3]),
        (array.T @ np.ones((2, 2)) @ x.reshape(2, 1), array.T @ np.ones((2, 2)) @ x.numpy().reshape(2, 1)),
    ):
        assert isinstance(result, Tensor)
        assert result.requires_grad
        np.testing.assert_allclose(result.numpy(), expected)


def test_numpy_reads_a_tensor_as_an_array():
    x = mr.tensor([[1.0, 2.0]], requires_grad=True)
    assert np.asarray(x) is x.data
    assert np.asarray(x, dtype="float64").dtype == np.float64
    copied = np.array(x)
    copied[0, 0] = 5
    assert x.numpy().tolist() == [[1.0, 2.0]]
    assert np.stack([x, x]).shape == (2, 1, 2)
    np.testing.assert_array_equal(x, [[1.0, 2.0]])


# -------------------------------------------------------------------------------------------------- indexing


@pytest.mark.parametrize(
    "index",
    [
        0,
        -1,
        (1, 2),
        slice(None, None, 2),
        (slice(None), 1),
        (Ellipsis, slice(1, 3)),
        (None, slice(None), None),
        [0, 2, 0],
        ([0, 2, 0], [3, 1, 3]),
        np.array([[1, 0], [2, 1]]),
        (slice(None), np.array([0, 3, 3, 3])),
        np.arange(12).reshape(3, 4) % 2 == 0,
        (np.array([True, False, True]), slice(2)),
        slice(None, None, -1),
        np.int64(2),
    ],
    ids=repr,
)
def test_getitem_and_its_gradient_follow_numpy(index, rng):
    x = mr.tensor(rng.standard_normal((3, 4)), requires_grad=True)
    y = x[index]
    np.testing.assert_array_equal(y.numpy(), x.numpy()[index])
    upstream = rng.standard_normal(y.shape)
    y.backward(upstream)
    places = np.arange(12).reshape(3, 4)[index].ravel()  # where each picked element came from
    expected = np.zeros(12)
    for place, u in zip(places, upstream.ravel(), strict=True):
        expected[place] += u
    np.testing.assert_allclose(x.grad.numpy(), expected.reshape(3, 4))


def test_tensors_are_indices():
    x, rows = mr.tensor([[1.0, 2.0], [3.0, 4.0]]), mr.tensor([1, 0])
    assert x[rows].numpy().tolist() == [[3.0, 4.0], [1.0, 2.0]]
    assert x[rows, mr.tensor([0, 0])].numpy().tolist() == [3.0, 1.0]
    assert x[x > 2].numpy().tolist() == [3.0, 4.0]


@pytest.mark.parametrize(
    ("index", "value", "expected"),
    [
        (0, 9, [[9, 9], [3, 4]]),
        ((slice(None), 1), [7, 8], [[1, 7], [3, 8]]),
        (mr.tensor([[True, False], [False, True]]), 0, [[0, 2], [3, 0]]),
        ((mr.tensor([1, 0]), [0, 1]), mr.tensor([5.0, 6.0]), [[1, 6], [5, 4]]),
        (Ellipsis, np.array([1.5, 2.5]), [[1.5, 2.5], [1.5, 2.5]]),
    ],
    ids=str,
)
def test_assignment_to_elements(index, value, expected):
    t = mr.tensor([[1.0, 2.0], [3.0, 4.0]])
    t[index] = value
    assert (t.dtype, t.numpy().tolist()) == (np.float32, expected)


# -------------------------------------------------------------------------------------------------- to and methods


def test_to_a_dtype_is_recorded_and_gives_back_the_gradient_in_its_own():
    x = mr.tensor([1.0, 2.0], requires_grad=True)
    assert x.to("float32") is x
    assert x.to("cpu") is x
    y = x.to("float64")
    assert y.dtype == np.float64
    (y * 3).sum().backward()
    assert (x.grad.dtype, x.grad.numpy().tolist()) == (np.float32, [3.0, 3.0])
    labels = x.to(np.int64)
    assert (labels.dtype, labels.requires_grad) == (np.int64, False)
    assert x.astype(bool).numpy().tolist() == [True, True]


@pytest.mark.parametrize("name", ["float31", "gpu", "cuda:0", object, "complex64", None, 3])
def test_to_says_what_it_takes(name):
    x = mr.tensor([1.0])
    for convert in (x.to, x.astype):
        with pytest.raises(DTypeError, match=r"dtype"):
            convert(name)
    with pytest.raises(ArgumentError, match=r"device is .*'cpu' or 'cuda'"):
        mr.tensor([1.0], device=name or "")


def test_cuda_without_cupy_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", None)
    for call in (mr.tensor([1.0]).to, mr.tensor([1.0]).to_device, lambda device: mr.tensor([1.0], device=device)):
        with pytest.raises(DeviceError, match=re.escape("needs CuPy, which is not installed: pip install 'minires[")):
            call("cuda")


def test_a_round_trip_between_devices_keeps_values_and_gradients(device):
    x = mr.tensor([1.0, 2.0], requires_grad=True)
    y = x.to(device)
    assert y.device == device
    (y * y).sum().to("cpu").backward()
    assert (x.grad.device, x.grad.numpy().tolist()) == ("cpu", [2.0, 4.0])
    assert mr.tensor([1.0], device=device).to("cpu").numpy().tolist() == [1.0]


def test_every_method_that_is_declared_is_the_function_of_ops():
    (tensor_class,) = ast.parse(inspect.getsource(Tensor)).body
    (block,) = (node for node in tensor_class.body if isinstance(node, ast.If))  # if TYPE_CHECKING
    declared = {"max": "max", "min": "max"}  # mypy takes the arguments of these two from a declaration
    for node in block.body:  # __add__ = __radd__ = ops.add, or exp, log = ops.exp, ops.log
        for target in node.targets if isinstance(node, ast.Assign) else []:
            names, functions = (part.elts if isinstance(part, ast.Tuple) else [part] for part in (target, node.value))
            for name, function in zip(names, functions, strict=True):
                declared.setdefault(name.id, getattr(function, "attr", ""))
    assert len(declared) > 45
    for name, function in declared.items():
        if name.startswith("__"):
            assert hasattr(Tensor, name)
        else:
            assert getattr(Tensor, name) is getattr(mr.ops, name if name == "min" else function)
    (method,) = (node for node in block.body if isinstance(node, ast.FunctionDef))
    for function in (mr.ops.max, mr.ops.min):
        assert [argument.arg for argument in method.args.args[1:]] == list(inspect.signature(function).parameters)[1:]


def test_methods_and_operators_are_the_functions(rng):
    x = mr.tensor(rng.uniform(0.5, 2, (2, 3)))
    for result, expected in (
        (x.flip(1), x.numpy()[:, ::-1]),
        (x.sum(axis=0, keepdims=True), x.numpy().sum(0, keepdims=True)),
        (abs(-x), x.numpy()),
        (2**x, 2 ** x.numpy()),
        (x.T @ x, x.numpy().T @ x.numpy()),
        (x.reshape(3, -1).transpose(1, 0), x.numpy().reshape(3, 2).T),
    ):
        np.testing.assert_allclose(result.numpy(), expected)


def test_unknown_attributes_are_attribute_errors():
    with pytest.raises(AttributeError, match="squash"):
        mr.tensor([1.0]).squash
    assert not hasattr(mr.tensor([1.0]), "__array_interface__")


def test_format_shows_the_only_number():
    assert f"{mr.tensor(0.12345):.3f}" == "0.123" and f"{mr.tensor([1.0])}" == "tensor([1.])"
    with pytest.raises(ShapeError, match="it must have one"):
        f"{mr.tensor([1.0, 2.0]):.3f}"


def test_transpose_swaps_two_axes_and_permutes_a_tuple():
    x = mr.tensor(np.arange(24.0).reshape(2, 3, 4))
    np.testing.assert_array_equal(x.transpose(0, 1).numpy(), x.numpy().swapaxes(0, 1))
    np.testing.assert_array_equal(x.transpose(-1, 1).numpy(), x.numpy().swapaxes(-1, 1))
    assert x[0].transpose([0, 1]).shape == (3, 4) and x[0].transpose(0, 1).shape == (4, 3)
    assert x.transpose((1, 2, 0)).shape == x.permute(1, 2, 0).shape == (3, 4, 2)
    assert mr.tensor(1.0).transpose(0, -1).shape == ()
