"""Contenders in turn: A B C A B C ..., so that what else happens on the machine happens to all of them.

The machines that this runs on are shared, and slow down and recover within seconds. A figure is therefore the median
of the ratios within a turn, never a ratio of two numbers that were taken far apart.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from .contenders import GRAPH, TORCH
from .machine import Peak
from .process import Process
from .workloads import Workload

PAUSE = 0.15  # seconds between two: the threads of the last one may still be spinning
SECONDS_OF_A_TURN = 0.4
QUICK = 1.0  # seconds: calls up to this are made at least three times, as the first after a pause is slower


@dataclass
class Result:
    """The seconds of each contender in each turn, a median of a few calls, and why some did not run."""

    workload: Workload
    times: dict[str, list[float]] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    peak: Peak | None = None  # of the machine, measured beside a convolution

    def median(self, contender: str) -> float:
        return statistics.median(self.times[contender])

    def ratio(self, contender: str, to: str = "minires") -> float:
        """How many times faster than ``contender`` minires (or who else) is: the median over the turns."""
        pairs = zip(self.times[contender], self.times[to], strict=True)
        return statistics.median(theirs / ours for theirs, ours in pairs)

    @property
    def best_torch(self) -> str | None:
        """The fastest variant of PyTorch."""
        ran = [name for name in TORCH if name in self.times]
        return min(ran, key=self.median) if ran else None

    @property
    def best_other(self) -> str | None:
        """Whom the table compares with: PyTorch's fastest variant, or else who there is."""
        return self.best_torch or next((name for name in self.times if name not in ("minires", GRAPH)), None)

    def speed(self, contender: str) -> float:
        """Floating-point operations a second of a convolution, as if it was done directly."""
        return self.workload.operations / self.median(contender)

    def share_of_peak(self, contender: str) -> float | None:
        """That speed as a part of what the machine's arithmetic can do; None where nobody could measure it."""
        return self.speed(contender) / self.peak.operations if self.peak else None

    def as_dict(self) -> dict[str, Any]:
        """For a JSON file."""
        speeds: dict[str, Any] = {}
        if self.workload.kind == "ops":
            speeds["gflops"] = {name: self.speed(name) / 1e9 for name in self.times}
        if self.peak:
            speeds["share_of_peak"] = {name: self.share_of_peak(name) for name in self.times}
            speeds["peak_gflops"] = self.peak.operations / 1e9
        if GRAPH in self.times:
            speeds["graph_ratio"] = {name: self.ratio(name, to=GRAPH) for name in self.times if name != GRAPH}
        return {
            "name": self.workload.name,
            "workload": self.workload.as_dict(),
            "milliseconds": {name: 1e3 * self.median(name) for name in self.times},
            "ratio": {name: self.ratio(name) for name in self.times if name != "minires"},
            "best_torch": self.best_torch,
            "turns": {name: [round(1e3 * seconds, 4) for seconds in times] for name, times in self.times.items()},
            "failed": self.failed,
            **speeds,
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
            take_turns(result, processes, turns)
            if workload.kind == "ops" and workload.device == "cpu":  # beside it, as clocks rise and fall
                result.peak = peak_from(processes["minires"], threads)
        finally:
            for process in processes.values():
                process.end()
        results.append(result)
        tell(result)
    return results


def peak_from(process: Process, threads: int) -> Peak | None:
    """What the machine can do at most, measured by a process of minires; None without kernels."""
    answer = process.ask(peak=threads).get("peak")
    return None if answer is None else Peak(**answer)


def take_turns(result: Result, processes: dict[str, Process], turns: int) -> None:
    """Add the times of each process, whatever name it goes by."""
    calls: dict[str, int] = {}  # of a turn, for those that can do the workload
    for name, process in processes.items():
        answer = process.ask(prepare=result.workload.as_dict())
        if "seconds" in answer:
            answer = process.ask(run=1)
        if "times" in answer:
            seconds = answer["times"][0]
            calls[name] = max(3 if seconds < QUICK else 1, min(1000, int(SECONDS_OF_A_TURN / seconds)))
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
