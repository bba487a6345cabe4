"""What is handed out: nothing of the solution for students, and all that grading needs for instructors."""

import json
import os
import subprocess
import sys
import zipfile

import pytest

from minires import course
from minires.course.assignments import assignment
from minires.course.release import BEGIN, END, write_instructor_folder, write_student_folder
from minires.errors import DataError

A2 = assignment("A2")


def solution_lines():
    """The lines between the marks, without those that could be anywhere."""
    inside, lines = False, set()
    for line in map(str.strip, A2.read(A2.file).splitlines()):
        inside = line == BEGIN or (inside and line != END)
        lines |= {line} if inside and line != BEGIN else set()
    return {line for line in lines if len(line) > 25}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    top = tmp_path_factory.mktemp("release")
    return write_student_folder(A2, top / "student"), write_instructor_folder(A2, top / "instructor")


def test_the_students_folder_has_nothing_of_the_solution_and_no_secret(folders):
    student, instructor = folders
    assert sorted(path.name for path in student.iterdir()) == [
        "A2.ipynb",
        "README.md",
        "conv_pool.py",
        "test_public.py",
    ]
    secret = (instructor / "secret.txt").read_text().strip()
    hidden = solution_lines()
    assert len(hidden) > 30 and len(secret) == 32
    for path in student.iterdir():
        text = path.read_text(encoding="utf-8")
        assert not [line for line in hidden if line in text] and secret not in text and BEGIN not in text


def test_each_function_to_fill_says_what_to_write(folders):
    source = (folders[0] / "conv_pool.py").read_text(encoding="utf-8")
    for question in A2.questions:
        body = source.split(f"def {question.function}(")[1].split("\ndef ")[0]
        assert body.count("    # Write: ") == 1
        assert body.rstrip().endswith(f'    raise NotImplementedError("{question.function} is not written yet")')


def test_the_instructors_folder_has_the_solution_and_a_secret_of_its_own(folders, tmp_path):
    _, instructor = folders
    assert (instructor / "conv_pool.py").read_text() == A2.read(A2.file)
    other = write_instructor_folder(A2, tmp_path / "again")
    assert (other / "secret.txt").read_text() != (instructor / "secret.txt").read_text()
    if os.name == "posix":
        assert (instructor / "secret.txt").stat().st_mode & 0o077 == 0
    assert "--secret secret.txt" in (instructor / "README.md").read_text()


def test_what_is_there_is_not_overwritten(folders, tmp_path):
    for write in (write_student_folder, write_instructor_folder):
        with pytest.raises(DataError, match="exists already, and may hold somebody's work"):
            write(A2, folders[0])
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="cannot be created: "):
        write_student_folder(A2, tmp_path / "file" / "A2")


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="Gradescope runs on Linux")
def test_the_zip_grades_as_gradescope_does(folders, tmp_path):
    """With its own minires, in the folders that Gradescope has, but below another root."""
    source, submission, results = tmp_path / "source", tmp_path / "submission", tmp_path / "results"
    for folder in (source, submission, results):
        folder.mkdir()
    with zipfile.ZipFile(folders[1] / "gradescope.zip") as archive:
        archive.extractall(source)
        modes = {entry.filename: entry.external_attr >> 16 for entry in archive.infolist()}
    assert modes["run_autograder"] == modes["setup.sh"] == 0o755
    assert (source / "secret.txt").read_text() == (folders[1] / "secret.txt").read_text()
    assert (source / "minires" / "course" / "assignments" / "a2" / "bugs" / "im2col.txt").exists()
    assert subprocess.run(["bash", "-n", source / "setup.sh"]).returncode == 0
    stub = "def global_avg_pool_forward(x):\n    return x.mean(axis=(2, 3))\n"
    (submission / "conv_pool.py").write_text(stub)
    script = (source / "run_autograder").read_text()
    script = script.replace("/autograder", str(tmp_path)).replace("/opt/grader/bin/python", sys.executable)
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = json.loads((results / "results.json").read_text())
    assert found["score"] == 3 and [test["score"] for test in found["tests"]] == [0] * 9 + [3, 0]
    assert found["tests"][9]["output"].endswith("hidden: 3/3 passed")


def test_the_tests_for_pytest_run_the_public_tests(installed, solution, tmp_path):
    (tmp_path / "toy.py").write_text(solution.replace("y.max", "y.min"))
    tests = {str(test): test for test in course.public_tests("TOY", str(tmp_path / "toy.py"))}
    assert list(tests) == ["double: values", "double: clean", "total: sums", "total: largest"]
    for name in list(tests)[:3]:
        tests[name].run()
    with pytest.raises(AssertionError, match=r"Your result equals that of a function that takes the smallest\."):
        tests["total: largest"].run()


def test_check_prints_and_tells_whether_all_passed(installed, solution, tmp_path, capsys):
    (tmp_path / "toy.py").write_text(solution.replace("y.max", "y.min"))
    assert course.check("double", str(tmp_path)) is True
    assert course.check(folder=str(tmp_path)) is False
    out = capsys.readouterr().out
    assert out.startswith("double: 5 of 5 points\n  ok    values, 3 of 3: Every number is doubled.\n")
    assert "total: 3 of 5 points\n" in out and "FAIL  largest, 0 of 2: The largest are right.\n" in out


def test_the_notebook_runs_with_the_solution_and_with_the_stub(folders, tmp_path, monkeypatch, capsys):
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("Agg")
    asked = []
    monkeypatch.setattr(course, "check", asked.append)
    cells = json.loads((folders[0] / "A2.ipynb").read_text(encoding="utf-8"))["cells"]
    for folder in folders:
        monkeypatch.syspath_prepend(str(folder))
        monkeypatch.delitem(sys.modules, "conv_pool", raising=False)
        names = {}
        for cell in cells:
            if cell["cell_type"] == "code":
                exec("".join(cell["source"]), names)
        assert names["conv_pool"].__file__ == str(folder / "conv_pool.py")
    assert set(asked) == {question.function for question in A2.questions}
    out = capsys.readouterr().out
    assert "im2col is not written yet" in out and "(1, 2, 2, 4)" in out
    sums = [line.split() for line in out.splitlines() if len(line.split()) == 2 and "." in line]
    for left, right in sums[-2:]:  # the adjoint and the slope
        assert abs(float(left) - float(right)) < 1e-5 * abs(float(left))
    sys.modules["matplotlib.pyplot"].close("all")
