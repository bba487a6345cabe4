"""Guess why a gradient is wrong, by comparing it with what likely mistakes would have given.

:data:`CAUSES` lists the causes of wrong gradients together with those of :mod:`minires.gradcheck.diagnosis`; the first
sentence is the diagnosis. To teach gradcheck another mistake, write a generator that recognises it and add it to the
list.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from itertools import combinations

import numpy as np

from ..core.backend import Array, to_device
from .diagnosis import ALIKE, EXACT, VAGUE, Evidence, NumPyArray, alike, altered, axes_named, axes_sets, axis_sizes
from .problem import Problem

TINY = np.finfo(np.float64).tiny
TRIALS = 24  # the number of wrong elements, and of right ones, at which a guess is tested
FIRST = 2  # the number of elements at which it is tested first, because most guesses fail there
FEWEST = 4  # at least this many elements must lie on a line, because any two do
ENOUGH = 12  # a mask is recognised from at least this many elements, because fewer agree with some mask by chance
FAR = -100.0  # multiplying an input by this makes a ReLU pass what it blocked, and block what it passed
LARGEST = 1 << 22  # limit for the size of the Jacobian's rows of wrong elements, and of those of right ones
COMPARISONS = {">": np.greater, "<": np.less, ">=": np.greater_equal, "<=": np.less_equal}


class GradientEvidence(Evidence):
    """A wrong gradient, with methods that test guesses about its cause.

    Attributes
    ----------
    problem : Problem
        The function, its inputs and the upstream.
    k : int
        The index of the input whose gradient is wrong.
    eps : float
        The step for further differences.
    arrays, upstream, output, x
        The values of the inputs, the upstream, f(inputs) and the values of input k, as NumPy arrays.
    places : list of int
        Flat indices of some wrong elements and some right ones, at which guesses are tested.
    claims : array
        The gradient that backward claims at these places.
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
        self.claims = claimed.flat[self.places]

    @cached_property
    def jacobian(self) -> NumPyArray:
        """The slope of each output with respect to each element in ``places``, as an array (places, outputs)."""
        return self.problem.jacobian(self.k, self.places, self.eps, self.problem.arrays)

    def is_claimed(self, gradient: NumPyArray) -> bool:
        """Return whether a gradient has the shape of the input and equals what backward claims."""
        return gradient.shape == self.x.shape and alike(gradient, self.got)

    def right_for(self, upstream: NumPyArray) -> bool:
        """Return whether backward's claim would be right for another upstream."""
        return alike(self.jacobian @ upstream.ravel(), self.claims)

    def right_if(self, j: int, array: NumPyArray) -> bool:
        """Return whether backward's claim would be right for another value of input j."""
        arrays: list[Array] = list(self.problem.arrays)
        arrays[j] = to_device(array.copy(), self.problem.device)
        try:
            return self._claims_slopes(self.k, arrays)
        except Exception:  # f may reject such an input
            return False

    def right_to(self, j: int) -> bool:
        """Return whether backward's claim is the gradient with respect to input j."""
        return self._claims_slopes(j, self.problem.arrays)

    def _claims_slopes(self, k: int, arrays: Sequence[Array]) -> bool:
        def slopes(places: list[int]) -> NumPyArray:
            return self.problem.jacobian(k, places, self.eps, arrays) @ self.upstream.ravel()

        errors = np.abs(slopes(self.places[:FIRST]) - self.claims[:FIRST])
        return bool(errors.max() <= ALIKE * np.abs(self.got).max()) and alike(slopes(self.places), self.claims)

    def named(self, shape: tuple[int, ...]) -> list[tuple[str, NumPyArray]]:
        """Return names and arrays: those of the inputs, the output and the upstream that are floats of that shape."""
        arrays = [*zip(self.problem.names, self.arrays, strict=True)]
        arrays += [("the output", self.output), (self.problem.upstream_name, self.upstream)]
        return [(name, array) for name, array in arrays if array.shape == shape and array.dtype.kind == "f"]

    def conditions(self, shape: tuple[int, ...]) -> Iterator[tuple[str, NumPyArray]]:
        """Yield conditions from which a mask of that shape may have been made: a description and the mask."""
        named = self.named(shape)
        inputs = [(name, values) for name, values in named if name in self.problem.names]
        zero = ("0", np.zeros(shape))
        for (name, values), (other, others) in [*((one, zero) for one in named), *combinations(inputs, 2)]:
            for sign, compare in COMPARISONS.items():
                yield f"{name} {sign} {other}", compare(values, others)


def missing(e: GradientEvidence) -> Iterator[str]:
    if not e.got.any():
        yield "It is zero everywhere: this path is missing in backward (a None, a detach, or raw arrays)."


def swapped_inputs(e: GradientEvidence) -> Iterator[str]:
    for j in e.problem.checked:
        if j != e.k and e.arrays[j].shape == e.x.shape and e.right_to(j):
            yield f"It is the gradient with respect to {e.problem.names[j]}: the two are swapped."


