"""MNIST and Fashion-MNIST: idx files, plain and compressed; damaged ones raise an error."""

import dataclasses
import gzip
import struct
import tracemalloc
import zlib

import numpy as np
import pytest
from forbidden import forbid_opening
from reference import needed

import minires as mr
from minires.data.mnist import FASHION_MNIST, MNIST, read_idx
from minires.errors import DataError

COUNTS = {"train": 6, "t10k": 4}


def idx(array):
    return bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def write(layout, folder, compress):
    """Write a data set of few images; return what was written, by the first word of the file names."""
    rng, content = np.random.default_rng(0), {}
    folder.mkdir(parents=True)
    for word, count in COUNTS.items():
        images, labels = rng.integers(0, 256, (count, 28, 28), np.uint8), rng.integers(0, 10, count, np.uint8)
        content[word] = images, labels
        for name, array in ((f"{word}-images-idx3-ubyte", images), (f"{word}-labels-idx1-ubyte", labels)):
            if compress:
                (folder / f"{name}.gz").write_bytes(gzip.compress(idx(array)))
            else:
                (folder / name).write_bytes(idx(array))
    return dataclasses.replace(layout, train={"train": 6}, test={"t10k": 4}), content


@pytest.mark.parametrize("layout", [MNIST, FASHION_MNIST], ids=["mnist", "fashion_mnist"])
@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize("folder", [0, 1])
def test_what_was_written_is_read(layout, compress, folder, tmp_path):
    small, content = write(layout, tmp_path / list(layout.sums)[folder], compress)
    dataset = small.load(tmp_path)
    for split, word in ((dataset.train, "train"), (dataset.test, "t10k")):
        images, labels = content[word]
        np.testing.assert_array_equal(split.images[:, 0], images)
        np.testing.assert_array_equal(split.labels, labels)
        assert split.images.flags.writeable
    assert dataset.name == layout.name and dataset.image_shape == (1, 28, 28) and len(dataset.classes) == 10


GOOD = idx(np.arange(12, dtype=np.uint8).reshape(3, 2, 2))
DAMAGED = {
    "empty": (b"", "ends within its header"),
    "half a header": (GOOD[:10], "ends within its header"),
    "the magic of labels": (b"\0\0\x08\x01" + GOOD[4:], "begins with the bytes 00 00 08 01, not with 00 00 08 03"),
    "floats": (b"\0\0\x0d\x03" + GOOD[4:], "begins with the bytes 00 00 0d 03"),
    "one more in the header": (GOOD[:7] + b"\x04" + GOOD[8:], "it holds 4x2x2 bytes, not 3x2x2"),
    "one fewer in the header": (GOOD[:7] + b"\x02" + GOOD[8:], "it holds 2x2x2 bytes, not 3x2x2"),
    "other sides": (idx(np.zeros((3, 4, 1), np.uint8)), "it holds 3x4x1 bytes, not 3x2x2"),
    "huge": (GOOD[:4] + b"\xff" * 12 + GOOD[16:], "it holds 4294967295x4294967295x4294967295 bytes"),
    "cut off": (GOOD[:-1], "its 3x2x2 bytes are cut off"),
    "too long": (GOOD + b"\0", "its 3x2x2 bytes are followed by others"),
}


@pytest.mark.parametrize("case", DAMAGED)
@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_a_damaged_file_is_one_sentence(tmp_path, case, suffix):
    content, reason = DAMAGED[case]
    path = tmp_path / f"images{suffix}"
    path.write_bytes(gzip.compress(content) if suffix else content)
    with pytest.raises(DataError) as caught:
        read_idx("mnist", path, (3, 2, 2))
    assert str(caught.value).startswith(f"mnist: {path} cannot be read as an idx file: ")
    assert reason in str(caught.value) and str(caught.value).endswith(".")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda old: old[:-9], "damaged or incomplete"),
        (lambda old: b"plain" + old, "[Nn]ot a gzipped file"),
        (lambda old: old[:-8] + bytes([old[-8] ^ 1]) + old[-7:], "CRC check failed"),
        (lambda old: old[:10] + b"\xff\xff\xff" + old[13:], "damaged or incomplete"),
    ],
)
def test_damaged_compression_is_one_sentence(tmp_path, change, reason):
    path = tmp_path / "images.gz"
    path.write_bytes(change(gzip.compress(GOOD)))
    with pytest.raises(DataError, match=reason):
        read_idx("mnist", path, (3, 2, 2))


