"""Workers and sources: the same batches, bounded memory, no thread left behind."""

import gc
import inspect
import itertools
import signal
import subprocess
import sys
import textwrap
import threading
import time
import weakref

import numpy as np
import pytest
from PIL import Image

import minires as mr
from minires.data import Loader, Split
from minires.data.dataset import Source
from minires.data.images import find
from minires.data.transforms import Compose, Flip, Normalize, PadCrop
from minires.errors import ArgumentError, DataError
from minires.training import evaluate


def split_of(n, shape=(3, 8, 9)):
    images = np.random.default_rng(n).integers(0, 256, (n, *shape), dtype=np.uint8)
    return Split(images, np.arange(n, dtype=np.int64))


class Counted:
    """Makes images when they are needed, and counts those that are alive."""

    def __init__(self, n, shape=(1, 2, 2)):
        self.n, self.shape = n, shape
        self.alive, self.most, self.asked = 0, 0, 0
        self.lock = threading.Lock()

    def __len__(self):
        return self.n

    def __getitem__(self, chosen):
        images = np.empty((len(chosen), *self.shape), np.uint8)
        images[:] = chosen[:, None, None, None] % 256
        with self.lock:
            self.asked += 1
            self.alive += len(chosen)
            self.most = max(self.most, self.alive)
        weakref.finalize(images, self.gone, len(chosen))
        return images, chosen.astype(np.int64)

    def gone(self, count):
        with self.lock:
            self.alive -= count


def keep(batch, rng):
    return batch


def workers():
    return [thread for thread in threading.enumerate() if thread.name.startswith("minires-loader")]


@pytest.fixture(autouse=True)
def no_thread_is_left():
    assert not workers()
    yield
    assert not workers()


def slowed(transform):
    """Batches take varying times, so later ones are often ready before earlier ones."""
    numbers = itertools.count()

    def run(batch, rng):
        time.sleep(0.004 * (next(numbers) % 3 == 0))
        return transform(batch, rng)

    return run


@pytest.mark.parametrize("num_workers", [1, 2, 5])
def test_workers_change_no_bit_of_any_epoch(num_workers):
    split = split_of(103)
    transform = Compose([PadCrop(2), Flip(), Normalize([0.4] * 3, [0.2] * 3)])
    alone = Loader(split, 10, shuffle=True, seed=3, transform=transform)
    helped = Loader(split, 10, shuffle=True, seed=3, transform=slowed(transform), num_workers=num_workers)
    for _ in range(3):
        for (images, labels), (other_images, other_labels) in zip(alone, helped, strict=True):
            assert images.tobytes() == other_images.tobytes()
            assert labels.tobytes() == other_labels.tobytes()
    helped.set_epoch(1)
    alone.set_epoch(1)
    assert all(np.array_equal(a[0], b[0]) for a, b in zip(alone, helped, strict=True))


def test_batches_are_those_from_before_there_were_workers():
    """Recorded values: a run with a seed must give the same network in later versions."""
    labels = np.arange(10, dtype=np.int64)
    split = Split(labels.astype(np.uint8)[:, None, None, None] + np.zeros((1, 1, 3, 3), np.uint8), labels)
    seen = [
        (images[:, 0, 1, 1].tolist(), labels.tolist(), images.sum(dtype=int).item())
        for images, labels in Loader(split, 4, shuffle=True, seed=5, transform=PadCrop(1))
    ]
    assert seen == [
        ([7, 6, 1, 3], [7, 6, 1, 3], 85),
        ([2, 4, 0, 9], [2, 4, 0, 9], 90),
        ([5, 8], [5, 8], 78),
    ]


def test_batches_are_prepared_in_advance():
    """While the first batch is in use, workers make the next ones."""
    source = Counted(1000)
    batches = iter(Loader(source, 10, seed=0, num_workers=2))
    next(batches)
    until = time.monotonic() + 10
    while source.asked < 5 and time.monotonic() < until:
        time.sleep(0.001)
    time.sleep(0.02)  # and no further
    assert source.asked == 5, "the first, and two for each worker"
    batches.close()


