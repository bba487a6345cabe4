"""``minires evaluate``: accuracy, loss, and a table of the classes that adds up."""

import re

import numpy as np
import pytest
from stripes import CLASSES, stripes

from minires import data
from minires.cli.runs import cells
from minires.training import Evaluation, evaluate, load_run
from minires.training.classification import class_table

CONFUSION = np.array([[8, 0, 2], [1, 9, 0], [0, 0, 0]])


@pytest.fixture
def evaluation():
    return Evaluation(0.5, 0.85, 3, CONFUSION, np.zeros(20, int), np.zeros((20, 3)), np.zeros(20, int))


def test_the_report(minires, run_folder):
    result = minires("evaluate", run_folder)
    assert result.status == 0 and result.err == ""
    run = load_run(run_folder)
    expected = evaluate(run.model, stripes().test, run.normalize)
    assert f"accuracy  {100 * expected.accuracy:.1f} % ({expected.errors} wrong)" in result.out
    assert f"loss      {expected.loss:.4f}" in result.out
    rows = [line.split() for line in result.out.splitlines() if line.startswith(CLASSES)]
    assert [row[0] for row in rows] == list(CLASSES)
    assert sum(int(row[1]) for row in rows) == 30
    assert sum(int(row[2]) for row in rows) == 30 - expected.errors
    assert not re.search(r" $", result.out, re.MULTILINE), "no line ends in spaces"


def test_a_row_of_the_table():
    left, middle, right = class_table(CONFUSION, CLASSES)
    assert cells(left) == ["left", "10", "8", "80.0 %", "88.9 %", "84.2 %", "right (2 times)"]
    assert cells(middle) == ["middle", "10", "9", "90.0 %", "100.0 %", "94.7 %", "left (once)"]
    assert cells(right) == ["right", "0", "0", "-", "0.0 %", "0.0 %", ""]
    hostile, _ = class_table(np.array([[0, 1], [0, 0]]), ("\x1b[31m", "\x1b"))
    assert cells(hostile) == [r"\x1b[31m", "1", "0", "0.0 %", "-", "0.0 %", r"\x1b (once)"]


def test_the_most_confused_classes_come_first(evaluation):
    assert evaluation.most_confused(CLASSES) == "left as right (2 times), middle as left (once)"
    assert evaluation.most_confused(CLASSES, pairs=1) == "left as right (2 times)"
    evaluation.confusion[:] = np.diag([8, 9, 0])
    assert evaluation.most_confused(CLASSES) == ""


def test_another_data_set_must_fit(minires, run_folder, monkeypatch):
    own = stripes()
    wide = data.Split(np.zeros((3, 1, 6, 10), np.uint8), np.arange(3))
    others = {
        "same": lambda: own,
        "wide": lambda: data.Dataset("wide", CLASSES, wide, wide),
        "renamed": lambda: data.Dataset("renamed", ("a", "b", "c"), own.train, own.test),
    }
    for name, load in others.items():
        monkeypatch.setitem(data.DATASETS, name, load)
    assert minires("evaluate", run_folder, "--data", "same").status == 0
    result = minires("evaluate", run_folder, "--data", "wide")
    assert result.status == 1 and "takes images of 1x6x9, but those of wide are 1x6x10" in result.err
    result = minires("evaluate", run_folder, "--data", "renamed")
    assert result.status == 1 and "the 3 classes of " in result.err and "are different" in result.err
    result = minires("evaluate", run_folder, "--data", "nothing")
    assert result.status == 2 and "there is no data set 'nothing'" in result.err
