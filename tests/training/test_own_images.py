"""Training on a folder of images: by its path, resized, and from files when there are too many."""

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

import minires as mr
from minires.data import FileSplit, Split
from minires.errors import ArgumentError, DataError
from minires.training import Config, load_run, train
from minires.training.recipe import load_data

pytestmark = pytest.mark.usefixtures("pets")


@pytest.fixture
def config():
    return Config(data="pets", size=8, epochs=1, batch_size=8, lr=0.01)


def test_a_folder_by_its_name_is_stored_as_a_path():
    assert Config(data="pets").data == os.path.join(".", "pets")
    assert [Config(data=data).data for data in ("./pets", "pets/", "../x")] == ["./pets", "pets/", "../x"]
    assert [Config(data=data).data_name for data in ("pets", "pets/", "/some/where/cats", "digits")] == [
        "pets", "pets", "cats", "digits",
    ]  # fmt: skip


def test_a_known_name_comes_before_a_folder():
    Path("digits").mkdir()
    assert Config(data="digits").data == "digits"
    assert load_data("digits").classes == tuple("0123456789")
    with pytest.raises(DataError, match=r"folder: .*digits holds no images"):
        load_data("./digits")


def test_neither_a_name_nor_a_folder():
    with pytest.raises(ArgumentError, match=r"no data set or folder 'cats'; choose one of digits, .*or"):
        Config(data="cats")
    with pytest.raises(ArgumentError, match=r"no data set '\./cats', and no such folder; choose one of digits"):
        load_data("./cats")
    with pytest.raises(ArgumentError, match="size is 32, but only the images of a folder can be resized, and digits"):
        Config(data="digits", size=32)


def test_a_run_on_a_folder(config, monkeypatch):
    metrics = train(config)
    assert metrics["out"] == str(Path("runs/resnet8-pets-seed0"))
    stored = json.loads(Path(metrics["out"], "config.json").read_text())
    assert (stored["data"], stored["size"], stored["classes"]) == (os.path.join(".", "pets"), 8, ["cat", "dog"])
    folder = Path(metrics["out"]).resolve()
    Path("elsewhere").mkdir()
    monkeypatch.chdir("elsewhere")
    run = load_run(folder)
    assert (run.config.data, run.image_shape) == (stored["data"], (3, 8, 8)), "the run needs no images"


def test_too_many_for_memory_train_from_their_files_to_the_same_bits(config, monkeypatch, no_figures):
    assert isinstance(load_data("./pets", 8).train, Split)
    first = train(replace(config, out="memory"))
    monkeypatch.setitem(mr.data.folder.__globals__, "MOST_IN_MEMORY", 1000)
    assert isinstance(load_data("./pets", 8).train, FileSplit)
    second = train(replace(config, out="files", workers=1))
    assert first["test_loss"] == second["test_loss"]
    states = [mr.load(f"{out}/model.safetensors") for out in ("memory", "files")]
    assert all(states[0][name].tobytes() == states[1][name].tobytes() for name in states[0])


def test_a_damaged_image_stops_the_run_in_one_sentence(config, monkeypatch):
    monkeypatch.setitem(mr.data.folder.__globals__, "MOST_IN_MEMORY", 1000)
    Path("pets/dog/7.png").write_bytes(b"no image")
    with pytest.raises(
        DataError, match=r"of 16 images cannot be used: image pets.dog.7\.png cannot be read: it is not an"
    ):
        train(config)
