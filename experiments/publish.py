"""Copy finished runs into docs/results, and write the page on them: no number on it is typed by hand.

    python experiments/publish.py RUN... --to docs/results/NAME [--commit COMMIT]
    python experiments/publish.py --to docs/results/NAME

A RUN is the folder of a ``minires train``, or of a ``minires compare``. Publish on the machine that trained: the page
says which one it was. Runs that NAME holds already stay, so seeds can be added one by one. Without a RUN, the page and
the index are written again.

``about.md`` in NAME is written by hand, and kept: a title, then what was done and why. If a line of it is
``Bar: test error at most 9.0 %.``, the page says whether the mean over the seeds meets it. ``Bar of fine-tuned: ...``
is for the runs ``fine-tuned-seed0``, ``fine-tuned-seed1``, ... only.

What is copied is as the run left it, but for paths of the machine: ``out`` is left out, and of others the last part
stays. ``published.json`` beside it says when, where and with what the run was made.
"""

from __future__ import annotations

import argparse
import platform
import re
import shutil
import statistics
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path, PureWindowsPath
from typing import Any

from minires.cli.diagnose import cpu_name, vector_bits, version_of
from minires.cli.progress import duration
from minires.cli.summary import options
from minires.errors import MiniresError, RunError
from minires.kernels.threads import usable_cores
from minires.training import Config
from minires.training.comparison import COMPARISON, findings, two_digits
from minires.training.folder import CONFIG, METRICS, read_json, read_table, write_json

ROOT = Path(__file__).resolve().parent.parent
CURVES = "curves.png"
FILES = ("history.csv", CURVES, "confusion.png")
FILES_IF_THERE = ("classes.csv", "mistakes.png", "gradients.csv", "gradients.png")
COMPARISON_FILES = (COMPARISON, "compare.png", "gradients.png")
PATHS = ("data", "weights")  # data may also be the name of a data set
PACKAGES = ("numpy", "numba")
ABOUT, PUBLISHED, PAGE = "about.md", "published.json", "README.md"
BAR = re.compile(r"^Bar(?: of (\S+))?: test error at most (\d+(?:\.\d+)?) %", re.MULTILINE)
SEED = re.compile(r"-seed\d+$")
INDEX = "# Results\n"
INTRODUCTION = """
Each page is written by [experiments/publish.py](../../experiments/publish.py) from the files beside it, which the runs
left behind; [experiments/](../../experiments/README.md) says how to repeat them. Errors are those of the last epoch on
all test images, as mean ± standard deviation where there are several seeds.
"""


@dataclass(frozen=True)
class Published:
    """A run, as it lies in the folder of an experiment."""

    name: str
    config: Config
    metrics: dict[str, Any]
    made: dict[str, Any]  # when, where and with what

    @property
    def error(self) -> float:
        return float(self.metrics["test_error_percent"])


def copy(run: Path, to: Path, commit: str, figures: bool = True) -> None:
    """Copy a run, or a comparison and its runs, into the folder ``to``. Raises RunError if it is not complete."""
    if (run / COMPARISON).exists():
        rows = read_table(run / COMPARISON)
        for row in rows:
            copy_run(run / row["model"], to / run.name / row["model"], commit)
        for name in COMPARISON_FILES:
            shutil.copyfile(run / name, to / run.name / name)
    else:
        copy_run(run, to / run.name, commit, figures)


def copy_run(run: Path, to: Path, commit: str, figures: bool = True) -> None:
    if not (run / METRICS).exists():
        raise RunError(f"{run} is no complete run: it has no {METRICS}; finish it with `minires train --resume`.")
    contents = {name: read_json(run / name) for name in (CONFIG, METRICS)}
    to.mkdir(parents=True, exist_ok=True)
    for name, content in contents.items():
        names = {
            key: f"./{PureWindowsPath(content[key]).name}"  # parts at slashes of both kinds
            for key in PATHS
            if re.search(r"[/\\]", content.get(key) or "")
        }
        write_json(to / name, {key: value for key, value in {**content, **names}.items() if key != "out"})
    for name in FILES + tuple(name for name in FILES_IF_THERE if (run / name).exists()):
        if figures or not name.endswith(".png"):
            shutil.copyfile(run / name, to / name)
    begun, finished = ((run / name).stat().st_mtime for name in (CONFIG, METRICS))
    in_one_go = finished - begun >= contents[METRICS]["train_seconds"]  # to resume a run writes config.json again
    write_json(
        to / PUBLISHED,
        {
            "finished": datetime.fromtimestamp(finished, timezone.utc).date().isoformat(),
            "wall_seconds": finished - begun if in_one_go else None,
            "commit": commit,
            "cpu": cpu_name(),
            "cores": usable_cores(),
            "vector_bits": vector_bits(),
            "system": f"{platform.system()} {platform.machine()}",
            "versions": {"python": platform.python_version(), **{name: version_of(name) for name in PACKAGES}},
        },
    )


