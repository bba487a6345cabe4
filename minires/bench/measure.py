"""The measurements: races of contenders, and for a training step its memory, start, scaling and profile.

Contenders take turns, A B C A B C ..., so that whatever else happens on the machine happens to all of them: machines
are shared, and slow down and recover within seconds. A ratio is therefore the median of the ratios within a turn, never
the ratio of two numbers that were measured at different times.
"""

from __future__ import annotations

import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from ..errors import MiniresError
from ..kernels.threads import usable_cores
from ..version import __version__
from .contenders import GRAPH, TORCH
from .machine import Peak, blas_in_use, cpu_name, gpu_name, vector_bits, version_of
from .worker import Process
from .workloads import Workload

PACKAGES = ("numpy", "numba", "cupy-cuda13x", "cupy-cuda12x", "torch", "dezero")
PAUSE = 0.15  # seconds between two contenders: the threads of the last one may still be spinning
SECONDS_OF_A_TURN = 0.4
QUICK = 1.0  # seconds: shorter calls are made at least three times, as the first one after a pause is slower
COMPILED = ("minires", "torch compile")  # their first process leaves compiled code on disk
PROFILED_STEPS = 5


@dataclass
class RaceResult:
    """The seconds of each contender in each turn (the median of a few calls), and why some did not run."""

    workload: Workload
    times: dict[str, list[float]] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    peak: Peak | None = None  # of the machine, measured right after a convolution

    def median(self, contender: str) -> float:
        return statistics.median(self.times[contender])

    def ratio(self, contender: str, to: str = "minires") -> float:
        """How many times faster than ``contender`` the other one is: the median over the turns."""
        pairs = zip(self.times[contender], self.times[to], strict=True)
        return statistics.median(theirs / ours for theirs, ours in pairs)

    @property
    def best_torch(self) -> str | None:
        """The fastest variant of PyTorch."""
        ran = [name for name in TORCH if name in self.times]
        return min(ran, key=self.median) if ran else None

    @property
    def best_other(self) -> str | None:
        """The contender that the table compares with: PyTorch's fastest variant if it ran, otherwise another one."""
        return self.best_torch or next((name for name in self.times if name not in ("minires", GRAPH)), None)

    def speed(self, contender: str) -> float:
        """Floating-point operations of a convolution a second, as if it were computed directly."""
        return self.workload.operations / self.median(contender)

    def share_of_peak(self, contender: str) -> float | None:
        """That speed as a share of the machine's peak; None if the peak could not be measured."""
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
            "workload": asdict(self.workload),
            "milliseconds": {name: 1e3 * self.median(name) for name in self.times},
            "ratio": {name: self.ratio(name) for name in self.times if name != "minires"},
            "best_torch": self.best_torch,
            "turns": {name: [round(1e3 * seconds, 4) for seconds in times] for name, times in self.times.items()},
            "failed": self.failed,
            **speeds,
        }


def race(
    contenders: Sequence[str], chosen: Sequence[Workload], threads: int, turns: int, tell: Callable[[RaceResult], None]
) -> list[RaceResult]:
    """Run every workload, and call ``tell`` with each result as soon as it is known."""
    results = []
    for workload in chosen:
        result = RaceResult(workload)
        with ExitStack() as stack:
            processes = {name: stack.enter_context(Process(name, threads)) for name in contenders}
            take_turns(result, processes, turns)
            if workload.kind == "ops" and workload.device == "cpu":  # at once, because clock rates change
                result.peak = peak_from(processes["minires"], threads)
        results.append(result)
        tell(result)
    return results


def describe(threads: int, device: str = "cpu") -> dict[str, Any]:
    """CPU, versions and measured peaks (of one thread and of ``threads``), for a JSON file; the GPU if it is used."""
    with Process("minires", threads) as process:
        peaks = {str(number): peak_from(process, number) for number in sorted({1, threads})}
    return {
        **({"gpu": gpu_name()} if device == "cuda" else {}),
        "cpu": cpu_name(),
        "cores": usable_cores(),
        "vector_bits": vector_bits(),
        "system": f"{platform.system()} {platform.machine()}",
        "versions": {
            "minires": __version__,
            "python": platform.python_version(),
            **{package: version_of(package) for package in PACKAGES},
        },
        "blas": str(blas_in_use()),
        "threads": threads,
        "peak": {number: asdict(peak) for number, peak in peaks.items() if peak is not None},
    }


def peak_from(process: Process, threads: int) -> Peak | None:
    """The peak as a process of minires measures it; None if it has no kernels."""
    answer = process.ask(peak=threads).get("peak")
    return None if answer is None else Peak(**answer)


