"""Kernels on disk."""

from __future__ import annotations

import gc
import importlib.util
import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from numba.core.errors import TypingError

import minires as mr

SOURCE = """
from minires.kernels.cpu.compiler import kernel

@kernel
def double(x):
    return 2 * x
"""


def run(path):
    spec = importlib.util.spec_from_file_location("some_kernel", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.double(21), module.double.stats


def test_a_cache_of_another_version_is_written_anew(tmp_path):
    path = tmp_path / "some_kernel.py"
    path.write_text(SOURCE)
    assert run(path)[0] == 42
    result, stats = run(path)
    assert result == 42 and sum(stats.cache_hits.values()) == 1

    (index,) = tmp_path.rglob("*.nbi")
    content = index.read_bytes()
    with open(index, "rb") as file:
        pickle.load(file)  # Numba's version
        start = file.tell()
    index.write_bytes(content[:start] + b"cminires.kernels.cpu.plan\nAClassThatIsGone\n.")
    result, stats = run(path)
    assert result == 42 and sum(stats.cache_misses.values()) == 1
    assert sum(run(path)[1].cache_hits.values()) == 1


def test_garbage_is_collected_again_after_a_compilation(tmp_path):
    path = tmp_path / "some_kernel.py"
    path.write_text(SOURCE)
    assert run(path)[0] == 42 and gc.isenabled()
    path.write_text(SOURCE.replace("2 * x", '"a" - x'))
    with pytest.raises(TypingError):
        run(path)
    assert gc.isenabled()


def test_watchers_are_told_what_is_compiled_and_not_what_is_loaded(tmp_path, monkeypatch):
    path, told = tmp_path / "some_kernel.py", []
    path.write_text(SOURCE)
    monkeypatch.setattr("minires.kernels.cpu.compiler.on_compile", [lambda: told.append(1)])
    run(path)
    assert len(told) == 1
    run(path)
    assert len(told) == 1


INLINED = """
from minires.kernels.cpu.compiler import inlined, kernel

@inlined
def square(x):
    return x * x

@inlined
def numbers(n):
    for i in range(n):
        yield square(i)

@kernel
def double(n):
    total = 0
    for i in numbers(n):
        total += i
    return square(2) + total
"""


def test_inlined_functions_become_machine_code_only_in_kernels(tmp_path):
    path = tmp_path / "some_kernel.py"
    path.write_text(INLINED)
    assert run(path)[0] == run(path)[0] == 4 + sum(i * i for i in range(21))
    spec = importlib.util.spec_from_file_location("some_kernel", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.square.compile("int64(int64)")
    (result,) = module.square.overloads.values()
    with pytest.raises(RuntimeError, match="no compiled object"):
        result.library.serialize_using_object_code()


def test_to_load_a_kernel_nothing_is_imported_that_only_a_compilation_needs(tmp_path):
    """``numba.np.linalg``, for one, imports SciPy if it is installed."""
    (tmp_path / "some_kernel.py").write_text(SOURCE)
    program = "import sys; from some_kernel import double; double(21); print('numba.np.linalg' in sys.modules)"
    path = os.pathsep.join([str(tmp_path), str(Path(mr.__file__).parents[1])])
    command, environment = [sys.executable, "-c", program], {**os.environ, "PYTHONPATH": path}
    said = [subprocess.run(command, env=environment, stdout=subprocess.PIPE, timeout=60).stdout for _ in range(2)]
    assert [line.strip() for line in said] == [b"True", b"False"]


def test_variants_have_files_of_their_own(tmp_path):
    """Two processes that compiled different variants at the same time would both write number 1."""
    path = tmp_path / "some_kernel.py"
    path.write_text(SOURCE)
    run(path)
    spec = importlib.util.spec_from_file_location("some_kernel", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    (index,) = tmp_path.rglob("*.nbi")
    before = {file: file.read_bytes() for file in tmp_path.rglob("*.nbc")}
    index.unlink()  # as the other process saw it
    assert module.double(1.5) == 3.0
    assert all(file.read_bytes() == content for file, content in before.items())
    assert len(list(tmp_path.rglob("*.nbc"))) == 2


@pytest.mark.parametrize("damage", [b"", b"\x80\x04garbage", b"cposix\nAGone\n."])
def test_a_damaged_kernel_on_disk_is_compiled_again(damage, tmp_path):
    path = tmp_path / "some_kernel.py"
    path.write_text(SOURCE)
    run(path)
    (file,) = tmp_path.rglob("*.nbc")
    file.write_bytes(damage)
    assert run(path)[0] == 42
    assert sum(run(path)[1].cache_hits.values()) == 1


# Where nothing can be written

PROGRAM = """
import resource, sys
if limit := int(sys.argv[1]):
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))  # like a full disk
import numpy as np, minires as mr
x = mr.ops.relu(mr.tensor(np.arange(-2048, 2048, dtype="f")))
assert x.numpy().sum() == 2047 * 2048 / 2 and "cpu" not in mr.core.dispatch._rooms
from minires.cli.doctor import Report, _compiled_kernels
report = Report()
_compiled_kernels(report)
print(report)
"""
# Root may write everywhere, unless this is taken away.
AS_A_USER = ["setpriv", "--bounding-set", "-dac_override"] if hasattr(os, "getuid") and os.getuid() == 0 else []


def doctor_in(folder, limit=0, **variables):
    """What the doctor says about compiled kernels, after an op."""
    kept = {name: value for name, value in os.environ.items() if name not in ("XDG_CACHE_HOME", "NUMBA_CACHE_DIR")}
    paths = {"PYTHONPATH": str(folder), "HOME": str(folder / "home"), "PYTHONDONTWRITEBYTECODE": "1"}
    environment = {**kept, **paths, **{name: str(value) for name, value in variables.items()}}
    command = [*AS_A_USER, sys.executable, "-c", PROGRAM, str(limit)]
    ended = subprocess.run(command, capture_output=True, text=True, cwd=folder, env=environment, timeout=300)
    assert ended.returncode == 0, ended.stderr
    return " ".join(ended.stdout.split())


@pytest.fixture
def read_only(tmp_path):
    """A copy of minires in a folder in which nothing can be written, which is also the user's home."""
    folder = tmp_path / "site"
    shutil.copytree(Path(mr.__file__).parent, folder / "minires", ignore=shutil.ignore_patterns("__pycache__"))
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o555 if path.is_dir() else 0o444)
    yield folder
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o755)


posix = pytest.mark.skipif(os.name != "posix" or not shutil.which((AS_A_USER or ["true"])[0]), reason="needs setpriv")


@posix
@pytest.mark.slow
def test_a_user_who_can_write_nowhere_uses_a_temporary_folder_or_compiles_each_time(read_only, tmp_path):
    for name in ("temporary", "others", "given"):
        (tmp_path / name).mkdir()
    said = doctor_in(read_only, TMPDIR=tmp_path / "temporary")
    assert (
        f"in {tmp_path / 'temporary' / 'minires-kernels-'}" in said
        and "set NUMBA_CACHE_DIR to a writable folder" in said
    )
    assert any((tmp_path / "temporary").rglob("*.nbc"))
    (tmp_path / "others" / f"minires-kernels-{os.getuid()}").mkdir()
    (tmp_path / "others" / f"minires-kernels-{os.getuid()}").chmod(0o777)  # what others can write would be run
    assert "not kept" in doctor_in(read_only, TMPDIR=tmp_path / "others")
    assert not any((tmp_path / "others").rglob("*.nb?"))
    said = doctor_in(read_only, NUMBA_CACHE_DIR=tmp_path / "given")
    assert f"in {tmp_path / 'given'}" in said and "nothing to improve" in said


@posix
@pytest.mark.slow
def test_a_cache_folder_that_is_a_file_or_on_a_full_disk_does_not_stop_an_op(read_only, tmp_path):
    (tmp_path / "file").touch()
    said = doctor_in(read_only, NUMBA_CACHE_DIR=tmp_path / "file" / "folder", HOME=tmp_path)
    assert "which is not writable" in said and f"in {tmp_path / '.cache'}" in said
    doctor_in(read_only, limit=100, NUMBA_CACHE_DIR=tmp_path / "full")
    assert not any((tmp_path / "full").rglob("*.nbc"))
