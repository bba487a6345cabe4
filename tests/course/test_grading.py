"""Points are given for properties, a bug costs points only once, and the feedback is useful."""

import json

import numpy as np
import pytest

from minires.course.grading import Grader
from minires.course.release import student_version
from minires.course.results import Result, question_lines
from minires.course.sandbox import Limits, Returned

DOUBLE = "def double(x):\n    return {}\n\n\n"
TOTAL = "def total(x):\n    y = double(x)\n    return {}\n"


class Listener:
    """Doubles its argument, and records the calls."""

    def __init__(self):
        self.seen = []

    def call(self, function, arguments):
        self.seen.append(arguments["x"])
        return Returned(2 * arguments["x"], arguments)


def listen(grader):
    """The calls of `double`."""
    listener = Listener()
    grader.grade_question(grader.assignment.questions[0], listener, Result("", grader.assignment))
    return listener.seen


def scores(result):
    return [[each.score for each in question.properties] for question in result.questions]


def test_the_solution_gets_all_points_and_the_stub_none(grade, solution):
    right, nothing = grade(solution), grade(student_version(solution))
    assert (right.score, nothing.score) == (10, 0)
    assert all(question.hidden == (2, 2) for question in right.questions)
    assert [question_lines(question) for question in nothing.questions] == [
        ["FAIL  all properties", "      double is not written yet.", "hidden: 0/2 passed"],
        ["FAIL  all properties", "      total is not written yet.", "hidden: 0/2 passed"],
    ]


@pytest.mark.parametrize(
    ("double", "total", "expected"),
    [
        ("3 * x", "y.sum(axis=1), y.max(axis=1)", [[0, 0], [3, 2]]),  # a bug in double costs nothing in total
        ("2 * x", "y.sum(axis=1), y.min(axis=1)", [[3, 2], [3, 0]]),
        ("2 * x", "y.sum(axis=1)", [[3, 2], [0, 0]]),
        ("x.__imul__(2)", "y.sum(axis=1), y.max(axis=1)", [[3, 0], [3, 2]]),
        ("None", "None", [[0, 0], [0, 0]]),
        ("(2 * x).astype('float32')", "[y.sum(axis=1), y.max(axis=1)]", [[0, 0], [3, 2]]),
        ("(2 * x).tolist()", "y.sum(axis=1), y.max(axis=1)", [[0, 0], [3, 2]]),
        ("2 * x", "y.sum(), y.max()", [[3, 2], [0, 0]]),
    ],
)
def test_each_property_has_its_points_and_each_bug_costs_once(grade, double, total, expected):
    assert scores(grade(DOUBLE.format(double) + TOTAL.format(total))) == expected


def test_what_is_right_for_the_public_numbers_only_gets_nothing(toy, grade):
    """A submission that has memorised the public answers; the hidden tests draw other numbers."""
    answers = {}
    for x in listen(Grader(toy)):
        answers[str(x.tolist())] = (2 * x).tolist()
    by_heart = f"import numpy as np\nANSWERS = {answers}\n\n\n" + DOUBLE.format(
        "np.array(ANSWERS[str(x.tolist())]) if str(x.tolist()) in ANSWERS else 0 * x"
    )
    result = grade(by_heart, functions=["double"])
    assert result.score == 0
    (question,) = result.questions
    assert [each.public for each in question.properties] == [True, True] and question.hidden == (0, 2)
    assert "The public test passes, but the hidden one fails" in "\n".join(question_lines(question))
    assert question_lines(question)[-1] == "hidden: 0/2 passed"


def test_the_feedback_shows_a_small_input_the_first_wrong_number_the_pattern_and_the_bug(grade):
    lines = question_lines(grade(DOUBLE.format("3 * x"), functions=["double"]).questions[0])
    assert lines[:6] == [
        "FAIL  values, 0 of 3: Every number is doubled.",
        "          x = np.arange(1.0, 3).reshape(1, 2)",
        "          double(x)",
        "      y[0, 0] is 3, but should be 2.",
        "      All numbers are wrong. It is off by the constant factor 1.5.",
        "      Your result equals that of a function that trebles.",
    ]


