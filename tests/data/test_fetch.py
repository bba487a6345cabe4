"""Downloads from a server that cuts, corrupts and stalls; archives that try to write elsewhere; checksums."""

import gzip
import hashlib
import io
import tarfile
from types import SimpleNamespace

import numpy as np
import pytest
from forbidden import forbid_opening
from reference import needed
from server import serving

from minires.data import PUBLISHED, published
from minires.data import fetch as fetching
from minires.data.fetch import check, fetch, unpack
from minires.data.places import Archive, PublishedFiles
from minires.errors import ArgumentError, DataError

ONE, TWO = np.random.default_rng(0).bytes(9000), b"second" * 1000
SUMS = {"one": hashlib.md5(ONE).hexdigest(), "two": hashlib.md5(TWO).hexdigest()}
NOWHERE = "http://127.0.0.1:9/"  # the port of the protocol "discard", where nobody listens


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr(fetching, "TIMEOUT", 0.3)
    monkeypatch.setattr(fetching, "PIECE", 1000)
    monkeypatch.setenv("no_proxy", "*")


def packed(members):
    """A .tar.gz. A member is (name, bytes), or (name, type, target) for a link."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as tar:
        for name, *rest in members:
            info = tarfile.TarInfo(name)
            if len(rest) == 1:
                info.size = len(rest[0])
                tar.addfile(info, io.BytesIO(rest[0]))
            else:
                info.type, info.linkname = rest
                tar.addfile(info)
    return stream.getvalue()


TAR = packed([("batches/readme", b"hello"), ("batches/one", ONE), ("./batches/two", TWO)])


@pytest.fixture
def server():
    with serving({"all.tar.gz": TAR, "one.gz": gzip.compress(ONE)}) as served:
        yield served


@pytest.fixture
def other():
    """A second mirror."""
    with serving({"all.tar.gz": TAR}) as served:
        yield served


def source(*mirrors, content=TAR):
    archive = Archive("all.tar.gz", hashlib.md5(content).hexdigest(), len(content))
    return PublishedFiles("made-up", "none", "batches", tuple(mirrors), (archive,), {"batches": SUMS})


def names(root):
    return sorted(path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file())


def assert_complete(root):
    assert names(root) == ["batches/one", "batches/two"], "nothing else is left"
    assert (root / "batches" / "one").read_bytes() == ONE and (root / "batches" / "two").read_bytes() == TWO


def test_fetched_checked_and_not_fetched_again(server, tmp_path):
    seen = []
    folder = fetch(source(server.address), tmp_path, lambda file, done, size: seen.append((file, done, size)))
    assert folder == tmp_path / "batches"
    assert_complete(tmp_path)
    assert seen[-1] == ("all.tar.gz", len(TAR), len(TAR)) and len(seen) >= 9
    assert [done for _, done, _ in seen] == sorted({done for _, done, _ in seen})
    assert check(source(server.address), tmp_path) == (folder, 0)
    fetch(source(server.address), tmp_path)
    assert len(server.requests) == 1
    (folder / "two").write_bytes(TWO[:-1])
    fetch(source(server.address), tmp_path)
    assert_complete(tmp_path)


def test_a_cut_download_goes_on_where_it_stopped(server, tmp_path):
    server.manners = ["cut", "cut", "whole"]
    fetch(source(server.address), tmp_path)
    assert_complete(tmp_path)
    half = len(TAR) // 2
    assert server.ranges() == [None, f"bytes={half}-", f"bytes={half + (len(TAR) - half) // 2}-"]


def test_a_stalled_download_goes_on(server, tmp_path):
    server.manners = ["stall", "whole"]
    fetch(source(server.address), tmp_path)
    assert_complete(tmp_path)
    assert len(server.requests) == 2


def test_it_goes_on_in_another_run_and_at_another_mirror(server, other, tmp_path):
    server.manners = ["cut", "404"]
    with pytest.raises(DataError, match=r"all\.tar\.gz of made-up cannot be downloaded: http.* answers 404"):
        fetch(source(server.address), tmp_path)
    assert names(tmp_path) == ["all.tar.gz.part"]
    server.manners = ["404"]
    fetch(source(NOWHERE, server.address, other.address), tmp_path)
    assert_complete(tmp_path)
    assert other.ranges() == [f"bytes={len(TAR) // 2}-"]


def test_a_corrupt_file_is_not_kept(server, other, tmp_path):
    server.manners = ["corrupt"]
    fetch(source(server.address, other.address), tmp_path)
    assert_complete(tmp_path)
    assert other.ranges() == [None]


def test_a_corrupt_file_everywhere_is_one_sentence(server, tmp_path):
    server.manners = ["corrupt"]
    with pytest.raises(DataError) as caught:
        fetch(source(server.address, NOWHERE), tmp_path)
    message = str(caught.value)
    assert f"{server.address} delivers a file with the wrong md5 sum; {NOWHERE} fails (" in message
    assert message.endswith(".") and "\n" not in message and names(tmp_path) == []


@pytest.mark.parametrize("left", [b"\0" * 100, b"\0" * len(TAR), b"\0" * (len(TAR) + 1)])
def test_what_was_left_of_another_file_is_replaced(server, tmp_path, left):
    (tmp_path / "all.tar.gz.part").write_bytes(left)
    fetch(source(server.address), tmp_path)
    assert_complete(tmp_path)
    assert server.ranges()[-1] is None


def test_a_server_that_always_sends_all_of_it(server, tmp_path):
    server.manners = ["cut", "no range"]
    fetch(source(server.address), tmp_path)
    assert_complete(tmp_path)


def test_no_more_is_taken_than_the_file_has(server, tmp_path):
    server.manners = ["too long"]
    fetch(source(server.address), tmp_path)
    assert_complete(tmp_path)


def test_a_mirror_that_always_cuts_is_given_up(server, tmp_path):
    server.manners = ["cut"] * 20
    with pytest.raises(DataError, match=r"fails \(after [\d,]+ of [\d,]+ bytes\)"):
        fetch(source(server.address), tmp_path)
    assert len(server.requests) == fetching.TRIES


@pytest.mark.parametrize(
    "where", ["http://[::bad", "http://a\x1b[31mb/", "http://h:port/", "file:///etc/passwd", "x" * 9000]
)
def test_a_redirect_to_nowhere_does_not_stop_the_other_mirrors(server, other, tmp_path, where):
    server.manners = [("redirect", where)]
    said = []
    fetch(source(server.address, other.address), tmp_path, say=said.append)
    assert_complete(tmp_path)
    assert said == [f"all.tar.gz (0 MB) from {mirror.address}all.tar.gz" for mirror in (server, other)]
    (tmp_path / "batches" / "one").unlink()
    server.manners = [("redirect", where)]
    with pytest.raises(DataError, match="cannot be downloaded") as caught:
        fetch(source(server.address), tmp_path)
    assert str(caught.value).isprintable() and len(str(caught.value)) < 600


@pytest.mark.parametrize("manner", ["drip", "drip headers"])
def test_a_server_that_drips_is_given_up(server, other, tmp_path, monkeypatch, manner):
    monkeypatch.setattr(fetching, "TRIES", 1)
    server.manners = [manner]
    fetch(source(server.address, other.address), tmp_path)
    assert_complete(tmp_path)


def test_a_limit_of_time(server, other, tmp_path, monkeypatch):
    monkeypatch.setattr(fetching, "LONGEST", 0.2)
    monkeypatch.setattr(fetching, "SLOWEST", 0.0)
    server.manners = ["drip"]
    with pytest.raises(
        DataError, match=r"hours are over after \d+ of .* bytes.*; .* was not tried, because .* hours has"
    ):
        fetch(source(server.address, other.address), tmp_path)
    assert other.requests == []


def test_space_is_checked_first(server, tmp_path, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=2 * len(TAR)))
    with pytest.raises(
        DataError, match=r"made-up needs 0 MB in .*, where 0 MB are free; make space, or set MINIRES_DATA"
    ):
        fetch(source(server.address), tmp_path)
    assert server.requests == [] and names(tmp_path) == []


def test_a_web_page_in_place_of_the_file(server, other, tmp_path):
    server.files["all.tar.gz"] = b"<!DOCTYPE html><html>Sign in to go on</html>"
    with pytest.raises(DataError, match=r"delivers another file: it is a web page; use the link that downloads"):
        fetch(source(server.address), tmp_path)
    assert names(tmp_path) == []


def test_single_files_stay_compressed(server, tmp_path):
    content = gzip.compress(ONE)
    archive = Archive("one.gz", hashlib.md5(server.files["one.gz"]).hexdigest(), len(server.files["one.gz"]))
    single = PublishedFiles("made-up", "none", "idx", (server.address,), (archive,), {"idx": {"one": SUMS["one"]}})
    fetch(single, tmp_path)
    assert names(tmp_path) == ["idx/one.gz"]
    assert check(single, tmp_path) == (tmp_path / "idx", 0)
    fetch(single, tmp_path)
    assert len(server.requests) == 1
    (tmp_path / "idx" / "one.gz").write_bytes(content[:-20])
    with pytest.raises(DataError, match=r"check: .*one\.gz cannot be read: "):
        check(single, tmp_path)


def test_a_damaged_file_beside_the_compressed_one_is_removed(server, tmp_path):
    content = server.files["one.gz"]
    archive = Archive("one.gz", hashlib.md5(content).hexdigest(), len(content))
    single = PublishedFiles("made-up", "none", "idx", (server.address,), (archive,), {"idx": {"one": SUMS["one"]}})
    (tmp_path / "idx").mkdir()
    (tmp_path / "idx" / "one").write_bytes(ONE)
    fetch(single, tmp_path)
    assert server.requests == [] and names(tmp_path) == ["idx/one"], "it is right as it is"
    (tmp_path / "idx" / "one").write_bytes(ONE[:-1])
    fetch(single, tmp_path)
    assert names(tmp_path) == ["idx/one.gz"]
    check(single, tmp_path)


def test_a_folder_that_cannot_be_written(server, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match=r"fetch: .* cannot be written: "):
        fetch(source(server.address), tmp_path / "file")


@pytest.mark.parametrize(
    "hostile",
    [
        ("../evil", b"x"),
        ("batches/../../evil", b"x"),
        ("/tmp/minires-evil", b"x"),
        ("batches/evil", tarfile.SYMTYPE, "/etc"),
        ("batches", tarfile.SYMTYPE, "/tmp"),
        ("batches/sub/one", b"x"),
        ("batches/evil", tarfile.LNKTYPE, "/etc/passwd"),
        ("batches/null", tarfile.CHRTYPE, ""),
        ("batches/disk", tarfile.BLKTYPE, ""),
        ("batches/pipe", tarfile.FIFOTYPE, ""),
        ("..", tarfile.DIRTYPE, ""),
        ("batches/../one", b"x"),
        ("batches\\..\\..\\evil", b"x"),
    ],
)
def test_other_members_are_never_unpacked(tmp_path, hostile):
    archive, folder = tmp_path / "a.tar.gz", tmp_path / "data" / "batches"
    folder.mkdir(parents=True)
    archive.write_bytes(packed([hostile, ("batches/one", ONE), ("batches/two", TWO)]))
    unpack(archive, folder, SUMS)
    assert names(tmp_path) == ["a.tar.gz", "data/batches/one", "data/batches/two"]
    assert not folder.is_symlink()


@pytest.mark.parametrize(
    ("members", "reason"),
    [
        ([("batches/one", tarfile.SYMTYPE, "/etc/passwd")], "batches/one in .* is not a regular file, or is too large"),
        ([("batches/one", tarfile.LNKTYPE, "batches/two")], "is not a regular file, or is too large"),
        ([("batches/one", tarfile.CHRTYPE, "")], "is not a regular file, or is too large"),
        ([("batches/one", tarfile.BLKTYPE, "")], "is not a regular file, or is too large"),
        ([("batches/one", tarfile.FIFOTYPE, "")], "is not a regular file, or is too large"),
        ([("batches/one", tarfile.DIRTYPE, "")], "is not a regular file, or is too large"),
        ([("batches/one", ONE), ("batches/one", tarfile.SYMTYPE, "/etc")], "is not a regular file, or is too large"),
        ([("batches/one", ONE + b"x")], "batches/one in .* has the wrong md5 sum"),
        ([("batches/one", ONE)], "lacks two"),
        ([], "lacks one, two"),
    ],
)
def test_archives_that_cannot_be_used(tmp_path, members, reason):
    (tmp_path / "batches").mkdir()
    (tmp_path / "a.tar.gz").write_bytes(packed(members))
    with pytest.raises(DataError, match=reason):
        unpack(tmp_path / "a.tar.gz", tmp_path / "batches", SUMS)


def test_members_that_are_too_large_and_archives_that_are_none(tmp_path, monkeypatch):
    (tmp_path / "batches").mkdir()
    path = tmp_path / "a.tar.gz"
    path.write_bytes(TAR)
    with monkeypatch.context() as patch:
        patch.setattr(fetching, "LARGEST_MEMBER", 1000)
        with pytest.raises(DataError, match="not a regular file, or is too large"):
            unpack(path, tmp_path / "batches", SUMS)
    for content in (TAR[:-30], b"no archive", b""):
        path.write_bytes(content)
        with pytest.raises(DataError, match=r"is not a complete \.tar\.gz"):
            unpack(path, tmp_path / "batches", SUMS)


def tar_of(**options):
    """A .tar.gz whose first member has odd fields, with the wanted files behind it."""
    stream, headers = io.BytesIO(), options.pop("pax_headers", {})
    with tarfile.open(fileobj=stream, mode="w:gz", format=tarfile.PAX_FORMAT) as tar:
        info = tarfile.TarInfo("batches/one")
        info.pax_headers = headers
        for name, value in options.items():
            setattr(info, name, value)
        tar.fileobj.write(info.tobuf(tar.format))  # only the header: addfile asks for the content
    return stream.getvalue()


@pytest.mark.parametrize(
    "content",
    [
        tar_of(pax_headers={"GNU.sparse.map": ""}),
        tar_of(pax_headers={"GNU.sparse.map": "1,x"}),
        tar_of(pax_headers={"GNU.sparse.major": "1", "GNU.sparse.minor": "0"}),
        tar_of(pax_headers={"GNU.sparse.size": "x"}),
        tar_of(pax_headers={"size": "-5000"}),
        tar_of(pax_headers={"size": "9" * 5000}),
        tar_of(pax_headers={"comment": "x" * 3_000_000}),
        tar_of(size=1 << 40),
    ],
    ids=[
        "no map",
        "a map of words",
        "no sizes",
        "a size in words",
        "a size below 0",
        "a huge number",
        "a long header",
        "a huge size",
    ],
)
def test_archives_that_confuse_tarfile(tmp_path, content):
    (tmp_path / "batches").mkdir()
    (tmp_path / "a.tar.gz").write_bytes(content)
    with pytest.raises(DataError, match=r"is not a complete \.tar\.gz|lacks one|too large|wrong md5"):
        unpack(tmp_path / "a.tar.gz", tmp_path / "batches", SUMS)
    assert names(tmp_path) == ["a.tar.gz"]


def test_check_names_the_file_that_differs(server, tmp_path):
    made_up = source(server.address)
    with pytest.raises(DataError, match="'made-up' was not found: there is no complete batches in"):
        check(made_up, tmp_path)
    fetch(made_up, tmp_path)
    (tmp_path / "batches" / "two").write_bytes(TWO + b"x")
    with pytest.raises(
        DataError, match=f"two differs from the published file: its content has the md5 sum .*, not {SUMS['two']}"
    ):
        check(made_up, tmp_path)


def test_check_names_a_file_that_may_not_be_read(server, tmp_path, monkeypatch):
    fetch(source(server.address), tmp_path)
    forbid_opening(monkeypatch, "two")
    with pytest.raises(DataError, match=r"check: .*two cannot be read: Permission denied\.$"):
        check(source(server.address), tmp_path)


def test_the_published_files_are_those_that_are_read():
    from minires.data import cifar

    for layout in (cifar.CIFAR10, cifar.CIFAR100):
        stems = [*layout.train, *layout.test]
        binary, python = layout.sums.values()
        assert list(binary) == [f"{stem}.bin" for stem in stems] and list(python) == stems
    for files in PUBLISHED.values():
        assert files.folder in files.sums and all(files.sums[files.folder].values())
        assert all(len(md5) in (0, 32) for sums in files.sums.values() for md5 in sums.values())
        assert all(mirror.startswith("http") and mirror.endswith("/") for mirror in files.mirrors)
    with pytest.raises(ArgumentError, match="choose one of mnist, fashion_mnist, cifar10, cifar100"):
        published("digits")


@pytest.mark.parametrize(
    ("name", "folder"), [("mnist", "mnist"), ("fashion_mnist", "fashion-mnist"), ("cifar10", "cifar-10-batches-bin")]
)
def test_the_reference_data_is_as_published(name, folder):
    assert check(PUBLISHED[name], needed(folder).parent) == (needed(folder), 0)
