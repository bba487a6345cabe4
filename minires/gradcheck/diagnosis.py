"""Explain what is wrong with an array of numbers.

``gradcheck``, the grader of the assignments and the exercises of the tutorials use it. A *cause* is a generator: it
yields a sentence if it explains the evidence, and nothing otherwise. :data:`PATTERNS` lists the causes that make sense
for any array, the most specific ones first; the first sentence is the diagnosis. Causes that apply only to gradients
are in :mod:`minires.gradcheck.causes`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, permutations, product
from typing import Any, NamedTuple

import numpy as np

NumPyArray = np.ndarray[Any, Any]
ALIKE = 1e-5  # two arrays count as equal if they differ by at most this, relative to the largest number
NEARLY = 1e-2  # and as nearly equal if they differ by at most this
FARTHEST = 3  # the largest shift that is tried along an axis


@dataclass
class Evidence:
    """A wrong array and the right one.

    Attributes
    ----------
    got, expected : array
        Two arrays of the same shape; ``expected`` is NaN where the right number is not known.
    wrong : list of int
        The flat indices at which they disagree.
    sizes : mapping of str to int
        Maps descriptions of sizes to sizes above 1, such as ``{"the size of axis 0 of x": 5}``. If the array is off by
        a factor of one of these sizes, the sentence says so.
    """

    got: NumPyArray
    expected: NumPyArray
    wrong: list[int]
    sizes: Mapping[str, int]

    def __post_init__(self) -> None:
        self.known = ~np.isnan(self.expected)
        self.complete = bool(self.known.all())
        self.scale = float(np.abs(self.expected[self.known]).max(initial=0.0))

    @property
    def error(self) -> NumPyArray:
        """The difference between the wrong array and the right one."""
        return self.got - self.expected

    def explains(self, repaired: NumPyArray) -> bool:
        """Return whether a repaired version of the wrong array equals the right one."""
        return alike(repaired, self.expected)


Cause = Callable[[Any], Iterator[str]]


class Difference(NamedTuple):
    """A description of a wrong result.

    Attributes
    ----------
    sentence : str
        The most obvious difference: the type, the shape, or the first wrong number with its index.
    extent : str
        A sentence with the count of wrong numbers and what their indices have in common, or "".
    cause : str
        A sentence with the likely cause, or "".
    """

    sentence: str
    extent: str = ""
    cause: str = ""

    @property
    def pattern(self) -> str:
        """The extent and the cause in one line."""
        return f"{self.extent} {self.cause}".strip()


def difference(
    name: str, got: NumPyArray, expected: NumPyArray, sizes: Mapping[str, int] | None = None, rounding: float = ALIKE
) -> Difference | None:
    """Describe how an array differs from what it should be, or return None if it does not.

    Parameters
    ----------
    name : str
        The name of the array in the sentences.
    got, expected : array
        The array, and what it should be.
    sizes : mapping of str to int, optional
        Maps descriptions of sizes to sizes, as in :class:`Evidence`.
    rounding : float
        The largest error that counts as rounding, relative to the largest expected number.
    """
    if got.shape != expected.shape:
        sentence = f"{name} has the shape {got.shape}, but should have {expected.shape}."
        return Difference(sentence, cause=_shapes(got.shape, expected.shape))
    largest = float(np.abs(expected).max(initial=0.0)) or 1.0
    wrong = np.flatnonzero(~(np.abs(got - expected) <= rounding * largest)).tolist()  # a NaN is wrong, too
    if not wrong:
        return None
    first = wrong[0]
    place = place_named(first, got.shape)
    sentence = f"{name}{place} is {got.flat[first]:.6g}, but should be {expected.flat[first]:.6g}."
    count = "All numbers are wrong" if len(wrong) == got.size else f"{len(wrong)} of {got.size} numbers are wrong"
    cause = explain(Evidence(got, expected, wrong, sizes or {}), PATTERNS) if len(wrong) > 1 or got.size == 1 else ""
    return Difference(sentence, f"{count}{common_places(got.shape, wrong)}.", cause)


def explain(evidence: Evidence, causes: Iterable[Cause]) -> str:
    """Return the first sentence that explains the evidence, or ""."""
    return next((sentence for cause in causes for sentence in cause(evidence)), "")


def common_places(shape: tuple[int, ...], wrong: Sequence[int]) -> str:
    """Return what the wrong elements (flat indices) have in common, as the end of a clause, or "".

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


def axis_sizes(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, int]:
    """Return the sizes of axes, and of several axes together, keyed by their descriptions, in the order of the arrays.

    >>> axis_sizes({"x": (5, 1, 4)})
    {'the size of axis 0 of x': 5, 'the size of axis 2 of x': 4, 'the size of axes 0, 2 of x': 20}
    """
    return {
        f"the size of {axes_named(axes)} of {name}": math.prod(shape[axis] for axis in axes)
        for name, shape in shapes.items()
        for axes in sorted(axes_sets(len(shape)), key=len)
        if all(shape[axis] > 1 for axis in axes)
    }


