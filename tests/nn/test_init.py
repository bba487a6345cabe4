"""Initialisers take PyTorch's arguments, and an unknown name or argument raises an error that says what to write."""

import inspect
import math

import numpy as np
import pytest

import minires as mr
from minires.errors import ArgumentError, DTypeError
from minires.nn import init


def weight(*shape):
    return mr.nn.Parameter(np.zeros(shape or (2, 3), "f"))


@pytest.mark.parity
@pytest.mark.parametrize(
    "name", ["uniform", "normal", "constant", "zeros", "ones", "kaiming_normal", "kaiming_uniform", "xavier_normal"]
)
def test_arguments_and_their_defaults_are_those_of_pytorch(name):
    torch = pytest.importorskip("torch")
    theirs = inspect.signature(getattr(torch.nn.init, f"{name}_")).parameters
    ours = inspect.signature(getattr(init, name)).parameters
    assert [(p.name, p.default) for p in ours.values()] == [
        (p.name, p.default) for p in theirs.values() if p.name != "generator"
    ]


@pytest.mark.parity
@pytest.mark.parametrize("nonlinearity", ["linear", "conv2d", "sigmoid", "tanh", "relu", "leaky_relu"])
def test_gains_are_those_of_pytorch(nonlinearity):
    torch = pytest.importorskip("torch")
    slope = 0.3 if nonlinearity == "leaky_relu" else 0
    assert init.gain(nonlinearity, slope) == pytest.approx(torch.nn.init.calculate_gain(nonlinearity, slope))


def test_ranges():
    values = init.uniform(weight(100, 100), a=-3, b=-1).numpy()
    assert -3 <= values.min() < -2.99 and -1.01 < values.max() < -1
    assert init.constant(weight(), val=0.5).numpy().tolist() == [[0.5] * 3] * 2
    assert init.ones(mr.tensor([1, 2])).dtype == np.int64
    assert init.kaiming_normal(weight(3, 0)).shape == (3, 0)
    bound = math.sqrt(6 / ((1 + 0.2**2) * 30))
    assert np.abs(init.kaiming_uniform(weight(40, 30), 0.2).numpy()).max() == pytest.approx(bound, rel=0.01)


WRONG = [
    (
        lambda: init.kaiming_normal_,
        AttributeError,
        r"nn.init has no attribute 'kaiming_normal_'; write kaiming_normal\(tensor",
    ),
    (lambda: init.calculate_gain, AttributeError, r"write gain\(nonlinearity, a\)"),
    (lambda: init.kaiming_norm, AttributeError, r"did you mean kaiming_normal\?"),
    (
        lambda: mr.nn.functional,
        AttributeError,
        r"mr.nn has no attribute 'functional'; write mr.ops.relu\(x\) for F.relu",
    ),
    (lambda: mr.nn.Lineer, AttributeError, r"did you mean Linear\?"),
    (lambda: mr.ops.cat, AttributeError, r"mr.ops has no attribute 'cat'; write concatenate\("),
    (lambda: init.normal(weight(), generator=3), ArgumentError, r"generator is not offered; mr.manual_seed\(seed\)"),
    (lambda: init.normal(weight(), 0, 1, 2), ArgumentError, "init.normal: too many arguments .* its arguments are"),
    (lambda: init.xavier_normal(mr.nn.Linear(2, 2)), DTypeError, "not Linear; pass a parameter, such as its weight"),
    (lambda: init.zeros(np.zeros(2)), DTypeError, "not ndarray"),
    (lambda: init.uniform(mr.tensor([1, 2])), DTypeError, "of int64 cannot hold fractions"),
    (lambda: init.constant(mr.tensor([1, 2]), 0.5), DTypeError, "of int64 cannot hold fractions"),
    (lambda: init.uniform(weight(), 2, 1), ArgumentError, "a is 2 and b is 1; a must not exceed b"),
    (lambda: init.normal(weight(), "0"), ArgumentError, "mean is '0'"),
]


@pytest.mark.parametrize(("call", "error", "words"), WRONG)
def test_what_it_does_not_take_is_a_sentence(call, error, words):
    with pytest.raises(error, match=words):
        call()
