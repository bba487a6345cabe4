"""Teams: every unit is computed once, threads meet, and no call of any thread is lost, whatever the others do."""

import os
import random
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from minires.core.dispatch import load_kernels

if not load_kernels("cpu"):
    pytest.skip("no kernels", allow_module_level=True)

from numba import njit
from numba.core.errors import TypingError

from minires.kernels import threads
from minires.kernels.cpu import team
from minires.kernels.cpu.compiler import _OPTIONS
from minires.kernels.cpu.team import enter, leave, meet, part_of, run, this_call, turns

LONG = 60  # seconds; a thread that takes this long is in a deadlock
forks = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")


@njit(**_OPTIONS)
def count(taken, parts, units, team, rank):
    """Count in ``taken`` how often each unit is taken, and note in ``parts`` who has which part."""
    enter(team, rank, this_call())
    for unit in turns(team, units):
        taken[unit] += 1
    for unit in range(*part_of(units, team, rank)):
        parts[unit] += rank + 1
    leave(team, rank)


@njit(**_OPTIONS)
def relay(numbers, rounds, team, rank):
    """In each round, each thread adds up what all threads wrote in the round before."""
    enter(team, rank, this_call())
    for i in range(1, rounds):
        total = 0
        for number in numbers[i - 1]:
            total += number
        numbers[i, rank] = total % 1000 + rank
        meet(team)
    leave(team, rank)


def check(members, units=50):
    taken, parts = np.zeros(units, np.int64), np.zeros(units, np.int64)
    run(members, count, taken, parts, units)
    assert (taken == 1).all()
    assert (np.diff(parts) >= 0).all() and set(parts) == set(range(1, members + 1))


@pytest.mark.parametrize("members", [1, 2, 3, 8])
def test_every_unit_is_computed_once(members):
    for _ in range(20):
        check(members)


@pytest.mark.parametrize("members", [1, 2, 3, 5])
def test_threads_meet(members):
    numbers = np.zeros((200, members), np.int64)
    numbers[0] = range(members)
    run(members, relay, numbers, len(numbers))
    expected = numbers[0]
    for row in numbers[1:]:
        expected = expected.sum() % 1000 + np.arange(members)
        assert (row == expected).all()


def test_little_work_stays_on_the_calling_thread(monkeypatch):
    monkeypatch.setattr(threads, "_setting", 3)
    assert team.team_size(threads.WORTH_A_THREAD) == 1 and team.team_size(threads.WORTH_A_THREAD + 1) == 3


def test_threads_go_to_sleep_and_wake(monkeypatch):
    """Pauses are about as long as it takes to fall asleep, so that calls come at every moment of it."""
    check(3)
    monkeypatch.setattr(team, "OFFERS", 20)
    pauses, end_of_test = random.Random(0), time.monotonic() + 1
    while time.monotonic() < end_of_test:
        check(3)
        time.sleep(pauses.choice([0, 0, 1e-6, 1e-5, 1e-4]))


def test_the_caller_does_the_parts_of_threads_that_do_not_come(monkeypatch):
    monkeypatch.setattr(team, "_team", None)
    monkeypatch.setattr(team, "_serve", lambda *numbers: time.sleep(0.01))
    check(3)
    team._close()


def test_idle_threads_do_not_compute():
    for _ in range(100):
        check(3)
    end_of_test = time.monotonic() + LONG
    while team._team._asleep != [False, True, True]:
        assert time.monotonic() < end_of_test
        time.sleep(0.01)
    before = time.process_time()
    time.sleep(0.2)
    assert time.process_time() - before < 0.1


def test_threads_do_not_compute_while_a_kernel_is_compiled():
    def compile_first(*arguments):
        start = time.process_time()
        time.sleep(0.3)
        seconds.append(time.process_time() - start)
        count(*arguments)

    check(3)
    seconds = []
    run(3, compile_first, np.zeros(9, np.int64), np.zeros(9, np.int64), 9)
    assert seconds[0] < 0.15


def test_callers_take_turns():
    wrong = []

    def call(me):
        for i in range(100):
            try:
                check(1 + (me + i // 10) % 3)
            except BaseException as error:
                wrong.append(error)

    callers = [threading.Thread(target=call, args=(me,), daemon=True) for me in range(4)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join(LONG)
    assert not wrong and not any(caller.is_alive() for caller in callers)


def test_a_call_that_fails_before_it_begins():
    check(3)
    with pytest.raises(TypingError):
        run(3, count, "no array", None, 5)
    check(3)


@forks
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # Python 3.12 warns of every fork with threads
@pytest.mark.parametrize("pause", [0, 0.05])
def test_a_forked_child_has_its_own_team(pause):
    """The parent's threads may look at their bells or sleep when it forks, and may work for another thread."""
    check(3)
    stop = threading.Event()
    other = threading.Thread(target=lambda: [check(3) for _ in iter(stop.is_set, True)], daemon=True)
    if not pause:
        other.start()
    time.sleep(pause)
    child = os.fork()
    if child == 0:
        signal.alarm(LONG)  # ends it, also in compiled code
        check(3)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    stop.set()
    assert status == 0
    check(3)


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no timers here")
def test_interrupted_calls_do_not_lose_a_thread():
    """In the kernel, threads meet: it would wait forever for one that no alarm wakes."""
    code = f"""
import random, signal, sys, time
import numpy as np
sys.path.insert(0, {os.path.dirname(__file__)!r})
from test_team import relay, run

def interrupt(*_):
    raise KeyboardInterrupt

numbers, delays = np.zeros((3, 3), np.int64), random.Random(0)
run(3, relay, numbers, 3)
signal.signal(signal.SIGALRM, interrupt)
end = time.monotonic() + 3
while time.monotonic() < end:
    try:
        signal.setitimer(signal.ITIMER_REAL, delays.uniform(2e-5, 2e-3))
        while True:
            run(3, relay, numbers, 3)
            time.sleep(3e-4)
    except KeyboardInterrupt:
        pass
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=LONG)


@pytest.mark.parametrize(
    "end",
    ["relu(x)", "relu(x); time.sleep(0.05)", "threading.Thread(target=forever, daemon=True).start(); time.sleep(0.05)"],
    ids=["after a call", "asleep", "during a call"],
)
def test_the_interpreter_ends(end):
    code = f"""
import threading, time
import numpy as np
import minires as mr
from minires.ops import relu
mr.set_num_threads(3)
x = mr.tensor(np.ones((8, 16, 64, 64), "float32"))
def forever():
    while True:
        relu(x)
relu(x)
{end}
"""
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True, timeout=LONG)
