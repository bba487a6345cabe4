"""The benchmark measures what it says; nothing here looks at how long it took."""

import json

import pytest

from minires.bench import contenders, race, workloads
from minires.bench.workloads import Workload
from minires.cli.main import main
from minires.errors import ArgumentError

SMALL = [
    Workload("infer", "resnet8", 2, 16),
    Workload("train", "resnet8", 2, 16),
    *(Workload("ops", "", 2, 9, 0, 16, 32, direction=direction) for direction in workloads.DIRECTIONS),
]


@pytest.mark.parametrize("workload", SMALL, ids=lambda w: w.name)
def test_minires_does_every_kind_of_workload(workload):
    step = contenders.prepare("minires", workload, threads=1)
    step()
    step()


def test_a_race_has_a_time_for_each_turn():
    told = []
    results = race.race(["minires"], SMALL[:1], threads=1, turns=3, tell=told.append)
    assert told == results and len(results[0].times["minires"]) == 3 and not results[0].failed
    assert results[0].as_dict()["milliseconds"]["minires"] > 0


def test_a_contender_that_dies_between_turns_leaves_no_half_of_its_times():
    answers = [{"seconds": 1}, {"times": [1.0]}, {"times": [1.0]}, {"error": "the process ended"}]

    class Dies:
        def ask(self, **request):
            return answers.pop(0)

    result = race.Result(SMALL[0])
    race._take_turns(result, {"dezero": Dies()}, turns=3)
    assert result.times == {} and result.failed == {"dezero": "the process ended"}


def test_ratios_are_taken_within_a_turn():
    result = race.Result(SMALL[0], {"minires": [1.0, 10.0, 2.0], "torch eager": [2.0, 20.0, 6.0]})
    assert result.ratio("torch eager") == 2.0 and result.best_torch == "torch eager"


def test_a_contender_that_fails_is_reported():
    results = race.race(["minires"], [Workload("infer", "no such model", 1)], 1, 1, lambda result: None)
    assert "there is no model" in results[0].failed["minires"]


def test_the_operations_of_a_convolution():
    assert Workload("ops", "", 2, 8, 0, 3, 5, kernel=3, stride=2).operations == 2 * 2 * 4 * 4 * 3 * 5 * 9


def test_wrong_names_say_what_there_is():
    with pytest.raises(ArgumentError, match="it may name torch and dezero"):
        contenders.available("caffe")
    with pytest.raises(ArgumentError, match="no workload's name contains 'zebra'; there are: train"):
        workloads.workloads("train", "zebra")


def test_the_command_prints_a_table_and_writes_json(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(workloads, "INFER", SMALL[:1])
    assert main(["bench", "infer", "--turns", "1", "--threads", "1", "--json", str(tmp_path / "b.json")]) == 0
    assert "infer resnet8, 2x16x16" in capsys.readouterr().out
    content = json.loads((tmp_path / "b.json").read_text())
    assert content["threads"] == 1 and content["results"][0]["milliseconds"]["minires"] > 0
    assert main(["bench", "ops", "--only", "nothing"]) == 2
