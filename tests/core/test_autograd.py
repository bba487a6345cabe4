"""The tape: which gradients are computed, how often, and what is left in memory afterwards."""

from __future__ import annotations

import threading
from collections import Counter

import numpy as np
import pytest

import minires as mr
from minires.core.autograd import Op
from minires.core.tensor import Tensor
from minires.errors import ArgumentError, DTypeError, GraphError, ShapeError
from minires.ops.arithmetic import Mul


def leaf(values, dtype="float64"):
    return mr.tensor(values, requires_grad=True, dtype=dtype)


def grads_of(output, *inputs, upstream=None):
    """The gradients computed by ``.backward``, as arrays."""
    output.backward(upstream)
    return [x.grad.numpy() for x in inputs]


# -------------------------------------------------------------------------------------------------- the chain rule


def test_two_consumers_add_their_gradients():
    x = leaf([3.0, -2.0])
    (dx,) = grads_of(x * x + x, x, upstream=np.array([1.0, 10.0]))
    np.testing.assert_array_equal(dx, [7.0, -30.0])  # (2x + 1) * upstream


def test_a_diamond_is_walked_in_topological_order():
    x = leaf(2.0)
    a = x * 3
    b, c = a * a, a + 1
    (dx,) = grads_of(b * c, x)  # 9x^2 (3x + 1), derivative 81x^2 + 18x
    assert dx == 81 * 4 + 18 * 2


@pytest.mark.parametrize(
    ("f", "df"),
    [
        (lambda x: x * x, lambda x, u: 2 * x * u),
        (lambda x: x + x, lambda x, u: 2 * u),
        (lambda x: x - x, lambda x, u: 0 * u),
        (lambda x: x / x, lambda x, u: 0 * u),
        (lambda x: x @ x, lambda x, u: u @ x.T + x.T @ u),
        (lambda x: mr.ops.maximum(x, x), lambda x, u: u),
        (lambda x: mr.ops.concatenate([x, x])[3:], lambda x, u: u),
        (lambda x: mr.ops.where(x > 0, x, x), lambda x, u: u),
    ],
    ids=["mul", "add", "sub", "div", "matmul", "maximum", "concatenate", "where"],
)
def test_the_same_tensor_twice_in_one_op(f, df, rng):
    x, upstream = leaf(rng.standard_normal((3, 3))), rng.standard_normal((3, 3))
    (dx,) = grads_of(f(x), x, upstream=upstream)
    np.testing.assert_allclose(dx, df(x.numpy(), upstream), rtol=1e-12, atol=1e-12)


def test_a_branch_without_gradient_does_not_hold_up_the_others():
    class Blocked(Op):
        def forward(self, x):
            return x

        def backward(self, upstream):
            return None

    x = leaf(5.0)
    y = x * 2
    (dx,) = grads_of(Blocked()(y * 7) + y * 3, x)
    assert dx == 6.0


def test_a_chain_of_100_000_ops_goes_forward_backward_and_away():
    x = leaf(1.0)
    y = x
    for _ in range(100_000):
        y = y + 1.0
    y.backward(retain_graph=True)
    assert y.item() == 100_001.0
    assert x.grad.item() == 1.0
    del y  # an unfreed graph is taken apart link by link: this must not overflow the C stack


def test_each_backward_runs_once_in_a_stack_of_200_residual_adds(monkeypatch):
    """Walking every path would need 2**200 calls."""
    calls = Counter()
    backward = Mul.backward

    def counted(self, upstream):
        calls[id(self)] += 1
        return backward(self, upstream)

    monkeypatch.setattr(Mul, "backward", counted)
    x = leaf(1.0)
    y, kept = x, []
    for _ in range(200):
        branch = y * 0.01
        kept.append(branch.op)
        y = branch + y
    (dx,) = grads_of(y, x)
    assert [calls[id(op)] for op in kept] == [1] * 200
    np.testing.assert_allclose(dx, 1.01**200, rtol=1e-12)


def test_backward_of_a_leaf_gives_its_upstream():
    x = leaf([1.0, 2.0])
    assert grads_of(x, x, upstream=[3.0, 4.0])[0].tolist() == [3.0, 4.0]