def test_the_input_it_shows_shows_the_bug(grade):
    """It can be pasted and needs only the function's name."""
    lines = question_lines(grade(DOUBLE.format("x + x * (x < 2)"), functions=["double"]).questions[0])
    code = [line.strip() for line in lines if line.startswith(" " * 10)][:2]
    names = {"np": np, "double": lambda x: x + x * (x < 2)}
    exec(code[0], names)
    got = eval(code[1], names)
    assert "y[0, 1] is 2, but should be 4." in "\n".join(lines) and got[0, 1] == 2


def test_the_same_reason_is_not_told_twice(grade):
    lines = question_lines(grade(DOUBLE.format("3 * x"), functions=["double"]).questions[0])
    assert lines[6:] == ["FAIL  clean, 0 of 2: x is not changed.", "      For the reason above.", "hidden: 0/2 passed"]


def test_an_error_is_told_with_its_line(grade):
    lines = question_lines(grade("def double(x):\n    y = x @ x\n    return y\n", functions=["double"]).questions[0])
    assert lines[1].startswith("          x = np.arange") and lines[3].startswith(
        "      double raises ValueError: matmul"
    )
    assert lines[3].endswith("Line 2: y = x @ x")


def test_a_function_that_is_missing_is_told(grade):
    lines = question_lines(grade("x = 1\n").questions[0])
    assert lines[:2] == ["FAIL  all properties", "      double is missing: toy.py does not define it."]


def test_warnings_prints_and_stderr_cost_nothing(grade, solution, capfd):
    body = "    print('!')\n    warnings.warn('!')\n    sys.stderr.write('!')\n"
    noise = f"import sys, warnings\n\n\ndef noise():\n{body}\n\n"
    assert grade(noise + solution.replace("return", "noise(); return")).score == 10
    assert capfd.readouterr() == ("", "")


def test_a_student_who_checks_sees_what_the_code_prints(toy, solution, capfd):
    Grader(toy, show_output=True).grade("print('hello')\n" + solution, functions=["double"])
    assert "hello" in capfd.readouterr().err


def test_results_are_told_after_each_test(grade, solution):
    told = []
    grade(solution, report=lambda result: told.append((sum(map(len, scores(result))), result.complete)))
    assert told == [(1, False), (2, False), (3, False), (4, False), (4, True)]


def test_without_a_secret_there_are_no_hidden_tests(toy, solution):
    result = Grader(toy).grade(solution)
    assert result.score == 10 and [question.hidden for question in result.questions] == [None, None]
    assert not any("hidden" in line for question in result.questions for line in question_lines(question))


def test_after_two_hangs_a_function_is_not_tried_any_more(toy):
    result = Grader(toy, "s", Limits(seconds=0.5)).grade("def double(x):\n    while True: pass\n", functions=["double"])
    sentences = [each.feedback.sentence for each in result.questions[0].properties]
    assert sentences == ["double did not finish within 0.5 seconds (is there an infinite loop?)."] * 2
    assert result.questions[0].hidden == (0, 2)


def test_json_and_gradescope_tell_the_same(grade):
    result = grade(DOUBLE.format("3 * x") + TOTAL.format("y.sum(axis=1), y.max(axis=1)"))
    mine, theirs = json.loads(json.dumps(result.as_json())), json.loads(json.dumps(result.as_gradescope()))
    assert (mine["score"], mine["max_score"], theirs["score"], mine["complete"]) == (5, 10, 5, True)
    assert [(test["score"], test["max_score"], test["status"]) for test in theirs["tests"]] == [
        (0, 5, "failed"),
        (5, 5, "passed"),
    ]
    assert theirs["tests"][0]["output"].endswith("hidden: 0/2 passed")
    assert mine["questions"][0]["hidden"] == {"passed": 0, "of": 2}
    assert (
        mine["questions"][0]["properties"][0]["feedback"][-1] == "Your result equals that of a function that trebles."
    )


def test_the_secret_decides_the_hidden_numbers(toy, solution):
    def hidden(secret):
        return {x.tobytes() for x in listen(Grader(toy, secret))}

    assert hidden("a") == hidden("a")
    assert hidden("a") & hidden("b") == hidden(None)  # the public ones
    assert len(hidden("a")) == 2 * len(hidden(None))
