"""Settings, and what follows from them: transform, optimiser, schedule."""

import json
from dataclasses import replace

import numpy as np
import pytest

import minires as mr
from minires.data.transforms import Compose, Normalize
from minires.errors import ArgumentError
from minires.optim import SCHEDULES
from minires.training import Config
from minires.training.recipe import make_model, make_optimizer, make_schedule, make_transform


def test_json_and_back():
    config = Config(model="plain20", lr=0.03, augment=False, out="runs/x")
    stored = json.loads(json.dumps(config.to_json()))
    assert Config.from_json({**stored, "something": "else"}) == config


def test_differences_are_those_that_change_the_outcome():
    config = Config()
    assert config.differences(replace(config, out="elsewhere", save_every=7, workers=2, tensorboard=True)) == []
    assert config.differences(replace(config, lr=0.2, seed=3)) == ["lr", "seed"]
    assert config.differences(replace(config, cutout=4, mixup=0.2)) == ["cutout", "mixup"]
    assert config.differences(replace(config, clip=1.0, ema=0.9, label_smoothing=0.1)) == [
        "clip",
        "ema",
        "label_smoothing",
    ]


@pytest.mark.parametrize(
    ("optimizer", "lr", "weight_decay"), [("sgd", 0.1, 5e-4), ("adam", 1e-3, 0.0), ("adamw", 1e-3, 0.01)]
)
def test_each_optimizer_has_its_own_defaults(optimizer, lr, weight_decay):
    config = Config(optimizer=optimizer)
    assert (config.lr, config.weight_decay) == (lr, weight_decay)
    given = Config(optimizer=optimizer, lr=0.5, weight_decay=0.25)
    assert (given.lr, given.weight_decay) == (0.5, 0.25)
    assert Config.from_json(config.to_json()) == config


def test_a_run_of_an_earlier_release_was_trained_with_sgd():
    stored = Config(lr=0.3).to_json()
    for name in ("optimizer", "clip", "ema"):
        del stored[name]
    assert Config.from_json(stored) == Config(lr=0.3)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"model": "resnet21"}, "no model 'resnet21'; choose one of resnet8"),
        ({"data": "cats"}, "no data set or folder 'cats'; choose one of digits"),
        ({"data": "CIFAR10"}, r"no data set or folder 'CIFAR10'; did you mean cifar10\? Choose one of digits"),
        ({"schedule": "linear"}, "no schedule 'linear'; choose one of cosine, onecycle, step, multistep, constant"),
        ({"device": "tpu"}, "no device 'tpu'; choose one of cpu, cuda"),
        ({"optimizer": "lion"}, "no optimizer 'lion'; choose one of sgd, adam, adamw"),
        ({"augment": "yes"}, "augment is 'yes'; it must be True or False"),
        ({"augment": 1}, "augment is 1"),
        ({"flip_test": 1}, "flip_test is 1; it must be True or False"),
        ({"tensorboard": "yes"}, "tensorboard is 'yes'; it must be True or False"),
        ({"epochs": 0}, "epochs is 0; it must be an integer >= 1"),
        ({"batch_size": 2.5}, "batch_size is 2.5"),
        ({"seed": -1}, "seed is -1"),
        ({"save_every": 0}, "save_every is 0"),
        ({"color_jitter": -0.1}, "color_jitter is -0.1; it must be a number >= 0"),
        ({"cutout": -1}, "cutout is -1; it must be an integer >= 0"),
        ({"cutout": 1.5}, "cutout is 1.5"),
        ({"mixup": -0.2}, "mixup is -0.2; it must be a number >= 0"),
        ({"workers": -1}, "workers is -1"),
        ({"lr": 0}, "lr is 0; it must be a number > 0"),
        ({"lr": float("nan")}, "lr is nan"),
        ({"warmup": -1}, "warmup is -1"),
        ({"momentum": 1.0}, r"momentum is 1.0; it must lie in \[0, 1\)"),
        ({"weight_decay": -1e-4}, "weight_decay is -0.0001"),
        ({"clip": -1}, "clip is -1; it must be a number >= 0"),
        ({"clip": float("inf")}, "clip is inf"),
        ({"ema": 1.0}, r"ema is 1.0; it must lie in \[0, 1\)"),
        ({"ema": "yes"}, "ema is 'yes'"),
        ({"label_smoothing": 1}, r"label_smoothing is 1; it must lie in \[0, 1\)"),
        ({"out": ""}, "out is ''; it must be a string, the path of a folder"),
        ({"out": 3}, "out is 3"),
    ],
)
def test_config_says_what_is_wrong(options, sentence):
    with pytest.raises(ArgumentError, match=f"^train: .*{sentence}"):
        Config(**options)


