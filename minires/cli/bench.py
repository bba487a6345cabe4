"""``minires bench`` measures how fast minires is on this machine, and ``minires gradcheck`` checks its gradients."""

from __future__ import annotations

import json
from collections.abc import Callable
from enum import Enum
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import GradcheckError, counted, listed
from .options import Device, DeviceOption
from .output import make_console, print_table

if TYPE_CHECKING:
    from ..bench.measure import Figures, RaceResult
    from ..bench.workloads import Workload
    from ..gradcheck.cases import CheckedCase


class Kind(str, Enum):
    """What to measure."""

    train = "train"
    infer = "infer"
    ops = "ops"
    scaling = "scaling"
    memory = "memory"
    start = "start"
    profile = "profile"


RACES = ("train", "infer", "ops")
OF_THE_CPU = ("scaling", "memory")  # they measure its threads and its memory
PARTS = ("results", "scaling", "memory", "start", "profile")  # of a file of results: lists whose entries have names
TITLES = {
    "scaling": "A training step with one thread and with all",
    "memory": "Peak memory of a training process",
    "start": "From the start of a process to the end of its first training step",
}
# For the kinds besides races: the columns after workload and contender, with their titles and number formats.
COLUMNS = {
    "scaling": {"one": ("one, ms", ".1f"), "all": ("all, ms", ".1f"), "speedup": ("speed-up", ".2f")},
    "memory": {"peak": ("total, MB", ".0f"), "images": ("for the images, MB", ".0f")},
    "start": {"first": ("fresh install, s", ".1f"), "later": ("later, s", ".1f")},
}


def bench(
    kind: Annotated[
        Kind | None,
        typer.Argument(
            help="A race (train, infer, ops), or a training step's scaling, memory, start or profile; by default all."
        ),
    ] = None,
    against: Annotated[str, typer.Option(help="Other frameworks to race: torch, dezero, or torch,dezero.")] = "",
    only: Annotated[str, typer.Option(help="Measure only workloads whose name contains this.")] = "",
    turns: Annotated[int, typer.Option(min=1, help="How often each contender is measured.")] = 7,
    device: DeviceOption = Device.cpu,
    threads: Annotated[int | None, typer.Option(min=1, help="Threads of each contender; by default all cores.")] = None,
    json_file: Annotated[
        Path | None,
        typer.Option("--json", metavar="FILE", help="Write the results to FILE, or add them to those in it."),
    ] = None,
    chart: Annotated[Path | None, typer.Option(metavar="FILE", help="Draw the races against PyTorch.")] = None,
    roofline: Annotated[Path | None, typer.Option(metavar="FILE", help="Draw the profile in a roofline plot.")] = None,
) -> None:
    """Measure training steps, inference and convolutions; with --against, in turn with other frameworks.

    Times are medians, in milliseconds. A ratio says how many times faster minires is than the best of PyTorch's
    variants: the median over all turns. Then follow, for ResNet-20's training step (or those that --only names), the
    speed-up by threads, the memory, the first step, and the profile. Nothing else should run meanwhile.
    """
    from ..bench import figures, workloads
    from ..bench.contenders import available
    from ..bench.measure import describe
    from ..core.backend import check_device
    from ..errors import ArgumentError
    from ..kernels.threads import get_num_threads

    check_device(device.value)
    contenders, number = available(against, device.value), threads or get_num_threads()
    kinds = [kind.value] if kind else [member.value for member in Kind]
    if chart is not None and ("torch" not in against or not {"train", "infer", "ops"} & set(kinds)):
        raise ArgumentError("bench: --chart draws races against PyTorch; add --against torch, and choose a race.")
    if roofline is not None and "profile" not in kinds:
        raise ArgumentError("bench: --roofline draws the profile; run `minires bench profile`, or everything.")
    if kind is Kind.scaling and number < 2:
        raise ArgumentError("bench: scaling compares one thread with more, but there is only one thread.")
    if device is Device.cuda:
        if kind is not None and kind.value in OF_THE_CPU:
            raise ArgumentError(f"bench: {kind.value} is measured on the CPU only; omit --device.")
        kinds = [name for name in kinds if name not in OF_THE_CPU]
    raced = kind is None or kind.value in RACES
    races = workloads.workloads(kind.value if kind else None, only, device.value) if raced else []
    steps = [] if raced and kind else workloads.step("" if raced else only, device.value)
    if raced and only:
        kinds = [name for name in kinds if name in RACES]

    content: dict[str, Any] = {**describe(number, device.value), "turns": turns, "results": []}
    if json_file is not None:
        _with_earlier(content, json_file)  # raises, if it does, before anything is measured
    if races:
        content["results"] = [result.as_dict() for result in _race(contenders, races, number, turns)]
    for name in kinds:
        if name not in RACES and (name != "scaling" or number > 1):
            content[name] = _extra(name, contenders, steps, number, turns)
    if json_file is not None:
        content = _with_earlier(content, json_file)
        json_file.write_text(json.dumps(content, indent=1) + "\n")
    if chart is not None:
        figures.chart(content, chart)
    if roofline is not None:
        figures.roofline(content, roofline)


