"""Integers and booleans: quotients, remainders, powers and logic give what Python gives, in PyTorch's dtypes."""

from __future__ import annotations

import operator
from fractions import Fraction
from math import trunc

import numpy as np
import pytest

import minires as mr
from minires import ops

A, B = [7, -7, 6, 0, 2**60 + 1, -(2**60) - 1], [2, 2, -3, 5, -3, 7]  # float64 cannot hold the last two of A
OPERATORS = [
    (operator.truediv, "float32"), (operator.floordiv, "int64"), (operator.mod, "int64"), (operator.and_, "int64"),
    (operator.or_, "int64"), (operator.xor, "int64"),
]  # fmt: skip


@pytest.mark.parametrize(("operate", "dtype"), OPERATORS, ids=[operate.__name__ for operate, _ in OPERATORS])
def test_operators_give_what_python_gives(operate, dtype):
    a, b = mr.tensor(A), mr.tensor(B)
    expected = np.array([operate(p, q) for p, q in zip(A, B, strict=True)], dtype)
    for found in (operate(a, b), operate(np.array(A), b), operate(A, b), operate(a, B)):
        assert found.dtype == dtype
        np.testing.assert_array_equal(found.numpy(), expected)
    np.testing.assert_array_equal(operate(7, b).numpy(), np.array([operate(7, q) for q in B], dtype))


def test_rounded_quotients_are_exact():
    found = ops.div(mr.tensor(A), mr.tensor(B), rounding_mode="trunc")
    assert found.numpy().tolist() == [trunc(Fraction(p, q)) for p, q in zip(A, B, strict=True)]
    assert ops.div(-7.0, 2.0, rounding_mode="trunc").item() == -3


def test_powers_of_integers_are_integers_unless_the_exponent_holds_floats():
    x = mr.tensor([1, 2, 4])
    for y, expected in [(x**2, [1, 4, 16]), (x ** [0, 3, 2], [1, 8, 16]), (2**x, [2, 4, 16])]:
        assert y.dtype == "int64"
        assert y.numpy().tolist() == expected
    for y, expected in [(x**2.0, [1, 4, 16]), (x**0.5, [1, 2**0.5, 2]), (x ** mr.tensor(-1.0), [1, 0.5, 0.25])]:
        assert y.dtype == "float32"
        np.testing.assert_allclose(y.numpy(), expected, rtol=1e-6)


def test_logic_of_booleans():
    x = mr.tensor([0.5, 1.5, 2.5])
    assert ((x > 1) & (x < 2)).numpy().tolist() == [False, True, False]
    assert ((x < 1) | (x > 2)).numpy().tolist() == [True, False, True]
    assert ((x > 1) ^ True).numpy().tolist() == [True, False, False]
    assert (~(x > 1)).numpy().tolist() == [True, False, False]
    assert (~mr.tensor([0, 5], dtype="uint8")).numpy().tolist() == [255, 250]


def test_bounds_and_choices_between_numbers():
    assert mr.tensor([1, 5, 9]).clip(2, 8).numpy().tolist() == [2, 5, 8]
    assert mr.tensor([1, 5]).clip(2.5).numpy().tolist() == [2.5, 5.0]
    chosen = ops.where(mr.tensor([True, False]), 1.5, 2)
    assert (chosen.dtype, chosen.numpy().tolist()) == ("float32", [1.5, 2.0])
