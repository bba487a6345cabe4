"""The same kernels with narrower vectors than this CPU's widest: AVX2, and the 128 bits that every CPU has."""

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
X86 = platform.machine().lower() in ("x86_64", "amd64")
VECTORS = {"haswell": "8 16", "generic": "4 16"}  # lanes, registers
CODE = """
import sys, pytest
from minires.kernels.cpu.simd import LANES, REGISTERS
print(LANES, REGISTERS, flush=True)
sys.exit(pytest.main(["-q", "-p", "no:cacheprovider", sys.argv[1]]))
"""


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Run the twin test once for each CPU, all at the same time: they spend most of their time compiling."""
    found = {}
    for cpu in VECTORS:
        folder = tmp_path_factory.mktemp(cpu)
        environment = {
            **os.environ,
            "NUMBA_CPU_NAME": cpu,
            "NUMBA_CACHE_DIR": str(folder),
            "COVERAGE_PROCESS_START": "",
        }
        environment["PYTHONPATH"] = os.pathsep.join([str(ROOT), environment.get("PYTHONPATH", "")])
        command = [sys.executable, "-c", CODE, str(Path(__file__).parent / "test_twins.py")]
        with open(folder / "output", "w") as output:
            process = subprocess.Popen(command, env=environment, cwd=ROOT, stdout=output, stderr=subprocess.STDOUT)
        found[cpu] = process, folder / "output"
    yield found
    for process, _ in found.values():
        process.kill()
        process.wait()


@pytest.mark.slow
@pytest.mark.skipif(not X86, reason="not an x86 CPU")
@pytest.mark.parametrize("cpu", VECTORS)
def test_kernels_on_narrower_vectors(cpu, runs):
    process, output = runs[cpu]
    failed = process.wait(timeout=600)
    vectors, *rest = output.read_text().splitlines()
    assert vectors == VECTORS[cpu]
    assert not failed, "\n".join(rest[-60:])
