"""The search for the first NaN: it stops at the right op, on the user's line, in both directions."""

from __future__ import annotations

import inspect
import re

import numpy as np
import pytest

import minires as mr
from minires.core.state import state
from minires.errors import AnomalyError
from minires.nn import Linear


def line(offset=0):
    return inspect.currentframe().f_back.f_lineno + offset


def said_here(error, op, what, lineno):
    expected = f"{op}: {what}, called at {__file__}:{lineno}."
    assert str(error.value) == expected


def test_the_first_infinity_forward_is_reported_with_op_index_and_line():
    x = mr.tensor([[1.0, 2.0], [3.0, 4.0]])
    with mr.detect_anomaly(), np.errstate(over="ignore"), pytest.raises(AnomalyError) as error:
        (x * 1000).exp()  # the multiplication is fine, the exponential is not
    said_here(error, "exp", "the result (2x2) holds an infinity at index (0, 0)", line(-1))


def test_a_nan_in_a_single_number_is_reported_too():
    with mr.detect_anomaly(), pytest.raises(AnomalyError) as error:
        mr.tensor(float("nan")).sum()
    said_here(error, "sum", "the result (scalar) holds a NaN at index ()", line(-1))


def test_backward_reports_the_op_and_the_line_of_its_forward():
    """The infinity is produced by an op that a backward calls; the message must name the op of that backward."""
    x = mr.tensor([4.0, 0.0], requires_grad=True)
    with mr.detect_anomaly(), np.errstate(divide="ignore"):
        y = mr.ops.sqrt(x)  # fine, but its slope at 0 is infinite
        where = line(-1)
        with pytest.raises(AnomalyError) as error:
            (y * 3).sum().backward()
    said_here(
        error, "backward of sqrt", "the gradient with respect to input 0 (2) holds an infinity at index (1,)", where
    )


def test_backward_alone_under_the_search_still_names_the_op():
    x = mr.tensor([0.0], requires_grad=True)
    y = mr.ops.sqrt(x)
    with (
        mr.detect_anomaly(),
        np.errstate(divide="ignore"),
        pytest.raises(AnomalyError, match=r"^backward of sqrt: .* not"),
    ):
        y.backward()


def test_the_search_reaches_second_derivatives():
    x = mr.tensor([0.0], requires_grad=True)
    with mr.detect_anomaly(), np.errstate(divide="ignore"):
        (slope,) = mr.grad(x**1.5, x, create_graph=True)  # 1.5 sqrt(x)
        where = line(-1)
        with pytest.raises(AnomalyError) as error:
            slope.backward()
    said_here(
        error, "backward of sqrt", "the gradient with respect to input 0 (1) holds an infinity at index (0,)", where
    )


@pytest.mark.parametrize(
    "f",
    [
        lambda x: x + np.inf,
        lambda x: np.inf * x,
        lambda x: Linear(2, 3)(x * 1e30) * 1e30,
        lambda x: mr.ops.cross_entropy(x * np.inf, [0]),
        lambda x: x.__iadd__(np.inf) * 1,
    ],
    ids=["operator", "reflected", "module", "function", "augmented"],
)
def test_the_line_is_the_users_whatever_called_the_op(f):
    with mr.detect_anomaly(), np.errstate(all="ignore"), pytest.raises(AnomalyError) as error:
        f(mr.tensor([[1.0, 2.0]]))
    file, lineno = re.search(r"called at (.*):(\d+)\.$", str(error.value)).groups()
    assert (file, int(lineno)) == (__file__, f.__code__.co_firstlineno)


def test_the_search_ends_with_its_block_and_finds_nothing_in_finite_numbers():
    x = mr.tensor([1.0, 2.0], requires_grad=True)
    with mr.detect_anomaly():
        assert state.anomaly
        mr.ops.softmax(x).sum().backward()
        assert mr.tensor([1, 2]).sum().item() == 3
    assert not state.anomaly
    assert np.isinf((x * np.inf).numpy()).all()
