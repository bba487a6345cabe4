"""NumPy or CuPy: helpers that find the module an array belongs to and move arrays between devices, and the global
random generator of minires.

CuPy is imported only if a GPU is requested. Until it has been imported, no array can be a CuPy array.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

from ..errors import ArgumentError, DeviceError, DTypeError, ShapeError, sizes

Array = Any  # numpy.ndarray or cupy.ndarray; without CuPy, a type checker cannot be more precise
DTypeLike = Any  # whatever numpy.dtype() understands: "float32", np.float64, ...

DEVICES = ("cpu", "cuda")
DEFAULT_DTYPE = np.float32  # for Python floats


def array_module(array: Array) -> Any:
    """Return the module whose functions work on ``array``: ``numpy``, or ``cupy`` for an array on the GPU."""
    cupy = sys.modules.get("cupy")
    return cupy if cupy is not None and isinstance(array, cupy.ndarray) else np


def is_array(value: object) -> bool:
    """Whether ``value`` is a raw array of either module (NumPy scalars are not)."""
    return isinstance(value, np.ndarray) or array_module(value) is not np


def as_array(value: Any, dtype: DTypeLike = None) -> Array:
    """Convert ``value`` (an array, a number or nested lists) to an array of numbers or booleans.

    Python floats become float32 and integers int64; arrays and NumPy scalars keep their dtype. An array is copied only
    if its dtype has to change.

    Raises
    ------
    DTypeError
        If ``value`` holds anything but numbers and booleans.
    ShapeError
        If nested lists are ragged.
    """
    if is_array(value):
        if type(value) is not np.ndarray and np.ma.is_masked(value):
            raise DTypeError("tensor: data is a masked array, and tensors have no mask; fill it with data.filled(0).")
        array = array_module(value).asarray(value)  # without the operators of a subclass: np.matrix multiplies for *
    else:
        try:
            array = np.asarray(value)
        except (ValueError, TypeError) as error:
            raise ShapeError(f"tensor: data cannot be converted to a regular array of numbers ({error}).") from error
        first = value
        while isinstance(first, (list, tuple)) and first:
            first = first[0]
        if dtype is None and array.dtype == np.float64 and not hasattr(first, "__array__"):  # NumPy's scalars have it
            dtype = DEFAULT_DTYPE
    if array.dtype.kind not in "fiub":
        raise DTypeError(f"tensor: data is {array.dtype} ({type(value).__name__}); it must be numbers or booleans.")
    return array if dtype is None else array.astype(as_dtype(dtype), copy=False)


def as_dtype(dtype: DTypeLike) -> np.dtype[Any]:
    """Convert ``dtype`` to a NumPy dtype. Raises DTypeError unless it is a float, integer or boolean type."""
    try:
        found = np.dtype(dtype if dtype is not None else "None")  # NumPy would read None as float64
    except TypeError as error:
        raise DTypeError(f"{dtype!r} is neither a dtype, such as 'float32', nor a device, 'cpu' or 'cuda'.") from error
    if found.kind not in "fiub":
        raise DTypeError(f"dtype {found} is not numeric; use a float, integer or boolean type.")
    return found


def wide_sum(x: Array, axes: int | tuple[int, ...], keepdims: bool = False, divisor: float = 1) -> Array:
    """Return the sum of x over ``axes``, divided by ``divisor``, in the dtype of x; integers and booleans give int64.

    Floats are added in float64, because NumPy keeps a running sum along every axis but the last: in float32, the mean
    of a million values near 1000 would be off by 9. Whole contiguous arrays are an exception: NumPy adds them in pairs.
    """
    if x.dtype.kind != "f":
        return x.sum(axis=axes, keepdims=keepdims, dtype=np.int64)
    in_pairs = x.dtype == np.float32 and x.flags.c_contiguous and axes == (*range(x.ndim),)
    total = x.sum(axis=axes, keepdims=keepdims, dtype=x.dtype if in_pairs else np.promote_types(x.dtype, np.float64))
    return (total if divisor == 1 else total / divisor).astype(x.dtype, copy=False)


def at_least_float32(x: Array) -> Array:
    """Return x, in float32 if it is float16, whose intermediate results would overflow or lose digits."""
    return x.astype(np.float32) if x.dtype == np.float16 else x


def device_of(array: Array) -> str:
    """Return the device that ``array`` is on: ``"cpu"`` or ``"cuda"``."""
    return "cpu" if array_module(array) is np else "cuda"


def to_device(array: Array, device: str) -> Array:
    """Copy ``array`` to ``device``, or return the array itself if it is already there.

    Raises
    ------
    ArgumentError
        If ``device`` is neither ``"cpu"`` nor ``"cuda"``.
    DeviceError
        If CuPy or a GPU is missing, or if ``array`` does not have exactly one element and a CUDA graph is being
        recorded.
    """
    if device == device_of(array):
        return array
    check_device(device)
    if device == "cpu":
        return array.get()
    cupy = cupy_module()
    if array.size == 1:  # the value becomes a kernel argument: the CPU need not wait, and a CUDA graph can contain it
        return cupy.full(array.shape, array.item(), array.dtype)
    if cupy.cuda.get_current_stream().is_capturing():
        raise DeviceError(f"an array ({sizes(array.shape)}) cannot be copied to the GPU while a graph is recorded.")
    return cupy.asarray(array)


def index_on_device(index: tuple[Any, ...], array: Array) -> tuple[Any, ...]:
    """Return ``index``, an index for ``array``, with the arrays in it moved to the device of ``array``.

    Raises IndexError if the index does not fit, as NumPy does; CuPy would silently wrap integers around.
    """
    if device_of(array) == "cpu":
        return index
    on_cpu, on_gpu = (tuple(to_device(part, d) if is_array(part) else part for part in index) for d in DEVICES)
    np.broadcast_to(np.False_, array.shape)[on_cpu]  # NumPy checks the index, on an array that takes one byte
    return on_gpu


def check_device(device: str) -> None:
    """Raise an error unless ``device`` can be used on this machine."""
    if device not in DEVICES:
        raise ArgumentError(f"device is {device!r}; it must be 'cpu' or 'cuda'.")
    if device == "cuda":
        cupy_module()


def cupy_module() -> Any:
    """Import ``cupy`` and return it. Raises DeviceError if it is not installed or finds no GPU."""
    try:
        import cupy
    except ImportError as error:
        raise DeviceError(
            "device 'cuda' needs CuPy, which is not installed: pip install 'minires[cuda13]' (or [cuda12])."
        ) from error
    try:
        count = cupy.cuda.runtime.getDeviceCount()
    except Exception as error:  # CuPy's errors for a missing driver or library have no common base class
        raise DeviceError(f"device 'cuda' cannot be used: CuPy {cupy.__version__} reports: {error}.") from error
    if count == 0:
        raise DeviceError(f"device 'cuda' cannot be used: CuPy {cupy.__version__} finds no GPU.")
    return cupy


_generator = np.random.default_rng(0)


def manual_seed(seed: int) -> None:
    """Seed the random generator that initialisers, dropout, shuffling and augmentation use.

    Parameters
    ----------
    seed : int
        Any integer >= 0. The same seed on the same machine gives bit-identical training.

    Raises
    ------
    ArgumentError
        If ``seed`` is not an integer, or is negative.
    """
    global _generator
    if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)) or seed < 0:
        raise ArgumentError(f"manual_seed: seed is {seed!r}; it must be an integer >= 0.")
    _generator = np.random.default_rng(seed)


def generator() -> np.random.Generator:
    """Return the current random generator. It runs on the CPU, so that every device gets the same numbers."""
    return _generator
