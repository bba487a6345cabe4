"""``minires bench`` measures how fast minires is on this machine, and ``minires gradcheck`` checks its gradients."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Annotated, Any

import typer

from ..bench import figures, measure, workloads
from ..bench.contenders import GRAPH, OTHERS, available, can_run
from ..bench.workloads import KINDS as RACES
from ..bench.workloads import Workload
from ..core import checks
from ..core.backend import check_device
from ..errors import ArgumentError, GradcheckError, counted, listed
from ..gradcheck import cases
from ..gradcheck.cases import CheckedCase
from ..interop.files import write_atomically
from ..kernels.threads import get_num_threads
from .options import DeviceOption, check_output, count_option, file_option
from .output import make_console, print_rows

EXTRAS = {  # further measurements of a training step: the title and the columns of the table
    "scaling": (
        "A training step with one thread and with all threads",
        {">one, ms": "{one:.1f}", ">all, ms": "{all:.1f}", ">speed-up": "{speedup:.2f}"},
    ),
    "memory": (
        "Peak memory of a training process",
        {">total, MB": "{peak:.0f}", ">for the images, MB": "{images:.0f}"},
    ),
    "start": (
        "From the start of a process to the end of its first training step",
        {">fresh install, s": "{first:.1f}", ">later, s": "{later:.1f}"},
    ),
}
KINDS = (*RACES, *EXTRAS, "profile")
OF_THE_CPU = ("scaling", "memory")  # these measure the CPU's threads and memory
PARTS = ("results", *EXTRAS, "profile")  # the lists in a results file; their entries have names


def bench(
    kind: Annotated[
        str | None,
        typer.Argument(
            metavar="KIND",
            help="A race (train, infer, ops), or a training step's scaling, memory, start or profile; by default all.",
        ),
    ] = None,
    against: Annotated[
        str, typer.Option(help=f"Frameworks to race, separated by commas: {listed(list(OTHERS))}.")
    ] = "",
    only: Annotated[str, typer.Option(help="Measure only workloads whose name contains this text.")] = "",
    turns: Annotated[int, count_option("How many times to measure each contender.")] = 7,
    device: DeviceOption = "cpu",
    threads: Annotated[int | None, count_option("Threads of each contender.", show_default="all cores")] = None,
    json_file: Annotated[
        Path | None, file_option("Write the results to FILE, or add them to an existing FILE.", "--json")
    ] = None,
    chart: Annotated[Path | None, file_option("Draw a chart of the races.")] = None,
    roofline: Annotated[Path | None, file_option("Draw a roofline plot of the profile.")] = None,
) -> None:
    """Measure training steps, inference and convolutions. With --against, take turns with other frameworks.

    Times are medians in milliseconds. A ratio says how many times faster minires is than the fastest other contender;
    it is the median over all turns. All contenders but DeZero get the same weights, and one that computes other logits,
    or another loss, fails. The speed-up from threads, the memory, the first step and the profile are measured for the
    training step of ResNet-20, or for those that --only selects. Close other programs first.
    """
    check_device(device)
    contenders, number = available(against, device), threads or get_num_threads()
    impossible = {}  # maps measurements that cannot be made here to the reason
    if number < 2:
        impossible["scaling"] = "scaling compares one thread with more, but there is only one thread."
    if device == "cuda":
        impossible |= {name: f"{name} is measured on the CPU only; omit --device." for name in OF_THE_CPU}
    if kind in impossible:
        raise ArgumentError(f"bench: {impossible[kind]}")
    if kind is not None:
        kinds = [checks.choice("bench", kind, "measurement", KINDS)]
    else:
        kinds = [name for name in (RACES if only else KINDS) if name not in impossible]
    others = [name for name in contenders if name not in ("minires", GRAPH)]
    if chart is not None and not (others and set(RACES) & set(kinds)):
        raise ArgumentError("bench: --chart draws races with others; add --against torch, and choose a race.")
    if roofline is not None and "profile" not in kinds:
        raise ArgumentError("bench: --roofline draws the profile; run `minires bench profile`.")
    check_output("--json", json_file)
    check_output("--chart", chart, ".png")
    check_output("--roofline", roofline, ".png")
    extras = [name for name in kinds if name not in RACES]
    races = [] if kind in extras else workloads.workloads(kind, only, device)
    steps = workloads.step(only, device) if extras else []
    if others and not any(can_run(name, workload) for name in others for workload in races + steps):
        raise ArgumentError(
            f"bench: {listed(others)} cannot run any of the chosen workloads. On the CPU, onnxruntime and openvino run "
            "inference, and dezero trains resnet20; torch runs everything."
        )

    content: dict[str, Any] = {**measure.describe(number, device), "turns": turns, "results": []}
    if json_file is not None:
        _with_earlier(content, json_file)  # raises errors before anything is measured
    if races:
        content["results"] = _race(contenders, races, number, turns)
    for name in extras:
        measured = _profile(steps, number) if name == "profile" else _extra(name, contenders, steps, number, turns)
        content[name] = measured
    if json_file is not None:
        content = _with_earlier(content, json_file)
        write_atomically(json_file, (json.dumps(content, indent=1) + "\n").encode())
    if chart is not None:
        figures.chart(content, chart)
    if roofline is not None:
        figures.roofline(content, roofline)


def _with_earlier(content: dict[str, Any], file: Path) -> dict[str, Any]:
    """Return ``content`` plus the results in ``file``, of the same machine, that were not measured again."""
    if not file.exists():
        return content
    try:
        earlier = json.loads(file.read_text())
        machine = earlier["cpu"], earlier["threads"]
        parts = {
            part: {entry["name"]: entry for entry in (*earlier.get(part, ()), *content.get(part, ()))}
            for part in PARTS
            if part in earlier or part in content
        }
    except (ValueError, KeyError, TypeError, AttributeError):
        raise ArgumentError(f"bench: {file} does not hold results; choose another name.") from None
    if machine != (content["cpu"], content["threads"]):
        raise ArgumentError(
            f"bench: {file} holds results of {machine[0]} with {machine[1]} threads, and this is {content['cpu']} with "
            f"{content['threads']}; choose another name."
        )
    return {**content, **{part: list(entries.values()) for part, entries in parts.items()}}


def _race(contenders: list[str], chosen: list[Workload], threads: int, turns: int) -> list[dict[str, Any]]:
    """Measure workloads, print the times, and return the results for the JSON file."""
    results = []
    with make_console().status("") as status:
        for workload in chosen:
            status.update(f"measuring {workload.name}")
            results.append(measure.race(contenders, workload, threads, turns).as_dict())
    ran = [name for name in contenders if any(can_run(name, workload) for workload in chosen)]
    columns = {"": "{name}", **{f">{name} ms": f"{{{name}:.2f}}" for name in ran}}
    if len(ran) > 1:
        columns |= {">ratio": "{ratio:.2f}", "to": "{best}"}
    if any(workload.kind == "ops" for workload in chosen):
        columns |= {">GFLOP/s": "{speed:.0f}", ">of peak": "{share:.0%}"}
    print_rows(columns, [_row(result, contenders) for result in results])
    _print_failures(results)
    return results


def _row(result: dict[str, Any], contenders: list[str]) -> dict[str, Any]:
    """Return a table row: milliseconds by contender, the ratio to the best other one, the speed of a convolution."""
    best = result["best_other"] if result["ratio"] else None
    return {
        **dict.fromkeys(contenders),
        **result["milliseconds"],
        "name": result["name"],
        "best": best,
        "ratio": result["ratio"].get(best),
        "speed": result.get("gflops", {}).get("minires"),
        "share": result.get("share_of_peak", {}).get("minires"),
    }


def _extra(kind: str, contenders: list[str], steps: list[Workload], threads: int, turns: int) -> list[dict[str, Any]]:
    """Measure one of ``EXTRAS``, print its table, and return the numbers for the JSON file."""
    measures: dict[str, Callable[[str, Workload, int], dict[str, float]]]
    measures = {"scaling": partial(measure.scaling, turns=turns), "memory": measure.memory, "start": measure.start}
    with make_console().status(f"measuring {kind}"):
        measured = [measure.each(measures[kind], contenders, step, threads) for step in steps]
    title, columns = EXTRAS[kind]
    print(f"\n{title}")
    rows = [
        {"step": found["name"], "by": name, **numbers} for found in measured for name, numbers in found["of"].items()
    ]
    print_rows({"training step": "{step}", "contender": "{by}", **columns}, rows)
    _print_failures(measured)
    return measured


def _profile(steps: list[Workload], threads: int) -> list[dict[str, Any]]:
    """Measure profiles, print their tables, and return them for the JSON file."""
    with make_console().status("measuring the profile"):
        profiles = [measure.profile(step, threads) for step in steps]
    for profile in profiles:
        print(f"\n{profile['name']}: {profile['steps']} steps\n{profile['table']}")
    return profiles


def _print_failures(measured: list[dict[str, Any]]) -> None:
    for content in measured:
        for name, reason in content["failed"].items():
            print(f"{content['name']}: {name} failed: {reason}")


def gradcheck(
    ops: Annotated[list[str] | None, typer.Argument(metavar="OP", help="The ops to check; by default all.")] = None,
) -> None:
    """Check the gradients of ops, and the gradients of those gradients, against finite differences.

    Ops that you name are shown case by case. The exit status is 1 if a gradient is wrong.
    """
    results = []
    with make_console().status("checking") as status:
        for result in cases.check_ops(tuple(ops or ())):
            results.append(result)
            status.update(f"{result.op}, {result.case}")
    time_and_verdict = {">ms": "{ms:.0f}", "": "{verdict}"}
    if ops:
        columns = {"op": "{op}", "case": "{case}", ">order": "{order}", ">largest error": "{error:.0e}"}
        groups = [[result] for result in results]
    else:
        columns = {"op": "{op}", ">cases": "{cases}", ">largest error": "{error:.0e}", ">of order 2": "{error_2:.0e}"}
        groups = [list(group) for _, group in groupby(results, lambda result: result.op)]
    print_rows({**columns, **time_and_verdict}, map(_checks_as_row, groups))

    wrong = [result for result in results if not result.ok]
    for result in wrong:
        print(f"\n{result.op}, {result.case}, order {result.order}\n  {result.message}")
    seconds = sum(result.seconds for result in results)
    print(f"\n{counted(len(results) - len(wrong), 'check')} of {len(results):,} passed in {seconds:.1f} s")
    if wrong:
        names = dict.fromkeys(result.op for result in wrong)
        raise GradcheckError(f"gradcheck: the gradients of {listed(list(names))} are wrong.")


def _checks_as_row(checks: list[CheckedCase]) -> dict[str, Any]:
    """Return the table row of one or more checks of an op, with the largest error of each order."""
    first = checks[0]
    return {
        **vars(first),
        "cases": sum(check.order == first.order for check in checks),
        "error": _largest_error(checks, first.order),
        "error_2": _largest_error(checks, 2),
        "ms": 1e3 * sum(check.seconds for check in checks),
        "verdict": "ok" if all(check.ok for check in checks) else "WRONG",
    }


def _largest_error(checks: list[CheckedCase], order: int) -> float | None:
    """Return the largest relative error of the checks of one order; None if there are none, or one has no error."""
    errors = [math.inf if check.error is None else check.error for check in checks if check.order == order]
    largest = max(errors, default=math.inf)
    return largest if largest < math.inf else None
