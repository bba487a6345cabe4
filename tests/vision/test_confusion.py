"""Scores of maps of classes against counts of single pixels."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minires as mr
from minires import vision

K = 6


@pytest.fixture
def maps(rng):
    """Three images; class 5 never occurs, class 0 is never predicted, and some pixels do not count."""
    predicted, true = rng.integers(1, 5, (3, 7, 4)), rng.integers(0, 4, (3, 7, 4)).astype(np.uint8)
    true[rng.random(true.shape) < 0.2] = 255
    return predicted, true


def counted(predicted, true):
    """Pairs of classes of the pixels that count, by a loop."""
    return [(int(t), int(p)) for p, t in zip(predicted.ravel(), true.ravel(), strict=True) if t != 255]


def test_the_confusion_matrix_counts_pixels(maps):
    expected = np.zeros((K, K), int)
    for t, p in counted(*maps):
        expected[t, p] += 1
    found = vision.confusion_matrix(*maps, classes=K)
    assert found.dtype == np.int64
    np.testing.assert_array_equal(found, expected)
    images = sum(vision.confusion_matrix(p, t, K) for p, t in zip(*maps, strict=True))
    np.testing.assert_array_equal(images, expected)
    np.testing.assert_array_equal(vision.confusion_matrix(*map(mr.tensor, maps), K), expected)


def test_scores_are_means_over_the_classes_that_occur(maps):
    pairs = counted(*maps)
    true, predicted = np.array(pairs).T
    confusion = vision.confusion_matrix(*maps, classes=K)
    ious = [((true == k) & (predicted == k)).sum() / ((true == k) | (predicted == k)).sum() for k in range(5)]
    dices = [
        2 * ((true == k) & (predicted == k)).sum() / ((true == k).sum() + (predicted == k).sum()) for k in range(5)
    ]
    np.testing.assert_allclose(vision.class_iou(confusion), [*ious, np.nan], rtol=1e-15)
    assert vision.mean_iou(confusion) == pytest.approx(np.mean(ious), abs=1e-15)
    assert vision.dice(confusion) == pytest.approx(np.mean(dices), abs=1e-15)
    assert vision.pixel_accuracy(confusion) == pytest.approx(np.mean(true == predicted), abs=1e-15)


@pytest.mark.parametrize("score", [vision.mean_iou, vision.dice, vision.pixel_accuracy])
def test_a_perfect_prediction_scores_1(score, maps):
    _, true = maps
    assert score(vision.confusion_matrix(np.where(true == 255, 0, true), true, K)) == 1
    assert score(np.diag([3, 0, 2])) == 1


def test_pixels_that_do_not_count_may_be_predicted_as_anything():
    found = vision.confusion_matrix([[7, -1, 1]], [[255, 255, 0]], classes=2)
    np.testing.assert_array_equal(found, [[0, 1], [0, 0]])
    np.testing.assert_array_equal(vision.confusion_matrix([[1, 0]], [[9, 0]], classes=2, ignore=9), [[1, 0], [0, 0]])
    for empty in (np.zeros((0, 4), int), []):
        np.testing.assert_array_equal(vision.confusion_matrix(empty, empty, classes=2), np.zeros((2, 2)))


@pytest.mark.parametrize("score", [vision.mean_iou, vision.dice, vision.pixel_accuracy, vision.class_iou])
@pytest.mark.parametrize(
    ("confusion", "message"),
    [
        ([[1, 2]], "1x2"),
        (np.zeros((3, 3)), "not all 0"),
        ([[1, -1], [0, 1]], "not negative"),
        ([[np.nan]], "finite"),
        ([[1, 2], [3]], "rows of equal"),
    ],
)
def test_what_is_no_confusion_matrix_is_refused(score, confusion, message):
    with pytest.raises(mr.errors.MiniresError, match=f"{score.__name__}.*{message}"):
        score(confusion)


@pytest.mark.parametrize(
    ("predictions", "labels", "message"),
    [
        (np.zeros((2, 3, 4), int), np.zeros((2, 4, 3), int), "predictions is 2x3x4 but labels is 2x4x3"),
        (np.zeros((2, 3, 4, 5), int), np.zeros((2, 4, 5), int), r"argmax\(axis=1\)"),
        ([[0, 3]], [[0, 1]], "predictions run from 0 to 3, but with 3 classes"),
        ([[0, 1]], [[0, -1]], "labels run from -1 to 0"),
        ([[0.0, 1.0]], [[0, 1]], "predictions is float64"),
        ([[0, 1]], [["a", "b"]], "labels is <U1"),
        ([[0, 1], [0]], [[0, 1]], "predictions is not an array"),
    ],
)
def test_maps_that_do_not_fit_are_refused(predictions, labels, message):
    with pytest.raises(mr.errors.MiniresError, match=message):
        vision.confusion_matrix(predictions, labels, classes=3)


@given(st.integers(max_value=0) | st.floats() | st.text() | st.booleans() | st.none())
def test_the_number_of_classes_must_be_positive(classes):
    with pytest.raises(mr.errors.ArgumentError, match="classes is"):
        vision.confusion_matrix([[0]], [[0]], classes=classes)
