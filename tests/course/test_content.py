"""The parts of an assignment: marks around solutions, the bank of wrong answers, the notebook."""

import json

import pytest

from minires.course.assignments import assignment, assignments
from minires.course.bank import wrong_source
from minires.course.content import Bug, read_bugs
from minires.course.release import BEGIN, END, as_notebook, student_version
from minires.errors import ArgumentError, DataError


def test_every_solution_between_marks_becomes_an_error_that_names_its_function(solution):
    f = f"def f():\n    x = 1\n    {BEGIN}\n    return 2\n    {END}\n"
    g = f"def g():\n    if 1:\n        {BEGIN}\n        3\n        {END}\n"
    stub = student_version(f + g)
    assert stub.splitlines()[2] == '    raise NotImplementedError("f is not written yet")'
    assert stub.splitlines()[5] == '        raise NotImplementedError("g is not written yet")'
    for text in (stub, student_version(solution)):
        compile(text, "stub", "exec")
        assert BEGIN not in text and END not in text and "2 * x" not in text and "return 2" not in text


@pytest.mark.parametrize("lines", [[BEGIN], [END], [BEGIN, BEGIN, END], [BEGIN, END, END]])
def test_marks_that_are_no_pairs_are_refused(lines):
    with pytest.raises(DataError, match="has no counterpart"):
        student_version("\n".join(lines))


def test_a_bug_whose_text_is_not_there_is_refused(solution):
    for old, times in (("3 * x", 0), ("x", 3)):
        with pytest.raises(ArgumentError, match=f"text that 'odd' changes occurs {times} times in double, not once"):
            wrong_source(solution, Bug("odd", "double", old, "y", "", ""))


def test_bugs_are_read_with_several_lines():
    (first, second) = read_bugs("f", "== one (p)\nsays\n- a\n-     b\n+ c\n\n== two, or (so) (q r)\nmore\n- d\n+ \n")
    assert (first.name, first.loses, first.old, first.new) == ("one", "p", "a\n    b", "c")
    assert (second.name, second.loses, second.old, second.new) == ("two, or (so)", "q r", "d", "")


def test_the_notebook_is_valid_and_whole():
    a2 = assignment("A2")
    notebook = json.loads(as_notebook(a2.read("walk.py")))
    assert notebook["nbformat"] == 4 and len({cell["id"] for cell in notebook["cells"]}) == len(notebook["cells"]) <= 45
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert all(not cell["outputs"] and cell["execution_count"] is None for cell in code)
    words = sum(len("".join(c["source"]).split()) for c in notebook["cells"] if c["cell_type"] == "markdown")
    assert words <= 900 and sum(len(cell["source"]) for cell in code) <= 250
    for question in a2.questions:
        assert f'check("{question.function}")' in as_notebook(a2.read("walk.py")).replace('\\"', '"')
    nbformat = pytest.importorskip("nbformat", reason="nbformat is not installed")
    nbformat.validate(notebook)


def test_assignments_are_found_by_name():
    assert "A2" in assignments() and assignment("a2") is assignments()["A2"]
    with pytest.raises(ArgumentError, match="there is no assignment 'A9'; choose one of A2"):
        assignment("A9")
    with pytest.raises(ArgumentError, match="there is no A2 question 'conv'; choose one of im2col, col2im"):
        assignment("A2").question("conv")
