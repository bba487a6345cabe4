"""``minires compare``: from options to a folder of runs, the table and the sentences below it."""

import csv

import pytest

from minires.cli.progress import TrainingProgress
from minires.training import Config


@pytest.mark.slow
def test_a_comparison_stopped_by_ctrl_c_goes_on_with_the_same_command(minires, tmp_path, monkeypatch):
    out = tmp_path / "both"
    command = ["compare", "--depths", "8", "--epochs", 1, "--batch-size", 20, "--out", out]

    def stop(self, epoch, row):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(TrainingProgress, "epoch", stop)
        result = minires(*command)
    assert result.status == 130
    assert result.err == "minires compare: stopped by Ctrl-C; the same command continues from there.\n"

    result = minires(*command)
    assert result.status == 0 and result.err == ""
    assert "plain8: 74,547 parameters" in result.out and "resnet8: 74,547 parameters" in result.out
    with open(out / "compare.csv", newline="") as file:
        plain, residual = csv.DictReader(file)
    for row in (plain, residual):
        line = next(line for line in result.out.splitlines() if line.startswith(row["model"] + " "))
        for name in ("train_error_percent", "test_error_percent"):
            assert f" {float(row[name]):.2f} %" in line
    assert "With 8 layers, the network with shortcuts has " in result.out
    assert result.out.endswith(f"figures and runs  {out}\n")
    for name in ("compare.png", "gradients.png", "responses.png"):
        assert (out / name).stat().st_size
    with open(out / "responses.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["model"] for row in rows] == ["plain8"] * 7 + ["resnet8"] * 7
    assert {row["layer"] for row in rows if row["shortcut_std"]} == {f"layer{stage}.0.conv2" for stage in (1, 2, 3)}

    again = minires(*command)
    assert again.status == 0 and "epoch      train loss" not in again.out, "nothing is trained twice"
    result = minires(*command, "--lr", 0.3)
    assert result.status == 1 and "lr 0.1, not 0.3" in result.err


def test_the_options_are_those_of_a_run(minires, monkeypatch):
    seen = []

    def compare(depths, config, progress, stop):
        seen.append((depths, config))
        raise KeyboardInterrupt

    monkeypatch.setattr("minires.training.comparison.compare", compare)
    assert minires("compare").status == 130
    options = ["--depths", "20, 8", "--data", "cifar10", "--epochs", 3, "--batch-size", 7, "--lr", 0.3]
    minires("compare", *options, "--schedule", "step", "--seed", 5, "--out", "there")
    given = Config(data="cifar10", epochs=3, batch_size=7, lr=0.3, schedule="step", seed=5, out="there")
    assert seen == [([8, 20, 56], Config()), ([20, 8], given)]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("--depths 9", "there are no plain and residual networks of depth 9; choose from 8, 14, 20, 32, 44, 56, 110."),
        ("--depths 8,x", "--depths is '8,x'; it must be integers separated by commas, e.g. 8,20,56."),
        ("--depths 8,", "--depths is '8,'"),
        ("--epochs 0", "--epochs is 0; it must be an integer >= 1."),
        ("--lr x", "--lr is 'x'; it must be a number."),
        ("--data nothing", "there is no data set or folder 'nothing'"),
    ],
)
def test_wrong_options_are_one_sentence(minires, words, sentence):
    result = minires("compare", *words.split())
    assert result.status == 2 and result.out == "" and result.err.count("\n") == 1
    assert sentence in result.err
