"""Reading the pickles of CIFAR without running them.

A pickle is a program for a small stack machine, which can call any function. The machine here knows only the steps that
make strings, integers, lists, tuples, and dictionaries with names as keys. A call is noted down instead of made, and
only calls that make arrays or bytes are allowed. The steps and the memory are bounded by the size of the file.
"""

from __future__ import annotations

import codecs
import math
import os
import re
import warnings
from typing import Any, BinaryIO

import numpy as np

from ..core.backend import Array
from ..errors import printable

FUNCTIONS = (
    "numpy.core.multiarray._reconstruct", "numpy._core.multiarray._reconstruct", "numpy.core.numeric._frombuffer",
    "numpy._core.numeric._frombuffer", "numpy.dtype", "numpy.ndarray", "_codecs.encode", "__builtin__.bytes",
)  # fmt: skip

# For each opcode of a string: the length in bytes of its count, and its type. For those of numbers and of indices of
# the memo: the length in bytes.
STRINGS = {
    b"U": (1, bytes), b"T": (4, bytes), b"C": (1, bytes), b"B": (4, bytes), b"\x8e": (8, bytes), b"\x96": (8, bytes),
    b"\x8c": (1, str), b"X": (4, str), b"\x8d": (8, str),
}  # fmt: skip
NUMBERS = {b"K": 1, b"M": 2, b"J": 4}
PUTS, GETS = {b"q": 1, b"r": 4}, {b"h": 1, b"j": 4}
CONSTANTS = {b"N": None, b"\x88": True, b"\x89": False}
TUPLES = {b")": 0, b"\x85": 1, b"\x86": 2, b"\x87": 3}
LONGEST_NUMBER = 20  # characters


class Name(str):
    """The name of a function."""


class Call:
    """A call that was not made: the function's name, the arguments, and the state of the object, as set later."""

    def __init__(self, function: Name, arguments: tuple[Any, ...]) -> None:
        self.function, self.arguments = function.rpartition(".")[2], arguments
        self.state: Any = None


def read_pickle(file: BinaryIO, most_steps: int) -> dict[bytes, Any]:
    """Read the dictionary in a pickle of CIFAR. It holds lists, numbers, strings, and uint8 arrays.

    Python 2 or 3 may have written the pickle, with any protocol. ``most_steps`` bounds its steps.

    Raises
    ------
    ValueError
        If the pickle contains anything else or is damaged. The message gives the reason.
    """
    machine = Machine(file)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # warnings about odd escapes in strings of protocol 0
            for _ in range(most_steps):
                code = machine.take(1)
                if code == b".":
                    break
                machine.step(code)
            else:
                raise ValueError(f"it has more than {most_steps:,} steps")
            found = machine.stack.pop()
            if not isinstance(found, dict):
                raise ValueError(f"it holds {type(found).__name__}, not a dictionary")
            return {key: as_array(value) if isinstance(value, Call) else value for key, value in found.items()}
    except (ValueError, LookupError, TypeError, AttributeError) as error:  # also a step without what it needs
        raise ValueError(f"its pickle is damaged or unsafe ({error})") from error


