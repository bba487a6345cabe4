"""The exercises of tutorial 4, convolution is im2col and a matrix product."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...errors import CheckError
from .exercise import Exercises, OpenError, call, compare

EXERCISES = Exercises()

EXERCISES.predicted(
    "4.1",
    "Windows that do not fit are dropped: that is the floor in the formula.",
    "(OH, OW)",
    (5, 6),
    ((6, 7), "rounded up: the last window would reach over the edge. Windows that do not fit are dropped."),
    ((4, 5), "one too few: did you forget the padding, or the + 1 for the first window?"),
    ((5, 5), "the padding is on both sides: add 2 * padding, not padding."),
    ((10, 12), "the stride is forgotten: the window moves by two pixels at a time."),
    ((6, 5), "height and width are swapped."),
)


def _windows(x: Any, kernel: tuple[int, int], stride: int, padding: int) -> Any:
    """Return all windows as an array (N, OH, OW, C, KH, KW), by NumPy's sliding_window_view."""
    padded = np.pad(x, ((0, 0), (0, 0), (padding, padding), (padding, padding)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, kernel, axis=(2, 3))  # type: ignore[call-overload]
    return windows[:, :, ::stride, ::stride].transpose(0, 2, 3, 1, 4, 5)


@EXERCISES.judged("4.2", "For each of the KH * KW kernel elements, it copies the pixels of all windows at once.")
def rows_of_windows(answer: Any) -> None:
    x = np.random.default_rng(0).standard_normal((2, 3, 6, 9))
    before = x.copy()
    right = _windows(x, (2, 3), 2, 1)
    n, oh, ow = right.shape[:3]
    got = call(answer, x, (2, 3), 2, 1)
    if isinstance(got, np.ndarray) and not got.any():
        raise OpenError
    if not np.array_equal(x, before):
        raise CheckError("im2col changed its x: write only to rows.")
    adjacent = _windows(x, (2, 3), 1, 1)[:, :oh, :ow]
    channels_last = right.transpose(0, 1, 2, 4, 5, 3)
    wrong = {
        "the padding is forgotten: take the windows from padded, not from x.": _windows(x, (2, 3), 2, 0),
        "the kernel is flipped: rows[..., i, j] belongs to the pixel i rows below and j columns to the right of the "
        "corner.": right[..., ::-1, ::-1],
        "the last axis is in the order (KH, KW, C); the weight has its channels first.": channels_last,
        "it is right for stride 1 only: the windows lie next to each other, but should be two pixels apart.": adjacent,
        "all kernel elements get the same pixels: are i and j used?": np.broadcast_to(right[..., :1, :1], right.shape),
    }
    mistakes = {sentence: rows.reshape(*rows.shape[:3], -1) for sentence, rows in wrong.items()}
    compare("im2col's result", got, right.reshape(n, oh, ow, -1), mistakes)


EXERCISES.predicted(
    "4.3",
    "A pixel in the middle is read nine times, so nine gradients come back to it and have to be added.",
    "(corner, edge, middle)",
    (4, 6, 9),
    ((1, 1, 1), "each pixel is counted once. But windows overlap, and each window that sees a pixel reads it."),
    ((1, 3, 9), "the padding is forgotten: without it, the windows could not be centred on the border."),
    ((9, 6, 4), "the three are right, but in another order: corner, then edge, then middle."),
    ((4, 5, 9), "a pixel at the edge is seen by the windows centred on it and on its neighbours: two rows of three."),
)


@EXERCISES.judged("4.4", "Two matrix products, and their shapes leave no other choice.")
def gradients_of_a_product(answer: Any) -> None:
    rng = np.random.default_rng(0)
    pixels, numbers, filters = 7, 5, 3
    rows, weight = rng.standard_normal((pixels, numbers)), rng.standard_normal((filters, numbers))
    dy = rng.standard_normal((pixels, filters))
    got = call(answer, rows, weight, dy)
    if not isinstance(got, tuple) or len(got) != 2:
        raise CheckError("gradients should return two arrays, dweight and drows.")
    dweight = np.sum([np.outer(upstream, row) for upstream, row in zip(dy, rows, strict=True)], axis=0)
    of_one_row = np.outer(dy[0], rows[0])
    mistakes = {
        "dweight is transposed: the weight is (O, K), so its gradient must be, too.": dweight.T,
        "dweight is that of the first row; every row uses the weight, so all contributions add up.": of_one_row,
        "dweight ignores the upstream: it would be right if every dy were 1.": np.tile(rows.sum(axis=0), (filters, 1)),
    }
    compare("dweight", got[0], dweight, mistakes, {"the number of rows": pixels})
    drows = np.array([sum(u * w for u, w in zip(upstream, weight, strict=True)) for upstream in dy])
    mistakes = {"drows ignores the upstream.": np.tile(weight.sum(axis=0), (pixels, 1))}
    compare("drows", got[1], drows, mistakes, {"the number of filters": filters})


NUMBERS = 64 * 64 * 8 * 8  # in all images together

EXERCISES.predicted(
    "4.5",
    "Nine times the images: each pixel is written once for each window that sees it.",
    "the size in MB",
    9 * NUMBERS * 4 / 1e6,
    (NUMBERS * 4 / 1e6, "that is the images alone; a row has 3 * 3 numbers of each channel."),
    (9 * NUMBERS * 8 / 1e6, "float32 takes 4 bytes; float64 would take 8."),
    (9 * NUMBERS / 1e6, "that is the count of numbers, in millions; each takes 4 bytes."),
    (9 * NUMBERS * 4, "that is in bytes; the question asks for MB, of a million bytes."),
    (9 * NUMBERS * 4 / 2**20, "that is in MiB, of 1024 * 1024 bytes; the question asks for MB, of a million."),
    (9 * NUMBERS * 4 / 64e6, "64 appears twice: for the images, and for the channels of each."),
    nearly=0.1,
)
