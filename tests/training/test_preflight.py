"""What can be known before a run starts is said before it starts, and leaves no folder."""

import shutil
import sys
from collections import namedtuple
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import minires as mr
from minires.data import Dataset, Split
from minires.errors import ArgumentError, DataError, MiniresError, RunError, ShapeError
from minires.training import loop, preflight, train
from minires.training.preflight import check_before_training

ONE_LEFT = {"batch_size": 7, "epochs": 1}  # 15 images: the last batch is one image


def dataset(size, images=15, classes=2, labels=None):
    labels = np.arange(images) % classes if labels is None else np.array(labels)
    pixels = np.random.default_rng(0).integers(0, 256, (len(labels), 1, size, size), dtype=np.uint8)
    return Dataset("few", tuple("abcdefgh"[:classes]), Split(pixels, labels), Split(pixels[:4], labels[:4]))


def use(monkeypatch, *arguments, **keywords):
    monkeypatch.setitem(mr.data.DATASETS, "few", lambda: dataset(*arguments, **keywords))


# resnet8 has two strides of 2: 4x4 images become 1x1, where batch norm cannot train on a single image
REFUSED = {
    "last of one": (4, ONE_LEFT, ArgumentError, r"the last batch of 15 images is a single image.*1x4x4 to one pixel; "
                    r"use --drop-last, or another --batch-size"),
    "too small": (4, {"model": "resnet9"}, ShapeError, r"resnet9 cannot be trained on images of 1x4x4 \(max_pool2d"),
    "nothing left": (8, {"cutout": 16}, ArgumentError, "cutout is 16, which covers all of an image of 1x8x8"),
    "too small, last of one": (4, {"model": "resnet9", **ONE_LEFT}, ShapeError,
                               r"resnet9 cannot be trained on images of 1x4x4 \(max_pool2d"),
}  # fmt: skip


@pytest.mark.parametrize(("size", "settings", "kind", "message"), REFUSED.values(), ids=REFUSED)
def test_a_batch_that_does_not_fit_is_refused_before_the_run(config, monkeypatch, size, settings, kind, message):
    use(monkeypatch, size)
    with pytest.raises(kind, match=message):
        train(replace(config, **settings))
    assert not Path("run").exists()


def test_batches_of_one_image_are_told_to_grow(config, monkeypatch):
    use(monkeypatch, 4)
    for drop_last in (False, True):
        with pytest.raises(ArgumentError, match="use a larger --batch-size"):
            train(replace(config, batch_size=1, drop_last=drop_last))


@pytest.mark.parametrize(
    "settings", [{**ONE_LEFT, "drop_last": True}, {"batch_size": 6}, {"batch_size": 15}, {"batch_size": 100}]
)
def test_what_fits_is_trained(config, monkeypatch, no_figures, settings):
    use(monkeypatch, 4)
    metrics = train(replace(config, **{"epochs": 1, **settings}))
    images = 14 if settings.get("drop_last") else 15
    assert metrics["images_per_second"] == pytest.approx(images / metrics["train_seconds"])


def test_one_image_on_a_larger_map_is_trained(config, monkeypatch, no_figures):
    use(monkeypatch, 8)
    train(replace(config, **ONE_LEFT))


def test_frozen_layers_take_a_single_image(config, monkeypatch, no_figures):
    """Their batch norms use the running statistics."""
    use(monkeypatch, 4)
    train(replace(config, batch_size=15, epochs=1, out="start"))
    train(replace(config, **ONE_LEFT, weights="start", freeze="backbone"))


def test_the_check_leaves_no_trace(config, monkeypatch):
    """The same weights, buffers, modes and random numbers as without it."""
    seen = []

    def check(config, model, *rest):
        before = {name: array.tobytes() for name, array in model.state_dict().items()}
        state, modes = mr.core.backend.generator().bit_generator.state, [m.training for m in model.modules()]
        check_before_training(config, model, *rest)
        assert before == {name: array.tobytes() for name, array in model.state_dict().items()}
        assert mr.core.backend.generator().bit_generator.state == state
        assert [m.training for m in model.modules()] == modes
        seen.append(model)
        raise KeyboardInterrupt

    monkeypatch.setattr(loop, "check_before_training", check)
    with pytest.raises(KeyboardInterrupt):
        train(replace(config, model="resnet18", stochastic_depth_prob=0.5))
    assert seen


def test_a_class_without_training_images_is_refused(config, monkeypatch):
    use(monkeypatch, 8, classes=5, labels=[0, 0, 2, 4])
    with pytest.raises(DataError, match=r"^train: few has no training images of b, d; "):
        train(config)
    assert not Path("run").exists()


@pytest.mark.parametrize(("module", "package"), preflight.PACKAGES.items())
def test_a_missing_package_is_noticed_before_training(config, monkeypatch, module, package):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(RunError, match=f"pip install {package}"):
        train(config)
    assert not Path("run").exists()


@pytest.mark.parametrize(
    (
        "settings",
        "copies",
    ),  # of the weights: the model, and twice the checkpoint with momentum, moments or average
    [({}, 1 + 2 * 2), ({"optimizer": "adam"}, 1 + 2 * 3), ({"ema": 0.9}, 1 + 2 * 3)],
)
def test_a_full_disk_is_noticed_before_training(config, monkeypatch, no_figures, settings, copies):
    usage = namedtuple("usage", "total used free")
    parameters = sum(p.size for p in mr.models.resnet8(in_channels=1).parameters())
    needed = 4 * copies * parameters  # and a little for the buffers
    monkeypatch.setattr(preflight, "FIGURES_AND_TABLES", 0)
    monkeypatch.setattr(shutil, "disk_usage", lambda place: usage(1, 0, needed))
    with pytest.raises(RunError, match=r"the checkpoints need .* MB, but the disk of .* has only .* MB left"):
        train(replace(config, **settings))
    assert not Path("run").exists()
    monkeypatch.setattr(shutil, "disk_usage", lambda place: usage(1, 0, int(1.05 * needed)))
    train(replace(config, **settings, epochs=1))
    files = [Path("run", f"{name}.safetensors").stat().st_size for name in ("model", "checkpoint", "checkpoint")]
    assert 0.8 * needed < sum(files) < 1.3 * needed
    assert issubclass(RunError, MiniresError)
