"""Copy finished runs into docs/results and write a page about them, so that no number has to be typed by hand.

    python experiments/publish.py RUN... --to docs/results/NAME [--commit COMMIT]
    python experiments/publish.py --to docs/results/NAME

A RUN is a folder that ``minires train`` or ``minires compare`` wrote. Publish on the machine that trained, because the
page names the machine. Runs that are already in NAME stay, so seeds can be added one at a time. Without a RUN, only the
page and the index are rewritten.

``about.md`` in NAME is written by hand, and the page starts with it: a title, what was done and why, and published
results to compare with. The script never changes this file.

Files are copied unchanged, except that the setting ``out`` is left out and other paths are shortened to their last
component. ``published.json`` records when the run finished, on which machine and with which versions.
"""

from __future__ import annotations

import argparse
import re
import shutil
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path, PureWindowsPath
from typing import Any

from minires.bench.machine import describe_machine
from minires.cli.progress import options
from minires.errors import MiniresError, RunError
from minires.interop.files import write_json
from minires.training import Config
from minires.training import folder as run_folder
from minires.training.comparison import COMPARISON, FIGURE, GRADIENTS_FIGURE, findings, read_comparison, two_digits
from minires.training.folder import CONFIG, CURVES, METRICS, read_json

ROOT = Path(__file__).resolve().parent.parent
FILES = (run_folder.HISTORY, CURVES)
SHEETS = {
    "detections.png": "Objects found in the first test images",
    "segments.png": "The first test images, their true masks, and the masks found",
}
FILES_IF_THERE = (
    run_folder.CONFUSION, run_folder.CLASSES, run_folder.MISTAKES, run_folder.GRADIENTS, run_folder.GRADIENTS_FIGURE,
    *SHEETS,
)  # fmt: skip
COMPARISON_FILES = (COMPARISON, FIGURE, GRADIENTS_FIGURE)
PATHS = ("data", "weights")  # `data` may also be the name of a data set
PACKAGES = ("numpy", "numba")
ABOUT, PUBLISHED, PAGE = "about.md", "published.json", "README.md"
SEED = re.compile(r"-seed\d+$")
# The score of each task: its name, and its value in metrics.json in per cent.
SCORES: dict[str, tuple[str, Callable[[dict[str, Any]], float]]] = {
    "classification": ("test error, %", lambda metrics: metrics["test_error_percent"]),
    "detection": ("AP, %", lambda metrics: 100 * metrics["test_AP"]),
    "segmentation": ("mean IoU, %", lambda metrics: 100 * metrics["test_mean_iou"]),
    "video": ("test accuracy, %", lambda metrics: 100 * metrics["test_accuracy"]),
}
ERROR = SCORES["classification"][0]
INDEX = "# Results\n"
INTRODUCTION = """
[experiments/publish.py](../../experiments/publish.py) writes each page from the files of the runs, which are in the
same folder; [experiments/](../../experiments/README.md) says how to repeat the runs. Scores are measured after the last
epoch on all test images. For several seeds, the table shows their mean ± standard deviation.
"""


@dataclass(frozen=True)
class Published:
    """A run in the folder of an experiment."""

    name: str
    config: Config
    metrics: dict[str, Any]
    made: dict[str, Any]  # the content of published.json

    @property
    def score(self) -> float:
        """The score of the task, in per cent."""
        return float(SCORES[self.config.task][1](self.metrics))

    @property
    def score_name(self) -> str:
        return SCORES[self.config.task][0]


def copy(run: Path, to: Path, commit: str, figures: bool = True) -> None:
    """Copy a run, or a comparison and its runs, into the folder ``to``. Raises RunError for an incomplete run."""
    if (run / COMPARISON).exists():
        for row in read_comparison(run):
            copy_run(run / row["model"], to / run.name / row["model"], commit)
        for name in COMPARISON_FILES:
            shutil.copyfile(run / name, to / run.name / name)
    else:
        copy_run(run, to / run.name, commit, figures)