def test_an_upstream_may_be_a_parameter():
    x = mr.tensor([1.0, 2.0], requires_grad=True)
    (x * 2).backward(mr.nn.Parameter([3.0, 4.0]))
    assert type(x.grad) is mr.Tensor and x.grad.numpy().tolist() == [6.0, 8.0] and not x.grad.requires_grad


def test_gradients_accumulate_over_backward_passes_until_they_are_cleared():
    x = leaf([1.0, 2.0])
    for expected in ([3.0, 3.0], [6.0, 6.0]):
        (x * 3).sum().backward()
        assert x.grad.numpy().tolist() == expected
    x.grad = None
    (x * 5).sum().backward()
    assert x.grad.numpy().tolist() == [5.0, 5.0]


def test_only_leaves_that_ask_for_it_get_a_gradient():
    x, frozen = leaf(2.0), mr.tensor(3.0)
    y = x * frozen
    y.backward()
    assert (x.grad.item(), frozen.grad, y.grad) == (3.0, None, None)


@pytest.mark.parametrize("shapes", [((3, 1), (4,)), ((1,), (2, 3, 4)), ((2, 1, 4), (3, 1)), ((), (2, 3))], ids=str)
def test_a_broadcast_input_receives_the_sum_over_its_copies(shapes, rng):
    a, b = (leaf(rng.standard_normal(shape)) for shape in shapes)
    upstream = rng.standard_normal((a.numpy() * b.numpy()).shape)
    grads = grads_of(a * b, a, b, upstream=upstream)
    for dx, x, other in zip(grads, (a, b), (b, a), strict=True):
        copies = upstream * other.numpy()
        expected = np.zeros(x.shape)  # each element of the product belongs to one element of x
        for index in np.ndindex(copies.shape):
            home = tuple(0 if size == 1 else i for i, size in zip(index[len(index) - x.ndim :], x.shape, strict=True))
            expected[home] += copies[index]
        np.testing.assert_allclose(dx, expected, rtol=1e-12)


# ------------------------------------------------------------------------------------- freeing, keeping, recording


def test_a_second_backward_says_why_it_cannot():
    x = leaf(2.0)
    y = x * x
    y.backward()
    with pytest.raises(GraphError, match=r"^backward: the graph of mul was freed .* retain_graph=True"):
        y.backward()
    with pytest.raises(GraphError, match="freed"):  # also through what is built on it
        (y + x).backward()
    assert x.grad.item() == 4.0


def test_retain_graph_lets_backward_run_again():
    x = leaf(2.0)
    y = x.exp() * x
    y.backward(retain_graph=True)
    first = x.grad.item()
    y.backward()
    assert x.grad.item() == 2 * first


def test_third_derivatives():
    x = leaf([1.5, -2.0])
    y = (x**5).sum()
    for expected in (5 * x.numpy() ** 4, 20 * x.numpy() ** 3, 60 * x.numpy() ** 2):
        (dx,) = mr.grad(y, x, create_graph=True)
        np.testing.assert_allclose(dx.numpy(), expected, rtol=1e-12)
        y = dx.sum()


def test_backward_with_create_graph_gives_a_gradient_that_can_be_differentiated():
    x = leaf(3.0)
    (x**3).backward(create_graph=True)
    slope, x.grad = x.grad, None
    slope.backward()
    assert (slope.item(), x.grad.item()) == (27.0, 18.0)


def test_a_penalty_on_the_gradient_reaches_both_factors():
    x, w = leaf([1.0, 2.0, 3.0]), leaf([0.5, -1.0, 2.0])
    (dx,) = mr.grad((w * x * x).sum(), x, create_graph=True)  # 2wx
    (dx * dx).sum().backward()  # sum of 4 w^2 x^2
    np.testing.assert_allclose(x.grad.numpy(), 8 * w.numpy() ** 2 * x.numpy())
    np.testing.assert_allclose(w.grad.numpy(), 8 * w.numpy() * x.numpy() ** 2)


