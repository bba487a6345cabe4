"""A stand-in for CuPy on machines without a GPU. It behaves like CuPy where minires depends on it.

- Arrays have a type of their own, which does not mix with NumPy's. Only ``get``, ``set`` and ``asarray`` convert.
- Elementwise results are in C order, whatever the order of the operands (unless all are in Fortran order).
- Reductions return arrays without axes, not numbers.
- Integer arrays as indices wrap around silently.
- While a stream is being captured, nothing runs, arrays cannot be copied to or from the CPU, and cuBLAS cannot be used.
- ``RawModule`` runs the CUDA source itself, compiled for the CPU.

``PYTHONPATH=tests/stand_in pytest -k cuda`` runs the tests of the device "cuda" on it. It has only what minires uses.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import ClassVar

import numpy as np

from . import cuda
from ._kernels import RawModule
from .cuda import _do, _pure, _refuse_in_capture

__version__ = "stand-in"
__all__ = ["RawModule", "cuda", "ndarray"]

PLAIN = (bool, int, float, np.generic)


class _Flags:
    def __init__(self, array):
        self.c_contiguous, self.f_contiguous = array.flags.c_contiguous, array.flags.f_contiguous
        self.owndata = array.base is None


class _Memory:
    def __init__(self, array):
        self.ptr = array.ctypes.data


def _unwrap(value):
    """The arguments for NumPy. CuPy takes only its own arrays and plain numbers."""
    if isinstance(value, ndarray):
        return value._a
    if isinstance(value, PLAIN):
        return value
    raise TypeError(f"Unsupported type {type(value)}")


def _ordered(result, operands):
    """C order; Fortran order if all operands are."""
    arrays = [x for x in operands if isinstance(x, np.ndarray) and x.ndim > 0]
    fortran = arrays and all(x.flags.f_contiguous and not x.flags.c_contiguous for x in arrays)
    return np.array(result, order="F" if fortran else "C", copy=True)


def _computed(function, *operands, **options):
    """A new array with the result of a NumPy function. Divisions by zero do not warn, as on a GPU."""

    def compute():
        with np.errstate(all="ignore"):
            return _ordered(function(*operands, **options), operands)

    return ndarray._of(_pure(compute))


class ndarray:  # noqa: N801
    __array_priority__ = 100
    __hash__ = None

    @classmethod
    def _of(cls, array, base=None):
        self = cls.__new__(cls)
        self._a, self.base = array, base
        return self

    def _view(self, array):
        return ndarray._of(array, self if self.base is None else self.base)

    shape = property(lambda self: self._a.shape)
    dtype = property(lambda self: self._a.dtype)
    size = property(lambda self: self._a.size)
    ndim = property(lambda self: self._a.ndim)
    itemsize = property(lambda self: self._a.itemsize)
    nbytes = property(lambda self: self._a.nbytes)
    strides = property(lambda self: self._a.strides)
    flags = property(lambda self: _Flags(self._a))
    data = property(lambda self: _Memory(self._a))
    T = property(lambda self: self._view(self._a.T))

    # Between the devices

    def get(self):
        _refuse_in_capture("cudaMemcpy")
        return np.array(self._a, order="C")

    def set(self, array, stream=None):
        assert isinstance(array, np.ndarray), type(array)
        assert array.shape == self.shape, (array.shape, self.shape)
        assert array.dtype == self.dtype, (array.dtype, self.dtype)
        _refuse_in_capture("cudaMemcpy")
        self._a[...] = array

    def item(self):
        return self.get().item()

    def tobytes(self):
        return self.get().tobytes()

    def __array__(self, dtype=None, copy=None):
        raise TypeError(
            "Implicit conversion to a NumPy array is not allowed. Please use `.get()` to construct a NumPy array "
            "explicitly."
        )

    def __bool__(self):
        return bool(self.get())

    def __float__(self):
        return float(self.get())

    def __int__(self):
        return int(self.get())

    def __index__(self):
        return self.get().__index__()

    def __len__(self):
        return len(self._a)

    def __iter__(self):
        return (self[i] for i in range(len(self)))

    def __repr__(self):
        return repr(self._a)

    # The same numbers otherwise

    def copy(self, order="C"):
        return ndarray._of(_pure(lambda: self._a.copy(order)))

    def astype(self, dtype, order="K", copy=True):
        if not copy and self.dtype == np.dtype(dtype):
            return self
        return ndarray._of(_pure(lambda: self._a.astype(dtype, order=order)))

    def reshape(self, *shape):
        found = self._a.reshape(*shape)
        if np.shares_memory(found, self._a) or found.size == 0:
            return self._view(found)
        return ndarray._of(_pure(lambda: self._a.reshape(*shape).copy()))

    def ravel(self):
        return self.reshape(-1)

    def transpose(self, *axes):
        return self._view(self._a.transpose(*axes))

    def squeeze(self, axis=None):
        return self._view(self._a.squeeze(axis))

    def fill(self, value):
        _do(lambda: self._a.fill(value))

    def _key(self, key):
        """An index for NumPy, with integer arrays wrapped around."""
        key = key if isinstance(key, tuple) else (key,)
        real = [k for k in key if k is not None and k is not Ellipsis]
        used = sum(k.ndim if isinstance(k, ndarray) and k.dtype == bool else 1 for k in real)
        found, axis = [], 0
        for k in key:
            if isinstance(k, np.ndarray):
                raise TypeError("an index is a NumPy array")
            if k is Ellipsis:
                axis += self.ndim - used
            elif isinstance(k, ndarray) and k.dtype == bool:
                k, axis = k.get(), axis + k.ndim
            elif isinstance(k, ndarray):
                k, axis = k._a % self.shape[axis], axis + 1
            elif k is not None:
                axis += 1
            found.append(k)
        return tuple(found)

    def __getitem__(self, key):
        key = self._key(key)
        found = np.asarray(self._a[key])
        if any(isinstance(k, np.ndarray) for k in key):
            return ndarray._of(_pure(lambda: np.array(self._a[key], order="C")))
        if found.ndim == 0:  # NumPy gives a number, and no view
            found = np.asarray(self._a[(*key, Ellipsis)])
        return self._view(found)

    def __setitem__(self, key, value):
        key, value = self._key(key), _unwrap(value)
        _do(lambda: self._a.__setitem__(key, value))

    # Arithmetic

    def __array_ufunc__(self, ufunc, method, *inputs, out=(), **options):
        if method != "__call__":
            return NotImplemented
        return _elementwise(ufunc, *inputs, out=out[0] if out else None, **options)

    def dot(self, other, out=None):
        return matmul(self, other, out)

    def __matmul__(self, other):
        return NotImplemented if _foreign(other) else matmul(self, other)

    def __neg__(self):
        return _elementwise(np.negative, self)

    def __invert__(self):
        return _elementwise(np.invert, self)

    def __abs__(self):
        return _elementwise(np.abs, self)


def _foreign(value):
    """Whether the operand handles the operator itself, like a Tensor."""
    return getattr(value, "__array_ufunc__", ndarray) is None


def _elementwise(function, *operands, out=None, **options):
    arrays = [_unwrap(operand) for operand in operands]
    if out is None:
        return _computed(function, *arrays, **options)
    assert isinstance(out, ndarray), type(out)
    _do(lambda: function(*arrays, out=out._a, **options))
    return out


def _operators():
    names = {
        "add": np.add, "sub": np.subtract, "mul": np.multiply, "truediv": np.true_divide, "pow": np.power,
        "floordiv": np.floor_divide, "mod": np.remainder, "and": np.bitwise_and, "or": np.bitwise_or,
        "xor": np.bitwise_xor,
    }  # fmt: skip
    comparisons = {
        "eq": np.equal, "ne": np.not_equal, "lt": np.less, "le": np.less_equal, "gt": np.greater,
        "ge": np.greater_equal,
    }  # fmt: skip
    for name, ufunc in (names | comparisons).items():
        setattr(
            ndarray,
            f"__{name}__",
            lambda self, other, u=ufunc: NotImplemented if _foreign(other) else _elementwise(u, self, other),
        )
    for name, ufunc in names.items():
        setattr(
            ndarray,
            f"__r{name}__",
            lambda self, other, u=ufunc: NotImplemented if _foreign(other) else _elementwise(u, other, self),
        )
        setattr(
            ndarray,
            f"__i{name}__",
            lambda self, other, u=ufunc: _elementwise(u, self, other, out=self),
        )
    for name in ("sum", "mean", "std", "max", "min", "argmax", "argmin", "all", "any"):
        setattr(
            ndarray,
            name,
            lambda self, *a, n=name, **k: _computed(getattr(np, n), self._a, *a, **k),
        )


_operators()


class _Ufunc:
    def __init__(self, ufunc):
        self._ufunc = ufunc

    def __call__(self, *operands, out=None, **options):
        if not any(isinstance(operand, ndarray) for operand in operands):
            raise TypeError(f"Unsupported types {list(map(type, operands))}")
        return _elementwise(self._ufunc, *operands, out=out, **options)

    def at(self, array, index, values):
        index, values = array._key(index), _unwrap(values)
        _do(lambda: self._ufunc.at(array._a, index, values))


UFUNCS = [
    "abs", "add", "clip", "exp", "floor_divide", "fmod", "isfinite", "isnan", "log", "log1p", "maximum", "minimum",
    "multiply", "remainder", "sign", "sqrt", "square", "subtract", "tanh", "true_divide", "trunc", "where",
]  # fmt: skip
for _name in UFUNCS:
    globals()[_name] = _Ufunc(getattr(np, _name))


def matmul(a, b, out=None):
    if cuda._capturing():
        raise NotImplementedError("calling cuBLAS API during stream capture is currently unsupported")
    if out is None:
        return ndarray._of(np.ascontiguousarray(_unwrap(a) @ _unwrap(b)))
    assert out.flags.c_contiguous
    out._a[...] = _unwrap(a) @ _unwrap(b)
    return out


# Making arrays


def asarray(value, dtype=None):
    if isinstance(value, ndarray):
        return value if dtype is None or value.dtype == dtype else value.astype(dtype)
    _refuse_in_capture("cudaMemcpy")
    array = np.asarray(value, dtype)
    return ndarray._of(np.array(array, order="F" if array.flags.fnc else "C"))


def array(value, dtype=None, copy=True, order="K"):
    if isinstance(value, ndarray):
        return value.astype(value.dtype if dtype is None else dtype, order=order, copy=copy)
    return asarray(value, dtype)


def ascontiguousarray(value):
    assert isinstance(value, ndarray)
    return value if value.flags.c_contiguous else value.copy()


def empty(shape, dtype=float):
    array = np.empty(shape, dtype)
    array.fill(np.nan if array.dtype.kind == "f" else 7)  # nobody may rely on what it holds
    return ndarray._of(array)


def full(shape, value, dtype=None):
    if not isinstance(value, PLAIN):
        raise TypeError(f"Unsupported type {type(value)}")
    return ndarray._of(_pure(lambda: np.full(shape, value, dtype)))


def zeros(shape, dtype=float):
    return full(shape, 0, dtype)


def ones(shape, dtype=float):
    return full(shape, 1, dtype)


def arange(*bounds, dtype=None):
    return ndarray._of(_pure(lambda: np.arange(*bounds, dtype=dtype)))


def full_like(like, value, dtype=None, order="K", shape=None):
    return ndarray._of(_pure(lambda: np.full_like(like._a, value, dtype, order=order, shape=shape)))


def zeros_like(like, dtype=None, order="K", shape=None):
    return full_like(like, 0, dtype, order, shape)


def ones_like(like, dtype=None, order="K", shape=None):
    return full_like(like, 1, dtype, order, shape)


def empty_like(like, dtype=None, order="K", shape=None):
    return full_like(like, 7, dtype, order, shape)


def concatenate(arrays, axis=0):
    parts = [_unwrap(array) for array in arrays]
    return ndarray._of(_pure(lambda: np.ascontiguousarray(np.concatenate(parts, axis))))


def expand_dims(value, axis):
    return value._view(np.expand_dims(value._a, axis))


def broadcast_to(value, shape):
    return value._view(np.broadcast_to(value._a, shape))


def array_equal(a, b, equal_nan=False):
    return ndarray._of(np.asarray(np.array_equal(_unwrap(a), _unwrap(b), equal_nan=equal_nan)))


def may_share_memory(a, b):
    return np.may_share_memory(_unwrap(a), _unwrap(b))


def argwhere(value):
    return ndarray._of(np.argwhere(value.get()))


def get_default_memory_pool():
    return cuda._pool


class _Linalg:
    """The settings of cuBLAS: stored, without any effect."""

    COMPUTE_TYPE_DEFAULT, COMPUTE_TYPE_TF32 = 1, 4
    _types: ClassVar = {}

    @classmethod
    def set_compute_type(cls, dtype, kind):
        cls._types[np.dtype(dtype)] = kind

    @classmethod
    def get_compute_type(cls, dtype):
        return cls._types.get(np.dtype(dtype), cls.COMPUTE_TYPE_DEFAULT)


_core = SimpleNamespace(_routines_linalg=_Linalg)
