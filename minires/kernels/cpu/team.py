"""How threads share a kernel's work: one call from Python, run by all threads at once.

A kernel releases Python's global interpreter lock (GIL), so several threads can run it at the same time. Starting them
from Python would take longer than many kernels: each would first need the lock. So the other threads wait inside
compiled code. They look again and again at a number in memory, their *bell*. A kernel that all threads should run gets
the ``team`` and the number of the thread, its *rank*, as its last arguments, and begins and ends like this::

    @kernel
    def _double(x, y, parts, team, rank):
        enter(team, rank, this_call())            # rank 0, the caller, rings the bells of the others
        for part in turns(team, parts):           # they run the same call, with another rank
            ...
        leave(team, rank)                         # rank 0 waits until all have finished

and is called by ``run(team_size(), _double, x, y, parts)``. There are two ways to share work: ``turns`` gives the next
part to whichever thread asks for it, and ``part_of`` gives each thread a fixed part, for sums that should be the same
in every run. At ``meet``, threads wait until all of them have arrived.

``team`` is a row of integers in memory::

    team = [next turn, arrivals, finished, members, the call, -, -, -,   bell of thread 1, 7 unused, bell of 2, ...]

A thread that has looked at its bell for about 0.2 ms goes to sleep; the next call wakes it. If it comes too late,
because it slept or another program uses its core, rank 0 does its part. Who computes a part does not change the result.
(Kernels in which threads meet need all of them, and so wait.) Calls of several Python threads take turns. A forked
child process and a changed number of threads start a new team.
"""

from __future__ import annotations

import atexit
import math
import os
import threading
import time
from queue import SimpleQueue
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from .. import threads
from .compiler import inlined, kernel
from .simd import Address, instruction

LOOKS = 2000  # how often a thread reads a number before it offers its core to another thread
OFFERS = 400  # how often it offers its core before it goes to sleep, after about 0.2 ms
PAUSE = 0.002  # seconds that it sleeps if a call does not begin meanwhile; compiling the kernel can take seconds

TURN, ARRIVALS, FINISHED, MEMBERS, CALL = range(5)
LINE = 8  # integers in a cache line; each bell has its own, because a write to a line delays all who read it
QUIET, RINGS, EXPECTED, CLOSED = range(4)  # the states of a bell

_INDEX, _BYTES = ir.IntType(64), ir.IntType(8).as_pointer()
_PIECE = ir.FunctionType(ir.VoidType(), [_BYTES, _INDEX])


@instruction(lambda numbers, index: types.int64(numbers, types.int64))
def add_one(builder: Any, numbers: Address, index: Any) -> Any:
    """Compute ``numbers[index] += 1`` as one step that no thread can interrupt, and return the previous number."""
    return builder.atomic_rmw("add", numbers(index), ir.Constant(_INDEX, 1), "acq_rel")


@instruction(lambda numbers, index: types.int64(numbers, types.int64))
def look(builder: Any, numbers: Address, index: Any) -> Any:
    """Return the current ``numbers[index]``. What other threads wrote before they changed it is visible from here."""
    return builder.load_atomic(numbers(index), "acquire", 8)


@instruction(lambda numbers, index, number: types.void(numbers, types.int64, types.int64))
def show(builder: Any, numbers: Address, index: Any, number: Any) -> None:
    """Assign ``numbers[index] = number``. Threads that see it also see what this thread wrote before."""
    builder.store_atomic(number, numbers(index), "release", 8)


@instruction(lambda team, bell: types.boolean(team, types.int64))
def _answer(builder: Any, team: Address, bell: Any) -> Any:
    """Make a bell that rings quiet, as one step that no thread can interrupt; return whether it rang."""
    rings, quiet = ir.Constant(_INDEX, RINGS), ir.Constant(_INDEX, QUIET)
    return builder.extract_value(builder.cmpxchg(team(bell), rings, quiet, "acq_rel", "acquire"), 1)


@instruction(lambda: types.void())
def offer_core(builder: Any) -> None:
    """Let another thread run on this core, if one is waiting."""
    if os.name == "posix":
        kind = ir.FunctionType(ir.IntType(32), [])
        builder.call(cgutils.get_or_insert_function(builder.module, kind, "sched_yield"), [])