def copy_run(run: Path, to: Path, commit: str, figures: bool = True) -> None:
    if not (run / METRICS).exists():
        raise RunError(f"{run} is not a complete run: it has no {METRICS}; finish it with `minires train --resume`.")
    contents = {name: read_json(run / name) for name in (CONFIG, METRICS)}
    to.mkdir(parents=True, exist_ok=True)
    for name, content in contents.items():
        names = {
            key: f"./{PureWindowsPath(content[key]).name}"  # splits at slashes of both kinds
            for key in PATHS
            if re.search(r"[/\\]", content.get(key) or "")
        }
        write_json(to / name, {key: value for key, value in {**content, **names}.items() if key != "out"})
    for name in FILES + tuple(name for name in FILES_IF_THERE if (run / name).exists()):
        if figures or not name.endswith(".png"):
            shutil.copyfile(run / name, to / name)
    begun, finished = ((run / name).stat().st_mtime for name in (CONFIG, METRICS))
    in_one_go = finished - begun >= contents[METRICS]["train_seconds"]  # resuming a run rewrites config.json
    write_json(
        to / PUBLISHED,
        {
            "finished": datetime.fromtimestamp(finished, timezone.utc).date().isoformat(),
            "wall_seconds": finished - begun if in_one_go else None,
            "commit": commit,
            **describe_machine(PACKAGES),
        },
    )


def published_in(folder: Path) -> list[Published]:
    """Return the runs in the folder of an experiment, sorted by name."""
    return [
        Published(
            path.parent.relative_to(folder).as_posix(),
            Config.from_json(read_json(path.parent / CONFIG)),
            read_json(path.parent / METRICS),
            read_json(path),
        )
        for path in sorted(folder.rglob(PUBLISHED), key=_with_numbers)
    ]


def _with_numbers(path: Path) -> list[str | int]:
    """Return a sort key that puts plain8 before plain20."""
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", str(path))]


def page(folder: Path) -> str:
    """Return the README.md of an experiment, made from the files in its folder."""
    runs = published_in(folder)
    about = (folder / ABOUT).read_text(encoding="utf-8").strip() if (folder / ABOUT).exists() else f"# {folder.name}"
    parts = [about, "## Results", results(runs)]
    comparisons = sorted(path.parent for path in folder.rglob(COMPARISON))
    for comparison in comparisons:
        parts += compared(folder, comparison)
    if not comparisons:
        for arm, (first, *_) in by_arm(runs).items():
            if (folder / first.name / CURVES).exists():
                parts.append(f"![Loss and scores of {arm} over the epochs]({first.name}/{CURVES})")
            for name, what in SHEETS.items():
                if (folder / first.name / name).exists():
                    parts.append(f"![{what}, by {arm}]({first.name}/{name})")
    parts += ["## Settings", settings(runs), "```sh\n" + "\n".join(commands(folder, runs)) + "\n```"]
    parts += ["## Machine and versions", *provenance(runs)]
    return "\n\n".join(parts) + "\n"


