"""``minires doctor`` and ``minires.show_config()``: what minires finds on this machine, and how to improve it."""

from __future__ import annotations

import importlib
import os
import platform
import shutil
import timeit
from dataclasses import dataclass, field
from pathlib import Path
from textwrap import TextWrapper

import numpy as np

from .. import data
from ..bench.machine import blas_in_use, cpu_name, kernels_load, measure_peak, vector_bits, version_of
from ..core.backend import cupy_module
from ..data.places import is_here
from ..errors import DeviceError, counted
from ..kernels.threads import get_num_threads, usable_cores
from ..version import __version__

PACKAGES = ("numpy", "numba", "scipy", "scikit-learn", "matplotlib", "pillow", "safetensors", "typer", "rich")
# OpenBLAS's kernels for x86 (its "core types"), keyed by the width in bits of the vectors that they use.
OPENBLAS_CORES = {512: ("SkylakeX", "Cooperlake", "SapphireRapids"), 256: ("Haswell", "Zen"), 128: ("Nehalem",)}
SLOW = 0.6  # share of the peak; a good BLAS reaches 0.8 to 0.95 with matrices of this size


@dataclass
class Report:
    """Facts about the machine, and advice where something is missing or slow. ``print`` shows both."""

    facts: list[tuple[str, str]] = field(default_factory=list)
    advice: list[str] = field(default_factory=list)

    def add(self, name: str, value: str, advice: str = "") -> None:
        """Add a fact, and advice if there is something to improve."""
        self.facts.append((name, value))
        if advice:
            self.advice.append(advice)

    def __str__(self) -> str:
        width = max(len(name) for name, _ in self.facts)
        lines = [f"{name:<{width}}  {value}" for name, value in self.facts]
        lines += ["", "to improve" if self.advice else "nothing to improve"]
        wrapper = TextWrapper(100, subsequent_indent="     ", break_long_words=False, break_on_hyphens=False)
        for number, advice in enumerate(self.advice, start=1):
            lines += wrapper.wrap(f"  {number}. {advice}")
        return "\n".join(lines)


def examine() -> Report:
    """Examine the machine. It takes about two seconds to import Numba and to measure, and longer the first time."""
    report = Report()
    for part in (_software, _engine, _peak, _blas, _gpu, _data):
        part(report)
    return report


def _software(report: Report) -> None:
    report.add("minires", f"{__version__}, in {Path(__file__).parents[1]}")
    report.add("python", f"{platform.python_version()}, {platform.system()} {platform.machine()}")
    for package in PACKAGES:
        report.add(package, version_of(package) or "not installed")
    report.add("CPU", f"{cpu_name()}, {counted(usable_cores(), 'core')}, {vector_bits()}-bit vectors")


def _engine(report: Report) -> None:
    if kernels_load():
        report.add("engine", f"fast, through Numba, {counted(get_num_threads(), 'thread')}")
        _compiled_kernels(report)
        return
    problem = "The kernels could not be loaded"
    then = "unset NUMBA_DISABLE_JIT, or see what `python -c 'import minires.kernels.cpu'` says"
    try:
        importlib.import_module("numba")
    except ImportError as error:
        problem = f"Numba cannot be imported ({error})" if version_of("numba") else "Numba is not installed"
        then = "pip install -U numba"
    report.add("engine", "the textbook only", f"{problem}, so every op runs in the textbook, which is slow: {then}.")


def _compiled_kernels(report: Report) -> None:
    """Report where compiled kernels are kept for later processes."""
    from ..kernels.cpu.compiler import TEMPORARY, cache_folder  # imported here, because it needs Numba

    folder, given = cache_folder(), os.environ.get("NUMBA_CACHE_DIR")
    then = "set NUMBA_CACHE_DIR to a writable folder."
    advice = ""
    if folder is None:
        advice = f"Compiled kernels cannot be kept, so each process compiles them again: {then}"
    elif given and not folder.is_relative_to(os.path.abspath(given)):
        advice = f"NUMBA_CACHE_DIR is {given}, which is not writable; compiled kernels are in {folder}: {then}"
    elif folder.parent.name.startswith(TEMPORARY):
        advice = f"Compiled kernels are in a temporary folder, which the system may clear: {then}"
    report.add("compiled kernels", f"in {folder}" if folder else "not kept", advice)


