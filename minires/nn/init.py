"""Initialisers: each fills a tensor in place and returns it. Random numbers come from the global generator.

A layer multiplies the variance of its input by fan_in * variance of the weight. Kaiming initialisation compensates for
the ReLU, which halves the mean square (He et al., arXiv 1502.01852, equation 10). Xavier initialisation is a compromise
between the forward and the backward pass (Glorot and Bengio 2010).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ..core import backend, checks
from ..core.backend import Array
from ..core.calls import missing_name, pytorch_names, refuses
from ..core.tensor import Tensor
from ..errors import ArgumentError, DTypeError, ShapeError, sizes


def fans(tensor: Tensor) -> tuple[int, int]:
    """Return (fan_in, fan_out) of a weight (O, C, ...): the inputs that each output depends on, and vice versa.

    Raises
    ------
    ShapeError
        If the weight has fewer than two axes.

    Examples
    --------
    >>> import minires as mr
    >>> mr.nn.init.fans(mr.nn.Conv2d(3, 16, kernel_size=5).weight)
    (75, 400)
    """
    if _checked(tensor).ndim < 2:
        raise ShapeError(
            f"init: a weight of {sizes(tensor.shape)} has no fan; it must have at least two axes, (O, C, ...)."
        )
    window = math.prod(tensor.shape[2:])
    return tensor.shape[1] * window, tensor.shape[0] * window


def gain(nonlinearity: str, a: float = 0.0) -> float:
    """Return the factor for a weight's standard deviation that compensates for the nonlinearity.

    ``a`` is the negative slope of ``"leaky_relu"``. Raises ArgumentError if the nonlinearity is unknown.
    """
    leaky = math.sqrt(2 / (1 + a**2))
    gains = {"linear": 1.0, "conv2d": 1.0, "sigmoid": 1.0, "tanh": 5 / 3, "relu": math.sqrt(2), "leaky_relu": leaky}
    return gains[checks.choice("init", nonlinearity, "nonlinearity", gains)]


def _checked(tensor: Tensor, what: str = "numbers") -> Tensor:
    if not isinstance(tensor, Tensor):
        hint = ", such as its weight" if hasattr(tensor, "weight") else ""
        raise DTypeError(f"init: a tensor is needed, not {type(tensor).__name__}; pass a parameter{hint}.")
    if what == "fractions" and tensor.dtype.kind != "f":
        raise DTypeError(f"init: a tensor ({sizes(tensor.shape)}) of {tensor.dtype} cannot hold fractions.")
    return tensor


def _fill(tensor: Tensor, values: Array | float) -> Tensor:
    _checked(tensor, "fractions" if np.any(np.asarray(values) % 1) else "numbers")
    tensor.data[...] = backend.to_device(np.asarray(values, tensor.dtype), tensor.device)
    tensor.mark_changed()
    return tensor


def constant(tensor: Tensor, val: float) -> Tensor:
    """Set every element to ``val``."""
    return _fill(tensor, val)


def zeros(tensor: Tensor) -> Tensor:
    """Set every element to 0."""
    return constant(tensor, 0.0)


def ones(tensor: Tensor) -> Tensor:
    """Set every element to 1."""
    return constant(tensor, 1.0)


def normal(tensor: Tensor, mean: float = 0.0, std: float = 1.0) -> Tensor:
    """Draw from a normal distribution. Raises ArgumentError if ``std`` is negative."""
    checks.not_negative("init.normal", std, "std")
    checks.number("init.normal", mean, "mean")
    return _fill(_checked(tensor, "fractions"), backend.generator().normal(mean, std, tensor.shape))


def uniform(tensor: Tensor, a: float = 0.0, b: float = 1.0) -> Tensor:
    """Draw uniformly from [a, b). Raises ArgumentError if a > b."""
    if checks.number("init.uniform", a, "a") > checks.number("init.uniform", b, "b"):
        raise ArgumentError(f"init.uniform: a is {a} and b is {b}; a must not exceed b.")
    return _fill(_checked(tensor, "fractions"), backend.generator().uniform(a, b, tensor.shape))


def _fan(tensor: Tensor, mode: str) -> int:
    modes = ("fan_in", "fan_out")
    return max(fans(tensor)[modes.index(checks.choice("init", mode, "mode", modes))], 1)


def kaiming_normal(tensor: Tensor, a: float = 0.0, mode: str = "fan_in", nonlinearity: str = "leaky_relu") -> Tensor:
    """Draw from a normal distribution with standard deviation gain / sqrt(fan).

    Parameters
    ----------
    tensor : Tensor, (O, C, ...)
        The weight to fill.
    a : float
        The negative slope of the leaky ReLU that follows; 0 for a ReLU.
    mode : {"fan_in", "fan_out"}
        Whether to keep the variance in the forward or in the backward pass.
    nonlinearity : str
        The nonlinearity that follows the layer.

    Raises
    ------
    ShapeError
        If ``tensor`` has fewer than two axes.
    ArgumentError
        If ``mode`` or ``nonlinearity`` is unknown.
    """
    return normal(tensor, 0.0, gain(nonlinearity, a) / math.sqrt(_fan(tensor, mode)))


def kaiming_uniform(tensor: Tensor, a: float = 0.0, mode: str = "fan_in", nonlinearity: str = "leaky_relu") -> Tensor:
    """Draw from a uniform distribution. Variance, arguments and errors are those of :func:`kaiming_normal`."""
    bound = gain(nonlinearity, a) * math.sqrt(3 / _fan(tensor, mode))
    return uniform(tensor, -bound, bound)


def xavier_normal(tensor: Tensor, gain: float = 1.0) -> Tensor:
    """Draw from a normal distribution with standard deviation gain * sqrt(2 / (fan_in + fan_out))."""
    return normal(tensor, 0.0, gain * math.sqrt(2 / sum(fans(tensor))))


def xavier_uniform(tensor: Tensor, gain: float = 1.0) -> Tensor:
    """Draw from a uniform distribution with the variance of :func:`xavier_normal`."""
    bound = gain * math.sqrt(6 / sum(fans(tensor)))
    return uniform(tensor, -bound, bound)


_FUNCTIONS: list[Callable[..., Any]] = [
    constant, fans, gain, kaiming_normal, kaiming_uniform, normal, ones, uniform, xavier_normal, xavier_uniform, zeros,
]  # fmt: skip
for _function in _FUNCTIONS:
    _seeded = refuses(generator="mr.manual_seed(seed) seeds the generator")(_function)
    globals()[_function.__name__] = pytorch_names(_seeded, f"init.{_function.__name__}")
_TORCH = {f"{_function.__name__}_": f"{_function.__name__}(tensor, ...)" for _function in _FUNCTIONS}
__getattr__ = missing_name(
    "nn.init",
    [_function.__name__ for _function in _FUNCTIONS],
    {**_TORCH, "calculate_gain": "gain(nonlinearity, a)", "trunc_normal_": "normal(tensor, mean, std)"},
)
