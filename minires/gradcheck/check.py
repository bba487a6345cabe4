"""gradcheck: compare the gradients that backward computes with finite differences.

When is a claimed slope wrong, given a measured one? Finite differences in float64 are usually accurate to about nine
digits. A tolerance of a thousandth, wide enough for the least accurate ones, would miss an error of a thousandth. So
each measurement comes with two numbers that say how accurate it is:

- *noise*: the rounding error of f(x), divided by the step, and the variation of the slope between nearby steps;
- *doubt*: half the difference between the slopes to the left and to the right, which shows curvature and kinks.

A claimed slope is right if its error is within a hundredth of the tolerance, or within both the tolerance and ten times
the noise. It is wrong if its error is larger than the doubt plus ten times the noise. In between, a step that is ten
times smaller decides: the effect of curvature shrinks with the step, and a kink near the point is then out of reach. A
kink at the point itself remains, and is reported as such, because no gradient is right there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..core import checks
from ..core.tensor import Tensor
from ..errors import ArgumentError, DTypeError, GradcheckError, sizes
from .causes import CAUSES, GradientEvidence
from .diagnosis import NumPyArray, common_places, explain, place_named
from .problem import Function, Problem, Slope

EVERY = 512  # inputs of up to this size are moved element by element
SAMPLE = 64  # the number of elements of a larger input that are moved one by one
DIRECTIONS = 8  # the number of random directions in which all elements of a larger input are moved at once
STEPS = (1.0, 0.1, 0.01)  # the steps, in units of eps
NEARBY = (0.6, 0.8, 1.2, 1.4)  # nearby steps, in units of the step
NOISES = 10.0  # an error may be up to this many times the estimated noise
STREAM = 1  # part of the generator's seed, so that the upstream is independent of inputs drawn from default_rng(seed)
SHARPER = 0.01  # an error within this part of the tolerance is always accepted

Judgement = tuple[str, Slope, float]  # "right", "wrong" or "kink"; the slope that decided; the claimed slope's error


def gradcheck(
    f: Function,
    inputs: Tensor | Sequence[Tensor],
    eps: float = 1e-6,
    atol: float = 1e-5,
    rtol: float = 1e-3,
    order: int = 1,
    seed: int = 0,
) -> bool:
    """Compare the backward of ``f`` with central differences, for a random upstream.

    Inputs of up to 512 elements are moved element by element. In a larger input, 64 elements are moved one by one, and
    then all elements together in 8 random directions. gradcheck also checks that neither the inputs nor the upstream
    are changed, and that a second identical call gives the identical result. It sets no ``grad`` and changes no value.

    Parameters
    ----------
    f : callable
        A function that takes the inputs and returns a float64 Tensor of any shape, or a tuple of them. It may access an
        input through a closure, as a layer accesses its weights.
    inputs : Tensor or sequence of Tensor
        The arguments of f. Those with ``requires_grad=True`` are checked; they must be float64 leaves.
    eps : float
        The step. For elements above 1 in magnitude, it is relative to their magnitude.
    atol, rtol : float
        An error of up to ``atol + rtol * abs(slope)`` is accepted if rounding makes the measured slope that uncertain.
        Usually the slope is more precise, and the accepted error is a hundred times smaller, with ``atol`` multiplied
        by the largest gradient if that gradient is below 1. An error of 0.1 % is therefore found.
    order : {1, 2}
        If 2, also check the derivatives of the gradient (``create_graph=True``) with respect to the inputs and the
        upstream, for a second random upstream.
    seed : int
        The seed of upstreams, directions and sampled elements. Global random generators are not used.

    Returns
    -------
    bool
        Always True; a failed check raises an exception.

    Raises
    ------
    GradcheckError
        If a gradient is wrong (the message gives the place and the likely cause), f has a kink or is not finite at the
        inputs, f or its backward changes an input or the upstream, a second call gives a different result, or backward
        fails.
    DTypeError
        If an input or output is not a tensor, or an output or an input that requires a gradient is not float64.
    ArgumentError
        If no input requires a gradient, one that does is not a leaf or is given twice, or an option is invalid.

    Examples
    --------
    >>> import minires as mr
    >>> x = mr.tensor([1.0, -2.0, 3.0], requires_grad=True, dtype="float64")
    >>> mr.gradcheck(mr.ops.relu, x, order=2)
    True
    >>> class Halved(mr.Op):
    ...     def forward(self, x):
    ...         return x * x
    ...     def backward(self, upstream):
    ...         return upstream * self.inputs[0]
    >>> mr.gradcheck(lambda x: Halved()(x), x)
    Traceback (most recent call last):
        ...
    minires.errors.GradcheckError: gradcheck: the gradient with respect to input 0 (3) is wrong at 3 of 3 elements; ...
    """
    largest_error(f, inputs, Rule(eps, atol, rtol), order, seed)
    return True


@dataclass(frozen=True)
class Rule:
    """The rule that decides whether a claimed slope agrees with a measured one; see the top of this file."""

    eps: float = 1e-6
    atol: float = 1e-5
    rtol: float = 1e-3

    def __post_init__(self) -> None:
        checks.positive("gradcheck", self.eps, "eps")
        checks.not_negative("gradcheck", self.atol, "atol")
        checks.not_negative("gradcheck", self.rtol, "rtol")

    def judge(self, measure: Callable[[float], Slope], claimed: float, scale: float) -> Judgement:
        """Judge a claimed slope.

        ``measure`` maps a step to a measured slope; ``scale`` is the largest magnitude in the input's claimed gradient.
        """
        for part in STEPS:
            step = part * self.eps
            slope = measure(step)
            error, doubt, noise = abs(claimed - slope.central), abs(slope.right - slope.left) / 2, slope.noise
            if error <= SHARPER * (self.atol * min(1.0, scale) + self.rtol * abs(slope.central)):
                return "right", slope, error
            if error <= self.atol + self.rtol * abs(slope.central):
                nearby = [measure(step * factor).central for factor in NEARBY]
                noise = max(noise, *(abs(other - slope.central) for other in nearby))
                if error <= NOISES * noise:
                    return "right", slope, error
            if not error <= doubt + NOISES * noise:  # a NaN is wrong, too
                return "wrong", slope, error
        return "kink", slope, error


def largest_error(
    f: Function, inputs: Tensor | Sequence[Tensor], rule: Rule | None = None, order: int = 1, seed: int = 0
) -> float:
    """Check as :func:`gradcheck` does, and return the largest error, relative to the largest slope of its input."""
    checks.integer("gradcheck", seed, "seed", 0)
    if not checks.is_integer(order) or order not in (1, 2):
        raise ArgumentError(f"gradcheck: order is {order!r}; it must be 1 or 2.")
    rng = np.random.default_rng([seed, STREAM])
    check = _Check(Problem(f, _checked_inputs(inputs), rng), rule or Rule(), rng, "the gradient with respect to {}")
    error = check.run()
    if order == 2:
        subject = "the derivative of the gradient with respect to {}"
        error = max(error, _Check(check.problem.derivative(rng), check.rule, rng, subject).run())
    return error


class _Check:
    """A check of all inputs of a problem, one after the other.

    ``subject`` names a gradient in messages, with ``{}`` in place of the input: "the gradient with respect to {}".
    """

    def __init__(self, problem: Problem, rule: Rule, rng: np.random.Generator, subject: str) -> None:
        self.problem, self.rule, self.rng, self.subject = problem, rule, rng, subject

    def run(self) -> float:
        """Return the largest relative error. Raises GradcheckError for the first input whose gradient is wrong."""
        claims = self.problem.claim()
        return max(self._check_input(k, claimed) for k, claimed in zip(self.problem.checked, claims, strict=True))

    def _check_input(self, k: int, claimed: NumPyArray) -> float:
        judged = {place: self._judge_element(k, claimed, place) for place in self._places(claimed)}
        wrong = [place for place, (verdict, _, _) in judged.items() if verdict == "wrong"]
        if claimed.size > EVERY and not wrong:
            wrong = self._search(k, claimed)
            judged.update({place: self._judge_element(k, claimed, place) for place in wrong})
        if wrong:
            measured = np.full(claimed.shape, np.nan)
            measured.flat[list(judged)] = [slope.central for _, slope, _ in judged.values()]
            raise GradcheckError(self._wrong(k, claimed, measured, wrong))
        for place, (verdict, slope, _) in judged.items():
            if verdict == "kink":
                raise GradcheckError(self._kink(k, place, slope))
        largest = max((abs(slope.central) for _, slope, _ in judged.values()), default=0.0)
        return max(error for _, _, error in judged.values()) / largest if largest else 0.0

    def _places(self, claimed: NumPyArray) -> Sequence[int]:
        """Return the flat indices of the elements to move one by one."""
        if claimed.size <= EVERY:
            return range(claimed.size)
        sample = self.rng.choice(claimed.size, SAMPLE, replace=False)
        suspects = np.flatnonzero(~np.isfinite(claimed))[:SAMPLE]
        return sorted({*sample.tolist(), *suspects.tolist()})

    def _judge_element(self, k: int, claimed: NumPyArray, place: int) -> Judgement:
        reach = max(1.0, abs(float(self.problem.arrays[k][np.unravel_index(place, claimed.shape)])))
        return self._judge(k, claimed, _only(np.ones(claimed.shape), [place]), reach)

    def _judge(self, k: int, claimed: NumPyArray, direction: NumPyArray, reach: float = 1.0) -> Judgement:
        """Judge the slope along ``direction``, with steps multiplied by ``reach``."""
        moving = direction != 0
        return self.rule.judge(
            lambda step: self.problem.slope(k, direction, step * reach),
            claimed=float(claimed[moving] @ direction[moving]),
            scale=float(np.abs(claimed[np.isfinite(claimed)]).max(initial=0.0)),
        )

    def _search(self, k: int, claimed: NumPyArray) -> list[int]:
        """Move all elements in random directions. If a slope is wrong, find one wrong element by bisection."""
        for _ in range(DIRECTIONS):
            direction = np.asarray(self.rng.standard_normal(claimed.shape))
            if self._judge(k, claimed, direction)[0] != "wrong":
                continue
            moving = np.arange(claimed.size)
            while len(moving) > 1:
                halves = np.array_split(moving, 2)
                errors = [self._judge(k, claimed, _only(direction, half))[2] for half in halves]
                moving = halves[int(np.argmax(errors))]
            return moving.tolist()
        return []

    def _wrong(self, k: int, claimed: NumPyArray, measured: NumPyArray, wrong: list[int]) -> str:
        """Describe where the gradient with respect to input k is wrong, by how much, and the likely cause."""
        tested = int((~np.isnan(measured)).sum())
        errors = np.nan_to_num(np.abs(claimed - measured), nan=np.inf).ravel()
        worst = max(wrong, key=errors.__getitem__)
        extent = f"{len(wrong)} of {tested} elements{common_places(claimed.shape, wrong)}"
        if tested < claimed.size:
            extent = f"{len(wrong)} of {tested} sampled elements"
        guess = explain(GradientEvidence(self.problem, k, claimed, measured, wrong, self.rule.eps), CAUSES)
        return (
            f"gradcheck: {self.subject.format(self.problem.names[k])} ({sizes(claimed.shape)}) is wrong at {extent}; "
            f"{_place(worst, claimed.shape)}backward gives {claimed.flat[worst]:.6g}, finite "
            f"differences give {measured.flat[worst]:.6g}. {guess}"
        ).rstrip()

    def _kink(self, k: int, place: int, slope: Slope) -> str:
        shape = self.problem.arrays[k].shape
        return (
            f"gradcheck: f has a kink, a jump or a tie in {self.problem.names[k]} ({sizes(shape)}): "
            f"{_place(place, shape)}its slope is {slope.left:.6g} from below and {slope.right:.6g} from above, however "
            "small the step. No gradient is right there; move the input away from it."
        )


def _only(array: NumPyArray, places: Sequence[int] | NumPyArray) -> NumPyArray:
    """Return the array with zeros everywhere except at ``places``, which are flat indices."""
    result = np.zeros_like(array)
    result.flat[places] = array.flat[places]
    return result


def _place(place: int, shape: tuple[int, ...]) -> str:
    """Return ``"at [2, 0] "`` for a flat index, or "" for a scalar."""
    return f"at {place_named(place, shape)} " if shape else ""


def _checked_inputs(inputs: Any) -> list[Tensor]:
    if not isinstance(inputs, (Tensor, list, tuple)):
        raise DTypeError(f"gradcheck: inputs is {type(inputs).__name__}; give a tensor, or a list of them.")
    given = [inputs] if isinstance(inputs, Tensor) else list(inputs)
    for k, x in enumerate(given):
        if not isinstance(x, Tensor):
            raise DTypeError(f"gradcheck: input {k} is {type(x).__name__}; make it a tensor, or let f close over it.")
        if not x.requires_grad:
            continue
        if x.dtype != np.float64:
            raise DTypeError(
                f"gradcheck: input {k} ({sizes(x.shape)}) is {x.dtype}, whose rounding is as large as the differences "
                "to be measured; create it with dtype='float64'."
            )
        if x.op is not None:
            raise ArgumentError(f"gradcheck: input {k} is the output of {x.op.name}; give a leaf, or move it into f.")
        if any(x is other for other in given[:k]):
            raise ArgumentError(f"gradcheck: input {k} is given twice; give it once, and use it twice inside f.")
    if not any(x.requires_grad for x in given):
        raise ArgumentError("gradcheck: no input requires a gradient, so there is nothing to check.")
    return given
