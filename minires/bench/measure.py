"""Measure races between contenders, and the memory, start, scaling and profile of a training step.

Contenders take turns, A B C A B C ..., so that all of them are affected by whatever else happens on the machine: shared
machines slow down and recover within seconds. A ratio is therefore the median of the ratios within each turn, never the
ratio of two numbers that were measured at different times.

In a race of inference, all contenders have the same weights and images, and their logits are compared before anything
is timed. In a race of training, minires and PyTorch have, and the losses of their first steps are compared.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np

from ..core.backend import Array
from ..errors import MiniresError, sizes
from ..version import __version__
from .contenders import GRAPH, can_run
from .machine import Peak, blas_in_use, describe_machine, gpu_name
from .worker import Process
from .workloads import Workload

PACKAGES = ("numpy", "numba", "cupy-cuda13x", "cupy-cuda12x", "torch", "dezero", "onnxruntime", "openvino")
PAUSE = 0.15  # seconds between two contenders, as the threads of the previous one may still be spinning
SECONDS_OF_A_TURN = 0.4
QUICK = 1.0  # seconds; shorter calls are made at least three times, as the first one after a pause is slower
COMPILED = ("minires", "torch compile")  # their first process leaves compiled code on disk
PROFILED_STEPS = 5
# The largest difference allowed between logits or losses, as a share of the largest. GPUs may round factors to 10 bits.
TOLERANCE = {"cpu": 1e-4, "cuda": 1e-2}


def best_other(milliseconds: Mapping[str, float]) -> str | None:
    """Return the fastest contender other than minires, or None if minires raced alone."""
    others = [name for name in milliseconds if name not in ("minires", GRAPH)]
    return min(others, key=milliseconds.__getitem__, default=None)


@dataclass
class RaceResult:
    """The seconds of each contender in each turn (the median of a few calls), and why some contenders failed."""

    workload: Workload
    times: dict[str, list[float]] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    peak: Peak | None = None  # of the machine, measured right after a convolution

    def median(self, contender: str) -> float:
        return statistics.median(self.times[contender])

    def ratio(self, contender: str, to: str = "minires") -> float:
        """Return how many times faster ``to`` is than ``contender``, the median over the turns."""
        pairs = zip(self.times[contender], self.times[to], strict=True)
        return statistics.median(theirs / ours for theirs, ours in pairs)

    def as_dict(self) -> dict[str, Any]:
        """Return the result for a JSON file. Operations are counted as if convolutions were computed directly."""
        milliseconds = {name: 1e3 * self.median(name) for name in self.times}
        content: dict[str, Any] = {
            "name": self.workload.name,
            "workload": asdict(self.workload),
            "milliseconds": milliseconds,
            "ratio": {name: self.ratio(name) for name in self.times if name != "minires" and "minires" in self.times},
            "best_other": best_other(milliseconds),
            "turns": {name: [round(1e3 * seconds, 4) for seconds in times] for name, times in self.times.items()},
            "failed": self.failed,
        }
        if self.workload.kind == "ops":
            content["gflops"] = {name: self.workload.operations / self.median(name) / 1e9 for name in self.times}
            if self.peak:
                peak = content["peak_gflops"] = self.peak.operations / 1e9
                content["share_of_peak"] = {name: speed / peak for name, speed in content["gflops"].items()}
        if GRAPH in self.times:
            content["graph_ratio"] = {name: self.ratio(name, to=GRAPH) for name in self.times if name != GRAPH}
        return content


def race(contenders: Sequence[str], workload: Workload, threads: int, turns: int) -> RaceResult:
    """Let those contenders that can run a workload do so in turn, and return the result."""
    result = RaceResult(workload)
    able = [name for name in contenders if can_run(name, workload)]
    with ExitStack() as stack:
        processes = {name: stack.enter_context(Process(name, threads)) for name in able}
        take_turns(result, processes, turns)
        if workload.kind == "ops" and workload.device == "cpu" and "minires" in result.times:
            peak = processes["minires"].ask("peak")  # at once, because clock rates change
            result.peak = peak and Peak(**peak)
    return result


def describe(threads: int, device: str = "cpu") -> dict[str, Any]:
    """Return CPU, versions, peaks with one thread and with ``threads``, and the GPU if used, for a JSON file."""
    with Process("minires", threads) as process:
        peaks = {str(number): process.ask("peak", threads=number) for number in sorted({1, threads})}
    found = describe_machine(PACKAGES)
    return {
        **({"gpu": gpu_name()} if device == "cuda" else {}),
        **found,
        "versions": {"minires": __version__, **found["versions"]},
        "blas": str(blas_in_use()),
        "threads": threads,
        "peak": {number: peak for number, peak in peaks.items() if peak is not None},
    }


@contextmanager
def noting(failed: dict[str, str], contender: str) -> Iterator[None]:
    """Note in ``failed`` why a contender fails."""
    try:
        yield
    except MiniresError as error:
        failed[contender] = str(error)


def take_turns(result: RaceResult, processes: dict[str, Process], turns: int) -> None:
    """Let the processes run the workload in turn, and add their times to ``result`` under their names."""
    calls: dict[str, int] = {}  # the number of calls in each turn, for those that did not fail
    results: dict[str, Array] = {}
    for name, process in processes.items():
        with noting(result.failed, name):
            process.ask("prepare", workload=asdict(result.workload))
            found = None if result.workload.kind == "ops" else process.ask("result")
            if found is not None:
                results[name] = np.array(found)
                compare(results, name, TOLERANCE[result.workload.device], result.workload.kind)
            (seconds,) = process.ask("run", steps=1)
            calls[name] = max(3 if seconds < QUICK else 1, min(1000, int(SECONDS_OF_A_TURN / seconds)))
    for _ in range(turns):
        for name in [name for name in calls if name not in result.failed]:
            time.sleep(PAUSE)
            with noting(result.failed, name):
                times = processes[name].ask("run", steps=calls[name])
                result.times.setdefault(name, []).append(statistics.median(times))
    for name in result.failed:  # earlier turns can no longer be compared
        result.times.pop(name, None)


def compare(results: dict[str, Array], contender: str, tolerance: float, kind: str = "infer") -> None:
    """Compare the logits, or the losses in training, of a contender with those of the first one.

    Raises
    ------
    MiniresError
        If they differ by more than ``tolerance`` times the largest.
    """
    what = "losses" if kind == "train" else "logits"
    first, expected = next(iter(results.items()))
    found = results[contender]
    if found.shape != expected.shape:
        raise MiniresError(f"its {what} are {sizes(found.shape)}, those of {first} {sizes(expected.shape)}")
    difference = np.abs(found - expected).max() / np.abs(expected).max()
    if not difference <= tolerance:  # NaN is not, either
        raise MiniresError(
            f"its {what} differ from those of {first} by {difference:.2g} of the largest; {tolerance:g} is allowed"
        )


def each(
    measure: Callable[[str, Workload, int], dict[str, float]],
    contenders: Sequence[str],
    workload: Workload,
    threads: int,
) -> dict[str, Any]:
    """Call ``measure`` for each contender that can run the workload.

    Return what it found, and why some contenders failed, for a JSON file.
    """
    found: dict[str, dict[str, float]] = {}
    failed: dict[str, str] = {}
    for name in (name for name in contenders if can_run(name, workload)):
        with noting(failed, name):
            found[name] = measure(name, workload, threads)
    return {"name": workload.name, "workload": asdict(workload), "of": found, "failed": failed}


def memory(contender: str, workload: Workload, threads: int) -> dict[str, float]:
    """Return the peak memory of a training process in MB, in total (``peak``) and for the images (``images``).

    ``images`` is the increase over the memory after training on a single image, so it leaves out libraries and
    compiled code.
    """
    one, all_images = asdict(replace(workload, batch=1)), asdict(workload)
    if contender in COMPILED:  # in a separate process, because compilers need memory as well
        with Process(contender, threads) as process:
            process.ask("prepare", workload=one)
            process.ask("prepare", workload=all_images)
    with Process(contender, threads) as process:
        process.ask("prepare", workload=one)
        before = process.ask("memory", reset=True) / 1e6
        process.ask("prepare", workload=all_images)
        process.ask("run", steps=2)
        peak = process.ask("memory", reset=False) / 1e6
    return {"peak": peak, "images": peak - before}


def start(contender: str, workload: Workload, threads: int) -> dict[str, float]:
    """Return the seconds from the start of a process to the end of its first step.

    ``first`` is the time in a fresh installation, without compiled code on disk; ``later`` is the best of two later
    processes.
    """
    seconds = []
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:  # compilers may still be writing
        for _ in range(3):
            begin = time.perf_counter()
            with Process(contender, threads, NUMBA_CACHE_DIR=folder, TORCHINDUCTOR_CACHE_DIR=folder) as process:
                process.ask("prepare", workload=asdict(workload), steps=1)
                seconds.append(time.perf_counter() - begin)
    return {"first": seconds[0], "later": min(seconds[1:])}


def scaling(contender: str, workload: Workload, threads: int, turns: int) -> dict[str, float]:
    """Return the milliseconds with one thread (``one``) and with all (``all``), measured in turn, and the speed-up."""
    result = RaceResult(workload)
    with Process(contender, 1) as alone, Process(contender, threads) as together:
        take_turns(result, {"one": alone, "all": together}, turns)
    if result.failed:
        raise MiniresError(next(iter(result.failed.values())))
    one, every = (1e3 * result.median(which) for which in ("one", "all"))
    return {"one": one, "all": every, "speedup": result.ratio("one", to="all")}


def profile(workload: Workload, threads: int) -> dict[str, Any]:
    """Return the profile of a few steps of minires: its table, its rows, and the peak of the machine.

    Raises
    ------
    MiniresError
        If the process fails.
    """
    with Process("minires", threads) as process:
        try:
            process.ask("prepare", workload=asdict(workload))
            found = process.ask("profile", steps=PROFILED_STEPS)
        except MiniresError as error:
            raise MiniresError(f"bench: {workload.name}: {error}") from None
    return {"name": workload.name, "workload": asdict(workload), "steps": PROFILED_STEPS, **found}
