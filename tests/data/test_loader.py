"""The loader: what each batch holds, and that batches are reproducible."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minires as mr
from minires.data import Loader, Split
from minires.data.transforms import PadCrop
from minires.errors import ArgumentError, DataError


def numbered(n):
    """A split in which image i has the value i everywhere, and the label i."""
    labels = np.arange(n, dtype=np.int64)
    return Split(np.broadcast_to(labels.astype(np.uint8)[:, None, None, None], (n, 1, 2, 3)).copy(), labels)


def batches_of(loader):
    return [(images.copy(), labels.copy()) for images, labels in loader]


def order_of(loader):
    return np.concatenate([labels for _, labels in loader]).tolist()


def assert_same(first, second):
    assert len(first) == len(second)
    for (images, labels), (other_images, other_labels) in zip(first, second, strict=True):
        np.testing.assert_array_equal(images, other_images)
        np.testing.assert_array_equal(labels, other_labels)


@given(n=st.integers(1, 40), batch_size=st.integers(1, 45), shuffle=st.booleans(), drop_last=st.booleans())
def test_every_image_comes_once_with_its_label(n, batch_size, shuffle, drop_last):
    if drop_last and batch_size > n:
        with pytest.raises(ArgumentError, match="drop_last leaves no batch"):
            Loader(numbered(n), batch_size, shuffle, seed=0, drop_last=True)
        return
    loader = Loader(numbered(n), batch_size, shuffle, seed=0, drop_last=drop_last)
    batches = batches_of(loader)
    assert len(batches) == len(loader) == (n // batch_size if drop_last else -(-n // batch_size))
    assert all(len(labels) == batch_size for _, labels in batches[:-1])
    for images, labels in batches:
        assert images.dtype == np.float32
        assert labels.dtype == np.int64
        assert images.shape == (len(labels), 1, 2, 3)
        np.testing.assert_array_equal(images[:, 0, 1, 2], labels.astype(np.float32) / 255)
    seen = [label for _, labels in batches for label in labels.tolist()]
    assert len(set(seen)) == len(seen)
    if not drop_last:
        assert sorted(seen) == list(range(n))
    if not shuffle:
        assert seen == list(range(len(seen)))


def test_each_epoch_has_its_own_order():
    loader = Loader(numbered(50), 8, shuffle=True, seed=3)
    orders = [order_of(loader) for _ in range(3)]
    assert loader.epoch == 3
    assert orders[0] != orders[1] != orders[2] != orders[0]
    assert orders[0] != list(range(50))


def test_an_epoch_can_be_repeated_without_those_before_it():
    split, transform = numbered(50), PadCrop(1)
    through = Loader(split, 8, shuffle=True, seed=3, transform=transform)
    epochs = [batches_of(through) for _ in range(4)]
    resumed = Loader(split, 8, shuffle=True, seed=3, transform=transform)
    resumed.set_epoch(2)
    assert_same(batches_of(resumed), epochs[2])
    assert_same(batches_of(resumed), epochs[3])


@pytest.mark.parametrize("num_workers", [0, 2])
def test_an_epoch_can_begin_at_any_batch(num_workers):
    split, made = numbered(50), []

    def crop(batch, rng):
        made.append(len(batch))
        return PadCrop(1)(batch, rng)

    through = Loader(split, 8, shuffle=True, seed=3, transform=PadCrop(1))
    epochs = [batches_of(through) for _ in range(3)]
    loader = Loader(split, 8, shuffle=True, seed=3, transform=crop, num_workers=num_workers)
    for start in range(8):
        made.clear()
        loader.set_epoch(1, start)
        assert_same(batches_of(loader), epochs[1][start:])
        assert sorted(made, reverse=True) == [8, 8, 8, 8, 8, 8, 2][start:], "those before are not even made"
        assert (loader.epoch, loader.start_batch) == (2, 0)
    assert_same(batches_of(loader), epochs[2])
    for start, sentence in ((8, "start_batch is 8, but an epoch has 7 batches"), (-1, "start_batch is -1")):
        with pytest.raises(ArgumentError, match=sentence):
            loader.set_epoch(0, start)


def test_the_same_batches_whatever_the_transform_draws():
    """The number of random numbers that one batch draws affects neither the order nor the other batches."""

    def greedy(batch, rng):
        rng.random(1000)
        return batch

    split = numbered(20)
    plain, drawn = (Loader(split, 6, shuffle=True, seed=1, transform=t) for t in (lambda x, rng: x, greedy))
    for _ in range(2):
        assert_same(batches_of(plain), batches_of(drawn))


def test_augmentation_differs_from_batch_to_batch_and_from_epoch_to_epoch():
    draws = []
    loader = Loader(numbered(20), 5, seed=1, transform=lambda x, rng: draws.append(rng.integers(2**60)) or x)
    for _ in range(3):
        list(loader)
    assert len(set(draws)) == 3 * 4


def test_the_order_is_drawn_apart_from_the_first_augmentation():
    split = numbered(64)
    loader = Loader(split, 64, shuffle=True, seed=0, transform=lambda x, rng: rng.permutation(64))
    permutation, labels = next(iter(loader))
    assert permutation.tolist() != labels.tolist()


def test_two_iterations_at_once_do_not_disturb_each_other():
    loader = Loader(numbered(10), 3, shuffle=True, seed=0)
    expected = batches_of(Loader(numbered(10), 3, shuffle=True, seed=0))
    first, second = iter(loader), iter(loader)
    next(second)
    assert_same(list(first), expected)


def test_seed_none_follows_manual_seed():
    orders = []
    for seed in (7, 7, 8):
        mr.manual_seed(seed)
        orders.append(order_of(Loader(numbered(30), 4, shuffle=True)))
    assert orders[0] == orders[1] != orders[2]


def test_no_batch_is_a_view_of_the_split():
    split = numbered(4)
    loader = Loader(split, 4, seed=0, transform=lambda x, rng: x)
    images, labels = next(iter(loader))
    images[:], labels[:] = 9, 9
    np.testing.assert_array_equal(split.labels, range(4))
    assert split.images.max() == 3


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"split": np.zeros(3)}, "split is ndarray; it must be a Split, such as"),
        (
            {"split": (np.zeros(3), np.zeros(3))},
            r"split is tuple; it must be a Split; write Loader\(minires.data.Split\(",
        ),
        ({"pin_memory": True}, "Loader: pin_memory is not offered; images move to the GPU as bytes; leave it out"),
        ({"dataset": 1}, "Loader: dataset is not offered; the argument is called split"),
        ({"size": 3}, "Loader: .*size.*; its arguments are"),
        ({"batch_size": 0}, "batch_size is 0; it must be an integer >= 1"),
        ({"batch_size": 2.5}, "batch_size is 2.5"),
        ({"seed": -1}, "seed is -1"),
        ({"transform": "flip"}, "transform is 'flip'; it must be callable"),
        ({"batch_size": 9, "drop_last": True}, "no batch of 5 images with batch_size 9"),
    ],
)
def test_loader_says_what_is_wrong(options, sentence):
    with pytest.raises(ArgumentError, match=sentence):
        Loader(**{"split": numbered(5), "batch_size": 2, **options})
    with pytest.raises(ArgumentError, match="epoch is -1"):
        Loader(numbered(5), 2).set_epoch(-1)


def test_repr_tells_the_sizes():
    assert repr(Loader(numbered(5), 2)) == "Loader(Split(5 images of 1x2x3), 3 batches of 2)"


def test_a_source_that_takes_one_index_at_a_time():
    class OfPyTorch:
        def __len__(self):
            return 10

        def __getitem__(self, index):
            return np.zeros((10, 3, 4, 4), np.uint8)[index], int(np.arange(10)[index])

    with pytest.raises(
        DataError, match=r"raises TypeError .*; chosen is an array of 4 indices, not one index as in PyT"
    ):
        next(iter(Loader(OfPyTorch(), 4)))
