"""Kernels that another process compiles: found, waited for, and without them all still works."""

import os
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

import minires as mr
from minires.core.dispatch import load_kernels

if not load_kernels("cpu"):
    pytest.skip("no kernels", allow_module_level=True)

from minires.kernels import ahead

LONG = 120  # seconds
HOLD = "from minires.kernels import ahead; print(ahead.lock({!r}, {!r}), flush=True); input()"


def python(program, **variables):
    """Start a process; its stdin and stdout are text."""
    paths = os.pathsep.join([*variables.pop("paths", []), str(Path(mr.__file__).parents[1])])
    environment = {**os.environ, "PYTHONPATH": paths, **variables}
    return subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    )


def kill(process):
    process.kill()
    process.communicate()


def holding(folder, name):
    """Start a process that holds a lock until it is killed."""
    process = python(HOLD.format(str(folder), name))
    assert process.stdout.readline() == "True\n"
    return process


# Locks


def test_a_lock_belongs_to_a_process_until_it_ends(tmp_path):
    folder = str(tmp_path)
    assert ahead.lock(folder, "a", 0) and ahead.lock(folder, "a", 0)  # its own lock does not stop a process
    ahead.free(folder, "a")
    other = holding(folder, "a")
    start = time.monotonic()
    assert not ahead.lock(folder, "a", 0.05) and time.monotonic() - start >= 0.05
    assert ahead.lock(folder, "b", 0)
    ahead.free(folder, "a")  # frees only what this process holds
    assert not ahead.lock(folder, "a", 0)
    kill(other)
    assert ahead.lock(folder, "a", LONG)
    for name in "ab":
        ahead.free(folder, name)


def test_without_locks_nobody_waits(tmp_path, monkeypatch):
    assert not ahead.lock(str(tmp_path / "missing"), "a")
    ahead.free(str(tmp_path / "missing"), "a")

    def refuse(*arguments):
        raise OSError(95, "not supported")

    monkeypatch.setattr(ahead, "_reserve", refuse)
    assert not ahead.lock(str(tmp_path), "a")
    ahead.free(str(tmp_path), "a")


# Two processes that need the same kernel

KERNEL = """
from minires.kernels.cpu.compiler import kernel

@kernel
def double(x):
    return 2 * x
"""
DOUBLE = """
import some_kernel
print("ready", flush=True)
input()
assert some_kernel.double({0}) == 2 * {0}
print(sum(some_kernel.double.stats.cache_misses.values()))
"""


def compiled_by(folder, *numbers):
    """How many variants each of some processes compiled, if they call ``double`` with a number at the same time."""
    (folder / "some_kernel.py").write_text(KERNEL)
    processes = [python(DOUBLE.format(number), paths=[str(folder)]) for number in numbers]
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        process.stdin.write("\n")
        process.stdin.flush()
    return [int(process.communicate(timeout=LONG)[0]) for process in processes]


@pytest.mark.slow
def test_only_one_process_compiles_a_kernel_and_the_others_load_it(tmp_path):
    assert sorted(compiled_by(tmp_path, 21, 21, 21)) == [0, 0, 1]


@pytest.mark.slow
def test_variants_that_processes_compile_at_the_same_time_are_all_kept(tmp_path):
    assert compiled_by(tmp_path, 21, 1.5, "1j", "True") == [1, 1, 1, 1]
    assert compiled_by(tmp_path, 21, 1.5, "1j", "True") == [0, 0, 0, 0]


@pytest.mark.slow
def test_after_a_compilation_that_fails_the_next_one_frees_its_lock(tmp_path):
    (tmp_path / "some_kernel.py").write_text(KERNEL)
    program = """
import some_kernel
from minires.kernels.cpu import compiler
for argument in (None, 1.5):
    try:
        some_kernel.double(argument)
    except Exception:
        pass
    print(len(compiler._locks))
"""
    said = python(program, paths=[str(tmp_path)]).communicate(timeout=LONG)[0]
    assert said.split() == ["1", "0"]


# The helper


@pytest.fixture
def popen(monkeypatch):
    """Record the commands of helpers that would be started."""
    commands = []

    class Popen:
        stdin = None

        def __init__(self, command, **options):
            commands.append(command)

        def kill(self):
            pass

        def wait(self):
            pass

    monkeypatch.setattr(ahead, "_started", False)
    monkeypatch.setattr(ahead, "get_num_threads", lambda: 2)
    monkeypatch.setattr(ahead, "subprocess", SimpleNamespace(Popen=Popen, PIPE=-1, DEVNULL=-3))
    return commands


