"""``minires train``: from options to a run folder, on a terminal and not, stopped and resumed."""

import io
import json
import shlex
import signal
import sys
from dataclasses import fields, replace

import numpy as np
import pytest
from rich.console import Console
from stripes import CLASSES, stripes

import minires as mr
from minires import data
from minires.cli import progress
from minires.cli import train as train_module
from minires.errors import DataError, DeviceError
from minires.kernels import on_compile
from minires.training import Config, loop
from minires.training.checkpoint import TrainingState
from minires.training.config import no_option, option
from minires.training.task import Tally

FILES = (
    "model.safetensors",
    "config.json",
    "history.csv",
    "metrics.json",
    "curves.png",
    "confusion.png",
    "classes.csv",
)


def test_a_run_leaves_its_folder_and_says_what_it_learned(minires, tmp_path):
    out = tmp_path / "a run"
    options = ["--model", "plain8", "--epochs", 2, "--batch-size", 20, "--lr", 0.05, "--schedule", "constant"]
    more = ["--color-jitter", 0.1, "--cutout", 2, "--mixup", 0.2, "--workers", 1]
    result = minires("train", *options, *more, "--no-augment", "--seed", 3, "--out", out)
    assert result.status == 0 and result.err == ""
    assert all((out / name).stat().st_size for name in FILES)

    stored = json.loads((out / "config.json").read_text())
    assert (stored["model"], stored["epochs"], stored["batch_size"], stored["lr"]) == ("plain8", 2, 20, 0.05)
    assert (stored["schedule"], stored["augment"], stored["seed"]) == ("constant", False, 3)
    assert (stored["color_jitter"], stored["cutout"], stored["mixup"], stored["workers"]) == (0.1, 2, 0.2, 1)

    lines = result.out.splitlines()
    assert sum(line.strip().startswith(("1/2 ", "2/2 ")) for line in lines) == 2, "one line an epoch"
    accuracy = json.loads((out / "metrics.json").read_text())["test_accuracy"]
    assert f"test accuracy  {100 * accuracy:.1f} %, {round(30 * (1 - accuracy))} of 30 images wrong" in result.out
    assert "(always guessing the largest class: 33.3 %)" in result.out
    assert f"minires evaluate '{out}'" in result.out, "a folder with a space is quoted"
    assert "minires train --model resnet8" in result.out


def test_the_summary_is_that_of_the_last_test(minires, tmp_path, monkeypatch):
    """The data set is not read again for it, and the network is not tested again."""
    loads, tests = [], []
    load, evaluate = data.DATASETS["digits"], loop.evaluate_test_images
    monkeypatch.setitem(data.DATASETS, "digits", lambda: loads.append("digits") or load())

    def count(*arguments, **options):
        tests.append(evaluate(*arguments, **options))
        return tests[-1]

    monkeypatch.setattr(loop, "evaluate_test_images", count)
    result = minires("train", "--epochs", 2, "--batch-size", 30, "--out", tmp_path / "run")
    assert result.status == 0 and loads == ["digits"] and len(tests) == 2
    last = tests[-1]
    assert f"test accuracy  {100 * last.accuracy:.1f} %, {last.errors} of 30 images wrong" in result.out
    assert f"confused most  {last.most_confused(CLASSES) or 'nothing'}\n" in result.out


@pytest.mark.slow
def test_a_run_watched_in_tensorboard_stays_so_when_it_is_resumed(minires, tmp_path):
    pytest.importorskip("tensorboardX")
    options = ["--epochs", 1, "--batch-size", 30, "--out", tmp_path]
    assert minires("train", *options, "--tensorboard").status == 0
    events = tmp_path / "tensorboard"
    assert len(list(events.iterdir())) == 1
    assert minires("train", "--resume", "--out", tmp_path).status == 0
    assert len(list(events.iterdir())) == 2
    assert minires("train", "--resume", "--no-tensorboard", "--out", tmp_path).status == 0
    assert len(list(events.iterdir())) == 2


