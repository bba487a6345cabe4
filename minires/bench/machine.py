"""The machine that is measured on, and the most that it can do: without this, no figure means anything."""

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
from threadpoolctl import threadpool_info  # type: ignore[import-untyped]  # comes with scikit-learn

from ..core.backend import cupy_module
from ..core.dispatch import load_kernels
from ..data.places import cache_folder
from ..errors import KernelError, MiniresError, counted
from ..interop.files import write_atomically
from ..kernels.threads import get_num_threads, usable_cores
from ..version import __version__

KERNELS = Path(__file__).parents[1] / "kernels"
# How NumPy's names of instruction sets begin, and the width of their vectors in bits, widest first.
VECTOR_BITS = {"AVX512": 512, "X86_V4": 512, "AVX2": 256, "X86_V3": 256, "": 128}


def version_of(package: str) -> str | None:
    """The version of a package, which is not imported for this, or None if it is not installed."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def cpu_name() -> str:
    """The name of the CPU, as its maker gives it where the system knows it."""
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


def describe_machine(packages: Iterable[str]) -> dict[str, Any]:
    """The CPU, the system, and the versions of Python and of packages, for a JSON file."""
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
    """The library behind NumPy's matrix products, the CPU that its kernels are for (``core``), and its threads."""

    name: str
    version: str
    core: str = ""
    threads: int = 0  # unknown

    def __str__(self) -> str:
        kernels = f", kernels for {self.core}" if self.core else ""
        threads = f", {counted(self.threads, 'thread')}" if self.threads else ""
        return f"{self.name} {self.version}{kernels}{threads}"


def blas_in_use() -> Blas:
    """NumPy's BLAS; if threadpoolctl does not know it, as Apple's, only what NumPy was built with."""
    libraries = [library for library in threadpool_info() if library["user_api"] == "blas"]
    if not libraries:
        built_with = _numpy_config()["Build Dependencies"]["blas"]
        return Blas(built_with["name"], built_with["version"])
    # Several copies may be loaded, in any order, SciPy's among them; wheels keep theirs beside the package.
    ours = min(libraries, key=lambda library: not {"numpy", "numpy.libs"} & set(Path(library["filepath"]).parts))
    return Blas(ours["internal_api"], ours["version"] or "", ours.get("architecture") or "", ours["num_threads"])


def gpu_name() -> str:
    """The name of the GPU that ``device="cuda"`` uses. Raises DeviceError if CuPy finds no GPU."""
    return str(cupy_module().cuda.runtime.getDeviceProperties(0)["name"].decode())


@dataclass(frozen=True)
class Peak:
    """What a CPU can do at most, as measured."""

    operations: float  # a second, in float32; a multiply-add counts as two
    bytes: float  # a second, read from memory and written to it, not to caches

    def __str__(self) -> str:
        return f"{self.operations / 1e9:.0f} GFLOP/s, {self.bytes / 1e9:.1f} GB/s"


def kernels_load() -> bool:
    """Whether the kernels of the CPU can be loaded."""
    try:
        return load_kernels("cpu")
    except KernelError:
        return False


_measured: dict[int, Peak] = {}  # by this process: the number of threads to the peak


def measure_peak(threads: int | None = None) -> Peak | None:
    """Measure the peak of the CPU with ``threads`` threads, by default all that kernels use.

    It takes a fraction of a second, once in a process, and is written to the user's cache folder, where
    :func:`cached_peak` finds it. Returns None if the kernels, which measure it, cannot be loaded.
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
    """The peak that was measured before on this machine, with these kernels; None if it is not in the cache."""
    threads = threads or get_num_threads()
    if threads in _measured:
        return _measured[threads]
    try:
        peak = Peak(**json.loads(_file(threads).read_text(encoding="utf-8")))
        return peak if all(0 < rate < math.inf for rate in astuple(peak)) else None
    except (OSError, ValueError, TypeError):  # it is missing or damaged
        return None


def _file(threads: int) -> Path:
    """Where the cache keeps a peak; the name depends on all that the peak depends on."""
    sources = b"".join(path.read_bytes() for path in sorted(KERNELS.rglob("*.py")))
    setting = f"{cpu_name()}, {vector_bits()}, {threads}, {__version__}, {version_of('numba')}".encode()
    return cache_folder() / f"peak-{hashlib.sha256(setting + sources).hexdigest()[:16]}.json"
