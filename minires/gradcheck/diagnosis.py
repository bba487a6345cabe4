"""Why a gradient is wrong: a guess, from comparing it with what other, likely mistakes would have given.

A *cause* is a function of the evidence that returns a sentence, or nothing when it does not explain the gradient.
:data:`CAUSES` is the list of them, the most specific first; the first that speaks is the diagnosis. To teach the
checker another mistake, write its function and put it into the list.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations, permutations

import numpy as np

from ..core.backend import Array, to_device
from .problem import NumPyArray, Problem

TINY = np.finfo(np.float64).tiny
ALIKE = 1e-5  # two gradients are the same if they differ by less than this, in units of the largest
TRIALS = 24  # for how many wrong elements a what-if question is answered, and for how many right ones


@dataclass
class Evidence:
    """A wrong gradient, and the means to ask questions about it.

    Attributes
    ----------
    problem : Problem
        The function, its inputs and the upstream.
    k : int
        The input whose gradient is wrong.
    claimed, measured : array
        Its gradient by backward and by differences; ``measured`` is NaN where no difference was taken.
    wrong : list of int
        The flat indices at which they disagree.
    eps : float
        The step for further differences.
    """

    problem: Problem
    k: int
    claimed: NumPyArray
    measured: NumPyArray
    wrong: list[int]
    eps: float

    def __post_init__(self) -> None:
        self.known = ~np.isnan(self.measured)
        self.complete = bool(self.known.all())
        self.scale = float(np.abs(self.measured[self.known]).max())
        self.arrays = [to_device(array, "cpu") for array in self.problem.arrays]
        self.upstream = to_device(self.problem.upstream, "cpu")
        self.output = to_device(self.problem.output, "cpu")
        self.x = self.arrays[self.k]

    @property
    def error(self) -> NumPyArray:
        """What backward claims too much."""
        return self.claimed - self.measured

    def explains(self, repaired: NumPyArray) -> bool:
        """Whether a repaired version of the claimed gradient equals the measured one."""
        return repaired.shape == self.x.shape and _alike(repaired, self.measured)

    def is_claimed(self, gradient: NumPyArray) -> bool:
        """Whether the right answer to another question (NaN where unknown) is what backward claims."""
        return gradient.shape == self.x.shape and _alike(gradient, self.claimed)

    def what_if(
        self, arrays: Sequence[Array] = (), upstream: NumPyArray | None = None, k: int | None = None
    ) -> NumPyArray:
        """The gradient by differences for other inputs, another upstream or to another input, at a few elements."""
        right = np.setdiff1d(np.flatnonzero(self.known), self.wrong).tolist()
        places = [*_spread(self.wrong, TRIALS), *_spread(right, TRIALS)]
        upstream = to_device(self.upstream if upstream is None else upstream, self.problem.device)
        return self.problem.differences(self.k if k is None else k, places, self.eps, arrays, upstream)


Cause = Callable[[Evidence], "str | None"]


def missing(e: Evidence) -> str | None:
    if not e.claimed.any():
        return "It is zero everywhere: this path is missing in backward (a None, a detach, or raw arrays)."
    return None


def flipped_sign(e: Evidence) -> str | None:
    return "Its sign is flipped." if e.explains(-e.claimed) else None


def swapped_inputs(e: Evidence) -> str | None:
    for j in e.problem.checked:
        if j != e.k and e.arrays[j].shape == e.x.shape and e.is_claimed(e.what_if(k=j)):
            return f"It is the gradient to {e.problem.names[j]}: the two are swapped."
    return None


def upstream_unchanged(e: Evidence) -> str | None:
    if e.is_claimed(e.upstream):
        return "It is the upstream, unchanged: the local derivative is missing."
    return None


def upstream_ignored(e: Evidence) -> str | None:
    if e.is_claimed(e.what_if(upstream=np.ones_like(e.upstream))):
        return "It is right for an upstream of ones only: backward ignores its upstream."
    return None


def one_slice_only(e: Evidence) -> str | None:
    for axis, size in enumerate(e.output.shape):
        first = np.zeros_like(e.upstream)
        np.moveaxis(first, axis, 0)[:1] = np.moveaxis(e.upstream, axis, 0)[:1]
        if size > 1 and e.is_claimed(e.what_if(upstream=first)):
            return (
                f"It holds the share of index 0 along axis {axis} of the output alone: the sum over that axis is lost."
            )
    return None


def constant_factor(e: Evidence) -> str | None:
    if not e.scale:
        return None
    factor = float((e.claimed * e.measured)[e.known].sum() / (e.measured[e.known] ** 2).sum())
    if not factor or not e.explains(e.claimed / factor):
        return None
    if where := _size_named(e, factor):
        return f"It is too large by the factor {factor:.6g}, the size of {where}: the division by it is missing."
    if where := _size_named(e, 1 / factor):
        return (
            f"It is too small by the factor {1 / factor:.6g}, the size of {where}: a mean where a sum is due, or "
            "divided once too often."
        )
    if math.isclose(factor, 2, rel_tol=ALIKE):
        return "It is twice what it should be: something is counted twice."
    if math.isclose(factor, 0.5, rel_tol=ALIKE):
        return "It is half of what it should be: one of two contributions is lost."
    return f"It is off by the constant factor {factor:.6g}." if e.known.sum() > 1 else None


def factor_of_an_axis(e: Evidence) -> str | None:
    if not e.complete or np.abs(e.measured).min() <= ALIKE * e.scale:
        return None
    for axes in _axes_sets(e.x.ndim - 1, e.x.ndim):
        if _constant(e.claimed / e.measured, axes):
            others = _listed(axis for axis in range(e.x.ndim) if axis not in axes)
            return f"It is off by a factor for each index of {others}: a scale along it is missing or wrong."
    return None


def tensor_as_factor(e: Evidence) -> str | None:
    for name, values in [*zip(e.problem.names, e.arrays, strict=True), ("the output", e.output)]:
        if values.shape == e.x.shape and values.dtype.kind == "f":
            if e.explains(e.claimed * values):
                return f"It lacks a factor: {name}."
            if e.is_claimed(e.measured * values):
                return f"It has a factor too many: {name}."
    return None


def flipped_axes(e: Evidence) -> str | None:
    for axes in _axes_sets(1, e.x.ndim):
        if e.explains(np.flip(e.claimed, axes)):
            return f"It is flipped along {_listed(axes)}."
    return None


def shifted(e: Evidence) -> str | None:
    for axis, size in enumerate(e.x.shape):
        for distance in (1, 2, -1, -2):
            if 2 * abs(distance) < size:  # otherwise a swap of two halves would pass for a shift
                back = np.roll(e.claimed, -distance, axis)
                gone = slice(-distance, None) if distance > 0 else slice(-distance)
                np.moveaxis(back, axis, 0)[gone] = np.nan
                if e.explains(back):
                    return f"It is shifted by {distance:+d} along axis {axis}: look at where the padding is cut off."
    return None


def reordered(e: Evidence) -> str | None:
    for order in permutations(range(e.x.ndim)):
        back = e.claimed.reshape([e.x.shape[axis] for axis in order]).transpose(np.argsort(order))
        if e.explains(back):
            return (
                f"Its values are right, but in the order of axes {order}: transposed, or reshaped where a transpose "
                "is due."
            )
    return None


def another_input_turned(e: Evidence) -> str | None:
    for j, array in enumerate(e.arrays):
        if j == e.k or array.ndim < 2 or array.dtype.kind != "f":
            continue
        turns = {"flipped along its last two axes": np.flip(array, (-2, -1))}
        if array.shape[-1] == array.shape[-2]:
            turns["transposed"] = np.swapaxes(array, -2, -1)
        for how, turned in turns.items():
            arrays = list(e.problem.arrays)
            arrays[j] = to_device(turned.copy(), e.problem.device)
            try:
                gradient = e.what_if(arrays)
            except Exception:  # whatever f has against such an input
                continue
            if e.is_claimed(gradient):
                return f"It would be right if {e.problem.names[j]} were {how}."
    return None


def shortcut(e: Evidence) -> str | None:
    if e.upstream.shape != e.x.shape:
        return None
    error, upstream = e.error.flat[e.wrong], e.upstream.flat[e.wrong]
    if _alike(error, -upstream):
        return "What it lacks is the upstream itself: a path that hands it on unchanged, as the shortcut, is forgotten."
    if _alike(error, upstream):
        return "What it has too much is the upstream itself: the shortcut is counted twice."
    if _alike(error, 1 - upstream):
        return "It adds 1 where it should add the upstream: the shortcut hands on a one."
    return None


def term_of_a_mean(e: Evidence) -> str | None:
    for axes in _axes_sets(1, e.x.ndim) if e.complete else ():
        if _constant(e.error, axes):
            return f"Its error is constant along {_listed(axes)}: a term is missing there, such as that of the mean."
    return None


def term_of_a_variance(e: Evidence) -> str | None:
    for axes in _axes_sets(1, e.x.ndim) if e.complete else ():
        x, error = _rows(e.x, axes), _rows(e.error, axes)
        if x.shape[1] < 4:
            continue
        x = x - x.mean(axis=1, keepdims=True)
        slope = (x * error).sum(axis=1, keepdims=True) / np.maximum((x * x).sum(axis=1, keepdims=True), TINY)
        if _alike(error, error.mean(axis=1, keepdims=True) + slope * x):
            return (
                f"Its error is a linear function of {e.problem.names[e.k]} along {_listed(axes)}: a term is missing "
                "there, such as that of the variance."
            )
    return None


def term_of_a_softmax(e: Evidence) -> str | None:
    if not e.complete or e.output.shape != e.x.shape or not e.output.all():
        return None
    for axes in _axes_sets(1, e.x.ndim):
        if _constant(e.error / e.output, axes):
            return f"Its error is proportional to the output along {_listed(axes)}: a sum is missing, as in softmax."
    return None


def lost(e: Evidence) -> str | None:
    if not e.claimed.flat[e.wrong].any():
        return "It is zero at all of them, although f depends on them: part of the gradient does not arrive."
    return None


def leaked(e: Evidence) -> str | None:
    if np.abs(e.measured.flat[e.wrong]).max() <= ALIKE * e.scale:
        return "f does not depend on any of them: a mask is missing, or all get what is due to the winner."
    return None


def misplaced(e: Evidence) -> str | None:
    if e.complete and _alike(np.sort(e.claimed, axis=None), np.sort(e.measured, axis=None)):
        return "Its values are right, but in the wrong places."
    return None


CAUSES: list[Cause] = [
    missing,
    flipped_sign,
    swapped_inputs,
    flipped_axes,
    reordered,
    shifted,
    upstream_unchanged,
    upstream_ignored,
    constant_factor,
    one_slice_only,
    tensor_as_factor,
    another_input_turned,
    shortcut,
    term_of_a_mean,
    term_of_a_variance,
    term_of_a_softmax,
    factor_of_an_axis,
    lost,
    leaked,
    misplaced,
]


def diagnose(evidence: Evidence) -> str:
    """The first cause that explains the evidence, or ""."""
    if not np.isfinite(evidence.claimed).all():
        return "It holds NaN or infinity."
    return next((guess for cause in CAUSES if (guess := cause(evidence))), "")


def common_places(shape: tuple[int, ...], wrong: Sequence[int]) -> str:
    """What the wrong elements (flat indices) have in common, as the end of a clause, or "".

    >>> common_places((2, 3), [0, 3])
    ', all at index 0 of axis 1'
    """
    mask = np.zeros(shape, bool)
    mask.flat[wrong] = True
    if mask.all() or len(wrong) == 1:
        return ""
    if len(shape) >= 3 and min(shape[-2:]) > 2 and not mask[..., 1:-1, 1:-1].any():
        return ", all on the border of the last two axes"
    for axis, size in enumerate(shape):
        hit = np.unique(np.nonzero(mask)[axis]).tolist()
        if len(hit) == 1 and size > 1:
            return f", all at index {hit[0]} of axis {axis}"
        if len(hit) == size - 1 and mask.take(hit, axis).all():
            (spared,) = set(range(size)) - set(hit)
            return f", all but those at index {spared} of axis {axis}"
    return ""


def _size_named(e: Evidence, number: float) -> str:
    """The axes whose sizes multiply to ``number``, if it is one of an input or of the output."""
    names = ["the output", *e.problem.names]
    shapes = [e.output.shape, *(array.shape for array in e.arrays)]
    own = e.k + 1
    for i in sorted(range(len(names)), key=lambda i: i != own):  # the input itself first
        for axes in _axes_sets(1, len(shapes[i]), largest_first=False):
            size = math.prod(shapes[i][axis] for axis in axes)
            if size > 1 and math.isclose(size, number, rel_tol=ALIKE):
                return f"{_listed(axes)} of {names[i]}"
    return ""


def _alike(a: NumPyArray, b: NumPyArray) -> bool:
    """Whether two arrays are the same for the purposes of a guess. NaN and plain zeros prove nothing."""
    both = ~np.isnan(a) & ~np.isnan(b)
    a, b = a[both], b[both]
    largest = max(np.abs(a).max(initial=0.0), np.abs(b).max(initial=0.0))
    return bool(largest > 0 and np.abs(a - b).max() <= ALIKE * largest)


def _spread(places: list[int], count: int) -> list[int]:
    """At most ``count`` of the places, from all over them.

    >>> _spread([3, 5, 6, 8, 9], 3)
    [3, 6, 9]
    """
    if len(places) <= count:
        return places
    return [places[round(i)] for i in np.linspace(0, len(places) - 1, count)]


def _axes_sets(smallest: int, ndim: int, largest_first: bool = True) -> Iterator[tuple[int, ...]]:
    counts = range(max(smallest, 1), ndim + 1)
    for count in reversed(counts) if largest_first else counts:
        yield from combinations(range(ndim), count)


def _rows(array: NumPyArray, axes: tuple[int, ...]) -> NumPyArray:
    """(groups, members): what lies along ``axes`` in a row for each index of the other axes."""
    others = tuple(axis for axis in range(array.ndim) if axis not in axes)
    return array.transpose(others + axes).reshape(-1, math.prod(array.shape[axis] for axis in axes))


def _constant(array: NumPyArray, axes: tuple[int, ...]) -> bool:
    rows = _rows(array, axes)
    return rows.shape[1] > 1 and _alike(rows, rows.mean(axis=1, keepdims=True) + np.zeros_like(rows))


def _listed(axes: Iterable[int]) -> str:
    """
    >>> _listed([1]), _listed([0, 2])
    ('axis 1', 'axes 0, 2')
    """
    numbers = [str(axis) for axis in axes]
    return f"ax{'is' if len(numbers) == 1 else 'es'} {', '.join(numbers)}"