def _peak(report: Report) -> None:
    """Report the speed that kernels can reach, with one thread and with all threads."""
    for threads in sorted({1, get_num_threads()}):
        if (peak := measure_peak(threads)) is not None:
            report.add(f"peak, {counted(threads, 'thread')}", str(peak))


def _blas(report: Report) -> None:
    cores, bits, blas = usable_cores(), vector_bits(), blas_in_use()
    speed, peak = matrix_product_speed(), measure_peak(blas.threads or None)
    of_peak = f"{speed / peak.operations:.0%} of the peak" if peak else ""
    few_threads = (
        f"BLAS uses {blas.threads} of {cores} cores: unset OMP_NUM_THREADS and OPENBLAS_NUM_THREADS, unless other "
        "programs need the rest."
    )
    report.add("BLAS", str(blas), few_threads if 0 < blas.threads < cores else "")
    report.add("matrix product", f"{speed / 1e9:.0f} GFLOP/s, 1024x1024, float32{of_peak and f', {of_peak}'}")
    if blas.name != "openblas":
        return
    core = blas.core or "an unknown CPU"
    if bits == 512 and blas.core not in OPENBLAS_CORES[512]:
        report.advice.append(
            f"OpenBLAS runs its kernels for {core}, which leave half of this CPU's 512-bit vectors unused: set "
            "OPENBLAS_CORETYPE=SkylakeX before Python starts, and compare the matrix product."
        )
    elif peak and speed < SLOW * peak.operations:
        report.advice.append(
            f"NumPy's matrix product reaches {of_peak} with OpenBLAS's kernels for {core}: run this again "
            f"when nothing else runs{_other_kernels(core, bits)}"
        )


def _other_kernels(core: str, bits: int) -> str:
    """Return advice: try OpenBLAS's other kernels for vectors of this width, or a newer NumPy if there are none."""
    others = [name for name in OPENBLAS_CORES[bits] if name.lower() != core.lower()]
    if platform.machine().lower() not in ("x86_64", "amd64") or not others:
        return ", and try a newer NumPy."
    more = f" (or {', '.join(others[1:])})" if others[1:] else ""
    return (
        f"; then set OPENBLAS_CORETYPE={others[0]} before Python starts{more} and compare. Only the textbook uses BLAS."
    )


def matrix_product_speed(n: int = 1024, repeats: int = 5) -> float:
    """Return the operations per second of NumPy's product of two n x n float32 matrices, the best of ``repeats``."""
    a = np.ones((n, n), np.float32)
    return 2 * n**3 / min(timeit.repeat(lambda: a @ a, repeat=repeats, number=1))


def _gpu(report: Report) -> None:
    try:
        cupy = cupy_module()
    except DeviceError as error:
        reason = " ".join(str(error).split())
        has_driver = shutil.which("nvidia-smi") is not None
        report.add("GPU", f"not used: {reason}", f"There is an NVIDIA driver, but {reason}" if has_driver else "")
        return
    gpu, version = cupy.cuda.runtime.getDeviceProperties(0), cupy.cuda.runtime.runtimeGetVersion()
    memory, cuda = gpu["totalGlobalMem"] / 2**30, f"{version // 1000}.{version % 1000 // 10}"
    report.add("GPU", f"{gpu['name'].decode()}, {memory:.0f} GiB, CUDA {cuda}, CuPy {cupy.__version__}")


def _data(report: Report) -> None:

    absent = [name for name, files in data.PUBLISHED.items() if not is_here(files)]
    here = [name for name in data.names() if name not in absent]
    report.add("data sets", ", ".join(here) + (f"; not here: {', '.join(absent)}" if absent else ""))
    folder = os.environ.get("MINIRES_DATA")
    if not folder:
        report.add("MINIRES_DATA", "not set")
    elif os.path.isdir(folder):
        inside = sorted(name for name in os.listdir(folder) if not name.startswith("."))
        report.add("MINIRES_DATA", f"{folder}: {', '.join(inside) or 'empty'}")
    else:
        advice = f"MINIRES_DATA is {folder}, which is not a folder: unset it, or set it to the data folder."
        report.add("MINIRES_DATA", f"{folder}: this folder does not exist", advice)


def doctor() -> None:
    """Show versions, CPU, BLAS, GPU and data sets, and what to improve."""
    print(examine())
