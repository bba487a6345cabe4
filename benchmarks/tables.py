"""Write the measurements into docs/performance.md: python benchmarks/tables.py [FILE.json ...] [--check]

By default, all files in benchmarks/results are used. ``minires bench --json`` writes one file for each machine. The
figures are drawn as well. Everything between the two marks of the page is written by this script. With ``--check``,
nothing is written, and the exit status is 1 if the page does not agree with the files.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from minires.bench import figures
from minires.bench.machine import Peak
from minires.bench.measure import best_other
from minires.bench.profiling import Row
from minires.errors import counted

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "performance.md"
IMAGES = ROOT / "docs" / "images"
BEGIN, END = "<!-- begin tables -->", "<!-- end tables -->"
RACES = {"train": "Training steps", "infer": "Inference"}
EXTRAS = {
    "scaling": ("One thread and all", {"one": "one, ms", "all": "all, ms", "speedup": "speed-up"}),
    "memory": ("Memory of a training process", {"peak": "peak, MB", "images": "for the images, MB"}),
    "start": ("The first step", {"first": "fresh install, s", "later": "later, s"}),
}
WORTH_A_ROW = 0.002  # share of the total time below which the table leaves an op out

Content = dict[str, Any]


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table. The first column, and those whose name begins with ``<``, are left-aligned."""
    ends = ["---" if i == 0 or name.startswith("<") else "---:" for i, name in enumerate(columns)]
    lines = [[name.lstrip("<") for name in columns], ends, *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def number(value: float | None) -> str:
    """Format a number with three digits: 0.123, 1.23, 12.3, 123, 1,234."""
    if value is None:
        return "-"
    decimals = next((digits for digits, limit in ((3, 1), (2, 10), (1, 100)) if abs(value) < limit), 0)
    return f"{value:,.{decimals}f}"


def machine(content: Content) -> str:
    """Return a paragraph about the machine."""
    versions = ", ".join(f"{name} {version}" for name, version in content["versions"].items() if version)
    peaks = "; ".join(f"{counted(int(threads), 'thread')}: {Peak(**peak)}" for threads, peak in content["peak"].items())
    lengths = {len(times) for result in content["results"] for times in result["turns"].values()} or {content["turns"]}
    turns = " to ".join(str(length) for length in sorted({min(lengths), max(lengths)}))
    turns += " turn" if lengths == {1} else " turns"
    return (
        f"{content['cpu']}, {content['cores']} cores, {content['vector_bits']}-bit vectors, {content['system']}; "
        f"{content['threads']} threads, {turns}.\nMeasured peak, {peaks or 'none'}.\n"
        f"{versions}; BLAS of NumPy: {content['blas']}."
    )


def race_table(results: Sequence[Content]) -> str:
    """Return a table of the milliseconds of every contender and the ratio to the fastest one, with its name."""
    names = list(dict.fromkeys(name for result in results for name in result["milliseconds"]))
    rows = []
    for result in results:
        workload, times = result["workload"], result["milliseconds"]
        size = f"{workload['batch']}x{workload['size']}x{workload['size']}"
        rows.append([f"{workload['model']}, {size}", *(number(times.get(name)) for name in names), *ratio(result)])
    return table(["", *(f"{name}, ms" for name in names), "ratio", "<to"], rows)


def ratio(result: Content) -> tuple[str, str]:
    """Return how many times faster minires was than the fastest other contender, and the name of that contender."""
    best = best_other(result["milliseconds"])
    return (f"**{result['ratio'][best]:.2f}**", best) if best in result["ratio"] else ("-", "-")


def conv_table(results: Sequence[Content]) -> str:
    """Return a table with a row for each convolution and direction."""
    rows = []
    for result in results:
        best, times, speeds = best_other(result["milliseconds"]), result["milliseconds"], result["gflops"]
        share = result.get("share_of_peak", {}).get("minires")
        rows.append(
            [
                result["name"].rpartition(", ")[0],
                figures.DIRECTIONS[result["workload"]["direction"]][0],
                number(times.get("minires")),
                number(times.get(best)),
                ratio(result)[0],
                number(speeds.get("minires")),
                "-" if share is None else f"{100 * share:.0f} %",
            ]
        )
    return table(["convolution", "<direction", "ms", "PyTorch, ms", "ratio", "GFLOP/s", "of peak"], rows)


def extra_table(found: Sequence[Content], columns: dict[str, str]) -> str:
    """Return a table with a row for each training step and framework."""
    rows = [
        [figure["name"].removeprefix("train "), contender, *(number(numbers[name]) for name in columns)]
        for figure in found
        for contender, numbers in figure["of"].items()
    ]
    return table(["training step", "<", *columns.values()], rows)


def profile_table(profile: Content) -> str:
    """Return a table with a row for each op and phase that takes a noticeable part of a step."""
    total = sum(row["seconds"] for row in profile["rows"])
    peak = profile["peak"] and Peak(**profile["peak"])
    rows = []
    for each in sorted(profile["rows"], key=lambda each: -each["seconds"]):
        row = Row(**{field.name: each[field.name] for field in fields(Row)})
        if row.seconds < WORTH_A_ROW * total:
            continue
        share, limit = (peak and row.share_of(peak)) or (None, "")
        rows.append(
            [
                f"{each['op']} {each['phase']}",
                f"{row.calls / profile['steps']:g}",
                number(1e3 * row.seconds / profile["steps"]),
                f"{100 * row.seconds / total:.1f} %",
                *(number(rate and rate / 1e9) for rate in (row.operations_per_second, row.bytes_per_second)),
                "-" if share is None else f"{100 * share:.0f} % {limit}",
            ]
        )
    return table(["op", "calls", "ms", "share", "GFLOP/s", "GB/s", "of peak"], rows)


def section(name: str, content: Content) -> str:
    """Return all the tables and figures of one machine."""
    parts = [f"### {name}", machine(content)]
    results = content["results"]
    if (IMAGES / f"{name}-chart.png").exists():
        parts.append(f"![Times as fast as the fastest other contender](images/{name}-chart.png)")
    for kind, title in RACES.items():
        if chosen := [result for result in results if result["workload"]["kind"] == kind]:
            parts += [f"#### {title}", race_table(chosen)]
    if convs := [result for result in results if result["workload"]["kind"] == "ops"]:
        parts += ["#### Convolutions", conv_table(convs)]
    for kind, (title, columns) in EXTRAS.items():
        if content.get(kind):
            parts += [f"#### {title}", extra_table(content[kind], columns)]
    for profile in content.get("profile", ()):
        parts += [f"#### Where a step's time goes: {profile['name'].removeprefix('train ')}"]
        if (IMAGES / f"{name}-roofline.png").exists():
            parts.append(f"![The ops of a training step under the machine's limits](images/{name}-roofline.png)")
        parts.append(profile_table(profile))
    return "\n\n".join(parts)


def fill(page: str, tables: str) -> str:
    """Return ``page`` with ``tables`` between its two marks."""
    before, _, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not end:
        raise SystemExit(f"tables.py: the page has no region from {BEGIN} to {END}.")
    return f"{before}{BEGIN}\n\n{tables}\n\n{END}{after}"


def draw(name: str, content: Content) -> None:
    """Draw the figures that the file has data for."""
    if any(best_other(result["milliseconds"]) for result in content["results"]):
        figures.chart(content, IMAGES / f"{name}-chart.png")
    if any(profile["peak"] for profile in content.get("profile", ())):
        figures.roofline(content, IMAGES / f"{name}-roofline.png")


def main(words: Sequence[str]) -> int:
    check = "--check" in words
    files = [Path(word) for word in words if word != "--check"]
    contents = {
        path.stem: json.loads(path.read_text())
        for path in files or sorted((ROOT / "benchmarks" / "results").glob("*.json"))
    }
    if not check:
        for name, content in contents.items():
            draw(name, content)
    before = PAGE.read_text(encoding="utf-8")
    after = fill(before, "\n\n".join(section(name, content) for name, content in contents.items()))
    if check:
        return int(before != after)
    PAGE.write_text(after, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