def _with_earlier(content: dict[str, Any], file: Path) -> dict[str, Any]:
    """``content``, with earlier results of the same machine in ``file`` that were not measured again."""
    from ..errors import ArgumentError

    if not file.exists():
        return content
    try:
        earlier = json.loads(file.read_text())
        machine = earlier["cpu"], earlier["threads"]
        parts = {part: {entry["name"]: entry for entry in earlier.get(part, ())} for part in PARTS}
    except (ValueError, KeyError, TypeError, AttributeError):
        raise ArgumentError(f"bench: {file} does not hold results; choose another name.") from None
    if machine != (content["cpu"], content["threads"]):
        raise ArgumentError(
            f"bench: {file} holds results of {machine[0]} with {machine[1]} threads, and this is {content['cpu']} with "
            f"{content['threads']}; choose another name."
        )
    for part, entries in parts.items():
        entries.update({entry["name"]: entry for entry in content.get(part, ())})
    return {
        **content,
        **{part: list(entries.values()) for part, entries in parts.items() if entries or part in content},
    }


def _race(contenders: list[str], chosen: list[Workload], threads: int, turns: int) -> list[RaceResult]:
    from ..bench.measure import race

    results: list[RaceResult] = []
    with make_console().status(f"measuring {chosen[0].name}") as status:

        def tell(result: RaceResult) -> None:
            results.append(result)
            if len(results) < len(chosen):
                status.update(f"measuring {chosen[len(results)].name}")

        race(contenders, chosen, threads, turns, tell)
    columns = ["", *(f">{name} ms" for name in contenders)]
    others, speeds = len(contenders) > 1, any(result.workload.kind == "ops" for result in results)
    columns += ([">ratio", "to"] if others else []) + ([">GFLOP/s", ">of peak"] if speeds else [])
    print_table(columns, [_row(result, contenders, others, speeds) for result in results])
    for result in results:
        _print_failures(result.workload, result.failed)
    return results


def _row(result: RaceResult, contenders: list[str], others: bool, speeds: bool) -> list[str]:
    """The milliseconds of each contender, the ratio to the best of the others, and the speed of a convolution."""
    cells = [f"{1e3 * result.median(name):.2f}" if name in result.times else "-" for name in contenders]
    ran = "minires" in result.times
    if others:
        best = result.best_other if ran else None
        cells += [f"{result.ratio(best):.2f}", best] if best else ["-", "-"]
    if speeds:
        share = result.share_of_peak("minires") if ran else None
        cells.append(f"{result.speed('minires') / 1e9:.0f}" if ran and result.workload.kind == "ops" else "-")
        cells.append("-" if share is None else f"{share:.0%}")
    return [result.workload.name, *cells]


def _extra(kind: str, contenders: list[str], steps: list[Workload], threads: int, turns: int) -> list[dict[str, Any]]:
    from ..bench import measure

    if kind == "profile":
        with make_console().status("measuring the profile"):
            profiles = [measure.profile(step, threads) for step in steps]
        for profile in profiles:
            print(f"\n{profile['name']}: {profile['steps']} steps\n{profile['table']}")
        return profiles
    measures: dict[str, Callable[[Workload], Figures]] = {
        "scaling": lambda step: measure.scaling(contenders, step, threads, turns),
        "memory": lambda step: measure.memory(contenders, step, threads),
        "start": lambda step: measure.start(contenders, step, threads),
    }
    with make_console().status(f"measuring {kind}"):
        measured = [measures[kind](step) for step in steps]
    print(f"\n{TITLES[kind]}")
    columns = COLUMNS[kind]
    rows = [
        [found.workload.name, contender, *(format(numbers[name], style) for name, (_, style) in columns.items())]
        for found in measured
        for contender, numbers in found.of.items()
    ]
    print_table(["", "", *(f">{title}" for title, _ in columns.values())], rows)
    for found in measured:
        _print_failures(found.workload, found.failed)
    return [found.as_dict() for found in measured]


def _print_failures(workload: Workload, failed: dict[str, str]) -> None:
    for name, reason in failed.items():
        print(f"{workload.name}: {name} failed: {reason}")


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


def case_row(result: CheckedCase) -> list[str]:
    """A row for one case at one order."""
    verdict = "ok" if result.ok else "WRONG"
    return [result.op, result.case, str(result.order), _error([result]), f"{1e3 * result.seconds:.0f}", verdict]


def op_row(op: str, results: list[CheckedCase]) -> list[str]:
    """A row for all cases of an op, with the largest error of each order."""
    first, second = ([result for result in results if result.order == order] for order in (1, 2))
    verdict = "ok" if all(result.ok for result in results) else "WRONG"
    seconds = sum(result.seconds for result in results)
    return [op, str(len(first)), _error(first), _error(second), f"{1e3 * seconds:.0f}", verdict]


def _error(results: list[CheckedCase]) -> str:
    """The largest relative error; it is unknown if a check failed."""
    errors = [result.error for result in results if result.error is not None]
    return f"{max(errors):.0e}" if len(errors) == len(results) and errors else "-"
