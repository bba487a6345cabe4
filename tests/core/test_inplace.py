"""In-place changes: allowed where no backward needs the old values, caught where one does."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest

import minires as mr
from minires.errors import DTypeError, GraphError, ShapeError


def leaf(values):
    return mr.tensor(values, requires_grad=True, dtype="float64")


def add_to_data(t):
    t.data += 1


def replace_data(t):
    t.data = t.data * 2


@mr.no_grad()
def assign_item(t):
    t[0] = 7.0


@mr.no_grad()
def augment(t):
    t += 1


@mr.no_grad()
def scale(t):
    t *= 3


@mr.no_grad()
def assign_through_reshape(t):
    t.reshape(3, 2)[2, 1] = 7.0


@mr.no_grad()
def assign_through_two_views(t):
    t.transpose()[1:][0] = 7.0


def assign_through_detach(t):
    detached = t.detach()
    detached -= 5


def assign_to_a_row(t):
    for row in t.detach():
        row += 1


CHANGES = [
    add_to_data, replace_data, assign_item, augment, scale, assign_through_reshape, assign_through_two_views,
    assign_through_detach, assign_to_a_row,
]  # fmt: skip


@pytest.mark.parametrize("change", CHANGES, ids=lambda f: f.__name__)
@pytest.mark.parametrize(
    ("f", "which", "what"),
    [
        (lambda x: (x, x * x), 0, "input 0 of mul"),
        (lambda x: (x, mr.ops.matmul(x, np.ones((3, 4)))), 0, "input 0 of matmul"),
        (lambda x: (x, x.exp()), 1, "the output of exp"),
        (lambda x: (x, mr.ops.relu(x)), 1, "the output of relu"),
        (lambda x: (x + 0, mr.ops.residual_add(x, x)), 1, "the output of residual_add"),
    ],
    ids=["mul", "matmul", "exp", "relu", "residual_add"],
)
def test_a_change_of_what_backward_needs_is_caught(f, which, what, change):
    pair = f(leaf(np.ones((2, 3))))
    loss = pair[1].sum()
    change(pair[which])
    with pytest.raises(GraphError, match=f"^backward: {what} was changed in place"):
        loss.backward()


@pytest.mark.parametrize("change", CHANGES, ids=lambda f: f.__name__)
@pytest.mark.parametrize(
    "f",
    [lambda x: x + x, lambda x: x - 2, lambda x: -x, lambda x: x.reshape(6), lambda x: x.sum(), lambda x: x[:, 1:]],
    ids=["add", "sub", "neg", "reshape", "sum", "getitem"],
)
def test_a_change_of_what_backward_does_not_need_is_not(f, change):
    x = leaf(np.ones((2, 3)))
    y = f(x)
    expected = np.zeros((2, 3))
    for i in np.ndindex(2, 3):  # f is linear, so unit vectors give the gradient of the sum
        unit = np.zeros((2, 3))
        unit[i] = 1
        expected[i] = f(mr.tensor(unit)).sum().item() - f(mr.tensor(np.zeros((2, 3)))).sum().item()
    change(x)
    y.sum().backward()
    np.testing.assert_array_equal(x.grad.numpy(), expected)


def test_a_change_after_backward_or_before_forward_is_fine():
    x = leaf([1.0, 2.0])
    for _ in range(3):  # the loop of every optimiser
        (x * x).sum().backward()
        with mr.no_grad():
            x -= 0.1 * x.grad
        x.grad = None


def test_a_change_of_a_view_is_seen_through_the_base_after_pickling_and_copying():
    for copied in (pickle.loads(pickle.dumps(leaf([1.0, 2.0]))), copy.deepcopy(leaf([1.0, 2.0]))):
        loss = (copied * copied).sum()
        with mr.no_grad():
            copied.reshape(2, 1)[0] = 5.0
        with pytest.raises(GraphError, match="input 0 of mul"):
            loss.backward()


def test_a_copy_may_be_changed():
    x = leaf([1.0, 2.0])
    loss = (x * x).sum()
    other = mr.tensor(x)
    other += 1
    loss.backward()
    assert x.grad.numpy().tolist() == [2.0, 4.0]


@pytest.mark.parametrize("change", [lambda t: t.data.__setitem__(0, 9.0), lambda t: t.numpy().fill(9.0)])
@pytest.mark.parametrize(("f", "which"), [(lambda x: (x, x * x), 0), (lambda x: (x, x.exp()), 1)], ids=["in", "out"])
def test_writing_to_the_raw_array_is_caught_under_detect_anomaly(f, which, change):
    with mr.detect_anomaly():
        pair = f(leaf([1.0, 2.0]))
        loss = pair[1].sum()
        change(pair[which])
        with pytest.raises(GraphError, match="was changed in place"):
            loss.backward()


@pytest.mark.parametrize(
    ("f", "given"),
    [
        (lambda x, given: mr.ops.where(given, x, x * 2), [True, False, True]),
        (lambda x, given: x[given], [0, 2, 2]),
        (lambda x, given: x[(given,)], [2, 1, 1]),
        (lambda x, given: mr.ops.cross_entropy(x.reshape(1, 3), given[:1]), [2, 0, 0]),
    ],
    ids=["condition", "index", "index in a tuple", "labels"],
)
@pytest.mark.parametrize("kind", [np.array, mr.tensor])
def test_conditions_indices_and_labels_may_be_filled_anew_before_backward(f, given, kind):
    expected = leaf([1.0, 2.0, 3.0])
    f(expected, kind(given)).sum().backward()
    x, buffer = leaf([1.0, 2.0, 3.0]), kind(given)
    loss = f(x, buffer).sum()
    buffer[:] = buffer == buffer  # all True, or all 1
    loss.backward()
    np.testing.assert_array_equal(x.grad.numpy(), expected.grad.numpy())


# ------------------------------------------------------------------------------------ where writing is not allowed


@pytest.mark.parametrize("operator", ["iadd", "isub", "imul", "itruediv"])
def test_augmenting_a_leaf_that_is_being_recorded_raises(operator):
    x = leaf([1.0])
    with pytest.raises(GraphError, match=rf"^{operator}: .*no_grad"):
        getattr(x, f"__{operator}__")(1.0)


def test_augmenting_an_intermediate_result_makes_a_new_one_and_is_recorded():
    x = leaf([1.0, 2.0])
    y = old = x * 1
    y *= x
    y += 1
    y -= x
    y /= 2
    y.sum().backward()
    assert old.numpy().tolist() == [1.0, 2.0]
    assert x.grad.numpy().tolist() == [0.5, 1.5]  # (x^2 + 1 - x) / 2


def test_augmenting_plain_data_works_in_place():
    t = mr.tensor([1.0, 2.0])
    array, same = t.data, t
    t += [1.0, 1.0]
    t *= np.float64(3)
    t -= mr.tensor(1)
    t /= 2
    assert t is same
    assert t.data is array
    assert (t.dtype, t.numpy().tolist()) == (np.float32, [2.5, 4.0])


def test_a_recorded_value_does_not_vanish_in_plain_data():
    x, t = leaf([1.0]), mr.tensor([5.0, 6.0], dtype="float64")
    with pytest.raises(GraphError, match="requires a gradient"):
        t[0] = x
    with pytest.raises(GraphError, match="requires a gradient"):
        x[0] = 1.0
    total = t
    total += x  # recorded: a new tensor
    total.sum().backward()
    assert (t.numpy().tolist(), x.grad.numpy().tolist()) == ([5.0, 6.0], [2.0])


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        (lambda t: t.__iadd__(np.ones((2, 3))), ShapeError, "2x3 .* 3 "),
        (lambda t: t.__imul__(np.ones(4)), ShapeError, "^imul: 4 float64 .* 3 float32"),
        (lambda t: t.to("int64").__iadd__(0.5), DTypeError, "float32.* int64"),
        (lambda t: t.__setitem__(5, 1.0), ShapeError, "3.*index 5 is out of bounds"),
        (lambda t: t.__setitem__(slice(2), np.ones(3)), ShapeError, r"value \(3\)"),
        (lambda t: t.__setitem__("a", 1.0), ShapeError, "index"),
        (lambda t: t.broadcast_to((2, 3)).__setitem__(0, 1.0), ShapeError, "read-only"),
        (lambda t: setattr(t, "data", 3.0), DTypeError, "raw array, not float"),
    ],
    ids=["grow", "mismatch", "cast", "bounds", "value", "string", "broadcast", "data"],
)
def test_what_cannot_be_written_is_said(change, error, words):
    with pytest.raises(error, match=words):
        change(mr.tensor([1.0, 2.0, 3.0]))
