"""The same kernels on other vectors than this CPU's widest: AVX2, and the 128 bits that every CPU has."""

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

CODE = "from minires.kernels.cpu.simd import LANES, PIXELS, VECTORS; print(LANES, PIXELS, VECTORS)"
ROOT = Path(__file__).parents[2]
X86 = platform.machine().lower() in ("x86_64", "amd64")


@pytest.mark.slow
@pytest.mark.skipif(not X86, reason="not an x86 CPU")
@pytest.mark.parametrize(("cpu", "lanes"), [("haswell", "8 6 2"), ("generic", "4 6 2")])
def test_kernels_on_narrower_vectors(cpu, lanes, tmp_path):
    environment = {**os.environ, "NUMBA_CPU_NAME": cpu, "NUMBA_CACHE_DIR": str(tmp_path), "COVERAGE_PROCESS_START": ""}
    environment["PYTHONPATH"] = os.pathsep.join([str(ROOT), environment.get("PYTHONPATH", "")])
    found = subprocess.run(
        [sys.executable, "-c", CODE], env=environment, cwd=tmp_path, check=True, text=True, capture_output=True
    )
    assert found.stdout.strip() == lanes
    tests = str(Path(__file__).parent / "test_twins.py")
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", tests],
        env=environment, cwd=ROOT, text=True, capture_output=True,
    )  # fmt: skip
    assert run.returncode == 0, run.stdout[-3000:]
