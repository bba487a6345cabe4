"""Nonlinearities, dropout, and the addition that ends a residual block.

All of these functions raise DTypeError if an input does not hold floats.
"""

import math
from importlib import import_module
from typing import Any

from ..core import backend, checks
from ..core.autograd import Op, Shape
from ..core.backend import Array, DTypeLike, array_module, at_least_float32, wide_sum
from ..core.tensor import Tensor, TensorLike, as_tensor
from ..errors import ArgumentError
from .arithmetic import Where, where


class ReLU(Op, name="relu", saves="output"):
    def forward(self, x: Array) -> Array:
        return array_module(x).maximum(x, 0)

    def backward(self, upstream: Tensor) -> Tensor:
        return upstream.masked_fill(self.output <= 0, 0)


def relu(x: TensorLike) -> Tensor:
    """max(x, 0); its gradient is 0 at 0, and 1 at NaN."""
    return ReLU()(checks.floats("relu", x))


class LeakyReLU(Op, name="leaky_relu"):
    def __init__(self, negative_slope: float) -> None:
        self.negative_slope = negative_slope

    def forward(self, x: Array) -> Array:
        return array_module(x).where(x > 0, x, x * x.dtype.type(self.negative_slope))

    def backward(self, upstream: Tensor) -> Tensor:
        (x,) = self.inputs
        return where(x > 0, upstream, upstream * self.negative_slope)


def leaky_relu(x: TensorLike, negative_slope: float = 0.01) -> Tensor:
    """x where x is positive, ``negative_slope * x`` elsewhere."""
    x = checks.floats("leaky_relu", x)
    return LeakyReLU(checks.number("leaky_relu", negative_slope, "negative_slope"))(x)


class Tanh(Op, saves="output"):
    def forward(self, x: Array) -> Array:
        return array_module(x).tanh(x)

    def backward(self, upstream: Tensor) -> Tensor:
        y = self.output
        return upstream * (1 - y * y)


def tanh(x: TensorLike) -> Tensor:
    """The hyperbolic tangent."""
    return Tanh()(checks.floats("tanh", x))


class Sigmoid(Op, saves="output"):
    def forward(self, x: Array) -> Array:
        xp = array_module(x)
        small = xp.exp(-xp.abs(x))  # at most 1, so it cannot overflow
        return xp.where(x >= 0, 1, small) / (1 + small)

    def backward(self, upstream: Tensor) -> Tensor:
        y = self.output
        return upstream * (y * (1 - y))


def sigmoid(x: TensorLike) -> Tensor:
    """1 / (1 + exp(-x))."""
    return Sigmoid()(checks.floats("sigmoid", x))


class Erf(Op):
    def forward(self, x: Array) -> Array:
        module = "scipy.special" if backend.device_of(x) == "cpu" else "cupyx.scipy.special"
        return import_module(module).erf(x).astype(x.dtype, copy=False)  # SciPy returns float32 for float16

    def backward(self, upstream: Tensor) -> Tensor:
        (x,) = self.inputs
        return upstream * (2 / math.sqrt(math.pi) * (-x * x).exp())


def gelu(x: TensorLike, *, approximate: str = "none") -> Tensor:
    """x times the probability that a standard normal variable is below x (Hendrycks and Gimpel, arXiv 1606.08415).

    ``approximate="tanh"`` computes this probability with a tanh, as GPT-2 does.
    """
    x = checks.floats("gelu", x)
    z = at_least_float32(x)
    if checks.choice("gelu", approximate, "value of approximate", ("none", "tanh")) == "tanh":
        y = 0.5 * z * (1 + tanh(math.sqrt(2 / math.pi) * (z + 0.044715 * z**3)))
    else:
        y = 0.5 * z * (1 + Erf()(z * math.sqrt(0.5)))
    return y.to(x.dtype)


def silu(x: TensorLike) -> Tensor:
    """x * sigmoid(x), also called swish."""
    x = checks.floats("silu", x)
    return x * sigmoid(x)


class Softmax(Op, saves="output"):
    def __init__(self, axis: int) -> None:
        self.axis = axis

    def forward(self, x: Array) -> Array:
        wide = at_least_float32(x)
        exponentials = array_module(x).exp(wide - wide.max(axis=self.axis, keepdims=True))  # at most 1
        return (exponentials / wide_sum(exponentials, self.axis, keepdims=True)).astype(x.dtype, copy=False)

    def backward(self, upstream: Tensor) -> Tensor:
        y = self.output
        return y * (upstream - (upstream * y).sum(self.axis, keepdims=True))


