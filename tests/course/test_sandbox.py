"""The process of a submission: its limits, what it can see, and what it returns."""

import os
import sys

import numpy as np
import pytest

from minires.course.sandbox import CallError, Child, Here, Limits

SOURCE = """
import os
import sys

import numpy as np


def limits(x):
    import resource

    return [resource.getrlimit(getattr(resource, f"RLIMIT_{name}"))[1] for name in ("AS", "FSIZE", "NPROC", "CORE")]


def environment(x):
    raise ValueError(" ".join(sorted(os.environ)))


def where(x):
    raise ValueError(f"{os.getcwd()} {os.listdir('.')} {sys.path} {'minires' in str(list(sys.modules))}")


def user(x):
    return os.getuid()


def process(x):
    return os.getpid()


def scratch(x):
    with open("notes", "w") as file:
        file.write("1")
    with open("notes") as file:
        return float(file.read())


def library(x):
    import decimal, fractions, statistics

    return x


def change(x, y):
    x += y
    return x, y


def fail(x):
    return 1 / 0


answer = 42
"""
posix = pytest.mark.skipif(os.name != "posix", reason="Windows has no such limits")


@pytest.fixture(scope="module")
def child():
    process = Child(SOURCE, "s.py", limits=Limits(memory=3 << 30, file_size=5000))
    yield process
    process.close()


@pytest.fixture
def new_child():
    process = Child(SOURCE, "s.py")
    yield process
    process.close()


X = {"x": np.ones(2)}


def said(child, function):
    with pytest.raises(CallError) as caught:
        child.call(function, X)
    return caught.value


@posix
def test_the_limits_are_in_force(child):
    memory, file_size, processes, core = child.call("limits", X).value
    assert (file_size, processes, core) == (5000, 0, 0)
    assert memory == 3 << 30 or sys.platform == "darwin"


@posix
def test_root_becomes_nobody(child):
    assert (child.call("user", X).value != 0) and (os.getuid() == 0 or child.call("user", X).value == os.getuid())


def test_it_sees_nothing_of_the_graders_environment(new_child, monkeypatch):
    monkeypatch.setenv("SECRET", "1")
    seen = said(new_child, "environment").text
    assert "SECRET" not in seen and "HOME" not in seen


def test_it_begins_in_an_empty_folder_without_minires(new_child):
    folder, files, *_, knows = said(new_child, "where").text.removeprefix("raises ValueError: ").split(" ")
    assert folder != os.getcwd() and files == "[]" and knows == "False"


def test_it_may_write_there(child):
    assert child.call("scratch", X).value == 1.0


@pytest.mark.skipif(
    hasattr(os, "getuid") and os.getuid() == 0, reason="root's Python may lie where the user nobody cannot read it"
)
def test_it_may_import_the_standard_library(child):
    assert np.array_equal(child.call("library", X).value, [1, 1])


def test_arguments_come_back_as_they_are_after_the_call(child):
    value, arguments = child.call("change", {"x": np.ones(2), "y": np.ones(2)})
    assert np.array_equal(arguments["x"], [2, 2]) and np.array_equal(arguments["y"], [1, 1])
    assert np.array_equal(value[0], [2, 2])


def test_an_error_has_its_line(child):
    error = said(child, "fail")
    assert (error.kind, error.text) == ("raised", "raises ZeroDivisionError: division by zero")
    assert error.line == " Line 49: return 1 / 0" and SOURCE.splitlines()[48].strip() == "return 1 / 0"


def test_what_is_no_function_is_missing(child):
    for name in ("answer", "nothing"):
        assert said(child, name).text == "is missing: s.py does not define it"


def test_calls_share_a_process_until_it_is_closed(new_child):
    first = new_child.call("process", X).value
    assert new_child.call("process", X).value == first
    new_child.close()
    new_child.close()
    assert new_child.call("process", X).value != first


def test_its_folder_is_removed(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    child = Child(SOURCE, "s.py")
    child.call("scratch", X)
    assert len(list(tmp_path.iterdir())) == 1
    child.close()
    assert list(tmp_path.iterdir()) == []


def test_trusted_functions_run_here_on_copies():
    import types

    module = types.ModuleType("module")
    exec(SOURCE, module.__dict__)
    x = np.ones(2)
    value, arguments = Here(module).call("change", {"x": x, "y": x})
    assert np.array_equal(x, [1, 1]) and np.array_equal(value[0], arguments["x"])
    with pytest.raises(CallError, match="raises ZeroDivisionError"):
        Here(module).call("fail", X)
