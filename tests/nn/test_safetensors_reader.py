"""The reader agrees with the library that defined the format, and refuses more than it does."""

import json

import numpy as np
import pytest
from safetensors.numpy import load, save

import minires as mr
from minires.errors import DataError
from minires.interop.safetensors_reader import LARGEST_HEADER
from minires.interop.serialization import load_metadata

F32 = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
TWO = np.arange(2, dtype="f").tobytes()


def file(header, body=TWO, length=None):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return (len(text) if length is None else length).to_bytes(8, "little") + text + body


@pytest.mark.parametrize("dtype", ["?", "u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f2", "f4", "f8"])
def test_what_the_library_writes_is_read(tmp_path, rng, dtype):
    arrays = {
        "a": (rng.standard_normal((3, 4)) * 9).astype(dtype),
        "scalar": np.array(1, dtype),
        "none": np.zeros((0, 7), dtype),
    }
    path = tmp_path / "weights"
    path.write_bytes(save(arrays, metadata={"format": "pt"}))
    loaded, reference = mr.load(path), load(path.read_bytes())
    assert loaded.keys() == reference.keys() and load_metadata(path) == {"format": "pt"}
    for name, array in loaded.items():
        assert array.dtype == reference[name].dtype and array.flags.writeable
        np.testing.assert_array_equal(array, reference[name])


HOSTILE = [
    (file({"a": F32}, length=2**62), "too few for the header that its first 8 bytes promise"),
    (file({"a": F32})[:5], "it has 5 bytes"),
    (file(b" " * LARGEST_HEADER + b"{}"), "its header is 3145730 bytes long, more than 3145728"),
    (file(b"[" * 10**6), "nested too deeply"),
    (file(b"{'a': 1}"), "no JSON"),
    (file(b"\xff{}"), "no UTF-8"),
    (file([]), "no JSON object"),
    (file(b'{"a": %s, "a": %s}' % ((json.dumps(F32).encode(),) * 2)), "a name occurs twice"),
    (file({"a": F32, "__metadata__": {"a": 1}}), "__metadata__ is no map of strings"),
    (file({"a": F32, "__metadata__": "x"}), "__metadata__ is no map of strings"),
    (file({"a": {**F32, "more": 1}}), "entry 'a' is not described by dtype, shape and two data_offsets"),
    (file({"a": {**F32, "data_offsets": [0, 4, 8]}}), "entry 'a' is not described"),
    (file({"a": 3}), "entry 'a' is not described"),
    (file({"a": {**F32, "dtype": "F8_E4M3"}}), "entry 'a' is of type 'F8_E4M3', and NumPy has no such numbers"),
    (file({"a": {**F32, "shape": [1] * 40}}), "entry 'a' has 40 axes"),
    (file({"a": {**F32, "shape": [-2]}}), "no whole number from 0 up"),
    (file({"a": {**F32, "shape": [2.0]}}), "no whole number from 0 up"),
    (file({"a": {**F32, "shape": [True, 2]}}), "no whole number from 0 up"),
    (file({"a": {**F32, "shape": [2**63]}}), "no whole number from 0 up"),
    (file({"a": {**F32, "shape": [2**62, 2**62]}}), "but its offsets give it 8"),
    (file({"a": {**F32, "data_offsets": [0, 2**40]}}), "entry 'a' needs 8 bytes for its shape"),
    (file({"a": {**F32, "data_offsets": [8, 0]}}), "but its offsets give it -8"),
    (file({"a": {**F32, "data_offsets": [800, 808]}}), "entry 'a' begins at byte 800"),
    (file({"a": {**F32, "shape": [0, 2**62, 4], "data_offsets": [0, 0]}}, b""), "cannot be read"),
    (file({"a": F32, "b": F32}), "entry 'b' begins at byte 0, but those before it end at 8"),
    (file({"a": {**F32, "data_offsets": [4, 12]}}, TWO + b"gaps"), "begins at byte 4, but those before it end at 0"),
    (file({"a": F32}, TWO + b"more"), "its arrays take 8 bytes, but 12 are there"),
    (file({"a": F32}, TWO[:-1]), "its arrays take 8 bytes, but 7 are there"),
    (file({"a\n\x1b" + "b" * 10**5: 3}), r"entry 'a\\n\\x1bbbb"),
]


@pytest.mark.parametrize(("content", "words"), HOSTILE)
def test_a_hostile_file_is_one_short_sentence(tmp_path, content, words):
    path = tmp_path / "weights"
    path.write_bytes(content)
    with pytest.raises(DataError, match=words) as caught:
        mr.load(path)
    message = str(caught.value)
    assert message.startswith(f"load: {path} cannot be read as safetensors: ") and len(message) < 400
    assert message.isprintable()


def test_what_could_not_be_read_is_not_written(tmp_path):
    with pytest.raises(DataError, match=r"take 3145[0-9]+ bytes; load reads no more than 3145728"):
        mr.nn.serialization.save(tmp_path / "x", {"a": np.zeros(1)}, {"note": "x" * LARGEST_HEADER})
    assert not (tmp_path / "x").exists()
