"""Gradient norms of a run: the numbers, which rows survive a resume, and the figure."""

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import minires as mr
from minires.errors import DataError, RunError, StoppedError
from minires.training import Config, GradientLog, train
from minires.training.gradients import COLUMNS, EVERY, read_gradients, write_gradients

pytestmark = pytest.mark.usefixtures("no_figures")


class StopAfter:
    """Stops a run after a number of batches, with a checkpoint."""

    def __init__(self, batches):
        self.batches = batches

    def __call__(self):
        self.batches -= 1
        return self.batches <= 0


def rows_of(folder):
    with open(Path(folder) / "gradients.csv", newline="") as file:
        return list(csv.DictReader(file))


def network():
    return mr.nn.Sequential(mr.nn.Conv2d(1, 2, 3), mr.nn.BatchNorm2d(2), mr.nn.Flatten(), mr.nn.Linear(8, 2))


def set_gradients(model, value):
    """All of a parameter's entries have this gradient, so its norm is value * sqrt(size)."""
    for parameter in model.parameters():
        parameter.grad = mr.tensor(np.full(parameter.shape, value, np.float32))


def test_means_over_every_tenth_batch():
    model = network()
    log = GradientLog(model, Path("."))
    for batch in range(1, 2 * EVERY + 2):
        set_gradients(model, {1: 1.0, EVERY + 1: 2.0, 2 * EVERY + 1: 6.0}.get(batch, 1e6))
        log.batch(batch)
    log.epoch(1)
    set_gradients(model, 0.5)
    log.batch(1)
    log.epoch(2)

    rows = rows_of(".")
    assert tuple(rows[0]) == COLUMNS
    assert [(row["epoch"], row["layer"]) for row in rows] == [
        ("1", "0.weight"), ("1", "3.weight"), ("2", "0.weight"), ("2", "3.weight"),
    ]  # fmt: skip
    sizes = np.array([18, 16, 18, 16])  # of 2x1x3x3 and 2x8
    norms = [float(row["gradient_norm"]) for row in rows]
    assert norms == pytest.approx(np.array([3, 3, 0.5, 0.5]) * np.sqrt(sizes), rel=1e-5)
    weights = [np.sqrt((model.state_dict()[row["layer"]].astype(float) ** 2).sum()) for row in rows]
    assert [float(row["weight_norm"]) for row in rows] == pytest.approx(weights, rel=1e-5)


def test_a_layer_without_gradient_is_left_out():
    model = network()
    log = GradientLog(model, Path("."))
    set_gradients(model, 1.0)
    model[0].weight.grad = None  # frozen
    log.batch(1)
    log.epoch(1)
    assert [row["layer"] for row in rows_of(".")] == ["3.weight"]


def test_a_run_has_a_row_for_each_epoch_and_layer_in_order_of_depth(config):
    train(replace(config, log_gradients=True))
    rows = rows_of("run")
    blocks = [f"layer{stage}.0.conv{number}.weight" for stage in (1, 2, 3) for number in (1, 2)]
    layers = ["conv1.weight", *blocks, "fc.weight"]
    assert [(row["epoch"], row["layer"]) for row in rows] == [(str(e), layer) for e in (1, 2) for layer in layers]
    with Image.open("run/gradients.png") as image:
        assert image.width == 1200


@pytest.mark.slow
def test_measuring_changes_nothing(config):
    train(config)
    train(replace(config, out="logged", log_gradients=True))
    assert not Path("run/gradients.csv").exists()
    first, second = (mr.load(f"{folder}/model.safetensors") for folder in ("run", "logged"))
    assert all(first[name].tobytes() == second[name].tobytes() for name in first)


@pytest.mark.slow
def test_a_resumed_run_has_the_rows_of_an_uninterrupted_one(config, monkeypatch):
    """Stopped within an epoch of 8 batches, between two that count."""
    monkeypatch.setattr("minires.training.gradients.EVERY", 3)
    config = replace(config, epochs=3, save_every=3, log_gradients=True)
    train(config)
    stopped = replace(config, out="stopped")
    with pytest.raises(StoppedError):
        train(stopped, stop=StopAfter(12))
    with open("stopped/gradients.csv", "a") as file:
        file.write("3,fc.weight,99,99\n")  # as if it had been killed after an epoch, before its checkpoint
    train(stopped, resume=True)
    assert rows_of("stopped") == rows_of("run")


def test_measuring_may_begin_with_a_resume(config):
    config = replace(config, epochs=3)
    with pytest.raises(StoppedError):
        train(config, stop=StopAfter(12))
    train(replace(config, log_gradients=True), resume=True)
    assert {row["epoch"] for row in rows_of("run")} == {"3"}, "none of epoch 2's later batches is a tenth"


def test_a_complete_run_without_measurements_stays_without(config):
    train(config)
    train(replace(config, log_gradients=True), resume=True)
    assert not Path("run/gradients.png").exists()


@pytest.mark.parametrize("content", ["", "epoch,layer\n1,fc\n", ",".join(COLUMNS) + "\n1,fc,x,1\n", "a\n1,2\n", "\xff"])
def test_a_damaged_table_is_an_error(content):
    Path("gradients.csv").write_text(content, encoding="latin-1")
    with pytest.raises(RunError, match=r"damaged \(gradients.csv "):
        read_gradients(Path("."))


@pytest.mark.parametrize("norms", [[1.0], [0.0, 0.0], [1e-9, 1e9, float("inf")]])
@pytest.mark.parametrize("epochs", [1, 2, 100])
def test_figure_of_any_run(norms, epochs):
    rows = [
        {"epoch": epoch, "layer": str(i), "gradient_norm": norm, "weight_norm": 1.0}
        for epoch in range(1, epochs + 1)
        for i, norm in enumerate(norms)
    ]
    write_gradients(Path("figure.png"), rows, "a run")
    with pytest.raises(DataError, match="cannot be written"):
        write_gradients(Path("nowhere/figure.png"), rows, "a run")


def test_the_setting():
    assert not Config().log_gradients
    assert Config().differences(Config(log_gradients=True)) == [], "it changes nothing of the outcome"
    with pytest.raises(mr.errors.ArgumentError, match="log_gradients is 'yes'"):
        Config(log_gradients="yes")
