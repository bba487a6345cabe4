"""Messages say how a result differs from the right one, and results pass between processes unchanged."""

import io
import re

import numpy as np
import pytest

from minires.course.child import Other, receive, send
from minires.course.trial import output_difference, same

RIGHT = np.arange(24.0).reshape(2, 3, 4)


@pytest.mark.parametrize(
    ("got", "says"),
    [
        (None, "y should be an array, but it is None: is there a return?"),
        ("no", "it is a str"),
        ((1, 2), "it is a sequence of length 2"),
        (Other("a function"), "it is a function"),
        (RIGHT[0], r"y has the shape \(3, 4\), but should have \(2, 3, 4\)"),
        (RIGHT.transpose(0, 2, 1), "The sizes are right, but in another order"),
        (RIGHT.reshape(6, 4), "a reshape is missing"),
        (RIGHT[:, :2], "It differs in axis 1"),
        (RIGHT.astype(np.float32), "y is float32, but should be float64"),
        (RIGHT.astype(np.int64), "y is int64, but should be float64"),
        (RIGHT * np.nan, r"y\[0, 0, 0\] is nan.*NaN or infinity at 24 of 24 places"),
        (np.zeros(RIGHT.shape), r"y\[0, 0, 1\] is 0, but should be 1.*It is zero everywhere"),
        (np.ones(RIGHT.shape), "It is the same number everywhere"),
        (-RIGHT, "Its sign is flipped"),
        (RIGHT / 7, "constant factor 0.142857"),
        (RIGHT * 12, "too large by the factor 12, the size of axes 1, 2 of y"),
        (RIGHT / 5, "too small by the factor 5, the size of axis 0 of x"),
        (RIGHT[:, ::-1], "It is flipped along axis 1"),
        (RIGHT.transpose(0, 2, 1).reshape(RIGHT.shape), "in the order of axes"),
        (RIGHT + (np.arange(4) == 2), "6 of 24 numbers are wrong, all at index 2 of axis 2"),
    ],
)
def test_a_difference_is_told(got, says):
    found = output_difference("y", got, RIGHT, {"x": np.zeros(5)})
    assert found is not None
    assert re.search(says, f"{found.sentence} {found.pattern}")


def test_rounding_is_no_difference():
    assert output_difference("y", RIGHT * (1 + 1e-13), RIGHT, {}) is None
    assert output_difference("y", RIGHT * (1 + 1e-7), RIGHT, {}) is not None


def test_the_same_is_the_same():
    assert same((RIGHT, 1.0), (RIGHT + 1e-13, 1.0)) and same(None, None) and same("a", "a")
    assert not same(RIGHT, RIGHT[:1]) and not same(RIGHT, RIGHT.astype(np.float32)) and not same(RIGHT, None)
    assert not same((RIGHT,), RIGHT) and not same((RIGHT,), (RIGHT, RIGHT)) and not same("a", 1)


def there_and_back(message):
    stream = io.BytesIO()
    send(stream, message)
    stream.seek(0)
    return receive(stream)


def test_a_message_comes_back_as_it_was():
    message = {"a": np.arange(6).reshape(2, 3)[:, ::-1], "b": (1, 2.5, None, "x", True), "c": {"d": np.float64(3)}}
    back = there_and_back(message)
    assert np.array_equal(back["a"], message["a"]) and back["b"] == message["b"] and back["c"]["d"] == 3.0


def test_what_is_no_number_crosses_as_its_description():
    back = there_and_back({"x": {1}, "y": np.array([None])})
    assert back == {"x": "a set", "y": "an array of object"} and isinstance(back["x"], Other)
