"""A user's model, data set, optimiser and schedule, added in a file as CONTRIBUTING.md shows."""

import importlib
import json
import re
import sys
from pathlib import Path

import pytest

import minires as mr
from minires.cli.main import main
from minires.errors import ArgumentError
from minires.training import Config, load_run, train

PAGE = Path(__file__).parents[2] / "CONTRIBUTING.md"
REGISTRIES = (mr.models.MODELS, mr.data.DATASETS, mr.optim.OPTIMIZERS, mr.optim.SCHEDULES)


@pytest.fixture
def toys(tmp_path, monkeypatch):
    """The examples of the page, as the file toys.py, are imported; afterwards the registries are as before."""
    text = PAGE.read_text(encoding="utf-8")
    section = text[text.index("## Adding a model") : text.index("## Adding an assignment")]
    Path("toys.py").write_text("\n\n".join(re.findall(r"```python\n(.*?)```", section, re.DOTALL)))
    monkeypatch.syspath_prepend(tmp_path)
    before = [dict(registry) for registry in REGISTRIES]
    yield importlib.import_module("toys")
    del sys.modules["toys"]
    for registry, entries in zip(REGISTRIES, before, strict=True):
        registry.clear()
        registry.update(entries)


SETTINGS = {"model": "pixels", "data": "bars", "optimizer": "signsgd", "schedule": "linear"}
KINDS = {"data": "data set or folder"}  # what an error calls them, if not by the setting


def test_toys_train_an_epoch(toys):
    config = Config(**SETTINGS, epochs=1, batch_size=10, warmup=0, out="toys")
    assert (config.lr, config.weight_decay) == (0.01, 0.0), "the defaults of the toy's own"
    metrics = train(config)
    assert metrics["test_accuracy"] == 1.0
    assert type(load_run("toys").model).__name__ == "Pixels"
    stored = json.loads(Path("toys/config.json").read_text())
    assert {name: stored[name] for name in SETTINGS} == SETTINGS


def test_the_command_line_takes_them(toys, capsys):
    words = [word for name, value in SETTINGS.items() for word in (f"--{name}", value)]
    assert main(["train", *words, "--epochs", "1", "--out", "toys"]) == 0
    assert "pixels: 34 parameters" in capsys.readouterr().out


@pytest.mark.parametrize("name", SETTINGS)
def test_the_error_lists_them(toys, name):
    with pytest.raises(
        ArgumentError, match=rf"^train: there is no {KINDS.get(name, name)} 'other'; .*\b{SETTINGS[name]}\b"
    ):
        Config(**{name: "other"})


def test_without_their_file_they_are_unknown():
    for name, value in SETTINGS.items():
        with pytest.raises(ArgumentError, match=f"there is no {KINDS.get(name, name)} '{value}'"):
            Config(**{name: value})
