"""A2: its reference is right, its solution gets 100 points, its stub 0, and every wrong answer loses what it should."""

import re
from functools import cache
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

import minires as mr
from minires.course.assignments import assignment
from minires.course.bank import wrong_source
from minires.course.grading import Grader
from minires.course.release import student_version
from minires.course.results import Result, question_lines
from minires.course.sandbox import Here
from minires.course.verify import SECRET, Verification, kill, page

A2 = assignment("A2")
SOURCE = A2.read(A2.file)
GRADER = Grader(A2, SECRET)  # shared, since it remembers expected values
DOCS = Path(__file__).parent.parent.parent / "docs"
BUGS = pytest.mark.parametrize("bug", A2.bugs, ids=lambda bug: f"{bug.function}: {bug.name}")


@cache
def kill_of(bug):
    return kill(GRADER, bug)


@cache
def graded(what):
    """Grade a text as a submission."""
    return GRADER.grade({"solution": SOURCE, "stub": student_version(SOURCE)}[what])


@BUGS
def test_the_property_that_is_meant_for_a_bug_notices_it_and_names_it(bug):
    found = kill_of(bug)
    (meant,) = (each for each in found.result.properties if each.tested.name == bug.loses)
    assert not meant.public and not meant.hidden, "the public test and the hidden one"
    assert found.killed and found.named


def test_the_bank_has_what_students_really_do():
    assert len(A2.bugs) >= 100
    assert len({(bug.function, bug.name) for bug in A2.bugs}) == len({(bug.function, bug.says) for bug in A2.bugs})
    assert {bug.function for bug in A2.bugs} == {question.function for question in A2.questions}
    for question in A2.questions:  # each property is named by some wrong answer, except those below
        meant = {bug.loses for bug in A2.bugs if bug.function == question.function}
        spared = {each.name for each in question.properties} - meant
        assert spared <= {"batch of one", "adjoint", "constant", "dweight, stride"} | {"clean"}, question.function


@pytest.mark.slow
def test_the_solution_gets_every_point_with_any_secret():
    solution = ModuleType("conv_pool")
    exec(SOURCE, solution.__dict__)
    for secret in ("one", "two", "three"):
        result = Result("solution", A2)
        for question in A2.questions:
            Grader(A2, secret).grade_question(question, Here(solution), result)
        assert result.score == A2.points == 100


@pytest.mark.slow
def test_as_submissions_the_solution_gets_100_and_the_stub_0_with_a_clear_message():
    right, nothing = graded("solution"), graded("stub")
    assert (right.score, nothing.score) == (100, 0)
    for question in nothing.questions:
        assert question_lines(question)[1] == f"      {question.question.function} is not written yet."


def test_a_wrong_im2col_and_a_wrong_col2im_cost_once():
    """Everything that is built on them is answered by the reference."""
    bugs = {(bug.function, bug.name): bug for bug in A2.bugs}
    source = wrong_source(SOURCE, bugs["im2col", "kernel flipped"])
    source = wrong_source(source, bugs["col2im", "overlaps overwritten"])
    functions = ["im2col", "col2im", "conv_forward", "conv_backward", "max_pool_backward"]
    result = GRADER.grade(source, functions=functions)
    lost = [each.question.function for each in result.questions if each.score < each.question.points]
    assert lost == ["im2col", "col2im"]


@pytest.mark.parametrize(
    "asks", ["im2col(x, (1, 1), (1, 1), (10**5, 10**5))", "im2col(x, (10**5, 1), (1, 1), (10**5, 0))"]
)
def test_a_question_with_an_enormous_answer_costs_the_one_who_asks(asks):
    body = f"def conv_forward(x, weight, bias, stride, padding):\n    return {asks}\n\n\ndef im2col(): pass\n"
    (question,) = GRADER.grade(body, functions=["conv_forward"]).questions
    assert question.score == 0
    assert "im2col raises MemoryError" in question.properties[0].feedback.sentence


def test_the_windows_may_be_given_as_a_students_own_im2col_takes_them():
    body = "def im2col(x, size, stride=1, padding=0): pass\n\n\ndef conv_forward(x, weight, bias, stride, padding):\n"
    body += "    cols = im2col(x, weight.shape[2:], stride, padding=padding)\n"
    body += "    return (cols @ weight.reshape(len(weight), -1).T + bias).transpose(0, 3, 1, 2)\n"
    assert GRADER.grade(body, functions=["conv_forward"]).score == A2.question("conv_forward").points


