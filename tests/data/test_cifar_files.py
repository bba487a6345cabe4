"""CIFAR-10 and CIFAR-100 in both versions: files are read as written; damaged or malicious ones raise an error."""

import contextlib
import dataclasses
import hashlib
import io
import os
import pickle
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from forbidden import forbid_opening
from hypothesis import given
from hypothesis import strategies as st
from python2_pickle import array, batch, dictionary, number, numbers, string
from reference import needed

import minires as mr
from minires.data import PUBLISHED, cifar, fetch
from minires.data.pickles import read_pickle
from minires.errors import DataError

# As published, but with 5 and 3 images in a file.
SMALL10 = dataclasses.replace(cifar.CIFAR10, train=dict.fromkeys(cifar.CIFAR10.train, 5), test={"test_batch": 3})
SMALL100 = dataclasses.replace(cifar.CIFAR100, train={"train": 5}, test={"test": 3})
BOTH = pytest.mark.parametrize("layout", [SMALL10, SMALL100], ids=["cifar10", "cifar100"])


def folders(layout):
    """The folders of the binary and of the python version."""
    return list(layout.sums)


def content(layout):
    """The pixels (N, 3072) and labels (N,) of each file."""
    rng = np.random.default_rng(0)
    return {
        stem: (rng.integers(0, 256, (n, 3072), dtype=np.uint8), rng.integers(0, len(layout.classes), n))
        for stem, n in {**layout.train, **layout.test}.items()
    }


def write_binary(layout, root):
    (root / folders(layout)[0]).mkdir()
    for stem, (pixels, labels) in content(layout).items():
        coarse = np.full((len(labels), layout.read.keywords["label_bytes"] - 1), 19)  # is not read
        records = np.hstack([coarse, labels[:, None], pixels]).astype(np.uint8)
        (root / folders(layout)[0] / f"{stem}.bin").write_bytes(records.tobytes())


def write_python(layout, root):
    (root / folders(layout)[1]).mkdir()
    for stem, (pixels, labels) in content(layout).items():
        content_of_file = batch(pixels, labels.tolist(), layout.read.keywords["label_key"])
        (root / folders(layout)[1] / stem).write_bytes(content_of_file)


def flipped(content, position, bit):
    return content[:position] + bytes([content[position] ^ 1 << bit]) + content[position + 1 :]


@BOTH
@pytest.mark.parametrize("write", [write_binary, write_python])
def test_both_versions_give_what_was_written(layout, write, tmp_path):
    write(layout, tmp_path)
    dataset = layout.load(tmp_path)
    expected = content(layout)
    for split, stems in ((dataset.train, layout.train), (dataset.test, layout.test)):
        pixels = np.concatenate([expected[stem][0] for stem in stems])
        np.testing.assert_array_equal(split.images.reshape(-1, 3072), pixels)
        np.testing.assert_array_equal(split.labels, np.concatenate([expected[stem][1] for stem in stems]))
    assert (
        dataset.image_shape == (3, 32, 32)
        and dataset.train.images[0, 1, 0, 0] == expected[next(iter(layout.train))][0][0, 1024]
    )
    assert dataset.name == layout.name and len(dataset.classes) == len(layout.classes)
    assert repr(dataset.augmentation) == "Compose(transforms=[PadCrop(padding=4), Flip()])"


def test_names_of_the_classes():
    assert cifar.CIFAR10.classes[:3] == ("airplane", "automobile", "bird") and len(cifar.CIFAR10.classes) == 10
    names = cifar.CIFAR100.classes  # are in the order of the alphabet
    assert len(set(names)) == 100 and list(names) == sorted(names)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda old: old[:-1], "it has 15,364 bytes, but its 5 images take 15,365"),
        (lambda old: old + b"\0", "it has 15,366 bytes"),
        (lambda old: b"", "it has 0 bytes"),
    ],
)
def test_a_batch_of_another_size_is_one_sentence(tmp_path, change, reason):
    write_binary(SMALL10, tmp_path)
    path = tmp_path / "cifar-10-batches-bin" / "data_batch_4.bin"
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(DataError) as caught:
        SMALL10.load(tmp_path)
    message = str(caught.value)
    assert message.startswith(f"cifar10: {path} cannot be read as a batch of images: ") and reason in message
    assert message.endswith(".") and "\n" not in message


