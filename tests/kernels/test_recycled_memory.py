"""Reused memory is never used twice at the same time, and is freed before more is requested."""

import gc
import sys
import threading
from itertools import pairwise

import numpy as np
import pytest

from minires.kernels.cpu import memory


@pytest.fixture(autouse=True)
def nothing_waits(monkeypatch):
    gc.collect()
    monkeypatch.setattr(memory, "_waiting", {})


FLOATS = memory.LARGE * 2


def waiting():
    """How many bytes wait to be used again."""
    return 4 * sum(floats * len(blocks) for floats, blocks in memory._waiting.items())


def test_a_block_comes_again_when_its_last_view_has_gone():
    a = memory.empty((2, memory.LARGE))
    address, view = a.ctypes.data, a.reshape(-1)[5:].T
    del a
    b = memory.empty((FLOATS,))
    assert b.ctypes.data != address, "a view was alive"
    del view
    assert waiting() == 4 * FLOATS
    c = memory.empty((FLOATS,))
    assert c.ctypes.data == address and waiting() == 0
    assert c.flags.writeable and c.flags.c_contiguous and c.dtype == np.float32 and c.ctypes.data % 64 == 0


def test_waiting_memory_is_let_go_before_more_is_asked_for():
    blocks = [memory.empty((FLOATS,)) for _ in range(4)]
    del blocks
    assert waiting() == 16 * FLOATS
    big = memory.empty((3 * FLOATS,))
    assert waiting() == 4 * FLOATS and big.size == 3 * FLOATS


def test_small_arrays_are_numpys():
    assert memory.empty((3, 4)).base is None


def block_of(array):
    """The floats of the block that holds an array."""
    while isinstance(array, np.ndarray):
        array = array.base
    return array.memory.floats.size


def wait(*sizes):
    """Keep free blocks of these sizes for reuse."""
    arrays = [memory.empty((size,)) for size in sizes]
    assert [block_of(array) for array in arrays] == list(sizes)


def test_a_block_serves_arrays_down_to_a_quarter_of_its_size():
    wait(8 * FLOATS)
    small = memory.empty((2, FLOATS))
    assert block_of(small) == 8 * FLOATS and waiting() == 0 and small.shape == (2, FLOATS)
    del small
    assert waiting() == 32 * FLOATS, "all of the block waits again"
    assert block_of(memory.empty((8 * FLOATS,))) == 8 * FLOATS
    assert block_of(memory.empty((2 * FLOATS - 1,))) == 2 * FLOATS - 1, "smaller ones do not take it"
    wait(8 * FLOATS)
    assert block_of(memory.empty((8 * FLOATS + 1,))) == 8 * FLOATS + 1, "nor do larger ones"


def test_of_blocks_that_fit_the_smallest_is_taken():
    wait(3 * FLOATS, FLOATS, 2 * FLOATS, 8 * FLOATS)
    arrays = [memory.empty((FLOATS,)) for _ in range(3)]
    assert [block_of(array) for array in arrays] == [FLOATS, 2 * FLOATS, 3 * FLOATS]
    assert waiting() == 32 * FLOATS
    assert block_of(memory.empty((FLOATS,))) == FLOATS, "a new one, and the large block is let go"
    assert waiting() == 4 * FLOATS


def test_threads_at_once_never_share_memory():
    """Each thread fills its array with its own number, and still finds it there before it frees the array."""
    wrong, live = [], [[] for _ in range(4)]

    def work(me):
        rng, mine = np.random.default_rng(me), live[me]
        for i in range(300):
            array = memory.empty((int(rng.integers(1, 5)), memory.LARGE))
            array[...] = 1000 * me + i
            mine.append((array, 1000 * me + i))
            if len(mine) > 5:
                array, number = mine.pop(int(rng.integers(6)))
                wrong.extend([number] * bool((array != number).any()))

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        callers = [threading.Thread(target=work, args=(me,)) for me in range(4)]
        for caller in callers:
            caller.start()
        for caller in callers:
            caller.join()
    finally:
        sys.setswitchinterval(interval)
    ranges = sorted((array.ctypes.data, array.nbytes) for arrays in live for array, _ in arrays)
    assert not wrong and len(ranges) == 20
    assert all((array == number).all() for arrays in live for array, number in arrays)
    live.clear()
    ranges += sorted((at, floats.nbytes) for blocks in memory._waiting.values() for floats, at in blocks)
    assert all(first + size <= second for (first, size), (second, _) in pairwise(ranges[:20]))
    assert all(first + size <= second for (first, size), (second, _) in pairwise(ranges[20:])), "one waits twice"


def test_scratch_memory_is_each_threads_own_and_comes_again():
    mine = memory.scratch(100, "test")
    assert memory.scratch(50, "test") is mine
    other = []
    thread = threading.Thread(target=lambda: other.append(memory.scratch(100, "test")))
    thread.start()
    thread.join()
    assert not np.shares_memory(mine, other[0]) and mine.ctypes.data % 64 == 0
