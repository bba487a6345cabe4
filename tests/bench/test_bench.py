"""The benchmark measures what it says. No test depends on how long something takes."""

import gc
import json
from dataclasses import replace
from functools import partial
from typing import ClassVar

import numpy as np
import pytest

import minires as mr
from minires.bench import contenders, measure, worker, workloads
from minires.bench.machine import Peak
from minires.bench.workloads import Workload
from minires.cli.main import main
from minires.errors import ArgumentError, MiniresError

SMALL = [
    Workload("infer", "resnet8", 2, 16),
    Workload("train", "resnet8", 2, 16),
    *(Workload("ops", "", 2, 9, 0, 16, 32, direction=direction) for direction in workloads.DIRECTIONS),
]
VISION = [Workload("train", "fcos_resnet18", 2, 64, 3), Workload("train", "deeplabv3plus_resnet18", 2, 48, 4)]


@pytest.mark.parametrize("workload", SMALL, ids=lambda w: w.name)
def test_minires_does_every_kind_of_workload(workload, device):
    step = contenders.prepare("minires", replace(workload, device=device), threads=1)
    step()
    step()


@pytest.mark.parametrize("workload", VISION, ids=lambda w: w.name)
def test_minires_trains_a_detector_and_a_segmentation_network_on_the_cpu(workload):
    step = contenders.prepare("minires", workload, threads=1)
    assert contenders.as_array(step()) > contenders.as_array(step()) > 0
    trained = workloads.workloads("train")
    assert {one.method for one in trained} == {"", *contenders.METHODS}
    assert {one.method for one in workloads.workloads("train", device="cuda")} == {""}


@pytest.mark.parametrize("workload", SMALL[:2], ids=lambda w: w.name)
def test_minires_does_it_as_a_cuda_graph(workload, cuda):
    step = contenders.prepare(contenders.GRAPH, replace(workload, size=8, device="cuda"), threads=1)
    for _ in range(4):
        step()


def test_what_is_about_the_cpu_is_not_measured_on_a_gpu(cuda, capsys):
    assert main(["bench", "memory", "--device", "cuda"]) == 2
    assert "memory is measured on the CPU only" in capsys.readouterr().err


def test_on_a_gpu_there_are_other_workloads_and_a_graph():
    assert contenders.available("", "cuda") == ["minires", "minires graph"]
    names = [workload.name for workload in workloads.workloads("train", device="cuda")]
    assert "train resnet20, 128x32x32, cuda" in names and "train resnet50, 64x224x224, cuda" in names
    times = {"minires": [2.0], "minires graph": [1.0], "torch eager": [3.0]}
    found = measure.RaceResult(SMALL[0], times).as_dict()
    assert found["best_other"] == "torch eager" and found["graph_ratio"]["torch eager"] == 3.0


def logits_of(contender, workload):
    step = contenders.prepare(contender, workload, threads=1)
    return contenders.as_array(step()).copy()  # OpenVINO's are gone when the step is