@pytest.mark.parametrize("num_workers", [0, 1, 3])
def test_a_source_of_100_000_images_streams_with_flat_memory(num_workers):
    source = Counted(100_000)
    seen = 0
    for images, labels in Loader(source, 100, seed=0, transform=keep, num_workers=num_workers):
        assert images.shape == (100, 1, 2, 2)
        seen += len(labels)
    assert seen == 100_000
    assert source.asked == 1000
    # Two for each worker, the batch that is waited for, and the last one, which the caller still holds.
    assert source.most <= 100 * (2 * num_workers + 2)


def test_a_source_gives_what_a_split_gives():
    split = split_of(50)

    class Source:
        def __len__(self):
            return len(split)

        def __getitem__(self, chosen):
            return split.images[chosen], split.labels[chosen]

    for num_workers in (0, 2):
        options = {"shuffle": True, "seed": 2, "transform": PadCrop(1), "num_workers": num_workers}
        for one, other in zip(Loader(split, 8, **options), Loader(Source(), 8, **options), strict=True):
            assert one[0].tobytes() == other[0].tobytes()
            assert one[1].tobytes() == other[1].tobytes()


def test_a_source_that_reads_files(tmp_path):
    """The source in the docstring of ``Source``."""
    colours = np.arange(12, dtype=np.uint8) * 20
    for i, colour in enumerate(colours):
        Image.new("RGB", (9, 7), (int(colour), 0, 255)).save(tmp_path / f"{i:02}.png")
    example = textwrap.dedent(inspect.getdoc(Source).split("::\n")[1]).replace("(224, 224)", "(4, 5)")
    namespace = {"np": np, "minires": mr}
    exec(example, namespace)
    source = namespace["Files"](list(find(tmp_path)), range(12))
    loader = Loader(source, 5, shuffle=True, seed=0, transform=keep, num_workers=2)
    for images, labels in loader:
        assert images.shape == (len(labels), 3, 4, 5)
        np.testing.assert_array_equal(images[:, 0], np.broadcast_to(colours[labels, None, None], (len(labels), 4, 5)))


def test_a_source_can_be_evaluated():
    model = mr.nn.Sequential(mr.nn.Flatten(), mr.nn.Linear(4, 1000))
    source = Counted(600)
    everything = Split(*source[np.arange(600)])
    assert evaluate(model, source).loss == evaluate(model, everything).loss


@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize(
    ("found", "sentence"),
    [
        (np.zeros((3, 1, 2, 2), np.uint8), r"source\[chosen\] is ndarray; it must be \(images, labels\)"),
        ((np.zeros((3, 1, 2, 2)), np.zeros(3, np.int64)), r"images are float64 \(3x1x2x2\)"),
        ((np.zeros((3, 1, 2, 2), np.uint8), np.zeros(3)), "labels are float64"),
        ((np.zeros((2, 1, 2, 2), np.uint8), np.zeros(2, np.int64)), "the source returned 2 images for 3 indices"),
    ],
)
def test_a_source_that_gives_something_else(found, sentence, num_workers):
    class Wrong:
        def __len__(self):
            return 3

        def __getitem__(self, chosen):
            return found

    with pytest.raises(DataError, match=sentence):
        list(Loader(Wrong(), 3, seed=0, num_workers=num_workers))


@pytest.mark.parametrize("split", [[1, 2], "ab", np.zeros(4), 5, None])
def test_what_is_no_source(split):
    with pytest.raises(ArgumentError, match=f"split is {type(split).__name__}; it must be a Split"):
        Loader(split, 1)
    with pytest.raises(ArgumentError, match="the source holds no images"):
        Loader(Counted(0), 1)
    with pytest.raises(ArgumentError, match="num_workers is -1; it must be an integer >= 0"):
        Loader(split_of(3), 1, num_workers=-1)