# --- feedback on code of another style than the solution's

IN_ANOTHER_STYLE = {
    "a col2im that overwrites overlaps window by window: `=` where `+=` is due, or `+=` with an index that contains "
    "pixels repeatedly (see np.add.at)": """
def col2im(cols, x_shape, kernel_size, stride, padding):
    N, C, H, W = x_shape
    x = np.zeros((N, C, H + 2 * padding[0], W + 2 * padding[1]))
    for n in range(N):
        for p in range(cols.shape[1]):
            for q in range(cols.shape[2]):
                top, left = p * stride[0], q * stride[1]
                window = cols[n, p, q].reshape(C, *kernel_size)
                x[n, :, top:top + kernel_size[0], left:left + kernel_size[1]] = window
    return x[:, :, padding[0]:padding[0] + H, padding[1]:padding[1] + W]
""",
    "an im2col that puts the columns in the order KH, KW, C, but the weight has C, KH, KW": """
def im2col(x, kernel_size, stride, padding):
    x = np.pad(x, [(0, 0), (0, 0), (padding[0],) * 2, (padding[1],) * 2])
    view = np.lib.stride_tricks.sliding_window_view(x, kernel_size, (2, 3))[:, :, ::stride[0], ::stride[1]]
    view = view.transpose(0, 2, 3, 4, 5, 1)
    return np.ascontiguousarray(view).reshape(*view.shape[:3], -1)
""",
    "a conv_backward whose dweight is that of the first image alone": """
def conv_backward(dy, x, weight, stride, padding):
    cols = im2col(x, weight.shape[2:], stride, padding)
    dw = sum(np.outer(dy[0, :, p, q], cols[0, p, q]) for p in range(dy.shape[2]) for q in range(dy.shape[3]))
    dcols = np.tensordot(dy, weight.reshape(len(weight), -1), axes=(1, 0))
    return col2im(dcols, x.shape, weight.shape[2:], stride, padding), dw.reshape(weight.shape), dy.sum((0, 2, 3))

def im2col(): pass

def col2im(): pass
""",
    "a max_pool_backward that gives the whole gradient to every maximum of a window": """
def max_pool_backward(dy, x, kernel_size, stride, padding):
    (kh, kw), (sh, sw), (ph, pw) = kernel_size, stride, padding
    xp = np.pad(x, ((0, 0), (0, 0), (ph, ph), (pw, pw)), constant_values=-1e300)
    dx = np.zeros_like(xp)
    for p in range(dy.shape[2]):
        for q in range(dy.shape[3]):
            rows, columns = slice(p * sh, p * sh + kh), slice(q * sw, q * sw + kw)
            window = xp[:, :, rows, columns]
            mask = window == window.max(axis=(2, 3), keepdims=True)
            dx[:, :, rows, columns] += mask * dy[:, :, p, q][..., None, None]
    return dx[:, :, ph:ph + x.shape[2], pw:pw + x.shape[3]]
""",
    "a global_avg_pool_backward that does not divide by H*W": """
def global_avg_pool_backward(dy, x_shape):
    return np.broadcast_to(dy[:, :, None, None], x_shape).copy()
""",
}


@pytest.mark.parametrize("says", IN_ANOTHER_STYLE)
def test_a_bug_is_named_whoever_wrote_it(says):
    source = f"import numpy as np\n{IN_ANOTHER_STYLE[says]}"
    function = re.search(r"a[n]? (\w+)", says)[1]
    (question,) = GRADER.grade(source, functions=[function]).questions
    assert question.score < question.question.points
    assert says in {each.feedback.known for each in question.properties if each.feedback}


# --- the reference, against minires's own ops

STRIDE, PADDING = (2, 3), (1, 2)


def close(a, b):
    assert a.shape == b.shape and np.allclose(a, b, 1e-12, 1e-12)


@pytest.fixture
def x(rng):
    return rng.normal(size=(2, 3, 7, 8))


def gradients(function, dy, *inputs):
    return [each.numpy() for each in mr.grad(function(*inputs), list(inputs), mr.tensor(dy))]


