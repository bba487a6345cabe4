"""Kill training runs at random moments, resume them, and see whether they end bit for bit like one never disturbed.

    python experiments/kill_and_resume.py --runs 50 --out kills.json

Each run is a `minires train` of two or three seconds in a process of its own, killed by SIGKILL up to four times and
resumed each time. The moment is one of three kinds:

    random    any moment of the run
    write     while the weights or the checkpoint are being written: the folder is watched for their temporary files
    stop      a random moment, but SIGTERM comes first, and SIGKILL while the run saves what it has within the epoch

In the end the weights, the arrays and notes of the checkpoint, the history and the metrics are held against those of a
run that went through, all but the seconds that it took. A line is printed for each run, then the totals:

    kills           how often it was killed
    stops           how often it ended by itself after SIGTERM, before SIGKILL came
    in write        ... of both, while a temporary file was there
    between files   ... when the weights were written, but not yet the checkpoint
    within epoch    ... and resumed in the middle of an epoch
    no checkpoint   ... before the first one, so that it began again
    too late        how often it was complete before the signal came
    same            whether it ended bit for bit like the one that went through

The exit status is 1 if any did not. It forks, so it needs Linux or macOS.
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
    """All that a complete run leaves, but for the time that it took."""
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
    """Start or resume the run in ``folder``; the number of its process."""
    words = ["train", *settings.split(), "--out", str(folder), *(["--resume"] if (folder / CONFIG).exists() else [])]
    if child := os.fork():
        return child
    status = 1
    try:  # the child, which never returns
        log = os.open(f"{folder}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(log, 1)
        os.dup2(log, 2)
        status = minires(words)
        sys.stdout.flush()
    finally:
        os._exit(status)


def wait(child: int, until: float) -> int | None:
    """The exit status of ``child``, or None if it still runs at the time ``until``."""
    while True:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() >= until:
            return None
        time.sleep(0.0005)


def temporary_files(folder: Path) -> list[str]:
    """What is being written, or was when the run was killed."""
    return [name for name in os.listdir(folder) if name.startswith(".")] if folder.is_dir() else []


def wait_for_write(child: int, folder: Path, number: int) -> int | None:
    """The exit status of ``child``, or None when it writes weights or a checkpoint for the ``number``-th time."""
    seen = set(temporary_files(folder))
    while True:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        new = {name for name in temporary_files(folder) if name.startswith((f".{MODEL}", f".{CHECKPOINT}"))} - seen
        number -= len(new)
        if new and number <= 0:
            return None
        seen |= new


def kill(child: int, folder: Path, kind: str, seconds: float, rng: np.random.Generator) -> int | None:
    """Kill ``child``, which takes ``seconds`` if it is left alone. Its exit status, should it have been faster."""
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
    """What a kill or a stop left behind."""
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
    """Train, kill, resume, until the run is complete; how often it was killed or stopped, and what was found then."""
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
    """The outcome of a run that goes through, and the seconds that it takes.

    It runs in this process, whose children then have the kernels compiled already.
    """
    with contextlib.redirect_stdout(io.StringIO()):
        minires(["train", "--epochs", "1", "--batch-size", "720", "--out", f"{folder} warm"])
        before = time.monotonic()
        if minires(["train", *settings.split(), "--out", str(folder)]) != 0:
            raise SystemExit(f"{folder} failed")
        return outcome(folder), time.monotonic() - before


def line(number: object, name: str, counts: Counter[str]) -> str:
    """A line of the table."""
    return f"{number:>4}  {name:<24}" + "".join(f"{int(counts[column]):>{len(column) + 2}}" for column in COLUMNS)


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0, help="of the moments, as far as a machine repeats its timing")
    parser.add_argument("--out", type=Path, help="a JSON file for the table")
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