def softmax(x: TensorLike, axis: int = -1, dtype: DTypeLike = None) -> Tensor:
    """exp(x) / sum(exp(x)) along ``axis``; x is first converted to ``dtype``. Raises ShapeError for a wrong axis."""
    return _along(Softmax, x, axis, dtype)


class LogSoftmax(Softmax):
    def forward(self, x: Array) -> Array:
        xp, wide = array_module(x), at_least_float32(x)
        shifted = wide - wide.max(axis=self.axis, keepdims=True)  # exp cannot overflow; the shift cancels
        y = shifted - xp.log(wide_sum(xp.exp(shifted), self.axis, keepdims=True))
        return y.astype(x.dtype, copy=False)

    def backward(self, upstream: Tensor) -> Tensor:
        return upstream - self.output.exp() * upstream.sum(self.axis, keepdims=True)


def log_softmax(x: TensorLike, axis: int = -1, dtype: DTypeLike = None) -> Tensor:
    """log(softmax(x)), accurate even where softmax(x) would round to 0; see ``softmax``."""
    return _along(LogSoftmax, x, axis, dtype)


def _along(op: type[Softmax], x: TensorLike, axis: int, dtype: DTypeLike) -> Tensor:
    x = checks.floats(op.name, x if dtype is None else as_tensor(x).to(dtype))
    axis = checks.one_axis(op.name, axis, x)
    return op(axis)(x) if x.size else x


def dropout(x: TensorLike, p: float = 0.5, training: bool = True) -> Tensor:
    """Zero each element with probability ``p`` and multiply the others by 1 / (1 - p) (Srivastava et al. 2014).

    Returns x itself if not ``training``. Raises ArgumentError unless 0 <= p <= 1.
    """
    x = checks.floats("dropout", x)
    p = checks.fraction("dropout", p, "p")
    if not training or p == 0:
        return x
    kept = backend.generator().random(x.shape, dtype="float32") >= p
    return Where(backend.to_device(kept, x.device))(x, as_tensor(0, like=x)) / (1 - p if p < 1 else 1)


def join_inputs(op: str, x: Tensor, shape: Shape, shortcut: Any, activation: Any, name: str = "x") -> list[Tensor]:
    """Return [shortcut], which must have this shape and the dtype of x, or [] if there is none."""
    if activation not in ("relu", None):
        raise ArgumentError(f"{op}: activation is {activation!r}; it must be 'relu' or None.")
    if shortcut is None:
        return []
    shortcut = checks.floats(op, shortcut, "shortcut", x, name)
    hint = " Where a block changes the size, its shortcut needs a projection (option A, B or C)."
    checks.same_shape(op, shape, shortcut.shape, name, "shortcut", hint)
    return [shortcut]


class ResidualAdd(Op, saves="output"):
    """branch + shortcut, then the activation. Backward passes the same gradient to both inputs."""

    def __init__(self, activation: str | None) -> None:
        self.activation = activation

    def forward(self, branch: Array, shortcut: Array) -> Array:
        y = branch + shortcut
        return y if self.activation is None else array_module(y).maximum(y, 0)

    def backward(self, upstream: Tensor) -> tuple[Tensor, Tensor]:
        dy = upstream if self.activation is None else upstream.masked_fill(self.output <= 0, 0)
        return dy, dy


def residual_add(branch: TensorLike, shortcut: TensorLike, activation: str | None = "relu") -> Tensor:
    """relu(F(x) + shortcut), the end of a residual block (He et al., arXiv 1512.03385, equation 1).

    Parameters
    ----------
    branch : Tensor
        The output F(x) of the residual branch: floats, of any shape.
    shortcut : Tensor
        x or its projection, with the shape of the branch; nothing is broadcast.
    activation : {"relu", None}
        The function applied to the sum; None in pre-activation blocks.

    Raises
    ------
    ShapeError
        If the shapes differ; the shortcut then needs a projection (option A, B or C).
    ArgumentError
        If ``activation`` is neither "relu" nor None.
    """
    branch = checks.floats("residual_add", branch, "branch")
    inputs = branch, *join_inputs("residual_add", branch, branch.shape, shortcut, activation, "branch")
    return ResidualAdd(activation)(*inputs)
