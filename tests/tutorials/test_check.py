"""What ``check`` says about right, missing and wrong answers."""

import numpy as np
import pytest

import minires as mr
from minires.course.tutorials import check
from minires.course.tutorials.exercise import OpenError, call, compare
from minires.errors import ArgumentError, CheckError

RIGHT = np.arange(1.0, 7).reshape(2, 3)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (RIGHT.T, r"has the shape \(3, 2\), but should have \(2, 3\).* a transpose is missing"),
        (RIGHT.ravel(), "a reshape is missing"),
        (RIGHT[:, :2], "It differs in axis 1"),
        (-RIGHT, "Its sign is flipped"),
        (RIGHT * 5, "too large by the factor 5, the batch size: the division by it is missing"),
        (RIGHT / 5, "too small by the factor 5, the batch size"),
        (RIGHT * 2, "twice what it should be"),
        (RIGHT / 2, "half of what it should be"),
        (RIGHT * 1.7, "off by the constant factor 1.7"),
        (RIGHT + 1e-3, "off by more than rounding"),
        (RIGHT * 0, "zero everywhere"),
        (RIGHT * np.nan, "NaN or infinity"),
        (RIGHT[::-1], "flipped along axis 0"),
        (RIGHT[[1, 0]][:, [1, 0, 2]], "values are right, but in the wrong places"),
        (RIGHT + [[0, 0, 0], [0, 0, 5]], r"y\[1, 2\] is 11, but should be 6. 1 of 6 numbers are wrong"),
        ("six", "must be numeric, but is of type str"),
        (RIGHT + 7, "^seven too many$"),
    ],
)
def test_a_wrong_answer_is_explained(answer, said):
    with pytest.raises(CheckError, match=said):
        compare("y", answer, RIGHT, {"seven too many": RIGHT + 7}, {"the batch size": 5})


def test_a_square_answer_may_be_transposed():
    right = np.arange(9.0).reshape(3, 3)
    with pytest.raises(CheckError, match=r"in the order of axes \(1, 0\): transposed"):
        compare("y", right.T, right)


@pytest.mark.parametrize("answer", [RIGHT, RIGHT.tolist(), RIGHT.astype("float32"), mr.tensor(RIGHT), RIGHT + 1e-7])
def test_right_up_to_rounding_in_any_form_is_right(answer):
    compare("y", answer, RIGHT)


@pytest.mark.parametrize("answer", [None, ...])
def test_no_answer_is_open_and_no_error(answer, capsys):
    check("1.2", answer)
    assert capsys.readouterr().out.startswith("1.2: open.")


def test_an_unknown_number_lists_those_there_are():
    with pytest.raises(ArgumentError, match=r"no exercise '9.9'; choose one of 1.1, .*8.4"):
        check("9.9", 1)


def test_a_function_that_fails_is_told_how():
    with pytest.raises(CheckError, match="halve raises ZeroDivisionError"):
        call(halve, 0)
    with pytest.raises(CheckError, match="asks for a function, but the answer is of type int"):
        call(3)
    with pytest.raises(OpenError):
        call(lambda x: None, 1)


def halve(x):
    return x / 0


class UpstreamIgnored(mr.Op):
    def forward(self, x):
        return x**3

    def backward(self, upstream):
        (x,) = self.inputs
        return upstream * 0 + 3 * x**2


def flipped(x, kernel, stride, padding):
    rows = mr.ops.im2col(x, kernel, stride, padding).numpy()
    windows = rows.reshape(*rows.shape[:3], x.shape[1], *kernel)
    return windows[..., ::-1, ::-1].reshape(rows.shape)


def all_boxes(boxes, scores, threshold):
    return np.argsort(-scores)


def those_given_first(boxes, scores, threshold):
    order = mr.vision.nms(boxes, -np.arange(len(boxes)), threshold)
    return order.tolist()


def strictly_below(boxes, scores, threshold):
    return mr.vision.nms(boxes, scores, threshold - 1e-9)


def corners_aligned(row, m):
    return np.interp(np.linspace(0, len(row) - 1, m), np.arange(len(row)), row)


def absent_class_counts(predicted, true, classes):
    matrix = mr.vision.confusion_matrix(predicted, true, classes)
    return matrix, np.nan_to_num(mr.vision.class_iou(matrix)).mean()


def transposed_matrix(predicted, true, classes):
    return mr.vision.confusion_matrix(true, predicted, classes), 0.5


def undefined_mean(predicted, true, classes):
    return mr.vision.confusion_matrix(predicted, true, classes), np.nan


