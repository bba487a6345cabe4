"""A data set that trains in a second: a few of the digits."""

import pytest

import minires as mr
from minires.data import Dataset, Split
from minires.training import Config


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