def test_grad_of_leaves_and_intermediates_leaves_dot_grad_alone():
    x, w = leaf([1.0, 2.0]), leaf([3.0, 4.0])
    y = x * w
    z = (y * y).sum()
    dy, dx, dw = mr.grad(z, (y, x, w))
    np.testing.assert_array_equal(dy.numpy(), 2 * y.numpy())
    np.testing.assert_array_equal(dx.numpy(), 2 * y.numpy() * w.numpy())
    np.testing.assert_array_equal(dw.numpy(), 2 * y.numpy() * x.numpy())
    assert x.grad is None
    assert w.grad is None
    assert not dx.requires_grad


def test_grad_takes_one_tensor_a_generator_and_the_output_itself():
    x = leaf(4.0)
    y = x * x
    assert [g.item() for g in mr.grad(y, x, create_graph=True)] == [8.0]
    assert [g.item() for g in mr.grad(y, (t for t in [x, y]), mr.tensor(0.5))] == [4.0, 0.5]


def test_grad_names_the_input_that_takes_no_part():
    x, unused, constant = leaf(1.0), leaf(2.0), mr.tensor(3.0)
    for other in (unused, constant):
        with pytest.raises(GraphError, match=r"^grad: input 1 does not require"):
            mr.grad(x * constant, [x, other])


def test_upstream_takes_the_dtype_of_the_output():
    x = leaf([1.0, 2.0], "float32")
    for upstream in (np.array([1.0, 2.0]), np.array([1, 2]), [1.0, 2.0], mr.tensor([1.0, 2.0], dtype="float64")):
        x.grad = None
        (x * 3).backward(upstream)
        assert x.grad.dtype == np.float32
        assert x.grad.numpy().tolist() == [3.0, 6.0]


def test_gradients_have_the_dtype_of_their_input_when_dtypes_are_mixed():
    x, w = leaf([1.0, 2.0], "float32"), leaf([3.0, 4.0], "float64")
    y = x * w
    assert y.dtype == np.float64
    y.sum().backward()
    assert (x.grad.dtype, w.grad.dtype) == (np.float32, np.float64)


# -------------------------------------------------------------------------------------------------- switches


def test_no_grad_and_enable_grad_nest_and_come_back_after_an_error():
    x = leaf(1.0)
    with pytest.raises(ZeroDivisionError), mr.no_grad():
        assert not (x * 2).requires_grad
        with mr.enable_grad():
            assert (x * 2).requires_grad
        assert not mr.is_grad_enabled()
        raise ZeroDivisionError
    assert mr.is_grad_enabled()
    assert (x * 2).requires_grad


def test_no_grad_decorates_a_function_each_call_anew():
    @mr.no_grad()
    def recorded():
        return mr.is_grad_enabled()

    assert [recorded(), recorded(), mr.is_grad_enabled()] == [False, False, True]