@pytest.mark.parametrize("model", ["resnet8", pytest.param("resnet50", marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    ("contender", "package"),
    [
        ("minires", "minires"),
        pytest.param("torch eager", "torch", marks=pytest.mark.parity),
        pytest.param("torch channels-last", "torch", marks=pytest.mark.parity),
        ("onnxruntime", "onnxruntime"),
        ("openvino", "openvino"),
    ],
)
def test_all_contenders_compute_the_same_logits(contender, package, model):
    pytest.importorskip(package, reason=f"{package} is not installed")
    workload = Workload("infer", model, 3, 32, 7)
    images, _ = contenders._images(workload)
    with mr.engine("textbook"), mr.no_grad():
        expected = contenders._network(workload).eval()(mr.tensor(images)).numpy()
    found = logits_of(contender, workload)
    assert found.shape == (3, 7)
    measure.compare({"textbook": expected, contender: found}, contender, measure.TOLERANCE["cpu"])


@pytest.mark.parity
@pytest.mark.parametrize("workload", [SMALL[1], *VISION], ids=lambda w: w.name)
def test_minires_and_pytorch_take_the_same_steps(workload):
    pytest.importorskip("torch", reason="PyTorch is not installed")
    losses = {}
    for contender in ("minires", *contenders.TORCH[:2]):
        step = contenders.prepare(contender, workload, threads=1)
        losses[contender] = np.array([contenders.as_array(step()).item() for _ in range(2)])  # the second: gradients
        measure.compare(losses, contender, measure.TOLERANCE["cpu"], "train")
    assert abs(losses["minires"][1] / losses["minires"][0] - 1) > 0.001  # a step changes far more than the tolerance


@pytest.mark.parity
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of PyTorch's own code
def test_a_frozen_network_has_no_batch_norm_left():
    pytest.importorskip("torch", reason="PyTorch is not installed")
    from torch._dynamo.utils import counters

    for contender, folded in (("torch compile", 0), ("torch frozen", 7 * 4)):  # steps of 7 batch norms
        counters.clear()
        logits = {name: logits_of(name, SMALL[0]) for name in ("minires", contender)}
        measure.compare(logits, contender, measure.TOLERANCE["cpu"])
        assert counters["inductor"]["binary_folding_conv"] == folded


def test_logits_of_another_network_are_not_accepted():
    model = contenders._network(SMALL[0]).eval()
    images = mr.tensor(contenders._images(SMALL[0])[0])
    expected = model(images).numpy()
    model.layer3[0].bn2.eps = 1e-3  # as in other frameworks
    logits = {"minires": expected, "eps": model(images).numpy(), "shape": expected[:1], "nan": expected * np.nan}
    measure.compare(logits, "minires", 0)
    for contender, said in (
        ("eps", "its logits differ from those of minires by 0.00.* of the largest; 0.0001 is allowed"),
        ("shape", "its logits are 1x10, those of minires 2x10"),
        ("nan", "differ from those of minires by nan"),
    ):
        with pytest.raises(MiniresError, match=said):
            measure.compare(logits, contender, measure.TOLERANCE["cpu"])
    with pytest.raises(MiniresError, match="its losses differ from those of minires by"):
        measure.compare({"minires": np.array(2.0), "other": np.array(3.0)}, "other", 1e-4, "train")


def test_a_contender_with_other_logits_fails_and_is_not_timed():
    asked = []

    class Knows:
        def __init__(self, logits):
            self.logits = logits

        def ask(self, method, **arguments):
            asked.append((self.logits, method))
            return {"prepare": None, "result": self.logits, "run": [1.0]}[method]

    result = measure.RaceResult(SMALL[0])
    measure.take_turns(result, {"minires": Knows([[1.0, 2.0]]), "openvino": Knows([[1.0, 2.1]])}, turns=1)
    assert list(result.times) == ["minires"] and list(result.failed) == ["openvino"]
    assert [method for logits, method in asked if logits == [[1.0, 2.1]]] == ["prepare", "result"]


@pytest.mark.slow
def test_a_race_has_a_time_for_each_turn():
    result = measure.race(["minires"], SMALL[0], threads=1, turns=3)
    assert len(result.times["minires"]) == 3 and not result.failed
    assert result.as_dict()["milliseconds"]["minires"] > 0


def test_a_contender_that_dies_between_turns_leaves_no_half_of_its_times():
    answers = [None, [[0.5]], [1.0], [1.0]]

    class Dies:
        def ask(self, method, **arguments):
            if not answers:
                raise MiniresError("the process ended")
            return answers.pop(0)

    result = measure.RaceResult(SMALL[0])
    measure.take_turns(result, {"dezero": Dies()}, turns=3)
    assert result.times == {} and result.failed == {"dezero": "the process ended"}


def test_ratios_are_taken_within_a_turn():
    result = measure.RaceResult(SMALL[0], {"minires": [1.0, 10.0, 2.0], "torch eager": [2.0, 20.0, 6.0]})
    assert result.ratio("torch eager") == 2.0


def test_minires_is_compared_with_the_fastest_other_contender():
    times = {"minires": [2.0], "torch eager": [6.0], "torch frozen": [4.0], "openvino": [3.0]}
    found = measure.RaceResult(SMALL[0], times).as_dict()
    assert found["best_other"] == "openvino"
    assert measure.best_other({"minires": 2.0}) is None


def test_who_can_run_what():
    rivals = [*contenders.TORCH, "onnxruntime", "openvino", "dezero"]
    for workload, expected in (
        (SMALL[0], [*contenders.TORCH, "onnxruntime", "openvino"]),
        (replace(SMALL[0], device="cuda"), contenders.TORCH),
        (SMALL[1], contenders.TORCH[:3]),
        (Workload("train", "resnet20", 128), [*contenders.TORCH[:3], "dezero"]),
        (SMALL[2], contenders.TORCH[:2]),
    ):
        assert [name for name in rivals if contenders.can_run(name, workload)] == list(expected)


def test_a_contender_that_fails_is_reported():
    result = measure.race(["minires"], Workload("infer", "no such model", 1), threads=1, turns=1)
    assert "ArgumentError: " in result.failed["minires"] and "there is no model" in result.failed["minires"]


def test_a_process_that_ends_is_an_error():
    with worker.Process("minires", 1) as process:
        process._process.kill()
        process._process.wait()
        with pytest.raises(MiniresError, match="the process ended"):
            process.ask("run", steps=1)


def test_the_operations_of_a_convolution():
    assert Workload("ops", "", 2, 8, 0, 3, 5, kernel=3, stride=2).operations == 2 * 2 * 4 * 4 * 3 * 5 * 9


def test_wrong_names_say_what_there_is():
    with pytest.raises(ArgumentError, match="choose from torch, dezero, onnxruntime, openvino"):
        contenders.available("caffe")
    with pytest.raises(ArgumentError, match="no workload has 'zebra' in its name; choose from: train"):
        workloads.workloads("train", "zebra")


def test_a_missing_package_says_how_to_install_it(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "openvino" else name)
    assert contenders.available("onnxruntime") == ["minires", "onnxruntime"]
    with pytest.raises(ArgumentError, match="openvino is not installed: pip install openvino"):
        contenders.available("onnxruntime, openvino")


def test_what_a_convolution_reaches():
    conv = Workload("ops", "", 2, 8, 0, 3, 5)
    result = measure.RaceResult(conv, {"minires": [1e-6, 3e-6, 2e-6], "torch eager": [4e-6] * 3}, peak=Peak(100e9, 1e9))
    operations = 2 * 2 * 8 * 8 * 3 * 5 * 9
    found = result.as_dict()
    assert found["gflops"] == pytest.approx({"minires": operations / 2e3, "torch eager": operations / 4e3})
    assert found["share_of_peak"]["minires"] == pytest.approx(operations / 2e-6 / 100e9)
    assert found["peak_gflops"] == 100 and found["best_other"] == "torch eager"
    assert "gflops" not in measure.RaceResult(SMALL[0], {"minires": [1.0]}).as_dict()


class Fake:
    """A process that returns prepared answers."""

    asked: ClassVar[list] = []  # of all of them

    def __init__(self, contender, threads, **environment):
        self.contender, self.threads, self.environment = contender, threads, environment

    def __enter__(self):
        return self

    def __exit__(self, *error):
        pass

    def ask(self, method, **arguments):
        Fake.asked.append((self.contender, self.threads, method, self.environment))
        if self.contender == "broken":
            raise MiniresError("no")
        if method == "memory":
            return 100_000_000 if arguments["reset"] else 350_000_000
        return [0.9 / self.threads] * arguments["steps"] if method == "run" else None


@pytest.fixture
def fake(monkeypatch):
    monkeypatch.setattr(measure, "Process", Fake)
    monkeypatch.setattr(measure, "PAUSE", 0)
    monkeypatch.setattr(Fake, "asked", [])


CONTENDERS = ["minires", "openvino", "broken"]  # OpenVINO does not train


def test_memory_in_all_and_beyond_a_batch_of_one(fake):
    found = measure.each(measure.memory, CONTENDERS, SMALL[1], 2)
    assert found["of"] == {"minires": {"peak": 350.0, "images": 250.0}} and found["failed"] == {"broken": "no"}
    methods = [method for name, _, method, _ in Fake.asked if name == "minires"]
    assert methods == ["prepare"] * 2 + ["prepare", "memory", "prepare", "run", "memory"]  # the first two compile


def test_scaling_is_one_thread_by_all(fake):
    found = measure.each(partial(measure.scaling, turns=2), CONTENDERS, SMALL[1], 3)
    assert found["of"] == {"minires": {"one": 900.0, "all": pytest.approx(300.0), "speedup": pytest.approx(3.0)}}
    assert found["failed"] == {"broken": "no"}


def test_the_first_start_and_a_later_one(monkeypatch, fake):
    clock = iter([0.0, 9.0, 10.0, 13.0, 20.0, 22.0])
    monkeypatch.setattr(measure.time, "perf_counter", lambda: next(clock, 0.0))
    found = measure.each(measure.start, CONTENDERS, SMALL[1], 1)
    assert found["of"] == {"minires": {"first": 9.0, "later": 2.0}} and found["failed"] == {"broken": "no"}
    folders = [(name, environment["NUMBA_CACHE_DIR"]) for name, _, _, environment in Fake.asked]
    assert len(folders) == 4 and len(set(folders)) == 2  # empty for each contender, the same for all its starts


@pytest.mark.skipif(not worker.Worker.memory(reset=False), reason="the system does not tell")
def test_memory_is_the_most_since_the_reset():
    gc.collect()  # otherwise, objects left by other tests may be freed meanwhile
    before = worker.Worker.memory(reset=True)
    ones = np.ones(16 << 20)  # 128 MB
    del ones
    assert worker.Worker.memory(reset=False) - before > 100_000_000


@pytest.fixture
def own_cache(monkeypatch, tmp_path):
    """Processes that measure the peak do not write to the user's cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


def test_the_machine_is_described(own_cache):
    found = measure.describe(1)
    assert found["cpu"] and found["cores"] >= 1 and found["versions"]["numpy"] == np.__version__
    assert set(found["versions"]) == {"minires", "python", *measure.PACKAGES}
    assert found["peak"] == {} or found["peak"]["1"]["operations"] > 1e8


@pytest.fixture
def a_machine(monkeypatch, own_cache):
    described = {"cpu": "A CPU", "versions": {"torch": None}, "threads": 1, "peak": {}}
    monkeypatch.setattr(measure, "describe", lambda threads, device: {**described, "threads": threads})


def test_the_command_prints_a_table_and_writes_json(tmp_path, capsys, monkeypatch, a_machine):
    monkeypatch.setattr(workloads, "INFER", SMALL[:1])
    assert main(["bench", "infer", "--turns", "1", "--threads", "1", "--json", str(tmp_path / "b.json")]) == 0
    assert "infer resnet8, 2x16x16" in capsys.readouterr().out
    content = json.loads((tmp_path / "b.json").read_text())
    assert content["threads"] == 1 and content["results"][0]["milliseconds"]["minires"] > 0
    assert main(["bench", "ops", "--only", "nothing"]) == 2


def test_convolutions_have_their_speed_and_share(tmp_path, capsys, monkeypatch, a_machine):
    monkeypatch.setattr(workloads, "OPS", SMALL[2:3])
    assert main(["bench", "ops", "--turns", "1", "--threads", "1", "--json", str(tmp_path / "b.json")]) == 0
    assert capsys.readouterr().out.splitlines()[0].split()[-3:] == ["GFLOP/s", "of", "peak"]
    (result,) = json.loads((tmp_path / "b.json").read_text())["results"]
    milliseconds = result["milliseconds"]["minires"]
    assert result["gflops"]["minires"] == pytest.approx(SMALL[2].operations / milliseconds / 1e6)


def test_the_profile_of_a_step_and_its_image(tmp_path, capsys, monkeypatch, a_machine):
    monkeypatch.setattr(workloads, "TRAIN", SMALL[1:2])
    monkeypatch.setattr(measure, "PROFILED_STEPS", 2)
    json_file, png = tmp_path / "p.json", tmp_path / "r.png"
    assert main(["bench", "profile", "--threads", "1", "--json", str(json_file)]) == 0
    assert "conv2d" in capsys.readouterr().out
    (found,) = json.loads(json_file.read_text())["profile"]
    rows = {(row["op"], row["phase"]): row for row in found["rows"]}
    assert found["steps"] == 2 and rows["cross_entropy", "forward"]["calls"] == 2
    assert rows["conv2d", "forward"]["operations"] > 0
    if found["peak"]:
        from minires.bench import figures

        figures.roofline(json.loads(json_file.read_text()), png)
        assert png.read_bytes().startswith(b"\x89PNG")


def test_what_failed_is_told_below_the_table(capsys, monkeypatch, a_machine):
    times = {"torch eager": [0.002], "torch compile": [0.004]}
    failed = measure.RaceResult(SMALL[1], times, {"minires": "no kernels"})
    present = ["minires", "torch eager", "torch compile", "torch frozen"]  # the last one does not train
    monkeypatch.setattr("minires.cli.bench.available", lambda against, device: present)
    monkeypatch.setattr(workloads, "TRAIN", SMALL[1:2])
    monkeypatch.setattr(measure, "race", lambda *arguments: failed)
    assert main(["bench", "train", "--threads", "1"]) == 0
    header, row, told = capsys.readouterr().out.splitlines()
    assert header.split() == ["minires", "ms", "torch", "eager", "ms", "torch", "compile", "ms", "ratio", "to"]
    assert row.split() == ["train", "resnet8,", "2x16x16", "-", "2.00", "4.00", "-", "-"]
    assert told == "train resnet8, 2x16x16: minires failed: no kernels"


def test_an_extra_is_a_table_too(capsys, monkeypatch, fake, a_machine):
    monkeypatch.setattr(workloads, "TRAIN", SMALL[1:2])
    assert main(["bench", "memory", "--threads", "2"]) == 0
    assert capsys.readouterr().out.splitlines()[-1].split() == ["train", "resnet8,", "2x16x16", "minires", "350", "250"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["train", "--chart", "x.png"], "add --against torch"),
        (["memory", "--against", "torch", "--chart", "x.png"], "choose a race"),
        (["train", "--roofline", "x.png"], "run `minires bench profile`"),
        (["scaling", "--threads", "1"], "only one thread"),
        (
            ["infer", "--json", "no/such/b.json"],
            "--json is 'no/such/b.json'; it must be a file in a folder that exists.",
        ),
        (["infer", "--json", "."], "--json is '.'; it must be a file"),
        (
            ["train", "--against", "torch", "--chart", "no/x.png"],
            "--chart is 'no/x.png'; it must be a file in a folder",
        ),
        (["train", "--against", "torch", "--chart", "x.svg"], "--chart is 'x.svg'; the figure is a PNG"),
        (["profile", "--roofline", "no/x.png"], "--roofline is 'no/x.png'; it must be a file in a folder"),
    ],
)
def test_what_cannot_be_drawn_or_compared_is_said_before_anything_is_measured(words, said, capsys, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: name)
    monkeypatch.setattr(measure, "describe", lambda *arguments: pytest.fail("measures"))
    assert main(["bench", *words]) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("against", "words"),
    [
        ("onnxruntime,openvino", ["train"]),
        ("onnxruntime", ["infer", "--device", "cuda"]),
        ("dezero", ["train", "--only", "resnet56"]),
        ("openvino", ["memory"]),
        ("openvino", ["--only", "conv"]),
    ],
)
def test_if_nobody_can_race_that_is_said_before_anything_is_measured(against, words, capsys, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: name)
    monkeypatch.setattr("minires.cli.bench.check_device", lambda device: None)
    monkeypatch.setattr(measure, "describe", lambda *arguments: pytest.fail("measures"))
    assert main(["bench", *words, "--against", against]) == 2
    said = capsys.readouterr().err
    assert f"{against.replace(',', ', ')} cannot run any of the chosen workloads" in said
    assert "onnxruntime and openvino run inference, and dezero trains resnet20" in said


@pytest.mark.slow
def test_a_file_of_results_can_be_filled_in_parts(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(workloads, "INFER", SMALL[:1])
    monkeypatch.setattr(workloads, "TRAIN", SMALL[1:2])
    file = tmp_path / "b.json"
    for kind in ("infer", "train", "infer"):
        assert main(["bench", kind, "--turns", "1", "--threads", "1", "--json", str(file)]) == 0
    assert [result["name"] for result in json.loads(file.read_text())["results"]] == [SMALL[0].name, SMALL[1].name]
    content = json.loads(file.read_text()) | {"cpu": "another"}
    for text, complaint in ((json.dumps(content), "holds results of another"), ("[1]", "does not hold results")):
        file.write_text(text)
        assert main(["bench", "infer", "--turns", "1", "--threads", "1", "--json", str(file)]) == 2
        assert complaint in capsys.readouterr().err
        assert file.read_text() == text
