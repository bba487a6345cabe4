"""The process of one contender: ``python -m minires.bench.worker NAME THREADS``.

It reads requests from stdin and writes answers to stdout, each a line of JSON. A request is the name of a method of
:class:`Worker` and its arguments.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..errors import MiniresError
from ..kernels.threads import set_num_threads
from .workloads import Workload

WARM_UP = 2


class Process:
    """The process of a contender, as its parent sees it. It is killed at the end of a ``with`` block."""

    def __init__(self, contender: str, threads: int, **environment: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__, contender, str(threads)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
            env={**os.environ, "OMP_NUM_THREADS": str(threads), **environment},
        )  # fmt: skip

    def ask(self, method: str, **arguments: Any) -> Any:
        """Call a method of :class:`Worker` in the process, and return its result.

        Raises
        ------
        MiniresError
            If the method raised an error, or the process died.
        """
        assert self._process.stdin is not None and self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps([method, arguments]) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        answer = json.loads(line) if line else {"error": "the process ended"}
        if "error" in answer:
            raise MiniresError(answer["error"])
        return answer["returned"]

    def __enter__(self) -> Process:
        return self

    def __exit__(self, *error: object) -> None:
        self._process.kill()
        self._process.communicate()  # closes both pipes as well


class Worker:
    """The methods that the parent can call in the process."""

    def __init__(self, contender: str, threads: int) -> None:
        self._contender, self._threads = contender, threads
        set_num_threads(threads)

    def prepare(self, workload: dict[str, Any], steps: int = WARM_UP) -> None:
        """Prepare the workload, and run the first steps."""
        from .contenders import prepare

        self._step = prepare(self._contender, Workload(**workload), self._threads)
        self._result = self._step()
        for _ in range(steps - 1):
            self._step()

    def run(self, steps: int) -> list[float]:
        """Run some steps, and return the seconds that each took."""
        seconds = []
        for _ in range(steps):
            start = time.perf_counter()
            self._step()
            seconds.append(time.perf_counter() - start)
        return seconds

    def result(self) -> Any:
        """Return what the first step returned: the logits of each image, the loss, or None (DeZero)."""
        from .contenders import as_array

        return None if self._result is None else as_array(self._result).tolist()

    @staticmethod
    def memory(reset: bool) -> int:
        """Return the resident memory of this process in bytes, or 0 if it is unknown.

        With ``reset``, this is the current memory, and the maximum is reset; otherwise it is the maximum. The maximum
        from ``getrusage``, used where there is no /proc, may be that of the parent process and cannot be reset.
        """
        try:
            status = Path("/proc/self/status").read_text()
            if reset:
                Path("/proc/self/clear_refs").write_text("5")
            name = "VmRSS:" if reset else "VmHWM:"
            return next(1024 * int(line.split()[1]) for line in status.splitlines() if line.startswith(name))
        except (OSError, StopIteration):
            pass  # not Linux
        try:
            import resource
        except ImportError:  # Windows
            return 0
        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return most if sys.platform == "darwin" else most * 1024

    @staticmethod
    def peak(threads: int | None = None) -> dict[str, float] | None:
        """Return the peak of the machine, measured with ``threads`` or all threads; None without kernels."""
        from .machine import measure_peak

        peak = measure_peak(threads)
        return None if peak is None else asdict(peak)

    def profile(self, steps: int) -> dict[str, Any]:
        """Return the profile of some steps (minires only)."""
        from .profiling import profile

        with profile() as p:
            for _ in range(steps):
                self._step()
        rows = [{"op": op, "phase": phase, **asdict(row)} for (op, phase), row in p.rows.items()]
        return {"peak": self.peak(), "rows": rows, "table": str(p)}  # peak() comes first: the table shows it


def main(contender: str, threads: int) -> None:
    # Text that libraries print must not mix with the answers, so stdout is redirected to stderr.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    worker = Worker(contender, threads)
    for line in sys.stdin:
        method, arguments = json.loads(line)
        answer: dict[str, Any] = {}
        try:
            answer["returned"] = getattr(worker, method)(**arguments)
        except Exception as error:
            answer["error"] = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
