"""The figures are drawn for any numbers, with all text inside the figure, and without pyplot."""

import subprocess
import sys

import numpy as np
import pytest

import minires as mr
from minires.explain import responses_figure

INF, NAN = float("inf"), float("nan")
SERIES = {
    "one": [1.0],
    "zeros": [0.0] * 4,
    "far apart": [1e-30, 1e30, 1.0],
    "not finite": [INF, NAN, 1.0],
    "nothing finite": [NAN, NAN],
    "not measured": [None, None],
    "many": list(np.linspace(1, 2, 200)),
}


@pytest.fixture(params=SERIES.values(), ids=SERIES)
def series(request):
    return request.param


def flow_of(series):
    numbers = [0.0 if number is None else number for number in series]
    return mr.explain.Flow("Net", [
        {"layer": f"layer{i}.conv", "activation_norm": number, "gradient_norm": series[i], "weight_norm": number,
         "weight_gradient_norm": series[i]} for i, number in enumerate(numbers)
    ])  # fmt: skip


def responses_of(series):
    numbers = [0.0 if number is None else number for number in series]
    return mr.explain.Responses("Net", [
        {"layer": f"layer{i}.conv", "norm": "bn", "std": number, "shortcut_std": series[i]}
        for i, number in enumerate(numbers)
    ])  # fmt: skip


def lesion_of(count, several=False):
    intact = {"count": 0, "removed": "", "reads": "", "gives": "", "error_percent": 3.0, "loss": 0.1}
    single = [
        {"count": 1, "removed": f"layer{i}.0", "reads": "8x4", "gives": "8x4" if i % 3 else "16x2",
         "error_percent": 100.0, "loss": INF} for i in range(count)
    ]  # fmt: skip
    more = [{**intact, "count": 2, "removed": "a b", "error_percent": 50.0 + i} for i in range(3 * several)]
    return mr.explain.Lesion("Net", [intact, *single, *more], 90.0)


def written_inside(figure):
    """Check that no title, label or legend is cut off."""
    figure.draw_without_rendering()
    boxes = [axes.get_tightbbox() for axes in figure.axes] + [figure._suptitle.get_window_extent()]
    boxes += [legend.get_window_extent() for legend in figure.legends]
    return all(
        b.x0 >= -1 and b.y0 >= -1 and b.x1 <= figure.bbox.width + 1 and b.y1 <= figure.bbox.height + 1 for b in boxes
    )


def test_flow_and_responses_of_any_numbers(series):
    assert written_inside(flow_of(series).figure())
    assert written_inside(responses_of(series).figure("$a title that is no formula"))
    assert written_inside(responses_figure({f"plain{i}": responses_of(series) for i in range(9)}, "Networks"))


@pytest.mark.parametrize("count", [1, 3, 27, 54])
@pytest.mark.parametrize("several", [False, True])
def test_lesion_of_any_number_of_blocks(count, several):
    figure = lesion_of(count, several).figure()
    assert len(figure.axes) == 1 + several and written_inside(figure)
    assert len(figure.axes[0].patches) == count


def test_swap():
    rows = [
        {"count": c, "kendall_tau": 1 - c / 10, "order": "a b", "error_percent": 9.0 * c, "loss": 1.0} for c in range(9)
    ]
    figure = mr.explain.Swap("Net", rows, 90.0).figure()
    assert written_inside(figure) and figure.axes[0].get_xlim()[0] > 1 > figure.axes[0].get_xlim()[1]


def test_a_figure_says_what_it_shows():
    figure = lesion_of(3).figure()
    assert figure._suptitle.get_text() == "Net: error without some of its blocks"
    assert lesion_of(3).figure("resnet20 on digits")._suptitle.get_text() == "resnet20 on digits"
    for axes in (*figure.axes, *flow_of([1.0]).figure().axes, *responses_of([1.0]).figure().axes):
        assert axes.get_ylabel()


def test_pyplot_is_left_alone_and_matplotlib_unread_until_there_is_a_figure():
    code = """
import sys
import minires as mr
result = mr.explain.Responses("Net", [{"layer": "fc", "norm": None, "std": 1.0, "shortcut_std": None}])
assert "matplotlib" not in sys.modules
result.figure()
assert "matplotlib.pyplot" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)
