"""``minires train --task``, ``evaluate``, ``predict`` and ``export`` for boxes, masks and clips."""

import csv
import json
import re
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import minires as mr
from minires.cli.main import main
from minires.training import load_run
from minires.training.task import find

sys.path.insert(0, str(Path(__file__).parents[1] / "vision"))
import few

pytestmark = pytest.mark.slow  # the runs that most tests need take a while


@pytest.fixture(autouse=True)
def few_images(monkeypatch):
    few.register(monkeypatch)


@pytest.fixture(scope="session")
def runs(tmp_path_factory):
    """A run of each task, trained for long enough to find something."""
    folder = tmp_path_factory.mktemp("vision")
    with pytest.MonkeyPatch.context() as patch:
        few.register(patch)
        for task in few.SIZES:
            words = ["--task", task, "--data", "few", "--epochs", "12", "--batch-size", "10", "--lr", "0.003"]
            assert main(["train", *words, "--out", str(folder / task)]) == 0
    return folder


@pytest.fixture(scope="session")
def images(tmp_path_factory):
    """Two test images, enlarged to 96x144 pixels, named as COCO names them, and a file that is not an image."""
    folder = tmp_path_factory.mktemp("images")
    split = mr.data.shapes(task="detection", **few.OPTIONS, **few.SIZES["detection"]).test
    for number, pixels in zip((25, 9), split[np.arange(2)][0], strict=True):
        image = Image.fromarray(pixels.transpose(1, 2, 0))
        image.resize((144, 96), Image.Resampling.NEAREST).save(folder / f"{number:012}.png")
    (folder / "broken.png").write_text("not an image")
    return folder


@pytest.fixture(scope="session")
def clips(tmp_path_factory):
    """A clip as a GIF and as a folder of frames."""
    folder = tmp_path_factory.mktemp("clips")
    frames = [
        Image.fromarray(pixels.transpose(1, 2, 0))
        for pixels in mr.data.shapes(task="video", train=2, test=2).train[np.arange(1)][0][0]
    ]
    frames[0].save(folder / "one.gif", save_all=True, append_images=frames[1:], duration=100)
    (folder / "two").mkdir()
    for number, frame in enumerate(frames):
        frame.save(folder / "two" / f"frame{number}.png")
    return folder


@pytest.mark.parametrize(
    ("task", "model"), [("detection", "fcos_"), ("segmentation", "deeplabv3plus_"), ("video", "tsm_")]
)
def test_the_network_of_a_classifier_is_the_default(minires, runs, tmp_path, monkeypatch, task, model):
    monkeypatch.chdir(tmp_path)
    assert main(["train", "--data", "few", "--model", "plain8", "--epochs", "1", "--out", "start"]) == 0
    result = minires("train", "--task", task, "--data", "few", "--epochs", "1", "--from", "start", "--out", "run")
    assert result.status == 0 and result.out.startswith("weights and normalisation of start (few), as the backbone\n")
    assert load_run("run").config.model == f"{model}plain8"
    again = minires("train", "--data", "few", "--epochs", "1", "--from", str(runs / task), "--out", "more")
    assert again.status == 0 and load_run("more").config.task == task
    wrong = minires("train", "--task", "classification", "--data", "few", "--from", str(runs / task), "--out", "none")
    assert wrong.err.endswith(f"is one of {task}; classification cannot start from it.\n")


def test_annotated_images_are_not_taken_for_classes(minires, tmp_path):
    for kind in ("images", "masks"):
        (tmp_path / kind).mkdir()
        for number in range(5):
            Image.new("L", (8, 8)).save(tmp_path / kind / f"{number}.png")
    result = minires("train", "--data", tmp_path, "--out", tmp_path / "run")
    assert result.status == 1 and result.err.endswith("they are for --task detection or segmentation.\n")


def test_training_says_what_it_does(minires, tmp_path):
    result = minires("train", "--task", "detection", "--data", "few", "--epochs", 1, "--out", tmp_path / "run")
    assert result.status == 0 and result.err == ""
    assert "epoch      train loss   test loss        AP      AP50        lr   seconds" in result.out
    assert "  mean AP        " in result.out and "  hardest class  " in result.out
    result = minires("train", "--task", "segmentation", "--data", "few", "--epochs", 1, "--out", tmp_path / "masks")
    assert "mean iou  accuracy        lr" in result.out and "  mean IoU       " in result.out


@pytest.mark.parametrize("task", few.SIZES)
def test_evaluate_prints_the_numbers_of_the_run(minires, runs, task):
    result = minires("evaluate", runs / task)
    metrics = json.loads((runs / task / "metrics.json").read_text())
    assert result.status == 0 and f"{metrics['test_loss']:.4f}" in result.out
    score = {"detection": "test_AP", "segmentation": "test_mean_iou", "video": "test_accuracy"}[task]
    assert f"{100 * metrics[score]:.1f} %" in result.out
    for name in load_run(runs / task).classes:
        assert f"\n{name} " in result.out