def test_classes_that_are_not_tested_are_named(minires, tmp_path, monkeypatch):
    dataset = stripes()
    tested = data.Split(*dataset.test[np.flatnonzero(dataset.test.labels != 1)])
    monkeypatch.setitem(data.DATASETS, "digits", lambda: replace(dataset, test=tested))
    result = minires("train", "--epochs", 1, "--batch-size", 30, "--out", tmp_path / "run")
    assert result.status == 0 and "\nno test images of middle\n" in result.out


def test_a_missing_tensorboard_is_one_sentence(minires, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    result = minires("train", "--tensorboard", "--out", tmp_path / "run")
    assert result.status == 1 and result.out == "" and not (tmp_path / "run").exists()
    assert result.err == (
        "minires train: --tensorboard needs the package tensorboardX, which is not installed: "
        "pip install 'minires[tensorboard]', or pip install tensorboardX.\n"
    )


@pytest.fixture
def settings(minires, tmp_path, monkeypatch):
    """``settings("--lr", 3)`` gives the settings that a run would have, without training, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    seen = []

    def train(config, resume, progress, stop):
        seen.append(config)
        raise KeyboardInterrupt

    def run(*words):
        monkeypatch.setattr(train_module, "run_training", train)
        assert minires("train", *words).status == 130
        return seen[-1]

    return run


def test_the_defaults_are_those_of_the_settings(settings):
    assert settings() == Config()
    assert settings("--optimizer", "adamw") == Config(optimizer="adamw")


# A value other than the default for every setting, except the network, the folder, and options for other networks and
# tasks.
OTHERS = {
    "data": "./images", "epochs": 3, "batch_size": 50, "drop_last": True, "optimizer": "adam", "lr": 3e-05,
    "schedule": "onecycle", "warmup": 0.5, "momentum": 0.0, "weight_decay": 1e-07, "clip": 5.0, "ema": 0.999,
    "label_smoothing": 0.1,
    "augment": False, "color_jitter": 0.4, "cutout": 4, "mixup": 0.2,
    "flip_test": True, "device": "cuda", "seed": 7,
    "save_every": 5, "workers": 2, "log_gradients": True, "tensorboard": True, "size": 24, "weights": "a run",
    "freeze": "layer1", "shortcut": "C", "preactivation": True, "zero_init_residual": True, "deep_stem": True,
    "avg_down": True, "stochastic_depth_prob": 0.2,
}  # fmt: skip


def test_every_setting_is_an_option(settings, monkeypatch):
    """And the suggested next command has all of those that change the result."""
    assert {*OTHERS, "task", "model", "out", "width", "dice"} == {field.name for field in fields(Config)}
    monkeypatch.setattr(train_module, "check_device", lambda device: None)
    words = []
    for name, value in OTHERS.items():
        flag = option(name) if value is not False else no_option(name)
        words += [flag] if isinstance(value, bool) else [flag, value]
    model = {"model": "resnet18"}
    assert settings(*words, "--model", "resnet18", "--out", "x") == Config(**model, out="x", **OTHERS)
    assert settings("--model", "resnet9", "--width", 8) == Config(model="resnet9", width=8)

    suggested = shlex.split(progress.options(Config(**model, **OTHERS)))
    quiet = {"save_every": 1, "workers": 0, "log_gradients": False, "tensorboard": False}
    assert settings("--model", "resnet18", *suggested) == Config(**{**model, **OTHERS, **quiet})
    assert progress.options(Config()) == ""


def test_help_sorts_the_options(minires):
    shown = minires("train", "--help").out
    places = [shown.index(f"─ {panel} ─") for panel in ("Data", "Network", "Optimisation", "Augmentation", "Run")]
    assert places == sorted(places)
    assert all(f"{option(field.name)} " in shown for field in fields(Config))


def test_the_command_line_comes_before_the_file(settings, run_folder, tmp_path):
    file = tmp_path / "settings.toml"
    file.write_text('lr = 0.3\nepochs = 7\naugment = false\nschedule = "step"\n')
    assert settings("--config", file) == Config(lr=0.3, epochs=7, augment=False, schedule="step")
    expected = Config(lr=0.1, epochs=7, augment=True, schedule="step", seed=4)
    assert settings("--config", file, "--lr", 0.1, "--augment", "--seed", 4) == expected, "be it with a default"

    repeated = settings("--config", run_folder / "config.json", "--seed", 1)
    assert repeated == Config(epochs=4, batch_size=10, seed=1), "in a folder of its own"
    resumed = settings("--config", file, "--resume", "--out", run_folder)
    assert (resumed.lr, resumed.batch_size, resumed.out) == (0.3, 10, str(run_folder)), "train refuses another lr"


def test_weights_of_a_run_bring_its_network_and_its_options(settings, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model": "resnet14", "shortcut": "B", "lr": 0.3}))
    expected = Config(model="resnet14", shortcut="B", weights=str(tmp_path))
    assert settings("--from", tmp_path) == expected
    assert settings("--from", tmp_path, "--model", "resnet8") == Config(model="resnet8", weights=str(tmp_path))


def test_the_plain_twin_is_suggested_without_options_that_it_does_not_take(run_folder):
    *_, (command, _) = progress.next_commands(Config(out=str(run_folder), shortcut="B", lr=0.2))
    assert command == "minires train --model plain8 --lr 0.2"


def test_what_is_wrong_in_a_file_is_one_sentence(minires, tmp_path):
    file = tmp_path / "settings.toml"
    file.write_text("epoch = 3")
    result = minires("train", "--config", file)
    assert result.status == 2 and result.out == ""
    assert result.err.startswith(f"minires train: {file}: there is no setting 'epoch'; did you mean 'epochs'? ")
    file.write_text("lr = -1")
    assert minires("train", "--config", file).err == f"minires train: {file}: lr is -1; it must be a number > 0.\n"
    file.write_text("lr = 1")
    assert (
        minires("train", "--config", file, "--lr", -2).err == "minires train: --lr is -2.0; it must be a number > 0.\n"
    )
    file.write_text("lr")
    result = minires("train", "--config", file)
    assert result.status == 1 and f"{file} cannot be read as TOML: " in result.err and result.err.count("\n") == 1
    result = minires("train", "--config", tmp_path / "nothing.toml")
    assert result.status == 1 and "nothing.toml cannot be read as TOML: there is no such file." in result.err


def test_a_missing_gpu_is_noticed_before_the_data_is_loaded(minires, monkeypatch, tmp_path):
    def no_gpu(device):
        raise DeviceError(f"device {device!r} needs CuPy, which is not installed.")

    monkeypatch.setattr(train_module, "check_device", no_gpu)
    monkeypatch.setitem(data.DATASETS, "digits", lambda: pytest.fail("the data was loaded"))
    result = minires("train", "--device", "cuda", "--out", tmp_path / "run")
    assert result.status == 1 and result.out == ""
    assert result.err.startswith("minires train: device 'cuda'") and result.err.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_ctrl_c_says_how_to_go_on_and_a_resumed_run_keeps_its_settings(minires, tmp_path, monkeypatch):
    out = tmp_path / "run"

    def stop_after_first_epoch(self, epoch, row):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(progress.TrainingProgress, "epoch", stop_after_first_epoch)
        result = minires("train", "--epochs", 2, "--batch-size", 30, "--out", out)
    assert result.status == 130
    assert result.err == f"minires train: stopped by Ctrl-C; continue with: minires train --resume --out {out}.\n"

    result = minires("train", "--resume", "--out", out)
    assert result.status == 0 and "resumed after 1 epoch of 2" in result.out
    assert "   2/2 " in result.out and "   1/2 " not in result.out
    assert (out / "history.csv").read_text().count("\n") == 3


@pytest.fixture
def foreground():
    """Signals as in a program in the foreground; a background shell lets its programs ignore Ctrl-C."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def press(monkeypatch, *numbers):
    """Send signals to this process in the third batch, and only then."""

    def batch(self, epoch, done, *told):
        if (epoch, done) == (1, 3):
            for number in numbers:
                signal.raise_signal(number)

    monkeypatch.setattr(progress.TrainingProgress, "batch", batch)


SIGNALS = [(signal.SIGINT, 130, "Ctrl-C"), (signal.SIGTERM, 143, "SIGTERM")]
if hasattr(signal, "SIGHUP"):  # not on Windows
    SIGNALS.append((signal.SIGHUP, 129, "SIGHUP"))


@pytest.mark.parametrize(("number", "status", "name"), SIGNALS)
def test_signals_save_within_an_epoch(minires, tmp_path, monkeypatch, foreground, number, status, name):
    options = ["--epochs", 2, "--batch-size", 10]
    whole, out = tmp_path / "whole", tmp_path / "run"
    assert minires("train", *options, "--out", whole).status == 0
    with monkeypatch.context() as patch:
        press(patch, number)
        result = minires("train", *options, "--out", out)
    assert result.status == status
    assert (
        result.err
        == f"minires train: stopped by {name} and saved; continue with: minires train --resume --out {out}.\n"
    )
    assert {path.name for path in out.iterdir()} == {"config.json", "checkpoint.safetensors"}

    done = []
    monkeypatch.setattr(progress.TrainingProgress, "batch", lambda self, epoch, batch, *told: done.append(batch))
    assert minires("train", "--resume", "--out", out).status == 0
    assert done[0] == 4
    assert (out / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()


def test_a_terminal_is_told_that_a_test_is_still_to_end(minires, tmp_path, monkeypatch, foreground):
    """An impatient second Ctrl-C would lose the epoch."""
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=80, highlight=False)
    monkeypatch.setattr(train_module, "make_console", lambda: console)

    def press_in_test(*arguments, **options):
        signal.raise_signal(signal.SIGINT)
        return test(*arguments, **options)

    test = loop.evaluate_test_images
    monkeypatch.setattr(loop, "evaluate_test_images", press_in_test)
    assert minires("train", "--epochs", 2, "--batch-size", 30, "--out", tmp_path / "run").status == 130
    assert "stopping" in screen.getvalue() and "Ctrl-C again" in screen.getvalue()
    assert (tmp_path / "run" / "history.csv").read_text().count("\n") == 2, "the epoch is recorded"
    assert (tmp_path / "run" / "model.safetensors").exists()


def test_a_second_ctrl_c_stops_at_once(minires, tmp_path, monkeypatch, foreground):
    out = tmp_path / "run"
    press(monkeypatch, signal.SIGINT, signal.SIGINT)
    result = minires("train", "--epochs", 2, "--batch-size", 10, "--out", out)
    assert result.status == 130
    assert result.err == f"minires train: stopped by Ctrl-C; continue with: minires train --resume --out {out}.\n"
    assert [path.name for path in out.iterdir()] == ["config.json"]


@pytest.mark.parametrize(("number", "status", "name"), SIGNALS)
def test_a_signal_while_data_is_read_stops_at_once(minires, tmp_path, monkeypatch, foreground, number, status, name):
    monkeypatch.setitem(data.DATASETS, "digits", lambda: signal.raise_signal(number))
    result = minires("train", "--out", tmp_path / "run")
    assert (result.status, result.err) == (status, f"minires train: stopped by {name}.\n")
    assert not (tmp_path / "run").exists()


def test_a_full_disk_is_one_sentence(minires, tmp_path, monkeypatch):
    def full_disk(*arguments):
        raise DataError("save: run/history.csv cannot be written: No space left on device.")

    monkeypatch.setattr("minires.training.loop.write_table", full_disk)
    result = minires("train", "--out", tmp_path / "run")
    assert result.status == 1 and result.err.count("\n") == 1
    assert result.err.startswith("minires train: training stopped: run/history.csv cannot be written: No space left")
    assert "make room" in result.err and "--resume" in result.err


def test_a_run_is_neither_overwritten_nor_resumed_with_other_settings(minires, run_folder):
    result = minires("train", "--out", run_folder)
    assert result.status == 1 and "already holds a run; continue it with --resume" in result.err
    result = minires("train", "--resume", "--out", run_folder, "--lr", "0.3")
    assert result.status == 1 and "lr 0.1, not 0.3" in result.err
    result = minires("train", "--resume", "--out", run_folder, "--lr", "-3")
    assert result.status == 2 and "--lr is -3" in result.err


def test_damaged_settings_cannot_be_resumed(minires, tmp_path):
    (tmp_path / "config.json").write_text('{"lr": -1}')
    result = minires("train", "--resume", "--out", tmp_path)
    assert result.status == 1 and "is damaged" in result.err and result.err.count("\n") == 1


def test_a_terminal_gets_a_bar_with_loss_accuracy_speed_and_time_left(minires, tmp_path, monkeypatch):
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=80, color_system="standard", highlight=False)
    monkeypatch.setattr(train_module, "make_console", lambda: console)
    assert minires("train", "--epochs", "1", "--out", tmp_path / "run").status == 0
    shown = screen.getvalue()
    assert "\x1b[" in shown and "━" in shown
    assert all(text in shown for text in ("loss ", "accuracy ", "images/s", " left"))
    assert shown.count("\x1b[?25l") == shown.count("\x1b[?25h") == 1, "the cursor is shown again"


