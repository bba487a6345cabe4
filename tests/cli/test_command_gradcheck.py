"""``minires gradcheck``: a table of what was checked, and status 1 for a wrong gradient."""

import pytest

from minires.gradcheck import cases
from minires.gradcheck.cases import CheckedCase


def test_named_ops_are_shown_case_by_case(minires):
    result = minires("gradcheck", "relu", "squeeze")
    assert result.status == 0 and result.err == ""
    header, *rows, _, last = result.out.splitlines()
    assert header.split() == ["op", "case", "order", "largest", "error", "ms"]
    assert [row.split()[0] for row in rows] == ["relu"] * 4 + ["squeeze"] * 4
    assert all(row.endswith("  ok") for row in rows) and last.startswith("8 checks of 8 passed in ")


@pytest.fixture
def results(monkeypatch):
    """The results that the command gets instead of checking."""
    results = [
        CheckedCase("relu", "matrix", 1, True, 2e-10, "", 0.001),
        CheckedCase("relu", "matrix", 2, True, 3e-10, "", 0.004),
        CheckedCase("conv2d", "plain", 1, True, 5e-11, "", 0.010),
        CheckedCase("conv2d", "plain", 2, True, 6e-11, "", 0.020),
        CheckedCase("conv2d", "groups", 1, True, 9e-11, "", 0.010),
        CheckedCase("conv2d", "groups", 2, True, 1e-11, "", 0.020),
    ]
    monkeypatch.setattr(cases, "check_ops", lambda names: iter(results))
    return results


def test_all_ops_are_a_row_each(minires, results):
    result = minires("gradcheck")
    assert result.status == 0
    assert [line.split() for line in result.out.splitlines()] == [
        ["op", "cases", "largest", "error", "of", "order", "2", "ms"],
        ["relu", "1", "2e-10", "3e-10", "5", "ok"],
        ["conv2d", "2", "9e-11", "6e-11", "60", "ok"],
        [],
        ["6", "checks", "of", "6", "passed", "in", "0.1", "s"],
    ]


@pytest.mark.parametrize("words", [(), ("conv2d",)])
def test_a_wrong_gradient_is_told_and_is_a_failure(minires, results, words):
    results[4] = CheckedCase(
        "conv2d", "groups", 1, False, None, "gradcheck: the gradient with respect to input 1 is wrong.", 0.01
    )
    result = minires("gradcheck", *words)
    assert result.status == 1 and result.err == "minires gradcheck: the gradients of conv2d are wrong.\n"
    assert "WRONG" in result.out and "5 checks of 6 passed" in result.out
    assert "conv2d, groups, order 1\n  gradcheck: the gradient with respect to input 1 is wrong." in result.out