@pytest.mark.slow
def test_a_file_that_inflates_without_end_costs_no_memory(tmp_path):
    """A gigabyte of zeros in a megabyte."""
    squeezer = zlib.compressobj(9, zlib.DEFLATED, 31)
    path = tmp_path / "images.gz"
    with open(path, "wb") as file:
        file.write(squeezer.compress(GOOD))
        for _ in range(64):
            file.write(squeezer.compress(bytes(1 << 24)))
        file.write(squeezer.flush())
    tracemalloc.start()
    try:
        with pytest.raises(DataError, match="followed by others"):
            read_idx("mnist", path, (3, 2, 2))
        assert tracemalloc.get_traced_memory()[1] < 1e6
    finally:
        tracemalloc.stop()


def test_a_label_that_is_no_class_and_files_that_are_missing(tmp_path):
    folder = tmp_path / "mnist"
    small, _ = write(MNIST, folder, compress=False)
    path = folder / "t10k-labels-idx1-ubyte"
    path.write_bytes(idx(np.array([1, 2, 10, 3], np.uint8)))
    with pytest.raises(DataError, match="mnist, image 2 of t10k has the label 10, but classes run from 0 to 9"):
        small.load(tmp_path)
    path.unlink()
    with pytest.raises(DataError, match="mnist lacks t10k-labels-idx1-ubyte; fetch it with `minires data fetch mnist`"):
        small.load(tmp_path)


@pytest.mark.parametrize(
    ("stem", "count"), [("train-images-idx3-ubyte", 7), ("t10k-images-idx3-ubyte", 3), ("train-labels-idx1-ubyte", 5)]
)
def test_whole_files_of_another_number(stem, count, tmp_path):
    """More or fewer images than published, with a matching header: it is another file."""
    small, _ = write(MNIST, tmp_path / "mnist", compress=False)
    sides = (28, 28) if "images" in stem else ()
    (tmp_path / "mnist" / stem).write_bytes(idx(np.zeros((count, *sides), np.uint8)))
    with pytest.raises(DataError, match=f"{stem} cannot be read as an idx file: it holds {count}(x28x28)? bytes, not"):
        small.load(tmp_path)


@pytest.mark.parametrize("compress", [False, True])
def test_a_file_that_may_not_be_read(tmp_path, monkeypatch, compress):
    small, _ = write(MNIST, tmp_path / "mnist", compress)
    forbid_opening(monkeypatch, "t10k-images")
    with pytest.raises(DataError, match=r"t10k-images.* cannot be read as an idx file: Permission denied\.$"):
        small.load(tmp_path)


@pytest.mark.parametrize(
    ("name", "folder", "mean", "std"),
    [("mnist", "mnist", 0.1307, 0.3081), ("fashion_mnist", "fashion-mnist", 0.2860, 0.3530)],
)
def test_the_published_images(name, folder, mean, std):
    """The well-known mean and standard deviation of the training images."""
    needed(folder)
    dataset = mr.data.load(name)
    assert (len(dataset.train), len(dataset.test)) == (60_000, 10_000)
    normalize = mr.data.transforms.Normalize.of(dataset.train)
    np.testing.assert_allclose([*normalize.mean, *normalize.std], [mean, std], atol=1e-4)
    np.testing.assert_array_equal(np.bincount(dataset.test.labels, minlength=10).sum(), 10_000)


@pytest.mark.parametrize("name", ["images", "images.gz"])
@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"<html>Sign in</html>", "it is a web page; use"),
        (b"version https://git-lfs.github.com", "it is a Git LFS pointer"),
    ],
)
def test_what_a_download_may_hold_in_place_of_the_file(tmp_path, name, content, reason):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=reason):
        read_idx("mnist", tmp_path / name, (3, 2, 2))
