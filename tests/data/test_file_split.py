"""Images that stay in their files: the same batches as from memory, without the memory."""

import tracemalloc

import numpy as np
import pytest
from PIL import Image

import minires as mr
from minires.data import FileSplit, Loader, Split, folder
from minires.data.transforms import Normalize
from minires.errors import ArgumentError, DataError


@pytest.fixture
def noise(tmp_path):
    """Six images of noise in each of two classes, 5 pixels wide and 4 high."""
    rng = np.random.default_rng(0)
    for label in ("cat", "dog"):
        (tmp_path / label).mkdir()
        for number in range(6):
            pixels = rng.integers(0, 256, (4, 5, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / label / f"{number}.png")
    return tmp_path


@pytest.mark.parametrize("options", [{}, {"size": (3, 7)}, {"channels": 1}])
@pytest.mark.parametrize("workers", [0, 2])
def test_they_are_the_images_that_memory_would_hold(noise, options, workers):
    streamed, whole = folder(noise, in_memory=False, **options), folder(noise, **options)
    assert isinstance(streamed.train, FileSplit) and isinstance(whole.train, Split)
    assert (streamed.classes, streamed.image_shape) == (whole.classes, whole.image_shape)
    assert repr(streamed.augmentation) == repr(whole.augmentation)
    for part, expected in ((streamed.train, whole.train), (streamed.test, whole.test)):
        assert len(part) == len(expected) and np.array_equal(part.labels, expected.labels)
        loaders = [Loader(split, 3, shuffle=True, seed=0, num_workers=workers) for split in (part, expected)]
        for (images, labels), (expected_images, expected_labels) in zip(*loaders, strict=True):
            assert np.array_equal(images, expected_images) and np.array_equal(labels, expected_labels)
    assert Normalize.of(streamed.train).mean == Normalize.of(whole.train).mean
    assert Normalize.of(streamed.train).std == Normalize.of(whole.train).std


def test_texts_come_with_them(noise):
    rows = [
        f"{label}/{n}.png,{label},{label} {n},{'train' if n else 'test'}" for label in ("cat", "dog") for n in (0, 1)
    ]
    (noise / "labels.csv").write_text("\n".join(["file,class,text,split", *rows]))
    dataset = folder(noise, in_memory=False)
    assert dataset.train.texts == ("cat 1", "dog 1") and dataset.test.texts == ("cat 0", "dog 0")


def test_size_decides_where_nobody_does(noise, monkeypatch):
    pixels = 12 * 3 * 4 * 5
    for limit, expected in ((pixels, Split), (pixels - 1, FileSplit)):
        monkeypatch.setitem(mr.data.folder.__globals__, "MOST_IN_MEMORY", limit)
        assert isinstance(folder(noise, in_memory=None).train, expected)
    with pytest.raises(ArgumentError, match="in_memory is 'no'; it must be True, False or None"):
        folder(noise, in_memory="no")


def test_a_damaged_image_is_named_when_its_turn_comes(noise):
    path = noise / "dog" / "3.png"
    path.write_bytes(path.read_bytes()[:60])
    dataset = folder(noise, in_memory=False)
    with pytest.raises(
        DataError, match=r"^folder: 1 of \d images cannot be used: image .*3\.png cannot be read: .*\.$"
    ):
        list(Loader(dataset.train, 4, seed=0, num_workers=2))


def test_an_image_of_another_size_is_named_unless_it_is_resized(noise):
    Image.new("RGB", (9, 9)).save(noise / "dog" / "3.png")
    with pytest.raises(DataError, match=r"3\.png is 9x9, but the first image is 4x5; give a size, such as size=32 or"):
        folder(noise, in_memory=False).train[np.arange(10)]
    images, _ = folder(noise, size=6, in_memory=False).train[np.arange(10)]
    assert images.shape == (10, 3, 6, 6)


def test_normalisation_of_many_files_is_that_of_every_kth():
    class Counted:
        labels, image_shape = np.zeros(10_000, np.int64), (1, 1, 1)
        read = ()

        def __len__(self):
            return 10_000

        def __getitem__(self, chosen):
            self.read = (*self.read, *chosen.tolist())
            return (chosen % 256).astype(np.uint8).reshape(-1, 1, 1, 1), self.labels[chosen]

    source = Counted()
    normalize = Normalize.of(source)
    assert source.read == tuple(range(0, 10_000, 3))
    expected = (np.arange(0, 10_000, 3) % 256) / 255
    assert normalize.mean == pytest.approx([expected.mean()]) and normalize.std == pytest.approx([expected.std()])


@pytest.mark.slow
def test_memory_stays_flat(tmp_path):
    """2,000 images of 64x64 are 25 MB of pixels; a pass over them never holds 5 MB at once."""
    header = b"P6 64 64 255\n"
    pixels = np.random.default_rng(0).integers(0, 256, (2_000, 64 * 64 * 3), dtype=np.uint8)
    for number, row in enumerate(pixels):
        path = tmp_path / f"class{number % 2}" / f"{number}.ppm"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(header + row.tobytes())
    total = int(pixels[:, ::64].astype(np.int64).sum())
    del pixels
    folder(tmp_path, in_memory=False).train[np.arange(2)]  # so that importing Pillow's modules is not measured
    tracemalloc.start()
    try:
        dataset = folder(tmp_path, in_memory=False)
        seen = 0
        for split in (dataset.train, dataset.test):
            for images, _ in Loader(split, 16, seed=0, transform=lambda batch, rng: batch):
                seen += int(images.transpose(0, 2, 3, 1).reshape(len(images), -1)[:, ::64].astype(np.int64).sum())
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert seen == total, "every image was read"
    assert peak < 5e6


def test_evaluation_reads_from_files(noise):
    dataset = folder(noise, size=8, in_memory=False)
    model = mr.models.resnet8(num_classes=2)
    from minires.training import evaluate

    results = [
        evaluate(model, split, Normalize.of(split), batch_size=3, num_workers=workers).loss
        for split, workers in ((dataset.test, 0), (dataset.test, 1), (folder(noise, size=8).test, 0))
    ]
    assert results[0] == results[1] == results[2]
