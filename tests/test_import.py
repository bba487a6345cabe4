"""``import minires`` is light, silent, and needs nothing but NumPy."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

import minires

HEAVY = ["numba", "cupy", "matplotlib", "sklearn", "scipy", "torch", "PIL", "typer", "rich", "safetensors", "onnx"]

REPORT = f"""
import json, os, sys, warnings
warnings.simplefilter("error")
before = dict(os.environ)
import minires as mr
x = mr.tensor([[1.0, -2.0]], requires_grad=True)
loss = mr.ops.cross_entropy(mr.ops.conv2d(x.reshape(1, 1, 1, 2), [[[[1.0]]]]).flatten(1), [0])
loss.backward()
assert dict(os.environ) == before, "the environment was changed"
sys.stderr.write(json.dumps(sorted({{name.split(".")[0] for name in sys.modules}} & set({HEAVY}))))
"""


def run(code: str) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("COV_", "PYTHON"))}
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=clean, timeout=60)


def test_import_and_a_training_step_load_nothing_heavy_print_nothing_and_leave_the_environment():
    done = run(REPORT)
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    assert json.loads(done.stderr) == []


@pytest.mark.parametrize("missing", ["numba", "cupy", "scipy", "matplotlib"])
def test_it_works_where_a_package_cannot_be_imported(missing):
    done = run(f"import sys; sys.modules[{missing!r}] = None\n{REPORT}")
    assert done.returncode == 0, done.stderr


def test_the_public_face_is_there():
    """The names that the README and the documentation rely on."""
    for name in [
        "tensor",
        "Tensor",
        "grad",
        "no_grad",
        "engine",
        "detect_anomaly",
        "profile",
        "manual_seed",
        "show_config",
        "gradcheck",
        "GradcheckError",
        "save",
        "load",
        "ops",
        "nn",
        "optim",
        "models",
        "data",
        "interop",
        "explain",
        "vision",
        "from_dlpack",
    ]:
        assert hasattr(minires, name) and name in minires.__all__, name
    assert callable(minires.gradcheck) and callable(minires.tensor)


def test_explain_and_vision_are_imported_when_they_are_asked_for():
    done = run(
        "import sys, minires as mr; assert {'minires.explain', 'minires.vision'}.isdisjoint(sys.modules); "
        "assert mr.explain.step and mr.vision.nms"
    )
    assert done.returncode == 0, done.stderr
    with pytest.raises(AttributeError, match="no attribute 'explian'"):
        minires.explian