def test_backward_restores_recording_after_an_error_in_a_hook():
    x = leaf(1.0)
    x.register_hook(lambda grad: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        (x * 2).backward()
    assert mr.is_grad_enabled()


def test_threads_have_their_own_switches():
    seen = []
    inside, done = threading.Event(), threading.Event()

    def other():
        inside.wait(10)
        seen.append(mr.is_grad_enabled())
        with mr.no_grad():
            done.set()

    thread = threading.Thread(target=other)
    thread.start()
    with mr.no_grad():
        inside.set()
        done.wait(10)
    thread.join(10)
    assert seen == [True]
    assert mr.is_grad_enabled()


# -------------------------------------------------------------------------------------------------- hooks


def test_hooks_see_the_complete_gradient_may_replace_it_and_can_be_removed():
    x = leaf([1.0, 2.0])
    y = x * 3
    seen = []
    handles = [
        x.register_hook(lambda g: seen.append(("x", g.numpy().tolist()))),
        y.register_hook(lambda g: g * 10),
        y.register_hook(lambda g: seen.append(("y", g.numpy().tolist()))),
    ]
    (y + y).sum().backward(retain_graph=True)
    assert seen == [("y", [20.0, 20.0]), ("x", [60.0, 60.0])]
    assert x.grad.numpy().tolist() == [60.0, 60.0]
    for handle in (*handles, handles[0]):  # removing twice does no harm
        handle.remove()
    x.grad = None
    (y + y).sum().backward()
    assert len(seen) == 2
    assert x.grad.numpy().tolist() == [6.0, 6.0]


def test_a_hook_that_removes_itself_does_not_skip_the_next():
    x, seen = leaf(1.0), []

    def once(grad):
        seen.append("once")
        handle.remove()

    handle = x.register_hook(once)
    x.register_hook(lambda grad: seen.append("always"))
    for _ in range(2):
        (x * 2).backward()
    assert seen == ["once", "always", "always"]


def test_a_hook_cannot_change_the_shape_and_gives_arrays_and_other_dtypes_the_right_form():
    x = leaf([1.0, 2.0], "float32")
    handle = x.register_hook(lambda grad: grad.numpy().astype("float64") * 2)
    (x * 3).sum().backward()
    assert isinstance(x.grad, Tensor)
    assert (x.grad.dtype, x.grad.numpy().tolist()) == (np.float32, [6.0, 6.0])
    handle.remove()
    x.register_hook(lambda grad: grad.sum())
    with pytest.raises(ShapeError, match=r"scalar.* 2"):
        (x * 3).sum().backward()


def test_retain_grad_keeps_the_gradient_of_an_intermediate_once():
    x = leaf([1.0, 2.0])
    y = x * 3
    y.retain_grad()
    y.retain_grad()
    x.retain_grad()  # a leaf keeps it anyway
    (y * y).sum().backward()
    np.testing.assert_array_equal(y.grad.numpy(), 2 * y.numpy())
    np.testing.assert_array_equal(x.grad.numpy(), 6 * y.numpy())


# -------------------------------------------------------------------------------------------------- custom ops


class Scaled(Op):
    """x * 2, whose backward gives whatever ``grads`` makes of the upstream."""

    def __init__(self, grads):
        self.grads = grads

    def forward(self, x):
        return x * 2

    def backward(self, upstream):
        return self.grads(upstream)


@pytest.mark.parametrize(
    ("grads", "error", "words"),
    [
        (lambda u: u.sum(), ShapeError, "backward of scaled: .* input 0 is scalar, .* input is 2x3.*sum_to"),
        (lambda u: (u, u), GraphError, "backward of scaled returned 2 gradients for 1 inputs"),
        (lambda u: [], GraphError, "backward of scaled returned 0 gradients for 1 inputs"),
        (lambda u: u.numpy(), DTypeError, "backward of scaled: .* input 0 is ndarray"),
    ],
    ids=["shape", "too many", "too few", "array"],
)
def test_a_wrong_backward_is_named(grads, error, words):
    y = Scaled(grads)(leaf(np.ones((2, 3)))).sum()
    with pytest.raises(error, match=words):
        y.backward()


def test_a_list_of_gradients_is_as_good_as_a_tuple():
    x = leaf([1.0])
    Scaled(lambda u: [u * 2])(x).backward()
    assert x.grad.item() == 2.0


def test_an_op_serves_one_call():
    op, x = Scaled(lambda u: u * 2), leaf([1.0, 2.0])
    y = op(x)
    with pytest.raises(GraphError, match="scaled: this op was already called"):
        op(x)
    y.sum().backward()
    with pytest.raises(GraphError, match="scaled: this op was already called"):
        op(x)


@pytest.mark.parametrize("given", [np.ones(3), 2.0, [1.0], None], ids=lambda given: type(given).__name__)
def test_an_op_takes_tensors_only(given):
    with pytest.raises(DTypeError, match=r"scaled: .* tensor"):
        Scaled(None)(given)


def test_op_names_and_what_they_save_are_inherited_or_checked():
    class BatchNorm9000(Op, saves="output"):
        pass

    class Named(BatchNorm9000, name="other"):
        pass

    assert (BatchNorm9000.name, Named.name, Named.saves) == ("batch_norm9000", "other", "output")
    with pytest.raises(ArgumentError, match="Wrong: saves is 'all'"):
        type("Wrong", (Op,), {}, saves="all")
    for method in (Op().forward, Op().backward):
        with pytest.raises(NotImplementedError, match="Op has no"):
            method(None)
