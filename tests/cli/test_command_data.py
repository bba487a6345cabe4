"""``minires data``: list, check and fetch, with a small data set in place of MNIST."""

import gzip
import hashlib

import pytest
from server import serving
from stripes import stripes

from minires import data
from minires.data.places import Archive, PublishedFiles

CONTENT = b"images" * 1000
PACKED = gzip.compress(CONTENT)


@pytest.fixture
def server(monkeypatch, tmp_path):
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setenv("MINIRES_DATA", str(tmp_path / "data"))
    monkeypatch.setattr("minires.data.places.cache_folder", lambda: tmp_path / "cache")
    with serving({"images.gz": PACKED}) as served:
        md5 = hashlib.md5(CONTENT).hexdigest()
        archive = Archive("images.gz", hashlib.md5(PACKED).hexdigest(), len(PACKED))
        small = PublishedFiles("mnist", "MIT", "small", (served.address,), (archive,), {"small": {"images": md5}})
        monkeypatch.setitem(data.PUBLISHED, "mnist", small)
        monkeypatch.setitem(data.DATASETS, "mnist", stripes)
        yield served


def rows_of(text):
    return {line.split()[0]: " ".join(line.split()) for line in text.splitlines() if line}


def test_list_fetch_list_check(minires, server, tmp_path):
    small = tmp_path / "data" / "small"
    result = minires("data", "list")
    assert result.status == 0 and result.err == ""
    rows = rows_of(result.out)
    assert rows["digits"] == "digits - CC BY 4.0 comes with scikit-learn"
    assert rows["cifar10"] == "cifar10 170 MB none stated not here" and rows["mnist"] == "mnist 0 MB MIT not here"
    assert rows["searched:"] == f"searched: {tmp_path / 'data'}, {tmp_path / 'cache'}"

    result = minires("data", "check", "mnist")
    assert result.status == 1 and result.out == "" and "with `minires data fetch mnist`" in result.err

    result = minires("data", "fetch", "mnist")
    waited = f"fetching images.gz (0 MB) from {server.address}images.gz\n"
    assert (result.status, result.out, result.err) == (0, f"{waited}mnist is in {small}\n", "")
    assert rows_of(minires("data", "list").out)["mnist"] == f"mnist 0 MB MIT {small}"

    result = minires("data", "check", "mnist")
    assert result.status == 0 and result.err == ""
    assert result.out.splitlines() == [
        f"mnist in {small}",
        "60 images to train, 30 to test, all labels valid",
        "all checksums match",
    ]

    (small / "images.gz").write_bytes(gzip.compress(CONTENT[1:]))
    result = minires("data", "check", "mnist")
    assert result.status == 1 and "differs from the published file" in result.err and result.err.count("\n") == 1


def test_a_new_data_set_is_listed(minires, server, monkeypatch):
    monkeypatch.setitem(data.DATASETS, "toy", stripes)
    assert rows_of(minires("data", "list").out)["toy"] == "toy - - made when needed"


def test_a_fetch_that_fails_is_one_sentence(minires, server):
    server.manners = ["404"]
    result = minires("data", "fetch", "mnist")
    assert result.status == 1 and result.err.count("\n") == 1
    assert (
        result.err.startswith("minires data: images.gz of mnist cannot be downloaded: ") and "answers 404" in result.err
    )


@pytest.mark.parametrize("words", [["--help"], ["fetch", "-h"]])
def test_help(minires, words):
    result = minires("data", *words)
    assert result.status == 0 and "etch" in result.out


def test_a_missing_data_set_says_how_to_get_it(minires, server):
    result = minires("train", "--data", "cifar10")
    assert result.status == 1 and result.err.count("\n") == 1
    assert (
        result.err.startswith("minires train: data set 'cifar10' was not found") and "data fetch cifar10" in result.err
    )
