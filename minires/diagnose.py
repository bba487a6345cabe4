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

from .threads import usable_cores
from .version import __version__

PACKAGES = ("numpy", "numba", "scipy", "scikit-learn", "matplotlib", "pillow", "safetensors", "typer", "rich")
CUPY_WHEELS = ("cupy-cuda13x", "cupy-cuda12x", "cupy")
# How the names begin that NumPy gives to instruction sets, and the bits of their vectors, widest first.
VECTOR_BITS = {"AVX512": 512, "X86_V4": 512, "AVX2": 256, "X86_V3": 256, "": 128}
OPENBLAS_CORES_WITH_AVX512 = ("SkylakeX", "Cooperlake", "SapphireRapids")


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
    """Look around. It takes about a second, most of it for importing Numba."""
    report = Report()
    for part in (_software, _cpu, _engine, _gpu, _data):
        part(report)
    return report


def _software(report: Report) -> None:
    report.facts.append(("minires", f"{__version__}, in {Path(__file__).parent}"))
    report.facts.append(("python", f"{platform.python_version()}, {platform.system()} {platform.machine()}"))
    report.facts += [(package, version_of(package) or "not installed") for package in PACKAGES]


def version_of(package: str) -> str | None:
    """The version of a package that is installed, which is not imported for this; None without it."""
    from importlib import metadata  # here, to keep `import minires` quick

    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _cpu(report: Report) -> None:
    cores, bits, blas = usable_cores(), vector_bits(), blas_in_use()
    report.facts.append(("CPU", f"{cpu_name()}, {_counted(cores, 'core')}, {bits}-bit vectors"))
    report.facts.append(("BLAS", str(blas)))
    report.facts.append(("matrix product", f"{matrix_product_speed() / 1e9:.0f} GFLOP/s, 1024x1024, float32"))
    if blas.threads and blas.threads < cores:
        report.advice.append(
            f"BLAS uses {blas.threads} of {cores} cores: unset OMP_NUM_THREADS and OPENBLAS_NUM_THREADS, unless other "
            "programs need the rest."
        )
    if bits == 512 and blas.name == "openblas" and blas.core not in OPENBLAS_CORES_WITH_AVX512:
        report.advice.append(
            f"OpenBLAS runs its kernels for {blas.core or 'an unknown CPU'}, which leave half of this CPU's 512-bit "
            "vectors unused: set OPENBLAS_CORETYPE=SkylakeX before Python starts, and compare the matrix product."
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
    # Several copies may be loaded, SciPy's among them; NumPy's is the first, for NumPy was imported first.
    first = libraries[0]
    return Blas(first["internal_api"], first["version"] or "", first.get("architecture") or "", first["num_threads"])


def matrix_product_speed(n: int = 1024, repeats: int = 5) -> float:
    """Floating-point operations a second in NumPy's product of two n x n matrices; the best of ``repeats``."""
    a = np.ones((n, n), np.float32)
    best = float("inf")
    for _ in range(repeats):
        start = time.perf_counter()
        a @ a
        best = min(best, time.perf_counter() - start)
    return 2 * n**3 / best


def _engine(report: Report) -> None:
    try:
        importlib.import_module("numba")
    except ImportError as error:
        why = f"cannot be imported ({error})" if version_of("numba") else "is not installed"
        report.facts.append(("engine", "the textbook only"))
        report.advice.append(f"Numba {why}, so every op runs as the textbook has it, slowly: pip install -U numba.")
    else:
        report.facts.append(("engine", "fast, through Numba"))


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
    from . import data

    report.facts.append(("data sets", ", ".join(data.names())))
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