def table(rows: Sequence[dict[str, str]]) -> str:
    """Return a Markdown table of rows with the same columns. All columns but the first are aligned to the right."""
    lines = [list(rows[0]), ["---", *["---:"] * (len(rows[0]) - 1)], *(row.values() for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def results(runs: list[Published]) -> str:
    """Return a table with a row for each run, and a row for the mean of each group of several seeds."""
    rows = []
    for run in runs:
        metrics, wall = run.metrics, run.made["wall_seconds"]
        rows.append(
            {
                "run": f"[{run.name}]({run.name}/{METRICS})",
                "network": metrics["model"],
                **{name: f"{metrics[name]:,}" for name in ("seed", "epochs", "parameters")},
                run.score_name: f"{run.score:.2f}",
                "training time": duration(metrics["train_seconds"]),
                "wall time": "-" if wall is None else duration(wall),
                "images/s": f"{metrics['images_per_second']:,.0f}",
            }
        )
    for arm, seeds in by_arm(runs).items():
        if len(seeds) > 1:
            rows.append(
                dict.fromkeys(rows[0], "")
                | {"run": "**mean**", "network": arm, seeds[0].score_name: f"**{score_of(seeds)}**"}
            )
    resumed = any(run.made["wall_seconds"] is None for run in runs)
    return table(rows) + ("\n\nA run without a wall time was stopped and resumed." if resumed else "")


def by_arm(runs: list[Published]) -> dict[str, list[Published]]:
    """Group the runs that differ only in their seed, and return a dict that maps names of groups to their runs.

    A group is named after its network, or after its runs if several groups have the same network.
    """
    settings: dict[str, set[Config]] = {}
    for run in runs:
        settings.setdefault(run.config.model, set()).add(replace(run.config, seed=0))
    arms: dict[str, list[Published]] = {}
    for run in runs:
        several = len(settings[run.config.model]) > 1
        arms.setdefault(SEED.sub("", run.name) if several else run.config.model, []).append(run)
    return arms


def score_of(runs: list[Published]) -> str:
    """Return the score of one run, or the mean ± sample standard deviation of several."""
    scores = [run.score for run in runs]
    deviation = f" ± {statistics.stdev(scores):.2f}" if len(scores) > 1 else ""
    return f"{statistics.mean(scores):.2f}{deviation}"


def compared(folder: Path, comparison: Path) -> Iterator[str]:
    """Yield the figures and the table of a comparison, and sentences on what they show."""
    place, rows = comparison.relative_to(folder).as_posix(), read_comparison(comparison)
    yield f"![Training and test error of plain and residual networks]({place}/{FIGURE})"
    yield f"![Norm of the gradient by depth]({place}/{GRADIENTS_FIGURE})"
    yield table(
        [
            {
                "network": row["model"],
                "training error, %": f"{row['train_error_percent']:.2f}",
                "last epoch's, %": f"{row['last_epoch_train_error_percent']:.2f}",
                ERROR: f"{row['test_error_percent']:.2f}",
                "gradient, first/last block": two_digits(row["gradient_ratio_first_epoch"]),
            }
            for row in rows
        ]
    )
    yield (
        f"The numbers are from [{COMPARISON}]({place}/{COMPARISON}). The training error is that of the final weights "
        "on images without augmentation. The last epoch's training error is the mean over that epoch, on augmented "
        "images, while the weights change. The gradient ratio is that of the first epoch."
    )
    yield "\n".join(f"- {sentence}" for sentence in findings(rows))


def settings(runs: list[Published]) -> str:
    """Return a table of the settings that differ from the defaults in any of the runs."""
    default = Config(task=runs[0].config.task)
    names = list(dict.fromkeys(name for run in runs for name in run.config.differences(default)))
    rows = []
    for name in names:
        values = dict.fromkeys(str(getattr(run.config, name)) for run in runs)
        rows.append({"setting": f"`{name}`", "value": ", ".join(values), "default": str(getattr(default, name))})
    return table(rows) if rows else "All settings have their default values."


def commands(folder: Path, runs: list[Published]) -> Iterator[str]:
    """Yield the commands that repeat the runs."""
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
    """Yield a sentence for each group of runs with the same date, machine and versions."""
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
    """Return the README.md of docs/results: a table with a row for each experiment."""
    rows = []
    for path in sorted(results_folder.glob(f"*/{PAGE}")):
        runs = published_in(path.parent)
        title = path.read_text(encoding="utf-8").partition("\n")[0].lstrip("# ")
        scores = ", ".join(f"{arm} {score_of(seeds)}" for arm, seeds in by_arm(runs).items())
        link = f"[{title}]({path.parent.name}/{PAGE})"
        score = runs[0].score_name if runs else "-"
        rows.append({"experiment": link, "runs": str(len(runs) or "-"), "score": score, "result": scores or "-"})
    return f"{INDEX}{INTRODUCTION}\n{table(rows)}\n"


def current_commit() -> str:
    git = ["git", "-C", str(ROOT), "rev-parse", "--short=12", "HEAD"]
    return subprocess.run(git, capture_output=True, text=True, check=True).stdout.strip()


def duration(seconds: float) -> str:
    """Format a duration, such as ``0:07``, ``12:30`` or ``1:02:03``."""
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", metavar="RUN", nargs="*", type=Path, help="folder that minires train or compare wrote")
    parser.add_argument("--to", metavar="FOLDER", type=Path, required=True, help="docs/results/NAME")
    parser.add_argument("--commit", help="the commit that made the runs; default: the one that is checked out")
    parser.add_argument("--no-figures", action="store_true", help="do not copy the figures of runs")
    given = parser.parse_args(words)
    index_page = given.to.resolve().parent / PAGE
    if index_page.exists() and not index_page.read_text(encoding="utf-8").startswith(INDEX):
        parser.error(f"{index_page} is not an index of results; choose a --to below docs/results.")
    try:
        for run in given.runs:
            copy(run.resolve(), given.to, given.commit or current_commit(), not given.no_figures)
        if not given.to.is_dir() or not published_in(given.to):
            parser.error(f"{given.to} holds no published runs; name some to publish.")
        (given.to / PAGE).write_text(page(given.to), encoding="utf-8")
        index_page.write_text(index(index_page.parent), encoding="utf-8")
    except (MiniresError, OSError, subprocess.CalledProcessError) as error:
        print(f"publish.py: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