@pytest.mark.parametrize("number", [0, 4])
def test_a_label_that_is_no_class_is_one_sentence(tmp_path, number):
    write_binary(SMALL10, tmp_path)
    path = tmp_path / "cifar-10-batches-bin" / "data_batch_4.bin"
    old = path.read_bytes()
    path.write_bytes(old[: number * 3073] + b"\x8a" + old[number * 3073 + 1 :])
    with pytest.raises(DataError) as caught:
        SMALL10.load(tmp_path)
    assert str(caught.value) == (
        f"cifar10: in {path.parent}, image {number} of data_batch_4 has the label 138, but classes run from 0 to 9."
    )


@pytest.mark.parametrize(
    ("position", "what"), [(1000, "a pixel"), (3 * 3073, "a label that stays a class")], ids=["pixel", "label"]
)
def test_a_flipped_bit_that_only_the_check_sum_shows(tmp_path, position, what):
    """Any byte is a valid pixel, and most are valid labels: only `minires data check` can detect it."""
    write_binary(SMALL10, tmp_path)
    folder = tmp_path / "cifar-10-batches-bin"
    sums = {path.name: hashlib.md5(path.read_bytes()).hexdigest() for path in folder.iterdir()}
    source = dataclasses.replace(PUBLISHED["cifar10"], sums={folder.name: sums})
    assert fetch.check(source, tmp_path) == (folder, 0)
    before = SMALL10.load(tmp_path).train
    whole = (folder / "data_batch_2.bin").read_bytes()
    (folder / "data_batch_2.bin").write_bytes(flipped(whole, position, bit=0))

    after = SMALL10.load(tmp_path).train
    assert (after.images != before.images).sum() + (after.labels != before.labels).sum() == 1, what
    with pytest.raises(DataError, match=r"data_batch_2\.bin differs from the .* `minires data fetch cifar10`"):
        fetch.check(source, tmp_path)


@given(position=st.integers(0, 5 * 3073 - 1), bit=st.integers(0, 7))
def test_any_flipped_bit_is_read_or_refused(tmp_path_factory, position, bit):
    """The result is another label, another pixel, or an error; never a label that is not a class."""
    path = tmp_path_factory.mktemp("flipped") / "batch.bin"
    pixels, labels = content(SMALL10)["data_batch_1"]
    path.write_bytes(flipped(np.hstack([labels[:, None], pixels]).astype(np.uint8).tobytes(), position, bit))
    try:
        changed = SMALL10.split(path.parent, {"batch": 5})
    except DataError as error:
        assert position % 3073 == 0 and f"image {position // 3073} of batch has the label" in str(error)
    else:
        assert (changed.images.reshape(5, 3072) != pixels).sum() + (changed.labels != labels).sum() == 1
        assert changed.labels.max() < 10


@pytest.mark.parametrize("write", [write_binary, write_python])
def test_batches_that_may_not_be_read(tmp_path, monkeypatch, write):
    write(SMALL10, tmp_path)
    forbid_opening(monkeypatch, "data_batch_5")
    with pytest.raises(DataError, match=r"data_batch_5.* cannot be read as a batch of images: Permission denied\.$"):
        SMALL10.load(tmp_path)


def test_a_folder_in_the_place_of_a_batch(tmp_path):
    write_binary(SMALL10, tmp_path)
    path = tmp_path / "cifar-10-batches-bin" / "data_batch_3.bin"
    path.unlink()
    path.mkdir()
    with pytest.raises(DataError, match=r"cifar-10-batches-bin lacks data_batch_3\.bin; fetch it"):
        SMALL10.load(tmp_path)


def test_the_fine_label_is_the_one_that_is_checked(tmp_path):
    write_binary(SMALL100, tmp_path)
    path = tmp_path / "cifar-100-binary" / "test.bin"
    path.write_bytes(b"\xff\x64" + path.read_bytes()[2:])
    with pytest.raises(DataError, match="image 0 of test has the label 100, but classes run from 0 to 99"):
        SMALL100.load(tmp_path)


