"""What minires finds on this machine, and what could be better: ``minires.show_config()`` and ``minires doctor``."""

from __future__ import annotations

import importlib
import os
import platform
import shutil
import textwrap
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ..bench.machine import Peak, measure_peak
from ..core.backend import cupy_module
from ..core.dispatch import load_kernels
from ..kernels.threads import get_num_threads, usable_cores
from ..version import __version__

PACKAGES = ("numpy", "numba", "scipy", "scikit-learn", "matplotlib", "pillow", "safetensors", "typer", "rich")
CUPY_WHEELS = ("cupy-cuda13x", "cupy-cuda12x", "cupy")
# How the names begin that NumPy gives to instruction sets, and the bits of their vectors, widest first.
VECTOR_BITS = {"AVX512": 512, "X86_V4": 512, "AVX2": 256, "X86_V3": 256, "": 128}
# OpenBLAS's kernels (its "core types") that fill vectors of so many bits, on x86.
OPENBLAS_CORES = {
    512: ("SkylakeX", "Cooperlake", "SapphireRapids"),
    256: ("Haswell", "Zen"),
    128: ("Nehalem",),
}
SLOW = 0.6  # of the peak: a good BLAS reaches 0.8 to 0.95 with matrices of this size


@dataclass
class Report:
    """Facts, and advice where something is missing or slower than it need be. ``print`` it."""

    facts: list[tuple[str, str]] = field(default_factory=list)
    advice: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        width = max(len(name) for name, _ in self.facts)
        lines = [f"{name:<{width}}  {value}" for name, value in self.facts]
        lines += ["", "to mend" if self.advice else "nothing to mend"]
        for number, advice in enumerate(self.advice, start=1):
            lines += textwrap.wrap(
                advice,
                width=100,
                initial_indent=f"  {number}. ",
                subsequent_indent="     ",
                break_long_words=False,
                break_on_hyphens=False,
            )
        return "\n".join(lines)


def show_config() -> None:
    """Print the versions, the CPU, BLAS, the GPU and the data that minires finds, and what could be better."""
    print(examine())


def examine() -> Report:
    """Look around. It takes about two seconds, for importing Numba and measuring; the first time a few more."""
    report = Report()
    _software(report)
    report.facts.append(("CPU", f"{cpu_name()}, {_counted(usable_cores(), 'core')}, {vector_bits()}-bit vectors"))
    for part in (_engine, _peak, _blas, _gpu, _data):
        part(report)
    return report


def _software(report: Report) -> None:
    report.facts.append(("minires", f"{__version__}, in {Path(__file__).parents[1]}"))
    report.facts.append(("python", f"{platform.python_version()}, {platform.system()} {platform.machine()}"))
    report.facts += [(package, version_of(package) or "not installed") for package in PACKAGES]


def version_of(package: str) -> str | None:
    """The version of a package that is installed, which is not imported for this; None without it."""
    from importlib import metadata  # here, to keep `import minires` quick

    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _engine(report: Report) -> None:
    try:
        importlib.import_module("numba")
    except ImportError as error:
        why = f"cannot be imported ({error})" if version_of("numba") else "is not installed"
        report.facts.append(("engine", "the textbook only"))
        report.advice.append(f"Numba {why}, so every op runs as the textbook has it, slowly: pip install -U numba.")
        return
    if load_kernels("cpu"):
        report.facts.append(("engine", f"fast, through Numba, {_counted(get_num_threads(), 'thread')}"))
    else:
        report.facts.append(("engine", "the textbook only"))
        report.advice.append(
            "The kernels could not be loaded, so every op runs as the textbook has it, slowly: unset "
            "NUMBA_DISABLE_JIT, or see what `python -c 'import minires.kernels.cpu'` says."
        )


def _peak(report: Report) -> None:
    """What the kernels can reach, with one thread and with all."""
    for threads in sorted({1, get_num_threads()}):
        if (peak := measure_peak(threads)) is not None:
            report.facts.append((f"peak, {_counted(threads, 'thread')}", str(peak)))


def _blas(report: Report) -> None:
    cores, bits, blas = usable_cores(), vector_bits(), blas_in_use()
    speed, peak = matrix_product_speed(), measure_peak(blas.threads or None)
    of_peak = f", {speed / peak.operations:.0%} of the peak" if peak else ""
    report.facts.append(("BLAS", str(blas)))
    report.facts.append(("matrix product", f"{speed / 1e9:.0f} GFLOP/s, 1024x1024, float32{of_peak}"))
    if blas.threads and blas.threads < cores:
        report.advice.append(
            f"BLAS uses {blas.threads} of {cores} cores: unset OMP_NUM_THREADS and OPENBLAS_NUM_THREADS, unless other "
            "programs need the rest."
        )
    if blas.name != "openblas":
        return
    core = blas.core or "an unknown CPU"
    if bits == 512 and blas.core not in OPENBLAS_CORES[512]:
        report.advice.append(
            f"OpenBLAS runs its kernels for {core}, which leave half of this CPU's 512-bit "
            "vectors unused: set OPENBLAS_CORETYPE=SkylakeX before Python starts, and compare the matrix product."
        )
    elif peak and speed < SLOW * peak.operations:
        report.advice.append(_advice_on_slow_blas(core, bits, speed, peak))