class Machine:
    """The stack machine of a pickle. ``stack`` is the part above the last mark, and ``below`` holds the other parts."""

    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        self.left = file.seek(0, os.SEEK_END)  # bytes
        self.encoded = self.left  # bytes that calls of _codecs.encode may still make
        file.seek(0)
        self.stack: list[Any] = []
        self.below: list[list[Any]] = []
        self.memo: dict[int, Any] = {}

    def step(self, code: bytes) -> None:
        """Do one step, which begins with ``code``."""
        stack = self.stack
        if code in NUMBERS:
            stack.append(self.number(NUMBERS[code], signed=code == b"J"))
        elif code in STRINGS:
            length, kind = STRINGS[code]
            content = self.take(self.number(length))
            stack.append(content if kind is bytes else text(content, "utf-8", rb"[\xc4-\xff]"))
        elif code in PUTS:
            self.memo[self.number(PUTS[code])] = stack[-1]
        elif code in GETS:
            stack.append(self.memo[self.number(GETS[code])])
        elif code in CONSTANTS:
            stack.append(CONSTANTS[code])
        elif code in TUPLES:
            count = TUPLES[code]
            if len(stack) < count:
                raise IndexError("a tuple has too few items")
            stack[len(stack) - count :] = [tuple(stack[len(stack) - count :])]
        else:
            self.rarer_step(code)

    def rarer_step(self, code: bytes) -> None:
        stack = self.stack
        match code:
            case b"(":
                self.below.append(stack)
                self.stack = []
            case b"]" | b"}":
                stack.append([] if code == b"]" else {})
            case b"a" | b"s":
                items = [stack.pop() for _ in ("a" if code == b"a" else "ks")][::-1]
                add(stack[-1], items, dict if code == b"s" else list)
            case b"e" | b"u":
                self.stack = self.below.pop()
                add(self.stack[-1], stack, dict if code == b"u" else list)
            case b"t" | b"l" | b"d":
                self.stack = self.below.pop()
                made: Any = tuple(stack) if code == b"t" else [] if code == b"l" else {}
                self.stack.append(made)
                if code != b"t":
                    add(made, stack, type(made))
            case b"\x94":
                self.memo[len(self.memo)] = stack[-1]
            case b"p":
                self.memo[self.integer()] = stack[-1]
            case b"g":
                stack.append(self.memo[self.integer()])
            case b"I" | b"L":
                stack.append(self.integer())
            case b"\x8a":
                stack.append(self.number(min(self.number(1), LONGEST_NUMBER), signed=True))
            case b"S":
                stack.append(codecs.escape_decode(self.line()[1:-1])[0])
            case b"V":
                stack.append(text(self.line(), "raw-unicode-escape", rb"\\(U|u(?!00))"))
            case b"c":
                stack.append(allowed(self.line().decode(), self.line().decode()))
            case b"\x93":
                stack[-2:] = [allowed(*stack[-2:])]
            case b"R":
                arguments = stack.pop()
                stack[-1] = self.called(stack[-1], arguments)
            case b"b":
                state = stack.pop()
                if not isinstance(stack[-1], Call):
                    raise TypeError("a state is set on a value that cannot have one")
                stack[-1].state = state
            case b"\x80" | b"\x95":
                self.take(1 if code == b"\x80" else 8)
            case _:
                import pickletools

                names = {opcode.code: opcode.name for opcode in pickletools.opcodes}
                name = names.get(code.decode("latin-1"), repr(code))
                raise ValueError(f"batches of CIFAR do not use the opcode {name}")

    def called(self, function: Any, arguments: Any) -> Any:
        """Return the bytes that a call makes, or a note of the call."""
        if not isinstance(function, Name) or not isinstance(arguments, tuple):
            raise TypeError("a call of something that is not a function")
        if function == "_codecs.encode":
            content, encoding = arguments
            self.encoded -= len(content)
            if encoding != "latin1" or self.encoded < 0:
                raise ValueError("its strings are not those of Python 3")
            return content.encode(encoding)
        return b"" if function == "__builtin__.bytes" else Call(function, arguments)

    def take(self, count: int) -> bytes:
        """Read ``count`` bytes, which must exist: a file cannot ask for more memory than it has bytes."""
        if count > self.left:
            raise ValueError(f"it ends {count - self.left:,} bytes too soon")
        self.left -= count
        return self.file.read(count)

    def number(self, length: int, signed: bool = False) -> int:
        return int.from_bytes(self.take(length), "little", signed=signed)

    def line(self) -> bytes:
        line = self.file.readline()
        self.left -= len(line)
        if not line.endswith(b"\n"):
            raise ValueError("it ends in the middle of a line")
        return line[:-1]

    def integer(self) -> int:
        """Read an integer that is written in decimal digits."""
        return int(self.line()[: LONGEST_NUMBER + 1].rstrip(b"L").decode())


def add(container: Any, items: list[Any], kind: type) -> None:
    """Add items, or keys and values in turn. Keys are names; the hash of others could take any time, or crash."""
    found = type(container)
    if found is not kind:
        raise TypeError(f"it adds to {found.__name__}")
    if kind is list:
        container.extend(items)
        return
    for key, value in zip(items[::2], items[1::2], strict=True):
        if not isinstance(key, (bytes, str)):
            raise ValueError(f"a key is {type(key).__name__}, not a name")
        container[key.encode("latin-1") if isinstance(key, str) else key] = value


def text(content: bytes, encoding: str, others: bytes) -> str:
    """Decode text whose characters are in Latin-1. One of the ``others`` would make all take four times the memory."""
    if re.search(others, content):
        raise ValueError(f"it has a text that is not in Latin-1, {printable(repr(content[:60]))}")
    return content.decode(encoding)


def allowed(module: Any, name: Any) -> Name:
    """Return the name of a function, which must be one of FUNCTIONS."""
    if not isinstance(module, str) or not isinstance(name, str):
        raise TypeError("a function without a name")
    function = f"{module}.{name}"
    if function not in FUNCTIONS:
        raise ValueError(f"it asks for {function[:60]!r}, which could run any program")
    return Name(function)


def as_array(call: Call) -> Array:
    """Return the array that NumPy would have made. Raises ValueError unless it is an array of bytes."""
    match (call.function, call.state, call.arguments):
        case ("_reconstruct", (1, (*shape,), Call() as dtype, bool() | int() as by_columns, bytes(pixels)), _):
            pass
        case ("_frombuffer", None, (bytes(pixels), Call() as dtype, (*shape,), "C" | "F" as order)):
            by_columns = order == "F"
        case _:
            raise ValueError("its array is not an array of bytes")
    if dtype.function != "dtype" or dtype.arguments[:1] not in ((b"u1",), ("u1",)):
        raise ValueError("its array is not an array of bytes")
    if len(shape) > 2 or len(pixels) != math.prod(size if type(size) is int else 0 for size in shape):
        raise ValueError(f"its array has {len(pixels):,} bytes, which does not fit its shape")
    return np.frombuffer(pixels, np.uint8).reshape(shape, order="F" if by_columns else "C")
