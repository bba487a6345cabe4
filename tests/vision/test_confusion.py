"""Mean IoU of a confusion matrix."""

import numpy as np
import pytest

import minires as mr
from minires import vision


def test_mean_iou_is_the_mean_over_the_classes_that_occur(rng):
    true, predicted = rng.integers(0, 4, 500), rng.integers(1, 5, 500)  # class 5 never occurs
    confusion = np.zeros((6, 6), int)
    np.add.at(confusion, (true, predicted), 1)
    ious = [((true == k) & (predicted == k)).sum() / ((true == k) | (predicted == k)).sum() for k in range(5)]
    assert vision.mean_iou(confusion) == pytest.approx(np.mean(ious), abs=1e-15)
    assert vision.mean_iou(np.diag([3, 0, 2])) == 1


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
def test_what_is_no_confusion_matrix_is_refused(confusion, message):
    with pytest.raises(mr.errors.MiniresError, match=message):
        vision.mean_iou(confusion)
