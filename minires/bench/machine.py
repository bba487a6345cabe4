"""Describe the machine and measure its peak performance, which are needed to interpret any other measurement."""

from __future__ import annotations

import hashlib
import json
import math
import platform
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import asdict, astuple, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_info  # type: ignore[import-untyped]

from ..core.backend import cupy_module
from ..core.dispatch import load_kernels
from ..data.places import cache_folder
from ..errors import KernelError, MiniresError, counted
from ..interop.files import write_atomically
from ..kernels.threads import get_num_threads, usable_cores
from ..version import __version__

KERNELS = Path(__file__).parents[1] / "kernels"
# Prefixes of NumPy's names of instruction sets, and the width of their vectors in bits, widest first.
VECTOR_BITS = {"AVX512": 512, "X86_V4": 512, "AVX2": 256, "X86_V3": 256, "": 128}


def version_of(package: str) -> str | None:
    """Return the version of a package without importing it, or None if it is not installed."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def cpu_name() -> str:
    """Return the name of the CPU, as given by its maker if the system knows it."""
    try:
        for line in Path("/proc/cpuinfo").read_text(errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass  # not Linux
    return platform.processor() or platform.machine()


def vector_bits() -> int:
    """Return the width of the CPU's vectors in bits, derived from the instruction sets that NumPy uses."""
    extensions = _numpy_config()["SIMD Extensions"]
    used = [*extensions.get("baseline", ()), *extensions.get("found", ())]
    return next(
        bits for start, bits in VECTOR_BITS.items() if not start or any(name.startswith(start) for name in used)
    )


def describe_machine(packages: Iterable[str]) -> dict[str, Any]:
    """Return the CPU, the system, and the versions of Python and of ``packages``, for a JSON file."""
    return {
        "cpu": cpu_name(),
        "cores": usable_cores(),
        "vector_bits": vector_bits(),
        "system": f"{platform.system()} {platform.machine()}",
        "versions": {"python": platform.python_version(), **{name: version_of(name) for name in packages}},
    }


def _numpy_config() -> Any:
    return np.show_config(mode="dicts")


@dataclass
class Blas:
    """The library behind NumPy's matrix products, the CPU that its kernels are made for (``core``), and its threads."""

    name: str
    version: str
    core: str = ""
    threads: int = 0  # 0 if unknown

    def __str__(self) -> str:
        kernels = f", kernels for {self.core}" if self.core else ""
        threads = f", {counted(self.threads, 'thread')}" if self.threads else ""
        return f"{self.name} {self.version}{kernels}{threads}"


def blas_in_use() -> Blas:
    """Return NumPy's BLAS. If threadpoolctl does not know it, e.g. Apple's, only its name and version are known."""
    libraries = [library for library in threadpool_info() if library["user_api"] == "blas"]
    if not libraries:
        built_with = _numpy_config()["Build Dependencies"]["blas"]
        return Blas(built_with["name"], built_with["version"])
    # Several copies may be loaded in any order, including SciPy's. Wheels keep their copy beside the package.
    ours = min(libraries, key=lambda library: not {"numpy", "numpy.libs"} & set(Path(library["filepath"]).parts))
    return Blas(ours["internal_api"], ours["version"] or "", ours.get("architecture") or "", ours["num_threads"])


def gpu_name() -> str:
    """Return the name of the GPU that ``device="cuda"`` uses. Raises DeviceError if CuPy finds no GPU."""
    return str(cupy_module().cuda.runtime.getDeviceProperties(0)["name"].decode())


@dataclass(frozen=True)
class Peak:
    """The measured peak performance of a CPU."""

    operations: float  # per second, in float32; a multiply-add counts as two
    bytes: float  # per second, read from and written to memory rather than caches

    def __str__(self) -> str:
        return f"{self.operations / 1e9:.0f} GFLOP/s, {self.bytes / 1e9:.1f} GB/s"


def kernels_load() -> bool:
    """Return whether the kernels of the CPU can be loaded."""
    try:
        return load_kernels("cpu")
    except KernelError:
        return False


_measured: dict[int, Peak] = {}  # the peaks measured by this process, keyed by the number of threads


def measure_peak(threads: int | None = None) -> Peak | None:
    """Measure the peak of the CPU with ``threads`` threads, by default as many as the kernels use.

    This takes a fraction of a second and is done once per process. The peak is written to the user's cache folder,
    where :func:`cached_peak` finds it. Returns None if the kernels, which are needed to measure it, cannot be loaded.
    """
    threads = min(threads or get_num_threads(), get_num_threads())
    if threads not in _measured and kernels_load():
        from ..kernels.cpu.peak import measure

        peak = _measured[threads] = Peak(*measure(threads))
        with suppress(OSError, MiniresError):  # if it cannot be written, only this process knows the peak
            cache_folder().mkdir(parents=True, exist_ok=True)
            write_atomically(_file(threads), json.dumps(asdict(peak)).encode())
    return _measured.get(threads)


def cached_peak(threads: int | None = None) -> Peak | None:
    """Return the peak measured earlier on this machine with the same kernels, or None if it is not in the cache."""
    threads = threads or get_num_threads()
    if threads in _measured:
        return _measured[threads]
    try:
        peak = Peak(**json.loads(_file(threads).read_text(encoding="utf-8")))
        return peak if all(0 < rate < math.inf for rate in astuple(peak)) else None
    except (OSError, ValueError, TypeError):  # the file is missing or damaged
        return None


def _file(threads: int) -> Path:
    """Return the path of a peak in the cache. The file name depends on everything that the peak depends on."""
    sources = b"".join(path.read_bytes() for path in sorted(KERNELS.rglob("*.py")))
    setting = f"{cpu_name()}, {vector_bits()}, {threads}, {__version__}, {version_of('numba')}".encode()
    return cache_folder() / f"peak-{hashlib.sha256(setting + sources).hexdigest()[:16]}.json"
