"""Resizing images by copying the nearest pixel or by interpolating between four.

Both are linear maps along one axis after the other. Each element of the result is a weighted sum of T elements of x,
where T is 1 to copy and 2 to interpolate: ``y[i] = sum over t of weights[i, t] * x[places[i, t]]``. The gradient takes
the same way back: it is added up at the places.
"""

import math
from typing import Any

import numpy as np

from ..core import backend, checks
from ..core.autograd import Op
from ..core.backend import Array, array_module
from ..core.tensor import Tensor, TensorLike
from ..errors import ArgumentError, ShapeError, sizes
from .arithmetic import where
from .shape import PutItem, expand_dims

Taps = tuple[Array, Array]  # places (OH, T), and weights (OH, T, 1, ...), which broadcast to the axes after them


class Resize(Op, saves="shapes"):
    """Resize axis 2, 3, ... of x; ``taps`` has an entry for each. A weight of 0 skips an element, even inf or NaN."""

    def __init__(self, taps: list[Taps]) -> None:
        self.taps = taps

    def forward(self, x: Array) -> Array:
        for axis, (places, weights) in enumerate(self.taps, start=2):
            taken = x[(slice(None),) * axis + (places,)]  # (N, C, OH, T, W)
            taken = array_module(x).where(weights == 0, 0, taken)
            x = (taken * weights).sum(axis + 1)  # (N, C, OH, W)
        return x

    def backward(self, upstream: Tensor) -> Tensor:
        for axis, (places, weights) in enumerate(self.taps, start=2):
            parts = where(weights == 0, 0.0, expand_dims(upstream, axis + 1))  # (N, C, OH, T, OW)
            parts = parts * Tensor.wrap(weights)
            shape = *upstream.shape[:axis], self.input_shapes[0][axis], *upstream.shape[axis + 1 :]
            upstream = PutItem((slice(None),) * axis + (places,), shape)(parts)  # (N, C, H, OW)
        return upstream


def interpolate(
    x: TensorLike, size: Any = None, scale_factor: Any = None, mode: str = "nearest",
    align_corners: bool | None = None, recompute_scale_factor: bool | None = None,
) -> Tensor:  # fmt: skip
    """Resize images, (N, C, H, W) -> (N, C, OH, OW), or by the nearest element (N, C, L) or (N, C, D, H, W).

    Parameters
    ----------
    x : Tensor, (N, C, H, W) or (N, C, ...)
    size : int or (int, int), optional
        (OH, OW); an int stands for both.
    scale_factor : float or (float, float), optional
        OH / H and OW / W, given instead of ``size``. OH and OW are rounded down.
    mode : {"nearest", "nearest-exact", "bilinear"}
        Copy a pixel (the one at the coordinate rounded down, or the one whose centre is nearest), or interpolate.
    align_corners : bool, optional
        For "bilinear": whether the centres of the corner pixels, and not their edges, stay where they are.
    recompute_scale_factor : bool, optional
        Whether coordinates are computed from the sizes, as with ``size``, and not from ``scale_factor``.

    Raises
    ------
    ShapeError
        If x has fewer than three axes, or not four with "bilinear", or if it or the result has no pixels.
    ArgumentError
        If both or neither of ``size`` and ``scale_factor`` are given, or an argument is invalid.
    DTypeError
        If x does not hold floats.
    """
    x = checks.floats("interpolate", x)
    checks.choice("interpolate", mode, "mode", ("nearest", "nearest-exact", "bilinear"))
    count = x.ndim - 2  # the axes to resize
    if count < 1 or (mode == "bilinear" and count != 2):
        raise ShapeError(f"interpolate: x has {x.ndim} axes (x: {sizes(x.shape)}) but 4 are needed, (N, C, H, W).")
    if (size is None) == (scale_factor is None):
        raise ArgumentError("interpolate: give either size or scale_factor.")
    if mode != "bilinear" and align_corners is not None:
        raise ArgumentError(f"interpolate: align_corners is {align_corners!r}, but mode {mode!r} has no such option.")
    name, kind, given = ("scale_factor", "numbers", scale_factor) if size is None else ("size", "integers", size)
    new = list(given) if isinstance(given, (tuple, list)) else [given]
    new *= count if len(new) == 1 else 1
    if len(new) != count or (size is not None and not all(checks.is_integer(target, 0) for target in new)):
        raise ArgumentError(f"interpolate: {name} is {given!r}; it must be {count} {kind}, or one for all axes.")
    factors: list[Any] = [None] * count
    if scale_factor is not None:
        factors = [checks.positive("interpolate", factor, "scale_factor") for factor in new]
        new = [math.floor(own * factor) for own, factor in zip(x.shape[2:], factors, strict=True)]
    if 0 in (*x.shape[2:], *new):
        raise ShapeError(f"interpolate: images of x ({sizes(x.shape)}) cannot become {sizes(new)}: one size is 0.")
    steps = zip(new, [None] * count if recompute_scale_factor else factors, strict=True)
    return Resize([_taps(x, axis, *step, mode, bool(align_corners)) for axis, step in enumerate(steps, start=2)])(x)


def _taps(x: Tensor, axis: int, target: int, factor: float | None, mode: str, align_corners: bool) -> Taps:
    """Return the taps of one axis, which becomes ``target``. ``factor`` is None if it follows from the sizes."""
    size, i = x.shape[axis], np.arange(target)[:, None]
    whole = mode == "nearest" and target in (size, 2 * size)  # PyTorch then ignores the factor
    step = size / target if factor is None or whole else 1 / factor  # from one result to the next
    if mode != "bilinear":
        offset = 0.5 if mode == "nearest-exact" else 0
        places = ((i + offset).astype(np.float32) * np.float32(step)).astype(np.int64)  # float32, as in PyTorch
        weights = np.ones(places.shape)
    else:
        corners = (size - 1) / max(target - 1, 1)
        centres = np.clip(i * corners if align_corners else (i + 0.5) * step - 0.5, 0, size - 1)  # (OH, 1)
        places = centres.astype(np.int64) + [0, 1]  # (OH, 2)
        weights = 1 - np.abs(centres - places)
    weights = weights.astype(x.dtype).reshape(*weights.shape, *(1,) * (x.ndim - axis - 1))
    return backend.to_device(np.minimum(places, size - 1), x.device), backend.to_device(weights, x.device)
