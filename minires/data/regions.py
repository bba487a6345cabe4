"""Regions of an image, as polygons or as run lengths, and the class map that several of them make.

A region is sampled at the centres of the pixels that are asked for. So it needs no more memory than the map has,
however large the image is that it was drawn on, and a map of another size is as exact as one of the same size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from ..core import checks
from ..core.backend import Array
from ..errors import DataError
from .annotated import IGNORED

MOST_CORNERS = 100_000  # of the polygons of one object
LONGEST_CODE = 1_000_000  # characters of COCO's compressed run lengths


class Region(Protocol):
    """Which part of an image an object covers."""

    def sample(self, height: int, width: int) -> Array:
        """Return whether the region covers the centre of each pixel, bool (height, width)."""


@dataclass(frozen=True, eq=False)
class Polygons:
    """The union of polygons: arrays (n, 2) of corners x, y, as fractions of the image's width and height.

    A point belongs to a polygon if a ray from it to the left crosses its outline an odd number of times.
    """

    outlines: Sequence[Array]

    def sample(self, height: int, width: int) -> Array:
        covered = np.zeros((height, width), bool)
        centres = np.arange(width) + 0.5
        for outline in self.outlines:
            x0, y0 = (outline * (width, height)).T  # (n,) each
            x1, y1 = np.roll(x0, -1), np.roll(y0, -1)  # an edge runs from each corner to the next one
            first, last = max(int(np.ceil(y0.min() - 0.5)), 0), min(int(np.floor(y0.max() - 0.5)), height - 1)
            for row in range(first, last + 1):
                y = row + 0.5
                crossed = (y0 <= y) != (y1 <= y)
                xs, ys, xe, ye = (values[crossed] for values in (x0, y0, x1, y1))
                crossings = np.sort(xs + (y - ys) / (ye - ys) * (xe - xs))
                covered[row] |= np.searchsorted(crossings, centres, side="right") % 2 == 1
        return covered


@dataclass(frozen=True, eq=False)
class RunLengths:
    """Runs of pixels, column by column, that are outside and inside in turn.

    ``ends`` holds the number of pixels up to the end of each run, int32; the first run is outside.
    """

    height: int
    width: int
    ends: Array

    def sample(self, height: int, width: int) -> Array:
        rows = ((np.arange(height) + 0.5) * self.height / height).astype(np.int64)  # the old pixel at each new centre
        columns = ((np.arange(width) + 0.5) * self.width / width).astype(np.int64)
        place = rows[:, None] + columns * self.height  # (height, width)
        covered: Array = np.searchsorted(self.ends, place, side="right") % 2 == 1
        return covered


def class_map(regions: Sequence[Region], labels: Array, crowd: Array, height: int, width: int) -> Array:
    """Return the class of each pixel, uint8 (height, width): 0 for the background, k + 1 for class k, 255 for crowds.

    Where regions overlap, the smallest one is seen; of equally large ones, the last. A crowd is behind everything else.
    """
    seen = np.zeros((height, width), np.uint8)
    sampled = [region.sample(height, width) for region in regions]
    areas = [int(covered.sum()) for covered in sampled]
    for number in sorted(range(len(regions)), key=lambda i: (not crowd[i], -areas[i])):
        seen[sampled[number]] = IGNORED if crowd[number] else labels[number] + 1
    return seen


def polygons(where: str, flat: Sequence[Any], height: float, width: float) -> Polygons:
    """Return the region of polygons, each of which is a list x, y, x, y, ... in pixels.

    Raises DataError, which begins with ``where``, if one is not a list of at least three corners of finite numbers, or
    there are too many corners.
    """
    outlines, corners = [], 0
    for one in flat:
        if not isinstance(one, list) or len(one) < 6 or len(one) % 2:
            raise DataError(f"{where} has a polygon that is not a list of three or more corners, x and y of each")
        corners += len(one) // 2
        if corners > MOST_CORNERS:
            raise DataError(f"{where} has polygons of more than {MOST_CORNERS:,} corners; simplify its outline")
        if not all(map(checks.is_number, one)) or not np.isfinite(np.array(one, np.float64)).all():
            raise DataError(f"{where} has a polygon with a corner that is not a finite number")
        outlines.append(np.array(one, np.float64).reshape(-1, 2) / (width, height))  # (n, 2)
    if not outlines:
        raise DataError(f"{where} has no polygon; add one or remove the annotation")
    # What is far outside of the image is cut off, so that products of coordinates stay finite.
    return Polygons([np.clip(outline, -1e6, 1e6) for outline in outlines])


def run_lengths(where: str, given: dict[str, Any], height: int, width: int) -> RunLengths:
    """Return the region of COCO's run lengths: ``{"size": [height, width], "counts": list or compressed string}``.

    Raises DataError, which begins with ``where``, if they are for an image of another size, or do not add up to it.
    """
    if given.get("size") != [height, width]:
        raise DataError(
            f"{where} has run lengths for an image of size {given.get('size')!r:.60}, not {[height, width]}"
        )
    counts = given.get("counts")
    if isinstance(counts, str):
        counts = decoded(where, counts)
    pixels = height * width
    if not isinstance(counts, list) or not all(checks.is_integer(run, 0) and run <= pixels for run in counts):
        raise DataError(f"{where} has run lengths that are not integers from 0 to {pixels}, the number of pixels")
    if sum(counts) != pixels:
        raise DataError(f"{where} has run lengths that add up to {sum(counts)} pixels, but the image has {pixels}")
    return RunLengths(height, width, np.cumsum(counts, dtype=np.int32))


def decoded(where: str, code: str) -> list[int]:
    """Decode COCO's compressed run lengths.

    Each character holds 5 bits of a number, lowest first, plus 32 if more follow, plus 48. The highest bit of a number
    is its sign. From the fourth run on, a number is the difference to the run before the last one.
    """
    if len(code) > LONGEST_CODE:
        raise DataError(f"{where} has run lengths of more than {LONGEST_CODE:,} characters")
    counts: list[int] = []
    value = bits = 0
    for character in code:
        digit = ord(character) - 48
        if not 0 <= digit < 64 or bits > 30:
            raise DataError(f"{where} has run lengths that are not in COCO's compressed form")
        value |= (digit & 31) << bits
        bits += 5
        if not digit & 32:
            value -= (digit & 16) << (bits - 4)  # two's complement
            counts.append(value + (counts[-2] if len(counts) > 2 else 0))
            value = bits = 0
    if bits:
        raise DataError(f"{where} has run lengths that end in the middle of a number")
    return counts
