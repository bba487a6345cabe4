"""The two sides of a gradient check: the gradient that backward claims, and slopes that are measured.

An upstream turns the outputs of a function into one number: L = sum(upstream * f(inputs)). Backward claims the gradient
of L; the values of L at two neighbouring points give the slope between them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np

from ..core.autograd import Op, grad
from ..core.backend import Array, array_module, device_of, to_device
from ..core.state import enable_grad, is_grad_enabled, no_grad
from ..core.tensor import Tensor
from ..errors import DTypeError, GradcheckError, sizes
from ..ops import concatenate
from .diagnosis import NumPyArray

Function = Callable[..., Any]


class Slope(NamedTuple):
    """The slope of L along a direction, measured with a step to either side."""

    left: float
    right: float
    noise: float  # the estimated rounding error of the two slopes

    @property
    def central(self) -> float:
        """The mean of the two slopes, in which the effect of curvature cancels."""
        return (self.left + self.right) / 2


class Tied(Op, saves="shapes"):
    """An identity op that makes the output of f depend on every checked input: unused inputs get a gradient of zero."""

    def forward(self, output: Array, *inputs: Array) -> Array:
        return output

    def backward(self, upstream: Tensor) -> tuple[Tensor, ...]:
        zeros = array_module(upstream.data).zeros
        return (upstream, *(Tensor.wrap(zeros(shape)) for shape in self.input_shapes[1:]))


class Problem:
    """A function at given inputs, with a random upstream.

    Parameters
    ----------
    f : callable
        A function that takes the inputs and returns a float64 Tensor, or several.
    inputs : sequence of Tensor
        The arguments of f. Those with ``requires_grad=True`` must be float64 leaves. Their arrays are never written to,
        because f sees copies.
    rng : numpy.random.Generator
        Draws the upstream: numbers of both signs, with magnitudes from 0.5 to 1.5, so that every element counts.
    names : sequence of str, optional
        The names of the inputs in messages; by default "input 0" and so on.

    Attributes
    ----------
    arrays : list of arrays
        The values of the inputs.
    output : array
        f(inputs). If there are several outputs, they are flattened and concatenated.
    upstream : array
        The random upstream, with the shape of ``output``.
    device : {"cpu", "cuda"}
        The device of the output.
    checked : list of int
        The indices of the inputs that require a gradient.

    Raises
    ------
    DTypeError
        If f does not return float64 tensors.
    GradcheckError
        If f(inputs) contains NaN or infinity.
    """

    def __init__(
        self, f: Function, inputs: Sequence[Tensor], rng: np.random.Generator, names: Sequence[str] = ()
    ) -> None:
        self.f, self.inputs = f, list(inputs)
        self.names = list(names) or [f"input {k}" for k in range(len(self.inputs))]
        self.upstream_name = "the second upstream" if "the upstream" in self.names else "the upstream"
        self.checked = [k for k, x in enumerate(self.inputs) if x.requires_grad]
        self.arrays = [x.data for x in self.inputs]
        self.output = self.evaluate(_copies(self.arrays))
        if not array_module(self.output).isfinite(self.output).all():
            raise GradcheckError("gradcheck: f gives NaN or infinity at these inputs, so it has no slope to measure.")
        shape = self.output.shape
        upstream = np.asarray(rng.choice([-1.0, 1.0], shape) * rng.uniform(0.5, 1.5, shape))
        self.device = device_of(self.output)
        self.upstream = to_device(upstream, self.device)

    def evaluate(self, arrays: Sequence[Array]) -> Array:
        """Return the joined output of f for other values of the inputs, without recording."""
        with no_grad(), self._holding(arrays):
            return self._joined().data

    def claim(self) -> list[NumPyArray]:
        """Return the gradients that backward computes for the checked inputs, in the order of ``checked``.

        Raises
        ------
        GradcheckError
            If backward raises an exception, f or backward changes an argument, or a second call gives another result.
        """
        first, second = self._backward(), self._backward()
        if any(not np.array_equal(a, b, equal_nan=True) for a, b in zip(first, second, strict=True)):
            raise GradcheckError(
                "gradcheck: a second identical call gives another result; something is kept from one call to the next, "
                "or drawn at random."
            )
        return first[1:]

    def slope(self, k: int, direction: Array, step: float) -> Slope:
        """Measure the slope of L, with input k moved by ``step * direction`` to either side.

        The outputs are subtracted before they are summed: those that do not change cancel exactly, and only those that
        do change contribute rounding errors.
        """
        u, y = self.upstream, self.output
        below, above = self._beside(k, direction, step, self.arrays)
        left, right = (u * (y - below)).sum() / step, (u * (above - y)).sum() / step
        changed = u * y * (above != below)
        noise = math.sqrt((changed * changed).sum()) * np.finfo(np.float64).eps / step
        return Slope(float(left), float(right), noise)

    def jacobian(self, k: int, places: Sequence[int], eps: float, arrays: Sequence[Array]) -> NumPyArray:
        """Measure the slope of each output with respect to some elements of input k, as an array (places, outputs).

        ``places`` are the flat indices of the elements, and ``arrays`` the values of the inputs.
        """
        rows = np.zeros((len(places), self.output.size))
        for row, place in enumerate(places):
            direction = np.zeros(arrays[k].shape)
            direction.flat[place] = 1.0
            below, above = self._beside(k, direction, eps, arrays)
            rows[row] = to_device(above - below, "cpu").ravel() / (2 * eps)
        return rows

    def derivative(self, rng: np.random.Generator) -> Problem:
        """Return the gradient of this problem as another problem, whose inputs are the inputs and the upstream."""

        def gradients(*inputs: Tensor) -> tuple[Tensor, ...]:
            recording = is_grad_enabled()
            *own, upstream = inputs
            with enable_grad():
                return grad(self._joined(own), [own[k] for k in self.checked], upstream, create_graph=recording)

        upstream = Tensor(self.upstream, requires_grad=True)
        return Problem(gradients, [*self.inputs, upstream], rng, [*self.names, "the upstream"])

    def _beside(self, k: int, direction: NumPyArray, step: float, arrays: Sequence[Array]) -> tuple[Array, Array]:
        """Return the outputs with input k moved against ``direction`` and along it."""
        move = step * to_device(direction, device_of(arrays[k]))
        before, x, after = arrays[:k], arrays[k], arrays[k + 1 :]
        return self.evaluate([*before, x - move, *after]), self.evaluate([*before, x + move, *after])

    def _backward(self) -> list[NumPyArray]:
        """Return the output, and the gradients with respect to the checked inputs."""
        arrays, upstream = _copies(self.arrays), Tensor(self.upstream)
        with enable_grad(), self._holding(arrays):
            root = self._joined()
            output = to_device(root.data, "cpu").copy()
            try:
                grads = grad(root, [self.inputs[k] for k in self.checked], upstream)
            except Exception as error:  # an unfinished backward may raise anything
                raise GradcheckError(f"gradcheck: backward raises {type(error).__name__}: {error}") from error
        given = zip([*self.names, "the upstream"], [*arrays, upstream.data], [*self.arrays, self.upstream], strict=True)
        for name, array, original in given:
            if not array_module(array).array_equal(array, original, equal_nan=True):
                raise GradcheckError(
                    f"gradcheck: f or its backward changes {name} ({sizes(original.shape)}) in place; others also "
                    "read it, so it must work on a copy."
                )
        return [output, *(g.numpy() for g in grads)]

    def _joined(self, inputs: Sequence[Tensor] = ()) -> Tensor:
        inputs = inputs or self.inputs
        found = self.f(*inputs)
        outputs = list(found) if isinstance(found, (tuple, list)) else [found]
        for y in outputs or [found]:
            if not isinstance(y, Tensor):
                raise DTypeError(f"gradcheck: f must return a tensor or a tuple of them, not {type(y).__name__}.")
            if y.dtype != np.float64:
                raise DTypeError(
                    f"gradcheck: f returns {y.dtype} ({sizes(y.shape)}), whose rounding hides the slope; "
                    "everything in it must be float64."
                )
        joined = outputs[0] if len(outputs) == 1 else concatenate([y.reshape(-1) for y in outputs])
        return Tied()(joined, *(inputs[k] for k in self.checked))

    @contextmanager
    def _holding(self, arrays: Sequence[Array]) -> Iterator[None]:
        """Replace the arrays of the inputs temporarily.

        The tensors stay the same, so that f may also access them directly, as a layer accesses its weights. The setter
        of ``data`` is bypassed: it would tell every pending backward that the inputs were changed, although their
        arrays are restored at the end.
        """
        own = [x._data for x in self.inputs]
        try:
            for x, array in zip(self.inputs, arrays, strict=True):
                x._data = array
            yield
        finally:
            for x, array in zip(self.inputs, own, strict=True):
                x._data = array


def _copies(arrays: Sequence[Array]) -> list[Array]:
    return [array.copy(order="K") for array in arrays]