def take_turns(result: RaceResult, processes: dict[str, Process], turns: int) -> None:
    """Let the processes do the workload in turn, and add their times under their names."""
    calls: dict[str, int] = {}  # in each turn, of those that can do the workload
    for name, process in processes.items():
        answer = process.ask(prepare=asdict(result.workload))
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
            else:  # its earlier turns can no longer be compared
                result.failed[name] = answer["error"]
                result.times.pop(name, None)
                del calls[name]


@dataclass
class Figures:
    """Some figures of each contender, by name, and why some contenders have none."""

    workload: Workload
    of: dict[str, dict[str, float]] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """For a JSON file."""
        return {"name": self.workload.name, "workload": asdict(self.workload), "of": self.of, "failed": self.failed}


def memory(contenders: Sequence[str], workload: Workload, threads: int) -> Figures:
    """The peak memory of a training process in MB: in all, and beyond what it held after a batch of one image.

    The second figure is what the images take, without libraries and compiled code.
    """
    found = Figures(workload)
    one = asdict(replace(workload, batch=1))
    for name in contenders:
        if name in COMPILED:  # in a process of its own, because compilers need memory as well
            with Process(name, threads) as process:
                process.ask(prepare=one)
                process.ask(prepare=asdict(workload))
        with Process(name, threads) as process:
            answers = [process.ask(prepare=one), before := process.ask(memory="reset")]
            answers += [process.ask(prepare=asdict(workload)), process.ask(run=2)]
            most = process.ask(memory="most")
        if (error := _error(answers)) is not None:
            found.failed[name] = error
        elif not any("skip" in answer for answer in answers):
            megabytes = most["bytes"] / 1e6
            found.of[name] = {"peak": megabytes, "images": megabytes - before["bytes"] / 1e6}
    return found


def _error(answers: Sequence[dict[str, Any]]) -> str | None:
    return next((answer["error"] for answer in answers if "error" in answer), None)


def start(contenders: Sequence[str], workload: Workload, threads: int) -> Figures:
    """Seconds from the start of a process to the end of its first step.

    ``first`` is that of a fresh installation, without compiled code on disk; ``later`` is the best of two after that.
    """
    found = Figures(workload)
    for name in contenders:
        code = (
            "from minires.bench.contenders import prepare; from minires.bench.workloads import Workload; "
            f"prepare({name!r}, Workload(**{asdict(workload)!r}), {threads})()"
        )
        with tempfile.TemporaryDirectory() as folder:
            caches = {"NUMBA_CACHE_DIR": folder, "TORCHINDUCTOR_CACHE_DIR": folder, "OMP_NUM_THREADS": str(threads)}
            seconds: list[float] = []
            for _ in range(3):
                begin = time.perf_counter()
                done = subprocess.run(
                    [sys.executable, "-c", code], env={**os.environ, **caches}, text=True, capture_output=True
                )
                seconds.append(time.perf_counter() - begin)
                if done.returncode:
                    break
        if not done.returncode:
            found.of[name] = {"first": seconds[0], "later": min(seconds[1:])}
        elif "NotImplementedError" not in done.stderr:
            found.failed[name] = done.stderr.strip().rpartition("\n")[2]
    return found


def scaling(contenders: Sequence[str], workload: Workload, threads: int, turns: int) -> Figures:
    """Milliseconds with one thread (``one``) and with all (``all``), taken in turn, and the speed-up."""
    found = Figures(workload)
    for name in contenders:
        result = RaceResult(workload)
        with Process(name, 1) as alone, Process(name, threads) as together:
            take_turns(result, {"one": alone, "all": together}, turns)
        if result.failed:
            found.failed[name] = next(iter(result.failed.values()))
        elif result.times:
            one, every = (1e3 * result.median(which) for which in ("one", "all"))
            found.of[name] = {"one": one, "all": every, "speedup": result.ratio("one", to="all")}
    return found


def profile(workload: Workload, threads: int) -> dict[str, Any]:
    """The profile of a few steps of minires: its table, its rows, and the peak of the machine.

    Raises
    ------
    MiniresError
        If the process fails.
    """
    with Process("minires", threads) as process:
        answers = [process.ask(prepare=asdict(workload)), process.ask(profile=PROFILED_STEPS)]
    if (error := _error(answers)) is not None:
        raise MiniresError(f"bench: {workload.name}: {error}")
    return {"name": workload.name, "workload": asdict(workload), "steps": PROFILED_STEPS, **answers[1]}
