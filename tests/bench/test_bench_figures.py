"""The figures show the numbers of the file. How they look is not tested."""

from dataclasses import asdict

import pytest

from minires.bench import figures
from minires.bench.measure import RaceResult
from minires.bench.workloads import DIRECTIONS, Workload
from minires.errors import ArgumentError

PNG = b"\x89PNG"


def content(*results, **more):
    machine = {"cpu": "A CPU", "threads": 2, "versions": {"torch": "2.0", "openvino": "2026.4"}}
    return {**machine, "results": [result.as_dict() for result in results], **more}


def raced(workload, ratio, best="torch compile"):
    return RaceResult(workload, {"minires": [0.1], best: [0.1 * ratio], "torch eager": [9.0]})


MODELS = [raced(Workload("train", "resnet20", 128), 1.5), raced(Workload("infer", "resnet20", 1), 0.5, "openvino")]
CONVS = [raced(Workload("ops", "", 2, 8, 0, 3, 5, direction=direction), 1.2) for direction in DIRECTIONS]


@pytest.mark.parametrize("results", [MODELS + CONVS, MODELS, CONVS], ids=["both", "models", "convs"])
def test_the_chart_is_drawn(results, tmp_path):
    figures.chart(content(*results), tmp_path / "c.png")
    assert (tmp_path / "c.png").read_bytes().startswith(PNG)


def test_bars_are_ratios_and_say_both_times():
    axes = figures.new_figure(5, 5).subplots()
    figures._bars(axes, content(*MODELS)["results"])
    assert [bar.get_width() for bar in axes.patches] == pytest.approx([1.5, 0.5])
    said = [text.get_text() for text in axes.texts]
    assert said == ["1.50   100 ms, torch compile 150", "0.50   100 ms, openvino 50.0"]
    names = [label.get_text() for label in axes.get_yticklabels()]
    assert names == ["training step, resnet20, 128x32x32", "inference, resnet20, 1x32x32"]


def test_a_line_for_each_convolution():
    shapes = figures._by_shape(content(*CONVS)["results"])
    assert list(shapes) == ["conv 3x3 3-5, 2x8x8"] and len(shapes["conv 3x3 3-5, 2x8x8"]) == 3


def row(op, seconds, operations=0, moved=10**9, **more):
    return {"op": op, "phase": "forward", "seconds": seconds, "operations": operations, "bytes": moved, "moves": True,
            **more}  # fmt: skip


def test_where_a_dot_stands():
    """Two operations per byte in half a second; if operations are not counted, one for each number of four bytes."""
    assert figures._place(row("conv2d", 0.5, 2 * 10**9)) == (2.0, 4e9)
    assert figures._place(row("add", 0.5)) == (0.25, 0.5e9)


def test_the_roofline_is_drawn(tmp_path):
    rows = [row("conv2d", 0.5, 10**11), row("add", 0.1), row("pad", 0.1), row("getitem", 0.1, moves=False)]
    rows += [row("nothing", 0.0, moved=0)]
    workload = asdict(Workload("train", "resnet20", 128))
    profile = [{"rows": rows, "workload": workload, "peak": {"operations": 2e11, "bytes": 3e10}}]
    figures.roofline(content(profile=profile), tmp_path / "r.png")
    assert (tmp_path / "r.png").read_bytes().startswith(PNG)


def test_without_figures_there_is_nothing_to_draw(tmp_path):
    with pytest.raises(ArgumentError, match="no race with others"):
        figures.chart(content(RaceResult(Workload("train", "resnet20"), {"minires": [1.0]})), tmp_path / "c.png")
    for given in (content(), content(profile=[{"peak": None}])):
        with pytest.raises(ArgumentError, match="no profile with measured peaks"):
            figures.roofline(given, tmp_path / "r.png")
    assert not list(tmp_path.iterdir())
