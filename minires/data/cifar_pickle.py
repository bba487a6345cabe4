"""The pickles of CIFAR's python version, read without ever running what a pickle can run.

A pickle is a program: it can call any function that can be imported. Those of CIFAR (Python 2, protocol 2) call three,
to make one NumPy array of bytes. Here each instruction is first held against a list of those that they consist of; the
three functions are played by stand-ins that only remember what they were given; and every other is refused.
"""

from __future__ import annotations

import io
import math
import pickle
import pickletools
from collections.abc import Iterator
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

INSTRUCTIONS = (
    "PROTO STOP MARK GLOBAL REDUCE BUILD NONE NEWFALSE NEWTRUE BININT BININT1 BININT2 LONG1 SHORT_BINSTRING BINSTRING "
    "EMPTY_DICT SETITEM SETITEMS EMPTY_LIST APPEND APPENDS EMPTY_TUPLE TUPLE TUPLE1 TUPLE2 TUPLE3 "
    "BINPUT LONG_BINPUT BINGET LONG_BINGET"
)
LARGEST_MEMO = 1 << 20  # Python keeps room for as many objects as the highest number that one is remembered by


class _Remembered:
    """What ``numpy.dtype`` and ``numpy.core.multiarray._reconstruct`` make here: their arguments and their state."""

    def __init__(self, *arguments: Any) -> None:
        self.arguments = arguments
        self.state: Any = ()

    def __setstate__(self, state: Any) -> None:
        self.state = state


STAND_INS = {
    ("numpy.core.multiarray", "_reconstruct"): _Remembered,
    ("numpy", "dtype"): _Remembered,
    ("numpy", "ndarray"): "ndarray",
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        return STAND_INS[module, name]  # all others were refused before


def read_pickle(content: bytes) -> dict[bytes, Any]:
    """The dictionary in a pickle of CIFAR: lists, numbers, bytes, and uint8 arrays.

    Raises
    ------
    ValueError
        With the reason, if the pickle holds anything else or is damaged.
    """
    _check(content)
    try:
        found = _Unpickler(io.BytesIO(content), encoding="bytes").load()
    except Exception as error:  # an unpickler on damaged input raises almost anything
        raise ValueError(f"it is no whole pickle ({type(error).__name__})") from error
    if not isinstance(found, dict):
        raise ValueError(f"it holds {type(found).__name__}, not a dictionary")
    return {key: _array(value) if isinstance(value, _Remembered) else value for key, value in found.items()}


def _check(content: bytes) -> None:
    """Raise ValueError at the first instruction that a batch of CIFAR does not have."""
    allowed = set(INSTRUCTIONS.split())
    instructions: Iterator[tuple[Any, Any, Any]] = pickletools.genops(content)
    try:
        for instruction, argument, _ in instructions:
            name = instruction.name
            if name not in allowed:
                raise ValueError(f"it is a pickle with the instruction {name}, which batches of CIFAR do not have")
            if name == "GLOBAL" and tuple(argument.split(" ")) not in STAND_INS:
                raise ValueError(f"it is a pickle that asks for {argument[:60]!r}, which could run any program")
            if name == "LONG_BINPUT" and argument > LARGEST_MEMO:
                raise ValueError(f"it is a pickle that asks for room for {argument} objects")
    except ValueError as error:
        reason = str(error)
        raise ValueError(reason if reason.startswith("it is a pickle") else "it is no whole pickle") from error
    except Exception as error:  # as above
        raise ValueError(f"it is no whole pickle ({type(error).__name__})") from error


def _array(remembered: _Remembered) -> Array:
    """The array that NumPy would have made, if it is one of bytes."""
    match remembered.state:
        case (1, (*shape,), _Remembered() as dtype, bool(by_columns), bytes(pixels)) if dtype.arguments[:1] == (b"u1",):
            if len(pixels) != math.prod(size if type(size) is int else 0 for size in shape):
                raise ValueError(f"its array has {len(pixels):,} bytes, which is not what its shape needs")
            return np.frombuffer(pixels, np.uint8).reshape(shape, order="F" if by_columns else "C")
    raise ValueError("its array is not one of bytes")
