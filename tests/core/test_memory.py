"""What the tape keeps in memory: no reference cycles, nothing after backward, and no arrays that it does not need."""

from __future__ import annotations

import gc
import weakref

import numpy as np
import pytest

import minires as mr
from minires.core.autograd import Op
from minires.core.tensor import Tensor


def leaf(values, dtype="float64"):
    return mr.tensor(values, requires_grad=True, dtype=dtype)


def everything_shares_no_memory(*tensors):
    arrays = [t.data if isinstance(t, Tensor) else t for t in tensors]
    return not any(np.shares_memory(a, b) for i, a in enumerate(arrays) for b in arrays[:i])


@pytest.mark.parametrize("create_graph", [False, True])
def test_gradients_are_nobody_elses_memory(create_graph, rng):
    a, b, c = (leaf(rng.standard_normal((2, 3))) for _ in range(3))
    upstream = mr.tensor(rng.standard_normal((2, 3)))
    y = a + b
    z = y + c.reshape(3, 2).reshape(2, 3)
    y.retain_grad()
    z.backward(upstream, create_graph=create_graph)
    assert everything_shares_no_memory(upstream, a.grad, b.grad, c.grad, y.grad)
    before = b.grad.numpy().copy()
    with mr.no_grad():
        a.grad += 1
        upstream += 1
    np.testing.assert_array_equal(b.grad.numpy(), before)


def test_grad_returns_memory_of_its_own_that_can_be_written(rng):
    a, b = (leaf(rng.standard_normal((2, 3))) for _ in range(2))
    upstream = rng.standard_normal((2, 3))
    da, db = mr.grad(a + b, (a, b), upstream)
    assert everything_shares_no_memory(upstream, da, db)
    (broadcast,) = mr.grad(a.sum(), a)
    broadcast *= 2
    np.testing.assert_array_equal(broadcast.numpy(), np.full((2, 3), 2.0))


@pytest.fixture
def without_garbage_collector():
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def alive(*kinds):
    return sum(issubclass(type(o), kinds) for o in gc.get_objects())


@pytest.mark.usefixtures("without_garbage_collector")
@pytest.mark.parametrize("f", [lambda x: x.exp(), lambda x: x * x, lambda x: x + 1], ids=["exp", "mul", "add"])
def test_backward_frees_the_arrays_that_were_saved(f):
    x = leaf([1.0, 2.0])
    y = f(x)
    intermediate = weakref.ref(y.data)
    z = (y * y).sum()
    del y
    assert intermediate() is not None  # z's graph needs it
    z.backward()
    assert intermediate() is None
    assert z.requires_grad


@pytest.mark.usefixtures("without_garbage_collector")
def test_an_op_that_needs_no_values_keeps_none():
    x = leaf([1.0, 2.0])
    y = x * 2
    intermediate = weakref.ref(y.data)
    z = (y + 1).reshape(2, 1).sum()
    del y
    assert intermediate() is None
    z.backward()
    assert x.grad.numpy().tolist() == [2.0, 2.0]


@pytest.mark.usefixtures("without_garbage_collector")
def test_a_graph_without_backward_disappears_with_its_last_tensor():
    x = leaf(np.ones((2, 3)))
    before = alive(Tensor, Op)
    y = mr.ops.relu(x.exp() + 1)
    y.retain_grad()
    y.register_hook(lambda grad: None)
    y = mr.ops.log_softmax(y).sum()
    assert alive(Tensor, Op) > before
    del y
    assert alive(Tensor, Op) == before


@pytest.mark.slow
@pytest.mark.usefixtures("without_garbage_collector")
@pytest.mark.parametrize("switch", [mr.enable_grad, mr.detect_anomaly, mr.profile])
def test_training_steps_leave_nothing_behind(switch):
    """No reference cycles: 10,000 steps, and no more objects than after the first."""
    w, x, labels = leaf(np.full((3, 4), 0.1)), mr.tensor(np.ones((2, 4))), [0, 2]

    def step():
        with switch():
            y = mr.ops.relu(mr.ops.linear(x, w))
            y.retain_grad()
            mr.ops.cross_entropy(y + y, labels).backward()
        w.grad = None

    step()
    before = len(gc.get_objects())
    for _ in range(10_000 if switch is mr.enable_grad else 50):
        step()
    assert len(gc.get_objects()) <= before + 5
