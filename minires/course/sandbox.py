"""The grader's end of the connection to the process that runs a student's code.

A :class:`Child` is such a process: it is given a file of functions, and then one call after another, each with a time
limit. Whatever goes wrong in it, by accident or on purpose, becomes a :class:`CallError` here. If the process ended or
had to be killed, the next call starts a new one.
"""

from __future__ import annotations

import copy
import os
import queue
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from . import child

# Environment variables that the child process keeps.
KEPT = ("PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "SYSTEMROOT", "TEMP", "TMP")
LONGEST_TEXT = 1 << 20  # maximum size of a reply in bytes, not counting its arrays
ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


@dataclass(frozen=True)
class Limits:
    """Limits on the time, memory and files that a student's process may use.

    Attributes
    ----------
    seconds : float
        Wall-clock limit for each call, and for loading the file.
    start_seconds : float
        Wall-clock limit for starting Python and importing NumPy.
    cpu_seconds, memory, file_size : int
        Limits for the whole process: CPU time in seconds, and memory and the size of each written file in bytes. They
        have no effect on Windows.
    reply : int
        Maximum total size of the arrays in a reply, in bytes.
    """

    seconds: float = 10.0
    start_seconds: float = 60.0
    cpu_seconds: int = 120
    memory: int = 2 << 30
    file_size: int = 1 << 20
    reply: int = 32 << 20

    def of_the_system(self) -> dict[str, int]:
        """Return the limits, keyed by their names in ``resource``. The process may not start processes or threads."""
        return {
            "RLIMIT_AS": self.memory,
            "RLIMIT_CPU": self.cpu_seconds,
            "RLIMIT_FSIZE": self.file_size,
            "RLIMIT_NPROC": 0,
            "RLIMIT_NOFILE": 64,
            "RLIMIT_CORE": 0,
        }


class CallError(Exception):
    """Raised when a call does not return.

    Attributes
    ----------
    kind : {"missing", "raised", "time", "ended"}
        Whether the function is missing, raised an exception or took too long, or whether its process ended or stopped
        answering.
    text : str
        What happened, worded to follow the function's name, such as "raises ValueError: ...".
    line : str
        The line of the student's file where the error occurred, as a sentence to append, or "".
    """

    def __init__(self, kind: str, text: str, line: str = "") -> None:
        super().__init__(text)
        self.kind, self.text, self.line = kind, text, line


class Returned(NamedTuple):
    """The return value of a function, and its arguments after the call."""

    value: Any
    arguments: dict[str, Any]


class Here:
    """A module of trusted functions in this process."""

    def __init__(self, module: ModuleType) -> None:
        self.module = module

    def call(self, function: str, arguments: dict[str, Any]) -> Returned:
        """Call a function on copies of the arguments. Raises CallError if it raises an exception."""
        given = copy.deepcopy(arguments)
        try:
            with np.errstate(all="ignore"):
                return Returned(copy.deepcopy(getattr(self.module, function)(**given)), given)
        except Exception as error:
            raise CallError("raised", _raised(type(error).__name__, str(error))) from error


@dataclass(eq=False)
class Child:
    """A process that loads a file of functions and runs calls of them.

    Parameters
    ----------
    source : str
        The text of the file.
    file : str
        The name of the file, for messages.
    given : sequence of str, optional
        Names of functions that ``reference`` runs instead of the file's own versions.
    reference : Child, optional
        The process that answers calls of the functions in ``given``. It is limited as well, because the student's code
        chooses the arguments.
    limits : Limits, optional
    show_output : bool
        Whether what the code prints appears on stderr.
    """

    source: str
    file: str
    given: Sequence[str] = ()
    reference: Child | None = None
    limits: Limits = field(default_factory=Limits)
    show_output: bool = False
    _process: subprocess.Popen[bytes] | None = field(init=False, default=None)

    def call(self, function: str, arguments: dict[str, Any], positional: tuple[Any, ...] = ()) -> Returned:
        """Call a function of the file, and start a process if none is running. Raises CallError unless it returns."""
        self.load()
        request = {"function": function, "positional": positional, "arguments": arguments}
        reply = self._exchange(request, self.limits.seconds)
        if "missing" in reply:
            raise CallError("missing", f"is missing: {self.file} does not define it")
        if not isinstance(reply.get("arguments"), dict) or "returned" not in reply:
            raise self._broken_off()
        return Returned(reply["returned"], reply["arguments"])

    def load(self) -> None:
        """Start the process and load the file, unless a process is already running. Raises CallError if that fails."""
        if self._process is not None:
            return
        self._folder = tempfile.TemporaryDirectory(prefix="submission-", ignore_cleanup_errors=True)
        numpy_folder = str(Path(np.__file__).parent.parent)
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-B", "-u", child.__file__, numpy_folder],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=None if self.show_output else subprocess.DEVNULL,
            cwd=self._folder.name,
            env={name: os.environ[name] for name in KEPT if name in os.environ} | ONE_THREAD,
            start_new_session=os.name == "posix",
        )
        self._requests: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._replies: queue.SimpleQueue[Any] = queue.SimpleQueue()
        threading.Thread(target=self._talk, args=(self._process, self._requests, self._replies), daemon=True).start()
        self._exchange({"limits": self.limits.of_the_system()}, self.limits.start_seconds)
        self._exchange({"source": self.source, "file": self.file, "given": self.given}, self.limits.seconds)

    def close(self) -> None:
        """Kill the process and any processes that it started."""
        process, self._process = self._process, None
        if process is None:
            return
        if os.name == "posix":
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, 9)  # the process leads its own session: see `start_new_session`
        process.kill()
        process.wait()
        self._requests.put(None)
        self._folder.cleanup()

    def _exchange(self, request: dict[str, Any], seconds: float) -> dict[str, Any]:
        """Send a request and wait for its reply; answer the child's own calls in between."""
        deadline = time.monotonic() + seconds
        self._requests.put(request)
        while True:
            try:
                reply = self._replies.get(timeout=max(deadline - time.monotonic(), 0))
            except queue.Empty:
                self.close()
                raise CallError(
                    "time", f"did not finish within {seconds:g} seconds (is there an infinite loop?)"
                ) from None
            if not isinstance(reply, dict):
                raise self._broken_off()
            if isinstance(error := reply.get("raised"), dict):
                text = _raised(str(error.get("type")), str(error.get("text")))
                raise CallError("raised", text, self._line(error.get("line")))
            if "ask" not in reply:
                return reply
            self._requests.put(self._answer(reply))

    def _answer(self, question: dict[str, Any]) -> dict[str, Any]:
        name, positional, keywords = (question.get(part) for part in ("ask", "positional", "keywords"))
        if not isinstance(name, str) or not isinstance(positional, tuple) or not isinstance(keywords, dict):
            raise self._broken_off()
        if name not in self.given:
            raise self._broken_off()
        assert self.reference is not None
        try:
            return {"value": self.reference.call(name, keywords, positional).value}
        except CallError as error:
            return {"error": f"{name} {error.text}"}

    def _line(self, number: Any) -> str:
        """Return line ``number`` of the file, worded as the end of a message, or "" if there is no such line."""
        lines = self.source.splitlines()
        if not isinstance(number, int) or not 0 < number <= len(lines):
            return ""
        return f" Line {number}: {lines[number - 1].strip()[:100]}"

    def _broken_off(self) -> CallError:
        """Close the process, and return the error for one that has ended or whose replies make no sense."""
        assert self._process is not None
        process = self._process
        with suppress(subprocess.TimeoutExpired):
            process.wait(timeout=1)
        status = process.returncode
        self.close()
        if status is None:
            return CallError("ended", "stopped answering the grader")
        how = f"signal {-status}" if status < 0 else f"exit status {status}"
        return CallError("ended", f"ended the process ({how}) instead of returning")

    def _talk(self, process: subprocess.Popen[bytes], requests: Any, replies: Any) -> None:
        """Pass requests and replies on in a separate thread, so that the grader never blocks on a pipe."""
        stdin: Any = process.stdin
        stdout: Any = process.stdout
        with suppress(OSError), stdin, stdout:  # closing stdin flushes it, which fails if the process has ended
            while (request := requests.get()) is not None:
                try:
                    child.send(stdin, request)
                    replies.put(child.receive(stdout, LONGEST_TEXT, self.limits.reply))
                except Exception:  # the child may send anything
                    replies.put(None)
                    return


def _raised(kind: str, text: str) -> str:
    return f"raises {kind}: {text}" if text else f"raises {kind}"


Runner = Here | Child
