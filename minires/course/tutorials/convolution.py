"""Tutorial 4, convolution is im2col and a matrix product."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...errors import CheckError
from .check import call, exercise
from .compare import OpenError, compare


@exercise("4.1", "Windows that do not fit are dropped: that is the floor in the formula.")
def output_size(answer: Any) -> None:
    mistakes = {
        "rounded up: the last window would reach over the edge. Windows that do not fit are dropped.": (6, 7),
        "one too few: is the padding forgotten, or the + 1 for the first window?": (4, 5),
        "the padding is on two sides: 2 * padding, not once.": (5, 5),
        "the stride is forgotten: the window moves by two pixels at a time.": (10, 12),
        "height and width are swapped.": (6, 5),
    }
    compare("(OH, OW)", answer, (5, 6), mistakes)


def _windows(x: Any, kernel: tuple[int, int], stride: int, padding: int) -> Any:
    """(N, OH, OW, C, KH, KW), by NumPy's view of windows."""
    padded = np.pad(x, ((0, 0), (0, 0), (padding, padding), (padding, padding)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, kernel, axis=(2, 3))  # type: ignore[call-overload]
    return windows[:, :, ::stride, ::stride].transpose(0, 2, 3, 1, 4, 5)


@exercise("4.2", "It copies a whole image for each of the KH * KW places in the kernel, and never a single pixel.")
def rows_of_windows(answer: Any) -> None:
    x = np.random.default_rng(0).standard_normal((2, 3, 6, 9))
    before = x.copy()
    right = _windows(x, (2, 3), 2, 1)
    got = call(answer, x, (2, 3), 2, 1)
    if isinstance(got, np.ndarray) and not got.any():
        raise OpenError
    if not np.array_equal(x, before):
        raise CheckError("im2col changed its x: write into rows only.")
    flat = right.shape[:3] + (-1,)
    mistakes = {
        "the padding is forgotten: take the windows from padded, not from x.": _windows(x, (2, 3), 2, 0).reshape(
            2, 3, 4, -1
        ),
        "the kernel is flipped: rows[..., i, j] belongs to the pixel i below and j to the right of the corner.": right[
            ..., ::-1, ::-1
        ].reshape(flat),
        "the last axis is in the order (KH, KW, C); the weight has its channels first.": right.transpose(
            0, 1, 2, 4, 5, 3
        ).reshape(flat),
        "it is right for stride 1 only: the windows are taken side by side, and should be two pixels apart.": _windows(
            x, (2, 3), 1, 1
        )[:, : flat[1], : flat[2]].reshape(flat),
        "all kernel elements get the same pixels: do i and j take part?": np.broadcast_to(
            right[..., :1, :1], right.shape
        ).reshape(flat),
    }
    compare("im2col's result", got, right.reshape(flat), mistakes)


@exercise("4.3", "A pixel in the middle is read nine times; so nine gradients come back to it, and have to be added.")
def multiplicity(answer: Any) -> None:
    mistakes = {
        "each is counted once: but windows overlap, and each one that sees a pixel reads it.": (1, 1, 1),
        "the padding is forgotten: without it, the windows could not be centred on the border.": (1, 3, 9),
        "the three are right, in another order: corner, then edge, then middle.": (9, 6, 4),
        "a pixel at the edge is seen by the windows centred on it and on its neighbours: two rows of three.": (4, 5, 9),
    }
    compare("(corner, edge, middle)", answer, (4, 6, 9), mistakes)


@exercise("4.4", "Two matrix products, and their shapes leave no other choice.")
def gradients_of_a_product(answer: Any) -> None:
    rng = np.random.default_rng(0)
    pixels, numbers, filters = 7, 5, 3
    rows, weight = rng.standard_normal((pixels, numbers)), rng.standard_normal((filters, numbers))
    dy = rng.standard_normal((pixels, filters))
    got = call(answer, rows, weight, dy)
    if not isinstance(got, tuple) or len(got) != 2:
        raise CheckError("gradients should return two arrays, dweight and drows.")
    dweight = sum(np.outer(upstream, row) for upstream, row in zip(dy, rows, strict=True))
    drows = np.array([sum(u * w for u, w in zip(upstream, weight, strict=True)) for upstream in dy])
    compare(
        "dweight",
        got[0],
        dweight,
        {
            "dweight is transposed: the weight is (O, K), so its gradient is, too.": np.asarray(dweight).T,
            "dweight holds what the first row gives; every row has used the weight, so their parts add up.": np.outer(
                dy[0], rows[0]
            ),
            "dweight ignores the upstream: it would be right if every dy were 1.": np.outer(
                np.ones(filters), rows.sum(axis=0)
            ),
        },
        {"the number of rows": pixels},
    )
    mistakes = {"drows ignores the upstream.": np.tile(weight.sum(axis=0), (pixels, 1))}
    compare("drows", got[1], drows, mistakes, {"the number of filters": filters})


@exercise("4.5", "Nine times the images: each pixel is written once for each window that sees it.")
def bytes_of_the_rows(answer: Any) -> None:
    numbers = 64 * 64 * 8 * 8
    mistakes = {
        "that is the images alone; a row has 3 * 3 numbers of each channel.": numbers * 4 / 1e6,
        "float32 takes 4 bytes, float64 would take 8.": 9 * numbers * 8 / 1e6,
        "that is how many millions of numbers; each takes 4 bytes.": 9 * numbers / 1e6,
        "that is in bytes; the question is for MB, of a million bytes.": 9 * numbers * 4,
        "that is in MiB, of 1024 * 1024 bytes; the question is for MB, of a million.": 9 * numbers * 4 / 2**20,
        "64 is there twice: for the images, and for the channels of each.": 9 * numbers * 4 / 64e6,
    }
    right = 9 * numbers * 4 / 1e6
    if isinstance(answer, float) and abs(answer - right) < 0.1:
        return  # rounded to what one would say
    compare("the size in MB", answer, right, mistakes)
