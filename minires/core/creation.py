"""Tensors of a given shape: zeros, ones, random numbers, ranges.

Arguments are those of PyTorch. The ``options`` of each function are those of :func:`minires.tensor`: ``dtype``,
``device`` and ``requires_grad``. Numbers are float32 by default.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..errors import ArgumentError, DTypeError
from . import backend, checks
from .backend import DEFAULT_DTYPE, Array
from .calls import pytorch_names
from .tensor import Tensor, TensorLike, as_tensor, tensor


@pytorch_names
def full(size: Any, fill_value: Any, **options: Any) -> Tensor:
    """A tensor of the shape ``size`` that holds ``fill_value``: float32 for a float, int64 for an integer."""
    value = backend.as_array(fill_value, options.get("dtype"))
    if value.ndim:
        raise ArgumentError(f"full: fill_value is {fill_value!r}; it must be one number.")
    return tensor(np.full(checks.shape_tuple("full", (size,), 0), value), **options)


@pytorch_names
def zeros(*size: Any, **options: Any) -> Tensor:
    """A tensor of zeros: ``zeros(2, 3)`` or ``zeros((2, 3))``."""
    return full(checks.shape_tuple("zeros", size, 0), 0.0, **options)


@pytorch_names
def ones(*size: Any, **options: Any) -> Tensor:
    """A tensor of ones: ``ones(2, 3)`` or ``ones((2, 3))``."""
    return full(checks.shape_tuple("ones", size, 0), 1.0, **options)


@pytorch_names
def zeros_like(x: TensorLike, **options: Any) -> Tensor:
    """Zeros in the shape of x, and by default with its dtype and on its device."""
    return _like(as_tensor(x), 0, options)


@pytorch_names
def ones_like(x: TensorLike, **options: Any) -> Tensor:
    """Ones in the shape of x, and by default with its dtype and on its device."""
    return _like(as_tensor(x), 1, options)


def _like(x: Tensor, value: int, options: dict[str, Any]) -> Tensor:
    given = {name: option for name, option in options.items() if option is not None}
    return full(x.shape, value, **{"dtype": x.dtype, "device": x.device, **given})


@pytorch_names
def randn(*size: Any, **options: Any) -> Tensor:
    """Normally distributed numbers with mean 0 and variance 1, drawn as set by :func:`minires.manual_seed`.

    Examples
    --------
    >>> import minires as mr
    >>> mr.randn(2, 3, dtype="float64").shape
    (2, 3)
    """
    return _random("randn", backend.generator().standard_normal, size, options)


@pytorch_names
def rand(*size: Any, **options: Any) -> Tensor:
    """Numbers that are uniformly distributed in [0, 1), drawn as set by :func:`minires.manual_seed`."""
    return _random("rand", backend.generator().random, size, options)


def _random(op: str, draw: Callable[..., Array], size: tuple[Any, ...], options: dict[str, Any]) -> Tensor:
    dtype = backend.as_dtype(options.get("dtype") or DEFAULT_DTYPE)
    if dtype.kind != "f":
        raise DTypeError(f"{op}: dtype is {dtype}; it must be a float type.")
    return tensor(draw(size=checks.shape_tuple(op, size, 0)), **{**options, "dtype": dtype})


@pytorch_names
def arange(start: float, end: float | None = None, step: float = 1, **options: Any) -> Tensor:
    """Numbers from ``start`` (0 if only ``end`` is given) up to ``end``, which is excluded: int64 if all are integers.

    Examples
    --------
    >>> import minires as mr
    >>> mr.arange(3), mr.arange(1, 2, 0.25)
    (tensor([0, 1, 2]), tensor([1.  , 1.25, 1.5 , 1.75]))
    """
    given = (0, start, step) if end is None else (start, end, step)
    whole = all(isinstance(number, (int, np.integer)) for number in given)
    dtype = backend.as_dtype(options.get("dtype") or ("int64" if whole else DEFAULT_DTYPE))
    try:  # with an integer dtype, PyTorch cuts off fractions first
        first, last, stride = (int(number) if dtype.kind in "iu" else float(number) for number in given)
        if (last - first) / stride < 0:
            raise ValueError
        values = np.arange(first, last, stride)
    except (ArithmeticError, TypeError, ValueError):
        raise ArgumentError(f"arange: {given[1]!r} cannot be reached from {given[0]!r} in steps of {step!r}.") from None
    return tensor(values, **{**options, "dtype": dtype})
