"""Why a gradient is wrong: a guess, from comparing it with what other, likely mistakes would have given.

:data:`CAUSES` lists them together with those of :mod:`minires.gradcheck.diagnosis`: the first that speaks is the
diagnosis. To teach gradcheck another mistake, write a function that recognises it and put it into the list.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import cached_property
from itertools import permutations

import numpy as np

from ..core.backend import Array, to_device
from .diagnosis import (
    ALIKE,
    EXACT,
    VAGUE,
    Cause,
    Evidence,
    NumPyArray,
    alike,
    axes_named,
    axes_sets,
    axis_sizes,
    flips,
    moved,
    moves,
    orders,
    read_in_order,
    shift_named,
)
from .problem import Problem

TINY = np.finfo(np.float64).tiny
TRIALS = 24  # how many wrong elements must answer a what-if question, and how many right ones
FIRST = 2  # how many are asked first: most guesses fail there
ENOUGH = 12  # how many elements it takes to recognise a mask: fewer agree with some mask by chance
FAR = -100.0  # times an input: enough to open what a ReLU has closed, and the reverse
LARGEST = 1 << 22  # the most numbers in the Jacobian's rows that are kept


class GradientEvidence(Evidence):
    """A wrong gradient, and the means to ask questions about it.

    Attributes
    ----------
    problem : Problem
        The function, its inputs and the upstream.
    k : int
        The input whose gradient is wrong.
    eps : float
        The step for further differences.
    arrays, upstream, output, x
        The values of the inputs, the upstream, f(inputs) and the values of input k, as NumPy arrays.
    places : list of int
        Flat indices of some wrong elements and some right ones, at which questions are answered.
    """

    def __init__(
        self, problem: Problem, k: int, claimed: NumPyArray, measured: NumPyArray, wrong: list[int], eps: float
    ) -> None:
        self.problem, self.k, self.eps = problem, k, eps
        self.arrays = [to_device(array, "cpu") for array in problem.arrays]
        self.upstream, self.output = to_device(problem.upstream, "cpu"), to_device(problem.output, "cpu")
        self.x = self.arrays[k]
        named = [(problem.names[k], self.x), ("the output", self.output), *zip(problem.names, self.arrays, strict=True)]
        super().__init__(claimed, measured, wrong, axis_sizes({name: array.shape for name, array in named}))
        right = np.setdiff1d(np.flatnonzero(self.known), wrong).tolist()
        count = max(FIRST, min(TRIALS, LARGEST // max(self.output.size, 1)))
        self.places = [*_spread(wrong, count), *_spread(right, count)]

    @cached_property
    def jacobian(self) -> NumPyArray:
        """(places, *output shape): how fast each output changes with each of these elements."""
        return self.problem.jacobian(self.k, self.places, self.eps)

    def is_claimed(self, gradient: NumPyArray) -> bool:
        """Whether a gradient of the shape of the input is what backward claims."""
        return gradient.shape == self.x.shape and alike(gradient, self.got)

    def right_for(self, upstream: NumPyArray) -> bool:
        """Whether backward claims the gradient that belongs to another upstream."""
        rows = self.jacobian.reshape(len(self.places), -1)
        return alike(rows @ upstream.ravel(), self.got.flat[self.places])

    def right_if(self, j: int, array: NumPyArray) -> bool:
        """Whether backward claims the gradient that belongs to another value of input j."""
        arrays: list[Array] = list(self.problem.arrays)
        arrays[j] = to_device(array.copy(), self.problem.device)
        try:
            return self._claims(self.k, arrays)
        except Exception:  # f may object to such an input
            return False

    def right_to(self, j: int) -> bool:
        """Whether backward claims the gradient to input j."""
        return self._claims(j, self.problem.arrays)

    def _claims(self, k: int, arrays: Sequence[Array]) -> bool:
        largest = np.abs(self.got).max()
        found: list[float] = []
        for some in (self.places[:FIRST], self.places[FIRST:]):
            rows = self.problem.jacobian(k, some, self.eps, arrays).reshape(len(some), -1)
            found += (rows @ self.upstream.ravel()).tolist()
            if not np.abs(found - self.got.flat[self.places[: len(found)]]).max() <= ALIKE * largest:
                return False
        return alike(np.array(found), self.got.flat[self.places])

    def named(self, shape: tuple[int, ...]) -> list[tuple[str, NumPyArray]]:
        """The inputs, the output and the upstream with their names, as far as they are numbers of that shape."""
        arrays = [*zip(self.problem.names, self.arrays, strict=True)]
        arrays += [("the output", self.output), (self.problem.upstream_name, self.upstream)]
        return [(name, array) for name, array in arrays if array.shape == shape and array.dtype.kind == "f"]

    def conditions(self, shape: tuple[int, ...]) -> Iterator[tuple[str, NumPyArray]]:
        """What a mask of that shape may have been made of, with the words for it."""
        named = self.named(shape)
        for name, values in named:
            yield from ((f"{name} > 0", values > 0), (f"{name} < 0", values < 0))
            yield from ((f"{name} >= 0", values >= 0), (f"{name} <= 0", values <= 0))
        inputs = [(name, values) for name, values in named if name in self.problem.names]
        for (name, values), (other, others) in permutations(inputs, 2):
            yield from ((f"{name} > {other}", values > others), (f"{name} >= {other}", values >= others))


def missing(e: GradientEvidence) -> str | None:
    if not e.got.any():
        return "It is zero everywhere: this path is missing in backward (a None, a detach, or raw arrays)."
    return None


def swapped_inputs(e: GradientEvidence) -> str | None:
    for j in e.problem.checked:
        if j != e.k and e.arrays[j].shape == e.x.shape and e.right_to(j):
            return f"It is the gradient to {e.problem.names[j]}: the two are swapped."
    return None


def upstream_unchanged(e: GradientEvidence) -> str | None:
    if e.is_claimed(e.upstream):
        return f"It is {e.problem.upstream_name}, unchanged: the local derivative is missing."
    return None


def upstream_ignored(e: GradientEvidence) -> str | None:
    if e.right_for(np.ones_like(e.upstream)):
        return "It is right for an upstream of ones only: backward ignores its upstream."
    return None


def upstream_summed(e: GradientEvidence) -> str | None:
    for name, values in e.named(e.output.shape):
        for axes in axes_sets(e.output.ndim):
            total = (e.upstream * values).sum(axes)
            if total.size == e.x.size and e.is_claimed(total.reshape(e.x.shape)):
                return f"It is the sum of the upstream times {name} over {axes_named(axes)}: another factor is due."
    return None


def upstream_altered(e: GradientEvidence) -> str | None:
    """Turned, shifted or masked before backward used it."""
    for how, upstream in _altered(e.upstream):
        if e.right_for(upstream):
            return f"It would be right if {e.problem.upstream_name} were {how}."
    for condition, mask in e.conditions(e.upstream.shape):
        if e.right_for(np.where(mask, e.upstream, 0.0)):
            return f"It is right for an upstream that passes only where {condition}: a mask too many, or a wrong one."
    return None


def input_altered(e: GradientEvidence) -> str | None:
    """Backward used another input, or the one whose gradient this is, turned, shifted or with other signs."""
    for j, array in enumerate(e.arrays):
        for how, altered in _altered(array) if array.dtype.kind == "f" else ():
            if e.right_if(j, altered):
                return f"It would be right if {e.problem.names[j]} were {how}."
    return None


def mask_of_the_output(e: GradientEvidence) -> str | None:
    """f ends in a ReLU, whose mask backward leaves out or takes from elsewhere.

    With an input far on the other side, the outputs that are 0 now would be on: that shows what came through the mask.
    """
    off = e.output == 0
    if not off.any():
        return None
    arrays = list(e.problem.arrays)
    arrays[e.k] = FAR * arrays[e.k]
    slopes = np.where(off, e.problem.jacobian(e.k, e.places, e.eps, arrays), e.jacobian).reshape(len(e.places), -1)
    for condition, mask in [("", ~off | off), *e.conditions(e.output.shape)]:
        if alike(slopes @ np.where(mask, e.upstream, 0.0).ravel(), e.got.flat[e.places]):
            where = f"where {condition}" if condition else "everywhere"
            return (
                f"It is right for an upstream that passes {where}, but should pass where the output > 0: a wrong mask."
            )
    return None


def one_slice_only(e: GradientEvidence) -> str | None:
    for axis, size in enumerate(e.output.shape):
        for index in (0, size - 1) if size > 1 else ():
            share = np.zeros_like(e.upstream)
            np.moveaxis(share, axis, 0)[index] = np.moveaxis(e.upstream, axis, 0)[index]
            if e.right_for(share):
                return (
                    f"It holds the share of index {index} along axis {axis} of the output alone: the sum over that "
                    "axis is lost."
                )
    return None


def one_contribution_only(e: GradientEvidence) -> str | None:
    """Where an element takes part in several outputs, such as a pixel in several windows."""
    terms = e.jacobian * e.upstream  # (places, *output shape)
    for together in [(), (2,)] if terms.ndim > 2 else [()]:  # the channels of a pixel arrive as one
        shares = terms.sum(together).reshape(len(terms), -1) if together else terms.reshape(len(terms), -1)
        counts = (shares != 0).sum(axis=1)
        if (counts > 1).any():
            rows = np.arange(len(shares))
            first = shares[rows, (shares != 0).argmax(axis=1)]
            last = shares[rows, shares.shape[1] - 1 - (shares != 0)[:, ::-1].argmax(axis=1)]
            claimed = e.got.flat[e.places]
            if alike(first, claimed) or alike(last, claimed):
                return (
                    "It holds one of several contributions alone: `=` where `+=` is due, or `+=` with an index that "
                    "repeats."
                )
            if alike(shares.sum(axis=1) / np.maximum(counts, 1), claimed):
                return "It is the mean of several contributions: they must be added."
    return None


def factor_of_an_axis(e: GradientEvidence) -> str | None:
    if not e.complete or np.abs(e.expected).min() <= ALIKE * e.scale:
        return None
    for axes in axes_sets(e.x.ndim, e.x.ndim - 1):
        if _constant(e.got / e.expected, axes):
            others = axes_named(axis for axis in range(e.x.ndim) if axis not in axes)
            return f"It is off by a factor for each index of {others}: a scale along it is missing or wrong."
    return None


def tensor_as_factor(e: GradientEvidence) -> str | None:
    for name, values in e.named(e.x.shape):
        if e.explains(e.got * values):
            return f"It lacks a factor: {name}."
        if e.is_claimed(e.expected * values):
            return f"It has a factor too many: {name}."
    return None


def shortcut(e: GradientEvidence) -> str | None:
    passes, should = _support(e)
    if e.upstream.shape != e.x.shape or (passes != should).flat[e.wrong].all():  # the latter is a matter of masks
        return None
    error, upstream = e.error.flat[e.wrong], e.upstream.flat[e.wrong]
    if alike(error, -upstream):
        return "It lacks the upstream itself: a path that hands it on unchanged, such as the shortcut, is forgotten."
    if alike(error, upstream):
        return "It has the upstream added once too often: the shortcut is counted twice."
    if alike(error, 1 - upstream):
        return "It adds 1 where it should add the upstream: the shortcut hands on a one."
    return None


def term_of_a_mean(e: GradientEvidence) -> str | None:
    for axes in axes_sets(e.x.ndim) if e.complete else ():
        if _constant(e.error, axes):
            return f"Its error is constant along {axes_named(axes)}: a term is missing there, such as that of the mean."
    return None


def term_of_a_variance(e: GradientEvidence) -> str | None:
    for axes in axes_sets(e.x.ndim) if e.complete else ():
        x, error = _rows(e.x, axes), _rows(e.error, axes)
        if x.shape[1] < 4:
            continue
        x = x - x.mean(axis=1, keepdims=True)
        slope = (x * error).sum(axis=1, keepdims=True) / np.maximum((x * x).sum(axis=1, keepdims=True), TINY)
        if alike(error, error.mean(axis=1, keepdims=True) + slope * x):
            return (
                f"Its error is a linear function of {e.problem.names[e.k]} along {axes_named(axes)}: a term is missing "
                "there, such as that of the variance."
            )
    return None


def term_of_a_softmax(e: GradientEvidence) -> str | None:
    if not e.complete or e.output.shape != e.x.shape or not e.output.all():
        return None
    for axes in axes_sets(e.x.ndim):
        if _constant(e.error / e.output, axes):
            return f"Its error is proportional to the output along {axes_named(axes)}: a sum is missing, as in softmax."
    return None


def masked(e: GradientEvidence) -> str | None:
    """Zero where it should not be, or the reverse, in places that follow the sign of some array."""
    passes, should = _support(e)
    if not (passes != should).flat[e.wrong].all() or e.known.sum() < ENOUGH or not should.any():
        return None
    conditions = [(name, mask[e.known]) for name, mask in e.conditions(e.x.shape)]
    passes, should = passes[e.known], should[e.known]
    right = next((f", but should pass where {name}" for name, mask in conditions if (mask == should).all()), "")
    for name, mask in conditions:
        if (mask == passes).all() and not mask.all():
            return f"It passes where {name}{right or ', which is the wrong condition'}: look at the mask."
    for name, mask in conditions if should.sum() >= ENOUGH else ():
        if (passes == (mask & should)).all():
            return f"It is zero except where {name}: a mask too many, or a wrong one."
    if right and passes.all():
        return f"It passes everywhere{right}: the mask is missing."
    return None


def lost_or_leaked(e: GradientEvidence) -> str | None:
    """Zero where it should not be, or the reverse, in whatever places."""
    passes, should = (mask.flat[e.wrong] for mask in _support(e))
    if not passes.any():
        return "It is zero at all of them, although f depends on them: part of the gradient does not arrive."
    if not should.any():
        return "f does not depend on any of them: a mask is missing, or all get what is due to the winner."
    if (passes != should).all():
        return "It is zero where it should not be, and the reverse: a mask, or the choice of a winner, is wrong."
    return None


CAUSES: list[Cause] = [
    *(missing, upstream_ignored),
    *EXACT,
    *(swapped_inputs, upstream_unchanged, one_slice_only, tensor_as_factor),
    *(masked, upstream_altered, mask_of_the_output, input_altered),
    *(shortcut, term_of_a_mean, term_of_a_variance, term_of_a_softmax, factor_of_an_axis),
    *(one_contribution_only, upstream_summed, lost_or_leaked),
    *VAGUE,
]


def _altered(array: NumPyArray) -> Iterator[tuple[str, NumPyArray]]:
    """What backward may have made of an array before it used it, with the words for it."""
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


def _support(e: GradientEvidence) -> tuple[NumPyArray, NumPyArray]:
    """Where the gradient is not zero, and where it should not be."""
    return e.got != 0, np.abs(np.nan_to_num(e.expected)) > ALIKE * e.scale


def _spread(places: list[int], count: int) -> list[int]:
    """At most ``count`` of the places, from all over them.

    >>> _spread([3, 5, 6, 8, 9], 3)
    [3, 6, 9]
    """
    if len(places) <= count:
        return places
    return [places[round(i)] for i in np.linspace(0, len(places) - 1, count)]


def _rows(array: NumPyArray, axes: tuple[int, ...]) -> NumPyArray:
    """(groups, members): what lies along ``axes`` in a row for each index of the other axes."""
    others = tuple(axis for axis in range(array.ndim) if axis not in axes)
    return array.transpose(others + axes).reshape(-1, math.prod(array.shape[axis] for axis in axes))


def _constant(array: NumPyArray, axes: tuple[int, ...]) -> bool:
    rows = _rows(array, axes)
    return rows.shape[1] > 1 and alike(rows, rows.mean(axis=1, keepdims=True) + np.zeros_like(rows))
