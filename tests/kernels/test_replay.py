"""A replayed network computes the same as the folded one, for any batch, layout, number of threads and callers."""

import os
import signal
import threading

import numpy as np
import pytest
from twins import with_statistics

import minires as mr
from minires import nn, ops
from minires.core import dispatch
from minires.core.dispatch import load_kernels
from minires.kernels import threads

if not load_kernels("cpu"):
    pytest.skip("no kernels", allow_module_level=True)

from minires.kernels.cpu import program, team

LONG = 60  # seconds; a thread that takes this long is in a deadlock
BATCHES = (1, 2, 3, 5, 17)


@pytest.fixture(autouse=True)
def kernels_of_any_size(monkeypatch):
    kernels = {key: kernel._replace(smallest=0) for key, kernel in dispatch._kernels.items()}
    monkeypatch.setattr(dispatch, "_kernels", kernels)


def set_threads(monkeypatch, number):
    monkeypatch.setattr(threads, "_setting", number)
    monkeypatch.setattr(threads, "WORTH_A_THREAD", 0)


def images(rng, n, side=16, channels=3):
    return rng.standard_normal((n, channels, side, side)).astype("f")


def both(model):
    return nn.fold(model), nn.fold(model, replay=True)


def was_replayed(model):
    return bool(model._programs) and None not in model._programs.values()


def assert_close(got, expected, tolerance=2e-6):
    assert got.shape == expected.shape and got.dtype == expected.dtype
    assert np.abs(got - expected).max() <= tolerance * np.abs(expected).max()


def finish(callers):
    """Start the threads and wait, up to a limit; threads in a deadlock end with the process."""
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join(LONG)
    assert not any(caller.is_alive() for caller in callers), "they wait for each other"


@pytest.fixture
def small(rng):
    return with_statistics(mr.models.resnet8(), rng).eval()


@pytest.mark.parametrize("number", [1, 2, 3])
@pytest.mark.parametrize(
    ("name", "shortcut"), [("resnet8", "A"), ("resnet8", "B"), ("resnet20", "A"), ("resnet20", "B")]
)
def test_the_outputs_are_the_folded_models(name, shortcut, number, rng, monkeypatch):
    set_threads(monkeypatch, number)
    folded, replayed = both(with_statistics(mr.models.build(name, shortcut=shortcut), rng))
    for n in BATCHES:
        x = mr.tensor(images(rng, n))
        assert_close(replayed(x).data, folded(x).data)
    assert was_replayed(replayed) and len(replayed._programs) == min(number, 2)  # each alone; or all at each image


