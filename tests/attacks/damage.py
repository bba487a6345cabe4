"""Files of every kind that minires reads, and how to damage them. The same seed gives the same files."""

import gzip
import hashlib
import io
import re
import tarfile
from dataclasses import replace
from types import SimpleNamespace
from unittest.mock import Mock, patch

import numpy as np
from mutations import ODD_NUMBERS, as_npz, as_safetensors, cut, flipped, mutated_npz, mutated_safetensors
from PIL import Image
from python2_pickle import batch

import minires as mr
from minires.data import cifar, fetch, images
from minires.data.folder import folder
from minires.data.mnist import read_idx
from minires.training import comparison
from minires.training.checkpoint import TrainingState, load_checkpoint
from minires.training.config import Config, read_settings
from minires.training.folder import load_config, load_run
from minires.training.recipe import make_model, make_optimizer, make_schedule
from minires.training.task import find

WORDS = [
    b"\x1b[31m", b"\0", b"\xff\xfe", "\ud800".encode("utf-8", "surrogatepass"), "\u202e\U0001f600".encode(), b"\r",
    b"\n\n", b'"', b";", b",", b"'", b"[" * 50_000, b'{"a":' * 20_000, b"#", b"\\", b"../",
    b"A" * 200_000, b"nan", b"-inf", b"\xc2\xa0",
]  # fmt: skip


def damaged(rng, content):
    """Flip bytes, cut, or repeat; in a third of the cases near the beginning, where headers are."""
    if rng.integers(3) == 0:
        return cut(rng, content)
    return flipped(rng, content, range(len(content) if rng.integers(2) else min(64, len(content))))


def damaged_text(rng, content):
    """Also change numbers, move lines, and insert words that mean something to a reader of the format."""
    kind = rng.integers(6)
    if kind == 0:
        return damaged(rng, content)
    if kind in (1, 2):
        numbers = list(re.finditer(rb"-?\d+(\.\d+)?", content))
        number = numbers[rng.integers(len(numbers))]
        odd = ODD_NUMBERS[rng.integers(len(ODD_NUMBERS))].encode()
        return content[: number.start()] + odd + content[number.end() :]
    if kind == 3:
        lines = content.split(b"\n")
        lines.insert(rng.integers(len(lines)), lines.pop(rng.integers(len(lines))))
        return b"\n".join(lines)
    if kind == 4:
        return content.decode().encode(["utf-16", "utf-32", "cp037"][rng.integers(3)])
    place = rng.integers(len(content))
    return content[:place] + WORDS[rng.integers(len(WORDS))] + content[place:]


