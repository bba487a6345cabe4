"""State dicts on disk: they are read as written, damaged files raise an error, and writing is atomic."""

import os
import sys
from pathlib import Path
from stat import S_ISDIR

import numpy as np
import pytest

import minires as mr
from minires.errors import DataError, DTypeError
from minires.interop.files import remove_temporary_files, write_atomically
from minires.interop.safetensors_file import load_metadata


def test_round_trip_keeps_names_dtypes_shapes_and_layout(tmp_path, rng):
    state = {
        "half": rng.standard_normal((2, 3)).astype("float16"),
        "transposed": rng.standard_normal((4, 5)).T,
        "scalar": np.array(7, "int64"),
        "empty": np.zeros((0, 3), "f"),
        "tensor": mr.tensor([1.0, 2.0]),
    }
    path = tmp_path / "state.safetensors"
    mr.save(path, state, metadata={"epoch": "3"})
    loaded = mr.load(path)
    assert set(loaded) == set(state) and load_metadata(path) == {"epoch": "3"}
    for name, array in state.items():
        expected = np.asarray(array)
        assert loaded[name].dtype == expected.dtype and loaded[name].shape == expected.shape
        np.testing.assert_array_equal(loaded[name], expected)
    assert os.listdir(tmp_path) == ["state.safetensors"]


@pytest.mark.parametrize(
    "content", [None, b"", b"no header", b"\xff" * 64, b'\x10\x00\x00\x00\x00\x00\x00\x00{"a": 1}']
)
def test_a_damaged_file_is_one_sentence(tmp_path, content):
    path = tmp_path / "damaged"
    if content is not None:
        path.write_bytes(content)
    for read in (mr.load, load_metadata):
        with pytest.raises(DataError, match=r"damaged cannot be read as safetensors") as caught:
            read(path)
        assert "\n" not in str(caught.value)


def test_only_arrays_of_numbers_are_saved(tmp_path):
    with pytest.raises(DTypeError, match="entry 'a' is <U1"):
        mr.save(tmp_path / "x", {"a": "b"})
    with pytest.raises(DTypeError, match="entry 3"):
        mr.save(tmp_path / "x", {3: np.zeros(2)})
    assert os.listdir(tmp_path) == []


def test_what_cannot_be_written_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "state"
    mr.save(path, {"a": np.ones(3)})

    def full_disk(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(DataError, match="cannot be written: No space left on device"):
        mr.save(path, {"a": np.zeros(3)})
    np.testing.assert_array_equal(mr.load(path)["a"], np.ones(3))
    assert os.listdir(tmp_path) == ["state"]


def test_ctrl_c_within_a_write_leaves_the_old_file_alone(tmp_path, monkeypatch):
    write_atomically(tmp_path / "file", b"old")

    def ctrl_c(descriptor):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", ctrl_c)
    with pytest.raises(KeyboardInterrupt):
        write_atomically(tmp_path / "file", b"new")
    assert os.listdir(tmp_path) == ["file"] and (tmp_path / "file").read_bytes() == b"old"


def test_what_a_killed_process_left_can_be_removed(tmp_path, monkeypatch):
    monkeypatch.setattr(Path, "replace", lambda *paths: None)
    monkeypatch.setattr(Path, "unlink", lambda path: None)
    write_atomically(tmp_path / "file", b"never renamed")
    write_atomically(tmp_path / "file.json", b"of another file")
    monkeypatch.undo()
    others = [".file", ".file.tmp", "file", "file.minires-tmp"]
    for name in others:
        (tmp_path / name).write_text("")
    assert len(os.listdir(tmp_path)) == 6
    remove_temporary_files(tmp_path)
    assert sorted(os.listdir(tmp_path)) == others
    remove_temporary_files(tmp_path / "nowhere")


@pytest.mark.skipif(os.name != "posix", reason="folders cannot be opened")
def test_the_rename_is_synced_too(tmp_path, monkeypatch):
    """In this order; otherwise a power cut might leave an empty file under the new name."""
    calls, fsync, replace = [], os.fsync, Path.replace
    monkeypatch.setattr(
        os, "fsync", lambda fd: calls.append("folder" if S_ISDIR(os.fstat(fd).st_mode) else "file") or fsync(fd)
    )
    monkeypatch.setattr(Path, "replace", lambda *paths: calls.append("rename") or replace(*paths))
    write_atomically(tmp_path / "file", b"x")
    assert calls == ["file", "rename", "folder"]


def test_a_missing_folder_is_one_sentence(tmp_path):
    with pytest.raises(DataError, match="cannot be written"):
        write_atomically(tmp_path / "nowhere" / "file", b"x")


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no permission bits")
def test_the_file_can_be_read_by_others(tmp_path):
    mr.save(tmp_path / "state", {"a": np.ones(3)})
    assert (tmp_path / "state").stat().st_mode & 0o044 == 0o044
