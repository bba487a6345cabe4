"""Tensors as Python, NumPy, Matplotlib and scikit-learn see them."""

from __future__ import annotations

import collections
import copy
import itertools
import json
import math
import operator
import struct

import numpy as np
import pytest

import minires as mr
from minires.core.tensor import Tensor
from minires.errors import ArgumentError, DTypeError, GraphError, MiniresError, NoAxisError, OutOfRangeError

T = mr.tensor([3.0, 1.0, 2.0])
M = mr.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
S, I, Y = mr.tensor(2.5), mr.tensor(2), mr.tensor([0, 1, 0, 1])
A = np.array([10.0, 20.0, 30.0], "float32")


def weights():
    return mr.tensor([3.0, 1.0, 2.0], requires_grad=True)


PYTHON = {  # what a call gives, and what it should give
    "range": (lambda: range(I), range(2)),
    "names[t]": (lambda: ["a", "b", "c"][I], "c"),
    "names[t] of one element": (lambda: ["a", "b"][mr.tensor([[1]])], "b"),
    "names[:t]": (lambda: ["a", "b", "c"][:I], ["a", "b"]),
    "names[flag]": (lambda: ["no", "yes"][mr.tensor(True)], "yes"),
    "index": (lambda: operator.index(I), 2),
    "hex": (lambda: hex(I), "0x2"),
    "islice": (lambda: list(itertools.islice("abc", I)), ["a", "b"]),
    "struct": (lambda: struct.pack("i", I), struct.pack("i", 2)),
    "math": (lambda: (math.sqrt(I + 2), math.floor(S), math.comb(I, 1)), (2.0, 2, 2)),
    "round": (lambda: (round(mr.tensor(2.345), 2), round(I)), (2.35, 2)),
    "math of many": (lambda: (math.fsum(T), math.prod(T), math.dist(T, T)), (6.0, 6.0, 0.0)),
    "sorted, min, max": (lambda: (*sorted(T), min(T), max(T)), (1.0, 2.0, 3.0, 1.0, 3.0)),
    "sum, any, list": (lambda: (sum(T), any(T), list(T)), (6.0, True, [3.0, 1.0, 2.0])),
    "unpack": (lambda: (lambda a, b, c: a)(*T), 3.0),
    "in": (lambda: (2.0 in T, 4.0 in M, 7.0 in M), (True, True, False)),
    "Counter": (lambda: collections.Counter(map(int, Y)), {0: 2, 1: 2}),
    "format": (lambda: f"{S:.1f} {I:03d}", "2.5 002"),
    "json": (lambda: json.dumps(T, default=lambda t: t.tolist()), "[3.0, 1.0, 2.0]"),
    "size": (lambda: (M.size, M.size(), M.size(0), M.size(dim=-1), S.size()), (6, (3, 2), 3, 2, ())),
    "tolist": (lambda: (M.tolist(), S.tolist(), Y.tolist()), ([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]], 2.5, [0, 1, 0, 1])),
    "any": (lambda: ((T > 2).any(), (M > 5).any(axis=1)), (True, [False, False, True])),
    "all": (lambda: ((T > 0).all(), (M > 1).all(dim=0, keepdim=True)), (True, [[False, True]])),
    "+t": (lambda: +T, [3.0, 1.0, 2.0]),
    "== None": (lambda: (T == None, T != None, T == "a", None in [S, None]), (False, True, False, True)),  # noqa: E711
    "copy of a result": (lambda: copy.copy(weights() * 2).op.name, "mul"),
}
NUMPY = {
    "iterable": (lambda: (np.iterable(S), np.iterable(T)), (False, True)),
    "sum": (lambda: (np.sum(T), np.sum(M, axis=0)), (6.0, [9.0, 12.0])),
    "mean": (lambda: np.mean(M, axis=1, keepdims=True), [[1.5], [3.5], [5.5]]),
    "var": (lambda: np.var(T), 2 / 3),  # NumPy's var divides by the count, ours by count - 1
    "max, min, argmax": (lambda: (np.max(T), np.min(M, axis=0), np.argmax(T)), (3.0, [1.0, 2.0], 0)),
    "any, all": (lambda: (np.any(T > 2), np.all(T > 2)), (True, False)),
    "transpose": (lambda: (np.transpose(M), np.transpose(M, (1, 0))), ([[1, 3, 5], [2, 4, 6]],) * 2),
    "std": (lambda: np.std(T), (2 / 3) ** 0.5),
    "reshape": (lambda: np.reshape(M, (2, 3)), [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]),
    "clip": (lambda: np.clip(T, 1.5, 2.5), [2.5, 1.5, 2.0]),
    "add": (lambda: np.add(A, T), [13.0, 21.0, 32.0]),
    "array op t": (lambda: (A - T, A / T, A @ T, A**T), ([7, 19, 28], [10 / 3, 20, 15], 110, [1000, 20, 900])),
    "array < t": (lambda: (A < T, np.equal(A, T * 0 + 10)), ([False] * 3, [True, False, False])),
    "scalar op t": (lambda: np.float64(2) * T, [6.0, 2.0, 4.0]),
    "exp": (lambda: np.exp(S), math.exp(2.5)),
    "maximum": (lambda: np.maximum(1.5, T), [3.0, 1.5, 2.0]),
    "isnan": (lambda: np.isnan(weights()), [False] * 3),
    "sin": (lambda: np.sin(T), [math.sin(3), math.sin(1), math.sin(2)]),
    "index": (lambda: (A[I], A[Y], A[T > 1.5]), (30, [10, 20, 10, 20], [10, 30])),
    "array": (lambda: (np.asarray(T, "f8"), np.array(T, copy=True), np.asarray(I).ndim), ([3, 1, 2], [3, 1, 2], 0)),
}


