"""The process of one contender: ``python -m minires.bench.worker NAME THREADS``. It answers requests, a line of JSON
each.

``{"prepare": workload}`` gets ready and warms up, ``{"run": n}`` does it n times and answers with the seconds of each,
``{"memory": 0}`` answers with the most memory that this process has ever held.
"""

from __future__ import annotations

import json
import os
import sys
import time
from typing import Any

from .workloads import Workload

WARM_UP = 2


def peak_memory() -> int:
    """The largest resident size of this process so far, in bytes; 0 where the system does not tell."""
    try:
        import resource
    except ImportError:  # Windows
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


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
                answer = {"bytes": peak_memory()}
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
