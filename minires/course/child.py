"""The process that runs a student's code, and the format of its messages.

It is started as a separate script, with NumPy and without minires, so it cannot leak what it does not have. The grader
sends the student's file and then one call after another; the child replies with what the function returned. When the
function calls a function of an earlier question, the grader answers that call. Expected values never reach this
process.

A message consists of JSON and the raw data of the arrays in it, in the order in which the JSON mentions them. The
lengths of both parts come first, in 8 bytes each.
"""

import importlib
import io
import json
import math
import os
import struct
import sys
import types
from collections.abc import Callable
from contextlib import suppress
from traceback import walk_tb
from typing import Any, BinaryIO

if __name__ == "__main__":
    sys.path.append(sys.argv[1])  # the folder of NumPy: the options -S and -I hide installed packages

import numpy as np

# These modules are loaded before the process gives up its rights, so that a student's file can always import them.
PRELOADED = (
    *("collections", "copy", "dataclasses", "functools", "itertools", "math", "operator", "random", "time", "typing"),
    *("signal", "string", "warnings", "numpy.fft", "numpy.linalg", "numpy.random"),
)
# All audit events with these prefixes are refused (https://docs.python.org/3/library/audit_events.html).
REFUSED = {
    *("os", "shutil", "subprocess", "pty", "socket", "ctypes", "resource", "signal", "gc", "fcntl", "sqlite3"),
    *("winreg", "_winapi", "msvcrt"),
}
HARMLESS = {"os.putenv", "os.unsetenv", "os.walk", "os.fwalk"}
OPENING = {"open", "os.listdir", "os.scandir"}
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
LENGTHS = struct.Struct(">QQ")
NUMBERS = "biuf"  # dtype kinds: booleans, integers and floats
LONGEST_TEXT = 400  # maximum length of an error message, in characters
MOST_LEVELS = 16  # maximum depth of nested sequences


class Other(str):
    """The description of a value that cannot be sent, which takes its place in the message."""


def send(stream: BinaryIO, message: dict[str, Any]) -> None:
    """Write a message. It may contain arrays anywhere; values that cannot be sent arrive as an :class:`Other`."""
    arrays: list[bytes] = []

    def encode(value: Any) -> Any:
        if isinstance(value, (np.ndarray, np.generic)):
            if value.dtype.kind not in NUMBERS:
                return {"other": f"an array of {value.dtype}"}
            dtype = value.dtype.newbyteorder("=")
            arrays.append(np.asarray(value, dtype).tobytes())
            return {"array": dtype.str, "shape": value.shape}
        if isinstance(value, (tuple, list)):
            return {"items": [encode(item) for item in value]}
        if isinstance(value, dict):
            return {"entries": {str(key): encode(item) for key, item in value.items()}}
        if value is None or isinstance(value, (bool, int, float, str)):
            return value
        return {"other": f"a {type(value).__name__}"}

    text = json.dumps(encode(message)).encode()
    stream.write(LENGTHS.pack(len(text), sum(map(len, arrays))) + text + b"".join(arrays))
    stream.flush()


def receive(stream: BinaryIO, longest_text: int = sys.maxsize, most_numbers: int = sys.maxsize) -> dict[str, Any]:
    """Read a message. Sequences become tuples. If the lengths, in bytes, are limited, the sender need not be trusted.

    Raises EOFError at the end of the stream. If the data is not a valid message, raises ValueError or another error.
    """
    lengths = stream.read(LENGTHS.size)
    if len(lengths) < LENGTHS.size:
        raise EOFError
    text, numbers = LENGTHS.unpack(lengths)
    if text > longest_text or numbers > most_numbers:
        raise ValueError("too long")
    tree = json.loads(stream.read(text))
    content = io.BytesIO(stream.read(numbers))

    def decode(tree: Any, levels: int) -> Any:
        if levels == 0:
            raise ValueError("nested too deeply")
        if isinstance(tree, list):
            raise ValueError("not encoded")
        if not isinstance(tree, dict):
            return tree
        if "array" in tree:
            dtype, shape = np.dtype(tree["array"]), tree["shape"]
            if dtype.kind not in NUMBERS:
                raise ValueError("not numbers")
            return np.ndarray(shape, dtype, bytearray(content.read(math.prod(shape) * dtype.itemsize)))
        if "items" in tree:
            return tuple(decode(item, levels - 1) for item in tree["items"])
        if "entries" in tree:
            return {key: decode(item, levels - 1) for key, item in tree["entries"].items()}
        return Other(tree["other"])

    return decode(tree, MOST_LEVELS)


def set_limits(limits: dict[str, int]) -> None:
    """Set the limits that this system supports: all on Linux, some on macOS, and none on Windows.

    They do not apply to root, so a root process first switches to the unprivileged user ``nobody``. In a container
    without other users this fails; the grader still kills the process when its time is up.
    """
    try:
        import pwd
        import resource
    except ImportError:  # Windows
        return
    if os.geteuid() == 0:
        with suppress(KeyError, OSError):
            nobody = pwd.getpwnam("nobody")
            os.chown(".", nobody.pw_uid, nobody.pw_gid)
            os.setgroups([])
            os.setgid(nobody.pw_gid)
            os.setuid(nobody.pw_uid)
    for name, limit in limits.items():
        with suppress(AttributeError, ValueError, OSError):
            resource.setrlimit(getattr(resource, name), (limit, limit))


