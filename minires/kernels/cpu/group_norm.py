"""Group normalisation of blocks (N, ..., C), image by image, so that an image stays in the cache between the passes.

A pass goes over the pixels of an image, and its innermost loop over the channels. Sums over up to ``BLOCK`` pixels are
in float32, and those of all pixels, and then of the channels of a group, in float64.
"""

from __future__ import annotations

import numpy as np

from ...core.backend import Array
from .compiler import inlined, kernel
from .memory import scratch_rows
from .simd import at, put
from .team import enter, leave, part_of, run, team_size, this_call

BLOCK = 32
ZERO = np.float32(0)
NANOSECONDS = 1.0  # for an element, on one core


@inlined
def _add_block(wide, begin, part, channels):
    """Add a row of float32 sums to a row of float64 sums, and clear it."""
    for c in range(channels):
        put(wide, begin + c, at(wide, begin + c) + at(part, c))
        put(part, c, ZERO)


@inlined
def _share(wide, begin, width, count):
    """Return the mean over a group of ``width`` channels and all pixels, given sums over pixels."""
    total = 0.0
    for c in range(begin, begin + width):
        total += at(wide, c)
    return total / count


@kernel
def _normalise(x, gamma, beta, y, centre, inverse, wide, parts, groups, eps, pixels, images, team, rank):
    """Normalise whole images, and store the mean and 1 / sqrt(var + eps) of each channel's group."""
    enter(team, rank, this_call())
    channels, part = len(gamma), parts[rank]
    width = channels // groups
    for n in range(*part_of(images, team, rank)):
        row, image = n * channels, n * pixels * channels
        for squares in (False, True):
            for c in range(channels):
                put(wide, row + c, 0.0)
                put(part, c, ZERO)
                if not squares:
                    put(centre, row + c, ZERO)
            for first in range(0, pixels, BLOCK):
                for pixel in range(first, min(first + BLOCK, pixels)):
                    i = image + pixel * channels
                    if squares:
                        for c in range(channels):
                            difference = at(x, i + c) - at(centre, row + c)
                            put(part, c, at(part, c) + difference * difference)
                    else:
                        for c in range(channels):
                            put(part, c, at(part, c) + at(x, i + c))
                _add_block(wide, row, part, channels)
            for g in range(groups):
                mean = _share(wide, row + g * width, width, width * pixels)
                for c in range(row + g * width, row + (g + 1) * width):
                    if squares:
                        put(inverse, c, np.float32(1 / np.sqrt(mean + eps)))
                    else:
                        put(centre, c, np.float32(mean))
        for i in range(image, image + pixels * channels, channels):
            for c in range(channels):
                scale = at(inverse, row + c) * at(gamma, c)
                put(y, i + c, (at(x, i + c) - at(centre, row + c)) * scale + at(beta, c))
    leave(team, rank)


@kernel
def _gradients(x, dy, gamma, dx, centre, inverse, wide, wide2, parts, parts2, groups, pixels, images, team, rank):
    """Compute dx of whole images. ``wide`` gets the sums of dy over pixels, and ``wide2`` those of dy * normalised.

    dx is inverse * (gamma * dy - a - normalised * b), where a and b are the means of gamma * dy and of
    gamma * dy * normalised over a group.
    """
    enter(team, rank, this_call())
    channels, part, part2 = len(gamma), parts[rank], parts2[rank]
    width = channels // groups
    for n in range(*part_of(images, team, rank)):
        row, image = n * channels, n * pixels * channels
        for c in range(channels):
            put(wide, row + c, 0.0)
            put(wide2, row + c, 0.0)
            put(part, c, ZERO)
            put(part2, c, ZERO)
        for first in range(0, pixels, BLOCK):
            for pixel in range(first, min(first + BLOCK, pixels)):
                i = image + pixel * channels
                for c in range(channels):
                    put(part, c, at(part, c) + at(dy, i + c))
                for c in range(channels):
                    normalised = (at(x, i + c) - at(centre, row + c)) * at(inverse, row + c)
                    put(part2, c, at(part2, c) + at(dy, i + c) * normalised)
            _add_block(wide, row, part, channels)
            _add_block(wide2, row, part2, channels)
        for g in range(groups):
            a = b = 0.0
            for c in range(g * width, (g + 1) * width):
                a += at(wide, row + c) * at(gamma, c)
                b += at(wide2, row + c) * at(gamma, c)
            for c in range(g * width, (g + 1) * width):
                put(part, c, np.float32(a / (width * pixels)))
                put(part2, c, np.float32(b / (width * pixels)))
        for i in range(image, image + pixels * channels, channels):
            for c in range(channels):
                std = at(inverse, row + c)
                normalised = (at(x, i + c) - at(centre, row + c)) * std
                put(dx, i + c, (at(dy, i + c) * at(gamma, c) - at(part, c) - normalised * at(part2, c)) * std)
    leave(team, rank)


def normalise(x: Array, gamma: Array, beta: Array, groups: int, eps: float, y: Array) -> tuple[Array, Array]:
    """Fill y, and return the mean and 1 / sqrt(var + eps) for each channel of each image, (N, C)."""
    n, channels = len(x), len(gamma)
    members = team_size(x.size * NANOSECONDS)
    centre, inverse = (np.empty(n * channels, np.float32) for _ in range(2))
    wide, parts = np.empty(n * channels), scratch_rows(members, channels, "part")
    results = y.reshape(-1), centre, inverse, wide, parts
    run(members, _normalise, x.reshape(-1), gamma, beta, *results, groups, eps, x.size // (n * channels), n)
    return centre, inverse


def gradients(
    x: Array, dy: Array, gamma: Array, groups: int, statistics: tuple[Array, Array], dx: Array
) -> tuple[Array, Array]:
    """Fill dx, and return the gradients of gamma and beta."""
    n, channels = len(x), len(gamma)
    members = team_size(x.size * NANOSECONDS)
    wide, wide2 = (np.empty(n * channels) for _ in range(2))
    rows = (scratch_rows(members, channels, purpose) for purpose in ("part", "part2"))
    flat = x.reshape(-1), dy.reshape(-1), gamma, dx.reshape(-1)
    run(members, _gradients, *flat, *statistics, wide, wide2, *rows, groups, x.size // (n * channels), n)
    dbeta, dgamma = (sums.reshape(n, channels).sum(axis=0).astype(np.float32) for sums in (wide, wide2))
    return dgamma, dbeta
