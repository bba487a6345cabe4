"""The pages of docs/ do what they say."""

import re
from pathlib import Path

import pytest

from minires.interop.translation import OPSET

DOCS = Path(__file__).parent.parent / "docs"


def page(name):
    return (DOCS / name).read_text(encoding="utf-8")


def blocks(name):
    return re.findall(r"```python\n(.*?)```", page(name), re.DOTALL)


@pytest.mark.parity
def test_the_page_about_pytorch_runs(capsys):
    """All its blocks, one after the other, as a reader would paste them."""
    pytest.importorskip("torch", reason="PyTorch is not installed")
    assert len(blocks("pytorch.md")) == 7
    names = {}
    for block in blocks("pytorch.md"):
        exec(compile(block, "docs/pytorch.md", "exec"), names)
    assert names["difference"] < 1e-5 and names["our_loss"].item() > 0
    assert capsys.readouterr().out.endswith("1814073344\n")


def test_training_with_a_stop(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(blocks("checkpoints.md")[0], names)
    assert names["metrics"]["out"] == "runs/first" and (tmp_path / "runs/first/metrics.json").exists()


def test_a_model_becomes_an_onnx_file(tmp_path, monkeypatch):
    pytest.importorskip("onnx", reason="onnx is not installed")
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(blocks("onnx.md")[0], names)
    assert names["logits"].shape == (7, 10)


def test_a_loss_becomes_a_page(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(blocks("stepper.md")[0], names)
    assert "layer3.0.conv2.weight" in (tmp_path / "step.html").read_text(encoding="utf-8")
    assert names["stepper"].tape.nodes[0].name == "x" and names["x"].grad is None


@pytest.mark.parity
def test_memory_is_shared_with_pytorch():
    pytest.importorskip("torch", reason="PyTorch is not installed")
    names = {}
    exec(blocks("onnx.md")[1], names)
    assert names["ours"].shape == (2, 3)


def test_the_operator_set_is_the_one_it_names():
    assert f"operator set {OPSET}" in page("onnx.md")
