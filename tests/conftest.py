"""Fixtures for all tests: a seed, a check that no switch is left on, and the devices of this machine."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings
from PIL import Image

import minires as mr
from minires.core.backend import check_device
from minires.core.dispatch import _kernels
from minires.core.state import state

# The same examples in every run, and no files left behind, so that failures can be reproduced everywhere.
settings.register_profile("minires", derandomize=True, deadline=None, database=None, max_examples=100)
settings.load_profile("minires")

collect_ignore_glob = ["conftest.py", "*/conftest.py", "stand_in/*", "attacks/*"]  # doctest needs unique file names

THREADS = mr.get_num_threads()
SWITCHES = ("grad_enabled", "engine", "anomaly", "observers")


@pytest.fixture(autouse=True)
def nothing_leaks():
    """Seed the one generator, and fail a test that leaves a switch or a kernel behind.

    The number of threads, by which sums are cut and so rounded, is the same for each test, too.
    """
    mr.manual_seed(0)
    mr.set_num_threads(THREADS)
    before = {name: getattr(state, name) for name in SWITCHES}
    kernels = dict(_kernels)
    yield
    left = {name: getattr(state, name) for name in SWITCHES if getattr(state, name) is not before[name]}
    for name, value in before.items():
        setattr(state, name, value)
    new = {op.__name__ for op, *_ in _kernels.keys() - kernels.keys() if not op.__module__.startswith("minires.")}
    assert not left, f"the test left global state changed: {left}"
    assert not new, f"the test left kernels registered: {new}"


@pytest.fixture
def rng():
    """A random generator for the test, with the same numbers in each run."""
    return np.random.default_rng(20160627)


def _gpu() -> str | None:
    """Why there is no GPU to test on; None if there is one."""
    try:
        check_device("cuda")
    except mr.errors.DeviceError as error:
        return str(error)
    return None


NO_GPU = _gpu()
DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.skipif(NO_GPU is not None, reason=str(NO_GPU)))]


@pytest.fixture(params=DEVICES)
def device(request):
    """Each device in turn: a test with this fixture runs on the CPU and, if there is one, on the GPU."""
    return request.param


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Mark all tests that run on a GPU, so that ``pytest -k cuda`` and ``-m cuda`` select them."""
    for item in items:
        parameters = item.callspec.params if hasattr(item, "callspec") else {}
        if "cuda" in getattr(item, "fixturenames", ()) or parameters.get("device") == "cuda":
            item.add_marker("cuda")


@pytest.fixture
def cuda():
    """For a test that needs a GPU; it is skipped without one."""
    if NO_GPU is not None:
        pytest.skip(NO_GPU)


@pytest.fixture
def pets(tmp_path, monkeypatch):
    """Ten bright cats and ten dark dogs of 9x10 pixels, in the folder "pets" of the current one."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    for label, dark in (("cat", 120), ("dog", 0)):
        Path("pets", label).mkdir(parents=True)
        for number in range(10):
            pixels = rng.integers(dark, dark + 120, (9, 10, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(f"pets/{label}/{number}.png")
