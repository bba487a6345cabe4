"""``minires explain flow|responses|lesion|swap``: from a run to a table, a figure and a CSV file."""

import csv

import numpy as np
import pytest
from PIL import Image
from stripes import stripes

import minires as mr
from minires.training import load_run


@pytest.fixture(scope="module")
def deep_run(tmp_path_factory):
    """A run of a network with blocks that can be swapped."""
    from minires import data
    from minires.cli.main import main

    folder = tmp_path_factory.mktemp("runs") / "deep"
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(data.DATASETS, "digits", stripes)
        assert main(["train", "--model", "resnet14", "--epochs", "1", "--batch-size", "20", "--out", str(folder)]) == 0
    return folder


def table(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def is_drawn(path):
    with Image.open(path) as image:
        return image.format == "PNG" and len(set(image.convert("L").tobytes())) > 50


def test_flow(minires, run_folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = minires("explain", "flow", run_folder, "--csv", "flow.csv")
    assert result.status == 0 and result.err == "" and is_drawn("flow.png")
    assert result.out.endswith("\nfigure   flow.png\nnumbers  flow.csv\n")
    assert "over 60 training images" in result.out, "all that there are"
    run, train = load_run(run_folder), stripes().train
    expected = mr.explain.flow(run.model, run.normalize(train.images), train.labels)
    for row, line in zip(expected.rows, table("flow.csv"), strict=True):
        assert row["layer"] == line["layer"]
        assert float(line["gradient_norm"]) == pytest.approx(row["gradient_norm"], rel=1e-4)
        shown = next(words for words in map(str.split, result.out.splitlines()) if words and words[0] == row["layer"])
        assert float(shown[1]) == pytest.approx(row["activation_norm"], rel=0.01)


def test_responses(minires, run_folder, tmp_path):
    out = tmp_path / "figure.PNG"
    result = minires("explain", "responses", run_folder, "--images", 7, "--out", out)
    assert result.status == 0 and result.err == "" and is_drawn(out)
    assert "over 7 test images" in result.out and result.out.endswith(f"\nfigure   {out}\n")
    first = next(words for words in map(str.split, result.out.splitlines()) if words and words[0] == "layer1.0.conv1")
    assert first[1] == "layer1.0.bn1" and first[3] == "-" and float(first[2]) > 0


def test_lesion(minires, run_folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = minires("explain", "lesion", run_folder, "--csv", "lesion.csv", "--counts", "2,3", "--seed", 3)
    assert result.status == 0 and result.err == "" and is_drawn("lesion.png")
    rows = table("lesion.csv")
    assert [row["count"] for row in rows] == [*"0111", *"2" * (len(rows) - 5), "3"]
    run, test = load_run(run_folder), stripes().test
    with mr.no_grad():
        logits = run.model(mr.tensor(run.normalize(test.images))).numpy()
    wrong = 100 * float(np.mean(logits.argmax(axis=1) != test.labels))
    assert float(rows[0]["error_percent"]) == pytest.approx(wrong) and f" {wrong:.2f} % " in result.out
    assert "on 30 test images; guessing: 66.7 %\n" in result.out


def test_swap(minires, deep_run, run_folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = minires("explain", "swap", deep_run, "--images", 9, "--csv", "swap.csv")
    assert result.status == 0 and result.err == "" and is_drawn("swap.png")
    assert [(row["count"], float(row["kendall_tau"])) for row in table("swap.csv")] == [
        ("0", 1), ("1", pytest.approx(1 - 2 / 15, rel=1e-5)),
    ]  # fmt: skip
    assert "on 9 test images" in result.out and " 0.867 " in result.out
    refused = minires("explain", "swap", run_folder)
    assert (
        refused.status == 2
        and "no two of the 3 blocks of CifarResNet have inputs and outputs of the same size" in refused.err
    )


@pytest.mark.parametrize("command", ["flow", "responses", "lesion", "swap"])
@pytest.mark.parametrize(
    ("words", "status", "sentence"),
    [
        ("nothing", 1, "nothing is not a run folder"),
        (
            "RUN --out no/such/figure.png",
            2,
            "--out is 'no/such/figure.png'; it must be a file in a folder that exists.",
        ),
        ("RUN --csv no/such/table.csv", 2, "--csv is 'no/such/table.csv'; it must be a file in a folder that exists."),
        ("RUN --out .", 2, "--out is '.'; it must be a file"),
        ("RUN --out figure.pdf", 2, "--out is 'figure.pdf'; the figure is a PNG, so its name must end in .png."),
        ("RUN --images 0", 2, "--images is 0; it must be an integer >= 1. Try"),
        ("RUN --data nothing", 2, "there is no data set 'nothing'"),
        ("RUN --data mnist", 1, "mnist"),
    ],
)
def test_what_is_wrong_is_one_sentence(minires, run_folder, tmp_path, monkeypatch, command, words, status, sentence):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MINIRES_DATA", str(tmp_path / "none"))
    result = minires("explain", command, *(str(run_folder) if word == "RUN" else word for word in words.split()))
    assert result.status == status and result.out == "" and result.err.count("\n") == 1
    assert sentence in result.err.replace("\\", "/")
    assert not list(tmp_path.iterdir()), "nothing is left behind"


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("--counts 2,x", "--counts is '2,x'; it must be integers separated by commas, e.g. 2,4,8."),
        ("--counts 99", "counts holds 99; it must hold integers from 1 to 3, the number of blocks."),
        ("--trials 0", "--trials is 0; it must be an integer >= 1."),
        ("--seed -1", "seed is -1; it must be an integer >= 0."),
    ],
)
def test_wrong_numbers(minires, run_folder, tmp_path, monkeypatch, words, sentence):
    monkeypatch.chdir(tmp_path)
    result = minires("explain", "lesion", run_folder, *words.split())
    assert result.status == 2 and sentence in result.err and not list(tmp_path.iterdir())