def test_boxes_as_a_table_and_as_cocos_results(minires, runs, images, tmp_path):
    result = minires("predict", runs / "detection", images)
    assert result.status == 0 and result.err.count("\n") == 1 and "broken.png" in result.err
    header, *rows = [line.split() for line in result.out.splitlines()]
    assert header == ["file", "class", "score", "x1", "y1", "x2", "y2"] and rows

    out = tmp_path / "found.json"
    assert (
        minires("predict", runs / "detection", images, "--out", out).out
        == f"{len(rows)} predictions written to {out}\n"
    )
    found = json.loads(out.read_text())
    assert [row["image_id"] for row in found] == sorted((row["image_id"] for row in found), key=[9, 25].index)
    run = load_run(runs / "detection")
    for row, cells in zip(found, rows, strict=True):
        assert run.classes[row["category_id"] - 1] == cells[1] and f"{100 * row['score']:.1f}" == cells[2]
        x, y, w, h = row["bbox"]
        assert [f"{side:.1f}" for side in (x, y, x + w, y + h)] == cells[4:], "after the % of the score"
        assert 0 <= x <= x + w <= 144.001 and 0 <= y <= y + h <= 96.001
    truth = {"images": [{"id": 9}, {"id": 25}], "categories": [{"id": k} for k in range(1, 6)]}
    assert mr.vision.coco_map(found, {**truth, "annotations": []})["AP"] == -1

    table = tmp_path / "found.csv"
    minires("predict", runs / "detection", images, "--out", table, "--threshold", 0.999)
    assert table.read_text() == "file,class,score,x1,y1,x2,y2\n"
    assert "no score is above 0.999" in minires("predict", runs / "detection", images, "--threshold", 0.999).out


def test_the_boxes_are_those_of_the_network(minires, runs, tmp_path):
    """An image of the network's own size gives exactly what ``detect`` gives."""
    run, split = load_run(runs / "detection"), find("detection").data_sets["few"]().test
    pixels = split[np.arange(1)][0]
    Image.fromarray(pixels[0].transpose(1, 2, 0)).save(tmp_path / "a.png")
    out = tmp_path / "found.json"
    minires("predict", runs / "detection", tmp_path / "a.png", "--out", out)
    with mr.no_grad():
        (expected,) = mr.vision.detect(
            run.model(mr.tensor(run.normalize(pixels))), (48, 48), run.model.locations((48, 48))
        )
    found = json.loads(out.read_text())
    assert len(found) == len(expected.scores) > 0 and {row["image_id"] for row in found} == {1}
    np.testing.assert_allclose([row["score"] for row in found], expected.scores, rtol=1e-5)
    corners = np.array([row["bbox"] for row in found]) @ np.array(
        [[1, 0, 1, 0], [0, 1, 0, 1], [0, 0, 1, 0], [0, 0, 0, 1]]
    )
    np.testing.assert_allclose(corners, expected.boxes, atol=1e-3)


def test_masks(minires, runs, images, tmp_path):
    out = tmp_path / "shares.csv"
    result = minires("predict", runs / "segmentation", images, "--out", out, "--draw", tmp_path / "drawn")
    assert result.status == 0
    with open(out, newline="") as file:
        rows = list(csv.DictReader(file))
    assert [Path(row["file"]).name for row in rows] == ["000000000009.png", "000000000025.png"]
    for row in rows:
        assert sum(float(row[name]) for name in load_run(runs / "segmentation").classes) == pytest.approx(1, abs=1e-5)
        with Image.open(tmp_path / "drawn" / Path(row["file"]).name) as drawing:
            assert drawing.size == (144, 96)


def test_drawings_of_files_with_the_same_name_are_all_kept(minires, runs, images, tmp_path):
    for name in "ab":
        (tmp_path / name).mkdir()
        (tmp_path / name / "same.png").write_bytes((images / "000000000009.png").read_bytes())
    result = minires("predict", runs / "detection", tmp_path / "a", tmp_path / "b", "--draw", tmp_path / "drawn")
    assert f"2 drawings written to {tmp_path / 'drawn'}\n" in result.out
    assert sorted(path.name for path in (tmp_path / "drawn").iterdir()) == ["same.png", "same_2.png"]
    with Image.open(tmp_path / "drawn" / "same.png") as drawing:
        assert max(drawing.size) >= 256, "small images are enlarged"


def test_clips_are_not_called_images(minires, tmp_path):
    words = ["--task", "video", "--data", "few", "--epochs", "1", "--out", tmp_path / "run"]
    result = minires("train", *words)
    assert result.status == 0 and "images" not in result.out and " of 6 clips wrong" in result.out
    assert (
        "20 clips to train" in result.out and "CLIP_OR_FOLDER\n      its predictions for your own clips" in result.out
    )
    assert "tested on 6 clips of " in minires("evaluate", tmp_path / "run").out


