"""The figures are drawn for any numbers, without changing the user's Matplotlib settings."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from minires.data import Split
from minires.errors import DataError
from minires.training import figures
from minires.training.classification import assess
from minires.training.figures import _cell_colours, write_confusion, write_curves, write_mistakes

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
    with Image.open(PATH) as image:
        assert image.size == (1350, 570)
        assert len(set(image.convert("L").tobytes())) > 50, "something is drawn"


@pytest.mark.parametrize("classes", [1, 2, 10, 31, 100])
def test_confusion_of_any_size(classes, rng):
    names = [f"class {number}" for number in range(classes)]
    write_confusion(PATH, rng.integers(0, 9, (classes, classes)), names)
    write_confusion(PATH, np.zeros((classes, classes), int), names)
    with Image.open(PATH) as image:
        assert image.width == image.height


def evaluation(labels, predictions, probabilities):
    """An evaluation of 10 classes, with these predictions and probabilities."""
    logits = np.zeros((len(labels), 10))
    logits[range(len(labels)), predictions] = np.log(9 * np.array(probabilities) / (1 - np.array(probabilities)))
    return assess(logits.astype(np.float32), np.array(labels))


def colours_in(path):
    """The colours of the figure's pixels, in order of appearance."""
    with Image.open(path) as figure:
        pixels = np.asarray(figure.convert("RGB")).reshape(-1, 3)
    return list(dict.fromkeys(map(tuple, pixels.tolist())))


def test_mistakes_are_drawn_the_most_confident_first():
    """Each image has a colour of its own; numbers 1, 3, 4 and 6 are mistakes."""
    colours = [(200, 20 * number, 90) for number in range(8)]
    images = np.array(colours, np.uint8).reshape(8, 3, 1, 1) * np.ones((1, 1, 5, 5), np.uint8)
    labels = np.arange(8)
    test = evaluation(labels, [0, 2, 2, 4, 5, 5, 7, 7], [0.99, 0.8, 0.9, 0.95, 0.5, 0.9, 0.85, 0.9])
    write_mistakes(PATH, test, Split(images, labels), "abcdefgh")
    assert [colour for colour in colours_in(PATH) if colour in colours] == [colours[i] for i in (3, 6, 1, 4)]


@pytest.mark.parametrize("channels", [1, 2, 3])
def test_pixels_are_squares_with_sharp_edges(channels):
    """A chessboard of black and red (or of black and grey) gives no colour in between, but for the letters' grey."""
    board = np.zeros((1, channels, 6, 6), np.uint8)
    board[0, 0] = np.indices((6, 6)).sum(axis=0) % 2 * 100
    write_mistakes(PATH, evaluation([1], [2], [0.9]), Split(board, np.array([1])), "0123456789")
    brightest = {1: (100, 100, 100), 2: (50, 50, 50), 3: (100, 0, 0)}[channels]
    with Image.open(PATH) as figure:
        pixels = np.asarray(figure.convert("RGB"))[75:, 60:-60]  # the part below the title, inside the image
    assert set(map(tuple, pixels.reshape(-1, 3).tolist())) - {(255, 255, 255)} == {(0, 0, 0), brightest}


class Streamed:
    """A source that makes images only when they are requested, and records which."""

    def __init__(self, n, shape=(3, 8, 8)):
        self.n, self.shape, self.asked = n, shape, []

    def __len__(self):
        return self.n

    def __getitem__(self, chosen):
        self.asked.append(chosen.tolist())
        return np.zeros((len(chosen), *self.shape), np.uint8), chosen % 10


def all_wrong(n):
    labels = np.arange(n) % 10
    return evaluation(labels, (labels + 1) % 10, np.linspace(0.2, 0.99, n))


@pytest.mark.parametrize(("mistakes", "rows", "columns"), [(1, 1, 1), (3, 2, 2), (5, 2, 3), (25, 5, 5), (60, 5, 5)])
def test_the_grid_is_as_large_as_needed_and_no_other_image_is_read(mistakes, rows, columns):
    source = Streamed(mistakes)
    write_mistakes(PATH, all_wrong(mistakes), source, "0123456789")
    assert source.asked == [list(range(mistakes))[::-1][:25]]
    with Image.open(PATH) as figure:
        assert figure.size == (max(270 * columns, 390), 315 * rows + 60)


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 32, 32), (3, 20, 100), (3, 100, 20)])
@pytest.mark.parametrize("name", ["7", "automobile", "aquarium_fish", "a name so long that it has to be cut"])
def test_titles_do_not_overlap(monkeypatch, shape, name):
    drawn = []
    monkeypatch.setattr(figures, "save_figure", lambda figure, path: drawn.append(figure))
    write_mistakes(PATH, all_wrong(25), Streamed(25, shape), [name] * 10)
    (figure,) = drawn
    figure.draw_without_rendering()
    boxes = [axes.title.get_window_extent() for axes in figure.axes] + [figure._suptitle.get_window_extent()]
    assert len(boxes) == 26 and all(box.width > 0 for box in boxes)
    for number, box in enumerate(boxes):
        assert box.x0 >= 0 and box.x1 <= figure.bbox.width and box.y1 <= figure.bbox.height
        assert not any(box.overlaps(other) for other in boxes[:number])


def test_without_a_mistake_there_is_no_figure_and_no_old_one():
    right = evaluation([1, 2], [1, 2], [0.9, 0.8])
    write_mistakes(PATH, right, Streamed(2), "0123456789")
    assert not PATH.exists()
    PATH.write_bytes(b"of an earlier run")
    write_mistakes(PATH, right, Streamed(2), "0123456789")
    assert not PATH.exists()


def test_names_that_cannot_be_drawn_as_they_are():
    """Names that look like formulas, a script that the font lacks, an invalid byte, and a line end."""
    names = ["$\\frac$", "$", "猫の写真", "\udcff", "two\nlines", "x" * 300, "", "_", "%", "\x1b[31m"]
    write_mistakes(PATH, all_wrong(10), Streamed(10), names)
    write_confusion(PATH, np.eye(10, dtype=int), names)
    write_curves(PATH, history(2, 0.1, 0.9), title="resnet8 on $\\frac$")


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