@intrinsic
def this_call(typing_context: Any) -> Any:
    """Return the address of a record of the current call: a function, and the arguments that it passes on.

    The function runs the kernel again with the same arguments, except for the last one, the rank.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        kernel = builder.function
        given = list(kernel.args)
        piece = ir.Function(builder.module, _PIECE, name=f"{kernel.name}.piece")
        piece.linkage = "internal"
        record = ir.LiteralStructType([piece.type, *(argument.type for argument in given)])
        call = cgutils.alloca_once(builder, record)
        for i, value in enumerate([piece, *given]):
            builder.store(value, cgutils.gep_inbounds(builder, call, 0, i))

        inside = ir.IRBuilder(piece.append_basic_block())
        saved = inside.bitcast(piece.args[0], record.as_pointer())
        again = [inside.load(cgutils.gep_inbounds(inside, saved, 0, i + 1)) for i in range(len(given))]
        # The first two arguments are where Numba stores a result and an exception; a kernel has neither.
        again[:2] = [inside.alloca(argument.type.pointee) for argument in given[:2]]
        again[-1] = piece.args[1]
        inside.call(kernel, again)
        inside.ret_void()
        return builder.ptrtoint(call, _INDEX)

    return types.int64(), generate


@instruction(lambda call, rank: types.void(types.int64, types.int64))
def _run_piece(builder: Any, call: Any, rank: Any) -> None:
    """Run the kernel of ``this_call`` with another rank."""
    function = builder.load(builder.inttoptr(call, _PIECE.as_pointer().as_pointer()))
    builder.call(function, [builder.inttoptr(call, _BYTES), rank])


@inlined
def enter(team, rank, call):
    """Let all threads of the team run this call."""
    if rank == 0:
        team[TURN] = team[ARRIVALS] = team[FINISHED] = 0
        team[CALL] = call
        for other in range(1, team[MEMBERS]):
            show(team, other * LINE, RINGS)


@inlined
def leave(team, rank):
    """Wait, on the calling thread, until all threads have finished this call; do the parts of those that are late."""
    if rank == 0:
        for other in range(1, team[MEMBERS]):
            if _answer(team, other * LINE):
                _run_piece(team[CALL], other)
                add_one(team, FINISHED)
        wait(team, FINISHED, team[MEMBERS] - 1)


@inlined
def wait(numbers, index, number):
    """Wait until ``numbers[index]`` is at least ``number``."""
    looks = 0
    while look(numbers, index) < number:
        looks += 1
        if looks > LOOKS:
            offer_core()


@inlined
def turns(team, last):
    """Yield the numbers from ``team[TURN]`` to ``last``, shared with the other threads."""
    number = add_one(team, TURN)
    while number < last:
        yield number
        number = add_one(team, TURN)


@inlined
def part_of(units, team, rank):
    """Return (first, last + 1), the part of ``range(units)`` that belongs to a thread."""
    return units * rank // team[MEMBERS], units * (rank + 1) // team[MEMBERS]


@inlined
def meet(team):
    """Wait until all threads have called this function as often as this thread."""
    members = team[MEMBERS]
    arrivals = add_one(team, ARRIVALS) + 1
    wait(team, ARRIVALS, (arrivals + members - 1) // members * members)


@kernel
def _serve(team, rank, looks, offers):
    """Run the calls for which the bell of thread ``rank`` rings, until it has been quiet for a while."""
    bell, quiet = rank * LINE, 0
    while quiet < looks + offers:
        state = look(team, bell)
        if state == RINGS and _answer(team, bell):
            _run_piece(team[CALL], rank)
            add_one(team, FINISHED)
            quiet = 0
        elif state == CLOSED:
            return
        quiet += 1
        if quiet > looks:
            offer_core()


class _Team:
    """The threads that help the caller of a kernel."""

    def __init__(self, members: int) -> None:
        self.members = members
        memory = np.zeros((members + 1) * LINE, np.int64)
        begin = -(memory.ctypes.data // 8) % LINE
        self.numbers = memory[begin : begin + members * LINE]
        self.numbers[MEMBERS] = members
        self._bells = range(LINE, members * LINE, LINE)
        self._asleep = [False] * members
        # These are queues because, unlike a semaphore, putting an item cannot be interrupted half-way (by Ctrl+C).
        self._alarms: list[SimpleQueue[None]] = [SimpleQueue() for _ in range(members)]
        self._threads = [
            threading.Thread(target=self._help, args=(rank,), name="minires", daemon=True) for rank in range(1, members)
        ]
        for thread in self._threads:
            thread.start()

    def _help(self, rank: int) -> None:
        bell = rank * LINE
        while self.numbers[bell] != CLOSED:
            _serve(self.numbers, rank, LOOKS, OFFERS)
            # The order matters: either this thread sees that the bell is no longer quiet, or `run` sees that it sleeps.
            self._asleep[rank] = True
            if self.numbers[bell] == QUIET:
                self._alarms[rank].get()
            elif self.numbers[bell] == EXPECTED:
                time.sleep(PAUSE)
            self._asleep[rank] = False

    def run(self, kernel: Any, arguments: Any) -> None:
        """Call ``kernel(*arguments, numbers, rank)`` on all threads."""
        try:
            self._ring(EXPECTED)
            kernel(*arguments, self.numbers, 0)
        except BaseException:  # it may not have begun
            self._ring(QUIET)
            raise

    def _ring(self, state: int) -> None:
        for rank, bell in enumerate(self._bells, 1):
            self.numbers[bell] = state
            if self._asleep[rank]:
                self._asleep[rank] = False  # one alarm is enough, even if it takes several calls to wake up
                self._alarms[rank].put(None)

    def close(self) -> None:
        """End the threads."""
        self._ring(CLOSED)
        for thread in self._threads:
            thread.join(timeout=1)


_team: _Team | None = None
_calling = threading.Lock()  # held during a call of the team
_alone = np.array([0] * MEMBERS + [1] + [0] * (LINE - MEMBERS - 1), np.int64)


def team_size(nanoseconds: float = math.inf) -> int:
    """Return the number of threads for a kernel that takes roughly this long on one core."""
    return threads.get_num_threads() if nanoseconds > threads.WORTH_A_THREAD else 1


def run(members: int, kernel: Any, *arguments: Any) -> None:
    """Call ``kernel(*arguments, team, rank)`` on ``members`` threads, one of which is the caller, and wait."""
    global _team
    if members == 1:
        kernel(*arguments, _alone.copy(), 0)
        return
    with _calling:
        if _team is None or _team.members != members:
            _close()
            _team = _Team(members)
        _team.run(kernel, arguments)


def _close() -> None:
    global _team
    closing, _team = _team, None  # in this order: nobody may call a team that is closed only in part
    if closing is not None:
        closing.close()


def _end() -> None:
    """End the threads before the interpreter shuts down, unless one of them still computes after a second."""
    if _calling.acquire(timeout=1):
        _close()
        _calling.release()


def _forget_team() -> None:
    """Start with no team in a forked child process, because the parent's threads do not exist there."""
    global _team, _calling
    _team, _calling = None, threading.Lock()


atexit.register(_end)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_team)
