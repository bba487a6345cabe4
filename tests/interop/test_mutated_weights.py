"""A thousand damaged files: each either raises the named error or is loaded, in little time and memory."""

import time
import tracemalloc
from collections import Counter

import numpy as np
import pytest
from mutations import as_npz, as_safetensors, mutated_npz, mutated_safetensors, npy, with_header, zipped
from safetensors.numpy import load_file

import minires as mr
from minires.errors import DataError, MiniresError, StateDictError
from minires.interop.published import torchvision_name

FORMATS = {
    "safetensors": (as_safetensors, mutated_safetensors, load_file),
    "npz": (as_npz, mutated_npz, lambda path: dict(np.load(path, allow_pickle=False))),
}
MOST_MEMORY = 100e6  # bytes
LONGEST = 60  # seconds, to detect hanging; a busy machine may take ten under coverage


class Net(mr.nn.Module):
    def __init__(self):
        self.conv1 = mr.nn.Conv2d(3, 16, 3)
        self.bn1 = mr.nn.BatchNorm2d(16)
        self.fc = mr.nn.Linear(16, 3)


def measured(read, path):
    """The error of ``read(path)``, or None. The test fails if it took too much time or memory."""
    tracemalloc.reset_peak()
    before, start = tracemalloc.get_traced_memory()[0], time.perf_counter()
    try:
        read(path)
        error = None
    except MiniresError as caught:
        error = caught
    assert tracemalloc.get_traced_memory()[1] - before < MOST_MEMORY, "too much memory"
    assert time.perf_counter() - start < LONGEST, "too slow"
    return error


@pytest.fixture
def traced():
    tracemalloc.start()
    yield
    tracemalloc.stop()


@pytest.mark.slow
@pytest.mark.parametrize("format", FORMATS)
def test_five_hundred_mutated_files(format, tmp_path, traced):
    write, mutate, reference = FORMATS[format]
    rng = np.random.default_rng(7)
    model = Net()
    before = model.state_dict()
    content = write({f"module.{name}".replace("fc", "linear"): array + 1 for name, array in before.items()})
    path = tmp_path / "weights"
    path.write_bytes(content)
    mr.interop.load_weights(model, path)
    outcomes = Counter()
    for number in range(500):
        path = tmp_path / f"{number}.{format}"
        path.write_bytes(mutate(rng, content))
        model.load_state_dict(before)
        error = measured(lambda path: mr.interop.load_weights(model, path), path)
        outcomes[type(error)] += 1
        after = model.state_dict()
        if error is None:
            expected = {torchvision_name(name): array for name, array in reference(path).items()}
        else:
            assert isinstance(error, (DataError, StateDictError)) and "\n" not in str(error) and len(str(error)) < 2000
            expected = before
        for name, array in after.items():
            np.testing.assert_array_equal(array, expected[name].astype("f"), err_msg=f"{number}: {name}")
        if format == "safetensors":
            measured(mr.load, path)
            measured(mr.interop.safetensors_file.load_metadata, path)
    assert all(outcomes[kind] > 5 for kind in (DataError, StateDictError, type(None))), outcomes


def test_the_measure_finds_a_reader_that_trusts_the_file(tmp_path, traced):
    """NumPy's own reader, with an array of 16 bytes that claims to have 400 MB."""
    path = tmp_path / "bomb.npz"
    path.write_bytes(zipped([("fc.weight.npy", npy(np.zeros(4, "f"), shape=f"({10**8},)"))]))

    def trusting(path):
        with pytest.raises(ValueError), np.load(path) as file:
            file["fc.weight"]

    with pytest.raises(AssertionError, match="too much memory"):
        measured(trusting, path)
    assert "needs 400000000 bytes" in str(measured(lambda path: mr.interop.load_weights(Net(), path), path))


@pytest.mark.parametrize(
    "header",
    [
        "{" + ",".join(f'"{number}":0' for number in range(200_000)) + "}",
        "[" + ",".join(["{}"] * 700_000) + "]",
        "[" * 3_000_000,
    ],
    ids=["names", "objects", "depth"],
)
def test_the_longest_headers_take_little_memory(header, tmp_path, traced):
    path = tmp_path / "weights.safetensors"
    path.write_bytes(with_header(header, b""))
    assert isinstance(measured(mr.load, path), DataError)


def test_an_array_that_unpacks_to_a_hundred_times_its_size_is_not_unpacked(tmp_path, traced):
    path = tmp_path / "bomb.npz"
    zeros = npy(np.zeros(4, "f"), shape=f"({3 * 10**7},)") + bytes(12 * 10**7 - 16)
    path.write_bytes(zipped([("fc.weight.npy", zeros)]))
    assert path.stat().st_size < 10**6
    del zeros
    error = measured(lambda path: mr.interop.load_weights(Net(), path), path)
    assert isinstance(error, StateDictError) and "fc.weight (30000000 for 3x16)" in str(error)
