"""Training learns, is reproducible bit for bit, resumes and stops; and which files it leaves behind."""

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import minires as mr
from minires.data import Split
from minires.errors import DataError, RunError
from minires.training import Config, Progress, evaluate, load_run, train
from minires.training.task import find

COLUMNS = find("classification").columns
FILES = {
    "model.safetensors",
    "config.json",
    "history.csv",
    "metrics.json",
    "curves.png",
    "confusion.png",
    "classes.csv",
    "mistakes.png",
    "checkpoint.safetensors",
}


class Recorder(Progress):
    """Records what it is told; can stop the run after an epoch."""

    def __init__(self, stop_after=None):
        self.stop_after = stop_after
        self.batches, self.rows, self.started, self.ended = [], [], [], []

    def start(self, config, dataset, state, origin):
        self.started.append((config.out, dataset.name, state.epoch, origin))

    def batch(self, epoch, done, total, tally):
        self.batches.append((epoch, done, total, tally.loss, tally.accuracy, tally.speed))

    def epoch(self, epoch, row):
        self.rows.append(row)
        if epoch == self.stop_after:
            raise KeyboardInterrupt

    def end(self, metrics, test):
        self.ended.append((metrics, test))


def weights_of(folder):
    return mr.load(Path(folder) / "model.safetensors")


def assert_same_weights(folder, other):
    first, second = weights_of(folder), weights_of(other)
    assert list(first) == list(second)
    for name in first:
        assert first[name].tobytes() == second[name].tobytes(), name