def upstream_unchanged(e: GradientEvidence) -> Iterator[str]:
    if e.is_claimed(e.upstream):
        yield f"It is {e.problem.upstream_name}, unchanged: the local derivative is missing."


def upstream_ignored(e: GradientEvidence) -> Iterator[str]:
    if e.right_for(np.ones_like(e.upstream)):
        yield "It is right for an upstream of ones only: backward ignores its upstream."


def upstream_summed(e: GradientEvidence) -> Iterator[str]:
    for name, values in e.named(e.output.shape):
        for axes in axes_sets(e.output.ndim):
            total = (e.upstream * values).sum(axes)
            if total.size == e.x.size and e.is_claimed(total.reshape(e.x.shape)):
                yield f"It is the sum of the upstream times {name} over {axes_named(axes)}: the factor is wrong."


def upstream_altered(e: GradientEvidence) -> Iterator[str]:
    """The upstream was flipped, transposed, shifted, negated or masked before backward used it."""
    for how, upstream in altered(e.upstream):
        if e.right_for(upstream):
            yield f"It would be right if {e.problem.upstream_name} were {how}."
    for condition, mask in e.conditions(e.upstream.shape):
        if e.right_for(np.where(mask, e.upstream, 0.0)):
            yield f"It is right for an upstream that passes only where {condition}: a mask too many, or a wrong one."


def input_altered(e: GradientEvidence) -> Iterator[str]:
    """One of the inputs was flipped, transposed, shifted or given other signs before backward used it."""
    for j, array in enumerate(e.arrays):
        for how, other in altered(array) if array.dtype.kind == "f" else ():
            if e.right_if(j, other):
                yield f"It would be right if {e.problem.names[j]} were {how}."


def mask_of_the_output(e: GradientEvidence) -> Iterator[str]:
    """f ends in a ReLU, whose mask backward leaves out or takes from another array.

    If the input is multiplied by FAR, the outputs that are 0 become positive: their slopes are those before the mask.
    """
    off = e.output == 0
    if not off.any():
        return
    arrays = list(e.problem.arrays)
    arrays[e.k] = FAR * arrays[e.k]
    slopes = np.where(off.ravel(), e.problem.jacobian(e.k, e.places, e.eps, arrays), e.jacobian)
    everywhere = [("everywhere", np.ones_like(off))]
    for how, mask in [*everywhere, *((f"where {name}", mask) for name, mask in e.conditions(off.shape))]:
        if alike(slopes @ np.where(mask, e.upstream, 0.0).ravel(), e.claims):
            yield f"It is right for an upstream that passes {how}, but should pass where the output > 0: a wrong mask."


def one_slice_only(e: GradientEvidence) -> Iterator[str]:
    for axis, size in enumerate(e.output.shape):
        for index in (0, size - 1) if size > 1 else ():
            share = np.zeros_like(e.upstream)
            np.moveaxis(share, axis, 0)[index] = np.moveaxis(e.upstream, axis, 0)[index]
            if e.right_for(share):
                yield (
                    f"It holds the contribution of index {index} along axis {axis} of the output alone: the sum over "
                    "that axis is missing."
                )


def one_contribution_only(e: GradientEvidence) -> Iterator[str]:
    """Several contributions add up, as of a pixel in several windows, but backward gives one of them or the mean."""
    terms = (e.jacobian * e.upstream.ravel()).reshape(len(e.places), *e.output.shape)
    for together in [(), (2,)] if terms.ndim > 2 else [()]:  # the second adds up the channels first
        shares = terms.sum(together).reshape(len(terms), -1)
        counts = (shares != 0).sum(axis=1)
        if not (counts > 1).any():
            continue
        for in_order in (shares, shares[:, ::-1]):
            first = in_order[np.arange(len(shares)), (in_order != 0).argmax(axis=1)]
            if alike(first, e.claims):
                yield (
                    "It holds one of several contributions alone: `=` where `+=` is due, or `+=` with an index that "
                    "repeats."
                )
        if alike(shares.sum(axis=1) / np.maximum(counts, 1), e.claims):
            yield "It is the mean of several contributions: they must be added."


def factor_of_an_axis(e: GradientEvidence) -> Iterator[str]:
    if e.complete and np.abs(e.expected).min() > ALIKE * e.scale:
        for axes in _constant_axes(e.got / e.expected):
            if len(axes) == e.x.ndim - 1:
                (axis,) = set(range(e.x.ndim)) - set(axes)
                yield f"It is off by a factor for each index of axis {axis}: a scale along it is missing or wrong."


def tensor_as_factor(e: GradientEvidence) -> Iterator[str]:
    for name, values in e.named(e.x.shape):
        if e.explains(e.got * values):
            yield f"It lacks a factor: {name}."
        if e.is_claimed(e.expected * values):
            yield f"It has a factor too many: {name}."


