"""Augmentation changes training images, and never test images."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import minires as mr
from minires.core.backend import generator
from minires.data.transforms import ColorJitter, Compose, Cutout, MixUp, Normalize
from minires.training import Config, Progress, evaluate, load_run, train
from minires.training.classification import TASK
from minires.training.recipe import make_transform

pytestmark = pytest.mark.usefixtures("no_figures")

EVERYTHING = {"color_jitter": 0.2, "cutout": 3, "mixup": 0.4}


def weights_of(folder):
    return {name: array.tobytes() for name, array in mr.load(Path(folder) / "model.safetensors").items()}


@pytest.mark.parametrize("workers", [0, 2])
def test_test_images_are_never_changed(config, few, monkeypatch, workers):
    """Only training images are augmented; evaluation uses the whole test split, normalised."""
    augmented, tested, build = [], [], mr.models.build

    def augmentation(batch, rng):
        augmented.extend(image.tobytes() for image in batch)
        return few.augmentation(batch, rng)

    def note(model, inputs, output):
        if not model.training:
            tested.append(inputs[0].numpy().copy())

    def watched(*args, **options):
        model = build(*args, **options)
        model.register_forward_hook(note)
        return model

    monkeypatch.setitem(mr.data.DATASETS, "few", lambda: replace(few, augmentation=augmentation))
    monkeypatch.setattr(mr.models, "build", watched)
    train(replace(config, workers=workers, **EVERYTHING))
    run = load_run("run")
    evaluate(run.model, few.test, run.normalize)

    train_images = {image.tobytes() for image in few.train.images}
    assert train_images.isdisjoint({image.tobytes() for image in few.test.images})
    assert len(augmented) == 2 * len(few.train)
    assert set(augmented) == train_images
    assert len(tested) == 3, "after each of the two epochs, and once more here"
    for images in tested:
        np.testing.assert_array_equal(images, Normalize.of(few.train)(few.test.images))


def test_cutout_comes_after_normalisation(few, config):
    """Where zero is the mean, as in the paper."""
    normalize = Normalize.of(few.train)
    first, second, third = make_transform(replace(config, cutout=3), few, normalize).transforms
    assert (first, second, repr(third)) == (few.augmentation, normalize, "Cutout(length=3)")
    without = make_transform(replace(config, cutout=3, augment=False), few, normalize)
    assert isinstance(without, Compose) and isinstance(without.transforms[1], Cutout)


def test_colours_are_changed_before_normalisation(few, config):
    """Before normalisation, they are colours; brightness, contrast and saturation change by the same strength."""
    normalize = Normalize.of(few.train)
    first, second, third = make_transform(replace(config, color_jitter=0.3), few, normalize).transforms
    assert (first, third) == (few.augmentation, normalize)
    assert repr(second) == repr(ColorJitter(brightness=0.3, contrast=0.3, saturation=0.3))
    without = make_transform(replace(config, color_jitter=0.3, augment=False), few, normalize)
    assert [type(transform) for transform in without.transforms] == [ColorJitter, Normalize]


@pytest.mark.slow
def test_a_run_with_flip_test_is_tested_on_mirror_images_too(config, few):
    """It is trained on the same images as without."""
    with_flip, without = train(replace(config, flip_test=True)), train(replace(config, out="without"))
    assert weights_of("run") == weights_of("without")
    run = load_run("run")
    accuracies = [evaluate(run.model, few.test, run.normalize, flip=flip).accuracy for flip in (True, False)]
    assert [with_flip["test_accuracy"], without["test_accuracy"]] == accuracies
    assert accuracies[0] != accuracies[1], "else these images could not tell"


class Table(mr.nn.Module):
    """Its logits are the images, (B, K, 1, 1)."""

    def forward(self, x):
        return x.reshape(x.shape[0], x.shape[1])


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_loss_of_mixed_images_is_that_of_soft_labels(rng, smoothing):
    images, labels = rng.standard_normal((6, 4, 1, 1)), rng.integers(0, 4, 6)
    mr.manual_seed(3)
    step = TASK.step(Config(mixup=1.0, label_smoothing=smoothing), Table(), images, labels)
    mr.manual_seed(3)
    mixed, partners, lam = MixUp(1.0)(images, generator())
    logits = mixed[:, :, 0, 0]
    assert (step.right, step.judged) == (int((logits.argmax(axis=1) == labels).sum()), 6)
    one_hot = (1 - smoothing) * np.eye(4) + smoothing / 4
    soft = lam * one_hot[labels] + (1 - lam) * one_hot[labels[partners]]
    log_probabilities = np.log(np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True))
    assert step.loss.item() == pytest.approx(-(soft * log_probabilities).sum(axis=1).mean(), rel=1e-12)


def test_without_mixup_no_random_number_is_drawn(rng):
    """A run with the settings of an earlier release gives the same network."""
    before = generator().bit_generator.state
    step = TASK.step(Config(), Table(), np.log([[0.2, 0.8]]).reshape(1, 2, 1, 1), np.array([1]))
    assert step.loss.item() == pytest.approx(-np.log(0.8))
    assert generator().bit_generator.state == before


@pytest.mark.slow
def test_workers_change_no_bit_of_a_network(config):
    train(replace(config, **EVERYTHING))
    train(replace(config, out="helped", workers=2, **EVERYTHING))
    assert weights_of("run") == weights_of("helped")
    train(replace(config, out="other"))
    assert weights_of("run") != weights_of("other")


@pytest.mark.slow
def test_mixed_training_resumes_bit_for_bit(config):
    class Stop(Progress):
        def epoch(self, epoch, row):
            raise KeyboardInterrupt

    config = replace(config, **EVERYTHING)
    train(config)
    stopped = replace(config, out="stopped")
    with pytest.raises(KeyboardInterrupt):
        train(stopped, progress=Stop())
    mr.manual_seed(99)
    train(replace(stopped, workers=1), resume=True)
    assert weights_of("run") == weights_of("stopped")


@pytest.mark.parametrize("options", [{"mixup": 0.2}, {"cutout": 2}, {"color_jitter": 0.3}])
def test_each_of_them_still_learns(config, options):
    assert train(replace(config, epochs=8, **options))["test_accuracy"] > 0.85