def test_the_time_left_starts_anew_in_each_run_and_gives_way_when_it_stops():
    """A comparison has several runs with as many batches each."""
    screen = io.StringIO()
    shown = progress.TrainingProgress(Console(file=screen, force_terminal=True, width=80))
    config, dataset = Config(data="digits", epochs=1), stripes()
    model = mr.models.resnet8(num_classes=3, in_channels=1)
    optimizer = mr.optim.SGD(model.parameters(), lr=0.1)
    state = TrainingState(model, optimizer, mr.optim.ConstantLR(optimizer))
    state.tally = Tally(lr=0.1, batches=1, images=10, seconds=1.0)
    for _ in range(2):
        shown.start(config, dataset, state, origin="")
        for done in (1, 2, 3):
            shown.batch(1, done, 3, state.tally)
            assert shown._bar.finished == (done == 3)
    assert "left" in screen_of(shown, screen)
    shown.stopping()
    assert "Ctrl-C again" in (last := screen_of(shown, screen)) and "left" not in last and "0:0" not in last


def test_the_progress_bar_counts_the_kernels_that_are_compiled():
    screen = io.StringIO()
    shown = progress.TrainingProgress(Console(file=screen, force_terminal=True, width=80))
    assert "compiling" not in screen_of(shown, screen)
    with shown:
        for tell in on_compile * 3:
            tell()
        assert "preparing" in (text := screen_of(shown, screen)) and "compiling kernels, once: 3 so far" in text
    assert not on_compile


def screen_of(shown, screen):
    screen.truncate(screen.seek(0))
    shown._bar.console.print(shown._bar.get_renderable())
    return screen.getvalue()


def test_the_summary_of_a_network_without_mistakes(run_folder):
    config = Config(model="resnet1202", out=str(run_folder))
    commands = [command for command, _ in progress.next_commands(config)]
    assert len(commands) == 2, "there is no plain net of 1202 layers"


@pytest.mark.parametrize(
    ("settings", "options"),
    [({}, ""), ({"lr": 0.2, "batch_size": 128, "augment": False}, " --batch-size 128 --lr 0.2 --no-augment")],
)
def test_the_plain_twin_is_suggested_with_the_settings_of_the_run(settings, options, run_folder):
    *_, (command, _) = progress.next_commands(Config(out=str(run_folder), **settings))
    assert command == f"minires train --model plain8{options}"
