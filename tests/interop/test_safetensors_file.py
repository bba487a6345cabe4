"""Files are read as the package safetensors reads them, with stricter limits."""

import json

import numpy as np
import pytest
from safetensors.numpy import load, save

import minires as mr
from minires.errors import DataError
from minires.interop.safetensors_file import LARGEST_HEADER, load_metadata

F32 = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
TWO = np.arange(2, dtype="f").tobytes()


def file(header, body=TWO, length=None):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return (len(text) if length is None else length).to_bytes(8, "little") + text + body


@pytest.mark.parametrize("dtype", ["?", "u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f2", "f4", "f8"])
def test_what_the_package_writes_is_read(tmp_path, rng, dtype):
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


HOSTILE = {  # what is wrong: the file, and words of the message, or None if the package words it
    "the header ends after the file": (file({"a": F32}, length=2**20), None),
    "a header of 4 exabytes": (file({"a": F32}, length=2**62), "its header is 4611686018427387904 bytes long"),
    "five bytes": (file({"a": F32})[:5], None),
    "a long header": (
        file(b" " * LARGEST_HEADER + b"{}"), "its header is 3145730 bytes long, more than 3145728",
    ),
    "nested lists": (file(b"[" * 10**6), None),
    "nested objects": (file(b'{"a":' * 10**5), None),
    "other quotes": (file(b"{'a': 1}"), None),
    "no UTF-8": (file(b"\xff{}"), None),
    "a list": (file([]), None),
    "a name twice": (
        file(b'{"a": %s, "a": %s}' % ((json.dumps(F32).encode(),) * 2)), "a name occurs twice",
    ),
    "a number in the notes": (file({"a": F32, "__metadata__": {"a": 1}}), None),
    "a string for the notes": (file({"a": F32, "__metadata__": "x"}), None),
    "one more key": (file({"a": {**F32, "more": 1}}), "'a' has the wrong fields: dtype, shape, data_offsets, more"),
    "three offsets": (file({"a": {**F32, "data_offsets": [0, 4, 8]}}), None),
    "a number for an array": (file({"a": 3}), None),
    "float8": (file({"a": {**F32, "dtype": "F8_E4M3", "shape": [8]}}), "entry 'a' is of type 'F8_E4M3'"),
    "an unknown type": (file({"a": {**F32, "dtype": "F7"}}), None),
    "40 axes": (file({"a": {**F32, "shape": [1] * 39 + [2]}}), "entry 'a' has 40 axes"),
    "a negative size": (file({"a": {**F32, "shape": [-2]}}), None),
    "a float as a size": (file({"a": {**F32, "shape": [2.0]}}), None),
    "a boolean as a size": (file({"a": {**F32, "shape": [True, 2]}}), None),
    "2**63 numbers": (file({"a": {**F32, "shape": [2**63]}}), None),
    "2**124 numbers": (file({"a": {**F32, "shape": [2**62, 2**62]}}), None),
    "a terabyte": (file({"a": {**F32, "data_offsets": [0, 2**40]}}), None),
    "offsets the other way round": (file({"a": {**F32, "data_offsets": [8, 0]}}), None),
    "offsets after the end": (file({"a": {**F32, "data_offsets": [800, 808]}}), None),
    "no numbers in 2**64 rows": (file({"a": {**F32, "shape": [0, 2**62, 4], "data_offsets": [0, 0]}}, b""), None),
    "no numbers in 2**63 rows": (file({"a": {**F32, "shape": [0, 2**63], "data_offsets": [0, 0]}}, b""), None),
    "arrays that overlap": (file({"a": F32, "b": F32}), None),
    "a gap": (file({"a": {**F32, "data_offsets": [4, 12]}}, TWO + b"gaps"), None),
    "four bytes too many": (file({"a": F32}, TWO + b"more"), None),
    "one byte too few": (file({"a": F32}, TWO[:-1]), None),
    "an endless name": (file({"a\n\x1b" + "b" * 10**5: {**F32, "data_offsets": [800, 808]}}), None),
    "an endless name of float8": (
        file({"a\n\x1b" + "b" * 10**5: {**F32, "dtype": "F8_E4M3", "shape": [8]}}), r"entry 'a\\n\\x1bbbb",
    ),
}  # fmt: skip


@pytest.mark.parametrize("wrong", HOSTILE)
def test_a_hostile_file_is_one_short_sentence(tmp_path, wrong):
    content, words = HOSTILE[wrong]
    path = tmp_path / "weights"
    path.write_bytes(content)
    with pytest.raises(DataError, match=words) as caught:
        mr.load(path)
    message = str(caught.value)
    assert message.startswith(f"load: {path} cannot be read as safetensors: ") and len(message) < 400
    assert message.isprintable()


def test_what_could_not_be_read_is_not_written(tmp_path):
    with pytest.raises(DataError, match=r"take 3145[0-9]+ bytes; load reads no more than 3145728"):
        mr.interop.safetensors_file.save(tmp_path / "x", {"a": np.zeros(1)}, {"note": "x" * LARGEST_HEADER})
    assert not (tmp_path / "x").exists()
