"""Kill training runs at random moments, resume them, and compare the result with that of an uninterrupted run.

    python experiments/kill_and_resume.py --runs 50 --out kills.json

Each run is a `minires train` of two or three seconds in its own process. It is killed by SIGKILL up to four times and
resumed each time. The moment is one of three kinds:

    random    any moment of the run
    write     while the weights or the checkpoint are being written, which their temporary files show
    stop      a random moment: SIGTERM first, then SIGKILL while the run is saving its checkpoint

At the end, the weights, the arrays and metadata of the checkpoint, the history and the metrics are compared bit for bit
with those of an uninterrupted run; only times may differ. The script prints a line for each run, then the totals:

    kills           how often the run was killed
    stops           how often it ended by itself after SIGTERM, before SIGKILL was sent
    in write        kills and stops that left a temporary file
    between files   kills and stops after the weights were written, but before the checkpoint was
    within epoch    kills and stops after which the run resumed within an epoch
    no checkpoint   kills and stops before the first checkpoint, so the run started from the beginning
    too late        how often the run was complete before the signal was sent
    same            whether the result is identical to that of the uninterrupted run

The exit status is 1 if any result differs. The script forks, so it needs Linux or macOS.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from minires.cli.main import main as minires
from minires.interop.safetensors_file import load, load_metadata
from minires.training.folder import CHECKPOINT, CONFIG, HISTORY, METRICS, MODEL

SETTINGS = {
    "plain": "--epochs 3 --batch-size 128",
    "cutout, mixup, workers": "--epochs 3 --batch-size 128 --cutout 3 --mixup 0.4 --workers 2 --schedule onecycle",
    "every 2nd epoch": "--epochs 4 --batch-size 128 --save-every 2 --seed 1",
    "adamw, ema, clip": "--epochs 3 --batch-size 128 --optimizer adamw --ema 0.9 --clip 1",
}
COLUMNS = ("kills", "stops", "in_write", "between_files", "within_epoch", "no_checkpoint", "too_late", "same")


def outcome(folder: Path) -> dict[str, Any]:
    """Return everything that a complete run leaves behind, except times."""
    arrays, notes = load(folder / CHECKPOINT), load_metadata(folder / CHECKPOINT)
    metrics = json.loads((folder / METRICS).read_text())
    return {
        "model": (folder / MODEL).read_bytes(),
        "arrays": {name: (str(array.dtype), array.shape, array.tobytes()) for name, array in arrays.items()},
        "notes": {key: note for key, note in notes.items() if key not in ("config", "history", "checksum")},
        "history": [{**row, "seconds": 0} for row in json.loads(notes["history"])],
        "table": [line.rpartition(",")[0] for line in (folder / HISTORY).read_text().splitlines()],
        "metrics": [metrics[key] for key in ("test_accuracy", "test_loss", "test_error_percent", "epochs")],
    }


def start(settings: str, folder: Path) -> int:
    """Start or resume the run in ``folder``, and return its process id."""
    words = ["train", *settings.split(), "--out", str(folder), *(["--resume"] if (folder / CONFIG).exists() else [])]
    if child := os.fork():
        return child
    status = 1
    try:  # in the child, which never returns
        log = os.open(f"{folder}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(log, 1)
        os.dup2(log, 2)
        status = minires(words)
        sys.stdout.flush()
    finally:
        os._exit(status)


def exit_status(child: int) -> int | None:
    """Return the exit status of ``child``, or None if it is still running."""
    ended, status = os.waitpid(child, os.WNOHANG)
    return os.waitstatus_to_exitcode(status) if ended else None


def wait(child: int, until: float) -> int | None:
    """Wait for ``child`` to end. Return its exit status, or None if it is still running at the time ``until``."""
    while (status := exit_status(child)) is None and time.monotonic() < until:
        time.sleep(0.0005)
    return status


def temporary_files(folder: Path) -> list[str]:
    """Return the names of the files that are being written, or were being written when the run was killed."""
    return [name for name in os.listdir(folder) if name.startswith(".")] if folder.is_dir() else []


def wait_for_write(child: int, folder: Path, number: int) -> int | None:
    """Wait until ``child`` writes weights or a checkpoint for the ``number``-th time. Return its status if it ends."""
    seen = set(temporary_files(folder))
    while (status := exit_status(child)) is None:
        new = {name for name in temporary_files(folder) if name.startswith((f".{MODEL}", f".{CHECKPOINT}"))} - seen
        number -= len(new)
        if new and number <= 0:
            return None
        seen |= new
    return status


def kill(child: int, folder: Path, kind: str, seconds: float, rng: np.random.Generator) -> int | None:
    """Kill ``child``, which would run for ``seconds``. Return its exit status if it ends before it is killed."""
    if kind == "write":
        status = wait_for_write(child, folder, int(rng.integers(1, 5)))
    else:
        status = wait(child, time.monotonic() + rng.uniform(0, 0.8 * seconds))
        if status is None and kind == "stop":
            os.kill(child, signal.SIGTERM)
            status = wait(child, time.monotonic() + rng.uniform(0, 0.1))
    if status is not None:
        return status
    os.kill(child, signal.SIGKILL)
    status = wait(child, float("inf"))
    return None if status == -signal.SIGKILL else status


def found(folder: Path) -> Counter[str]:
    """Return what a kill or a stop left behind, as a count of 0 or 1 for each column."""
    left: Counter[str] = Counter(in_write=bool(temporary_files(folder)))
    if not (folder / CHECKPOINT).exists():
        left["no_checkpoint"] = 1
        return left
    left["within_epoch"] = json.loads(load_metadata(folder / CHECKPOINT)["tally"])["batches"] > 0
    if (folder / MODEL).exists() and not left["within_epoch"]:
        saved, weights = load(folder / CHECKPOINT), load(folder / MODEL)
        result = "ema" if any(name.startswith("ema.") for name in saved) else "model"
        left["between_files"] = any(not np.array_equal(saved[f"{result}.{name}"], weights[name]) for name in weights)
    return left


def disturbed_run(folder: Path, settings: str, seconds: float, rng: np.random.Generator) -> Counter[str]:
    """Train, kill and resume until the run is complete. Return counts of kills, stops and what they left behind."""
    counts: Counter[str] = Counter()
    for kind in rng.choice(["random", "write", "stop"], size=rng.integers(1, 5)):
        status = kill(start(settings, folder), folder, kind, seconds, rng)
        if status in (None, 143):
            counts["stops" if status else "kills"] += 1
            counts += found(folder)
        elif status == 0:
            counts["too_late"] += 1
        else:
            raise SystemExit(f"{folder} ended with status {status}; see {folder}.log")
    if (status := wait(start(settings, folder), float("inf"))) != 0:
        raise SystemExit(f"{folder} ended with status {status}; see {folder}.log")
    return counts


def reference_run(folder: Path, settings: str) -> tuple[dict[str, Any], float]:
    """Return the outcome of an uninterrupted run, and its duration in seconds.

    It runs in this process, so that kernels are already compiled in the processes that are forked from it.
    """
    with contextlib.redirect_stdout(io.StringIO()):
        minires(["train", "--epochs", "1", "--batch-size", "720", "--out", f"{folder} warm"])
        before = time.monotonic()
        if minires(["train", *settings.split(), "--out", str(folder)]) != 0:
            raise SystemExit(f"{folder} failed")
        return outcome(folder), time.monotonic() - before


def line(number: object, name: str, counts: Counter[str]) -> str:
    """Return a line of the table."""
    return f"{number:>4}  {name:<24}" + "".join(f"{int(counts[column]):>{len(column) + 2}}" for column in COLUMNS)


def main() -> int:
    """Run the experiment, and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0, help="seed of the random kinds and moments")
    parser.add_argument("--out", type=Path, help="write the table to this JSON file")
    options = parser.parse_args()

    rng = np.random.default_rng(options.seed)
    references: dict[str, tuple[dict[str, Any], float]] = {}
    rows, total = [], Counter[str]()
    print(f"{'run':>4}  {'settings':<24}" + "".join(f"  {column.replace('_', ' ')}" for column in COLUMNS))
    with tempfile.TemporaryDirectory() as place:
        for number in range(options.runs):
            name = list(SETTINGS)[(options.seed + number) % len(SETTINGS)]
            if name not in references:
                references[name] = reference_run(Path(place, name), SETTINGS[name])
            expected, seconds = references[name]
            folder = Path(place, str(number))
            counts = disturbed_run(folder, SETTINGS[name], seconds, rng)
            counts["same"] = outcome(folder) == expected and not temporary_files(folder)
            print(line(number, name, counts), flush=True)
            rows.append({"settings": name, **{column: int(counts[column]) for column in COLUMNS}})
            total.update(counts)
    print(line("", f"all {len(rows)} runs", total))
    if options.out:
        options.out.write_text(json.dumps({"seed": options.seed, "total": total, "runs": rows}, indent=2) + "\n")
    return int(total["same"] < len(rows))


if __name__ == "__main__":
    sys.exit(main())
