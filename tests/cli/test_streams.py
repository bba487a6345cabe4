"""Closed streams, broken pipes, full disks, odd terminals: each command ends properly, and no run is lost."""

import errno
import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from minires.cli import train as train_module
from minires.cli.output import make_console

posix = pytest.mark.skipif(os.name == "nt", reason="streams of POSIX")
TRAIN = "train --epochs 2 --batch-size 500 --out run"


class Failing(io.StringIO):
    """A stdout that can no longer be written to after some lines."""

    def __init__(self, number, lines):
        super().__init__()
        self.number, self.lines = number, lines

    def write(self, text):
        self.lines -= text.count("\n")
        if self.lines < 0:
            raise OSError(self.number, os.strerror(self.number))
        return super().write(text)


@pytest.mark.parametrize("lines", [0, 1, 4, 5])
@pytest.mark.parametrize(
    ("number", "status"),
    [(errno.EPIPE, 1), (errno.EIO, 0), (errno.ENOSPC, 0)],  # the reader is gone; the terminal is; the disk is full
)
def test_a_run_outlives_its_output(minires, tmp_path, monkeypatch, number, status, lines):
    out = tmp_path / "run"
    console = make_console()
    console.file = Failing(number, lines)
    with monkeypatch.context() as patch:
        patch.setattr(train_module, "make_console", lambda: console)
        result = minires("train", "--epochs", 3, "--batch-size", 30, "--out", out)
    assert result.status == status
    if status:
        assert result.err == (
            "minires train: the output is no longer read: stopped and saved; continue with: "
            f"minires train --resume --out {out}.\n"
        )
        assert (out / "checkpoint.safetensors").exists() and not (out / "metrics.json").exists()
        assert minires("train", "--resume", "--out", out).status == 0
    assert (out / "metrics.json").exists()


CASES = {  # a command line of a POSIX shell, its exit status, and what it says on stderr
    f"{TRAIN} | head -1": (1, "minires train: the output is no longer read: stopped and saved; continue with: "
                              "minires train --resume --out run.\n"),
    f"{TRAIN} >&-": (0, ""),
    f"{TRAIN} <&- >&-": (0, ""),
    f"{TRAIN} 2>&- >/dev/null": (0, ""),
    "--version | true": (1, ""),
    "--version >&- <&-": (0, ""),
    "train --lr x <&- >&- 2>&-": (2, ""),
    "data list | true": (1, ""),
}  # fmt: skip


def shell(line, folder, **more):
    """Run a command line, and return the exit status of its first program, stdout and stderr."""
    command = f"{sys.executable} -m minires {line}; exit ${{PIPESTATUS[0]}}"
    path = os.pathsep.join([str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": path, **more}
    done = subprocess.run(["bash", "-c", command], cwd=folder, env=environment, capture_output=True, timeout=120)
    return done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace")


@pytest.mark.slow
@posix
@pytest.mark.parametrize("line", CASES)
def test_streams_of_a_shell(tmp_path, line):
    status, _, err = shell(line, tmp_path)
    assert (status, err) == CASES[line]
    if line.startswith("train --ep"):
        assert (tmp_path / "run/checkpoint.safetensors").exists()
        assert (tmp_path / "run/metrics.json").exists() == (status == 0)


@pytest.mark.slow
@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="Linux has a full device")
@pytest.mark.parametrize("line", ["--version", "data list", TRAIN])
def test_a_full_disk_is_one_sentence(tmp_path, line):
    status, _, err = shell(f"{line} > /dev/full", tmp_path)
    assert status == 1 and err.count("\n") == 1 and "No space left on device" in err
    assert line != TRAIN or (tmp_path / "run/metrics.json").exists()


@pytest.mark.slow
@posix
@pytest.mark.parametrize("more", [{"PYTHONIOENCODING": "ascii"}, {"LC_ALL": "C", "PYTHONUTF8": "0"}])
def test_a_stream_that_is_not_utf_8(tmp_path, more):
    status, out, err = shell(TRAIN.replace("run", "r\N{LATIN SMALL LETTER E WITH ACUTE}sum"), tmp_path, **more)
    assert status == 0 and err == "" and "minires evaluate" in out


@pytest.mark.slow
@posix
@pytest.mark.parametrize(("term", "columns"), [("dumb", 80), ("xterm", 20), ("xterm", 3)])
def test_terminals(tmp_path, term, columns):
    status, shown = in_terminal(TRAIN.split(), tmp_path, term, columns)
    assert status == 0 and "test accuracy" in shown and "Traceback" not in shown
    assert ("\x1b" in shown) == (term != "dumb")


@pytest.mark.slow
@posix
def test_a_terminal_that_is_closed_saves(tmp_path):
    """The process group gets SIGHUP, and its streams can no longer be used."""
    words = ["train", "--epochs", "1000", "--out", "run"]
    status, _ = in_terminal(words, tmp_path, "xterm", 80, until=b"1/1000")
    assert status == 129
    assert (tmp_path / "run/checkpoint.safetensors").exists() and not (tmp_path / "run/metrics.json").exists()


def in_terminal(words, folder, term, columns, until=None):
    """Run the command in a terminal, which is closed when ``until`` appears; return the status and what it showed."""
    import fcntl
    import pty
    import struct
    import termios

    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    start = "import fcntl, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); from minires.cli.main import main; "
    process = subprocess.Popen(
        [sys.executable, "-c", f"{start} sys.exit(main())", *words],
        stdin=theirs, stdout=theirs, stderr=theirs, cwd=folder, start_new_session=True,
        env={**os.environ, "TERM": term, "PYTHONPATH": str(Path(__file__).parents[2])},
    )  # fmt: skip
    os.close(theirs)
    shown = b""
    try:
        while not (until and until in shown) and (more := os.read(ours, 4096)):
            shown += more
    except OSError:  # Linux says EIO at the end
        pass
    os.close(ours)
    return process.wait(timeout=120), shown.decode(errors="replace")
