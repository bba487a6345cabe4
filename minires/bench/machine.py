"""The machine that is measured on, and the most that it can do: without this, no figure means anything."""

from __future__ import annotations

import hashlib
import json
import math
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ..core.dispatch import load_kernels
from ..data.places import cache_folder
from ..errors import MiniresError
from ..interop.files import write_atomically
from ..kernels.threads import get_num_threads
from ..version import __version__

KERNELS = Path(__file__).parents[1] / "kernels"


@dataclass(frozen=True)
class Peak:
    """What a CPU can do at most, as measured."""

    operations: float  # a second, in float32; a multiply-add counts as two
    bytes: float  # a second, read from memory and written to it, not to caches

    def __str__(self) -> str:
        return f"{self.operations / 1e9:.0f} GFLOP/s, {self.bytes / 1e9:.1f} GB/s"


_measured: dict[int, Peak] = {}  # by this process: the number of threads to the peak


def measure_peak(threads: int | None = None) -> Peak | None:
    """Measure the peak of the CPU with ``threads`` threads, by default all that kernels use.

    It takes a fraction of a second, once in a process, and is written to the user's cache folder, where
    :func:`cached_peak` finds it. Returns None if the kernels, which measure it, cannot be loaded.
    """
    threads = min(threads or get_num_threads(), get_num_threads())
    if threads not in _measured and load_kernels("cpu"):
        from ..kernels.cpu.peak import measure

        _measured[threads] = Peak(*measure(threads))
        _store(_key(threads), _measured[threads])
    return _measured.get(threads)


def cached_peak(threads: int | None = None) -> Peak | None:
    """The peak that was measured before on this machine, with these kernels; None if there is none in the cache."""
    threads = threads or get_num_threads()
    return _measured.get(threads) or _stored().get(_key(threads))


def _key(threads: int) -> str:
    """What a peak depends on."""
    from ..cli.diagnose import cpu_name, vector_bits, version_of

    sources = b"".join(path.read_bytes() for path in sorted(KERNELS.rglob("*.py")))
    kernels = f"minires {__version__} {hashlib.sha256(sources).hexdigest()[:16]}, numba {version_of('numba')}"
    return f"{cpu_name()}, {vector_bits()}-bit vectors, {threads} threads, {kernels}"


def _stored() -> dict[str, Peak]:
    """All peaks in the cache; none if it is missing or damaged."""
    try:
        content = json.loads((cache_folder() / "peaks.json").read_text(encoding="utf-8"))
        peaks = {key: Peak(float(operations), float(rate)) for key, (operations, rate) in content.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}
    return {key: peak for key, peak in peaks.items() if all(0 < rate < math.inf for rate in vars(peak).values())}


def _store(key: str, peak: Peak) -> None:
    peaks = {**_stored(), key: peak}
    content = {name: [peak.operations, peak.bytes] for name, peak in peaks.items()}
    with suppress(OSError, MiniresError):  # if it cannot be written, only this process knows the peak
        cache_folder().mkdir(parents=True, exist_ok=True)
        write_atomically(cache_folder() / "peaks.json", json.dumps(content, indent=1).encode())
