"""Every op's own cases: backward, and the derivative of backward, agree with finite differences."""

import pytest

import minires as mr
from minires.errors import ArgumentError
from minires.gradcheck import cases
from minires.gradcheck.cases import CASES, EXEMPT, Case, check_ops

ALL = [pytest.param(case, id=f"{op}: {case.name}") for op in CASES for case in CASES[op]]


@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize("case", ALL)
def test_the_textbook_agrees_with_differences(case, order):
    with mr.engine("textbook"):
        assert mr.gradcheck(case.function, case.inputs(), order=order)


def test_every_public_op_has_cases_or_a_reason_to_have_none():
    assert set(CASES) | set(EXEMPT) == set(mr.ops.__all__)
    assert not set(CASES) & set(EXEMPT)
    assert all(CASES.values())


def test_case_names_are_unique_and_inputs_repeatable():
    for op, of_op in CASES.items():
        names = [case.name for case in of_op]
        assert len(set(names)) == len(names), op
        for first, second in zip(of_op[0].inputs(), of_op[0].inputs(), strict=True):
            assert first.dtype == "float64" and first.requires_grad and (first == second).numpy().all()


def test_check_ops_gives_a_row_for_each_case_and_order():
    rows = list(check_ops(["add", "relu"]))
    assert [row.op for row in rows] == ["add"] * 10 + ["relu"] * 4
    assert [row.order for row in rows[:4]] == [1, 2, 1, 2]
    assert all(row.ok and row.error < 1e-6 and row.seconds > 0 and not row.message for row in rows)
    assert len(list(check_ops(["exp"], orders=[1]))) == 2


def test_check_ops_reports_a_failure_as_a_row(monkeypatch):
    failing = Case("exp", "detached", *CASES["exp"][0].draws, call=lambda x: x.detach() * 2)
    monkeypatch.setitem(cases.CASES, "exp", [failing])
    (row,) = check_ops(["exp"], orders=[1])
    assert not row.ok and row.error is None and "zero everywhere" in row.message


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("conv3d", "there is no op 'conv3d'; choose one of abs, adaptive_avg_pool2d, add, "),
        ("argmax", "argmax is not checked: an index"),
    ],
)
def test_check_ops_refuses_a_name_before_it_starts(name, message):
    with pytest.raises(ArgumentError, match=message):
        check_ops(["add", name])


def test_dropout_case_leaves_the_generator_where_it_was():
    mr.manual_seed(5)
    expected = mr.ops.dropout(mr.tensor([1.0] * 50)).numpy()
    mr.manual_seed(5)
    assert all(row.ok for row in check_ops(["dropout"]))
    assert (mr.ops.dropout(mr.tensor([1.0] * 50)).numpy() == expected).all()
