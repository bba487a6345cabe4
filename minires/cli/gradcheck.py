"""``minires gradcheck``: every op's backward against finite differences."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import GradcheckError, listed
from .output import counted, make_console, print_table

if TYPE_CHECKING:
    from ..gradcheck.cases import Result


def gradcheck(
    ops: Annotated[list[str] | None, typer.Argument(metavar="OP", help="The ops to check; by default all.")] = None,
) -> None:
    """Check the gradients of ops, and the gradients of those gradients, against finite differences.

    Named ops are shown case by case. The exit status is 1 if a gradient is wrong.
    """
    from ..gradcheck.cases import check_ops

    results = []
    with make_console().status("checking") as status:
        for result in check_ops(tuple(ops or ())):
            results.append(result)
            status.update(f"{result.op}, {result.case}")
    if ops:
        print_table(["op", "case", ">order", ">largest error", ">ms", ""], [case_row(result) for result in results])
    else:
        columns = ["op", ">cases", ">largest error", ">of order 2", ">ms", ""]
        print_table(columns, [op_row(op, list(rows)) for op, rows in groupby(results, lambda result: result.op)])

    wrong = [result for result in results if not result.ok]
    for result in wrong:
        print(f"\n{result.op}, {result.case}, order {result.order}\n  {result.message}")
    seconds = sum(result.seconds for result in results)
    print(f"\n{counted(len(results) - len(wrong), 'check')} of {len(results):,} passed in {seconds:.1f} s")
    if wrong:
        names = dict.fromkeys(result.op for result in wrong)
        raise GradcheckError(f"gradcheck: the gradients of {listed(list(names))} are wrong.")


def case_row(result: Result) -> list[str]:
    """A row for one case at one order."""
    verdict = "ok" if result.ok else "WRONG"
    return [result.op, result.case, str(result.order), _error([result]), f"{1e3 * result.seconds:.0f}", verdict]


def op_row(op: str, results: list[Result]) -> list[str]:
    """A row for all cases of an op, with the largest error of each order."""
    first, second = ([result for result in results if result.order == order] for order in (1, 2))
    verdict = "ok" if all(result.ok for result in results) else "WRONG"
    seconds = sum(result.seconds for result in results)
    return [op, str(len(first)), _error(first), _error(second), f"{1e3 * seconds:.0f}", verdict]


def _error(results: list[Result]) -> str:
    """The largest relative error; none is known of a check that failed."""
    errors = [result.error for result in results if result.error is not None]
    return f"{max(errors):.0e}" if len(errors) == len(results) and errors else "-"
