"""The pool: slices, errors, several callers, forked children."""

import itertools
import os
import threading
import time
from queue import SimpleQueue

import numpy as np
import pytest

import minires as mr
from minires.errors import ArgumentError
from minires.kernels import threads


@pytest.fixture(autouse=True)
def three_threads(monkeypatch):
    monkeypatch.setattr(threads, "_setting", 3)


def test_every_unit_is_done_once():
    done = []
    threads.share(lambda first, last: done.extend(range(first, last)), 17)
    assert sorted(done) == list(range(17))
    assert threads.slices(17) == [(0, 5), (5, 11), (11, 17)]
    assert threads.slices(2) == [(0, 1), (1, 2)] and threads.slices(0) == [(0, 0)]


def test_little_work_stays_on_the_calling_thread():
    where = []
    threads.share(lambda first, last: where.append((threading.current_thread(), first, last)), 9, nanoseconds=10)
    assert where == [(threading.current_thread(), 0, 9)]


@pytest.mark.parametrize("unit", [0, 8])
def test_an_error_in_a_slice_is_raised_after_all_have_ended(unit):
    done = []

    def work(first, last):
        if first <= unit < last:
            raise ValueError("unit")
        done.append(first)

    with pytest.raises(ValueError, match="unit"):
        threads.share(work, 9)
    assert len(done) == 2
    threads.share(lambda first, last: done.append(first), 9)
    assert len(done) == 5


class SlowQueue(SimpleQueue):
    """A queue whose put takes a varying time, so that other threads get in between."""

    delays = itertools.cycle([0, 0.003, 0.001, 0, 0.002])

    def put(self, item):
        time.sleep(next(self.delays))
        super().put(item)


def test_pieces_that_wait_for_each_other_never_wait_for_those_of_other_calls(monkeypatch):
    monkeypatch.setattr(threads, "SimpleQueue", SlowQueue)
    monkeypatch.setattr(threads, "_workers", [])
    met, errors = [], []

    def call(pieces):
        for _ in range(10):
            everybody = threading.Barrier(pieces, timeout=10)
            try:
                threads.hand_out(lambda rank, _, e=everybody: met.append(e.wait()), [(i, i) for i in range(pieces)])
            except threading.BrokenBarrierError as error:
                errors.append(error)
                return

    callers = [threading.Thread(target=call, args=(pieces,), daemon=True) for pieces in (3, 3, 2, 4)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join(60)
    assert not errors and len(met) == 10 * (3 + 3 + 2 + 4)


def test_two_python_threads_train_at_once_and_get_their_own_results():
    def run(seed, results):
        rng = np.random.default_rng(seed)
        x, w = rng.standard_normal((6, 16, 32, 32)).astype("f"), rng.standard_normal((32, 16, 3, 3)).astype("f")
        for _ in range(5):
            results.append(mr.ops.conv2d(x, w, padding=1).data.copy())

    alone, together = [[] for _ in range(4)], [[] for _ in range(4)]
    for seed in range(4):
        run(seed, alone[seed])
    callers = [threading.Thread(target=run, args=(seed, together[seed])) for seed in range(4)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    for expected, got in zip(alone, together, strict=True):
        for a, b in zip(expected, got, strict=True):
            assert np.array_equal(a, b)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # Python 3.12 warns of every fork with threads
def test_a_forked_child_computes():
    x = np.random.default_rng(0).standard_normal((6, 16, 32, 32)).astype("f")
    w = np.random.default_rng(1).standard_normal((32, 16, 3, 3)).astype("f")
    expected = mr.ops.conv2d(x, w, padding=1).data
    child = os.fork()
    if child == 0:
        same = np.array_equal(mr.ops.conv2d(x, w, padding=1).data, expected)
        os._exit(0 if same else 1)
    _, status = os.waitpid(child, 0)
    assert status == 0


def test_the_number_of_threads_is_checked(monkeypatch):
    mr.set_num_threads(2)
    assert mr.get_num_threads() == 2
    for wrong in (0, -1, 1.5, True, "2"):
        with pytest.raises(ArgumentError, match="set_num_threads: number is"):
            mr.set_num_threads(wrong)
    monkeypatch.setattr(threads, "_setting", None)
    monkeypatch.setenv("MINIRES_NUM_THREADS", "5")
    assert mr.get_num_threads() == 5
    monkeypatch.setattr(threads, "_setting", None)
    monkeypatch.setenv("MINIRES_NUM_THREADS", "many")
    with pytest.raises(ArgumentError, match="MINIRES_NUM_THREADS is 'many'"):
        mr.get_num_threads()
    monkeypatch.delenv("MINIRES_NUM_THREADS")
    assert mr.get_num_threads() == threads.usable_cores() >= 1