def test_the_references_im2col_and_col2im(rng, x):
    cols = A2.reference.im2col(x, (3, 2), STRIDE, PADDING)
    close(cols, mr.ops.im2col(mr.tensor(x), (3, 2), STRIDE, PADDING).numpy())
    y = rng.normal(size=cols.shape)
    back = mr.ops.col2im(mr.tensor(y), x.shape, (3, 2), STRIDE, PADDING).numpy()
    close(A2.reference.col2im(y, x.shape, (3, 2), STRIDE, PADDING), back)


def test_the_references_convolution(rng, x):
    weight, bias = rng.normal(size=(4, 3, 3, 2)), rng.normal(size=4)
    tensors = [mr.tensor(each, requires_grad=True) for each in (x, weight, bias)]
    y = A2.reference.conv_forward(x, weight, bias, STRIDE, PADDING)
    close(y, mr.ops.conv2d(*tensors, STRIDE, PADDING).numpy())
    dy = rng.normal(size=y.shape)
    expected = gradients(lambda *inputs: mr.ops.conv2d(*inputs, STRIDE, PADDING), dy, *tensors)
    for ours, theirs in zip(A2.reference.conv_backward(dy, x, weight, STRIDE, PADDING), expected, strict=True):
        close(ours, theirs)


@pytest.mark.parametrize("values", ["different", "ties", "below zero"])
@pytest.mark.parametrize("kind", ["max", "avg"])
def test_the_references_pooling(rng, x, kind, values):
    x = {"different": x, "ties": np.round(x), "below zero": -np.abs(x) - 1}[values]
    forward, op = getattr(A2.reference, f"{kind}_pool_forward"), getattr(mr.ops, f"{kind}_pool2d")
    y = forward(x, (3, 2), STRIDE, (1, 1))
    tensor = mr.tensor(x, requires_grad=True)
    close(y, op(tensor, (3, 2), STRIDE, (1, 1)).numpy())
    dy = rng.normal(size=y.shape)
    backward = getattr(A2.reference, f"{kind}_pool_backward")
    ours = backward(dy, x if kind == "max" else x.shape, (3, 2), STRIDE, (1, 1))
    close(ours, gradients(lambda x: op(x, (3, 2), STRIDE, (1, 1)), dy, tensor)[0])


def test_the_references_global_pooling(rng, x):
    tensor, dy = mr.tensor(x, requires_grad=True), rng.normal(size=(2, 3))
    close(A2.reference.global_avg_pool_forward(x), mr.ops.global_avg_pool2d(tensor).numpy())
    close(A2.reference.global_avg_pool_backward(dy, x.shape), gradients(mr.ops.global_avg_pool2d, dy, tensor)[0])


def test_the_readme_of_the_student_tells_the_points():
    for question in A2.questions:
        assert f"| `{question.function}` | {question.points} | {question.title} |" in A2.read("README.md")


# --- pages


def test_the_page_of_wrong_answers_is_what_verify_writes():
    """Written again with `minires course verify A2 --out docs/a2_kill_matrix.md`."""
    found = Verification(A2, graded("stub"), graded("solution"), [kill_of(bug) for bug in A2.bugs])
    assert found.faults() == []
    assert (DOCS / "a2_kill_matrix.md").read_text(encoding="utf-8") == page(found) + "\n"
    words = (DOCS.parent / "README.md").read_text(encoding="utf-8").split()
    assert f"which of {len(A2.bugs)} wrong answers the grader detects" in " ".join(words)


@pytest.mark.parametrize(
    ("file", "bug"),
    [
        ("README.md", "col2im: overlaps overwritten: overlap"),
        ("docs/course_students.md", "im2col: padding repeats the edge: padding"),
    ],
)
def test_the_feedback_that_pages_show_is_what_students_get(file, bug):
    function, name, loses = bug.split(": ")
    (kill,) = (kill_of(bug) for bug in A2.bugs if (bug.function, bug.name) == (function, name))
    lines = question_lines(kill.result)
    start = next(k for k, line in enumerate(lines) if line.startswith(f"FAIL  {loses},"))
    end = next(k for k, line in enumerate(lines) if k > start and not line.startswith("  "))
    shown = "\n".join(f"  {line}" for line in lines[start:end])
    assert shown in (DOCS.parent / file).read_text(encoding="utf-8")
