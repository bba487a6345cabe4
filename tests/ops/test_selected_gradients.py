"""A gradient that an op stops is selected, never multiplied by 0: inf and NaN do not pass. Values are PyTorch's."""

from __future__ import annotations

import numpy as np
import pytest

import minires as mr
from minires import ops

NAN, INF = float("nan"), float("inf")
pytestmark = [
    pytest.mark.filterwarnings("ignore:(invalid value|divide by zero|overflow) encountered"),
    pytest.mark.parametrize("engine", ["textbook", "fast"]),
]
ONES, MASK = [1.0, NAN, 1, 1, 1], np.array([True, False, True, False, False] * 512)
MANY = 512  # copies of the five numbers, so that kernels run


def many(numbers):
    return np.array(numbers * MANY, "float32")


# (id, the op, x, the upstream gradient, the gradient)
SELECTING = [
    ("relu", ops.relu, [NAN, -1, 0, 1, -INF], [2, NAN, INF, 3, INF], [2, 0, 0, 3, 0]),
    ("residual_add", lambda x: ops.residual_add(x, 0 * x.detach().masked_fill(x.detach() == -INF, 0)),
     [NAN, -1, 0, 1, -INF], [2, NAN, INF, 3, INF], [2, 0, 0, 3, 0]),
    ("leaky_relu", lambda x: ops.leaky_relu(x, 0.5), [NAN, -1, 0, 1, -INF], [2, 4, INF, NAN, 2], [1, 2, INF, NAN, 1]),
    ("maximum", lambda x: ops.maximum(x, many(ONES)), [NAN, 2, 1, 0, 2], [2, 3, 4, INF, NAN], [2, 3, 2, 0, NAN]),
    ("maximum, right", lambda x: ops.maximum(many(ONES), x), [NAN, 2, 1, 0, 2], [2, 3, 4, INF, 3], [2, 3, 2, 0, 3]),
    ("minimum", lambda x: ops.minimum(x, many(ONES)), [NAN, 2, 1, 0, 2], [2, 3, 4, 5, INF], [2, 3, 2, 5, 0]),
    ("clip", lambda x: ops.clip(x, 0, 1), [NAN, -1, 0, 1, 2], [INF, NAN, 2, 3, INF], [0, 0, 2, 3, 0]),
    ("clip, low", lambda x: ops.clip(x, many([0.0] * 5)), [NAN, -1, 0, 1, 2], [INF, NAN, 2, 3, INF], [0, 0, 2, 3, INF]),
    ("clip, bound", lambda x: ops.clip(many([0, 0, 0, 0, NAN]), x, 5), [1, -1, 0, 1, 2], [2, NAN, INF, 3, INF],
     [2, 0, 0, 3, 0]),
    ("where", lambda x: ops.where(MASK, x, 1), [1, 2, 3, 4, 5], [2, NAN, 3, INF, NAN], [2, 0, 3, 0, 0]),
    ("where, right", lambda x: ops.where(MASK, 1, x), [1, 2, 3, 4, 5], [NAN, 2, INF, 3, 4], [0, 2, 0, 3, 4]),
    ("masked_fill", lambda x: x.masked_fill(MASK, 1), [1, 2, 3, 4, 5], [NAN, 2, INF, 3, 4], [0, 2, 0, 3, 4]),
    ("dropout", lambda x: ops.dropout(x, 1), [1, NAN, 3, INF, 5], [NAN, 2, INF, 3, 4], [0, 0, 0, 0, 0]),
    ("floor_divide", lambda x: x // 2, [1, 2, 3, 4, 5], [NAN, 2, INF, 3, 4], [0, 0, 0, 0, 0]),
    ("pow 0", lambda x: x**0, [NAN, 0, -1, INF, 2], [NAN, 2, INF, 3, 4], [0, 0, 0, 0, 0]),
    ("pow, 0 to 0", lambda x: x ** many([0.0] * 5), [0, 0, -0.0, 0, 0], [INF, NAN, INF, 3, 4], [0, 0, 0, 0, 0]),
    ("pow, of 0", lambda x: many([0.0] * 5) ** x, [0, 1, 2, 0.5, 9], [INF, NAN, INF, 3, 4], [0, 0, 0, 0, 0]),
    ("abs", ops.abs, [NAN, -2, 0, 3, -0.0], [2, 3, 4, INF, 5], [0, -3, 0, INF, 0]),
]  # fmt: skip


@pytest.mark.parametrize(
    ("op", "x", "upstream", "expected"), [case[1:] for case in SELECTING], ids=[case[0] for case in SELECTING]
)
def test_first_order_and_the_gradient_with_respect_to_the_upstream(engine, op, x, upstream, expected):
    leaf, u = mr.tensor(many(x), requires_grad=True), mr.tensor(many(upstream), requires_grad=True)
    with mr.engine(engine):
        op(leaf).backward(u.detach())
        np.testing.assert_array_equal(leaf.grad.numpy(), many(expected))
        (grad,) = mr.grad(op(leaf), leaf, u, create_graph=True)
        (second,) = mr.grad(grad, u, u.detach())  # the same op again, as it is linear in the upstream gradient
    np.testing.assert_array_equal(second.numpy(), many(expected))


@pytest.mark.parametrize(("op", "x", "upstream", "expected"), [case[1:] for case in SELECTING[:2]], ids=["relu", "add"])
def test_the_kernels_of_each_device_select_as_the_textbook_does(engine, device, op, x, upstream, expected):
    leaf = mr.tensor(many(x), requires_grad=True, device=device)
    with mr.engine(engine):
        op(leaf).backward(mr.tensor(many(upstream), device=device))
    np.testing.assert_array_equal(leaf.grad.numpy(), many(expected))


CHAINS = {
    "sqrt(relu(x))": lambda x: ops.relu(x).sqrt(),
    "log(relu(x))": lambda x: ops.relu(x).log(),
    "1 / relu(x)": lambda x: 1 / ops.relu(x),
    "sqrt(x + x, then relu)": lambda x: ops.residual_add(x, x).sqrt(),
    "sqrt(where)": lambda x: ops.where(x > 0, x, 0).sqrt(),
    "log(masked_fill)": lambda x: x.masked_fill(x <= 0, 0).log(),
    "sqrt(maximum)": lambda x: ops.maximum(x, 0).sqrt(),
    "sqrt(-minimum)": lambda x: (-ops.minimum(-x, 0)).sqrt(),
    "sqrt(clip)": lambda x: ops.clip(x, 0).sqrt(),
    "sqrt(dropout)": lambda x: ops.dropout(x, 1).sqrt(),
}


@pytest.mark.parametrize("chain", CHAINS)
def test_dead_branches_have_no_gradient_of_any_order(engine, chain):
    x = mr.tensor(np.full(2048, -1.0, "float32"), requires_grad=True)
    with mr.engine(engine):
        CHAINS[chain](x).sum().backward()
        (grad,) = mr.grad(CHAINS[chain](x).sum(), x, create_graph=True)
        (second,) = mr.grad(grad.sum(), x)
    for found in (x.grad, grad, second):
        np.testing.assert_array_equal(found.numpy(), np.zeros(2048))


@pytest.mark.parametrize(
    ("x", "exponent", "to_x", "to_exponent"),
    [
        (0.0, 0, 0, 0), (0.0, 1, 1, 0), (0.0, 2, 0, 0), (-2.0, 2, -4, NAN), (-2.0, 3, 12, NAN), (-2.0, 0.5, NAN, NAN),
        (2.0, -1, -0.25, 0.5 * np.log(2)), (0.0, -1, -INF, -INF), (-0.0, -1, -INF, INF), (1.0, NAN, NAN, 0),
        (NAN, 0, 0, NAN),
    ],
)  # fmt: skip
def test_powers_of_any_base(engine, x, exponent, to_x, to_exponent):
    base, power = mr.tensor([x], requires_grad=True), mr.tensor([float(exponent)], requires_grad=True)
    with mr.engine(engine):
        (base**power).backward()
        np.testing.assert_allclose([base.grad.item(), power.grad.item()], [to_x, to_exponent], rtol=1e-6)
        only = mr.tensor([x], requires_grad=True)
        (only**exponent).backward()
    np.testing.assert_allclose(only.grad.item(), to_x)


def test_second_derivatives_of_powers_of_0(engine):
    """The second derivative of x**n at 0 is 2 for n = 2, and 0 for other whole numbers."""
    x = mr.tensor(np.zeros(4), requires_grad=True)
    with mr.engine(engine):
        (grad,) = mr.grad((x ** [0, 1, 2, 3]).sum(), x, create_graph=True)
        (second,) = mr.grad(grad.sum(), x)
    np.testing.assert_array_equal(second.numpy(), [0, 0, 2, 0])


def test_roots_of_both_zeros(engine):
    for root in (ops.sqrt, lambda x: x**0.5):
        x = mr.tensor([0.0, -0.0, 4.0], requires_grad=True)
        with mr.engine(engine):
            root(x).backward([1.0, 1.0, 1.0])
        np.testing.assert_array_equal(x.grad.numpy(), [INF, -INF, 0.25])


def test_quotients_of_tiny_numbers(engine):
    """b * b would underflow in the gradient to b, which is -a / b / b."""
    a, b = mr.tensor([1e-30], requires_grad=True), mr.tensor([1e-25], requires_grad=True)
    with mr.engine(engine):
        (a / b).backward()
    np.testing.assert_allclose(b.grad.numpy(), [-1e20], rtol=1e-6)
