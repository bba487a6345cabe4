"""Every kernel runs when it is needed: through the real dispatch, at the sizes of a ResNet on 32x32."""

from __future__ import annotations

from collections import Counter
from math import prod

import numpy as np
import pytest

import minires as mr
from minires.core import dispatch
from minires.core.state import observed
from minires.data.transforms import Flip, Normalize, PadCrop
from minires.kernels import threads

dispatch.load_kernels("cpu")
BATCH = 32
DECLINED = "declined"


@pytest.fixture
def ran(monkeypatch):
    """How often each kernel of the CPU computed a result, and how often one declined."""
    counts = Counter()

    def counted(key, run):
        op, phase, _ = key

        def count(*arguments):
            result = run(*arguments)
            counts[DECLINED if result is NotImplemented else (getattr(op, "name", op.__name__), phase)] += 1
            return result

        return count

    kernels = {key: kernel._replace(run=counted(key, kernel.run)) for key, kernel in dispatch._kernels.items()}
    monkeypatch.setattr(dispatch, "_kernels", kernels)
    return counts


def some(rng, channels, size):
    """Images as the ops keep them in memory: channels last."""
    block = rng.standard_normal((BATCH, size, size, channels)).astype("f")
    return mr.Tensor.wrap(block.transpose(0, 3, 1, 2))


def train(model, rng, optimizer):
    mr.ops.cross_entropy(model(some(rng, 3, 32)), rng.integers(0, 10, BATCH)).backward()
    optimizer.step()


def use_every_kernel(rng):
    stored, generator = rng.integers(0, 256, (BATCH, 3, 32, 32), dtype=np.uint8), np.random.default_rng(0)
    for transform in (PadCrop(4), Flip(), Normalize([0.5] * 3, [0.25] * 3)):
        transform(stored, generator)
    model = mr.models.resnet8()
    for optimizer, options in {
        mr.optim.SGD: {"momentum": 0.9},
        mr.optim.Adam: {},
        mr.optim.AdamW: {},
        mr.optim.RMSprop: {},
    }.items():
        train(model, rng, optimizer(model.parameters(), lr=0.01, **options))
    for replay in (False, True):
        mr.nn.fold(model, replay)(some(rng, 3, 32))
    x = some(rng, 16, 32)
    x.requires_grad = True
    weight = mr.tensor(np.ones((16, 16, 3, 3), "f"), requires_grad=True)
    ones, zeros = np.ones(16, "f"), np.zeros(16, "f")
    y = mr.ops.batch_norm(mr.ops.relu(x), ones, zeros, None, None, training=True)
    y = mr.ops.conv_transpose2d(mr.ops.max_pool2d(y, 2), weight, stride=2, padding=1, output_padding=1)
    y = mr.ops.avg_pool2d(mr.ops.residual_add(y, x) + y.masked_fill(y.data > 1, 1), 2)
    y = mr.ops.interpolate(mr.ops.group_norm(mr.ops.interpolate(y, 24, mode="bilinear"), 4), 16)
    y.backward(some(rng, 16, 16))


def test_every_kernel_runs_at_the_sizes_of_a_resnet(ran, rng):
    use_every_kernel(rng)
    there = {(getattr(op, "name", op.__name__), phase) for op, phase, device in dispatch._kernels if device == "cpu"}
    assert there - set(ran) == set()
    assert ran[DECLINED] == 1  # the last layer, for the two images with which `fold` records its replay


def test_the_textbook_only_takes_views_in_a_training_step(ran, rng):
    """For each op on at least SMALL numbers, its kernel ran; a view is as fast in the textbook."""
    calls = Counter()

    def count(op, phase, arrays):
        sizes = [array.size for array in arrays] + [prod(s) for s in op.input_shapes if phase == "backward"]
        calls[op.name, phase] += max(sizes) >= dispatch.SMALL

    model = mr.models.resnet20()
    with observed(count):
        train(model, rng, mr.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, nesterov=True))
    assert calls - ran == {("getitem", "forward"): 4, ("getitem", "backward"): 2, ("pad", "backward"): 2}
    assert ran[DECLINED] == 0


@pytest.mark.parametrize(("outputs", "kernels"), [(100, 1), (10, 0)])
def test_many_weights_are_multiplied_by_a_kernel_even_for_one_row(ran, rng, outputs, kernels):
    """NumPy would do it on threads that then spin for milliseconds, while the next kernels need their cores."""
    weight = mr.tensor(rng.standard_normal((outputs, 512)).astype("f"), requires_grad=True)
    row = mr.tensor(rng.standard_normal((1, 512)).astype("f"), requires_grad=True)
    mr.ops.linear(row, weight).backward(np.ones((1, outputs), "f"))
    assert ran["linear", "forward"] == ran["linear", "backward"] == kernels
    np.testing.assert_allclose(row.grad.data, weight.data.sum(0)[None], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_the_classes_of_pixels_are_judged_by_the_kernel_for_examples(reduction, ran, rng, monkeypatch):
    numbers, labels = 10 * rng.standard_normal((3, 5, 40, 30)).astype("f"), rng.integers(0, 5, (3, 40, 30))
    found = []
    for engine, members in (("textbook", 1), ("fast", 1), ("fast", 3)):
        monkeypatch.setattr(threads, "_setting", members)
        with mr.engine(engine):
            logits = mr.tensor(numbers, requires_grad=True)
            loss = mr.ops.cross_entropy(logits, labels, label_smoothing=0.1, reduction=reduction)
            loss.backward()
        found.append((loss.numpy(), logits.grad.numpy()))
    assert ran["cross_entropy", "forward"] == ran["cross_entropy", "backward"] == 2
    for textbook, one, three in zip(*found, strict=True):
        np.testing.assert_allclose(one, textbook, rtol=1e-5, atol=1e-6 * np.abs(textbook).max())
        np.testing.assert_array_equal(one, three)  # whatever the number of threads