@pytest.mark.parametrize("error", [DataError("image 7 cannot be read"), KeyError("x"), KeyboardInterrupt()])
def test_an_exception_of_a_worker_arrives_where_its_batch_would(error):
    def fail_at_third(batch, rng):
        if 2 in batch[:, 0, 0, 0]:
            raise error
        return batch

    seen = []
    with pytest.raises(type(error)) as caught:
        for _, labels in Loader(Counted(9), 1, seed=0, transform=fail_at_third, num_workers=3):
            seen.append(labels.item())
    assert caught.value is error
    assert seen == [0, 1]
    assert not workers(), "they end with the loop, even if the traceback is kept"


@pytest.mark.parametrize("after", [1, 3])
def test_break_leaves_no_thread_behind(after):
    source = Counted(1000)
    loader = Loader(source, 10, seed=0, transform=slowed(keep), num_workers=3)
    for number, _ in enumerate(loader, start=1):
        assert workers()
        if number == after:
            break
    assert not workers()
    assert source.asked <= after + 2 * 3
    del _
    gc.collect()
    assert source.alive == 0
    assert len(list(loader)) == 100


def test_what_was_not_begun_is_not_done():
    def slow(batch, rng):
        time.sleep(0.2)
        return batch

    source = Counted(1000)
    batches = iter(Loader(source, 10, seed=0, transform=slow, num_workers=1))
    next(batches)
    batches.close()
    assert source.asked <= 2, "the first, and the one that the worker had in hand"


def test_an_iteration_that_never_starts_needs_no_thread():
    iter(Loader(Counted(10), 1, seed=0, num_workers=2))
    assert not workers()


def test_two_iterations_at_once_and_one_in_another_thread():
    loader = Loader(split_of(40), 6, shuffle=True, seed=1, transform=PadCrop(1), num_workers=2)
    expected = [[labels.tolist() for _, labels in loader] for _ in range(3)]
    loader.set_epoch(0)
    results = {}
    first, second = iter(loader), iter(loader)
    elsewhere = threading.Thread(target=lambda third: results.update({2: list(third)}), args=(iter(loader),))
    elsewhere.start()
    results[1], results[0] = list(second), list(first)
    elsewhere.join()
    assert [[labels.tolist() for _, labels in results[epoch]] for epoch in range(3)] == expected


def test_workers_run_the_engine_of_the_one_that_iterates():
    engines = []

    def note(batch, rng):
        engines.append(mr.core.state.state.engine)
        return batch

    with mr.engine("textbook"):
        list(Loader(Counted(4), 1, seed=0, transform=note, num_workers=2))
    list(Loader(Counted(4), 1, seed=0, transform=note, num_workers=2))
    assert engines == ["textbook"] * 4 + ["fast"] * 4


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGINT to send")
def test_ctrl_c_ends_a_program_that_waits_for_a_batch():
    program = """
        import signal, sys, time
        import numpy as np
        from minires.data import Loader, Split

        signal.signal(signal.SIGINT, signal.default_int_handler)  # shells make background programs ignore it

        def slow(batch, rng):
            print("waiting", flush=True)
            time.sleep(0.5)
            return batch

        split = Split(np.zeros((1000, 1, 2, 2), np.uint8), np.zeros(1000, np.int64))
        try:
            for _ in Loader(split, 1, seed=0, transform=slow, num_workers=1):
                pass
        except KeyboardInterrupt:
            sys.exit(130)
    """
    process = subprocess.Popen([sys.executable, "-c", textwrap.dedent(program)], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout.readline() == "waiting\n"
        time.sleep(0.2)  # so that it waits: within a lock's __enter__, CPython loses the lock (bpo-29988)
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=30) == 130
    finally:
        process.kill()
        process.communicate()
