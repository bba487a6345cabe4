"""Split, Dataset, the digits, and data sets by name."""

import subprocess
import sys

import numpy as np
import pytest

import minires as mr
from minires.data import Dataset, Split
from minires.errors import ArgumentError, DataError


@pytest.fixture(scope="module")
def digits():
    return mr.data.digits()


def make_split(n=6, shape=(1, 4, 5), classes=3):
    return Split(np.zeros((n, *shape), np.uint8), np.arange(n, dtype=np.int64) % classes)


def test_digits_sizes_and_types(digits):
    assert digits.train.images.shape == (1437, 1, 8, 8)
    assert digits.test.images.shape == (360, 1, 8, 8)
    assert digits.image_shape == (1, 8, 8)
    assert digits.classes == tuple("0123456789")
    for split in (digits.train, digits.test):
        assert split.images.dtype == np.uint8
        assert split.labels.dtype == np.int64
        assert (split.images.min(), split.images.max()) == (0, 255)
        assert len(split) == len(split.labels)


def test_digits_test_split_has_36_of_each_class(digits):
    np.testing.assert_array_equal(np.bincount(digits.test.labels), [36] * 10)
    assert np.bincount(digits.train.labels).min() > 100


def test_digits_are_scikit_learns_each_in_one_split(digits):
    from sklearn.datasets import load_digits

    def as_rows(images, labels):  # every row of the 1,797 is unique
        return sorted(map(tuple, np.column_stack([images.reshape(-1, 64), labels]).astype(int)))

    source = load_digits()
    both = as_rows(digits.train.images, digits.train.labels) + as_rows(digits.test.images, digits.test.labels)
    expected = as_rows(np.rint(source.images / 16 * 255), source.target)
    assert len(set(both)) == 1797, "an image is in both splits"
    assert sorted(both) == expected


def test_digits_split_does_not_depend_on_the_seed(digits):
    mr.manual_seed(123)
    again = mr.data.digits()
    np.testing.assert_array_equal(again.test.images, digits.test.images)
    np.testing.assert_array_equal(again.train.labels, digits.train.labels)


def test_digits_without_scikit_learn(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(DataError, match="pip install scikit-learn"):
        mr.data.digits()


def test_importing_minires_stays_light():
    heavy = "[m for m in ('sklearn', 'PIL', 'matplotlib', 'pandas', 'minires.training') if m in sys.modules]"
    subprocess.run([sys.executable, "-c", f"import sys, minires; sys.exit({heavy} or 0)"], check=True)


def test_load_by_name():
    assert "digits" in mr.data.names()
    assert mr.data.load("digits").name == "digits"
    with pytest.raises(ArgumentError, match=r"no data set 'digit'; did you mean digits[?] Choose one of digits"):
        mr.data.load("digit")


@pytest.mark.parametrize(
    ("images", "labels", "sentence"),
    [
        (np.zeros((2, 1, 4, 4)), np.zeros(2, int), r"float64 \(2x1x4x4\); they must be uint8 \(N, C, H, W\)"),
        (np.zeros((2, 4, 4), np.uint8), np.zeros(2, int), r"uint8 \(2x4x4\)"),
        ([[1]], np.zeros(2, int), "images are list"),
        (np.zeros((2, 1, 4, 4), np.uint8), np.zeros(2), r"labels are float64 \(2\); they must be int64"),
        (np.zeros((2, 1, 4, 4), np.uint8), np.zeros((2, 1), int), r"labels are int64 \(2x1\)"),
        (np.zeros((2, 1, 4, 4), np.uint8), np.zeros(3, int), "2 images but 3 labels"),
        (np.zeros((0, 1, 4, 4), np.uint8), np.zeros(0, int), "empty"),
    ],
)
def test_split_says_what_is_wrong(images, labels, sentence):
    with pytest.raises(DataError, match=sentence):
        Split(images, labels)


def test_each_image_has_a_text_or_none_has():
    with pytest.raises(DataError, match="there are 6 images but 5 texts"):
        Split(make_split().images, make_split().labels, ("a",) * 5)
    assert make_split().texts == ()


def test_dataset_says_what_is_wrong():
    with pytest.raises(DataError, match="1x4x5 in train but 3x4x5 in test"):
        Dataset("made-up", ("a", "b", "c"), make_split(), make_split(shape=(3, 4, 5)))
    with pytest.raises(DataError, match="labels of test run from 0 to 2, but there are 2 classes, 0 to 1"):
        Dataset("made-up", ("a", "b"), make_split(classes=2), make_split(classes=3))
    below = Split(make_split().images, make_split().labels - 1)
    with pytest.raises(DataError, match="labels of train run from -1 to 1, but there are 3 classes, 0 to 2"):
        Dataset("made-up", ("a", "b", "c"), below, make_split())


def test_repr_tells_the_sizes():
    dataset = Dataset("made-up", ("a", "b", "c"), make_split(), make_split(n=3))
    assert repr(dataset) == "Dataset(made-up: 3 classes, train=Split(6 images of 1x4x5), test=Split(3 images of 1x4x5))"
