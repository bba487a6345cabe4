"""Checkpoints: a run may stop, be killed, or find the disk full at any moment, and ends as if nothing had happened."""

import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
from dataclasses import replace
from pathlib import Path

import pytest

import minires as mr
from experiments.kill_and_resume import outcome
from minires.core.backend import generator
from minires.data import Dataset, Split
from minires.errors import RunError, StoppedError
from minires.interop import files
from minires.interop.safetensors_file import load_metadata
from minires.training import Progress, train
from minires.training.checkpoint import TrainingState, load_checkpoint, save_checkpoint
from minires.training.classification import Classification
from minires.training.folder import CHECKPOINT, HISTORY, MODEL
from minires.training.recipe import make_model, make_optimizer, make_schedule

COLUMNS = Classification().columns
BATCHES, EPOCHS = 3, 2  # 70 images in batches of 32, the last of them smaller


@pytest.fixture(autouse=True)
def fewer(monkeypatch):
    """Even fewer images, and no report, which is not tested here."""
    digits = mr.data.digits()
    train, test = (Split(split.images[:70], split.labels[:70]) for split in (digits.train, digits.test))
    dataset = Dataset("few", digits.classes, train, test, digits.augmentation)
    monkeypatch.setitem(mr.data.DATASETS, "few", lambda: dataset)
    monkeypatch.setattr(Classification, "write_report", lambda *arguments: None)
    return dataset


class StopAfter:
    """A ``stop`` that returns True after ``batches`` batches in total."""

    def __init__(self, batches):
        self.left = batches

    def __call__(self):
        self.left -= 1
        return self.left < 0


def stop_after(config, batches, resume=False):
    with pytest.raises(StoppedError, match=r"^train: stopped and saved; continue the run in \w+ with resume=True"):
        train(config, resume=resume, stop=StopAfter(batches - 1))


OPTIONS = {
    "plain": {},
    "workers, augmentation": {"workers": 2, "color_jitter": 0.2, "cutout": 3, "mixup": 0.4, "schedule": "onecycle"},
    "no momentum": {"momentum": 0.0, "save_every": 2, "label_smoothing": 0.1},
    "adam, ema, clip": {"optimizer": "adam", "ema": 0.9, "clip": 1.0},
}


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_wherever_it_stops_it_ends_the_same(config, options):
    """Runs that stop once, after each batch in turn, and a run that stops after every batch."""
    config = replace(config, **options)
    train(config)
    expected = outcome(Path("run"))
    for batches in range(1, EPOCHS * BATCHES):
        stopped = replace(config, out=f"stopped{batches}")
        stop_after(stopped, batches)
        mr.manual_seed(99)
        train(stopped, resume=True)
        assert outcome(Path(stopped.out)) == expected, f"stopped after batch {batches}"

    halting = replace(config, out="halting")
    stop_after(halting, 1)
    for _ in range(EPOCHS * BATCHES - 2):
        mr.manual_seed(99)
        stop_after(halting, 1, resume=True)
    train(halting, resume=True)
    assert outcome(Path("halting")) == expected


def test_dropout_goes_on_within_an_epoch(config, monkeypatch):
    """Layers draw from the global generator, whose state is part of the checkpoint."""

    def build(name, **options):
        model = cifar_resnet(name, **options)
        model.fc = mr.nn.Sequential(mr.nn.Dropout(0.5), model.fc)
        return model

    cifar_resnet = mr.models.build
    monkeypatch.setattr(mr.models, "build", build)
    train(config)
    stopped = replace(config, out="stopped")
    stop_after(stopped, 2)
    mr.manual_seed(99)
    train(stopped, resume=True)
    assert outcome(Path("stopped")) == outcome(Path("run"))


def test_a_stop_within_an_epoch_keeps_the_weights_of_the_last_one(config):
    stop_after(config, BATCHES)
    after_epoch_1 = Path("run", MODEL).read_bytes()
    assert len(Path("run", HISTORY).read_text().splitlines()) == 2
    stop_after(config, 1, resume=True)
    assert Path("run", MODEL).read_bytes() == after_epoch_1
    tally = json.loads(load_metadata(Path("run", CHECKPOINT))["tally"])
    assert (tally["batches"], tally["images"]) == (1, 32) and tally["seconds"] > 0
    stop_after(replace(config, out="early"), 1)
    assert not Path("early", MODEL).exists()


def test_a_stop_in_the_last_batch_comes_too_late(config):
    assert train(config, stop=StopAfter(EPOCHS * BATCHES - 1))["epochs"] == EPOCHS


def test_the_clock_goes_on_where_it_was(config, monkeypatch):
    """A second for each batch, whatever happens between them."""
    clock = iter(range(10**6))
    monkeypatch.setattr("minires.training.task.time.perf_counter", lambda: next(clock))
    stop_after(config, 2)
    next(clock)
    train(config, resume=True)
    assert [line.rpartition(",")[2] for line in Path("run", HISTORY).read_text().splitlines()] == ["seconds", "3", "3"]


# A killed run leaves the folder as it is at that moment, so the folder is copied at each step of each write.