def test_only_training_images_are_augmented(few, config):
    normalize = Normalize.of(few.train)
    transform = make_transform(config, few, normalize)
    assert isinstance(transform, Compose)
    assert transform.transforms == [few.augmentation, normalize]
    assert make_transform(replace(config, augment=False), few, normalize) is normalize
    assert make_transform(config, replace(few, augmentation=None), normalize) is normalize


def test_model_fits_the_data(few, config):
    model = make_model(config, few)
    assert model(mr.tensor(np.zeros((2, 1, 8, 8), np.float32))).shape == (2, 10)


def lrs_of(config, batches=10):
    """The learning rate of every batch."""
    optimizer = make_optimizer(config, mr.nn.Linear(2, 2))
    schedule = make_schedule(config, optimizer, batches)
    lrs = []
    for _ in range(config.epochs * batches):
        lrs.append(schedule.get_last_lr()[0])
        schedule.step()
    return lrs


def test_optimizer_has_the_settings():
    config = Config(lr=0.03, momentum=0.8, weight_decay=1e-3, schedule="constant")
    (group,) = make_optimizer(config, mr.nn.Linear(2, 2)).param_groups
    assert (group["lr"], group["momentum"], group["weight_decay"], group["nesterov"]) == (0.03, 0.8, 1e-3, True)
    (group,) = make_optimizer(replace(config, momentum=0.0), mr.nn.Linear(2, 2)).param_groups
    assert not group["nesterov"]


@pytest.mark.parametrize(("name", "kind"), [("adam", mr.optim.Adam), ("adamw", mr.optim.AdamW)])
def test_momentum_is_the_first_beta_of_adam(name, kind):
    config = Config(optimizer=name, lr=0.03, momentum=0.8, weight_decay=1e-3, schedule="constant", warmup=0)
    optimizer = make_optimizer(config, mr.nn.Linear(2, 2))
    assert type(optimizer) is kind
    (group,) = optimizer.param_groups
    assert (group["lr"], group["betas"], group["weight_decay"]) == (0.03, (0.8, 0.999), 1e-3)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_schedules_keep_to_the_highest_learning_rate(schedule):
    lrs = lrs_of(Config(epochs=12, lr=0.4, warmup=0, schedule=schedule))
    assert max(lrs) == pytest.approx(0.4, rel=1e-3)
    assert min(lrs) > 0


def test_schedules_have_their_shapes():
    base = Config(epochs=12, lr=0.4, warmup=0)
    cosine, onecycle, step, multistep, constant = (lrs_of(replace(base, schedule=name)) for name in SCHEDULES)
    np.testing.assert_allclose(cosine, [0.2 * (1 + np.cos(np.pi * t / 120)) for t in range(120)])
    assert np.argmax(onecycle) == 35
    assert onecycle[0] == pytest.approx(0.4 / 25)
    np.testing.assert_allclose(step, [0.4] * 40 + [0.04] * 40 + [0.004] * 40)
    np.testing.assert_allclose(multistep, [0.4] * 60 + [0.04] * 30 + [0.004] * 30)
    assert set(constant) == {0.4}


def test_warmup_starts_at_a_tenth():
    lrs = lrs_of(Config(epochs=4, lr=0.4, warmup=1.5, schedule="constant"))
    np.testing.assert_allclose(lrs[:16], [0.04 + 0.36 * t / 15 for t in range(16)])
    assert set(lrs[15:]) == {0.4}


def test_a_run_of_one_batch_has_every_schedule():
    for name in SCHEDULES:
        assert len(lrs_of(Config(epochs=1, schedule=name), batches=1)) == 1
