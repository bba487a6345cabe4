"""What else a training step can be asked: its memory, how long the first one takes, what threads bring, its profile."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ..errors import MiniresError
from .process import Process
from .race import Result, take_turns
from .workloads import Workload

COMPILED = ("minires", "torch compile")  # their first process leaves compiled code on disk
PROFILED_STEPS = 5


@dataclass
class Figures:
    """Some figures of each contender, by name, and why some have none."""

    workload: Workload
    of: dict[str, dict[str, float]] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """For a JSON file."""
        return {"name": self.workload.name, "workload": self.workload.as_dict(), "of": self.of, "failed": self.failed}


def memory(contenders: Sequence[str], workload: Workload, threads: int) -> Figures:
    """MB of memory at the most in a process that trains: in all, and beyond what it held after a batch of one image.

    So the second figure is what the images take, without libraries and compiled code.
    """
    found = Figures(workload)
    one = replace(workload, batch=1)
    for name in contenders:
        if name in COMPILED:  # compilers need memory of their own: not in the process that is measured
            with Process(name, threads) as process:
                process.ask(prepare=one.as_dict())
                process.ask(prepare=workload.as_dict())
        with Process(name, threads) as process:
            answers = [process.ask(prepare=one.as_dict()), before := process.ask(memory="reset")]
            answers += [process.ask(prepare=workload.as_dict()), process.ask(run=2)]
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

    ``first`` is that of a fresh install, with no compiled code on disk yet; ``later`` the best of two after that.
    """
    found = Figures(workload)
    for name in contenders:
        code = (
            "from minires.bench.contenders import prepare; from minires.bench.workloads import Workload; "
            f"prepare({name!r}, Workload(**{workload.as_dict()!r}), {threads})()"
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
    """Milliseconds with one thread (``one``) and with all (``all``), in turn, and how many times faster all are."""
    found = Figures(workload)
    for name in contenders:
        result = Result(workload)
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
        answers = [process.ask(prepare=workload.as_dict()), process.ask(profile=PROFILED_STEPS)]
    if (error := _error(answers)) is not None:
        raise MiniresError(f"bench: {workload.name}: {error}")
    return {"name": workload.name, "workload": workload.as_dict(), "steps": PROFILED_STEPS, **answers[1]}
