"""Kernels on disk."""

from __future__ import annotations

import importlib.util
import pickle

SOURCE = """
from minires.kernels.cpu.compiler import kernel

@kernel
def double(x):
    return 2 * x
"""


def run(path):
    spec = importlib.util.spec_from_file_location("some_kernel", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.double(21), module.double.stats


def test_a_cache_of_another_version_is_written_anew(tmp_path):
    path = tmp_path / "some_kernel.py"
    path.write_text(SOURCE)
    assert run(path)[0] == 42
    result, stats = run(path)
    assert result == 42 and sum(stats.cache_hits.values()) == 1

    (index,) = tmp_path.rglob("*.nbi")
    content = index.read_bytes()
    with open(index, "rb") as file:
        pickle.load(file)  # Numba's version
        start = file.tell()
    index.write_bytes(content[:start] + b"cminires.kernels.cpu.plan\nAClassThatIsGone\n.")
    result, stats = run(path)
    assert result == 42 and sum(stats.cache_misses.values()) == 1
    assert sum(run(path)[1].cache_hits.values()) == 1