def test_missing_and_incomplete(tmp_path, monkeypatch):
    monkeypatch.setenv("MINIRES_DATA", str(tmp_path / "named"))
    monkeypatch.setattr("minires.data.places.cache_folder", lambda: tmp_path / "cache")
    with pytest.raises(DataError) as caught:
        mr.data.load("cifar10")
    assert str(caught.value) == (
        "data set 'cifar10' was not found: there is no complete cifar-10-batches-bin or cifar-10-batches-py in "
        f"{tmp_path / 'named'} or {tmp_path / 'cache'}; fetch it with `minires data fetch cifar10`, or set "
        "MINIRES_DATA or root= to the folder that holds it."
    )
    write_binary(SMALL10, tmp_path)
    (tmp_path / "cifar-10-batches-bin" / "data_batch_2.bin").unlink()
    with pytest.raises(DataError, match=r"cifar-10-batches-bin lacks data_batch_2.bin; fetch it"):
        SMALL10.load(tmp_path)


def test_compressed_batches_are_named(tmp_path):
    """Only files that are published as .gz are read as .gz."""
    write_binary(SMALL10, tmp_path)
    for path in (tmp_path / "cifar-10-batches-bin").iterdir():
        path.rename(f"{path}.gz")
    with pytest.raises(DataError, match=r"bin lacks data_batch_1\.bin, .* \(gunzip the \.gz files there\); fetch it"):
        SMALL10.load(tmp_path)


def test_the_cache_folder_comes_after_the_named_one(tmp_path, monkeypatch):
    monkeypatch.setenv("MINIRES_DATA", str(tmp_path / "named"))
    monkeypatch.setattr("minires.data.places.cache_folder", lambda: tmp_path / "cache")
    (tmp_path / "cache").mkdir()
    write_binary(SMALL10, tmp_path / "cache")
    assert len(SMALL10.load().test) == 3
    (tmp_path / "named").mkdir()
    write_python(SMALL10, tmp_path / "named")
    (tmp_path / "cache" / "cifar-10-batches-bin" / "test_batch.bin").write_bytes(b"damaged, but never looked at")
    assert len(SMALL10.load().test) == 3


@pytest.mark.parametrize(
    ("system", "variables", "expected"),
    [
        ("linux", {"XDG_CACHE_HOME": ""}, ".cache/minires"),
        ("linux", {"XDG_CACHE_HOME": os.path.join(os.path.expanduser("~"), "c")}, "c/minires"),
        ("darwin", {}, "Library/Caches/minires"),
        ("win32", {"LOCALAPPDATA": ""}, "AppData/Local/minires"),
    ],
)
def test_the_cache_folder_of_each_system(monkeypatch, system, variables, expected):
    monkeypatch.setattr("sys.platform", system)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert mr.data.places.cache_folder() == Path(os.path.expanduser("~"), expected)


class Hostile:
    def __reduce__(self):
        return os.system, ("touch pwned",)