def history_of(folder, without=("seconds",)):
    with open(Path(folder) / "history.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    return [{name: value for name, value in row.items() if name not in without} for row in rows]


def stop_after(config, epoch):
    with pytest.raises(KeyboardInterrupt):
        train(config, progress=Recorder(stop_after=epoch))


def test_it_learns(config, no_figures):
    metrics = train(replace(config, epochs=8))
    assert metrics["test_accuracy"] > 0.85
    history = history_of("run")
    assert float(history[-1]["train_loss"]) < 0.5 < 2 < float(history[0]["train_loss"])


def test_run_folder(config, few):
    metrics = train(config)
    assert {path.name for path in Path("run").iterdir()} == FILES
    assert json.loads(Path("run/metrics.json").read_text()) == metrics
    expected = {"model": "resnet8", "data": "few", "epochs": 2, "seed": 0, "device": "cpu", "out": "run"}
    assert expected.items() <= metrics.items()
    assert metrics["parameters"] == 75002
    assert metrics["test_error_percent"] == pytest.approx(100 * (1 - metrics["test_accuracy"]))
    assert metrics["images_per_second"] == pytest.approx(2 * 240 / metrics["train_seconds"])

    history = history_of("run", without=())
    assert [tuple(row) for row in history] == [COLUMNS] * 2
    assert [row["epoch"] for row in history] == ["1", "2"]
    assert float(history[-1]["test_accuracy"]) == pytest.approx(metrics["test_accuracy"], rel=1e-5)
    assert sum(float(row["seconds"]) for row in history) == pytest.approx(metrics["train_seconds"], rel=1e-5)

    run = load_run("run")
    assert (run.path, run.config) == (Path("run"), config)
    assert (run.classes, run.image_shape) == (few.classes, (1, 8, 8))
    assert not run.model.training
    result = evaluate(run.model, few.test, run.normalize)
    assert result.loss == metrics["test_loss"]
    assert result.accuracy == metrics["test_accuracy"]

    with open("run/classes.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["class"] for row in rows] == list(few.classes)
    assert [int(row["images"]) for row in rows] == np.bincount(few.test.labels).tolist()
    assert sum(int(row["right"]) for row in rows) == len(few.test) - result.errors


def test_normalisation_is_that_of_the_training_images(config, no_figures, few):
    train(config)
    normalize = load_run("run").normalize
    assert normalize.mean == pytest.approx([(few.train.images / 255).mean()])
    assert normalize.std == pytest.approx([(few.train.images / 255).std()])


@pytest.mark.slow
def test_the_same_seed_gives_the_same_bits_and_another_seed_others(config, no_figures):
    train(config)
    mr.manual_seed(99)  # whatever happened before
    train(replace(config, out="again"))
    assert_same_weights("run", "again")
    assert history_of("run") == history_of("again")
    train(replace(config, out="other", seed=1))
    assert weights_of("run")["fc.weight"].tobytes() != weights_of("other")["fc.weight"].tobytes()


@pytest.mark.slow
@pytest.mark.parametrize("options", [{}, {"schedule": "onecycle"}, {"schedule": "step", "momentum": 0.0, "warmup": 0}])
def test_resumed_is_bit_for_bit_uninterrupted(config, no_figures, options):
    config = replace(config, epochs=4, **options)
    whole = Recorder()
    train(config, progress=whole)
    stopped = replace(config, out="stopped")
    stop_after(stopped, 2)
    mr.manual_seed(99)
    resumed = Recorder()
    train(stopped, resume=True, progress=resumed)

    assert resumed.started == [("stopped", "few", 3, "")]
    assert_same_weights("run", "stopped")
    assert history_of("run") == history_of("stopped")
    without_time = [[{**row, "seconds": 0} for row in recorder.rows] for recorder in (whole, resumed)]
    assert without_time[0][2:] == without_time[1]


@pytest.mark.slow
def test_resume_goes_back_to_the_last_checkpoint(config, no_figures):
    config = replace(config, epochs=4)
    train(config)
    stopped = replace(config, out="stopped", save_every=2)
    stop_after(stopped, 3)
    assert len(history_of("stopped")) == 3
    resumed = Recorder()
    train(stopped, resume=True, progress=resumed)
    assert [row["epoch"] for row in resumed.rows] == [3, 4]
    assert_same_weights("run", "stopped")
    assert history_of("run") == history_of("stopped")


@pytest.mark.slow
def test_resume_before_the_first_checkpoint_starts_again(config, no_figures):
    train(config)
    stopped = replace(config, out="stopped", save_every=2)
    stop_after(stopped, 1)
    assert not Path("stopped/checkpoint.safetensors").exists()
    train(stopped, resume=True)
    assert_same_weights("run", "stopped")


@pytest.mark.slow
def test_resuming_a_complete_run_changes_nothing(config):
    """Not even the time of a file."""
    metrics = train(config)
    before = {path: path.stat().st_mtime_ns for path in Path("run").iterdir()}
    assert train(config, resume=True) == metrics
    assert {path: path.stat().st_mtime_ns for path in Path("run").iterdir()} == before


@pytest.mark.slow
def test_a_run_killed_before_its_report_gets_it_when_it_is_resumed(config):
    metrics = train(config)
    for name in ("metrics.json", "curves.png"):
        Path("run", name).unlink()
    assert train(config, resume=True) == metrics
    assert Path("run/metrics.json").exists() and Path("run/curves.png").exists()


def test_layers_that_a_watcher_freezes_stay_frozen(config, no_figures):
    """In evaluation mode, in every epoch and after each test."""

    class Freezing(Recorder):
        def start(self, config, dataset, state, origin):
            self.model = state.model
            self.model.layer1.eval()
            self.statistics = self.model.layer1[0].bn1.running_mean.numpy().copy()

    watcher = Freezing()
    train(config, progress=watcher)
    assert not any(module.training for module in watcher.model.layer1.modules())
    assert watcher.model.layer2.training and watcher.model.bn1.training
    np.testing.assert_array_equal(watcher.model.layer1[0].bn1.running_mean.numpy(), watcher.statistics)


def test_progress_is_told(config, no_figures):
    recorder = Recorder()
    metrics = train(config, progress=recorder)
    assert recorder.started == [("run", "few", 1, "")]
    assert [(epoch, done, total) for epoch, done, total, *_ in recorder.batches] == [
        (epoch, done, 8) for epoch in (1, 2) for done in range(1, 9)
    ]
    for *_, loss, accuracy, speed in recorder.batches:
        assert loss > 0 <= accuracy <= 1
        assert speed > 0
    assert tuple(recorder.rows[0]) == COLUMNS
    assert recorder.batches[7][3:5] == (recorder.rows[0]["train_loss"], recorder.rows[0]["train_accuracy"])
    ((told, test),) = recorder.ended
    assert told == metrics
    assert (test.loss, test.accuracy) == (metrics["test_loss"], metrics["test_accuracy"])


@pytest.mark.slow
def test_without_out_each_run_has_a_new_folder(config, no_figures):
    config = replace(config, epochs=1, out=None)
    folders = [train(config)["out"] for _ in range(3)]
    assert [Path(folder) for folder in folders] == [Path("runs", f"resnet8-few-seed0{n}") for n in ("", "-2", "-3")]
    recorder = Recorder()
    assert train(config, resume=True, progress=recorder)["out"] == folders[-1], "resume takes the latest"


def test_a_loss_that_is_not_finite_stops_the_run(config):
    with pytest.raises(
        RunError, match=r"^training stopped at epoch \d, batch \d of 8: the loss is (nan|inf); lower --lr"
    ):
        train(replace(config, lr=1e12, warmup=0, epochs=3))
    assert not Path("run/metrics.json").exists()


def test_weights_that_break_in_the_last_batch_stop_the_run(config):
    """No later batch would detect it; the test after the epoch does."""
    with pytest.raises(RunError, match="the test after epoch 1: the loss is nan"):
        train(replace(config, lr=1e38, warmup=0, epochs=1, batch_size=240))
    assert not Path("run/model.safetensors").exists()


class Poison(Progress):
    """Makes one weight NaN after a batch of the first epoch."""

    def __init__(self, name, after):
        self.name, self.after = name, after

    def start(self, config, dataset, state, origin):
        self.weights = dict(state.model.named_parameters())[self.name].data

    def batch(self, epoch, done, *more):
        if done == self.after:
            self.weights.reshape(-1)[-1] = np.nan


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("conv1.weight", {}),
        ("layer2.0.bn1.weight", {"label_smoothing": 0.1}),
        ("fc.bias", {"mixup": 0.2}),
    ],
)
@pytest.mark.parametrize(
    ("after", "where"), [(3, "epoch 1, batch 4 of 8"), (8, "the test after epoch 1")], ids=["within", "last batch"]
)
def test_one_weight_that_is_nan_stops_the_run(config, name, options, after, where):
    """The run stops at the next batch, or else at the test, and does not save these weights."""
    with pytest.raises(RunError, match=f"^training stopped at {where}: the loss is nan; lower --lr"):
        train(replace(config, **options), progress=Poison(name, after))
    assert {path.name for path in Path("run").iterdir()} == {"config.json"}


