"""Training on the GPU: the same numbers as on the CPU, and runs that are stopped and resumed."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import minires as mr
from minires.data import Dataset, Split
from minires.ops import norm
from minires.training import evaluate, load_run, train

pytestmark = pytest.mark.usefixtures("cuda")


@pytest.fixture(autouse=True)
def fewer(monkeypatch):
    """Even fewer images: three batches, of which the last is smaller."""
    digits = mr.data.digits()
    train, test = (Split(split.images[:70], split.labels[:70]) for split in (digits.train, digits.test))
    dataset = Dataset("few", digits.classes, train, test, digits.augmentation)
    monkeypatch.setitem(mr.data.DATASETS, "few", lambda: dataset)
    return dataset


def steps(device, count, batch, size):
    """The losses of some steps of a ResNet-20, and the weights after them."""
    mr.manual_seed(0)
    rng = np.random.default_rng(0)
    net = mr.models.resnet20().to(device)
    optimizer = mr.optim.SGD(net.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4, nesterov=True)
    losses = []
    for _ in range(count):
        x, labels = rng.standard_normal((batch, 3, size, size)).astype("f"), rng.integers(0, 10, batch)
        optimizer.zero_grad()
        loss = mr.ops.cross_entropy(net(mr.tensor(x, device=device)), labels)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses, net.state_dict()


def test_ten_steps_of_a_resnet20_agree_with_the_cpu():
    """Of real batches on a GPU. The stand-in has time for small ones, in which a rounding that flips a ReLU weighs
    more, and the difference has grown tenfold every two steps: so it does three.
    """
    import cupy

    sizes = (3, 8, 12) if cupy.__version__ == "stand-in" else (10, 128, 32)
    losses, weights = steps("cuda", *sizes)
    right_losses, right_weights = steps("cpu", *sizes)
    np.testing.assert_allclose(losses, right_losses, rtol=1e-4)
    for name, right in right_weights.items():
        np.testing.assert_allclose(weights[name], right, rtol=0, atol=1e-4 * np.abs(right).max(), err_msg=name)


def test_a_training_step_copies_no_layout():
    """After the first convolution has changed the layout of the images, all ops keep it."""
    from minires.kernels.cuda import DEVICE

    net = mr.models.resnet8().to("cuda")
    x = mr.tensor(np.random.default_rng(0).standard_normal((2, 3, 8, 8)).astype("f"), device="cuda")
    copies = DEVICE.copies
    mr.ops.cross_entropy(net(x), [1, 2]).backward()
    assert DEVICE.copies - copies == 1


def test_nothing_falls_back_to_the_textbook(monkeypatch):
    """Every op of a residual network has kernels on the GPU, forward and backward."""
    net = mr.models.resnet8().to("cuda")
    x = mr.tensor(np.random.default_rng(0).standard_normal((40, 3, 8, 8)).astype("f"), device="cuda")
    loss = mr.ops.cross_entropy(net(x), np.arange(40) % 10)
    textbook = [op for op in vars(mr.ops.conv).values() if isinstance(op, type) and issubclass(op, mr.Op)]
    textbook += [norm.BatchNorm, norm.BatchNormAct, mr.ops.pool.GlobalAvgPool2d, mr.ops.linalg.Linear]
    for op in textbook:
        for phase in ("forward", "backward"):
            monkeypatch.setattr(op, phase, lambda self, *_, p=phase: pytest.fail(f"the {p} of {self.name} in Python"))
    mr.ops.cross_entropy(net(x), np.arange(40) % 10)
    loss.backward()


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"mixup": 0.5, "cutout": 3, "color_jitter": 0.2, "flip_test": True},
        {"clip": 0.5, "ema": 0.9, "optimizer": "adamw"},
    ],
)
def test_a_run_on_the_gpu_is_a_run(config, fewer, options):
    config = replace(config, device="cuda", **options)
    metrics = train(config)
    assert metrics["device"] == "cuda"
    assert json.loads(Path("run/metrics.json").read_text()) == metrics
    run = load_run("run")  # on the CPU
    result = evaluate(run.model, fewer.test, run.normalize, flip=config.flip_test)
    assert result.loss == pytest.approx(metrics["test_loss"], rel=1e-3)


def test_a_run_is_the_same_as_on_the_cpu(config):
    """Shuffling, augmentation and initial weights are drawn in the same way."""
    histories = []
    for device in ("cpu", "cuda"):
        train(replace(config, epochs=1, device=device, out=device))
        histories.append(np.genfromtxt(f"{device}/history.csv", delimiter=",", names=True))
    for column in ("train_loss", "train_accuracy", "test_loss"):
        assert histories[1][column] == pytest.approx(histories[0][column], rel=1e-2), column


def test_a_run_on_the_gpu_goes_on_where_it_stopped(config):
    config = replace(config, device="cuda")
    train(replace(config, out="whole"))
    calls = iter(range(100))
    with pytest.raises(mr.errors.StoppedError):
        train(config, stop=lambda: next(calls) == 4)
    train(config, resume=True)
    whole, resumed = (mr.load(f"{name}/model.safetensors") for name in ("whole", "run"))
    for name, array in whole.items():
        np.testing.assert_array_equal(resumed[name], array, err_msg=name)


def test_workers_bring_the_same_batches(config):
    dataset = mr.data.digits()
    normalize = mr.data.transforms.Normalize.of(dataset.train)
    transform = mr.data.transforms.Compose([mr.data.transforms.PadCrop(1), normalize])
    batches = [
        next(iter(mr.data.Loader(dataset.train, 32, True, 0, transform, num_workers=workers, device=device)))
        for workers, device in ((0, "cpu"), (0, "cuda"), (2, "cuda"))
    ]
    images = [mr.tensor(images).numpy() for images, _ in batches]
    assert mr.tensor(batches[1][0]).device == "cuda"
    for got in images[1:]:
        np.testing.assert_allclose(got, images[0], rtol=1e-6, atol=1e-6)
