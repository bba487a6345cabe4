"""Real handwritten digits that come with scikit-learn, so that a first network can be trained without a download."""

from __future__ import annotations

import numpy as np

from ..errors import DataError
from .dataset import Array, Dataset, Split
from .transforms import PadCrop

TEST_PER_CLASS = 36  # 360 of 1,797: a fifth


def digits() -> Dataset:
    """1,797 digits of 8x8 pixels from 13 writers: 1,437 to train, 360 to test, 36 of each class.

    Their source is the test set of the "Optical Recognition of Handwritten Digits" of the UCI repository. The split
    is always the same, whatever the seed of a run, so that the results of any two runs can be compared.

    Returns
    -------
    Dataset
        Images (N, 1, 8, 8), the original 0 to 16 scaled to 0 to 255; classes "0" to "9". They are augmented by
        moving them one pixel; mirroring would make new characters of most digits.

    Raises
    ------
    DataError
        If scikit-learn is not installed.

    Examples
    --------
    >>> digits()
    Dataset(digits: 10 classes, train=Split(1437 images of 1x8x8), test=Split(360 images of 1x8x8))
    """
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise DataError(
            "data set 'digits' comes with scikit-learn, which is not installed: pip install scikit-learn."
        ) from error
    source = load_digits()
    images = np.rint(source.images * (255 / 16)).astype(np.uint8)[:, None]  # (1797, 1, 8, 8)
    labels = source.target.astype(np.int64)
    is_test = _every_fifth(labels)
    train, test = Split(images[~is_test], labels[~is_test]), Split(images[is_test], labels[is_test])
    return Dataset("digits", tuple("0123456789"), train, test, augmentation=PadCrop(1))


def _every_fifth(labels: Array) -> Array:
    """(N,) booleans: TEST_PER_CLASS images of each class, evenly spaced, so that all writers appear in them.

    Spacing needs no random generator, whose numbers might change with a version of NumPy.
    """
    is_test = np.zeros(len(labels), bool)
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        is_test[members[np.arange(TEST_PER_CLASS) * len(members) // TEST_PER_CLASS]] = True
    return is_test
