"""Observers see every op: before it with its inputs, after it with its result."""

from __future__ import annotations

import numpy as np
import pytest

import minires as mr
from minires.core.state import observed, state


def recorder(log, name=""):
    def observer(op, phase, arrays):
        log.append((name, "before", op.name, phase, [array.shape for array in arrays]))

        def after(result):
            results = result if isinstance(result, tuple) else (result,)
            log.append((name, "after", op.name, phase, [None if r is None else r.shape for r in results]))

        return after

    return observer


def test_forward_and_backward_with_inputs_and_results():
    log = []
    x, c = mr.tensor(np.ones((2, 3)), requires_grad=True), mr.tensor(np.ones(3))
    with observed(recorder(log)):
        y = x + c
        y.backward(np.ones((2, 3)))
    assert log[:6] == [  # then backward copies the gradient for its owner
        ("", "before", "add", "forward", [(2, 3), (3,)]),
        ("", "after", "add", "forward", [(2, 3)]),
        ("", "before", "add", "backward", [(2, 3)]),
        ("", "before", "sum", "forward", [(2, 3)]),
        ("", "after", "sum", "forward", [(3,)]),
        ("", "after", "add", "backward", [(2, 3), (3,)]),
    ]


def test_several_at_once_end_in_the_opposite_order():
    log = []
    with observed(recorder(log, "outer")), observed(recorder(log, "inner")):
        mr.ops.relu(mr.tensor([1.0]))
    assert [(name, when) for name, when, *_ in log] == [
        ("outer", "before"), ("inner", "before"), ("inner", "after"), ("outer", "after"),
    ]  # fmt: skip
    assert state.observers == ()


def test_one_that_returns_nothing_is_not_called_again():
    names = []
    with observed(lambda op, phase, arrays: names.append(op.name)):
        mr.ops.relu(mr.tensor([1.0])).sum()
    assert names == ["relu", "sum"]


def test_after_an_error_the_result_is_none():
    class Fails(mr.Op):
        def forward(self, x):
            raise ZeroDivisionError

    results = []
    with pytest.raises(ZeroDivisionError), observed(lambda op, phase, arrays: results.append):
        Fails()(mr.tensor([1.0]))
    assert results == [None]


@pytest.mark.parametrize(
    "function",
    [
        mr.ops.abs, mr.ops.leaky_relu, mr.ops.log_softmax, mr.ops.logsumexp, mr.ops.mean, mr.ops.softmax, mr.ops.var,
        lambda x: mr.ops.clip(x, 0, 1),
    ],
)  # fmt: skip
def test_these_functions_are_one_op(function):
    seen = []
    with observed(lambda op, phase, arrays: seen.append(op.name)):
        function(mr.tensor([[1.0, 2.0, 4.0]]))
    assert len(seen) == 1
