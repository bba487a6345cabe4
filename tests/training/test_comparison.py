"""Plain against residual networks: what is trained, which files are kept, the table, and the sentences about it."""

import csv
import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import minires as mr
from minires.errors import ArgumentError, RunError
from minires.training import Config, Progress, compare, comparison, load_run
from minires.training.comparison import COLUMNS, findings, twin_depths


class Started(Progress):
    """Records the models that are started; can stop the comparison in the first epoch of one of them."""

    def __init__(self, stop_in=None):
        self.models, self.stop_in = [], stop_in

    def start(self, config, dataset, state, origin):
        self.models.append((config.model, state.epoch))

    def epoch(self, epoch, row):
        if self.models[-1][0] == self.stop_in:
            raise KeyboardInterrupt


def table():
    with open("both/compare.csv", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def settings():
    return Config(data="few", epochs=2, batch_size=60, out="both")


@pytest.mark.slow
def test_a_comparison_stopped_and_continued(settings, few):
    with pytest.raises(KeyboardInterrupt):
        compare([8], settings, Started(stop_in="resnet8"))
    assert [row["model"] for row in table()] == ["plain8"], "what is done is written"
    plain = Path("both/plain8/model.safetensors").stat().st_mtime_ns

    resumed = Started()
    rows = compare([8, 8], settings, resumed)
    assert resumed.models == [("resnet8", 2)], "plain8 is complete; resnet8 goes on after its first epoch"
    assert Path("both/plain8/model.safetensors").stat().st_mtime_ns == plain
    assert [(row["model"], row["depth"]) for row in rows] == [("plain8", 8), ("resnet8", 8)]

    for row, written in zip(rows, table(), strict=True):
        assert tuple(written) == COLUMNS
        assert [float(written[name]) for name in COLUMNS[1:]] == pytest.approx(
            [row[name] for name in COLUMNS[1:]], rel=1e-5
        )
        folder = Path("both", row["model"])
        metrics = json.loads((folder / "metrics.json").read_text())
        assert {name: metrics[name] for name in ("epochs", "seed", "data")} == {"epochs": 2, "seed": 0, "data": "few"}
        assert row["test_error_percent"] == pytest.approx(metrics["test_error_percent"], rel=1e-5)
        assert row["parameters"] == 75002

        run = load_run(folder)  # its error on training images, counted by hand
        with mr.no_grad():
            logits = run.model(mr.tensor(run.normalize(few.train.images, np.random.default_rng(0)))).numpy()
        wrong = int((logits.argmax(axis=1) != few.train.labels).sum())
        assert row["train_error_percent"] == pytest.approx(100 * wrong / 240, rel=1e-5)

        history = list(csv.DictReader((folder / "history.csv").read_text().splitlines()))
        assert row["last_epoch_train_error_percent"] == pytest.approx(
            100 * (1 - float(history[-1]["train_accuracy"])), rel=1e-4
        )
        gradients = list(csv.DictReader((folder / "gradients.csv").read_text().splitlines()))
        norms = {(line["epoch"], line["layer"]): float(line["gradient_norm"]) for line in gradients}
        for epoch, name in (("1", "gradient_ratio_first_epoch"), ("2", "gradient_ratio_last_epoch")):
            ratio = norms[epoch, "layer1.0.conv1.weight"] / norms[epoch, "layer3.0.conv2.weight"]
            assert row[name] == pytest.approx(ratio, rel=1e-4)

    nothing = Started()
    compare([8], settings, nothing)
    assert nothing.models == []
    before = table()
    Path("both/compare.csv").write_text("no table\n")
    compare([8], settings, nothing)
    assert nothing.models == [] and table() == before, "found again from the runs"
    for name in ("compare.png", "gradients.png"):
        with Image.open(Path("both", name)) as image:
            assert image.size == (1500, 780)
    with pytest.raises(RunError, match=r"the run in both.plain8 was started with lr 0.1, not 0.2"):
        compare([14, 8], replace(settings, lr=0.2))
    assert not Path("both/plain14").exists(), "said before anything is trained"


def test_the_runs_differ_in_nothing_but_the_model(settings, monkeypatch):
    seen = []
    monkeypatch.setattr("minires.training.comparison.train", lambda config, **options: seen.append(config))
    for name in ("_row", "draw", "write_table"):
        monkeypatch.setattr(f"minires.training.comparison.{name}", lambda *arguments, **options: {})
    compare([20, 8], replace(settings, out=None, seed=3))
    assert [config.model for config in seen] == ["plain8", "resnet8", "plain20", "resnet20"]
    assert [Path(config.out) for config in seen] == [Path("runs/compare-few-seed3", config.model) for config in seen]
    assert {replace(config, model="resnet8", out=None) for config in seen} == {
        replace(settings, out=None, seed=3, log_gradients=True)
    }


@pytest.mark.parametrize(
    ("depths", "sentence"),
    [
        ([9], "depth 9"),
        ([8, 18], "depth 18"),
        ([34], "depth 34"),
        ([1202], "depth 1202"),
        ([True], "depth True"),
        ([8.0], "depth 8.0"),
        ([], "there are no depths"),
    ],
)
def test_depths_that_are_not_there_in_both_kinds(depths, sentence, settings):
    with pytest.raises(ArgumentError, match=f"^compare: .*{sentence}"):
        compare(depths, settings)
    assert not Path("both").exists()


def test_twin_depths():
    assert twin_depths() == [8, 14, 20, 32, 44, 56, 110]


def row(model, train, test, ratio=2.0):
    depth = int(re.sub("[a-z]", "", model))
    return {
        "model": model, "depth": depth, "train_error_percent": train, "test_error_percent": test,
        "gradient_ratio_first_epoch": ratio,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("plain", "residual", "words"),
    [
        (24.0, 0.1, ("worse than", "better than", "a lower test error: 0.1 %, compared with 24.0 % without.")),
        (1.4, 0.6, ("as well as", "as well as", "a lower test error")),
        (0.2, 5.0, ("better than", "worse than", "a higher test error: 5.0 %, compared with 0.2 % without.")),
        (3.0, 2.9, ("worse than", "worse than", "the same test error")),
    ],
)
def test_findings_follow_from_the_numbers(plain, residual, words):
    rows = [
        row("plain8", 1, 1), row("resnet8", 1, 1), row("plain20", 50, 50), row("resnet20", 50, 50),
        row("plain56", plain, plain), row("resnet56", residual, residual),
    ]  # fmt: skip
    without, with_shortcuts, test, gradients = findings(rows)
    errors = "8: the training error is {:.1f} %, compared with 1.0 %."
    assert without == f"Without shortcuts, 56 layers fit the training images {words[0]} {errors.format(plain)}"
    assert with_shortcuts == f"With shortcuts, 56 layers fit the training images {words[1]} {errors.format(residual)}"
    assert test.startswith("With 56 layers") and words[2] in test
    assert gradients.endswith("2 times as large as at the last one: it kept its size on its way back.")


@pytest.mark.parametrize(
    ("ratio", "times", "said"), [(0.0123, "0.012", "shrank"), (0.5, "0.5", "kept its size"), (514.2, "510", "grew")]
)
def test_findings_of_one_depth_say_nothing_about_depth(ratio, times, said):
    test, gradients = findings([row("plain8", 3, 4, ratio), row("resnet8", 1, 1)])
    assert "a lower test error: 1.0 %, compared with 4.0 % without" in test
    assert gradients.endswith(f"was {times} times as large as at the last one: it {said} on its way back.")


@pytest.mark.parametrize("depths", [[8], twin_depths()])
@pytest.mark.parametrize("epochs", [1, 100])
@pytest.mark.parametrize("accuracy", [0.0, 1.0])
def test_figures_of_any_comparison(depths, epochs, accuracy):
    history = [{"epoch": e, "train_accuracy": accuracy, "test_accuracy": accuracy} for e in range(1, epochs + 1)]
    layers = [{"epoch": e, "gradient_norm": norm} for e in range(1, epochs + 1) for norm in (0.0, 2.0, 3.0)]
    names = [f"{kind}{depth}" for depth in depths for kind in ("plain", "resnet")]
    comparison.draw_errors(Path("errors.png"), dict.fromkeys(names, history), "few")
    comparison.draw_gradients(Path("gradients.png"), dict.fromkeys(names[:1], layers), "few")
    with Image.open("errors.png") as image:
        assert len(set(image.convert("L").tobytes())) > 50
