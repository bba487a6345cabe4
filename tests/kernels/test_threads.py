"""The number of threads, several callers, forked children."""

import os
import threading

import numpy as np
import pytest

import minires as mr
from minires.errors import ArgumentError
from minires.kernels import threads


@pytest.fixture(autouse=True)
def three_threads(monkeypatch):
    monkeypatch.setattr(threads, "_setting", 3)


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
