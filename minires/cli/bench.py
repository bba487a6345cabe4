"""``minires bench``: how fast minires is on this machine, and beside whom."""

from __future__ import annotations

import json
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .output import make_console, print_table

if TYPE_CHECKING:
    from ..bench.race import Result


class Kind(str, Enum):
    """What to measure."""

    train = "train"
    infer = "infer"
    ops = "ops"


def bench(
    kind: Annotated[Kind | None, typer.Argument(help="Training steps, inference, or single convolutions.")] = None,
    against: Annotated[str, typer.Option(help="Whom to race: torch, dezero, or both with a comma.")] = "",
    only: Annotated[str, typer.Option(help="Only workloads whose name contains this.")] = "",
    turns: Annotated[int, typer.Option(min=1, help="How often each contender's turn comes.")] = 7,
    threads: Annotated[int | None, typer.Option(min=1, help="Threads of each contender; by default all cores.")] = None,
    json_file: Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Write all figures to FILE.")] = None,
) -> None:
    """Measure training steps, inference and convolutions; with --against, in turn with other frameworks.

    Figures are medians, in milliseconds. A ratio is the median over the turns of how many times faster minires was.
    Nothing else should run meanwhile.
    """
    from ..bench.contenders import available
    from ..bench.race import race
    from ..bench.workloads import workloads
    from ..diagnose import cpu_name
    from ..threads import get_num_threads

    contenders = available(against)
    chosen = workloads(kind.value if kind else None, only)
    number = threads or get_num_threads()
    results: list[Result] = []
    with make_console().status(f"measuring {chosen[0].name}") as status:

        def tell(result: Result) -> None:
            results.append(result)
            if len(results) < len(chosen):
                status.update(f"measuring {chosen[len(results)].name}")

        race(contenders, chosen, number, turns, tell)
    columns = ["", *(f">{name} ms" for name in contenders), *(["> ratio"] if len(contenders) > 1 else [])]
    print_table(columns, [_row(result, contenders) for result in results])
    for result in results:
        for name, reason in result.failed.items():
            print(f"{result.workload.name}: {name} failed: {reason}")
    if json_file is not None:
        content = {
            "cpu": cpu_name(),
            "threads": number,
            "turns": turns,
            "results": [result.as_dict() for result in results],
        }
        json_file.write_text(json.dumps(content, indent=1) + "\n")


def _row(result: Result, contenders: list[str]) -> list[str]:
    """The milliseconds of each contender, and the ratio to the best of the others."""
    cells = [f"{1e3 * result.median(name):.2f}" if name in result.times else "-" for name in contenders]
    others = [name for name in result.times if name != "minires"]
    if len(contenders) > 1:
        best = min(others, key=result.median, default=None)
        cells.append(f"{result.ratio(best):.2f}" if best and "minires" in result.times else "-")
    return [result.workload.name, *cells]
