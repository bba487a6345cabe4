"""``core/``, ``ops/`` and ``errors.py``, copied alone into an empty folder, import and train with NumPy alone."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import minires

TRAIN = """
import sys
from importlib.abc import MetaPathFinder

class OnlyNumPy(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] not in {"numpy", "evening", *sys.stdlib_module_names}:
            raise ImportError(f"{name} is neither NumPy nor part of the copy")

sys.meta_path.insert(0, OnlyNumPy())

import numpy as np
from evening import ops
from evening.core.state import no_grad
from evening.core.tensor import Tensor, tensor

# Is the bright row of a noisy image in its upper or in its lower half?
rng = np.random.default_rng(0)
labels = rng.integers(0, 2, 64)
images = rng.normal(0, 0.5, (64, 1, 8, 8)).astype("float32")
images[np.arange(64), 0, rng.integers(0, 4, 64) + 4 * labels] += 1

def parameter(*shape):
    return Tensor(rng.normal(0, 0.3, shape).astype("float32"), requires_grad=True)

w1, w2 = parameter(4, 1, 3, 3), parameter(2, 4 * 4 * 4)
gamma, beta = tensor(np.ones(4, "float32"), requires_grad=True), tensor(np.zeros(4, "float32"), requires_grad=True)

losses = []
for _ in range(40):
    x = ops.conv2d(tensor(images), w1, padding=1)
    x = ops.relu(ops.batch_norm(x, gamma, beta, None, None, training=True))
    logits = ops.linear(ops.max_pool2d(x, 2).flatten(1), w2)
    loss = ops.cross_entropy(logits, labels)
    loss.backward()
    with no_grad():
        for p in (w1, w2, gamma, beta):
            p -= 0.1 * p.grad
            p.grad = None
    losses.append(loss.item())
print(losses[0], losses[-1])
assert losses[-1] < 0.1 < 0.5 < losses[0]
"""


def test_the_copy_trains_a_small_convolutional_network(tmp_path):
    package = Path(minires.__file__).parent
    for room in ("core", "ops"):
        shutil.copytree(package / room, tmp_path / "evening" / room, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(package / "errors.py", tmp_path / "evening")
    done = subprocess.run([sys.executable, "-c", TRAIN], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
