"""The process of one contender: ``python -m minires.bench.worker NAME THREADS``. It answers requests, in lines of JSON.

==========================  ==========================================================================================
``{"prepare": workload}``   get ready and warm up
``{"run": n}``              do it n times: the seconds of each
``{"memory": "reset"}``     the bytes that this process holds; the maximum is counted from now on
``{"memory": "most"}``      the most bytes that it has held
``{"profile": n}``          the profile of n times (minires only)
``{"peak": threads}``       the peak of the machine, as minires measures it
==========================  ==========================================================================================
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from .workloads import Workload

WARM_UP = 2


class Process:
    """Such a process, from the side of the one who asks. At the end of a ``with`` block, it is ended."""

    def __init__(self, contender: str, threads: int) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__, contender, str(threads)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
            env={**os.environ, "OMP_NUM_THREADS": str(threads)},
        )  # fmt: skip

    def ask(self, **request: Any) -> dict[str, Any]:
        """The answer to a request; ``{"error": ...}`` if the process has died."""
        assert self._process.stdin is not None and self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        return json.loads(line) if line else {"error": "the process ended"}

    def __enter__(self) -> Process:
        return self

    def __exit__(self, *error: object) -> None:
        self._process.kill()
        self._process.communicate()  # closes both pipes as well


def memory(reset: bool) -> int:
    """The resident bytes of this process: now if the maximum is ``reset``, otherwise the maximum; 0 if unknown.

    The maximum that ``getrusage`` knows may be that of the parent process, and cannot be reset.
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


def _peak(threads: int | None = None) -> dict[str, float] | None:
    from ..kernels.threads import set_num_threads
    from .machine import measure_peak

    if threads is not None:
        set_num_threads(threads)
    peak = measure_peak()
    return None if peak is None else asdict(peak)


def _profile(step: Callable[[], Any], times: int) -> dict[str, Any]:
    from .profiling import profile

    with profile() as p:
        for _ in range(times):
            step()
    rows = [{"op": op, "phase": phase, **asdict(row)} for (op, phase), row in p.rows.items()]
    return {"peak": _peak(), "rows": rows, "table": str(p)}  # in this order: the table shows the peak


def main(contender: str, threads: int) -> None:
    # What libraries print must not get between the answers.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    step: Any = None
    for line in sys.stdin:
        request = json.loads(line)
        answer: Any
        try:
            if "prepare" in request:
                from .contenders import prepare

                start = time.perf_counter()
                step = prepare(contender, Workload(**request["prepare"]), threads)
                for _ in range(WARM_UP):
                    step()
                answer = {"seconds": time.perf_counter() - start}
            elif "memory" in request:
                answer = {"bytes": memory(request["memory"] == "reset")}
            elif "peak" in request:
                answer = {"peak": _peak(request["peak"])}
            elif "profile" in request:
                answer = _profile(step, request["profile"])
            else:
                times = []
                for _ in range(request["run"]):
                    start = time.perf_counter()
                    step()
                    times.append(time.perf_counter() - start)
                answer = {"times": times}
        except NotImplementedError:
            answer = {"skip": True}
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
