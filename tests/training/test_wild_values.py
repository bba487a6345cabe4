"""Invalid values in the files of a run: named errors with short, printable messages."""

import copy
import json
import shutil
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from minires.errors import LONGEST, MiniresError, StoppedError
from minires.interop.safetensors_file import load, load_metadata, save
from minires.training import Config, comparison, load_run, read_settings, train
from minires.training.checkpoint import checksum
from minires.training.config import NOTES
from minires.training.folder import load_config, read_table
from minires.training.gradients import read_gradients
from minires.training.task import find

WORDS = r"""
null true 0 -1 1 2.5 1e39 1e400 -1e400 NaN 1e-400 1000000000000 [] [1] [null] [NaN] [1e39] [[1]] [1,8] {} {"a":1}
[0.5,0.5] [0.5,"x"] [0,8,8] [2,8,8] [1,8,100000000] [true,8,8] "" "x" "0123456789" "." "../../etc"
"\u001b[2J" "\ud800" "\u0000" ["a\u001b[2Jb","b"]
"""
WILD = [*WORDS.split(), str(10**400), f"[{10**400}]", "9" * 5000, '"' + 2000 * "a" + '"']


def refused(function, *arguments):
    """Call a function, which may succeed or raise a named error; return whether it raised."""
    try:
        function(*arguments)
    except MiniresError as error:
        assert len(str(error)) <= LONGEST and str(error).isprintable()
        return True
    return False


@pytest.fixture
def run(trained, tmp_path):
    shutil.copytree(trained, tmp_path / "run")
    return tmp_path / "run"


def use(folder):
    """What predict and evaluate do."""
    found = load_run(folder)
    floats = found.normalize(np.zeros((1, *found.image_shape), np.uint8))
    assert floats.dtype == np.float32 and np.isfinite(floats).all()
    assert all(isinstance(name, str) for name in found.classes)


def test_settings_and_notes(run):
    good = json.loads((run / "config.json").read_text())
    outcomes = {}
    for key in [*good, "unknown"]:
        for wild in WILD:
            (run / "config.json").write_text(json.dumps({**good, key: "@"}).replace('"@"', wild))
            outcomes[key, wild, load_config] = refused(load_config, run)
            refused(read_settings, run / "config.json")
            if key in (*NOTES, "model"):
                outcomes[key, wild, use] = refused(use, run)
    for key in ("mean", "std", "classes", "image_shape", "model_options", "model"):
        accepted = [wild for wild in WILD if not outcomes[key, wild, use]]
        assert accepted == (["[1]"] if key in ("mean", "std") else []), "one value of a list of one fits a grey image"
    for key in ("lr", "weight_decay", "mixup"):
        assert outcomes[key, str(10**400), load_config] and outcomes[key, "NaN", load_config]


def test_numbers_beyond_floats_are_refused():
    for name in ("lr", "warmup", "clip", "mixup", "color_jitter", "momentum"):
        assert refused(lambda name=name: Config(**{name: 10**400}))


COLUMNS = find("classification").columns
CELLS = ["", "x", "1e400x", "\x1b[2J", "\x00", "1,2", '"', "\N{LATIN SMALL LETTER E WITH ACUTE}"]


@pytest.mark.parametrize("wild", CELLS)
def test_tables(tmp_path, wild):
    for name, columns, texts, read in (
        ("history.csv", COLUMNS, (), lambda: read_table(tmp_path / "history.csv", COLUMNS)),
        (
            "gradients.csv",
            ("epoch", "layer", "gradient_norm", "weight_norm"),
            ("layer",),
            lambda: read_gradients(tmp_path),
        ),
    ):
        for column in columns:
            cells = [wild if each == column else "1" for each in columns]
            (tmp_path / name).write_text(",".join(columns) + "\n" + ",".join(cells) + "\n")
            assert refused(read) or (column in texts and wild not in ("1,2", '"'))
        (tmp_path / name).write_text(f"{wild}\n1\n")
        assert refused(read)


@pytest.mark.parametrize("wild", [None, True, "x", [], {}, float("nan"), 10**400])
def test_metrics_of_a_comparison(config, tmp_path, no_figures, monkeypatch, wild):
    monkeypatch.setattr(comparison, "draw", lambda *arguments, **options: None)
    config = replace(config, epochs=1)
    for kind in ("plain8", "resnet8"):
        folder = Path("run", kind)
        folder.mkdir(parents=True)
        train(replace(config, model=kind, out=str(folder), log_gradients=True))
        metrics = json.loads((folder / "metrics.json").read_text())
        (folder / "metrics.json").write_text(json.dumps({**metrics, "test_loss": wild}))
    assert refused(comparison.compare, [8], config) != (wild != wild)


def paths(value, path=()):
    """The places in nested dicts and lists, with the first item of each list."""
    yield path
    if isinstance(value, (dict, list)) and len(path) < 4:
        for key in value if isinstance(value, dict) else range(min(1, len(value))):
            yield from paths(value[key], (*path, key))


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_checkpoints(config, no_figures, optimizer):
    """With a right checksum, as if a program had written them."""
    config = replace(config, optimizer=optimizer, ema=0.9, log_gradients=True, batch_size=80)
    calls = iter([*4 * [False], True])
    with suppress(StoppedError):
        train(config, stop=lambda: next(calls))
    file = Path("run/checkpoint.safetensors")
    arrays, header = load(file), load_metadata(file)
    header.pop("checksum")
    notes = {name: json.loads(value) for name, value in header.items()}
    notes["gradients"] = {"fc.weight": notes["gradients"]["fc.weight"]}
    wilds = [None, -1, 10**400, float("nan"), "\x1b[2J", [], [None], {"a": 1}]
    for path in paths({name: note for name, note in notes.items() if name != "config"}):
        for wild in wilds if path else ():
            changed = copy.deepcopy(notes)
            *outer, last = path
            place = changed
            for key in outer:
                place = place[key]
            place[last] = wild
            texts = {name: json.dumps(value) for name, value in changed.items()}
            save(file, arrays, metadata={**texts, "checksum": checksum(arrays, texts)})
            refused(train, config, True)
            Path("run/metrics.json").unlink(missing_ok=True)
