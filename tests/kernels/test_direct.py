"""Direct convolutions and their gradients: tiles, groups and units that are not full, and who does what."""

import numpy as np
import pytest

from minires.core.dispatch import load_kernels
from minires.kernels import threads
from minires.ops.conv import Window

if not load_kernels("cpu"):
    pytest.skip("no kernels", allow_module_level=True)

from minires.kernels.cpu import conv, correlate, gather, winograd, winograd_weight
from minires.kernels.cpu.tile import WIDE

TOLERANCE = 2e-5  # of the largest number of the result
ONE = Window((1, 1), (1, 1), (0, 0))
CASES = {  # images, rows, columns, channels, outputs, window
    "one number": (1, 1, 1, 1, 1, ONE),
    "one pixel, 1000 outputs": (1, 1, 1, 70, 1000, ONE),
    "7x7": (1, 7, 7, 130, 200, ONE),
    "7x7, more images": (5, 7, 7, 96, 33, ONE),
    "14x14": (1, 14, 14, 100, 100, ONE),
    "rows and columns that are no multiples": (2, 9, 13, 17, 10, ONE),
    "several groups of weights": (1, 3, 5, 4100, 5 * WIDE.block, ONE),
    "padded 1x1": (2, 6, 5, 33, 48, Window((1, 1), (1, 1), (1, 2))),
    "1x1 with stride 2": (3, 9, 8, 40, 72, Window((1, 1), (2, 2), (0, 0))),
    "1x1 with one stride": (2, 9, 8, 16, 37, Window((1, 1), (2, 1), (0, 0))),
    "1x1 with stride 3": (2, 8, 11, 64, 10, Window((1, 1), (1, 3), (0, 0))),
    "3x3 with stride 2": (3, 11, 8, 33, 65, Window((3, 3), (2, 2), (1, 1))),
    "3x3 with stride 2, more weights than numbers": (1, 7, 7, 70, 130, Window((3, 3), (2, 2), (1, 1))),
    "3x3 with stride 3 and dilation": (2, 12, 13, 20, 31, Window((3, 3), (3, 3), (2, 1), (2, 2))),
    "7x7 window": (2, 23, 21, 3, 64, Window((7, 7), (2, 2), (3, 3))),
    "narrow": (2, 10, 9, 3, 16, Window((3, 3), (1, 1), (1, 1))),
}


def expected(x, weight, dy, window):
    """The output and both gradients in float64, one element of the kernel after another."""
    _, h, w, _ = x.shape
    kh, kw = window.kernel
    (ph, pw), (sh, sw), (dh, dw) = window.padding, window.stride, window.dilation
    padded = np.pad(x.astype(np.float64), ((0, 0), (ph, ph), (pw, pw), (0, 0)))
    y, dx, dweight = np.zeros(dy.shape), np.zeros(padded.shape), np.zeros(weight.shape)
    for i in range(kh):
        for j in range(kw):
            rows = slice(i * dh, i * dh + (dy.shape[1] - 1) * sh + 1, sh)
            columns = slice(j * dw, j * dw + (dy.shape[2] - 1) * sw + 1, sw)
            seen = padded[:, rows, columns]
            y += seen @ weight[:, :, i, j].T.astype(np.float64)
            dx[:, rows, columns] += dy @ weight[:, :, i, j].astype(np.float64)
            dweight[:, :, i, j] = np.tensordot(dy.astype(np.float64), seen, ((0, 1, 2), (0, 1, 2)))
    return y, dx[:, ph : ph + h, pw : pw + w], dweight


@pytest.fixture(autouse=True)
def every_call_is_shared(monkeypatch):
    monkeypatch.setattr(threads, "WORTH_A_THREAD", 0)


def close(got, right):
    return got.shape == right.shape and np.abs(got - right).max() <= TOLERANCE * np.abs(right).max()