def around_the_end(x, moved):
    forth, back = np.roll(x, -1, axis=1), np.roll(x, 1, axis=1)
    return np.concatenate([forth[:, :, :moved], back[:, :, moved : 2 * moved], x[:, :, 2 * moved :]], axis=2)


def largest_first(overlap):
    found, left = [0] * len(overlap), overlap.copy()
    for _ in found:
        i, j = divmod(int(left.argmax()), len(overlap))
        found[i], left[i], left[:, j] = j, -1, -1
    return found


def no_padding(x, kernel, stride, padding):
    return mr.ops.im2col(x, kernel, stride).numpy()


@pytest.mark.parametrize(
    ("number", "answer", "said"),
    [
        ("1.1", 5, "one node, and three edges"),
        ("1.4", 20, "the counts multiply"),
        ("1.5", 7, "each contribution overwrites"),
        ("1.6", UpstreamIgnored, "backward ignores its upstream"),
        ("4.1", (6, 7), "rounded up"),
        ("4.1", (4, 5), "one too few"),
        ("4.2", flipped, "kernel is flipped"),
        ("4.2", no_padding, "the padding is forgotten"),
        ("4.3", (1, 1, 1), "windows overlap"),
        ("4.4", lambda rows, weight, dy: ((dy.T @ rows).T, dy @ weight), "dweight is transposed"),
        ("4.4", lambda rows, weight, dy: (dy.T @ rows / 7, dy @ weight), "the factor 7, the number of rows"),
        ("4.5", 9.437184e6, "in bytes"),
        ("7.1", "lower", "training does not find it"),
        ("7.1", "deeper", "not one of the choices"),
        ("7.2", "bn2.weight", "only if beta is"),
        ("7.3", "smaller", "Measure it"),
        ("8.1", 0.1**10, "plain network"),
        ("8.2", lambda upstream, y: (upstream, upstream), "passes where the ReLU let nothing through"),
        ("8.2", lambda upstream, y: ((y > 0) * upstream, (y > 0) * 1.0), "shortcut's gradient is 1 where it should be"),
        ("8.3", 21, "the network's input"),
        ("8.4", 6, "multiplied by it"),
        ("13.1", (0.25, 0.1), "divided by the first box"),
        ("13.1", (0.2, 0.2), "share of the enclosing box"),
        ("13.1", 0.2, "two numbers"),
        ("13.2", (12, 8, 12, 16), "these are pixels"),
        ("13.2", (1, 0.5, 2, 2.5), "middle of its cell"),
        ("13.3", 0.81, "p squared"),
        ("13.4", all_boxes, "no box is left out"),
        ("13.4", those_given_first, "highest score comes first"),
        ("13.4", strictly_below, "equal to the threshold is kept"),
        ("14.1", 6, "that is the classifier"),
        ("14.2", corners_aligned, "align_corners"),
        ("14.3", 12, "two gaps"),
        ("14.4", absent_class_counts, "must not count as 0"),
        ("14.4", transposed_matrix, "other way round"),
        ("14.4", undefined_mean, "0 / 0 is not a number"),
        ("14.5", lambda p, t: 1 - (p * t).sum() / (p.sum() + t.sum()), "the factor 2 is missing"),
        ("15.1", 100, "cannot be right about both"),
        ("15.2", around_the_end, "comes in at the other"),
        ("15.2", lambda x, moved: x, "nothing is moved"),
        ("15.3", lambda c, o: 27 * c * o / (9 * c + 3 * o), "round down"),
        ("15.4", largest_first, "the largest overlap first"),
        ("15.4", lambda overlap: [0] * len(overlap), "not a matching"),
    ],
)
def test_likely_mistakes_are_named(number, answer, said):
    with pytest.raises(CheckError, match=said) as caught:
        check(number, answer)
    assert str(caught.value).startswith(f"{number}: ")
    assert caught.value._render_traceback_() == [str(caught.value)]


def test_half_an_answer_is_open(capsys):
    check("13.1", (0.2, None))
    check("14.4", lambda predicted, true, classes: (mr.vision.confusion_matrix(predicted, true, classes), None))
    assert [line[:10] for line in capsys.readouterr().out.splitlines()] == ["13.1: open", "14.4: open"]


def test_the_gap_is_that_of_the_runs_it_is_given():
    class Run:
        train_error, test_error = 80.0, 83.0

    check("7.4", 3.0, [Run, Run])
    with pytest.raises(CheckError, match="not the other way round"):
        check("7.4", -3.0, [Run, Run])
