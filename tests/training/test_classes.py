"""The table of classes, against counting by hand."""

import csv
from pathlib import Path

import numpy as np
import pytest

from minires.errors import DataError
from minires.training.classification import class_table
from minires.training.folder import write_table

# The third class has no images, the fourth is never predicted, and the fifth has neither.
CONFUSION = np.array([[8, 1, 1, 0, 0], [3, 7, 0, 0, 0], [0, 0, 0, 0, 0], [2, 2, 0, 0, 0], [0, 0, 0, 0, 0]])
NAMES = ("cat", "dog, large", "bird", "fish", "ant")


def test_counted_by_hand():
    cat, dog, bird, fish, ant = class_table(CONFUSION, NAMES)
    assert list(cat.values()) == ["cat", 10, 8, 0.8, pytest.approx(8 / 13), pytest.approx(16 / 23), "dog, large", 1]
    assert list(dog.values()) == ["dog, large", 10, 7, 0.7, 0.7, pytest.approx(0.7), "cat", 3]
    assert list(bird.values()) == ["bird", 0, 0, None, 0.0, 0.0, "", 0]
    assert list(fish.values()) == ["fish", 4, 0, 0.0, None, 0.0, "cat", 2]
    assert list(ant.values()) == ["ant", 0, 0, None, None, None, "", 0]


def test_as_scikit_learn_counts(rng):
    from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

    labels, predictions = rng.integers(0, 4, 200), rng.integers(0, 4, 200)
    rows = class_table(confusion_matrix(labels, predictions), "abcd")
    columns = precision_recall_fscore_support(labels, predictions)
    np.testing.assert_allclose(
        [[row[name] for name in ("precision", "recall", "f1", "images")] for row in rows], np.transpose(columns)
    )


def test_written_and_read():
    table = class_table(CONFUSION, NAMES)
    write_table(Path("classes.csv"), list(table[0]), table)
    with open("classes.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))
    assert rows == [
        ["class", "images", "right", "recall", "precision", "f1", "taken_for", "times"],
        ["cat", "10", "8", "0.8", "0.615385", "0.695652", "dog, large", "1"],
        ["dog, large", "10", "7", "0.7", "0.7", "0.7", "cat", "3"],
        ["bird", "0", "0", "", "0", "0", "", "0"],
        ["fish", "4", "0", "0", "", "0", "cat", "2"],
        ["ant", "0", "0", "", "", "", "", "0"],
    ]


def test_a_name_that_is_no_text_and_a_folder_that_is_not_there():
    table = class_table(np.eye(2, dtype=int), ("猫", "\udcff"))  # the second is a byte that is not valid UTF-8
    write_table(Path("classes.csv"), list(table[0]), table)
    lines = Path("classes.csv").read_text(encoding="utf-8").splitlines()
    assert lines[1:] == ["猫,1,1,1,1,1,,0", "?,1,1,1,1,1,,0"]
    with pytest.raises(DataError, match="cannot be written"):
        write_table(Path("nowhere", "classes.csv"), list(table[0]), table)