@pytest.mark.slow
def test_killed_at_any_step_of_any_write(config, monkeypatch):
    config = replace(config, save_every=2, epochs=3)
    snapshots = []

    def snapshot(step, function):
        def copy_and_call(*arguments):
            name = f"killed{len(snapshots)}"
            shutil.copytree("run", name)
            snapshots.append((name, step))
            return function(*arguments)

        return copy_and_call

    stop_after(config, BATCHES + 1)
    with monkeypatch.context() as patch:
        patch.setattr(files.os, "fsync", snapshot("written or renamed", os.fsync))
        patch.setattr(files.Path, "replace", snapshot("synced", Path.replace))
        train(config, resume=True)
    expected = outcome(Path("run"))
    hidden = [len(list(Path(name).glob(f".*{files.TEMPORARY}"))) for name, _ in snapshots]
    assert len(snapshots) == 3 * 8 and sum(hidden) == 2 * 8, "2 steps of 3 leave a file; each epoch, two saves, the end"
    for name, step in snapshots:
        train(replace(config, out=name), resume=True)
        assert outcome(Path(name)) == expected, (name, step)
        assert not list(Path(name).glob(f".*{files.TEMPORARY}")), "what the kill left is swept up"


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="there is no SIGKILL")
def test_a_run_that_is_really_killed(config):
    """It is killed between its two files, so the weights are newer than the checkpoint."""
    config = replace(config, data="digits", batch_size=256)
    program = f"""
        import os, signal
        from pathlib import Path
        from minires.training import Config, train

        def kill(temporary, target):
            if target.name == "checkpoint.safetensors" and target.exists():  # it is the second
                os.kill(os.getpid(), signal.SIGKILL)
            return rename(temporary, target)

        rename, Path.replace = Path.replace, kill
        train({replace(config, out="killed")!r})
    """
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    killed = subprocess.run([sys.executable, "-c", textwrap.dedent(program)], env=environment, capture_output=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    assert len(list(Path("killed").glob(f".*{files.TEMPORARY}"))) == 1
    train(replace(config, out="killed"), resume=True)
    train(config)
    assert outcome(Path("killed")) == outcome(Path("run"))


# The disk


class Full:
    """A disk that is full half-way through the ``number``-th file from now."""

    def __init__(self, number):
        self.left, self.fdopen = number, os.fdopen

    def __call__(self, descriptor, mode):
        file = self.fdopen(descriptor, mode)
        self.left -= 1
        if self.left == 0:
            file = HalfWritten(file)
        return file


class HalfWritten:
    def __init__(self, file):
        self.file = file

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.file.close()

    def write(self, content):
        self.file.write(content[: len(content) // 2])
        self.file.flush()
        raise OSError(28, "No space left on device")


@pytest.mark.parametrize(("number", "name"), [(1, HISTORY), (2, MODEL), (3, CHECKPOINT)])
def test_a_full_disk_stops_the_run_and_loses_nothing(config, monkeypatch, number, name):
    train(config)
    stopped = replace(config, out="stopped")
    stop_after(stopped, BATCHES)
    before = {path.name: path.read_bytes() for path in Path("stopped").iterdir()}
    with monkeypatch.context() as patch:
        patch.setattr(files.os, "fdopen", Full(1 + number))  # the first is config.json
        with pytest.raises(RunError) as caught:
            train(stopped, resume=True)
    assert str(caught.value) == (
        f"training stopped: {Path('stopped', name)} cannot be written: No space left on device; make room, or make the "
        "folder writable, then continue with --resume; what was saved is intact."
    )
    after = {path.name: path.read_bytes() for path in Path("stopped").iterdir()}
    assert set(after) == set(before), "no temporary file"
    assert after[name] == before[name] and after[CHECKPOINT] == before[CHECKPOINT]
    train(stopped, resume=True)
    assert outcome(Path("stopped")) == outcome(Path("run"))


@pytest.mark.skipif(sys.platform != "linux", reason="limits of another kind")
def test_a_real_limit(config):
    """Files may not be larger than 100,000 bytes: history.csv is not, model.safetensors would be."""
    import resource

    class Limit(Progress):
        def epoch(self, epoch, row):
            resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        with pytest.raises(RunError, match=r"model.safetensors cannot be written: File too large; make room"):
            train(config, progress=Limit())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not list(Path("run").glob(".*"))
    assert len(json.loads(load_metadata(Path("run", CHECKPOINT))["history"])) == 1
    train(config, resume=True)
    train(replace(config, out="other"))
    assert outcome(Path("run")) == outcome(Path("other"))


def test_a_folder_that_disappears(config):
    class Move(Progress):
        def epoch(self, epoch, row):
            Path("run").rename("moved")

    with pytest.raises(RunError) as caught:
        train(config, progress=Move())
    assert str(caught.value).endswith(
        "the run folder is gone; if it was moved, continue with --resume and its new path as --out."
    )
    assert not Path("run").exists()
    train(replace(config, out="moved"), resume=True)
    train(replace(config, out="other"))
    assert outcome(Path("moved")) == outcome(Path("other"))


# What is no checkpoint of this run


def fresh_state(config, few):
    model = make_model(config, few)
    optimizer = make_optimizer(config, model)
    return TrainingState(model, optimizer, make_schedule(config, optimizer, BATCHES), columns=COLUMNS)


def contents(state):
    arrays, notes = state.state_dict()
    flat = {(part, name): a.tobytes() for part, named in arrays.items() for name, a in named.items()}
    return flat, json.dumps(notes)


def test_a_state_comes_back_exactly(config, fewer, rng, tmp_path):
    state = fresh_state(config, fewer)
    state.tally.summed_loss, state.tally.seconds, state.tally.batches = 0.1 + 0.2, 1 / 3, 2
    state.history = [dict.fromkeys(COLUMNS, 0.1 / 3)]
    state.optimizer.state[0]["momentum_buffer"] = rng.standard_normal((16, 1, 3, 3)).astype("f")
    generator().random(5)
    save_checkpoint(tmp_path, config, state)
    expected = contents(state)
    mr.manual_seed(99)
    other = fresh_state(config, fewer)
    load_checkpoint(tmp_path, config, other)
    assert contents(other) == expected


def test_a_flipped_bit_is_found(config, fewer, rng):
    """Anywhere: in the numbers, the names and the metadata. Only the white space of the header may change."""
    stop_after(config, 4)
    path = Path("run", CHECKPOINT)
    good = path.read_bytes()
    header = int.from_bytes(good[:8], "little")
    load_checkpoint(Path("run"), config, state := fresh_state(config, fewer))
    expected = contents(state)
    places = [*rng.integers(8 + header, len(good), 30), *rng.integers(0, 8 + header, 170), 3, 8 + header, len(good) - 1]
    found = 0
    for place in places:
        bad = bytearray(good)
        bad[place] ^= 1 << int(rng.integers(8))
        path.write_bytes(bad)
        state = fresh_state(config, fewer)
        try:
            load_checkpoint(Path("run"), config, state)
        except RunError as error:
            found += 1
            assert str(error).startswith("the run in run is damaged (") and "\n" not in str(error)
        else:
            assert contents(state) == expected
        assert path.read_bytes() == bad, "the file stays as it is"
    assert found >= len(places) - 3


@pytest.mark.parametrize("kept", [0, 1, 100, 5_000, -100, -1])
def test_a_truncated_checkpoint_is_an_error(config, fewer, kept):
    save_checkpoint(Path(), config, fresh_state(config, fewer))
    content = Path(CHECKPOINT).read_bytes()[:kept]
    Path(CHECKPOINT).write_bytes(content)
    with pytest.raises(RunError, match=r"the run in \. is damaged \(.*\); train it again in another folder"):
        load_checkpoint(Path(), config, fresh_state(config, fewer))
    assert Path(CHECKPOINT).read_bytes() == content


def test_a_file_of_another_kind_is_an_error(config, fewer):
    for content in (b"no checkpoint", Path(mr.__file__).read_bytes()):
        Path(CHECKPOINT).write_bytes(content)
        with pytest.raises(RunError, match=r"damaged .* cannot be read as safetensors: "):
            load_checkpoint(Path(), config, fresh_state(config, fewer))
    save_checkpoint(Path(), config, state := fresh_state(config, fewer))
    mr.save(CHECKPOINT, state.model.state_dict())
    with pytest.raises(RunError, match=r"damaged \(it lacks 'checksum'"):
        load_checkpoint(Path(), config, fresh_state(config, fewer))


def test_a_checkpoint_of_another_network_is_an_error(config, fewer):
    """Even if the settings are the same, because a later release may build the network differently."""
    other = replace(config, model="resnet14")
    save_checkpoint(Path(), config, fresh_state(other, fewer))
    with pytest.raises(RunError, match=r"damaged \(load_state_dict: .*left over"):
        load_checkpoint(Path(), config, fresh_state(config, fewer))


def test_a_checkpoint_of_other_settings_is_an_error(config, fewer):
    save_checkpoint(Path(), replace(config, lr=0.2), fresh_state(config, fewer))
    with pytest.raises(RunError, match=r"damaged \(checkpoint.safetensors belongs to a run with lr 0.2, not 0.1\)"):
        load_checkpoint(Path(), config, fresh_state(config, fewer))
    save_checkpoint(Path(), replace(config, save_every=5, workers=3), fresh_state(config, fewer))
    load_checkpoint(Path(), config, fresh_state(config, fewer))


def test_a_checkpoint_of_an_earlier_format_is_an_error(config, fewer):
    save_checkpoint(Path(), config, fresh_state(config, fewer))
    notes = load_metadata(CHECKPOINT)
    for missing in ("checksum", "config"):
        mr.save(CHECKPOINT, mr.load(CHECKPOINT), {key: note for key, note in notes.items() if key != missing})
        with pytest.raises(RunError, match=r"damaged \((it lacks 'checksum'|.*its checksum differs)\)"):
            load_checkpoint(Path(), config, fresh_state(config, fewer))
