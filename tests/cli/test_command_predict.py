"""``minires predict``: images of any kind in, a table or a CSV file out."""

import csv
import json
import os
import shutil

import numpy as np
import pytest
from PIL import Image
from stripes import CLASSES, stripes

from minires.training import evaluate, load_run


@pytest.fixture
def folder(tmp_path):
    """Three images of the test split, of other sizes and modes, in folders; and files that are not images."""
    folder = tmp_path / "images"
    (folder / "more").mkdir(parents=True)
    for i, (name, mode, size) in enumerate(
        [("a.png", "L", (9, 6)), ("b.PNG", "RGB", (18, 12)), ("more/c.bmp", "P", (9, 6))]
    ):
        Image.fromarray(stripes().test.images[i, 0]).resize(size, Image.Resampling.NEAREST).convert(mode).save(
            folder / name
        )
    (folder / "notes.txt").write_text("no image, and not tried")
    return folder


def read_csv(path):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.reader(file))


def test_a_folder_as_a_table(minires, run_folder, folder):
    result = minires("predict", run_folder, folder)
    assert result.status == 0 and result.err == ""
    header, *rows = [line.split() for line in result.out.splitlines()]
    assert header == ["file", "class", "probability"]
    assert [row[:2] for row in rows] == [
        [str(folder / "a.png"), "left"],
        [str(folder / "b.PNG"), "middle"],
        [str(folder / "more" / "c.bmp"), "right"],
    ]


@pytest.mark.parametrize("flip", [False, True])
def test_the_csv_file_has_the_numbers_of_evaluate(minires, run_folder, tmp_path, flip):
    """Also for a run that was tested on mirror images as well."""
    run_folder = shutil.copytree(run_folder, tmp_path / "run")
    settings = json.loads((run_folder / "config.json").read_text())
    (run_folder / "config.json").write_text(json.dumps({**settings, "flip_test": flip}))
    folder = tmp_path / "test"
    folder.mkdir()
    test = stripes().test
    for i, image in enumerate(test.images):
        Image.fromarray(image[0]).save(folder / f"{i:02}.png")
    out = tmp_path / "predictions.csv"
    result = minires("predict", run_folder, folder, "--top", "2", "--out", out)
    assert result == (0, f"30 predictions written to {out}\n", "")

    header, *rows = read_csv(out)
    assert header == ["file", "class", "probability", "class_2", "probability_2"]
    assert [row[0] for row in rows] == [str(folder / f"{i:02}.png") for i in range(30)]
    run = load_run(run_folder)
    expected, other = (evaluate(run.model, test, run.normalize, flip=way) for way in (flip, not flip))
    assert abs(expected.probabilities - other.probabilities).max() > 0.01
    assert [row[1] for row in rows] == [CLASSES[k] for k in expected.predictions]
    ranked = np.sort(expected.probabilities, axis=1)[:, ::-1]
    np.testing.assert_allclose(np.array([[row[2], row[4]] for row in rows], float), ranked[:, :2], atol=2e-6)
    report = minires("evaluate", run_folder).out
    assert f"loss      {expected.loss:.4f}" in report and f"{expected.loss:.4f}" != f"{other.loss:.4f}"


def test_what_cannot_be_read_is_reported_and_left_out(minires, run_folder, folder):
    (folder / "empty.png").touch()
    (folder / "text.png").write_text("hello")
    result = minires("predict", run_folder, folder, "missing.png")
    assert result.status == 0 and len(result.out.splitlines()) == 4
    assert result.err.splitlines() == [
        f"minires predict: image {folder / 'empty.png'} cannot be read: it is empty.",
        f"minires predict: image {folder / 'text.png'} cannot be read: it is not an image.",
        "minires predict: image missing.png cannot be read: there is no such file.",
    ]


def test_nothing_to_read_is_a_failure(minires, run_folder, tmp_path):
    out = tmp_path / "predictions.csv"
    result = minires("predict", run_folder, tmp_path, "--out", out)
    assert result == (1, "", f"minires predict: folder {tmp_path} holds no images.\n")
    result = minires("predict", run_folder, "missing.png", "--out", out)
    assert result.status == 1 and result.err.count("\n") == 1 and not out.exists()


@pytest.mark.skipif(os.name == "nt", reason="Windows forbids such names")
def test_a_file_name_cannot_confuse_the_terminal(minires, run_folder, folder, tmp_path):
    out = tmp_path / "predictions.csv"
    odd = os.path.join(os.fsencode(folder), b"\xff\x1b[31m\n,.png")
    os.rename(folder / "a.png", odd)
    assert r"\udcff\x1b[31m ,.png" in minires("predict", run_folder, os.fsdecode(odd)).out
    minires("predict", run_folder, os.fsdecode(odd), "--out", out)
    assert odd in out.read_bytes(), "the CSV file has the true name"
    os.truncate(odd, 0)
    assert r"\udcff\x1b[31m ,.png cannot be read" in minires("predict", run_folder, os.fsdecode(odd)).err


def test_top_is_at_most_the_number_of_classes(minires, run_folder, folder):
    assert len(minires("predict", run_folder, folder, "--top", "3").out.splitlines()[0].split()) == 7
    result = minires("predict", run_folder, folder, "--top", "4")
    assert result == (2, "", f"minires predict: --top is 4, but {run_folder} has only 3 classes.\n")


def test_an_output_that_cannot_be_written(minires, run_folder, folder, tmp_path):
    result = minires("predict", run_folder, folder, "--out", tmp_path / "missing" / "predictions.csv")
    assert result.status == 2 and result.out == "" and "it must be a file in a folder that exists" in result.err
