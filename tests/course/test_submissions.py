"""Finding the files of submissions, and counting their points."""

import pytest

from minires.course.classroom import find_file, histogram, read_submission, submissions_in
from minires.errors import DataError


def test_the_file_of_a_submission_may_lie_deeper(tmp_path):
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "toy.py").write_text("deep")
    assert find_file(tmp_path, "toy.py") == tmp_path / "a" / "b" / "toy.py"
    (tmp_path / "a" / "toy.py").write_text("\ufeffhigher")
    assert read_submission(tmp_path, "toy.py") == "higher"  # without the mark that some editors put first
    assert find_file(tmp_path, "other.py") is None


def test_a_submission_without_its_file_says_what_is_there(tmp_path):
    (tmp_path / "conv pool.py").touch()
    with pytest.raises(DataError, match=r"there is no file toy.py in .*; it contains conv pool.py"):
        read_submission(tmp_path, "toy.py")


def test_a_submission_that_is_not_text_is_refused(tmp_path):
    (tmp_path / "toy.py").write_bytes(b"\xff\xfe")
    with pytest.raises(DataError, match=r"toy.py cannot be read as text in UTF-8"):
        read_submission(tmp_path, "toy.py")


def test_submissions_are_folders_in_a_folder_or_the_folder_itself(tmp_path):
    for name in ("b", "a", ".git"):
        (tmp_path / name).mkdir()
    with pytest.raises(DataError, match=r"nor its subfolders contain toy.py"):
        submissions_in(tmp_path, "toy.py")
    (tmp_path / "b" / "toy.py").touch()
    assert submissions_in(tmp_path, "toy.py") == [tmp_path / "a", tmp_path / "b"]
    (tmp_path / "toy.py").touch()
    assert submissions_in(tmp_path, "toy.py") == [tmp_path]
    with pytest.raises(DataError, match="there is no folder"):
        submissions_in(tmp_path / "none", "toy.py")


def test_a_histogram_counts_everybody_once():
    for most in (100, 10, 7):
        for scores in ([0, most], list(range(most + 1)), [most] * 200):
            lines = histogram(scores, most)
            assert len(lines) == 10 and sum(int(line.split()[-1]) for line in lines) == len(scores)
            assert max(map(len, lines)) <= 80
