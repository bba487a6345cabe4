"""Tensors of a given shape: zeros, ones, random numbers, ranges. Arguments are those of PyTorch."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ..errors import ArgumentError, DTypeError
from . import backend, checks
from .backend import DEFAULT_DTYPE, Array, DTypeLike
from .calls import pytorch_names
from .tensor import Tensor, TensorLike, as_tensor

Device = str | None


def _tensor(array: Array, device: Device, requires_grad: bool) -> Tensor:
    created = Tensor.wrap(backend.to_device(array, device or "cpu"))
    created.requires_grad = requires_grad
    return created


@pytorch_names
def full(
    size: Any, fill_value: Any, dtype: DTypeLike = None, device: Device = None, requires_grad: bool = False
) -> Tensor:
    """A tensor of the shape ``size`` that holds ``fill_value``, float32 if this is a float and int64 if an integer."""
    value = backend.as_array(fill_value, dtype)
    if value.ndim:
        raise ArgumentError(f"full: fill_value is {fill_value!r}; it must be one number.")
    return _tensor(np.full(checks.shape_tuple("full", (size,), 0), value), device, requires_grad)


@pytorch_names
def zeros(*size: Any, dtype: DTypeLike = None, device: Device = None, requires_grad: bool = False) -> Tensor:
    """A tensor of zeros, float32 by default: ``zeros(2, 3)`` or ``zeros((2, 3))``."""
    return full(checks.shape_tuple("zeros", size, 0), 0.0, dtype, device, requires_grad)


@pytorch_names
def ones(*size: Any, dtype: DTypeLike = None, device: Device = None, requires_grad: bool = False) -> Tensor:
    """A tensor of ones, float32 by default."""
    return full(checks.shape_tuple("ones", size, 0), 1.0, dtype, device, requires_grad)


def _like(x: TensorLike, value: int, dtype: DTypeLike, device: Device, requires_grad: bool) -> Tensor:
    x = as_tensor(x)
    return full(x.shape, value, x.dtype if dtype is None else dtype, device or x.device, requires_grad)


@pytorch_names
def zeros_like(x: TensorLike, dtype: DTypeLike = None, device: Device = None, requires_grad: bool = False) -> Tensor:
    """Zeros in the shape of x, and by default with its dtype and on its device."""
    return _like(x, 0, dtype, device, requires_grad)


@pytorch_names
def ones_like(x: TensorLike, dtype: DTypeLike = None, device: Device = None, requires_grad: bool = False) -> Tensor:
    """Ones in the shape of x, and by default with its dtype and on its device."""
    return _like(x, 1, dtype, device, requires_grad)


def _random(name: str, size: tuple[Any, ...], draw: Callable[..., Array], dtype: DTypeLike, *where: Any) -> Tensor:
    target = backend.as_dtype(DEFAULT_DTYPE if dtype is None else dtype)
    if target.kind != "f":
        raise DTypeError(f"{name}: dtype is {target}; it must be a float type.")
    return _tensor(draw(size=checks.shape_tuple(name, size, 0)).astype(target, copy=False), *where)


@pytorch_names
def randn(*size: Any, dtype: DTypeLike = None, device: Device = None, requires_grad: bool = False) -> Tensor:
    """Normally distributed numbers with mean 0 and variance 1, drawn as set by :func:`minires.manual_seed`.

    Examples
    --------
    >>> import minires as mr
    >>> mr.randn(2, 3).shape
    (2, 3)
    """
    return _random("randn", size, backend.generator().standard_normal, dtype, device, requires_grad)


@pytorch_names
def rand(*size: Any, dtype: DTypeLike = None, device: Device = None, requires_grad: bool = False) -> Tensor:
    """Numbers that are uniformly distributed in [0, 1), drawn as set by :func:`minires.manual_seed`."""
    return _random("rand", size, backend.generator().random, dtype, device, requires_grad)


@pytorch_names
def arange(
    start: float,
    end: float | None = None,
    step: float = 1,
    dtype: DTypeLike = None,
    device: Device = None,
    requires_grad: bool = False,
) -> Tensor:
    """Numbers from ``start`` (0 if only ``end`` is given) up to, but without, ``end``: int64 if all are integers.

    Examples
    --------
    >>> import minires as mr
    >>> mr.arange(3), mr.arange(1, 2, 0.25)
    (tensor([0, 1, 2]), tensor([1.  , 1.25, 1.5 , 1.75]))
    """
    given = (0, start, step) if end is None else (start, end, step)
    whole = all(isinstance(number, (int, np.integer)) for number in given)
    target = backend.as_dtype(dtype if dtype is not None else "int64" if whole else DEFAULT_DTYPE)
    try:  # with an integer dtype, PyTorch cuts off fractions first
        first, last, stride = (int(number) if target.kind in "iu" else float(number) for number in given)
        values = np.arange(first, last, stride) if 0 <= (last - first) / stride < math.inf else None
    except (ArithmeticError, TypeError, ValueError):
        values = None
    if values is None:
        raise ArgumentError(f"arange: {given[1]!r} cannot be reached from {given[0]!r} in steps of {step!r}.")
    return _tensor(values.astype(target), device, requires_grad)