# --- causes that apply to any wrong array


def not_finite(e: Evidence) -> Iterator[str]:
    if count := int((~np.isfinite(e.got)).sum()):
        yield f"It holds NaN or infinity at {count} of {e.got.size} places."


def zero(e: Evidence) -> Iterator[str]:
    if e.got.size > 1 and not e.got.any():
        yield "It is zero everywhere."


def flipped_sign(e: Evidence) -> Iterator[str]:
    if e.explains(-e.got):
        yield "Its sign is flipped."


def flipped(e: Evidence) -> Iterator[str]:
    for how, turned in flips(e.got):
        if e.explains(turned):
            yield f"It is {how}."


def reordered(e: Evidence) -> Iterator[str]:
    for order in orders(e.got.ndim):
        if e.explains(read_in_order(e.got, order)):
            yield (
                f"Its values are right, but in the order of axes {order}: transposed, or reshaped where a transpose is "
                "due."
            )
    for order in orders(e.got.ndim):
        if e.explains(e.got.transpose(order).reshape(e.got.shape)):
            yield (
                f"Its values are right, but were read as if they lay in the order of axes {order}: reshaped where a "
                "transpose is due."
            )


def shifted(e: Evidence) -> Iterator[str]:
    for move in moves(e.got.shape):
        back = [(axis, -distance) for axis, distance in move]
        if e.explains(moved(e.got, back, np.nan)) and not alike(moved(e.expected, back, np.nan), e.expected):
            yield f"It is {shift_named(move)}: look at the padding, and at where it is cut off."


def constant_factor(e: Evidence) -> Iterator[str]:
    factor = float((e.got * e.expected)[e.known].sum() / (e.expected[e.known] ** 2).sum()) if e.scale else 0.0
    if not factor or not e.explains(e.got / factor):
        return
    single = e.known.sum() == 1  # any two numbers differ by some factor
    for words, size in e.sizes.items() if not single else ():
        if math.isclose(size, factor, rel_tol=ALIKE):
            yield f"It is too large by the factor {size}, {words}: the division by it is missing."
        if math.isclose(size, 1 / factor, rel_tol=ALIKE):
            yield f"It is too small by the factor {size}, {words}: a mean instead of a sum, or divided once too often."
    if math.isclose(factor, 2, rel_tol=ALIKE):
        yield "It is twice what it should be: something is counted twice."
    if math.isclose(factor, 0.5, rel_tol=ALIKE):
        yield "It is half of what it should be: one of two contributions is lost."
    ratio = max(factor, 1 / factor)
    if not single or math.isclose(ratio, round(ratio), rel_tol=ALIKE):
        yield f"It is off by the constant factor {factor:.6g}."


def truncated(e: Evidence) -> Iterator[str]:
    if e.scale > 1 and np.array_equal(e.got[e.known], np.trunc(e.expected[e.known])):
        yield "It is cut off to whole numbers: an intermediate array holds integers."


def same_everywhere(e: Evidence) -> Iterator[str]:
    if e.got.size > 1 and np.ptp(e.got) == 0:
        yield "It is the same number everywhere."


def misplaced(e: Evidence) -> Iterator[str]:
    if e.complete and alike(np.sort(e.got, axis=None), np.sort(e.expected, axis=None)):
        yield "Its values are right, but in the wrong places."


def nearly_right(e: Evidence) -> Iterator[str]:
    if e.scale and np.abs(e.error[e.known]).max() <= NEARLY * e.scale:
        yield "It is nearly right, but off by more than rounding: was a number rounded, or an epsilon added?"


EXACT: list[Cause] = [not_finite, zero, flipped_sign, flipped, reordered, shifted, constant_factor, truncated]
VAGUE: list[Cause] = [same_everywhere, misplaced, nearly_right]
PATTERNS = [*EXACT, *VAGUE]


# --- ways in which an array may have been altered, and their descriptions


def flips(array: NumPyArray) -> Iterator[tuple[str, NumPyArray]]:
    """Flip the array along all axes, along some of them, and along each; yield a description and each result."""
    for axes in axes_sets(array.ndim):
        yield f"flipped along {axes_named(axes)}", np.flip(array, axes)


def orders(ndim: int) -> Iterator[tuple[int, ...]]:
    """Return all orders of the axes except the original one."""
    return (order for order in permutations(range(ndim)) if order != tuple(range(ndim)))


