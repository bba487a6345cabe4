"""The pages of docs/ do what they say."""

import re
from pathlib import Path

import numpy as np
import pytest

import minires as mr
from minires.interop.translation import OPSET

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
ROOMS = ("docs", "benchmarks", "experiments", "tutorials")
PAGES = sorted([*ROOT.glob("*.md"), *(page for room in ROOMS for page in (ROOT / room).rglob("*.md"))])
PATH_IN_REPOSITORY = re.compile(r"`((?:benchmarks|docs|experiments|minires|tests|tutorials)/[\w./-]+)`")


def page(name):
    return (DOCS / name).read_text(encoding="utf-8")


def blocks(name):
    return re.findall(r"```python\n(.*?)```", page(name), re.DOTALL)


@pytest.mark.parity
def test_the_page_about_pytorch_runs(capsys):
    """All its blocks, one after the other, as a reader would paste them."""
    pytest.importorskip("torch", reason="PyTorch is not installed")
    assert len(blocks("pytorch.md")) == 10
    names = {}
    for block in blocks("pytorch.md"):
        exec(compile(block, "docs/pytorch.md", "exec"), names)
    assert names["difference"] < 1e-5 and names["our_loss"].item() > 0
    assert capsys.readouterr().out.endswith("1814073344\n")


@pytest.mark.slow
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


@pytest.mark.parametrize("name", ["detection.md", "segmentation.md", "video.md"])
def test_the_pages_of_the_tasks(name, tmp_path, monkeypatch):
    """The block under "In Python", and, for an exported detector, the one after it."""
    monkeypatch.chdir(tmp_path)
    names = {}
    first, *others = blocks(name)
    exec(first, names)
    assert all(np.isfinite(parameter.grad.numpy()).all() for parameter in names["model"].parameters())
    if others:
        pytest.importorskip("onnx", reason="onnx is not installed")
        pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
        model, images = names["model"], names["images"]
        normalize = mr.data.transforms.Normalize([0.0] * 3, [1.0] * 3)
        notes = {"strides": str(list(model.strides))}
        mr.interop.export_onnx(model, "net.onnx", (3, 64, 64), normalize=normalize, metadata=notes)
        exec(others[0], names)
        assert len(names["found"]) == len(images)


def test_a_graph_as_on_the_page_about_gpus(cuda):
    model = mr.models.resnet8(in_channels=1, num_classes=10).to("cuda")
    optimizer = mr.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    digits = mr.data.digits().train
    train = mr.data.Split(digits.images[:80], digits.labels[:80])
    names = {"mr": mr, "model": model, "optimizer": optimizer, "train": train}
    names["schedule"] = mr.optim.CosineLR(optimizer, T_max=5)
    names["images"], names["labels"] = next(iter(mr.data.Loader(train, 8)))
    for block in blocks("gpu.md"):
        exec(block.replace("mr.models.resnet20()", "model").replace("train, 128", "train, 16"), names)
    assert names["loss"].item() < 3


def test_a_loss_becomes_a_page(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(blocks("stepper.md")[0], names)
    assert "layer3.0.conv2.weight" in (tmp_path / "step.html").read_text(encoding="utf-8")
    assert names["stepper"].tape.nodes[0].name == "x" and names["x"].grad is None


@pytest.mark.slow
def test_the_instruments_measure_a_run(tmp_path, monkeypatch):
    from minires.training import Config, train

    monkeypatch.chdir(tmp_path)
    train(Config(model="resnet14", epochs=1, out="runs/compare-digits-seed0/resnet20"))  # another one would take longer
    names = {}
    (block,) = blocks("instruments.md")
    exec(block, names)
    assert len(names["responses"].rows) == 13 and len(names["swap"].rows) == 2 and (tmp_path / "flow.png").exists()
    assert [row["count"] for row in names["lesion"].rows][:8] == [0, 1, 1, 1, 1, 1, 1, 2]


@pytest.mark.parity
def test_memory_is_shared_with_pytorch():
    pytest.importorskip("torch", reason="PyTorch is not installed")
    names = {}
    exec(blocks("onnx.md")[1], names)
    assert names["ours"].shape == (2, 3)


def test_the_operator_set_is_the_one_it_names():
    assert f"operator set {OPSET}" in page("onnx.md")


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_links_and_paths_lead_somewhere(path):
    text = path.read_text(encoding="utf-8")
    links = [path.parent / target for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text)]
    paths = [ROOT / target for target in PATH_IN_REPOSITORY.findall(text)]
    assert not [target for target in links + paths if not target.exists()]
