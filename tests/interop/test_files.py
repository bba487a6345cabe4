"""State dicts on disk: they are read as written, damaged files raise an error, and writing is atomic."""

import os
import sys
from pathlib import Path
from stat import S_ISDIR

import numpy as np
import pytest

import minires as mr
from minires.errors import ArgumentError, DataError, DTypeError
from minires.interop.files import remove_temporary_files, write_atomically
from minires.interop.safetensors_file import load_metadata, save


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
    with pytest.raises(DTypeError, match="the name 3 is int"):
        mr.save(tmp_path / "x", {3: np.zeros(2)})
    assert os.listdir(tmp_path) == []


WRONG_ENTRIES = [
    ({"__metadata__": np.ones(2), "w": np.ones(3)}, {}, ArgumentError, "cannot have the name '__metadata__'"),
    ({"": np.ones(2)}, {}, ArgumentError, "cannot have the name ''"),
    ({"a\ud800": np.ones(2)}, {}, ArgumentError, "cannot have the name"),
    ([np.ones(2)], {}, ArgumentError, "the state is list"),
    ({"a": {"b": np.ones(2)}}, {}, DTypeError, "entry 'a' is object"),
    ({"a": np.ones(2, complex)}, {}, DTypeError, "floats up to float64"),
    ({"a": np.ones(2)}, {"note": 3}, ArgumentError, "metadata holds 3"),
]


@pytest.mark.parametrize(("state", "metadata", "error", "words"), WRONG_ENTRIES)
def test_what_could_not_be_loaded_is_not_saved(tmp_path, state, metadata, error, words):
    with pytest.raises(error, match=words):
        save(tmp_path / "x", state, metadata)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("dtype", ["f2", "<f4", ">f8", "?", "u1", "i2", ">u4", "i8"])
def test_every_dtype_layout_and_size_comes_back(tmp_path, dtype):
    base = np.arange(-12, 12).reshape(4, 6).astype(dtype)
    state = {"plain": base, "strided": base.T[::2], "flipped": base[::-1], "none": base[:0], "one": base[1, 2, ...]}
    mr.save(tmp_path / "x", state)
    loaded = mr.load(tmp_path / "x")
    for name, array in state.items():
        assert loaded[name].dtype == array.dtype.newbyteorder("=") and loaded[name].shape == array.shape
        np.testing.assert_array_equal(loaded[name], array)


FOREIGN = [
    (b"version https://git-lfs.github.com/spec/v1\noid sha256:abc\nsize 123\n", "a Git LFS pointer, .* `git lfs pull`"),
    (b"\n<!DOCTYPE html><html>" + b" " * 100, "it is a web page"),
    (b"\x1f\x8b\x08" + bytes(20), "compressed with gzip; unpack it first"),
    (b"\x89HDF\r\n\x1a\n" + bytes(20), "HDF5"),
    (b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.", "a pickle, which can run code"),
    (b"Not Found, sorry", "it begins with the text 'Not Found, sorry'"),
    (b"", "it is empty"),
]


@pytest.mark.parametrize(("content", "words"), FOREIGN)
def test_a_file_of_another_kind_is_named(tmp_path, content, words):
    (tmp_path / "w.safetensors").write_bytes(content)
    for read in (mr.load, lambda path: mr.interop.load_weights(mr.nn.Linear(2, 1), path)):
        with pytest.raises(DataError, match=words):
            read(tmp_path / "w.safetensors")


def test_an_npz_file_is_named(tmp_path):
    np.savez(tmp_path / "w.npz", a=np.ones(2))
    with pytest.raises(DataError, match=r"mr.interop.load_weights\(model, path\) reads those of np.savez"):
        mr.load(tmp_path / "w.npz")


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
