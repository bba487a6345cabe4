"""Nothing shares memory by accident: raw operands, gradients, and what hooks see; for every op."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from op_cases import CASES

import minires as mr

OPERANDS = [(case, raw) for case in CASES if len(case.shapes) > 1 for raw in range(len(case.shapes))]


def leaves(case, rng):
    return [mr.tensor(array, requires_grad=True) for array in case.inputs(rng)]


def gradients(tensors):
    return [t.grad.numpy().copy() for t in tensors]


def assert_apart(*arrays):
    for one, other in itertools.combinations(arrays, 2):
        assert not np.shares_memory(one, other)


@pytest.fixture(params=["fast", "textbook"])
def engine(request):
    with mr.engine(request.param):
        yield request.param


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
@pytest.mark.usefixtures("engine")
def test_gradients_share_memory_with_nothing(case, rng):
    inputs = leaves(case, rng)
    y = case.ours(*inputs)
    if not y.requires_grad:
        pytest.skip("argmax does not have a gradient")
    bias = mr.tensor(rng.standard_normal(y.shape), requires_grad=True)  # it gets the gradient that y gets
    upstream = rng.standard_normal(y.shape)
    seen = []
    y.register_hook(seen.append)
    (y + bias).backward(upstream)
    grads = [t.grad.data for t in (*inputs, bias)]
    assert_apart(*grads, upstream)
    for given in (*(t.data for t in inputs), *(grad.data for grad in seen), y.data):
        for grad in grads:
            assert not np.shares_memory(grad, given)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_a_hook_that_changes_its_gradient_changes_no_other(case, rng):
    """A leaf beside the op, and the op's first input, have hooks that write into what they get."""
    arrays = case.inputs(rng)

    def run(hooked):
        inputs = [mr.tensor(array, requires_grad=True) for array in arrays]
        y = case.ours(*inputs)
        if not y.requires_grad:
            pytest.skip("argmax does not have a gradient")
        beside, other = (mr.tensor(np.zeros(y.shape), requires_grad=True) for _ in range(2))
        if hooked:
            for leaf in (beside, inputs[0]):
                leaf.register_hook(lambda grad: grad.data.fill(7.0))
        (beside + y + other).backward(upstream)
        return gradients([*inputs[1:], other]), gradients([inputs[0], beside])

    upstream = rng.standard_normal(case.ours(*map(mr.tensor, arrays)).shape)
    (others, _), (kept, changed) = run(False), run(True)
    for one, two in zip(others, kept, strict=True):
        np.testing.assert_array_equal(one, two)
    for grad in changed:  # the leaf itself gets what its hook wrote
        np.testing.assert_array_equal(grad, np.full(grad.shape, 7.0))


@pytest.mark.parametrize(("case", "raw"), OPERANDS, ids=[f"{case.id}-{raw}" for case, raw in OPERANDS])
@pytest.mark.usefixtures("engine")
def test_an_array_may_change_after_the_call(case, raw, rng):
    """An array among the operands is a snapshot: the gradients are those of a tensor with the old values."""
    arrays = case.inputs(rng)
    upstream = rng.standard_normal(case.ours(*map(mr.tensor, arrays)).shape)

    def run(change):
        inputs = [array.copy() if i == raw else mr.tensor(array, requires_grad=True) for i, array in enumerate(arrays)]
        y = case.ours(*inputs)
        if change:
            inputs[raw][...] = 100.0
        y.backward(upstream)
        return gradients([t for i, t in enumerate(inputs) if i != raw])

    for expected, found in zip(run(False), run(True), strict=True):
        np.testing.assert_array_equal(found, expected)


def test_only_recorded_calls_copy_arrays():
    array = np.ones((2, 3))
    assert not np.shares_memory(mr.ops.reshape(array, 6).data, array)
    with mr.no_grad():
        assert np.shares_memory(mr.ops.reshape(array, 6).data, array)
    assert np.shares_memory(mr.Tensor.wrap(array).reshape(6).data, array)


@pytest.mark.parametrize("wrapped", [lambda series, values: series(values), lambda series, values: memoryview(values)])
def test_objects_that_share_memory_with_an_array_are_snapshots(wrapped):
    class Series:
        def __init__(self, values):
            self.values = values

        def __array__(self, dtype=None, copy=None):
            return self.values

    w, values = mr.tensor([1.0, 2.0], dtype="float64", requires_grad=True), np.array([3.0, 4.0])
    loss = (w * wrapped(Series, values)).sum()
    values[:] = 0
    loss.backward()
    assert w.grad.tolist() == [3.0, 4.0]


def test_running_statistics_in_arrays_are_updated_in_place(rng):
    mean, var = np.zeros(3), np.ones(3)
    x = mr.tensor(rng.standard_normal((8, 3)), requires_grad=True)
    mr.ops.batch_norm(x, np.ones(3), np.zeros(3), mean, var, True, momentum=1.0)
    np.testing.assert_allclose(mean, x.numpy().mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(var, x.numpy().var(axis=0, ddof=1), rtol=1e-12)


def test_a_backward_that_returns_an_input_gives_the_leaf_a_copy():
    class HalfSquare(mr.Op):
        def forward(self, x):
            return np.sum(x * x) / 2

        def backward(self, upstream):
            return self.inputs[0]

    x = mr.tensor([1.0, 2.0], requires_grad=True)
    HalfSquare()(x).backward()
    x.grad *= 0
    assert x.tolist() == [1.0, 2.0]


def test_a_tensor_that_a_hook_returns_stays_its_own():
    x, fixed = mr.tensor([1.0, 2.0], requires_grad=True), mr.tensor([5.0, 6.0])
    x.register_hook(lambda grad: fixed)
    (x * 2).sum().backward()
    x.grad *= 0
    assert fixed.tolist() == [5.0, 6.0]


def test_what_a_hook_keeps_is_not_the_gradient():
    x, seen = mr.tensor([1.0, 2.0], requires_grad=True), []
    y = x + 1
    for t in (x, y):
        t.register_hook(seen.append)
    y.sum().backward()
    for grad in seen:
        grad.data.fill(9.0)
    assert x.grad.tolist() == [1.0, 1.0]
