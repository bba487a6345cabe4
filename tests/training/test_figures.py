"""The figures: that they are drawn, whatever the numbers, without touching the user's Matplotlib."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from minires.errors import DataError
from minires.training.figures import _cell_colours, write_confusion, write_curves

PATH = Path("figure.png")


def history(epochs, loss, accuracy):
    return [
        {"epoch": e, "train_loss": loss / e, "test_loss": loss, "train_accuracy": accuracy, "test_accuracy": accuracy}
        for e in range(1, epochs + 1)
    ]


@pytest.mark.parametrize(
    ("epochs", "loss", "accuracy"), [(1, 0.3, 0.9), (1, 1.0, 1.0), (3, 2.3, 0.0), (200, 0.5, 1.0), (2, 0.0, 1.0)]
)
def test_curves_of_any_run(epochs, loss, accuracy):
    write_curves(PATH, history(epochs, loss, accuracy), title="a run")
    with Image.open(PATH) as picture:
        assert picture.size == (1350, 570)
        assert len(set(picture.convert("L").tobytes())) > 50, "something is drawn"


@pytest.mark.parametrize("classes", [1, 2, 10, 31, 100])
def test_confusion_of_any_size(classes, rng):
    names = [f"class {number}" for number in range(classes)]
    write_confusion(PATH, rng.integers(0, 9, (classes, classes)), names)
    write_confusion(PATH, np.zeros((classes, classes), int), names)
    with Image.open(PATH) as picture:
        assert picture.width == picture.height


def test_cell_colours():
    white, blue, orange = [1, 1, 1], [0.12, 0.37, 0.66], [0.90, 0.45, 0.10]
    colours = _cell_colours(np.array([[10, 0, 0], [4, 0, 1], [0, 0, 0]]))
    np.testing.assert_allclose(colours[0], [blue, white, white])
    np.testing.assert_allclose(colours[1], [orange, white, np.add(white, orange) / 2])
    np.testing.assert_allclose(colours[2], [white] * 3)


def test_a_figure_that_cannot_be_saved():
    with pytest.raises(DataError, match="cannot be written"):
        write_curves(Path("nowhere", "figure.png"), history(2, 0.1, 0.9), title="")


def test_pyplot_and_the_backend_are_left_alone():
    code = """
import sys, pathlib, numpy
from minires.training.figures import write_confusion
assert "matplotlib" not in sys.modules
write_confusion(pathlib.Path("figure.png"), numpy.eye(2, dtype=int), "ab")
assert "matplotlib.pyplot" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)
    assert PATH.exists()
