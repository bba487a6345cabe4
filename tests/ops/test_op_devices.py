"""Every op on every device: the textbook is written once, so the GPU must give what the CPU gives."""

from __future__ import annotations

import numpy as np
import pytest
from op_cases import CASES

import minires as mr

ULPS = 1e-12  # in float64: sums may be taken in another order


def results(case, arrays, device):
    """The output of an op, the gradients to its inputs, and their gradients if they can be differentiated."""
    inputs = [mr.tensor(array, requires_grad=True, device=device) for array in arrays]
    y = case.ours(*inputs)
    upstream = np.random.default_rng(1).standard_normal(y.shape)
    grads = mr.grad(y, inputs, mr.tensor(upstream, device=y.device), create_graph=True)
    differentiable = all(grad.requires_grad for grad in grads)
    second = mr.grad(sum((g * g).sum() for g in grads), inputs) if differentiable else ()
    assert {x.device for x in grads} == {device}
    return [x.numpy() for x in (y, *grads, *second)]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_an_op_gives_on_the_gpu_what_it_gives_on_the_cpu(case, cuda, rng):
    """In float64, for which the textbook runs; tests/kernels compares the kernels with it."""
    arrays = case.inputs(rng)
    for got, right in zip(results(case, arrays, "cuda"), results(case, arrays, "cpu"), strict=True):
        np.testing.assert_allclose(got, right, rtol=ULPS, atol=ULPS * np.abs(right).max(initial=1))


def test_devices_do_not_mix(device):
    a, b = mr.tensor([1.0, 2.0], device=device), np.array([1.0, 2.0], np.float32)
    if device == "cpu":
        assert (a * b).device == "cpu"
        return
    with pytest.raises(mr.errors.DeviceError, match=r"mul: its inputs are on cuda, cpu; move them to one"):
        a * b


def test_random_numbers_are_the_same_on_each_device(device):
    """Weights, dropout masks and everything else are drawn on the CPU."""
    mr.manual_seed(3)
    weight = mr.nn.Linear(5, 4).to(device).weight.numpy()
    mask = mr.ops.dropout(mr.tensor(np.ones((6, 7)), device=device), 0.5).numpy()
    mr.manual_seed(3)
    np.testing.assert_array_equal(weight, mr.nn.Linear(5, 4).weight.numpy())
    np.testing.assert_array_equal(mask, mr.ops.dropout(mr.tensor(np.ones((6, 7))), 0.5).numpy())


@pytest.mark.parametrize("labels", [[0, 5], [-1, 2]])
def test_a_wrong_label_raises_on_each_device(labels, device):
    """CuPy would wrap the index around, and train on another class."""
    logits = mr.tensor(np.zeros((2, 5), "f"), device=device)
    for given in (labels, mr.tensor(labels, device=device)):
        with pytest.raises(mr.errors.LabelError, match=r"labels run from .* have 5 classes"):
            mr.ops.cross_entropy(logits, given)


def test_an_index_out_of_range_raises_on_each_device(device):
    x = mr.tensor(np.arange(12.0).reshape(3, 4), device=device)
    for index in (np.array([0, 3]), mr.tensor([-4, 0], device=device), (slice(None), [4])):
        with pytest.raises(mr.errors.ShapeError, match="getitem: the index does not fit x"):
            x[index]
    with pytest.raises(mr.errors.ShapeError, match="index 3 is out of bounds"):
        x[np.array([0, 3])] = 1.0
