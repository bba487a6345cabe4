"""Reading run folders, complete and damaged ones."""

import json
import shutil
from pathlib import Path

import pytest

import minires as mr
from minires.errors import RunError
from minires.training import load_run


@pytest.fixture
def folder(trained):
    return Path(shutil.copytree(trained, "run"))


def rewrite(folder, **changes):
    stored = json.loads((folder / "config.json").read_text())
    stored = {key: value for key, value in {**stored, **changes}.items() if value is not None}
    (folder / "config.json").write_text(json.dumps(stored))


def test_a_run_needs_neither_its_data_set_nor_its_place(folder, monkeypatch):
    monkeypatch.setattr(mr.data, "load", None)
    moved = folder.rename("moved")
    run = load_run(moved)
    assert run.path == moved
    assert run.classes == tuple("0123456789")
    assert load_run("moved").normalize.mean == run.normalize.mean


def test_no_run_folder():
    with pytest.raises(RunError, match=r"^nowhere is not a run folder: it has no config.json; is it the --out of"):
        load_run("nowhere")


def test_a_run_without_a_model(folder):
    (folder / "model.safetensors").unlink()
    with pytest.raises(RunError, match="has not saved a model yet; continue it with `minires train --resume`"):
        load_run(folder)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"classes": None}, "it lacks 'classes'"),
        ({"mean": []}, "mean has 0 values and std has 1"),
        ({"std": [0]}, "std is 0"),
        ({"model": "resnet21"}, "no model 'resnet21'"),
        ({"model": "resnet14"}, "missing layer1.1.conv1.weight"),
        ({"model_options": {"colour": 3}}, "colour"),
        ({"model_options": 7}, "mapping"),
        ({"image_shape": [8, 8]}, "image_shape is not 3 integers"),
        ({"image_shape": [1, 8, 10**9]}, "image_shape is not 3 integers"),
        ({"image_shape": [1, 8, "x"]}, "image_shape is not 3 integers"),
        ({"model_options": {"num_classes": 10**12, "in_channels": 1}}, "model_options are .*1000000000000"),
        ({"epochs": "many"}, "epochs is 'many'"),
    ],
)
def test_a_config_that_no_run_wrote(folder, changes, reason):
    rewrite(folder, **changes)
    with pytest.raises(
        RunError, match=rf"^the run in run is damaged \(.*{reason}.*\); train it again in another folder\.$"
    ):
        load_run(folder)


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"\xff\xfe", b"[" * 10**5, b"{" + b" " * 2**20 + b"}"])
def test_a_config_that_is_no_json_object(folder, content):
    (folder / "config.json").write_bytes(content)
    with pytest.raises(RunError, match=r"damaged \(.*config.json cannot be read as JSON: "):
        load_run(folder)


def test_weights_that_are_none(folder):
    (folder / "model.safetensors").write_bytes(b"nothing")
    with pytest.raises(RunError, match=r"damaged .*cannot be read as safetensors"):
        load_run(folder)