@pytest.mark.parametrize("members", [1, 2, 3])
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_output_and_gradients(case, members, rng, monkeypatch):
    monkeypatch.setattr(threads, "_setting", members)
    n, h, w, c, o, window = case
    x = rng.standard_normal((n, h, w, c), np.float32)
    weight, bias = rng.standard_normal((o, c, *window.kernel), np.float32), rng.standard_normal(o, np.float32)
    covered, stride, padding = window.covered, window.stride, window.padding
    size = [(i + 2 * p - k) // s + 1 for i, k, s, p in zip((h, w), covered, stride, padding, strict=True)]
    dy = rng.standard_normal((n, *size, o), np.float32)
    shortcut, added = (rng.standard_normal(array.shape, np.float32) for array in (dy, x))
    y, dx, dweight = expected(x, weight, dy, window)
    results = []
    for _ in range(2):
        results.append(
            (
                conv.forward(x, weight, bias, window, shortcut, True),
                conv.backward(dy, weight, None, window, (h, w), added),
                correlate.correlate(x, dy, window),
            )
        )
        got = results[-1]
        assert close(got[0], np.maximum(y + bias + shortcut, 0))
        assert close(got[1], dx + added)
        assert close(got[2], dweight)
    assert all(np.array_equal(a, b) for a, b in zip(*results, strict=True))


DILATED = {  # images, rows, columns, channels, outputs, dilation, whether the interleaved images are convolved
    "8x8": (2, 8, 8, 128, 96, 2, True),
    "uneven": (3, 15, 22, 32, 48, 2, True),
    "dilation 3": (2, 23, 12, 48, 32, 3, True),
    "too small": (2, 8, 8, 128, 96, 3, False),
    "few channels": (3, 15, 22, 8, 48, 2, False),
}


@pytest.mark.parametrize("members", [1, 2])
@pytest.mark.parametrize("case", DILATED.values(), ids=DILATED)
def test_a_dilated_convolution_convolves_interleaved_images(case, members, rng, monkeypatch):
    monkeypatch.setattr(threads, "_setting", members)
    n, h, w, c, o, d, interleaved = case
    window = Window((3, 3), (1, 1), (d, d), (d, d))
    x, dy, shortcut, added = (rng.standard_normal((n, h, w, k), np.float32) for k in (c, o, o, c))
    weight, bias = rng.standard_normal((o, c, 3, 3), np.float32), rng.standard_normal(o, np.float32)
    calls = []
    for module, name in ((winograd, "convolve"), (winograd_weight, "correlate")):
        original = getattr(module, name)
        counted = lambda *args, run=original: calls.append(args[0].shape) or run(*args)  # noqa: E731
        monkeypatch.setattr(module, name, counted)
    y, dx, dweight = expected(x, weight, dy, window)
    prepared = {}
    for _ in range(2):
        assert close(
            conv.forward(x, weight, bias, window, shortcut, True, prepared), np.maximum(y + bias + shortcut, 0)
        )
    assert close(conv.backward(dy, weight, None, window, (h, w), added), dx + added)
    assert close(conv.grad_weight(x, dy, window), dweight)
    part = d * d * n, -(-h // d), -(-w // d)
    assert calls == [(*part, k) for k in (c, c, o, c)] * interleaved


def test_threads_share_the_output_channels_if_there_are_more_weights_than_numbers(rng, monkeypatch):
    monkeypatch.setattr(threads, "_setting", 2)
    asked = []
    monkeypatch.setattr(conv, "gather", lambda *args, **more: asked.append(args[-1]) or gather.gather(*args, **more))
    for size in (6, 40):
        x = rng.standard_normal((1, size, size, 64), np.float32)
        conv.forward(x, rng.standard_normal((4 * WIDE.block, 64, 1, 1), np.float32), None, ONE)
    assert asked == [True, False]


@pytest.mark.parametrize("rows", [1, 3])
def test_a_few_rows_times_many_weights_pack_the_rows(rows, rng, monkeypatch):
    """The weights stay as they are, and a NaN among them reaches its own output only."""
    x, bias = rng.standard_normal((1, rows, 1, 70), np.float32), rng.standard_normal(200, np.float32)
    weight = rng.standard_normal((200, 70, 1, 1), np.float32)
    weight[7, 5] = np.nan
    packed = []
    monkeypatch.setattr(
        conv, "pack", lambda array, *rest, **more: packed.append(array.shape) or gather.pack(array, *rest, **more)
    )
    y = conv.forward(x, weight, bias, ONE)
    assert packed == [(rows, 70, 1, 1)] and y.shape == (1, rows, 1, 200)
    assert np.isnan(y[..., 7]).all()
    others = np.arange(200) != 7
    expected = x.astype(float) @ weight[others, :, 0, 0].T.astype(float) + bias[others]
    np.testing.assert_allclose(y[..., others], expected, rtol=1e-5, atol=1e-5)
