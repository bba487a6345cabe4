"""Resizing images by copying the nearest pixel or by interpolating between four.

Both work along one axis at a time: a gather along H, then one along W. Their backward, which adds the gradients of the
copies of a pixel, is that of indexing.
"""

import math
from typing import Any

import numpy as np

from ..core import backend, checks
from ..core.tensor import Tensor, TensorLike
from ..errors import ArgumentError, ShapeError, sizes


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
    for axis, (target, factor) in enumerate(zip(new, factors, strict=True), start=2):
        x = _resize(x, axis, target, None if recompute_scale_factor else factor, mode, bool(align_corners))
    return x


def _resize(x: Tensor, axis: int, target: int, factor: float | None, mode: str, align_corners: bool) -> Tensor:
    """Resize one axis to ``target``. ``factor`` is None if it follows from the sizes."""
    size, places, before = x.shape[axis], np.arange(target), (slice(None),) * axis
    whole = mode == "nearest" and target in (size, 2 * size)  # PyTorch then ignores the factor
    step = size / target if factor is None or whole else 1 / factor  # from one result to the next
    if mode != "bilinear":
        offset = 0.5 if mode == "nearest-exact" else 0
        near = ((places + offset).astype(np.float32) * np.float32(step)).astype(np.int64)  # float32, as in PyTorch
        return x[before + (np.minimum(near, size - 1),)]
    corners = (size - 1) / max(target - 1, 1)
    where = places * corners if align_corners else np.maximum((places + 0.5) * step - 0.5, 0)
    low = np.minimum(where.astype(np.int64), size - 1)
    high = np.minimum(low + 1, size - 1)
    weight = (where - low).astype(x.dtype).reshape(-1, *(1,) * (x.ndim - axis - 1))
    weights = Tensor.wrap(backend.to_device(weight, x.device))  # (OH, 1) or (OW,)
    return x[before + (low,)] * (1 - weights) + x[before + (high,)] * weights
