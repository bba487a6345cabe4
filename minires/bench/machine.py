"""On what it was measured: without this, no figure means anything."""

from __future__ import annotations

import platform
from dataclasses import asdict
from typing import Any

from ..cli.diagnose import blas_in_use, cpu_name, gpu_name, vector_bits, version_of
from ..kernels.threads import usable_cores
from ..version import __version__
from .process import Process
from .race import peak_from

PACKAGES = ("numpy", "numba", "cupy-cuda13x", "cupy-cuda12x", "torch", "dezero")


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