def read_in_order(array: NumPyArray, order: tuple[int, ...]) -> NumPyArray:
    """Read the array's values as if they lay in another order of axes; undoes ``transpose(order).reshape(shape)``."""
    return array.reshape([array.shape[axis] for axis in order]).transpose(np.argsort(order))


def altered(array: NumPyArray) -> Iterator[tuple[str, NumPyArray]]:
    """Yield the ways in which backward may have altered an array before use: a description and the altered array."""
    yield from flips(array)
    shape, swapped = array.shape, (*range(array.ndim - 2), array.ndim - 1, array.ndim - 2)
    for order in orders(array.ndim):
        turned = array.transpose(order)
        if turned.shape == shape:
            yield "transposed" if order == swapped else f"transposed to the order of axes {order}", turned
        else:
            yield f"reshaped as if it lay in the order of axes {order}", read_in_order(array, order)
            yield f"transposed to the order of axes {order} and reshaped", turned.reshape(shape)
    for move in moves(shape):
        yield shift_named(move), moved(array, move, 0.0)
        yield f"{shift_named(move)}, around its edges", moved(array, move, None)
    yield "negated", -array
    yield "taken without its sign", np.abs(array)


def moves(shape: tuple[int, ...]) -> list[list[tuple[int, int]]]:
    """Return shifts along one axis, or along the last two at once, as (axis, distance) pairs, the shortest first.

    More than half of each axis stays inside; otherwise, a swap of two halves could be mistaken for a shift.
    """
    distances = [[d for d in range(-FARTHEST, FARTHEST + 1) if 2 * abs(d) < max(size, 1)] for size in shape]
    singles = [[(axis, d)] for axis, some in enumerate(distances) for d in some if d]
    last = range(len(shape))[-2:]
    pairs = [list(zip(last, pair, strict=True)) for pair in product(*(distances[axis] for axis in last)) if all(pair)]
    return sorted(singles + pairs * (len(last) == 2), key=lambda move: sum(abs(distance) for _, distance in move))


def moved(array: NumPyArray, move: Sequence[tuple[int, int]], fill: float | None) -> NumPyArray:
    """Return the shifted array. Its new edges hold ``fill`` or, if that is None, what left at the other side."""
    result = np.roll(array, [distance for _, distance in move], [axis for axis, _ in move])
    for axis, distance in move if fill is not None else ():
        np.moveaxis(result, axis, 0)[slice(distance) if distance > 0 else slice(distance, None)] = fill
    return result


def shift_named(move: Sequence[tuple[int, int]]) -> str:
    """Describe a shift.

    >>> shift_named([(2, 1), (3, -2)])
    'shifted by +1 along axis 2 and by -2 along axis 3'
    """
    return "shifted " + " and ".join(f"by {distance:+d} along axis {axis}" for axis, distance in move)


def alike(a: NumPyArray, b: NumPyArray) -> bool:
    """Return whether two arrays agree where neither holds NaN. Arrays of zeros never count as alike."""
    both = ~np.isnan(a) & ~np.isnan(b)
    a, b = a[both], b[both]
    largest = max(np.abs(a).max(initial=0.0), np.abs(b).max(initial=0.0))
    return bool(largest > 0 and np.abs(a - b).max() <= ALIKE * largest)


def axes_sets(ndim: int) -> Iterator[tuple[int, ...]]:
    """Yield all sets of axes except the empty one, the largest first."""
    for count in range(ndim, 0, -1):
        yield from combinations(range(ndim), count)


def axes_named(axes: Iterable[int]) -> str:
    """Name some axes in words.

    >>> axes_named([1]), axes_named([0, 2])
    ('axis 1', 'axes 0, 2')
    """
    numbers = [str(axis) for axis in axes]
    return f"ax{'is' if len(numbers) == 1 else 'es'} {', '.join(numbers)}"


def place_named(place: int, shape: tuple[int, ...]) -> str:
    """Write the index of an element, given its flat index.

    >>> place_named(5, (2, 3)), place_named(0, ())
    ('[1, 2]', '')
    """
    index = ", ".join(map(str, np.unravel_index(place, shape)))
    return f"[{index}]" if index else ""


def _shapes(got: tuple[int, ...], expected: tuple[int, ...]) -> str:
    """Explain a wrong shape by what it has in common with the right one, or return ""."""
    if sorted(got) == sorted(expected):
        return "The sizes are right, but in another order: a transpose is missing, or there is one too many."
    if math.prod(got) == math.prod(expected):
        return "It has as many numbers as it should: a reshape is missing."
    if len(got) == len(expected):
        return f"It differs in {axes_named(axis for axis in range(len(got)) if got[axis] != expected[axis])}."
    missing = [size for size in expected if size not in got]
    return f"An axis of size {missing[0]} is missing." if missing else ""