def close_doors() -> None:
    """Refuse access to other files, processes, connections and signals, as far as Python can.

    The standard library and NumPy may be read, and the empty folder that this process started in may be written to. An
    audit hook cannot be removed, and this one reads neither globals nor builtins, which the student's code can replace:
    it uses only its own arguments, which are constants. Paths must be plain strings, and are compared literally.
    """
    here = os.path.join(os.getcwd(), "")
    numpy = os.path.join(os.path.dirname(np.__file__), "")
    standard = os.path.join(os.path.dirname(os.__file__), "")
    libraries = (standard, os.path.join(sys.base_prefix, "DLLs", ""))  # the latter exists on Windows only
    packages = (os.path.join(standard, "site-packages", ""), os.path.join(standard, "dist-packages", ""))
    places = (os.sep, os.altsep or os.sep, os.devnull, here, numpy, libraries, packages)
    constants = (type, str, int, PermissionError, frozenset(OPENING), frozenset(REFUSED), frozenset(HARMLESS), WRITING)

    def hook(event: str, arguments: tuple[Any, ...], places: Any = places, constants: Any = constants) -> None:
        separator, other_separator, nowhere, here, numpy, libraries, packages = places
        kind, text, number, refusal, opening, refused, harmless, writing = constants
        if event in opening or event == "import":
            path = arguments[1 if event == "import" else 0]  # an import has one if it is of a compiled module
            if path is None or kind(path) is number:  # the current folder, or an open file
                return
            if kind(path) is not text:
                raise refusal("a submission may open files by names that are plain strings only")
            place = path + separator  # a folder itself may be listed, too
            if event == "import":
                fits = path.startswith((numpy, *libraries))
            elif ".." in path or path == nowhere:
                fits = path == nowhere
            elif path.startswith(here) or (separator not in path and other_separator not in path):
                fits = True
            elif event == "open" and arguments[2] & writing:
                fits = False
            else:
                fits = place.startswith(numpy) or (place.startswith(libraries) and not place.startswith(packages))
            if not fits:
                raise refusal(f"a submission may not {'import' if event == 'import' else 'open'} {path}")
        elif event.partition(".")[0] in refused and event not in harmless:
            raise refusal(f"a submission may not use {event}")

    for module in ("signal", "_signal"):
        vars(sys.modules[module]).pop("pidfd_send_signal", None)  # it does not raise an audit event
    sys.addaudithook(hook)


class Session:
    """The conversation with the grader, over streams that do not depend on stdin and stdout."""

    def __init__(self, requests: BinaryIO, replies: BinaryIO) -> None:
        self.requests, self.replies = requests, replies
        self.file = ""
        self.names: dict[str, Any] = {}

    def run(self) -> None:
        """Answer requests until the grader closes the stream."""
        setup = receive(self.requests)
        for module in PRELOADED:
            importlib.import_module(module)
        sys.path[:] = [path for path in sys.path if path != sys.argv[1]]
        set_limits(setup["limits"])
        close_doors()
        send(self.replies, {"ready": True})
        while True:
            try:
                request = receive(self.requests)
            except EOFError:
                return
            try:
                send(self.replies, self.load(**request) if "source" in request else self.call(**request))
            except BaseException as error:
                send(self.replies, {"raised": self.describe(error)})

    def load(self, source: str, file: str, given: tuple[str, ...]) -> dict[str, Any]:
        """Run a file of functions, and let the grader answer calls of the functions in ``given``."""
        self.file = file
        module = types.ModuleType(file.removesuffix(".py"))
        sys.modules[module.__name__] = module
        self.names = module.__dict__
        exec(compile(source, file, "exec", dont_inherit=True), self.names)
        self.names.update({name: self.asking(name) for name in given})
        return {"loaded": True}

    def call(self, function: str, positional: tuple[Any, ...], arguments: dict[str, Any]) -> dict[str, Any]:
        """Call a function, and return its result and the arguments as they are after the call."""
        if not callable(self.names.get(function)):
            return {"missing": function}
        returned = self.names[function](*positional, **arguments)
        return {"returned": returned, "arguments": arguments}

    def asking(self, name: str) -> Callable[..., Any]:
        """Return a function whose calls the grader answers, so that an earlier bug costs points only once."""

        def ask(*arguments: Any, **keywords: Any) -> Any:
            send(self.replies, {"ask": name, "positional": arguments, "keywords": keywords})
            answer = receive(self.requests)
            if "error" in answer:
                raise ValueError(answer["error"])
            return answer["value"]

        return ask

    def describe(self, error: BaseException) -> dict[str, Any]:
        """Describe an error, with the number of the last line of the student's file in its traceback."""
        lines = [error.lineno if isinstance(error, SyntaxError) else None]
        lines += [line for frame, line in walk_tb(error.__traceback__) if frame.f_code.co_filename == self.file]
        try:
            text = str(error.msg if isinstance(error, SyntaxError) else error)
        except BaseException:  # converting the student's exception to text may do anything
            text = ""
        return {"type": type(error).__name__, "text": text[:LONGEST_TEXT], "line": lines[-1]}


def main() -> None:
    """Run the session on copies of stdin and stdout. The student's code reads nothing, and prints to stderr."""
    session = Session(os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb"))
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(2, 1)
    session.run()


if __name__ == "__main__":
    main()
