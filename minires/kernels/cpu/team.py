"""How threads agree while they are inside compiled code: whose turn it is, and a barrier.

``next_turn`` counts up a number in memory. No other thread can come between reading it and writing it back, so each
unit of work is taken once, whoever is faster.

At a barrier, threads that share the work of each layer wait until all have done their part. Handing work to a thread
through Python takes longer than a small layer does. So the threads stay inside one compiled function and meet at a
counter in memory: each adds one when it arrives, and reads the counter again and again until all have arrived::

    sync = [arrivals, 1 if somebody had to give up]
"""

from __future__ import annotations

import os
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from .compiler import inlined
from .simd import address_of

LOOKS = 2000  # at the counter, before the core is offered to another thread
ARRIVALS, GIVEN_UP = 0, 1


@intrinsic
def next_turn(typing_context: Any, turn: Any) -> Any:
    """``turn[0] += 1``, which no other thread can come between; the number before."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        address = address_of(context, builder, signature.args[0], arguments[0], ir.Constant(ir.IntType(64), 0))
        return builder.atomic_rmw("add", address, ir.Constant(ir.IntType(64), 1), "acq_rel")

    return types.int64(turn), generate


@inlined
def turns(turn, last):
    """The numbers from ``turn[0]`` to ``last``, shared with the other threads that count up the same array."""
    number = next_turn(turn)
    while number < last:
        yield number
        number = next_turn(turn)


@intrinsic
def _look(typing_context: Any, sync: Any, index: Any) -> Any:
    """``sync[index]`` as it is now, after all that other threads wrote before they changed it."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.load_atomic(address_of(context, builder, signature.args[0], *arguments), "acquire", 8)

    return types.int64(sync, types.int64), generate


@intrinsic
def _offer_core(typing_context: Any) -> Any:
    """Let another thread have this core, if one waits for it."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        if os.name == "posix":
            builder.call(
                cgutils.get_or_insert_function(builder.module, ir.FunctionType(ir.IntType(32), []), "sched_yield"), []
            )
        return context.get_dummy_value()

    return types.void(), generate


@inlined
def meet(sync, members):
    """Wait until all ``members`` have come as often as this one. False if one of them never will."""
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
