"""The loops that measure the peaks compute what they should. Their speed is not tested."""

import numpy as np
import pytest

from minires.core.dispatch import load_kernels

if not load_kernels("cpu"):
    pytest.skip("no kernels", allow_module_level=True)

from minires.kernels.cpu import peak
from minires.kernels.cpu.team import run
from minires.kernels.cpu.tile import NARROW, WIDE


@pytest.mark.parametrize("shape", [WIDE, NARROW])
def test_every_multiply_add_is_done(shape, rng):
    """Whole numbers, so that the sum is exact in any order."""
    pixels, block = len(shape.pixels), shape.block
    x, w, y = (np.empty((1, size), np.float32) for size in (peak.STEPS * pixels, peak.STEPS * block, shape.size))
    x[:], w[:], y[:] = rng.integers(-3, 4, x.size), rng.integers(-3, 4, w.size), 2
    run(1, peak._multiply_add, shape, x, w, y, 7)
    expected = 2 + 7 * np.einsum("kp,kb->pb", x.reshape(-1, pixels), w.reshape(-1, block))
    np.testing.assert_array_equal(y.reshape(pixels, block), expected)


def test_every_number_is_scaled_once():
    x = np.arange(1003, dtype=np.float32)
    run(3, peak._scale, x, np.float32(-1))
    assert (x == -np.arange(1003)).all()


@pytest.mark.parametrize("threads", [1, 3])
def test_a_measurement(threads, monkeypatch):
    """Each thread does its part of both loops, and the rates are the work divided by the time."""
    monkeypatch.setattr("minires.kernels.threads._setting", 2)
    monkeypatch.setattr(peak, "_best_time", lambda run: run() or 0.5)
    monkeypatch.setattr(peak, "REPEATS", 2)
    monkeypatch.setattr(peak, "large_array", lambda: array)
    array = np.ones(1001, np.float32)
    operations, moved = peak.measure(threads)
    used = min(threads, 2)
    assert operations == used * 2 * 2 * peak.STEPS * WIDE.size / 0.5
    assert moved == 2 * 4 * 1001 / 0.5 and (array == -1).all()


def test_the_best_of_some_runs(monkeypatch):
    times = iter([0.0, 9.0, 9.0, 10.0, 10.0, 13.0])  # the start and end of three runs
    monkeypatch.setattr(peak.time, "perf_counter", lambda: next(times))
    runs = []
    assert peak._best_time(lambda: runs.append(1)) == 1.0 and len(runs) == 4


@pytest.mark.parametrize(("text", "size"), [("32768K", 32 << 20), ("1M", 1 << 20), ("512", 512), ("", 0)])
def test_sizes_of_caches(tmp_path, text, size):
    (tmp_path / "size").write_text(text + "\n")
    assert peak._bytes(tmp_path / "size") == size


def test_the_large_array_is_larger_than_the_caches():
    assert peak.LEAST <= peak.large_array().nbytes <= peak.MOST