def published_in(folder: Path) -> list[Published]:
    """The runs below the folder of an experiment, by name."""
    return [
        Published(
            str(path.parent.relative_to(folder).as_posix()),
            Config.from_json(read_json(path.parent / CONFIG)),
            read_json(path.parent / METRICS),
            read_json(path),
        )
        for path in sorted(folder.rglob(PUBLISHED), key=_with_numbers)
    ]


def _with_numbers(path: Path) -> list[str | int]:
    """To sort plain8 before plain20."""
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", str(path))]


def page(folder: Path) -> str:
    """The README.md of an experiment, from the files in its folder."""
    runs = published_in(folder)
    parts = [about(folder), "## Results", "\n".join(results(runs))]
    parts += [f"**{arm}: the bar is {verdict}.**" for arm, verdict in verdicts(folder, runs).items()]
    comparisons = sorted(path.parent for path in folder.rglob(COMPARISON))
    for comparison in comparisons:
        parts += compared(folder, comparison)
    if not comparisons:
        curves = {arm: f"{those[0].name}/{CURVES}" for arm, those in by_arm(runs).items()}
        parts += [
            f"![Loss and error of {arm} over the epochs]({figure})"
            for arm, figure in curves.items()
            if (folder / figure).exists()
        ]
    parts += ["## Settings", settings(runs), "```sh\n" + "\n".join(commands(folder, runs)) + "\n```"]
    parts += ["## Where, when, with what", *provenance(runs)]
    return "\n\n".join(parts) + "\n"


def about(folder: Path) -> str:
    path = folder / ABOUT
    return path.read_text(encoding="utf-8").strip() if path.exists() else f"# {folder.name}"


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """The lines of a Markdown table; all columns but the first are aligned to the right."""
    for line in (columns, ["---", *["---:"] * (len(columns) - 1)], *rows):
        yield "| " + " | ".join(line) + " |"


def results(runs: list[Published]) -> Iterator[str]:
    """A row for each run, and for the seeds of the same the mean."""
    columns = ["run", "network", "seed", "epochs", "parameters", "test error, %", "training", "wall time", "images/s"]
    rows = []
    for run in runs:
        metrics, wall = run.metrics, run.made["wall_seconds"]
        numbers = [f"{metrics[name]:,}" for name in ("seed", "epochs", "parameters")]
        times = [duration(metrics["train_seconds"]), "-" if wall is None else duration(wall)]
        link = f"[{run.name}]({run.name}/{METRICS})"
        rows.append(
            [link, metrics["model"], *numbers, f"{run.error:.2f}", *times, f"{metrics['images_per_second']:,.0f}"]
        )
    for arm, error in mean_errors(runs).items():
        rows.append(["**mean**", arm, *[""] * 3, f"**{error}**", *[""] * 3])
    yield from table(columns, rows)
    if any(run.made["wall_seconds"] is None for run in runs):
        yield "\nNo wall time: the run was stopped and resumed."


def by_arm(runs: list[Published]) -> dict[str, list[Published]]:
    """The runs that differ in nothing but the seed: by network, or where it has other settings as well, by name."""
    settings: dict[str, set[Config]] = {}
    for run in runs:
        settings.setdefault(run.config.model, set()).add(replace(run.config, seed=0))
    arms: dict[str, list[Published]] = {}
    for run in runs:
        several = len(settings[run.config.model]) > 1
        arms.setdefault(SEED.sub("", run.name) if several else run.config.model, []).append(run)
    return arms


def mean_error(runs: list[Published]) -> float:
    return statistics.mean(run.error for run in runs)


def mean_errors(runs: list[Published]) -> dict[str, str]:
    """Of what has several seeds: mean ± sample standard deviation."""
    return {
        arm: f"{mean_error(those):.2f} ± {statistics.stdev(run.error for run in those):.2f}"
        for arm, those in by_arm(runs).items()
        if len(those) > 1
    }


def verdicts(folder: Path, runs: list[Published]) -> dict[str, str]:
    """By network, or name: whether its mean meets the bar of ``about.md``; empty without one.

    Raises RunError if the bar is of a name that no run has.
    """
    bar = BAR.search(about(folder))
    if bar is None:
        return {}
    whose, most = bar.groups()
    arms = by_arm(runs)
    held = {arm: those for arm, those in arms.items() if whose in (None, arm, SEED.sub("", those[0].name))}
    if not held:
        raise RunError(f"{folder / ABOUT} has a bar of {whose}, but the runs are of {', '.join(arms)}.")
    return {
        arm: f"{'met' if mean_error(those) <= float(most) else 'missed'} (at most {most} %)"
        for arm, those in held.items()
    }


