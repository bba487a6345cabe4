"""Memory that is used again is never used twice at once, and is let go before more is asked for."""

import gc

import numpy as np
import pytest

from minires.kernels.cpu import memory


@pytest.fixture(autouse=True)
def nothing_waits(monkeypatch):
    gc.collect()
    monkeypatch.setattr(memory, "_waiting", {})


FLOATS = memory.LARGE * 2


def test_a_block_comes_again_when_its_last_view_has_gone():
    a = memory.empty((2, memory.LARGE))
    address, view = a.ctypes.data, a.reshape(-1)[5:].T
    del a
    b = memory.empty((FLOATS,))
    assert b.ctypes.data != address, "a view was alive"
    del view
    assert memory.waiting() == 4 * FLOATS
    c = memory.empty((FLOATS,))
    assert c.ctypes.data == address and memory.waiting() == 0
    assert c.flags.writeable and c.flags.c_contiguous and c.dtype == np.float32 and c.ctypes.data % 64 == 0


def test_waiting_memory_is_let_go_before_more_is_asked_for():
    blocks = [memory.empty((FLOATS,)) for _ in range(4)]
    del blocks
    assert memory.waiting() == 16 * FLOATS
    big = memory.empty((3 * FLOATS,))
    assert memory.waiting() == 4 * FLOATS and big.size == 3 * FLOATS


def test_small_arrays_are_numpys():
    assert memory.empty((3, 4)).base is None
