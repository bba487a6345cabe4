"""The profile: what was called how often, and time that is counted once."""

from __future__ import annotations

import time

import numpy as np
import pytest

import minires as mr
from minires.state import state


class Slow(mr.Op):
    """A forward of 30 ms of its own; a backward of 20 ms, and another slow op's forward inside of it."""

    def forward(self, x):
        time.sleep(0.03)
        return x * 2

    def backward(self, upstream):
        time.sleep(0.02)
        return Slow()(upstream)


def test_rows_count_calls_and_bytes_of_both_directions():
    x = mr.tensor(np.ones((2, 3), "float32"), requires_grad=True)
    with mr.profile() as p:
        y = x * mr.tensor(np.ones(3, "float32"))
        (y + y).sum().backward()
    assert p.rows["mul", "forward"].calls == 2  # the user's, and one in its own backward
    assert p.rows["mul", "backward"].calls == p.rows["add", "backward"].calls == p.rows["sum", "backward"].calls == 1
    assert p.rows["sum", "forward"].calls == 1
    assert p.rows["sum", "forward"].bytes == 4 * (2 * 3 + 1)
    assert p.rows["sum", "backward"].bytes == 4 * (1 + 2 * 3)
    assert p.rows["mul", "forward"].bytes == 4 * (6 + 3 + 6) * 2


def test_time_of_a_nested_op_is_its_own():
    x = mr.tensor([1.0], requires_grad=True)
    start = time.perf_counter()
    with mr.profile() as p:
        Slow()(x).sum().backward()
    elapsed = time.perf_counter() - start
    assert p.rows["slow", "forward"].calls == 2
    assert p.rows["slow", "forward"].seconds >= 0.06
    assert 0.02 <= p.rows["slow", "backward"].seconds < 0.05  # without the 30 ms of the op inside
    assert 0.08 <= p.seconds <= elapsed


def test_the_table_lists_the_slowest_first_and_the_total():
    with mr.profile() as p:
        Slow()(mr.tensor([1.0])).sum()
    header, first, second, total = str(p).splitlines()
    assert header.split() == ["op", "phase", "calls", "ms", "share", "MB"]
    assert first.split()[:3] == ["slow", "forward", "1"]
    assert second.split()[:3] == ["sum", "forward", "1"]
    assert total.split()[:2] == ["total", "2"]
    assert len({len(row) for row in (header, first, second)}) == 1


def test_an_op_that_raises_is_counted_and_the_profile_ends_with_its_block():
    class Failing(mr.Op):
        def forward(self, x):
            raise ZeroDivisionError

    x = mr.tensor([1.0])
    with pytest.raises(ZeroDivisionError), mr.profile() as p:
        Failing()(x)
    assert state.profile is None
    x + 1
    assert [(key, row.calls) for key, row in p.rows.items()] == [(("failing", "forward"), 1)]
    with state_of(p):
        x * 2
    assert p.rows["mul", "forward"].seconds > 0


def state_of(profile):
    from minires.state import switched

    return switched("profile", profile)
