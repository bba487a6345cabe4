"""Two processes never write to one run folder: the second is told who the first is. Readers are not kept out."""

import os
import signal
import socket
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from minires.errors import RunError
from minires.training import Progress, compare, evaluate, folder, load_run, train
from minires.training.lock import LOCK, locked

HOLD = "import sys, time; from pathlib import Path; from minires.training.lock import locked\n" \
       "with locked(Path(sys.argv[1])): print('locked', flush=True); time.sleep(60)"  # fmt: skip
BUSY = r"^train: process {} on {} \(since \d+-\d+-\d+ \d+:\d+:\d+\) is writing to {}; wait until it ends, or choose"


class During(Progress):
    """Calls ``act`` after the first batch of a run."""

    def __init__(self, act):
        self.act = act

    def batch(self, epoch, done, *told):
        if (epoch, done) == (1, 1):
            self.act()


def test_a_second_run_is_refused_and_the_first_one_is_undisturbed(config, no_figures):
    train(config)
    expected = Path("run/model.safetensors").read_bytes()
    temporary = Path("other/.model.safetensors.x.minires-tmp")

    def second():
        temporary.write_text("being written by the first")
        for resume in (False, True):
            with pytest.raises(RunError, match=BUSY.format(os.getpid(), socket.gethostname(), "other")):
                train(replace(config, out="other"), resume=resume)
        with pytest.raises(RunError, match=BUSY.format(os.getpid(), socket.gethostname(), "other")):
            compare([8], replace(config, out="other"))
        assert temporary.exists()

    train(replace(config, out="other"), progress=During(second))
    assert Path("other/model.safetensors").read_bytes() == expected
    assert not Path("other", LOCK).exists(), "the lock file is removed at the end"
    train(replace(config, out="other"), resume=True)


def test_two_runs_that_choose_the_same_name_get_two_folders(config, monkeypatch):
    """The other process creates the folder just after this one has looked."""
    original, looked = folder._default_folders, []

    def late(config):
        names = original(config)
        if not looked:
            names[-1].mkdir(parents=True)
        looked.append(names[-1])
        return names

    monkeypatch.setattr(folder, "_default_folders", late)
    with folder.run_folder(replace(config, out=None), resume=False) as chosen:
        assert Path(chosen.out) == Path("runs/resnet8-few-seed0-2")


def test_readers_are_not_kept_out(config, no_figures, few):
    train(replace(config, epochs=1))
    seen = []

    def read():
        run = load_run("run")
        seen.append(evaluate(run.model, few.test, run.normalize).accuracy)

    with locked(Path("run")):
        read()
    assert seen


@pytest.mark.parametrize("note", ["", "{", "[]", '{"pid": 1}', '{"pid": "\\u001b[2J", "host": 3, "since": null}'])
def test_a_damaged_note_is_no_obstacle(tmp_path, note):
    (tmp_path / LOCK).write_text(note)
    with locked(tmp_path):  # left by a process that is gone
        (tmp_path / LOCK).write_text(note)
        with (
            pytest.raises(
                RunError, match=r"^train: (another process|process \S+ on 3 \(since None\)) is writing"
            ) as caught,
            locked(tmp_path),
        ):
            pass
    assert "\x1b" not in str(caught.value)


def test_an_error_or_a_thread_releases_it(tmp_path):
    with pytest.raises(KeyError), locked(tmp_path):
        raise KeyError
    both, inside = [], threading.Event()

    def hold():
        with locked(tmp_path):
            inside.set()
            both.append(1)

    thread = threading.Thread(target=hold)
    thread.start()
    thread.join()
    assert inside.is_set() and both == [1]
    with locked(tmp_path):
        pass


def test_a_lock_that_is_removed_while_it_is_waited_for_is_made_anew(tmp_path, monkeypatch):
    """Otherwise two processes could hold the lock of two files with the same name."""
    from minires.training import lock

    original = lock._lock
    removed = []

    def remove_first(descriptor):
        if not removed:
            removed.append((tmp_path / LOCK).unlink())
        return original(descriptor)

    monkeypatch.setattr(lock, "_lock", remove_first)
    with locked(tmp_path):
        assert removed and (tmp_path / LOCK).exists()
        with pytest.raises(RunError), locked(tmp_path):
            pass


def test_a_folder_that_cannot_be_written_to_is_an_error(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    with pytest.raises(RunError, match=r"cannot be written to: it is a file"), locked(tmp_path / "file"):
        pass

    def forbidden(path, *rest):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "open", forbidden)
    with pytest.raises(RunError, match=r"cannot be written to: Permission denied"), locked(tmp_path):
        pass


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
def test_a_killed_process_leaves_no_lock(tmp_path):
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout.readline() == "locked\n"
        with pytest.raises(RunError, match=BUSY.format(process.pid, socket.gethostname(), tmp_path)), locked(tmp_path):
            pass
    finally:
        process.send_signal(signal.SIGKILL)
        process.communicate()
    assert (tmp_path / LOCK).exists()
    with locked(tmp_path):
        pass