PIXELS, LABELS = np.zeros((3, 3072), np.uint8), [0, 1, 2]
REFUSED = {
    "a call": (pickle.dumps(Hostile(), 2), f"asks for '{os.name}.system'"),
    "a call, protocol 4": (pickle.dumps(Hostile(), 4), f"asks for '{os.name}.system'"),
    "a call in an entry": (dictionary({b"data": b"cbuiltins\neval\nU\x011\x85R"}), "asks for 'builtins.eval'"),
    "numpy's own loader": (dictionary({b"data": b"cnumpy\nload\nU\x01x\x85R"}), "asks for 'numpy.load'"),
    "a dotted name": (
        dictionary({b"data": b"cnumpy\ndtype.__class__\nU\x01x\x85R"}),
        "asks for 'numpy.dtype.__class__'",
    ),
    "an object": (dictionary({b"data": b"(inumpy\nload\n"}), "the opcode INST"),
    "room for many": (b"\x80\x02]r\xff\xff\xff\x7f.", "it holds list, not a dictionary"),
    "a deep key": (b"\x80\x02})" + b"\x85" * 20_000 + b"K\x01s.", "it has more than 1,048 steps"),
    "a tuple as a key": (b"\x80\x02})" + b"\x85" * 200 + b"K\x01s.", "a key is tuple, not a name"),
    "a doubled key": (b"\x80\x02})" + b"q\x00h\x00\x86" * 40 + b"K\x01s.", "a key is tuple, not a name"),
    "a doubled tuple for a function": (
        b"\x80\x02})" + b"q\x00h\x00\x86" * 40 + b"\x8c\x01x\x93.",
        "a function without a n",
    ),
    "many axes": (
        dictionary({b"data": array(PIXELS).replace(b"K\x03J\x00\x0c\x00\x00\x86", b"(" + 500 * number(255) + b"t")}),
        "which does not fit its shape",
    ),
    "a wide text": (b"\x80\x02}X\x04\0\0\0" + "\U0001f600".encode() + b"K\x01s.", "a text that is not in Latin-1"),
    "a text again and again": (
        b"\x80\x02}X\xf0\x0a\0\0" + b"a" * 2800 + b"q\0" + 3 * b"c_codecs\nencode\nh\0X\6\0\0\0latin1\x86R" + b".",
        "its strings are not those of Python 3",
    ),
    "a long number": (b"\x80\x02}U\x01aI" + b"9" * 20_000 + b"\ns.", "entry 'data' is not an array"),
    "a long string": (b"\x80\x02}B\xff\xff\xff\x7f.", "it ends 2,147,483,646 bytes too soon"),
    "a longer one": (b"\x80\x02}\x8e" + b"\xff" * 8 + b".", "bytes too soon"),
    "half of it": (batch(PIXELS, LABELS)[:5000], "its pickle is damaged or unsafe .it ends [0-9,]+ bytes too soon"),
    "nothing": (b"", "its pickle is damaged or unsafe .it ends 1 bytes too soon"),
    "no pickle": (b"hello", "its pickle is damaged or unsafe"),
    "a list": (b"\x80\x02].", "it holds list, not a dictionary"),
    "no pixels": (dictionary({b"labels": numbers(LABELS)}), "entry 'data' is not an array of 3 x 3072 bytes"),
    "no labels": (dictionary({b"data": array(PIXELS)}), "entry 'labels' is not a list of 3 integers"),
    "few labels": (batch(PIXELS, LABELS[:2]), "entry 'labels' is not a list of 3 integers"),
    "words for labels": (
        dictionary({b"data": array(PIXELS), b"labels": b"](" + 3 * string(b"cat") + b"e"}),
        "entry 'labels' is not a list of 3 integers",
    ),
    "a label too high": (batch(PIXELS, [0, 10, 2]), "image 1 of test_batch has the label 10"),
    "a label below 0": (batch(PIXELS, [0, 1, -1]), "image 2 of test_batch has the label -1"),
    "few images": (batch(PIXELS[:2], LABELS), "entry 'data' is not an array of 3 x 3072 bytes"),
    "floats": (dictionary({b"data": array(PIXELS, b"f4")}), "its array is not an array of bytes"),
    "objects": (dictionary({b"data": array(PIXELS, b"O8")}), "its array is not an array of bytes"),
    "an order that is none": (dictionary({b"data": array(PIXELS, fortran=b"N")}), "its array is not an array of bytes"),
    "another size": (dictionary({b"data": array(PIXELS).replace(b"K\x03J\x00\x0c", b"K\x02J\x00\x0c")}), "9,216 bytes"),
    "a size below 0": (dictionary({b"data": array(PIXELS).replace(b"K\x03J", b"J\xff\xff\xff\xffJ")}), "9,216 bytes"),
    "a called name": (
        dictionary({b"data": b"cnumpy\nndarray\n" + number(1) + b"\x85R"}),
        "its array is not an array of bytes",
    ),
    "state for a list": (dictionary({b"data": b"]" + number(1) + b"b"}), "its pickle is damaged or unsafe"),
    "much too long": (batch(PIXELS, LABELS) + bytes(40_000), "bytes, but 3 images take no more than"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_hostile_or_damaged_pickle_is_one_sentence(tmp_path, monkeypatch, case):
    monkeypatch.chdir(tmp_path)
    write_python(SMALL10, tmp_path)
    content, reason = REFUSED[case]
    path = tmp_path / "cifar-10-batches-py" / "test_batch"
    path.write_bytes(content)
    tracemalloc.start()
    try:
        with pytest.raises(DataError, match=reason) as caught:
            SMALL10.load(tmp_path)
        assert tracemalloc.get_traced_memory()[1] < 5e6
    finally:
        tracemalloc.stop()
    labels = case in ("a label too high", "a label below 0")  # of a file that can be read
    start = f"in {path.parent}, image " if labels else f"{path} cannot be read as a batch of images: "
    assert str(caught.value).startswith(f"cifar10: {start}")
    assert "\n" not in str(caught.value) and not (tmp_path / "pwned").exists()


def test_an_array_that_is_stored_by_columns():
    pixels = np.arange(6, dtype=np.uint8).reshape(2, 3)
    stored = array(pixels).replace(pixels.tobytes(), pixels.tobytes(order="F")).replace(b"\x89U\x06", b"\x88U\x06")
    np.testing.assert_array_equal(read_pickle(io.BytesIO(dictionary({b"data": stored})), 99)[b"data"], pixels)


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("module", ["numpy.core", "numpy._core"])
@pytest.mark.parametrize("names", [str, str.encode])
@pytest.mark.parametrize("order", "CF")
def test_batches_that_python_3_wrote(tmp_path, protocol, module, names, order):
    """With keys of either type, by any protocol, by NumPy 1 or 2."""
    write_python(SMALL10, tmp_path)
    pixels, labels = content(SMALL10)["test_batch"]
    texts = [names(f"é_{number}.png") for number in range(3)] if names is str else [b"a'\n\x00\xff.png", b"", b"\\u"]
    written = pickle.dumps(
        {
            names("batch_label"): names("testing batch 1 of 1"),
            names("labels"): labels.tolist(),
            names("data"): np.array(pixels, order=order),
            names("filenames"): texts,
        },
        protocol,
    )
    old, new = (f"{name}.".encode() for name in (np.core.__name__ if np.__version__ < "2" else "numpy._core", module))
    if protocol < 4 or old == new:
        written = written.replace(old, new)
    (tmp_path / "cifar-10-batches-py" / "test_batch").write_bytes(written)
    split = SMALL10.load(tmp_path).test
    np.testing.assert_array_equal(split.images.reshape(3, 3072), pixels)
    np.testing.assert_array_equal(split.labels, labels)
    found = read_pickle(io.BytesIO(written), 1000)
    assert found[b"filenames"] == texts


def test_a_batch_that_python_2_wrote_as_text(tmp_path):
    """Protocol 0, as `pickle.dumps` of Python 2 writes it: strings as literals, numbers as digits."""
    write_python(SMALL10, tmp_path)
    pixels, labels = content(SMALL10)["test_batch"]

    def literal(string):
        return b"S" + repr(string)[1:].encode() + b"\n"

    state = b"(I1\n(I3\nI3072\ntcnumpy\ndtype\n(S'u1'\nI0\nI1\ntR(I3\nS'|'\nNNNI-1\nI-1\nI0\ntbI00\n"
    array = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntS'b'\ntR" + state
    written = b"(dp0\nS'labels'\np1\n(lp2\n" + b"".join(b"I%d\na" % label for label in labels) + b"sS'data'\n"
    written += array + literal(pixels.tobytes()) + b"tbs."
    (tmp_path / "cifar-10-batches-py" / "test_batch").write_bytes(written)
    split = SMALL10.load(tmp_path).test
    np.testing.assert_array_equal(split.images.reshape(3, 3072), pixels)
    np.testing.assert_array_equal(split.labels, labels)


WHOLE = batch(np.arange(6, dtype=np.uint8).reshape(2, 3), [1, 2])


@given(position=st.integers(0, len(WHOLE) - 1), value=st.integers(0, 255))
def test_any_byte_changed_is_read_or_refused(position, value):
    changed = WHOLE[:position] + bytes([value]) + WHOLE[position + 1 :]
    with contextlib.suppress(ValueError):
        assert isinstance(read_pickle(io.BytesIO(changed), 99), dict)


def test_the_published_images():
    """The well-known mean and standard deviation of CIFAR-10's training images."""
    needed("cifar-10-batches-bin")
    dataset = mr.data.cifar10()
    assert (len(dataset.train), len(dataset.test)) == (50_000, 10_000)
    normalize = mr.data.transforms.Normalize.of(dataset.train)
    np.testing.assert_allclose(normalize.mean, [0.4914, 0.4822, 0.4465], atol=5e-5)
    np.testing.assert_allclose(normalize.std, [0.2470, 0.2435, 0.2616], atol=5e-5)
    np.testing.assert_array_equal(np.bincount(dataset.train.labels), [5000] * 10)
    np.testing.assert_array_equal(np.bincount(dataset.test.labels), [1000] * 10)
    assert dataset.test.labels[:10].tolist() == [3, 8, 8, 0, 6, 6, 1, 6, 3, 1]  # cat, ship, ship, airplane, frog, ...
