"""The commands on a folder of the user's images: train, fine-tune, evaluate and predict."""

import json
from pathlib import Path

import pytest
from PIL import Image

from minires.cli import progress
from minires.training import Config, load_run

pytestmark = pytest.mark.usefixtures("pets")


def test_from_a_folder_to_predictions(minires):
    Image.new("RGB", (5, 5)).save("pets/cat/other.png")
    options = ["--data", "pets", "--epochs", 1, "--batch-size", 8, "--out", "run"]
    result = minires("train", *options)
    assert result.status == 1 and "give a size, such as size=32 or --size 32, to resize all images" in result.err

    result = minires("train", *options, "--size", 8)
    assert result.status == 0 and result.err == ""
    assert "pets: 17 images to train (augmented), 4 to test, 3x8x8, 2 classes\n" in result.out
    result = minires("evaluate", "run")
    assert result.status == 0 and "run: resnet8, trained on pets\ntested on 4 images of pets" in result.out
    Path("pets").rename("moved")
    result = minires("evaluate", "run")
    assert result.status == 2 and "pets', and no such folder; choose one of" in result.err and "--data" in result.err
    assert minires("evaluate", "run", "--data", "moved").status == 0, "resized as the run's were"
    result = minires("predict", "run", "moved", "--out", "predictions.csv")
    assert result.out == "21 predictions written to predictions.csv\n"
    assert len(Path("predictions.csv").read_text().splitlines()) == 22


def test_too_many_images_for_memory_are_announced(minires, monkeypatch):
    from minires.data import folder

    monkeypatch.setitem(folder.__globals__, "MOST_IN_MEMORY", 1000)
    result = minires("train", "--data", "./pets", "--epochs", 1, "--workers", 1, "--out", "run")
    assert result.status == 0 and "3x9x10, 2 classes, read from their files batch by batch\n" in result.out


def test_fine_tuning(minires):
    common = ["--data", "./pets", "--epochs", 1, "--batch-size", 8]
    assert minires("train", *common, "--model", "resnet14", "--out", "source").status == 0
    result = minires("train", *common, "--from", "source", "--freeze", "backbone", "--out", "tuned")
    assert result.status == 0, "the model is that of the run"
    assert result.out.startswith(
        "weights and normalisation of source (pets), with its head\n"
        "resnet14: 171,986 parameters (130 of them are trained, --freeze backbone), seed 0, on cpu\n"
    )
    stored = json.loads(Path("tuned/config.json").read_text())
    assert (stored["model"], stored["weights"], stored["freeze"]) == ("resnet14", "source", "backbone")
    assert load_run("tuned").config.model == "resnet14"

    result = minires("train", *common, "--from", "source", "--model", "plain14")
    assert result.status == 1 and result.err == (
        "minires train: the run in source is a resnet14; a plain14 cannot start from it.\n"
    )
    result = minires("train", *common, "--from", "source", "--freeze", "layer4")
    assert result.status == 2 and "freeze is 'layer4'; it must be conv1, bn1, layer1, layer2, layer3, or" in result.err
    result = minires("train", *common, "--freeze", "layer1")
    assert result.status == 2 and "--freeze is 'layer1', but frozen layers would keep random weights" in result.err


def test_no_plain_twin_is_suggested_for_weights_that_it_cannot_have():
    commands = [command for command, _ in progress.next_commands(Config(weights="source", out="tuned"))]
    assert [command.split()[1] for command in commands] == ["evaluate", "predict"]
