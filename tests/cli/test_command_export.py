"""``minires export``: files that other programs read."""

import json
import sys

import numpy as np
import pytest
from stripes import CLASSES, stripes

from minires.interop.safetensors_file import load, load_metadata
from minires.training import evaluate, load_run


def test_the_weights_alone(minires, run_folder, tmp_path):
    out = tmp_path / "net.safetensors"
    out.write_text("an earlier file")
    result = minires("export", run_folder, "--safetensors", out)
    run = load_run(run_folder)
    state = run.model.state_dict()
    assert result == (0, f"{run_folder}: resnet8, trained on digits, {len(state)} arrays written to {out}\n", "")
    written = load(out)
    assert set(written) == set(state)
    for name, array in state.items():
        np.testing.assert_array_equal(written[name], array)
    notes = load_metadata(out)
    assert json.loads(notes["classes"]) == list(CLASSES) and json.loads(notes["image_shape"]) == [1, 6, 9]
    assert json.loads(notes["mean"]) == run.normalize.mean and json.loads(notes["std"]) == run.normalize.std


def test_an_onnx_file_takes_the_images_as_they_are(minires, run_folder, tmp_path):
    onnx = pytest.importorskip("onnx", reason="onnx is not installed")
    onnxruntime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    out, weights = tmp_path / "net.onnx", tmp_path / "net.safetensors"
    result = minires("export", run_folder, "--onnx", out, "--safetensors", weights)
    assert result.status == 0 and result.err == ""
    first, second = result.out.splitlines()
    assert first.endswith(f"written to {out}; takes uint8 images of 1x6x9, gives 3 logits")
    assert str(weights) in second and weights.exists()

    session = onnxruntime.InferenceSession(out, providers=["CPUExecutionProvider"])
    images = stripes().test.images
    (logits,) = session.run(None, {"input": images})
    run = load_run(run_folder)
    expected = evaluate(run.model, stripes().test, run.normalize)
    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
    probabilities = exponentials / exponentials.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(probabilities, expected.probabilities, atol=1e-5)
    assert (logits.argmax(axis=1) == stripes().test.labels).all()  # raw bytes, and it knows them all

    notes = {note.key: note.value for note in onnx.load(out).metadata_props}
    assert json.loads(notes["classes"]) == list(CLASSES) and notes["model"] == "resnet8"
    assert "uint8" in notes["input"]


@pytest.mark.parametrize("words", [[], ["--onnx"]])
def test_something_must_be_asked_for(minires, run_folder, words):
    result = minires("export", run_folder, *words)
    assert result.status == 2 and result.out == "" and result.err.count("\n") == 1
    assert "--onnx" in result.err


def test_what_fails_leaves_no_file(minires, run_folder, tmp_path, monkeypatch):
    result = minires("export", tmp_path, "--safetensors", tmp_path / "net.safetensors")
    assert result.status == 1 and "is not a run folder" in result.err
    result = minires("export", run_folder, "--safetensors", tmp_path / "no" / "net.safetensors")
    assert result.status == 2 and "it must be a file in a folder that exists" in result.err
    monkeypatch.setitem(sys.modules, "onnx", None)
    result = minires("export", run_folder, "--onnx", tmp_path / "net.onnx")
    assert result.status == 1 and "pip install 'minires[onnx]'" in result.err
    assert not list(tmp_path.iterdir())
