"""Contenders in turn: A B C A B C ..., so that what else happens on the machine happens to all of them.

The machines that this runs on are shared, and slow down and recover within seconds. A figure is therefore the median
of the ratios within a turn, never a ratio of two numbers that were taken far apart.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from .contenders import TORCH
from .workloads import Workload

PAUSE = 0.15  # seconds between two: the threads of the last one may still be spinning
SECONDS_OF_A_TURN = 0.4


class Process:
    """A contender's process (see worker.py)."""

    def __init__(self, contender: str, threads: int) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "minires.bench.worker", contender, str(threads)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
            env={**os.environ, "OMP_NUM_THREADS": str(threads)},
        )  # fmt: skip

    def ask(self, **request: Any) -> dict[str, Any]:
        """Its answer to a request; ``{"error": ...}`` if it has died."""
        assert self._process.stdin is not None and self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        return json.loads(line) if line else {"error": "the process ended"}

    def end(self) -> None:
        self._process.kill()
        self._process.communicate()  # closes both pipes as well


@dataclass
class Result:
    """The seconds of each contender in each turn, a median of a few calls, and why some did not run."""

    workload: Workload
    times: dict[str, list[float]] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)

    def median(self, contender: str) -> float:
        return statistics.median(self.times[contender])

    def ratio(self, contender: str) -> float:
        """How many times faster than ``contender`` minires is: the median over the turns."""
        pairs = zip(self.times[contender], self.times["minires"], strict=True)
        return statistics.median(theirs / ours for theirs, ours in pairs)

    @property
    def best_torch(self) -> str | None:
        """The fastest variant of PyTorch."""
        ran = [name for name in TORCH if name in self.times]
        return min(ran, key=self.median) if ran else None

    def as_dict(self) -> dict[str, Any]:
        return {
            "name": self.workload.name,
            "workload": self.workload.as_dict(),
            "milliseconds": {name: 1e3 * self.median(name) for name in self.times},
            "ratio": {name: self.ratio(name) for name in self.times if name != "minires"},
            "best_torch": self.best_torch,
            "turns": {name: [round(1e3 * seconds, 4) for seconds in times] for name, times in self.times.items()},
            "failed": self.failed,
        }


def race(
    contenders: Sequence[str], chosen: Sequence[Workload], threads: int, turns: int, tell: Callable[[Result], None]
) -> list[Result]:
    """Run every workload; ``tell`` is called with each result as soon as it is there."""
    results = []
    for workload in chosen:
        result = Result(workload)
        processes = {name: Process(name, threads) for name in contenders}
        try:
            _take_turns(result, processes, turns)
        finally:
            for process in processes.values():
                process.end()
        results.append(result)
        tell(result)
    return results


def _take_turns(result: Result, processes: dict[str, Process], turns: int) -> None:
    calls: dict[str, int] = {}  # of a turn, for those that can do the workload
    for name, process in processes.items():
        answer = process.ask(prepare=result.workload.as_dict())
        if "seconds" in answer:
            answer = process.ask(run=1)
        if "times" in answer:
            calls[name] = max(1, min(50, int(SECONDS_OF_A_TURN / answer["times"][0])))
        elif "error" in answer:
            result.failed[name] = answer["error"]
    for _ in range(turns):
        for name in list(calls):
            time.sleep(PAUSE)
            answer = processes[name].ask(run=calls[name])
            if "times" in answer:
                result.times.setdefault(name, []).append(statistics.median(answer["times"]))
            else:  # the turns before have no partner any more
                result.failed[name] = answer["error"]
                result.times.pop(name, None)
                del calls[name]


def memory(contenders: Sequence[str], workload: Workload, threads: int) -> dict[str, dict[str, float]]:
    """MB of memory at the most in a fresh process, in all and above what the process held before it got ready."""
    found = {}
    for name in contenders:
        process = Process(name, threads)
        imported = process.ask(prepare=Workload(workload.kind, workload.model, 1, 32, workload.classes).as_dict())
        before = process.ask(memory=0)
        process.ask(prepare=workload.as_dict())
        answer = process.ask(run=2)
        peak = process.ask(memory=0)
        process.end()
        if "seconds" in imported and "times" in answer:
            found[name] = {"peak": peak["bytes"] / 1e6, "of the step": (peak["bytes"] - before["bytes"]) / 1e6}
    return found


def cold_start(workload: Workload, threads: int) -> dict[str, float]:
    """Seconds from the start of a process to the end of its first step: with no kernel on disk yet, and after that."""
    code = (
        "from minires.bench.contenders import prepare; from minires.bench.workloads import Workload; "
        f"prepare('minires', Workload(**{workload.as_dict()!r}), {threads})()"
    )
    with tempfile.TemporaryDirectory() as folder:
        seconds = []
        for _ in range(2):
            start = time.perf_counter()
            subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ, "NUMBA_CACHE_DIR": folder})
            seconds.append(time.perf_counter() - start)
    return {"first": seconds[0], "later": seconds[1]}