def assert_same(found, expected):
    if isinstance(expected, (tuple, list)) and isinstance(found, (tuple, list)):
        for one, other in zip(found, expected, strict=True):
            assert_same(one, other)
    elif isinstance(found, (Tensor, np.ndarray, np.generic)):
        np.testing.assert_allclose(found, expected, rtol=1e-6)
        assert np.shape(found) == np.shape(expected)
    else:
        assert found == expected


@pytest.mark.parametrize(("call", "expected"), [*PYTHON.values(), *NUMPY.values()], ids=[*PYTHON, *NUMPY])
def test_python_and_numpy_take_tensors(call, expected):
    assert_same(call(), expected)


REFUSED = {  # each error is also the built-in one that Python or NumPy expects
    "len": (lambda: len(S), NoAxisError, TypeError, "scalar"),
    "iter": (lambda: iter(S), NoAxisError, TypeError, "scalar"),
    "t[9]": (lambda: T[9], OutOfRangeError, IndexError, "index 9"),
    "t[9] = 1": (lambda: T.detach().__setitem__(9, 1), OutOfRangeError, IndexError, "index 9"),
    "names[float]": (lambda: [1][S], DTypeError, TypeError, "float32"),
    "range of many": (lambda: range(Y), DTypeError, TypeError, r"\(4\)"),
    "copy=False": (lambda: np.asarray(T, dtype="f8", copy=False), ArgumentError, ValueError, "float64"),
    "np.sin": (lambda: np.sin(weights()), GraphError, RuntimeError, r"detach\(\)"),
    "np.square": (lambda: np.square(weights()), GraphError, RuntimeError, r"x \*\* 2"),
    "array += t": (lambda: np.add(A, weights(), out=A), GraphError, RuntimeError, "np.add"),
    "out=t": (lambda: np.add(A, A, out=T), ArgumentError, ValueError, "out is a tensor"),
    "any of no axis": (lambda: T.any(axis=3), MiniresError, ValueError, "axis 3"),
    "masked": (lambda: np.ma.masked_array(A, A > 10) + T, DTypeError, TypeError, "filled"),
    "masked data": (lambda: mr.tensor(np.ma.masked_array(A, A > 10)), DTypeError, TypeError, "filled"),
}


@pytest.mark.parametrize(("call", "error", "built_in", "words"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_done_is_said_with_the_error_that_python_expects(call, error, built_in, words):
    if np.__version__ < "2" and words == "float64":
        pytest.skip("NumPy 1 does not have copy=False")
    with pytest.raises(error, match=words) as caught:
        call()
    assert isinstance(caught.value, built_in)


@pytest.mark.parametrize(
    "f",
    [
        lambda x, a: np.multiply(a, x),
        lambda x, a: a * x,
        lambda x, a: a.view(np.matrix) * x,
        lambda x, a: x * a.view(np.matrix),
        lambda x, a: np.ma.masked_array(a) * x,
        lambda x, a: x * np.ma.masked_array(a),
        lambda x, a: np.exp(np.log(x) + np.log(a)),
    ],
)
def test_operators_of_arrays_and_of_their_subclasses_are_recorded(f, rng):
    x, a = mr.tensor(rng.uniform(1, 2, (2, 2)), requires_grad=True), rng.uniform(1, 2, (2, 2))
    y = f(x, a)
    assert type(y) is Tensor
    assert type(y.data) is np.ndarray
    y.sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), a, rtol=1e-12)


def test_functions_of_numpy_that_call_methods_are_recorded():
    x = weights()
    (np.sum(x) + np.mean(x) * 3 + np.max(x)).backward()
    assert x.grad.tolist() == [3.0, 2.0, 2.0]


@pytest.mark.parametrize("make", [lambda a: a.view(np.memmap), lambda a: a.view(np.matrix), np.ma.masked_array])
def test_tensors_hold_plain_arrays(make):
    t = mr.tensor(np.ones((2, 2)))
    t.data = make(np.eye(2))
    for held in (t.data, mr.tensor(make(np.eye(2))).data, (t + make(np.eye(2))).data):
        assert type(held) is np.ndarray


def test_matplotlib_takes_tensors():
    plt = pytest.importorskip("matplotlib.pyplot")
    before = plt.get_backend()
    plt.switch_backend("agg")
    figure, axes = plt.subplots()
    w = weights()
    axes.hist(T)
    axes.plot(w)
    axes.plot(T, w * 2, label=S)
    axes.axhline(w.mean())
    axes.axvline(I)
    axes.set_xlim(0, w.max())
    axes.scatter(T, T, c=T, s=T * 10)
    axes.bar(mr.arange(3), T)
    axes.errorbar(T, T, yerr=T / 10)
    axes.fill_between(T, T - 1, T + 1)
    axes.imshow(M, vmin=M.min(), vmax=M.max())
    axes.text(S, S, S)
    axes.set_xlim(0, w.max())
    assert axes.get_xlim() == (0.0, 3.0)
    figure.canvas.draw()
    plt.close(figure)
    plt.switch_backend(before)


@pytest.mark.slow
def test_scikit_learn_takes_tensors():
    metrics = pytest.importorskip("sklearn.metrics")
    linear = pytest.importorskip("sklearn.linear_model")
    assert metrics.accuracy_score(Y, mr.tensor([0, 1, 1, 1])) == 0.75
    assert metrics.confusion_matrix(Y, Y).tolist() == [[2, 0], [0, 2]]
    np.testing.assert_allclose(linear.LinearRegression().fit(M, T).predict(M).sum(), 6.0)
