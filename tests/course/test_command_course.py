"""``minires course``: from a new folder to a graded class."""

import csv
import json
from pathlib import Path

import pytest

from minires.cli.main import main
from minires.course.release import student_version


@pytest.fixture
def run(capfd):
    """A command in this process: its exit status, stdout and stderr."""

    def run(*words):
        capfd.readouterr()
        status = main(["course", *map(str, words)])
        return status, *capfd.readouterr()

    return run


@pytest.fixture
def here(tmp_path, monkeypatch, installed):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_list_shows_what_there_is(run):
    status, out, err = run("list")
    assert status == 0 and err == ""
    assert out.splitlines()[1].split() == ["A2", "convolution", "and", "pooling", "11", "100", "conv_pool.py"]


def test_from_start_to_the_first_point(run, here, solution):
    status, out, _ = run("start", "toy")
    assert status == 0 and out.splitlines()[1:] == [
        "  cd TOY",
        "  write a function in toy.py",
        "  minires course check double",
    ]
    status, out, err = run("check", "double", "--folder", "TOY")
    assert status == 1 and "double is not written yet." in out
    assert err == "minires course: 0 of 5 points in the public tests.\n"
    stub = (here / "TOY" / "toy.py").read_text()
    assert stub == student_version(solution)
    (here / "TOY" / "toy.py").write_text(stub.replace('raise NotImplementedError("double is not', 'return 2 * x  #("'))
    status, out, err = run("check", "double", "--folder", "TOY")
    assert (status, err) == (0, "")
    assert out.splitlines()[-1].startswith("5 of 5 points in the public tests; the hidden tests check the same")
    status, out, err = run("start", "TOY")
    assert status == 1 and "TOY exists already" in err


def test_release_makes_two_folders(run, here):
    status, out, _ = run("release", "TOY", "--out", "out")
    folders = [Path(line.split()[-1]) for line in out.splitlines()]
    assert status == 0 and folders == [Path("out/student/TOY"), Path("out/instructor/TOY")]
    assert (here / "out/instructor/TOY/secret.txt").exists()
    assert run("release", "TOY", "--out", "out")[0] == 1


def test_one_submission_is_graded_and_its_exit_status_is_for_classrooms(run, here, solution):
    (here / "toy.py").write_text(solution)
    (here / "secret").write_text("s\n")
    status, out, err = run("grade", ".", "--secret", "secret", "--json", "r.json", "--gradescope", "results.json")
    assert (status, err) == (0, "") and out.splitlines()[-1] == "10 of 10 points" and "hidden: 2/2 passed" in out
    mine, theirs = (json.loads((here / name).read_text()) for name in ("r.json", "results.json"))
    assert mine["score"] == theirs["score"] == 10 and mine["complete"] and mine["submission"] == here.name
    (here / "toy.py").write_text(solution.replace("2 * x", "3 * x"))
    status, out, err = run("grade", ".")
    assert status == 1 and err == "minires course: 5 of 10 points.\n"


def test_a_file_that_cannot_be_read_is_told_once(run, here):
    (here / "toy.py").write_text("def (:\n")
    status, out, _ = run("grade", ".", "--gradescope", "results.json")
    assert status == 1 and out == "FAIL  toy.py raises SyntaxError: invalid syntax. Line 1: def (:\n\n"
    assert json.loads((here / "results.json").read_text())["output"].startswith("toy.py raises SyntaxError")


def test_a_submission_without_its_file_has_a_result_on_gradescope(run, here):
    (here / "x").mkdir()
    (here / "x" / "doubel.py").touch()
    words = ("grade", "x", "--assignment", "TOY", "--gradescope", "results.json")
    status, _, _ = run(*words)
    found = json.loads((here / "results.json").read_text())
    assert status == 1 and found["score"] == 0
    assert found["output"] == "there is no file toy.py in x; it contains doubel.py."


def test_a_class_has_a_table_a_histogram_and_a_file_for_each(run, here, solution):
    for name, source in {
        "ada": solution,
        "bob": solution.replace("2 * x", "3 * x"),
        "=cmd()": "while True x",
        "none": None,
    }.items():
        (here / "in" / name).mkdir(parents=True)
        if source:
            (here / "in" / name / "toy.py").write_text(source)
    status, out, err = run("grade", "in", "--json", "out", "--workers", "1")
    assert (status, err) == (0, "")
    lines = out.splitlines()
    assert lines[0].split() == ["submission", "points", "double", "total"]
    rows = {line.split()[0]: line.split()[1:4] for line in lines[1:5]}
    assert rows["ada"] == ["10", "5", "5"] and rows["bob"] == ["5", "0", "5"] and rows["none"][0] == "0"
    assert "there is no file toy.py" in out
    assert lines[6].split() == ["9-10", "#", "1"] and lines[-1] == "4 submissions, 3.8 of 10 points on average"
    table = list(csv.reader((here / "out" / "summary.csv").read_text().splitlines()))
    assert table[0] == ["submission", "points", "double", "total", "problem"]
    assert {row[0]: row[1] for row in table[1:]} == {"ada": "10", "bob": "5", "'=cmd()": "0", "none": "0"}
    assert {path.name for path in (here / "out").iterdir()} >= {"ada.json", "bob.json", "none.json"}


def test_verify_prints_the_kill_matrix(run, here):
    status, out, err = run("verify", "--out", "page.md")
    assert (status, err) == (0, "")
    assert out == (here / "page.md").read_text()
    assert "the stub gets 0 and the solution 10" in out
    assert "| wrong answer | values | clean | named |" in out and "| trebled | **x** | x | yes |" in out


def test_verify_tells_what_is_at_fault(run, here, installed, monkeypatch):
    from minires.course.content import Bug

    bugs = [Bug("nothing", "double", "2 * x", "x + x", "a function that is right", "values")]
    monkeypatch.setitem(installed.__dict__, "bugs", bugs)
    status, out, err = run("verify")
    assert status == 1 and err == "minires course: 5 faults in the assignments.\n"
    assert out.splitlines()[-5:-3] == [
        "double, nothing: 'values' does not detect it; no property does.",
        "double: 'values' does not detect any wrong answer of the bank.",
    ]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("check --folder nowhere", "does not contain the file of an assignment: toy.py (TOY)"),
        ("grade nowhere", "nowhere does not contain the file of an assignment"),
        ("grade nowhere --assignment TOY", "there is no folder nowhere"),
        ("grade . --assignment TOY --secret none", "none: No such file or directory"),
        ("start A9", "there is no assignment 'A9'; choose one of TOY."),
        ("verify A9", "there is no assignment 'A9'"),
        ("check --folder TOY treble", "there is no TOY question 'treble'; choose one of double, total."),
        ("grade TOY --workers 0", "--workers is 0; it must be an integer >= 1."),
    ],
)
def test_what_cannot_be_is_one_sentence(run, here, words, says):
    run("start", "TOY")
    status, out, err = run(*words.split())
    assert status in (1, 2) and out == "" and says in err and err.count("\n") == 1


def test_an_empty_secret_is_refused(run, here, solution):
    (here / "toy.py").write_text(solution)
    (here / "secret").touch()
    status, _, err = run("grade", ".", "--secret", "secret")
    assert status == 2 and "secret is empty; it must hold the secret." in err
