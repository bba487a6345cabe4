"""The process of one contender: ``python -m minires.bench.worker NAME THREADS``. It answers requests, a line of JSON
each.

==========================  ==========================================================================================
``{"prepare": workload}``   get ready and warm up
``{"run": n}``              do it n times: the seconds of each
``{"memory": "reset"}``     the bytes that this process holds; from now on, the most is counted anew
``{"memory": "most"}``      the most bytes that it held
``{"profile": n}``          the profile of n times (of minires)
``{"peak": threads}``       what the machine can do at most (by minires)
==========================  ==========================================================================================
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from .workloads import Workload

WARM_UP = 2


def memory(reset: bool) -> int:
    """The resident bytes of this process: now if the maximum is ``reset``, else the maximum; 0 if nobody tells.

    The maximum that ``getrusage`` knows may be that of the process which started this one, and cannot be reset.
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


def _peak(threads: int) -> dict[str, Any]:
    from ..kernels.threads import set_num_threads
    from .machine import measure_peak

    set_num_threads(threads)
    peak = measure_peak(threads)
    return {"peak": None if peak is None else asdict(peak)}


def _profile(step: Callable[[], Any], times: int) -> dict[str, Any]:
    from .profiling import profile

    with profile() as p:
        for _ in range(times):
            step()
    peaks = {device: asdict(peak) for device, peak in p.peaks.items()}
    rows = [{"op": op, "phase": phase, **asdict(row)} for (op, phase), row in p.rows.items()]
    return {"table": str(p), "rows": rows, "peak": peaks.get("cpu")}


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
                answer = _peak(request["peak"])
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
