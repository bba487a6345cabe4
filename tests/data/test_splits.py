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
        (np.zeros((2, 1, 4, 4), np.uint8), np.zeros(2), r"labels are float64 \(2\); they must be integers"),
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


TRANSPOSED = "they must be (N, C, H, W): write images.transpose(0, 3, 1, 2)"
IMAGES, LABELS = np.zeros((6, 3, 4, 4), np.uint8), np.arange(6)


@pytest.mark.parametrize("dtype", [np.int32, np.uint8, np.int16, np.uint64])
def test_labels_of_other_integers_are_converted(dtype):
    split = Split(IMAGES, LABELS.astype(dtype))
    assert split.labels.dtype == np.int64 and split.labels.tolist() == LABELS.tolist()


@pytest.mark.parametrize(
    ("images", "labels", "written"),
    [
        (IMAGES / 255, LABELS, "write np.rint(255 * images).astype('uint8')"),
        (IMAGES + 7.0, LABELS, "write images.astype('uint8')"),
        (IMAGES.astype(np.int64), LABELS, "write images.astype('uint8')"),
        (IMAGES - 7.0, LABELS, "it holds other numbers than 0 to 255"),
        (IMAGES[:, 0], LABELS, "write images[:, None] to add the axis of channels"),
        (list(IMAGES), LABELS, "write np.array(images)"),
        (mr.tensor(IMAGES), LABELS, "write images.numpy()"),
        (np.zeros((6, 4, 4, 3), np.uint8), LABELS, "looks like (N, H, W, C); " + TRANSPOSED),
        (np.zeros((6, 28, 28, 1), np.uint8), LABELS, "looks like (N, H, W, C); " + TRANSPOSED),
        (IMAGES, LABELS.tolist(), "write np.array(labels)"),
        (IMAGES, LABELS[:, None], "write labels[:, 0]"),
        (IMAGES, np.eye(6), "if each row holds the probabilities of the classes, write labels.argmax(axis=1)"),
        (IMAGES, LABELS * 1.0, "write labels.astype('int64')"),
        (IMAGES, mr.tensor(LABELS), "write labels.numpy()"),
    ],
)  # fmt: skip
def test_what_to_write_instead(images, labels, written):
    with pytest.raises(DataError) as caught:
        Split(images, labels)
    assert str(caught.value).endswith(f"{written}.")
    _, writes, code = written.rpartition("write ")
    if writes:  # the advice is right
        better = eval(code.partition(" to add")[0])
        Split(*((better, labels) if "images" in code else (images, better)))


@pytest.mark.parametrize("shape", [(1, 5, 3), (3, 5, 3), (2, 8, 4), (16, 100, 1), (1, 1, 1), (3, 3, 3)])
def test_narrow_images_are_not_taken_for_channels_last(shape):
    assert Split(np.zeros((6, *shape), np.uint8), LABELS).image_shape == shape


@pytest.mark.parametrize("make", [mr.data.published, lambda name: mr.data.load(name)])
def test_names_in_another_case(make):
    with pytest.raises(ArgumentError, match=r"'CIFAR10'; did you mean cifar10\? Choose one of"):
        make("CIFAR10")