def test_a_process_starts_one_helper(popen, tmp_path):
    ahead.start(str(tmp_path))
    ahead.start(str(tmp_path))
    ahead.start(str(tmp_path / "other"))
    assert len(popen) == 1 and popen[0][0] == sys.executable


def test_no_helper_on_one_core(popen, tmp_path, monkeypatch):
    monkeypatch.setattr(ahead, "get_num_threads", lambda: 1)
    ahead.start(str(tmp_path))
    assert popen == []


def test_no_helper_where_sys_executable_is_not_python(popen, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    ahead.start(str(tmp_path))
    assert popen == []


def test_no_helper_where_nothing_can_be_stored(popen, tmp_path):
    ahead.start(str(tmp_path / "missing"))
    assert popen == []


def test_a_folder_has_one_helper(popen, tmp_path):
    other = holding(tmp_path, ahead.HELPER)
    ahead.start(str(tmp_path))
    kill(other)
    assert popen == []


def test_a_helper_that_cannot_start_does_no_harm(popen, tmp_path, monkeypatch):
    def refuse(*arguments, **options):
        raise RuntimeError("not here")

    monkeypatch.setattr(ahead.subprocess, "Popen", refuse)
    ahead.start(str(tmp_path))


TRAIN = """
import numpy as np, minires as mr
from minires.kernels import ahead, on_compile
mr.set_num_threads(2)
{}
told = []
on_compile.append(lambda: told.append(1))
mr.manual_seed(0)
model = mr.models.resnet20()
optimizer = mr.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
x = np.random.default_rng(0).standard_normal((16, 3, 32, 32), dtype="f")
loss = mr.ops.cross_entropy(model(mr.tensor(x)), np.arange(16) % 10)
loss.backward()
optimizer.step()
print(len(told), float(loss.numpy()))
"""


@pytest.mark.slow
def test_a_helper_compiles_what_a_training_step_needs(tmp_path):
    alone = "ahead._started = True  # it starts no helper"
    folder = {"NUMBA_CACHE_DIR": str(tmp_path)}
    find = "from minires.core.dispatch import load_kernels; load_kernels('cpu')\n"
    find += "from minires.kernels.cpu.compiler import cache_folder; print(cache_folder())"
    place = python(find, **folder).communicate(timeout=LONG)[0].strip()
    helper = python(f"from minires.kernels.ahead import main; main({place!r})", **folder)
    helper.stdout.read()  # until it ends; its stdin stays open
    assert helper.wait(timeout=LONG) == 0
    kill(helper)
    compiled, _ = python(TRAIN.format(alone), **folder).communicate(timeout=LONG)[0].split()
    assert int(compiled) <= 2  # _serve, with which threads begin, and _arrange, for images in another memory layout


FAILS = """
import subprocess
real = subprocess.Popen
def broken(command, **options):
    global process
    process = real([command[0], "-c", "raise SystemExit(1)"], **options)
    return process
subprocess.Popen = broken
"""
KILLED = """
import subprocess, threading
real = subprocess.Popen
def killed(command, **options):
    global process
    process = real(command, **options)
    threading.Timer(4, process.kill).start()  # while it compiles, and holds the lock of a kernel
    return process
subprocess.Popen = killed
"""


@pytest.mark.slow
@pytest.mark.parametrize("broken", [FAILS, KILLED], ids=["fails", "killed"])
def test_a_helper_that_fails_or_is_killed_does_no_harm(broken, tmp_path):
    program = TRAIN.format(broken) + "print(process.wait())"
    count, loss, code = python(program, NUMBA_CACHE_DIR=str(tmp_path)).communicate(timeout=LONG)[0].split()
    assert int(count) >= 10 and float(loss) > 0 and code in ("1", "-9")


RECORDS = """
import subprocess
real = subprocess.Popen
def recorded(command, **options):
    process = real(command, **options)
    print(process.pid, flush=True)
    return process
subprocess.Popen = recorded
"""


def is_running(pid):
    """Whether a process exists and is more than an entry that its parent has not read yet."""
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")
@pytest.mark.parametrize("end", ["killed", "exits"])
def test_a_helper_ends_with_its_parent(end, tmp_path):
    leave = "on_compile.append(lambda: exit() if len(told) == 3 else None)" if end == "exits" else ""
    program = TRAIN.format(f"{RECORDS}\n{leave}")
    process = python(program, NUMBA_CACHE_DIR=str(tmp_path))
    helper = int(process.stdout.readline())
    assert is_running(helper)
    if end == "killed":
        time.sleep(1)
        kill(process)
    else:
        process.communicate(timeout=LONG)
    stop = time.monotonic() + 20
    while is_running(helper) and time.monotonic() < stop:
        time.sleep(0.05)
    assert not is_running(helper)
