"""A data set that trains in a second: a few of the digits."""

from functools import cache
from pathlib import Path

import pytest

import minires as mr
from minires.data import Dataset, Split
from minires.training import Config, classification, train


@cache  # reading the file takes longer than training on it
def part_of_the_digits():
    digits = mr.data.digits()
    train = Split(digits.train.images[:240], digits.train.labels[:240])
    test = Split(digits.test.images[::6], digits.test.labels[::6])
    return Dataset("few", digits.classes, train, test, digits.augmentation)


@pytest.fixture(autouse=True)
def few(monkeypatch, tmp_path):
    """Register the data set "few", and run in an empty folder."""
    monkeypatch.setitem(mr.data.DATASETS, "few", part_of_the_digits)
    monkeypatch.chdir(tmp_path)
    return part_of_the_digits()


@pytest.fixture
def config():
    return Config(data="few", epochs=2, batch_size=32, out="run")


def draw_nothing(patch):
    for name in ("write_curves", "write_confusion", "write_mistakes"):
        patch.setattr(classification, name, lambda *args, **options: None)


@pytest.fixture
def no_figures(monkeypatch):
    """For tests that do not need a run's figures: drawing them takes longer than the training."""
    draw_nothing(monkeypatch)


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """The folder of a complete run of one epoch, without figures. Tests read it, or work on a copy."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(mr.data.DATASETS, "few", part_of_the_digits)
        patch.chdir(tmp_path_factory.mktemp("runs"))
        draw_nothing(patch)
        mr.manual_seed(0)
        train(Config(data="few", epochs=1, batch_size=32, out="run"))
        return Path("run").absolute()
