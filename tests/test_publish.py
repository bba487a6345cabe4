"""The pages of docs/results agree with the files of the runs and keep what was written by hand."""

import importlib.util
import json
import os
import re
import statistics
import sys
from pathlib import Path

import pytest

from minires.training.comparison import COLUMNS

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "docs" / "results"


@pytest.fixture(scope="module")
def publish():
    spec = importlib.util.spec_from_file_location("publish", ROOT / "experiments" / "publish.py")
    module = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "publish", module)  # a dataclass looks for its module
        spec.loader.exec_module(module)
    return module


def write_run(folder, model="resnet8", seed=0, error=3.0, resumed=False, **settings):
    """The files of a `minires train` that are published. The figures are not real PNG files."""
    folder.mkdir(parents=True)
    config = {"model": model, "data": "digits", "epochs": 3, "seed": seed, "lr": 0.2, "out": str(folder), **settings}
    metrics = {
        "model": model, "data": "digits", "epochs": 3, "seed": seed, "test_error_percent": error, "parameters": 75002,
        "train_seconds": 100.0, "images_per_second": 1234.5, "minires": "0.1.0", "out": str(folder),
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "metrics.json").write_text(json.dumps(metrics))
    (folder / "history.csv").write_text("epoch,train_accuracy\n3,0.5\n")
    for name in ("curves.png", "confusion.png", "model.safetensors"):
        (folder / name).write_bytes(b"\x89PNG")
    os.utime(folder / "config.json", (1_800_000_000, 1_800_000_000))  # 2027-01-15
    os.utime(folder / "metrics.json", (1_800_000_000 + (20 if resumed else 125),) * 2)
    return folder


def rows_of(page):
    """The first table of a page, as dicts."""
    lines = [line for line in page.split("\n\n## Settings")[0].splitlines() if line.startswith("|")]
    columns, _, *rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return [dict(zip(columns, row, strict=True)) for row in rows]


def test_two_seeds(publish, tmp_path):
    runs = [write_run(tmp_path / f"s{seed}", seed=seed, error=error) for seed, error in ((0, 3.0), (1, 4.5))]
    to = tmp_path / "results" / "digits"
    assert publish.main([*map(str, runs), "--to", str(to), "--commit", "abc"]) == 0
    page = (to / "README.md").read_text()
    first, second, mean = rows_of(page)
    for row, run in ((first, runs[0]), (second, runs[1])):
        metrics = json.loads((to / run.name / "metrics.json").read_text())
        assert row["run"] == f"[{run.name}]({run.name}/metrics.json)"
        assert (row["network"], int(row["seed"]), int(row["epochs"])) == ("resnet8", metrics["seed"], 3)
        assert float(row["test error, %"]) == metrics["test_error_percent"]
        assert int(row["parameters"].replace(",", "")) == metrics["parameters"]
        assert (row["training time"], row["wall time"], row["images/s"]) == ("1:40", "2:05", "1,234")
    assert mean["test error, %"] == f"**3.75 ± {statistics.stdev([3.0, 4.5]):.2f}**"
    assert "| `lr` | 0.2 | 0.1 |" in page and "| `seed` | 0, 1 | 0 |" in page and "`momentum`" not in page
    assert "minires train --model resnet8 --epochs 3 --lr 0.2\nminires train" in page
    assert "commit abc" in page and "finished on 2027-01-15." in page
    assert "![Loss and scores of resnet8 over the epochs](s0/curves.png)" in page

    index = (tmp_path / "results" / "README.md").read_text()
    assert "| [digits](digits/README.md) | 2 | test error, % | resnet8 3.75 ± 1.06 |\n" in index
    copied = [path for path in to.rglob("*") if path.is_file()]
    assert {path.name for path in (to / "s0").iterdir()} == {
        "config.json", "metrics.json", "history.csv", "curves.png", "confusion.png", "published.json",
    }  # fmt: skip
    assert not [path for path in copied if str(tmp_path).encode() in path.read_bytes()], "no path of this machine"


def test_what_is_written_by_hand_stays_and_a_later_run_is_added(publish, tmp_path):
    to = tmp_path / "results" / "digits"
    to.mkdir(parents=True)
    about = "# Digits, quickly\n\nThree epochs. The published test error is 3.5 %.\n"
    (to / "about.md").write_text(about)
    assert publish.main([str(write_run(tmp_path / "s0", error=3.0)), "--to", str(to)]) == 0
    page = (to / "README.md").read_text()
    assert page.startswith(about) and "**mean**" not in page and "wall time was" not in page
    index = (tmp_path / "results" / "README.md").read_text()
    assert "| [Digits, quickly](digits/README.md) | 1 | test error, % | resnet8 3.00 |\n" in index
    assert publish.main([str(write_run(tmp_path / "s1", seed=1, error=4.5, resumed=True)), "--to", str(to)]) == 0
    page = (to / "README.md").read_text()
    earlier, later, mean = rows_of(page)
    assert page.startswith(about) and (earlier["seed"], later["seed"]) == ("0", "1")
    assert (earlier["wall time"], later["wall time"]) == ("2:05", "-")
    assert "\n\nA run without a wall time was stopped and resumed.\n\n" in page
    assert mean["test error, %"] == "**3.75 ± 1.06**"
    assert (to / "about.md").read_text() == about
    index = (tmp_path / "results" / "README.md").read_text()
    assert "| [Digits, quickly](digits/README.md) | 2 | test error, % | resnet8 3.75 ± 1.06 |\n" in index

    (to / "about.md").write_text("# Another title\n")
    assert publish.main(["--to", str(to)]) == 0
    assert (to / "README.md").read_text().startswith("# Another title\n\n## Results")
    assert "[Another title](digits/README.md)" in (tmp_path / "results" / "README.md").read_text()


