"""Reused memory is never used twice at the same time, and unused memory is given back before more is requested."""

import gc
import sys
import threading
from collections import Counter, deque
from itertools import pairwise

import numpy as np
import pytest

import minires as mr
from minires.kernels.cpu import memory

FLOATS = memory.LARGE * 2
SLAB = 16 * FLOATS


@pytest.fixture(autouse=True)
def no_slabs(monkeypatch):
    gc.collect()
    monkeypatch.setattr(memory, "_slabs", {})
    monkeypatch.setattr(memory, "_gaps", [])
    monkeypatch.setattr(memory, "_returned", deque())
    monkeypatch.setattr(memory, "SLAB", SLAB)


def address(array):
    return array.ctypes.data


def gaps():
    """The sizes of the gaps in floats, from the first to the last, once everything that was freed is a gap."""
    memory.empty((FLOATS,))
    while memory._returned:
        memory._add_gap(*memory._returned.popleft())
    return [(end - begin) // 4 for begin, end in memory._gaps]


def test_memory_comes_again_when_its_last_view_has_gone():
    a = memory.empty((2, memory.LARGE))
    first, view = address(a), a.reshape(-1)[5:].T
    del a
    b = memory.empty((FLOATS,))
    assert address(b) != first, "a view was alive"
    del view
    c = memory.empty((FLOATS,))
    assert address(c) == first
    assert c.flags.writeable and c.flags.c_contiguous and c.dtype == np.float32 and address(c) % 64 == 0
    assert gaps() == [SLAB - 2 * FLOATS]


def test_gaps_that_touch_become_one():
    a, b, c, last = (memory.empty((FLOATS,)) for _ in range(4))
    first = address(a)
    del a, c
    assert gaps() == [FLOATS, FLOATS, SLAB - 4 * FLOATS]
    del b
    assert gaps() == [3 * FLOATS, SLAB - 4 * FLOATS]
    assert address(memory.empty((3 * FLOATS,))) == first
    del last
    assert gaps() == [SLAB]


def test_the_smallest_gap_that_fits_is_taken():
    arrays = [memory.empty((size,)) for size in (3 * FLOATS, FLOATS, 2 * FLOATS, FLOATS, SLAB - 7 * FLOATS)]
    large, medium = address(arrays[0]), address(arrays[2])
    del arrays[2], arrays[0]
    kept = [memory.empty((FLOATS + 1,)), memory.empty((2 * FLOATS,))]
    assert [address(array) for array in kept] == [medium, large]
    assert address(kept[0]) + 4 * FLOATS < address(arrays[1])
    assert gaps() == [FLOATS, FLOATS - memory.CACHE_LINE], "the rest of a cache line is lent with its begin"


def test_unused_slabs_are_given_back_before_another_is_requested():
    used, unused = memory.empty((SLAB - 1,)), memory.empty((SLAB - 1,))
    del unused
    large = memory.empty((SLAB + 1,))
    assert sorted(slab.size for slab in memory._slabs.values()) == [SLAB, SLAB + memory.CACHE_LINE]
    assert address(used) in memory._slabs and address(large) in memory._slabs


def test_training_requests_no_more_memory_after_the_first_steps(monkeypatch, rng):
    model, images = mr.models.resnet8(), rng.standard_normal((16, 3, 32, 32)).astype("f")
    requested = Counter()

    def request(size, original=memory._request_slab):
        requested[step] += 1
        original(size)

    monkeypatch.setattr(memory, "_request_slab", request)
    for step in range(6):  # noqa: B007  `request` reads it
        mr.ops.cross_entropy(model(mr.tensor(images)), rng.integers(0, 10, 16)).backward()
        model.zero_grad()
    assert requested[0] > 1 and requested[4] == requested[5] == 0, requested


def test_small_arrays_are_numpys():
    assert memory.empty((3, 4)).base is None


def test_nobody_waits_for_the_lock():
    """The garbage collector or a signal handler may call a kernel while the interrupted code holds it."""
    with memory._changing:
        array = memory.empty((2, FLOATS))
    assert array.shape == (2, FLOATS) and address(array) % 64 == 0 and not memory._slabs


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
    assert all(first + size <= second for (first, size), (second, _) in pairwise(ranges))
    assert sum(gaps()) == sum(slab.size for slab in memory._slabs.values()), "some memory is lost, or a gap twice"
    assert all(end < begin for (_, end), (begin, _) in pairwise(memory._gaps))


def test_scratch_memory_is_each_threads_own_and_comes_again():
    mine = memory.scratch(100, "test")
    assert memory.scratch(50, "test") is mine
    other = []
    thread = threading.Thread(target=lambda: other.append(memory.scratch(100, "test")))
    thread.start()
    thread.join()
    assert not np.shares_memory(mine, other[0]) and mine.ctypes.data % 64 == 0
