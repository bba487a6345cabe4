"""How threads cooperate inside compiled code: a counter for units of work, and a barrier.

``next_turn`` increments a counter in memory. No other thread can access the counter between the read and the write, so
each unit of work is taken exactly once, no matter which thread is faster.

At a barrier, threads that share the work of each layer wait until all have done their part. Handing work to a thread
through Python takes longer than computing a small layer. So the threads stay inside one compiled function and meet at a
counter in memory: each thread adds one when it arrives, and reads the counter again and again until all have arrived::

    sync = [number of arrivals, 1 if a thread had to give up]
"""

from __future__ import annotations

import os
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils

from .compiler import inlined
from .simd import Address, instruction

LOOKS = 2000  # how often a thread reads the counter before it offers its core to another thread
ARRIVALS, GIVEN_UP = 0, 1

_INDEX = ir.IntType(64)


@instruction(lambda turn: types.int64(turn))
def next_turn(builder: Any, turn: Address) -> Any:
    """Compute ``turn[0] += 1`` as one step that no other thread can interrupt, and return the previous number."""
    return builder.atomic_rmw("add", turn(ir.Constant(_INDEX, 0)), ir.Constant(_INDEX, 1), "acq_rel")


@inlined
def turns(turn, last):
    """Yield the numbers from ``turn[0]`` to ``last``, shared with the other threads that use the same ``turn``."""
    number = next_turn(turn)
    while number < last:
        yield number
        number = next_turn(turn)


@instruction(lambda sync, index: types.int64(sync, types.int64))
def _look(builder: Any, sync: Address, index: Any) -> Any:
    """Return the current ``sync[index]``. What other threads wrote before they changed it is visible from here on."""
    return builder.load_atomic(sync(index), "acquire", 8)


@instruction(lambda: types.void())
def _offer_core(builder: Any) -> None:
    """Let another thread run on this core, if one is waiting."""
    if os.name == "posix":
        kind = ir.FunctionType(ir.IntType(32), [])
        builder.call(cgutils.get_or_insert_function(builder.module, kind, "sched_yield"), [])


@inlined
def meet(sync, members):
    """Wait until all ``members`` have called this function as often as this thread; False if one has given up."""
    count = next_turn(sync) + 1
    everybody = (count + members - 1) // members * members
    looks = 0
    while _look(sync, ARRIVALS) < everybody:
        if _look(sync, GIVEN_UP) != 0:
            return False
        looks += 1
        if looks > LOOKS:
            _offer_core()
    return True