def test_clips(minires, runs, clips, tmp_path):
    result = minires("predict", runs / "video", clips / "one.gif", clips / "two", clips)
    assert result.status == 0 and result.err == ""
    header, *rows = [line.split() for line in result.out.splitlines()]
    assert header == ["file", "class", "probability"]
    assert [Path(row[0]).name for row in rows] == ["one.gif", "two", "one.gif", "two"]
    assert rows[0][1:] == rows[2][1:] and {row[1] for row in rows} <= {"left", "right"}
    shutil.copytree(clips, tmp_path / "classes" / "left")
    within = minires("predict", runs / "video", tmp_path / "classes")
    assert [Path(line.split()[0]).name for line in within.out.splitlines()] == ["file", "one.gif", "two"]
    result = minires("predict", runs / "video", clips / "none.gif")
    assert result.status == 1 and result.err.count("\n") == 1


def test_tracks(minires, runs, clips, tmp_path):
    out = tmp_path / "tracks.json"
    words = ["--track", "--threshold", 0.3, "--out", out, "--draw", tmp_path / "drawn"]
    result = minires("predict", runs / "detection", clips / "two", *words)
    assert result.status == 0
    rows = json.loads(out.read_text())
    assert {row["frame"] for row in rows} <= set(range(8)) and rows
    for frame in range(8):
        tracks = [row["track"] for row in rows if row["frame"] == frame]
        assert len(tracks) == len(set(tracks)), "an identity occurs once in a frame"
    with Image.open(tmp_path / "drawn" / "two.gif") as drawing:
        assert 1 <= drawing.n_frames <= 8


@pytest.mark.parametrize(
    ("task", "words", "sentence"),
    [
        ("detection", ["--top", 2], "--top does not apply to .*, a run of detection"),
        ("segmentation", ["--threshold", 0.5], "--threshold does not apply to .*, a run of segmentation"),
        ("segmentation", ["--out", "a.json"], "--out with .json does not apply to .*, a run of segmentation"),
        ("video", ["--track"], "--track does not apply to .*, a run of video"),
        ("video", ["--draw", "drawn"], "--draw does not apply to .*, a run of video"),
        ("detection", ["--threshold", 1.5], "--threshold is 1.5; it must be at least 0 and below 1"),
        ("detection", ["--threshold", "nan"], "--threshold is nan; it must be at least 0 and below 1"),
    ],
)
def test_options_of_other_tasks_are_refused(minires, runs, images, tmp_path, monkeypatch, task, words, sentence):
    monkeypatch.chdir(tmp_path)
    result = minires("predict", runs / task, images, *words)
    assert (result.status, result.out) == (2, "") and result.err.count("\n") == 1
    assert re.search(sentence, result.err)
    assert not any(tmp_path.iterdir())


def test_a_folder_of_drawings_that_cannot_be_made_is_refused_before_work(minires, runs, images, tmp_path):
    (tmp_path / "file").touch()
    result = minires("predict", runs / "detection", images, "--draw", tmp_path / "file")
    assert result.status == 2 and "this folder cannot be made" in result.err


@pytest.mark.parametrize("task", few.SIZES)
def test_the_onnx_file_gives_the_raw_outputs(minires, runs, task, tmp_path):
    pytest.importorskip("onnx", reason="onnx is not installed")
    onnxruntime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    result = minires("export", runs / task, "--onnx", tmp_path / "net.onnx")
    assert result.status == 0 and result.err == ""
    run, split = load_run(runs / task), find(task).data_sets["few"]().test
    inputs = split[np.arange(3)][0]
    session = onnxruntime.InferenceSession(tmp_path / "net.onnx", providers=["CPUExecutionProvider"])
    found = session.run(None, {"input": inputs})
    with mr.no_grad():
        expected = run.model(mr.tensor(run.normalize(inputs)))
    expected = expected if isinstance(expected, tuple) else (expected,)
    assert len(found) == len(expected)
    for ours, theirs in zip(expected, found, strict=True):
        np.testing.assert_allclose(theirs, ours.numpy(), atol=2e-4 * max(1, np.abs(theirs).max()))
    if task == "detection":  # boxes from what another program computed
        metadata = session.get_modelmeta().custom_metadata_map
        places = mr.vision.locations((48, 48), tuple(json.loads(metadata["strides"])))
        boxes = mr.vision.detect(found, (48, 48), places)
        np.testing.assert_allclose(boxes[0].boxes, mr.vision.detect(expected, (48, 48), places)[0].boxes, atol=1e-2)


def test_instruments_of_classifiers_refuse_other_runs(minires, runs, tmp_path):
    result = minires("explain", "flow", runs / "detection", "--out", tmp_path / "a.png")
    assert result.status == 2 and "is a run of detection; this command takes runs of classification" in result.err
