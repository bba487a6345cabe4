"""The tutorials keep within their limits, the notebooks match their sources, and the solutions are right."""

from __future__ import annotations

import base64
import importlib
import json
import re
import textwrap
from pathlib import Path

import matplotlib
import pytest

from minires.course.release import as_notebook

TUTORIALS = Path(__file__).parents[2] / "tutorials"
SOURCES = sorted(TUTORIALS.glob("[0-9][0-9]_*.py"))
BEGIN, END = "### BEGIN SOLUTION\n", "### END SOLUTION"

pytestmark = pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.stem)


def cells(source, kind=None):
    """The cells of the notebook next to a source."""
    notebook = json.loads(source.with_suffix(".ipynb").read_text(encoding="utf-8"))
    return [cell for cell in notebook["cells"] if kind in (None, cell["cell_type"])]


def text(cell):
    return "".join(cell["source"])


def prose(source):
    return "\n".join(map(text, cells(source, "markdown")))


def outputs(source):
    return [output for cell in cells(source, "code") for output in cell["outputs"]]


def solutions(source):
    """The code of the folded solutions, by number."""
    found = re.findall(
        r"<details><summary>Solution (\d+\.\d)</summary>\n\n```python\n(.*?)```.*?</details>", prose(source), re.DOTALL
    )
    return dict(found)


def exercises(source):
    """The code cells of the exercises, by number."""
    return {number: cell for cell in cells(source, "code") for number in re.findall(r'check\("(.*?)"', text(cell))}


def test_cells_words_and_lines_are_within_the_budget(source):
    words = re.sub(r"```.*?```|</?(details|summary)>", "", prose(source), flags=re.DOTALL).split()
    lines = [line for cell in cells(source, "code") for line in text(cell).splitlines() if line.strip()]
    assert len(cells(source)) <= 45
    assert len(words) <= 900
    assert len(lines) <= 250


def test_figures_are_small(source):
    figures = [output["data"] for output in outputs(source) if "data" in output]
    images = [base64.b64decode(data["image/png"]) for data in figures if "image/png" in data]
    pages = ["".join(data["text/html"]) for data in figures if "text/html" in data]
    assert images
    assert max(map(len, [*images, *pages])) <= 100_000


def test_no_cell_failed_or_printed_a_warning(source):
    bad = [output for output in outputs(source) if output["output_type"] == "error" or output.get("name") == "stderr"]
    assert not bad
    assert all(cell["execution_count"] for cell in cells(source, "code"))


def test_the_notebook_is_that_of_its_source(source):
    expected = json.loads(as_notebook(source.read_text(encoding="utf-8")))["cells"]
    found = [(cell["cell_type"], text(cell)) for cell in cells(source)]
    assert found == [(cell["cell_type"], text(cell)) for cell in expected], "run python tutorials/build.py"


def test_jupytext_reads_the_source_as_the_same_cells(source):
    jupytext = pytest.importorskip("jupytext", reason="jupytext is not installed")
    expected = [(cell.cell_type, cell.source) for cell in jupytext.read(source).cells]
    assert [
        (cell["cell_type"], text(cell)) for cell in json.loads(as_notebook(source.read_text()))["cells"]
    ] == expected


def test_the_first_paragraph_names_the_final_figure_and_each_figure_has_its_sentence(source):
    first = text(cells(source)[0])
    assert "last figure shows" in first and first.count("**") == 2
    assert "You should see" in prose(source)


def test_every_exercise_can_be_written_and_has_a_folded_solution(source):
    number = str(int(source.name[:2]))
    asked = exercises(source)
    assert asked.keys() == solutions(source).keys()
    assert list(asked) == [f"{number}.{i}" for i in range(1, len(asked) + 1)]
    for cell in asked.values():
        assert text(cell).count(BEGIN) == text(cell).count(END) == 1


def with_solution(code, solution):
    """The code of a cell with a solution between its marks."""
    before, after = code.split(BEGIN)
    indent = re.search(r" *$", before).group()
    return before + "\n" + textwrap.indent(textwrap.dedent(solution), indent) + indent + after


@pytest.mark.slow
def test_it_runs_with_the_solutions_and_they_are_right(source, monkeypatch, capsys):
    """In a short version, from start to end, and warnings are errors."""
    monkeypatch.setenv("FAST", "1")
    matplotlib.use("Agg")
    pyplot = importlib.import_module("matplotlib.pyplot")
    monkeypatch.setattr(pyplot, "show", lambda: pyplot.close("all"))
    monkeypatch.chdir(TUTORIALS)
    answers = solutions(source)
    names = {}
    for cell in cells(source, "code"):
        code = text(cell)
        if asked := re.findall(r'check\("(.*?)"', code):
            code = with_solution(code, answers[asked[0]])
        exec(compile(code, source.name, "exec"), names)
    printed = capsys.readouterr().out
    assert [number for number in answers if f"{number}: right. " not in printed] == []