def test_a_windows_path_is_cut_to_its_last_part(publish, tmp_path):
    to = tmp_path / "results" / "pets"
    assert publish.main([str(write_run(tmp_path / "s0", data=r"C:\Users\ada\pets")), "--to", str(to)]) == 0
    assert json.loads((to / "s0" / "config.json").read_text())["data"] == "./pets"


def test_settings_that_differ_are_not_averaged(publish, tmp_path):
    to = tmp_path / "results" / "pets"
    pets = {"data": str(tmp_path / "pets")}
    runs = [write_run(tmp_path / f"new-seed{seed}", seed=seed, error=6.0, **pets) for seed in (0, 1)]
    pets["weights"] = str(tmp_path / "source")
    runs += [write_run(tmp_path / f"tuned-seed{seed}", seed=seed, error=3.0 + seed, **pets) for seed in (0, 1)]
    assert publish.main([*map(str, runs), "--to", str(to), "--no-figures"]) == 0
    page = (to / "README.md").read_text()
    means = {row["network"]: row["test error, %"] for row in rows_of(page) if row["run"] == "**mean**"}
    assert means == {"new": "**6.00 ± 0.00**", "tuned": f"**3.50 ± {statistics.stdev([3.0, 4.0]):.2f}**"}
    index = (tmp_path / "results" / "README.md").read_text()
    assert "| [pets](pets/README.md) | 4 | test error, % | new 6.00 ± 0.00, tuned 3.50 ± 0.71 |\n" in index
    assert "--data ./pets --epochs 3 --lr 0.2 --seed 1 --from ./source\n" in page
    assert not list(to.rglob("*.png")) and "curves.png" not in page
    assert not [path for path in to.rglob("*.*") if str(tmp_path) in path.read_text()], "no path of this machine"


def test_a_comparison(publish, tmp_path):
    both = tmp_path / "both"
    cells = {
        "depth": 8, "parameters": 75002, "epochs": 3, "train_loss": 1, "train_error_percent": 1.25, "test_loss": 1,
        "last_epoch_train_loss": 1, "last_epoch_train_error_percent": 2.5, "gradient_ratio_first_epoch": 1.5,
        "gradient_ratio_last_epoch": 1, "train_seconds": 100,
    }  # fmt: skip
    lines = [",".join(COLUMNS)]
    for model, error in (("plain8", 6.0), ("resnet8", 4.0)):
        write_run(both / model, model=model, error=error)
        lines.append(",".join(str({**cells, "model": model, "test_error_percent": error}[name]) for name in COLUMNS))
    (both / "compare.csv").write_text("\n".join(lines) + "\n")
    for name in ("compare.png", "gradients.png"):
        (both / name).write_bytes(b"\x89PNG")
    to = tmp_path / "results" / "digits"
    assert publish.main([str(both), "--to", str(to)]) == 0
    page = (to / "README.md").read_text()
    assert "| plain8 | 1.25 | 2.50 | 6.00 | 1.5 |" in page and "| resnet8 | 1.25 | 2.50 | 4.00 | 1.5 |" in page
    assert (
        "- With 8 layers, the network with shortcuts has a lower test error: 4.0 %, compared with 6.0 % without."
        in page
    )
    assert "```sh\nminires compare --depths 8 --epochs 3 --lr 0.2\n```" in page
    for link in re.findall(r"\]\(([^)]+)\)", page):
        assert (to / link).exists(), link


def test_what_cannot_be_published(publish, tmp_path, capsys):
    run = write_run(tmp_path / "run")
    (run / "metrics.json").unlink()
    assert publish.main([str(run), "--to", str(tmp_path / "results" / "x")]) == 1
    assert "is not a complete run: it has no metrics.json" in capsys.readouterr().err
    (tmp_path / "README.md").write_text("# A project\n")
    for words in (["--to", str(tmp_path / "results")], ["--to", str(tmp_path / "results" / "nothing")]):
        with pytest.raises(SystemExit):
            publish.main(words)
    errors = capsys.readouterr().err
    assert "is not an index of results; choose a --to below docs/results." in errors
    assert "holds no published runs; name some to publish." in errors
    assert (tmp_path / "README.md").read_text() == "# A project\n"


@pytest.mark.parametrize(("seconds", "text"), [(7.4, "0:07"), (59.6, "1:00"), (750, "12:30"), (3723, "1:02:03")])
def test_duration(publish, seconds, text):
    assert publish.duration(seconds) == text


def test_the_pages_of_this_repository(publish):
    folders = {RESULTS / path.relative_to(RESULTS).parts[0] for path in RESULTS.rglob("published.json")}
    for folder in folders:
        assert (folder / "README.md").read_text(encoding="utf-8") == publish.page(folder)
    if folders:
        assert (RESULTS / "README.md").read_text(encoding="utf-8") == publish.index(RESULTS)