@pytest.mark.parametrize("number", [1, 2, 3])
@pytest.mark.parametrize("n", [1, 5])
def test_every_layout_gives_the_same_and_is_left_as_it_was(n, number, small, rng, monkeypatch):
    set_threads(monkeypatch, number)
    x = images(rng, n)
    last = np.ascontiguousarray(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    frozen, frozen_last = x.copy(), last.copy(order="K")
    frozen.flags.writeable = frozen_last.flags.writeable = False
    strided = np.repeat(x, 2, axis=3)[:, :, :, ::2]
    around = np.pad(last.transpose(0, 2, 3, 1), ((0, 0), (0, 3), (1, 2), (0, 0)))
    cut = around[:, :16, 1:17].transpose(0, 3, 1, 2)  # channels last, with gaps between the rows
    backwards = x[:, :, ::-1].copy()[:, :, ::-1]
    every = [x, last, frozen, frozen_last, strided, cut, backwards]
    expected = nn.fold(small, replay=True)(mr.Tensor.wrap(x)).data
    for first in every:  # the ops are also recorded with this one
        replayed = nn.fold(small, replay=True)
        for y in (first, *every):
            before = y.copy()
            assert np.array_equal(replayed(mr.Tensor.wrap(y)).data, expected)
            assert np.array_equal(y, before)
        assert was_replayed(replayed)


@pytest.mark.parametrize("number", [1, 3])
def test_a_shortcut_of_the_images_themselves(number, rng, monkeypatch):
    """The first op takes every second pixel of the images, whatever their memory layout during the recording."""
    set_threads(monkeypatch, number)
    layers = mr.models.shortcuts.SubsampleAndPad(3, 7, 2), nn.GlobalAvgPool2d(), nn.Linear(7, 4)
    x = images(rng, 2, side=17)
    around = np.zeros((2, 30, 40, 3), "f")
    around[:, :17, :17] = x.transpose(0, 2, 3, 1)
    cut = around[:, :17, :17].transpose(0, 3, 1, 2)
    for first, second in ((x, cut), (cut, x)):
        folded, replayed = both(nn.Sequential(*layers))
        for y in (first, second, first[:1]):
            assert_close(replayed(mr.Tensor.wrap(y)).data, folded(mr.Tensor.wrap(y)).data)
        assert was_replayed(replayed)


@pytest.mark.parametrize("number", [1, 2, 3])
def test_two_calls_are_bit_identical(number, small, rng, monkeypatch):
    set_threads(monkeypatch, number)
    replayed = nn.fold(small, replay=True)
    for n in BATCHES:
        x = mr.tensor(images(rng, n))
        first = replayed(x).data.copy()
        assert all(np.array_equal(replayed(x).data, first) for _ in range(3))


def test_image_sizes_take_turns(small, rng, monkeypatch):
    set_threads(monkeypatch, 2)
    folded, replayed = both(small)
    xs = [mr.tensor(images(rng, n, side)) for side in (8, 20, 15) for n in (1, 4)]
    expected = [folded(x).data for x in xs]
    for _ in range(2):
        for x, right in zip(xs, expected, strict=True):
            assert_close(replayed(x).data, right)
    assert was_replayed(replayed) and len(replayed._programs) == len(xs)


def test_not_all_sizes_that_ever_were_are_kept(small, rng, monkeypatch):
    monkeypatch.setattr(program, "MOST_PROGRAMS", 2)
    folded, replayed = both(small)
    for side in (8, 9, 10, 8):
        x = mr.tensor(images(rng, 6, side))
        assert_close(replayed(x).data, folded(x).data)
        assert len(replayed._programs) <= 2


def test_the_textbook_engine_and_float64_run_the_model(small, rng):
    replayed, x = nn.fold(small, replay=True), mr.tensor(images(rng, 2))
    with mr.engine("textbook"):
        expected, got = nn.fold(small)(x).data, replayed(x).data
    assert np.array_equal(got, expected) and not replayed._programs
    x = mr.tensor(images(rng, 2).astype("float64"))
    linear = nn.Sequential(nn.GlobalAvgPool2d(), nn.Flatten())
    assert np.array_equal(nn.fold(linear, replay=True)(x).data, linear(x).data)


def test_later_changes_are_not_seen_by_the_copy(small, rng):
    """As the docstring of fold says: neither changes of the model, nor of the copy's own parameters."""
    replayed, x = nn.fold(small, replay=True), mr.tensor(images(rng, 3))
    before = replayed(x).data.copy()
    for parameter in (*small.parameters(), *replayed.parameters()):
        parameter.data[...] = 0
    assert np.array_equal(replayed(x).data, before)


def test_it_can_be_printed_and_saved_after_it_ran(small, rng):
    for folded in both(small):
        folded(mr.tensor(images(rng, 2)))
        assert "FoldedConv2d" in repr(folded) and folded.state_dict()


# What steps cannot do


def conv_norm(c=3, o=16):
    return nn.Sequential(nn.Conv2d(c, o, 3, padding=1), nn.BatchNorm2d(o))


class Model(nn.Module):
    """A convolution, something odd, and a head."""

    def __init__(self, odd, channels=16):
        self.first, self.fc, self.odd = conv_norm(), nn.Linear(channels, 5), odd

    def forward(self, x):
        y = self.odd(self.first(x))
        return self.fc(ops.global_avg_pool2d(y) if y.ndim == 4 else y)


ODD = {
    "max pooling": lambda x: ops.max_pool2d(x, 2),
    "exp": ops.exp,
    "relu": ops.relu,
    "twice": lambda x: x + x,
    "other pixels": lambda x: x[:, :, 1:, 2:],
    "backwards": lambda x: ops.pad(x[:, :, ::-1], ((0, 0), (0, 0), (0, 0), (0, 0))),
    "picked": lambda x: ops.pad(x[:, :, [0, 2]], ((0, 0), (0, 0), (0, 0), (0, 0))),
    "border": lambda x: ops.pad(x, (1, 1)),
    "ones around": lambda x: ops.pad(x[:, :, ::2], ((0, 0), (0, 0), (1, 1), (0, 0)), value=1.0),
    "padded rows": lambda x: ops.pad(ops.global_avg_pool2d(x), ((0, 0), (0, 0))),
    "padded pixel": lambda x: ops.pad(ops.global_avg_pool2d(x)[:, :, None, None], ((0, 0), (0, 0), (0, 0), (0, 0))),
    "reshaped": lambda x: ops.global_avg_pool2d(x).reshape(-1, 4, 4).reshape(-1, 16),
    "an array of its own": lambda x: mr.tensor(x.data * 2),
}


@pytest.mark.parametrize("number", [1, 3])
@pytest.mark.parametrize("odd", ODD.values(), ids=ODD)
def test_what_steps_cannot_do_is_left_to_the_model(odd, number, rng, monkeypatch):
    set_threads(monkeypatch, number)
    folded, replayed = both(with_statistics(Model(odd), rng))
    for n in (1, 2, 4, 1):
        x = mr.tensor(images(rng, n))
        assert np.array_equal(replayed(x).data, folded(x).data)
    assert set(replayed._programs.values()) == {None}


@pytest.mark.parametrize(
    "options",
    [{"name": "resnet8", "preactivation": True}, {"name": "resnet18", "num_classes": 4}],  # the latter: max pooling
    ids=str,
)
def test_models_that_are_left_as_they_are(options, rng, monkeypatch):
    set_threads(monkeypatch, 2)
    folded, replayed = both(with_statistics(mr.models.build(**options), rng))
    x = mr.tensor(images(rng, 2, side=32))
    assert np.array_equal(replayed(x).data, folded(x).data)


class TwoHeads(nn.Module):
    """The output is not the last result that was computed."""

    def __init__(self):
        self.first, self.fc, self.other = conv_norm(), nn.Linear(16, 5), nn.Linear(16, 5)

    def forward(self, x):
        y = ops.global_avg_pool2d(self.first(x))
        output = self.fc(y)
        self.other(y)
        return output


class FirstHalf(nn.Module):
    """The computation depends on the number of images."""

    def __init__(self):
        self.first, self.fc = conv_norm(), nn.Linear(16, 5)

    def forward(self, x):
        y = self.first(x)
        return self.fc(ops.global_avg_pool2d(ops.pad(y[::2], ((0, 0), (0, 0), (0, 0), (0, 0)))))


@pytest.mark.parametrize("model", [TwoHeads, FirstHalf])
def test_models_whose_steps_would_be_others(model, rng, monkeypatch):
    set_threads(monkeypatch, 1)
    folded, replayed = both(with_statistics(model(), rng))
    for n in (1, 4):
        x = mr.tensor(images(rng, n))
        assert np.array_equal(replayed(x).data, folded(x).data)


def test_too_many_weights_are_left_to_the_layers(small, rng, monkeypatch):
    monkeypatch.setattr(program, "MOST_WEIGHTS", 1000)
    folded, replayed = both(small)
    x = mr.tensor(images(rng, 2))
    assert np.array_equal(replayed(x).data, folded(x).data) and set(replayed._programs.values()) == {None}


# Several threads


@pytest.mark.parametrize("number", [2, 3, "changing"])
@pytest.mark.parametrize("models", [1, 4])
def test_python_threads_call_at_once(models, number, small, rng, monkeypatch):
    """Teams of several callers must not wait for each other; see team.py."""
    set_threads(monkeypatch, 2 if number == "changing" else number)
    replayed = [nn.fold(small, replay=True) for _ in range(models)]
    xs = [mr.tensor(images(rng, n)) for n in (1, 2, 1, 4)]
    expected = [nn.fold(small)(x).data for x in xs]
    wrong = []

    def call(me):
        for i in range(30):
            if number == "changing":
                threads.set_num_threads(1 + (me + i) % 3)
            x, right = xs[(me + i) % 4], expected[(me + i) % 4]
            try:
                assert_close(replayed[me % models](x).data, right)
            except BaseException as error:
                wrong.append(error)

    finish([threading.Thread(target=call, args=(me,), daemon=True) for me in range(4)])
    assert not wrong


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # Python 3.12 warns of every fork with threads
def test_a_forked_child_replays(small, rng, monkeypatch):
    set_threads(monkeypatch, 2)
    replayed, x = nn.fold(small, replay=True), mr.tensor(images(rng, 1))
    expected = replayed(x).data.copy()
    child = os.fork()
    if child == 0:
        signal.alarm(LONG)  # ends it, also in compiled code
        same = np.array_equal(replayed(x).data, expected) and team._team.members == 2
        os._exit(0 if same else 1)
    _, status = os.waitpid(child, 0)
    assert status == 0