def _advice_on_slow_blas(core: str, bits: int, speed: float, peak: Peak) -> str:
    slow = (
        f"NumPy's matrix product reaches {speed / peak.operations:.0%} of the peak with OpenBLAS's kernels for {core}"
    )
    others = [name for name in OPENBLAS_CORES[bits] if name.lower() != core.lower()]
    if platform.machine().lower() not in ("x86_64", "amd64") or not others:
        return f"{slow}: ask again when nothing else runs, and try a newer NumPy."
    return (
        f"{slow}: ask again when nothing else runs; then set OPENBLAS_CORETYPE={others[0]} before Python starts"
        + (f" (or {', '.join(others[1:])})" if others[1:] else "")
        + ", and compare. Only the textbook depends on it."
    )


def cpu_name() -> str:
    """The name of the CPU as its maker gives it, where the system tells."""
    try:
        for line in Path("/proc/cpuinfo").read_text(errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass  # not Linux
    return platform.processor() or platform.machine()


def vector_bits() -> int:
    """The width of the CPU's vectors, from the instruction sets that NumPy uses."""
    extensions = _numpy_config()["SIMD Extensions"]
    used = [*extensions.get("baseline", ()), *extensions.get("found", ())]
    return next(
        bits for start, bits in VECTOR_BITS.items() if not start or any(name.startswith(start) for name in used)
    )


def _numpy_config() -> Any:
    return np.show_config(mode="dicts")


@dataclass
class Blas:
    """The library behind NumPy's matrix products: whose kernels (``core``) it runs on how many threads."""

    name: str
    version: str
    core: str = ""
    threads: int = 0  # unknown

    def __str__(self) -> str:
        kernels = f", kernels for {self.core}" if self.core else ""
        threads = f", {_counted(self.threads, 'thread')}" if self.threads else ""
        return f"{self.name} {self.version}{kernels}{threads}"


def blas_in_use() -> Blas:
    """NumPy's BLAS. Without threadpoolctl, which comes with scikit-learn, only what NumPy was built with is known."""
    try:
        from threadpoolctl import threadpool_info  # type: ignore[import-untyped]

        libraries = [library for library in threadpool_info() if library["user_api"] == "blas"]
    except ImportError:
        libraries = []
    if not libraries:
        built_with = _numpy_config()["Build Dependencies"]["blas"]
        return Blas(built_with["name"], built_with["version"])
    # Several copies may be loaded, in any order, SciPy's among them; wheels keep theirs beside the package.
    ours = min(libraries, key=lambda library: not {"numpy", "numpy.libs"} & set(Path(library["filepath"]).parts))
    return Blas(ours["internal_api"], ours["version"] or "", ours.get("architecture") or "", ours["num_threads"])


def matrix_product_speed(n: int = 1024, repeats: int = 5) -> float:
    """Floating-point operations a second in NumPy's product of two n x n matrices; the best of ``repeats``."""
    a = np.ones((n, n), np.float32)
    best = float("inf")
    for _ in range(repeats):
        start = time.perf_counter()
        a @ a
        best = min(best, time.perf_counter() - start)
    return 2 * n**3 / best


def gpu_name() -> str:
    """The name of the GPU that ``device="cuda"`` stands for. Raises DeviceError if there is none."""
    return str(cupy_module().cuda.runtime.getDeviceProperties(0)["name"].decode())


def _gpu(report: Report) -> None:
    wheel = next((wheel for wheel in CUPY_WHEELS if version_of(wheel)), None)
    has_driver = shutil.which("nvidia-smi") is not None
    if wheel is None:
        report.facts.append(("GPU", "not used: CuPy is not installed"))
        if has_driver:
            report.advice.append(
                "There is an NVIDIA driver but no CuPy, which training on the GPU needs: "
                "pip install 'minires[cuda13]' (or [cuda12])."
            )
        return
    try:
        runtime = importlib.import_module("cupy").cuda.runtime
        gpu, version = runtime.getDeviceProperties(0), runtime.runtimeGetVersion()
    except Exception as error:  # CuPy has no common base class for a missing driver and a missing library
        report.facts.append(("GPU", f"not used: {wheel} {version_of(wheel)} finds none"))
        if has_driver:
            report.advice.append(f"There is an NVIDIA driver, but CuPy cannot use it ({' '.join(str(error).split())}).")
        return
    memory, cuda = gpu["totalGlobalMem"] / 2**30, f"{version // 1000}.{version % 1000 // 10}"
    report.facts.append(("GPU", f"{gpu['name'].decode()}, {memory:.0f} GiB, CUDA {cuda}, {wheel} {version_of(wheel)}"))


def _data(report: Report) -> None:
    from .. import data
    from ..data.places import is_here

    absent = [name for name, files in data.PUBLISHED.items() if not is_here(files)]
    here = [name for name in data.names() if name not in absent]
    report.facts.append(("data sets", ", ".join(here) + (f"; not here: {', '.join(absent)}" if absent else "")))
    folder = os.environ.get("MINIRES_DATA")
    if not folder:
        report.facts.append(("MINIRES_DATA", "not set"))
    elif os.path.isdir(folder):
        inside = sorted(name for name in os.listdir(folder) if not name.startswith("."))
        report.facts.append(("MINIRES_DATA", f"{folder}: {', '.join(inside) or 'empty'}"))
    else:
        report.facts.append(("MINIRES_DATA", f"{folder}: there is no such folder"))
        report.advice.append(f"MINIRES_DATA is {folder}, which is no folder: unset it, or set it to where the data is.")


def _counted(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