def test_a_run_is_never_overwritten(config, no_figures):
    train(config)
    before = weights_of("run")
    with pytest.raises(
        RunError, match=r"^train: run already holds a run; continue it with --resume, or choose another --out"
    ):
        train(replace(config, seed=1))
    assert all(np.array_equal(before[name], array) for name, array in weights_of("run").items())


def test_an_empty_folder_may_be_used(config, no_figures):
    Path("run").mkdir()
    train(replace(config, epochs=1))
    assert Path("run/metrics.json").exists()


def test_resume_says_what_is_wrong(config):
    with pytest.raises(RunError, match=r"no run to resume in run: it has no config.json"):
        train(config, resume=True)
    assert not Path("run").exists()
    with pytest.raises(RunError, match=r"no run to resume in runs.resnet8-few-seed0:"):
        train(replace(config, out=None), resume=True)
    stop_after(config, 1)
    with pytest.raises(
        RunError, match=r"was started with epochs 2, not 5, lr 0.1, not 0.2; resume it with the settings"
    ):
        train(replace(config, lr=0.2, epochs=5), resume=True)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"classes": tuple("abcdefghij")}, r"classes was \['0', '1', .*, but is \['a', 'b'"),
        ({"train": 239}, r"images was \[240, 60\], but is \[239, 60\] now; restore them, or start another run"),
        ({"test": 59}, r"images was \[240, 60\], but is \[240, 59\] now"),
    ],
)
def test_a_run_is_not_resumed_on_other_images(config, few, monkeypatch, change, message):
    """Their order, and with it the result, would be another one."""
    stop_after(config, 1)
    for name, value in change.items():
        few = replace(few, **{name: value if name == "classes" else Split(*getattr(few, name)[range(value)])})
    monkeypatch.setitem(mr.data.DATASETS, "few", lambda: few)
    with pytest.raises(RunError, match=f"^train: the images of few have changed since the run in run .*: {message}"):
        train(config, resume=True)


def test_a_folder_that_cannot_be_made_is_an_error(config):
    Path("file").write_text("")
    with pytest.raises(RunError, match=r"^train: the run folder file.run cannot be created: "):
        train(replace(config, out="file/run"))


def test_data_that_cannot_be_read_leaves_no_folder(config, monkeypatch):
    def missing():
        raise DataError("data set 'few' is not there.")

    monkeypatch.setitem(mr.data.DATASETS, "few", missing)
    with pytest.raises(DataError):
        train(config)
    assert not Path("run").exists()


@pytest.mark.parametrize("device", ["cuda"])
def test_a_device_that_is_not_there_leaves_no_folder(config, device):
    from minires.core.backend import check_device

    try:
        check_device(device)
    except mr.errors.DeviceError:
        with pytest.raises(mr.errors.DeviceError):
            train(replace(config, device=device))
        assert not Path("run").exists()
    else:
        assert train(replace(config, device=device))["device"] == device


@pytest.mark.slow
def test_the_defaults_reach_98_percent_on_digits():
    assert train(Config(seed=0))["test_accuracy"] >= 0.98