def compared(folder: Path, comparison: Path) -> Iterator[str]:
    """The figures of a comparison, and what its table shows."""
    place, rows = comparison.relative_to(folder).as_posix(), read_table(comparison / COMPARISON)
    yield f"![Training and test error of plain and residual networks]({place}/compare.png)"
    yield f"![Norm of the gradient by depth]({place}/gradients.png)"
    columns = ["network", "training error, %", "of the last epoch, %", "test error, %", "gradient, first/last block"]
    names = ("train_error_percent", "last_epoch_train_error_percent", "test_error_percent")
    cells = [
        [row["model"], *[f"{row[name]:.2f}" for name in names], two_digits(row["gradient_ratio_first_epoch"])]
        for row in rows
    ]
    yield "\n".join(table(columns, cells))
    yield (
        f"From [{COMPARISON}]({place}/{COMPARISON}). The first training error is that of the final weights on images "
        "as they are; that of the last epoch is its mean, on augmented images, while weights change. Gradients are "
        "those of the first epoch."
    )
    yield "\n".join(f"- {sentence}" for sentence in findings(rows))


def settings(runs: list[Published]) -> str:
    """What differs from the defaults, in any of the runs."""
    default = Config()
    names = list(dict.fromkeys(name for run in runs for name in run.config.differences(default)))
    rows = []
    for name in names:
        values = dict.fromkeys(str(getattr(run.config, name)) for run in runs)
        rows.append([f"`{name}`", ", ".join(values), str(getattr(default, name))])
    return "\n".join(table(["setting", "value", "default"], rows)) if rows else "All settings have their defaults."


def commands(folder: Path, runs: list[Published]) -> Iterator[str]:
    """What it takes to do the same again."""
    comparisons: dict[Path, list[Config]] = {}
    for run in runs:
        parent = (folder / run.name).parent
        if (parent / COMPARISON).exists():
            comparisons.setdefault(parent, []).append(run.config)
        else:
            yield f"minires train --model {run.config.model} {options(run.config)}".rstrip()
    for configs in comparisons.values():
        depths = sorted({int(re.sub(r"\D", "", config.model)) for config in configs})
        yield f"minires compare --depths {','.join(map(str, depths))} {options(configs[0])}".rstrip()


def provenance(runs: list[Published]) -> Iterator[str]:
    """A sentence for all runs that were made in the same way."""
    groups: dict[str, list[str]] = {}
    for run in runs:
        made = run.made
        versions = ", ".join(f"{name} {version}" for name, version in made["versions"].items())
        sentence = (
            f"{made['cpu']}, {made['cores']} cores, {made['vector_bits']}-bit vectors, {made['system']}; "
            f"minires {run.metrics['minires']} (commit {made['commit']}), {versions}; finished on {made['finished']}"
        )
        groups.setdefault(sentence, []).append(run.name)
    for sentence, names in groups.items():
        yield f"{sentence}." if len(groups) == 1 else f"{', '.join(names)}: {sentence}."


def index(results_folder: Path) -> str:
    """The README.md above all experiments: a line for each, with its bar."""
    rows = []
    for path in sorted(results_folder.glob(f"*/{PAGE}")):
        folder, runs = path.parent, published_in(path.parent)
        title = path.read_text(encoding="utf-8").partition("\n")[0].lstrip("# ")
        errors = [f"{arm} {mean_errors(runs).get(arm, f'{those[0].error:.2f}')}" for arm, those in by_arm(runs).items()]
        bars = ", ".join(dict.fromkeys(verdicts(folder, runs).values()))
        rows.append([f"[{title}]({folder.name}/{PAGE})", str(len(runs) or "-"), ", ".join(errors) or "-", bars or "-"])
    lines = "\n".join(table(["experiment", "runs", "test error, %", "bar"], rows))
    return f"{INDEX}{INTRODUCTION}\n{lines}\n"


def current_commit() -> str:
    git = ["git", "-C", str(ROOT), "rev-parse", "--short=12", "HEAD"]
    return subprocess.run(git, capture_output=True, text=True, check=True).stdout.strip()


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Copy finished runs into docs/results, and write the page on them.")
    parser.add_argument("runs", metavar="RUN", nargs="*", type=Path, help="folder of a minires train or compare")
    parser.add_argument("--to", metavar="FOLDER", type=Path, required=True, help="docs/results/NAME")
    parser.add_argument("--commit", help="that the runs were made with; by default the one that is checked out")
    parser.add_argument("--no-figures", action="store_true", help="leave them with the runs: for many small ones")
    given = parser.parse_args(words)
    index_page = given.to.resolve().parent / PAGE
    if index_page.exists() and not index_page.read_text(encoding="utf-8").startswith(INDEX):
        parser.error(f"{index_page} is no index of results; choose a --to below docs/results.")
    try:
        for run in given.runs:
            copy(run.resolve(), given.to, given.commit or current_commit(), not given.no_figures)
        if not given.to.is_dir() or not published_in(given.to):
            parser.error(f"{given.to} holds no published run; name some.")
        (given.to / PAGE).write_text(page(given.to), encoding="utf-8")
        index_page.write_text(index(index_page.parent), encoding="utf-8")
    except (MiniresError, OSError, subprocess.CalledProcessError) as error:
        print(f"publish.py: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