def shortcut(e: GradientEvidence) -> Iterator[str]:
    passes, should = _support(e)
    if e.upstream.shape != e.x.shape or (passes != should).flat[e.wrong].all():  # in that case, a mask is wrong
        return
    error, upstream = e.error.flat[e.wrong], e.upstream.flat[e.wrong]
    if alike(error, -upstream):
        yield "It lacks the upstream itself: a path that hands it on unchanged, such as the shortcut, is forgotten."
    if alike(error, upstream):
        yield "It has the upstream added once too often: the shortcut is counted twice."
    if alike(error, 1 - upstream):
        yield "It adds 1 where it should add the upstream: the shortcut hands on a one."


def term_of_a_mean(e: GradientEvidence) -> Iterator[str]:
    for axes in _constant_axes(e.error) if e.complete else ():
        yield f"Its error is constant along {axes_named(axes)}: a term is missing there, such as that of the mean."


def term_of_a_variance(e: GradientEvidence) -> Iterator[str]:
    for axes in axes_sets(e.x.ndim) if e.complete else ():
        x = e.x - e.x.mean(axes, keepdims=True)
        variation = (x * x).sum(axes, keepdims=True)
        slope = (x * e.error).sum(axes, keepdims=True) / np.maximum(variation, TINY)
        line = e.error.mean(axes, keepdims=True) + slope * x
        if x.size >= FEWEST * variation.size and alike(e.error, line):
            yield (
                f"Its error is a linear function of {e.problem.names[e.k]} along {axes_named(axes)}: a term is missing "
                "there, such as that of the variance."
            )


def term_of_a_softmax(e: GradientEvidence) -> Iterator[str]:
    if e.complete and e.output.shape == e.x.shape and e.output.all():
        for axes in _constant_axes(e.error / e.output):
            yield f"Its error is proportional to the output along {axes_named(axes)}: a sum is missing, as in softmax."


def masked(e: GradientEvidence) -> Iterator[str]:
    """The gradient is zero where it should not be, or the reverse, at places that depend on the sign of some array."""
    passes, should = _support(e)
    if not (passes != should).flat[e.wrong].all() or e.known.sum() < ENOUGH or not should.any():
        return
    conditions = [(name, mask[e.known]) for name, mask in e.conditions(e.x.shape)]
    passes, should = passes[e.known], should[e.known]
    right = next((f", but should pass where {name}" for name, mask in conditions if (mask == should).all()), "")
    for name, mask in conditions:
        if (mask == passes).all() and not mask.all():
            yield f"It passes where {name}{right or ', which is the wrong condition'}: look at the mask."
    for name, mask in conditions if should.sum() >= ENOUGH else ():
        if (passes == (mask & should)).all():
            yield f"It is zero except where {name}: a mask too many, or a wrong one."
    if right and passes.all():
        yield f"It passes everywhere{right}: the mask is missing."


def lost_or_leaked(e: GradientEvidence) -> Iterator[str]:
    """The gradient is zero where it should not be, or the reverse, at any places."""
    passes, should = (mask.flat[e.wrong] for mask in _support(e))
    if not passes.any():
        yield "It is zero at all of them, although f depends on them: part of the gradient does not arrive."
    if not should.any():
        yield "f does not depend on any of them: a mask is missing, or too many elements get a gradient."
    if (passes != should).all():
        yield "It is zero where it should not be, and the reverse: a mask, or the choice of a winner, is wrong."


CAUSES = [
    *(missing, upstream_ignored),
    *EXACT,
    *(swapped_inputs, upstream_unchanged, one_slice_only, tensor_as_factor),
    *(masked, upstream_altered, mask_of_the_output, input_altered),
    *(shortcut, term_of_a_mean, term_of_a_variance, term_of_a_softmax, factor_of_an_axis),
    *(one_contribution_only, upstream_summed, lost_or_leaked),
    *VAGUE,
]


def _support(e: GradientEvidence) -> tuple[NumPyArray, NumPyArray]:
    """Return where the gradient is not zero, and where it should not be."""
    return e.got != 0, np.abs(np.nan_to_num(e.expected)) > ALIKE * e.scale


def _spread(places: list[int], count: int) -> list[int]:
    """Return at most ``count`` of the places, evenly spaced in the list.

    >>> _spread([3, 5, 6, 8, 9], 3)
    [3, 6, 9]
    """
    return [places[round(i)] for i in np.linspace(0, len(places) - 1, min(count, len(places)))]


def _constant_axes(array: NumPyArray) -> Iterator[tuple[int, ...]]:
    """Yield the sets of axes along which the array is constant, the largest first."""
    for axes in axes_sets(array.ndim):
        mean = array.mean(axes, keepdims=True)
        if mean.size < array.size and alike(array, np.broadcast_to(mean, array.shape)):
            yield axes
