"""The page of results agrees with the files, and can be filled from them."""

import importlib.util
import json
from dataclasses import asdict
from pathlib import Path

import pytest

from minires.bench.machine import Peak
from minires.bench.measure import RaceResult
from minires.bench.workloads import Workload

ROOT = Path(__file__).parents[2]


@pytest.fixture
def tables(tmp_path, monkeypatch):
    """The script, set to write to a page and a folder of the test."""
    spec = importlib.util.spec_from_file_location("tables", ROOT / "benchmarks" / "tables.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    page = tmp_path / "performance.md"
    page.write_text(f"before\n{module.BEGIN}\nold\n{module.END}\nafter\n")
    monkeypatch.setattr(module, "PAGE", page)
    monkeypatch.setattr(module, "IMAGES", tmp_path)
    return module


@pytest.fixture
def content():
    train = RaceResult(Workload("train", "resnet20", 128), {"minires": [0.1], "torch compile": [0.15], "dezero": [4.4]})
    times = {"minires": [0.002], "torch frozen": [0.004], "openvino": [0.003]}
    infer = RaceResult(Workload("infer", "resnet20", 1), times)
    alone = RaceResult(Workload("infer", "resnet56", 1), {"minires": [0.006]})
    conv = Workload("ops", "", 2, 8, 0, 3, 5, direction="grad_input")
    row = {"phase": "forward", "calls": 38, "moves": True, "bytes": 10**9, "device": "cpu"}
    step = {"name": "train resnet20, 128x32x32", "workload": asdict(train.workload)}
    return {
        "cpu": "A CPU", "cores": 2, "vector_bits": 256, "system": "Linux x86_64", "blas": "openblas 0.3", "threads": 2,
        "turns": 7, "versions": {"minires": "0.1.0", "torch": "2.13", "dezero": None},
        "peak": {"2": {"operations": 2e11, "bytes": 3e10}},
        "results": [
            train.as_dict(), infer.as_dict(), alone.as_dict(),
            RaceResult(conv, {"minires": [1e-6], "torch eager": [2e-6]}, peak=Peak(1e11, 1e10)).as_dict(),
        ],
        "memory": [{**step, "of": {"minires": {"peak": 1412.4, "images": 250}}, "failed": {}}],
        "profile": [
            {
                **step, "steps": 2, "peak": {"operations": 2e11, "bytes": 3e10},
                "rows": [
                    {**row, "op": "conv2d", "seconds": 0.4, "operations": 4 * 10**10},
                    {**row, "op": "add", "seconds": 0.1, "operations": 0},
                    {**row, "op": "sum", "seconds": 1e-6, "operations": 0},
                ],
            }
        ],
    }  # fmt: skip


def test_every_number_of_a_file_is_on_the_page(tables, content, tmp_path):
    (tmp_path / "a-cpu.json").write_text(json.dumps(content))
    assert tables.main([str(tmp_path / "a-cpu.json")]) == 0
    page = tables.PAGE.read_text()
    assert (
        page.startswith(f"before\n{tables.BEGIN}\n") and page.endswith(f"{tables.END}\nafter\n") and "old" not in page
    )
    lines = page.splitlines()
    for line in (
        "### a-cpu",
        "A CPU, 2 cores, 256-bit vectors, Linux x86_64; 2 threads, 1 turn.",
        "Measured peak, 2 threads: 200 GFLOP/s, 30.0 GB/s.",
        "minires 0.1.0, torch 2.13; BLAS of NumPy: openblas 0.3.",
        "|  | minires, ms | torch compile, ms | dezero, ms | ratio | to |",
        "| resnet20, 128x32x32 | 100 | 150 | 4,400 | **1.50** | torch compile |",
        "|  | minires, ms | torch frozen, ms | openvino, ms | ratio | to |",
        "| resnet20, 1x32x32 | 2.00 | 4.00 | 3.00 | **1.50** | openvino |",
        "| resnet56, 1x32x32 | 6.00 | - | - | - | - |",
        # 2 * 2*8*8 * 3*5 * 9 operations in a microsecond
        "| conv 3x3 3-5, 2x8x8 | input gradient | 0.001 | 0.002 | **2.00** | 34.6 | 35 % |",
        "| resnet20, 128x32x32 | minires | 1,412 | 250 |",
        "| conv2d forward | 19 | 200 | 80.0 % | 100 | 2.50 | 50 % compute |",
        "| add forward | 19 | 50.0 | 20.0 % | - | 10.0 | 33 % memory |",
    ):
        assert line in lines
    assert "sum forward" not in page  # takes no time
    for name in ("a-cpu-chart.png", "a-cpu-roofline.png"):
        assert f"(images/{name})" in page and (tmp_path / name).exists()


def test_a_page_that_is_not_what_the_files_say_is_found(tables, content, tmp_path):
    (tmp_path / "a-cpu.json").write_text(json.dumps(content))
    assert tables.main(["--check", str(tmp_path / "a-cpu.json")]) == 1 and "old" in tables.PAGE.read_text()
    tables.main([str(tmp_path / "a-cpu.json")])
    assert tables.main(["--check", str(tmp_path / "a-cpu.json")]) == 0


def test_without_files_the_region_is_empty(tables):
    assert tables.fill(tables.PAGE.read_text(), "") == f"before\n{tables.BEGIN}\n\n\n\n{tables.END}\nafter\n"
    with pytest.raises(SystemExit, match="has no region"):
        tables.fill("nothing", "")


@pytest.mark.parametrize(
    ("value", "text"), [(None, "-"), (0.1234, "0.123"), (1.234, "1.23"), (12.34, "12.3"), (1234.5, "1,234")]
)
def test_numbers_have_three_digits(tables, value, text):
    assert tables.number(value) == text


def test_the_real_page_is_what_the_results_say():
    """After a new measurement, the script has to be run."""
    spec = importlib.util.spec_from_file_location("tables", ROOT / "benchmarks" / "tables.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.main(["--check"]) == 0
