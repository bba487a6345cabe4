"""The examples of docs/onnx.md run."""

import re
from pathlib import Path

import pytest

PAGE = (Path(__file__).parents[2] / "docs" / "onnx.md").read_text(encoding="utf-8")
FILE, MEMORY = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


def test_a_model_as_a_file(tmp_path, monkeypatch):
    pytest.importorskip("onnx", reason="onnx is not installed")
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(FILE, names)
    assert names["logits"].shape == (7, 10)


@pytest.mark.parity
def test_the_same_memory():
    pytest.importorskip("torch", reason="PyTorch is not installed")
    names = {}
    exec(MEMORY, names)
    assert names["ours"].shape == (2, 3)


def test_the_operator_set_is_the_one_it_names():
    from minires.interop.translation import OPSET

    assert f"operator set {OPSET}" in PAGE
