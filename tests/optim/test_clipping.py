"""Clipping of gradients by their norm, against numbers computed by hand, and PyTorch."""

import math

import numpy as np
import pytest

import minires as mr
from minires.errors import ArgumentError
from minires.optim import SGD, clip_grad_norm


def with_grads(*grads):
    """A parameter for each gradient; None for none."""
    parameters = []
    for grad in grads:
        parameter = mr.nn.Parameter(np.zeros(1 if grad is None else np.shape(grad), np.float32))
        parameter.grad = None if grad is None else mr.tensor(np.array(grad))
        parameters.append(parameter)
    return parameters


def grads_of(parameters):
    return [None if parameter.grad is None else parameter.grad.numpy() for parameter in parameters]


def test_all_gradients_are_one_vector():
    parameters = with_grads([[2.0, 4.0]], None, [5.0, 6.0])  # 4 + 16 + 25 + 36 = 81
    assert clip_grad_norm(parameters, max_norm=3.0) == 9.0
    first, none, second = grads_of(parameters)
    np.testing.assert_allclose(first, [[2 / 3, 4 / 3]], rtol=1e-6)
    np.testing.assert_allclose(second, [5 / 3, 2.0], rtol=1e-6)
    assert none is None
    assert clip_grad_norm(parameters, max_norm=3.0) == pytest.approx(3.0, rel=1e-6)


def test_short_gradients_stay_as_they_are():
    parameters = with_grads([3.0], [4.0])
    before = grads_of(parameters)
    assert clip_grad_norm(parameters, max_norm=5.1) == 5.0
    assert all(grad is old for grad, old in zip(grads_of(parameters), before, strict=True))
    assert clip_grad_norm(with_grads(None), max_norm=1.0) == 0.0


def test_one_array_of_two_parameters_shrinks_once_and_its_other_owners_keep_it():
    shared = mr.tensor(np.array([3.0, 4.0], np.float32))
    a, b = mr.nn.Parameter(np.zeros(2, "f")), mr.nn.Parameter(np.zeros(2, "f"))
    a.grad = b.grad = shared
    assert clip_grad_norm(iter([a, b]), max_norm=1.0) == pytest.approx(math.sqrt(50))
    expected = np.array([3.0, 4.0]) / math.sqrt(50)
    np.testing.assert_allclose(a.grad.numpy(), expected, rtol=1e-6)
    np.testing.assert_allclose(b.grad.numpy(), expected, rtol=1e-6)
    np.testing.assert_array_equal(shared.numpy(), [3.0, 4.0])


def test_float32_is_added_up_in_float64_and_stays_float32():
    """A float32 sum would overflow in the first case, and stop growing at 2**24 in the second."""
    parameters = with_grads(np.full(4, 1e30, np.float32))
    assert clip_grad_norm(parameters, max_norm=1.0) == pytest.approx(2e30)
    assert parameters[0].grad.dtype == np.float32
    np.testing.assert_allclose(parameters[0].grad.numpy(), 0.5, rtol=1e-5)
    many = np.ones(1 << 16, np.float32)
    many[0] = 1 << 12
    assert clip_grad_norm(with_grads(many), max_norm=1e9) == math.sqrt((1 << 24) + (1 << 16) - 1)


def test_layout_stays_what_optimisers_expect(rng):
    grad = np.asfortranarray(rng.standard_normal((4, 3, 2)).astype("f"))
    (parameter,) = with_grads(np.zeros((4, 3, 2), "f"))
    parameter.grad = mr.Tensor.wrap(grad)
    clip_grad_norm([parameter], max_norm=0.1)
    assert parameter.grad.data.strides == grad.strides


@pytest.mark.parametrize("broken", [math.inf, -math.inf, math.nan])
def test_a_norm_that_is_not_finite_is_told_and_hides_nothing(broken):
    parameters = with_grads([1.0, broken], [2.0])
    assert not math.isfinite(clip_grad_norm(parameters, max_norm=1.0))
    np.testing.assert_array_equal(parameters[0].grad.numpy(), [1.0, broken])
    np.testing.assert_array_equal(parameters[1].grad.numpy(), [2.0])


def test_a_single_parameter_and_the_step_after_it():
    parameter = mr.nn.Parameter([1.0, 1.0])
    (mr.tensor([30.0, 40.0]) * parameter).sum().backward()
    assert clip_grad_norm(parameter, max_norm=1.0) == 50.0
    SGD([parameter], lr=0.5).step()
    np.testing.assert_allclose(parameter.numpy(), [0.7, 0.6], rtol=1e-6)


@pytest.mark.parametrize("max_norm", [0, -1.0, math.nan, math.inf, "1", None])
def test_max_norm_must_be_positive(max_norm):
    parameters = with_grads([3.0])
    with pytest.raises(ArgumentError, match=r"clip_grad_norm: max_norm is .*; it must be a number > 0"):
        clip_grad_norm(parameters, max_norm)
    np.testing.assert_array_equal(parameters[0].grad.numpy(), [3.0])


@pytest.mark.parity
@pytest.mark.parametrize("max_norm", [0.01, 1.0, 7.0, 100.0])
def test_norm_and_gradients_equal_pytorch(rng, max_norm):
    torch = pytest.importorskip("torch")
    grads = [rng.standard_normal(shape) for shape in ((7, 3), (5,), (2, 3, 2, 2))]
    theirs = [torch.nn.Parameter(torch.zeros(grad.shape, dtype=torch.float64)) for grad in grads]
    for parameter, grad in zip(theirs, grads, strict=True):
        parameter.grad = torch.tensor(grad)
    ours = with_grads(*grads)
    assert clip_grad_norm(ours, max_norm) == pytest.approx(torch.nn.utils.clip_grad_norm_(theirs, max_norm).item())
    for mine, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(mine.grad.numpy(), other.grad.numpy(), rtol=1e-12)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: clip_grad_norm(mr.nn.Linear(2, 2), 1.0), r"not Linear; pass model.parameters\(\)"),
        (lambda: clip_grad_norm(mr.nn.Linear(2, 2).parameters, 1.0), "not method"),
        (lambda: clip_grad_norm([], 1.0, norm_type=1), "norm_type is not offered; the norm is the L2 norm"),
        (lambda: mr.from_dlpack(np.ones(2), device="cuda"), r"from_dlpack: device is not offered; .*\.to\(device\)"),
    ],
)
def test_calls_that_are_not_offered_are_a_sentence(call, words):
    with pytest.raises(mr.errors.ArgumentError, match=words):
        call()