def encoded(format, mode="RGB", **options):
    pixels = np.random.default_rng(0).integers(0, 256, (9, 12, 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(stream, format, **options)
    return stream.getvalue()


class Net(mr.nn.Module):
    def __init__(self):
        self.conv1 = mr.nn.Conv2d(3, 8, 3)
        self.fc = mr.nn.Linear(8, 3)


PIXELS, LABELS = np.random.default_rng(1).integers(0, 256, (5, 3072), dtype=np.uint8), [0, 1, 2, 3, 4]
IDX = b"\0\0\x08\x03" + b"".join(n.to_bytes(4, "big") for n in (5, 4, 3)) + bytes(range(60))
ROWS = [f"p/{i}.png,{'cat' if i % 2 else 'dog'},{'test' if i > 7 else 'train'}" for i in range(10)]
TABLE = "\n".join(["file,class,split", *ROWS])
TOML = 'model = "resnet8"\ndata = "digits"\nepochs = 3\nlr = 0.1\nbatch_size = 32\ncutout = 4\nmixup = 0.2\nseed = 7\n'
SUMS = {"one": hashlib.md5(b"one" * 999).hexdigest()}


def archive():
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name in ("x/readme", "x/one", "x/" + 150 * "long"):
            info = tarfile.TarInfo(name)
            info.size, info.pax_headers = 2997, {"comment": "a comment", "GNU.sparse.major": "0"}
            tar.addfile(info, io.BytesIO(b"one" * 999))
    return stream.getvalue()


def damaged_archive(rng, content):
    """Damage the archive, or the file that holds it compressed. Often, correct the sums of the headers."""
    if rng.integers(4) == 0:
        return damaged(rng, content)
    content = bytearray(
        flipped(rng, content := gzip.decompress(content), [*range(512), *range(512, 2048), *range(len(content))])
    )
    for start in range(0, len(content) - 511, 512) if rng.integers(3) else ():
        header = content[start : start + 512]
        if header[257:262] == b"ustar":
            content[start + 148 : start + 156] = b"%06o\0 " % (sum(header[:148]) + sum(header[156:]) + 8 * 32)
    return gzip.compress(bytes(content))


def read_archive(path):
    target = path.parent / "x"
    target.mkdir(exist_ok=True)
    fetch.unpack(path, target, SUMS)


def read_batch(path):
    cifar._read("cifar", path.parent, path.stem, 5, 1, b"labels")


def read_images(path):
    read_idx("mnist", path, (5, 4, 3))


def read_weights(path):
    mr.interop.load_weights(Net(), path)


def read_table_of_labels(path):
    path.replace(path.parent / "own" / "labels.csv")
    folder(path.parent / "own", in_memory=False)


def own_images(path):
    """As a folder reads it, with the size of the first."""
    images.read(path, 1)
    images.read(path, 3, (8, 8))


def read_checkpoint(run):
    """As a resumed run does."""
    config, dataset = load_config(run), mr.data.digits()
    model = make_model(config, dataset)
    optimizer = make_optimizer(config, model)
    columns = find(config.task).columns
    load_checkpoint(run, config, TrainingState(model, optimizer, make_schedule(config, optimizer, 3), columns=columns))


def read_row(run):
    """As a comparison reads the tables of its runs, which it does not check by training again."""
    config = replace(Config(model="resnet8", epochs=1), out=str(run))
    known = {"load_run": None, "load_data": mr.data.digits(), "evaluate": SimpleNamespace(loss=1.0, errors=2)}
    with patch.multiple(comparison, **{name: Mock(return_value=value or Mock()) for name, value in known.items()}):
        comparison._row(config)


def in_a_run(name, read):
    """How to read a run folder with a damaged file in the place of ``name``."""

    def read_damaged(path):
        run = path.parent / "run"
        whole = (run / name).read_bytes()
        path.replace(run / name)
        try:
            read(run)
        finally:
            (run / name).write_bytes(whole)

    return read_damaged


def kinds_in(run):
    """The kinds of files of a run."""
    readers = {
        "config.json": (load_run, 80),
        "history.csv": (read_row, 60),
        "metrics.json": (read_row, 60),
        "gradients.csv": (read_row, 50),
    }
    kinds = {
        name: ((run / name).read_bytes(), damaged_text, in_a_run(name, read), n) for name, (read, n) in readers.items()
    }
    for name, read, n in (("model.safetensors", load_run, 40), ("checkpoint.safetensors", read_checkpoint, 40)):
        kinds[name] = ((run / name).read_bytes(), mutated_safetensors, in_a_run(name, read), n)
    return kinds


# For each kind: a good file, how to damage it, how to read it from a path, and how often.
KINDS = {
    "png": (encoded("PNG"), damaged, own_images, 80),
    "png with a palette": (encoded("PNG", "P"), damaged, own_images, 40),
    "jpeg": (encoded("JPEG"), damaged, own_images, 80),
    "gif": (encoded("GIF"), damaged, own_images, 60),
    "webp": (encoded("WEBP"), damaged, own_images, 60),
    "bmp": (encoded("BMP"), damaged, own_images, 60),
    "tiff": (encoded("TIFF"), damaged, own_images, 60),
    "tiff, compressed": (encoded("TIFF", compression="tiff_lzw"), damaged, own_images, 60),
    "ppm": (encoded("PPM"), damaged, own_images, 40),
    "safetensors": (as_safetensors(Net().state_dict()), mutated_safetensors, read_weights, 100),
    "npz": (as_npz(Net().state_dict()), mutated_npz, read_weights, 100),
    "labels.csv": (TABLE.encode(), damaged_text, read_table_of_labels, 120),
    "settings.toml": (TOML.encode(), damaged_text, read_settings, 80),
    "batch.bin": (np.insert(PIXELS, 0, LABELS, axis=1).tobytes(), damaged, read_batch, 60),
    "pickle": (batch(PIXELS, LABELS), damaged, read_batch, 120),
    "images-idx": (IDX, damaged, read_images, 40),
    "images-idx.gz": (gzip.compress(IDX), damaged, read_images, 60),
    "tar.gz": (gzip.compress(archive()), damaged_archive, read_archive, 120),
}
