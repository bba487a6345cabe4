"""Event files, read back record by record and compared with ``history.csv``."""

import csv
import struct
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from minires.errors import RunError, StoppedError
from minires.training import Progress, progress, train

SCALARS = ("lr", "train/loss", "train/accuracy", "test/loss", "test/accuracy")
BATCHES = 8  # 240 images, 32 a batch


class StopAfter(Progress):
    def __init__(self, epoch):
        self.last = epoch

    def epoch(self, epoch, row):
        if epoch == self.last:
            raise KeyboardInterrupt


@pytest.fixture
def config(config):
    pytest.importorskip("tensorboardX")
    return replace(config, tensorboard=True)


def events(folder):
    """The events of all files, in the order in which TensorBoard reads them."""
    from tensorboardX.proto.event_pb2 import Event

    for path in sorted(Path(folder, "tensorboard").iterdir()):
        assert path.name.startswith("events.out.tfevents.")
        content, begin = path.read_bytes(), 0
        while begin < len(content):  # length, its check sum, the event, its check sum
            (length,) = struct.unpack_from("<Q", content, begin)
            yield Event.FromString(content[begin + 12 : begin + 12 + length])
            begin += length + 16


def shown(folder):
    """What TensorBoard shows: {name: {step: value}}. A session that starts at a step makes it forget that and later."""
    values = {}
    for event in events(folder):
        if event.session_log.status == event.session_log.START:
            values = {
                name: {step: value for step, value in steps.items() if step < event.step}
                for name, steps in values.items()
            }
        for value in event.summary.value:
            steps = values.setdefault(value.tag, {})
            assert event.step not in steps, "nothing is shown twice"
            steps[event.step] = value.image if value.HasField("image") else value.simple_value
    return values


def history():
    """``history.csv`` as TensorBoard would show it: an epoch is shown at its last batch."""
    with open("run/history.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    return {name: {int(row["epoch"]) * BATCHES: float(row[name.replace("/", "_")]) for row in rows} for name in SCALARS}


def assert_scalars_are_the_history(values):
    for name, steps in history().items():
        assert list(values[name]) == list(steps), name
        assert list(values[name].values()) == pytest.approx(list(steps.values()), rel=1e-5), name


def test_scalars_and_figures(config, monkeypatch):
    monkeypatch.setattr(progress, "EVERY", 3)
    train(config)
    values = shown("run")
    assert set(values) == {*SCALARS, "batch/loss", "batch/accuracy", "confusion", "mistakes"}
    assert_scalars_are_the_history(values)
    assert list(values["batch/loss"]) == list(values["batch/accuracy"]) == [3, 6, 11, 14]
    assert all(0 < loss < 10 for loss in values["batch/loss"].values())
    for name in ("confusion", "mistakes"):
        ((step, image),) = values[name].items()
        assert step == 2 * BATCHES
        Path("image.png").write_bytes(image.encoded_image_string)
        with Image.open("image.png") as written, Image.open(f"run/{name}.png") as drawn:
            np.testing.assert_array_equal(np.asarray(written), np.asarray(drawn.convert("RGB")))


def test_event_files_that_cannot_be_written_are_a_named_error(config, no_figures):
    with pytest.raises(KeyboardInterrupt):
        train(config, progress=StopAfter(1))
    Path("run/tensorboard").rename("elsewhere")
    Path("run/tensorboard").touch()
    with pytest.raises(RunError, match=r"^training stopped: File exists; make room, or make the folder writable"):
        train(config, resume=True)


def test_a_resumed_run_shows_each_epoch_once(config, no_figures, monkeypatch):
    """It is stopped after the third epoch, and its last checkpoint is that of the second."""
    monkeypatch.setattr(progress, "EVERY", 4)
    config = replace(config, epochs=4, save_every=2)
    with pytest.raises(KeyboardInterrupt):
        train(config, progress=StopAfter(3))
    train(config, resume=True)
    assert len(list(Path("run/tensorboard").iterdir())) == 2
    values = shown("run")
    assert_scalars_are_the_history(values)
    assert list(values["batch/loss"]) == [4, 8, 12, 16, 20, 24, 28, 32]


@pytest.mark.slow
def test_a_run_resumed_within_an_epoch_keeps_what_was_before(config, no_figures, monkeypatch):
    monkeypatch.setattr(progress, "EVERY", 2)
    answers = iter([False] * 4 + [True])
    with pytest.raises(StoppedError):
        train(config, stop=lambda: next(answers))  # after the fifth batch
    train(config, resume=True)
    values = shown("run")
    assert_scalars_are_the_history(values)
    assert list(values["batch/loss"]) == [2, 4, 6, 8, 10, 12, 14, 16]


@pytest.mark.slow
def test_it_changes_nothing_else(config, no_figures):
    metrics = train(replace(config, tensorboard=False))
    assert not Path("run/tensorboard").exists()
    assert train(replace(config, out="watched"))["test_loss"] == metrics["test_loss"]


def test_without_the_package(config, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    with pytest.raises(RunError, match=r"tensorboardX, which is not installed: pip install 'minires\[tensorboard\]'"):
        train(config)
    assert not Path("run").exists()
