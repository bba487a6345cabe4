"""Every command that computes uses the device that it is given."""

from __future__ import annotations

import csv
import json
import sys

import pytest

COMPUTING = (
    "train",
    "evaluate run",
    "predict run pets",
    "compare",
    "bench train",
    "explain flow run",
    "explain lesion run",
)


def test_a_run_is_trained_tested_and_used_on_each_device(minires, pets, device):
    where = ("--device", device)
    assert minires("train", "--data", "pets", "--epochs", "1", "--out", "run", *where).status == 0
    with open("run/metrics.json", encoding="utf-8") as file:
        assert json.load(file)["device"] == device
    tested = minires("evaluate", "run", *where)
    assert tested.status == 0 and "accuracy" in tested.out
    assert minires("predict", "run", "pets", "--out", "predictions.csv", *where).status == 0
    with open("predictions.csv", encoding="utf-8", newline="") as file:
        assert len(list(csv.DictReader(file))) == 20
    for instrument in ("flow", "responses", "lesion"):
        assert minires("explain", instrument, "run", *where).status == 0


@pytest.mark.parametrize("command", COMPUTING)
def test_without_cupy_the_sentence_says_what_to_install(command, minires, pets, monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", None)  # as if it could not be imported
    result = minires(*command.split(), "--device", "cuda")
    assert result.status == 1
    assert result.err.count("\n") == 1
    assert "device 'cuda' needs CuPy, which is not installed: pip install 'minires[cuda13]' (or [cuda12])" in result.err
