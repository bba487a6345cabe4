"""Tensor: an array, its gradient, and the op that made it.

The methods that compute (``+``, ``sum``, ``reshape``, ...) are the functions of ``minires/ops``. That package imports
this module and attaches them; they are declared here for type checkers and editors.
"""

from __future__ import annotations

import operator
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partialmethod
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import ArgumentError, DTypeError, GraphError, NoAxisError, OutOfRangeError, ShapeError, sizes
from . import autograd, backend
from .autograd import Hook, HookHandle, Op
from .backend import Array, DTypeLike
from .calls import pytorch_names
from .state import state

if TYPE_CHECKING:
    from .. import ops

TensorLike = Any  # a Tensor, an array, a number, or nested lists of numbers
Axis = int | Sequence[int] | None


class Size(int):
    """The number of elements, ``x.size``, as in NumPy; ``x.size(0)`` is the size of an axis, as in PyTorch."""

    shape: tuple[int, ...]

    def __call__(self, dim: int | None = None) -> Any:
        return self.shape if dim is None else self.shape[dim]


class Tensor:
    """An n-dimensional array that remembers how it was computed.

    Parameters
    ----------
    data : array, number or nested lists of numbers
        The values, which are copied. Python floats become float32 and integers int64; arrays keep their dtype.
    requires_grad : bool
        Whether backward computes ``grad``; only possible for floats.
    dtype : dtype, optional
        The dtype to convert the values to, such as ``"float64"``.
    device : {"cpu", "cuda"}, optional
        The device to store the array on; by default, the device of ``data``.

    Attributes
    ----------
    data : numpy.ndarray or cupy.ndarray
        The raw array. A later backward detects assignments to it (``t.data = a``, ``t.data += 1``); writes into it
        (``t.data[0] = 1``) are detected only under :func:`minires.detect_anomaly`.
    grad : Tensor or None
        dLoss/d(this tensor), summed over the backward passes since it was last None. Only leaves, and tensors whose
        ``retain_grad`` was called, get a gradient.
    op : Op or None
        The op that made the tensor; None for a leaf.

    Raises
    ------
    DTypeError
        If ``data`` holds anything but numbers and booleans, or ``requires_grad`` is set for anything but floats.
    ShapeError
        If nested lists are ragged.
    ArgumentError
        If ``requires_grad`` is not a boolean, as in ``Tensor(2, 3)``.
    """

    __array_ufunc__: Any = None  # ``array + tensor`` then calls ``Tensor.__radd__``
    __hash__ = object.__hash__

    def __init__(
        self, data: TensorLike, requires_grad: bool = False, dtype: DTypeLike = None, device: str | None = None
    ) -> None:
        if not isinstance(requires_grad, (bool, np.bool_)):
            hint = "for a given shape, use mr.zeros(2, 3)" if isinstance(requires_grad, int) else "name the arguments"
            raise ArgumentError(f"tensor: requires_grad is {requires_grad!r}, not True or False; {hint}.")
        array = backend.as_array(data.data if isinstance(data, Tensor) else data, dtype).copy(order="K")
        self._set(array if device is None else backend.to_device(array, device))
        self.requires_grad = requires_grad

    def _set(self, array: Array) -> None:
        self._data = array
        self._version = [0]  # counts in-place changes; all tensors that use the same memory share one list
        self._requires_grad = self._retains_grad = False
        self.op: Op | None = None
        self.grad: Tensor | None = None
        self.hooks: list[Hook] | None = None

    @staticmethod
    def wrap(array: Array) -> Tensor:
        """Return a tensor that holds ``array`` itself, without a copy or a check. Ops create their outputs this way."""
        tensor = Tensor.__new__(Tensor)
        if not isinstance(array, np.ndarray):  # CuPy's array, or one of the scalars that NumPy's reductions return
            array = backend.array_module(array).asarray(array)
        tensor._set(array)
        return tensor

    @property
    def data(self) -> Array:
        return self._data

    @data.setter
    def data(self, array: Array) -> None:
        if not backend.is_array(array):
            raise DTypeError(f"tensor.data must be a raw array, not {type(array).__name__}; write t.data = u.data.")
        array = backend.as_array(array)
        kinds = self._data.dtype.kind + array.dtype.kind
        if kinds[0] != kinds[1] and kinds not in ("iu", "ui"):
            raise DTypeError(f"tensor.data is {self.dtype}, the array {array.dtype}; use array.astype('{self.dtype}').")
        self._data = array
        self.mark_changed()

    @property
    def requires_grad(self) -> bool:
        """Whether backward computes a gradient for this tensor. Can be set on leaves: False freezes a parameter."""
        return self._requires_grad

    @requires_grad.setter
    def requires_grad(self, value: bool) -> None:
        if value and self._data.dtype.kind != "f":
            raise DTypeError(f"only floats can require a gradient; this tensor ({sizes(self.shape)}) is {self.dtype}.")
        if not value and self.op is not None:
            raise GraphError(f"requires_grad cannot be False for an output of {self.op.name}; use detach() instead.")
        self._requires_grad = bool(value)

    @property
    def shape(self) -> tuple[int, ...]:
        return self._data.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        return self._data.dtype

    @property
    def ndim(self) -> int:
        return self._data.ndim

    @property
    def size(self) -> Size:
        """The number of elements; ``x.size()`` is the shape, and ``x.size(0)`` the size of an axis, as in PyTorch."""
        size = Size(self._data.size)
        size.shape = self.shape
        return size

    @property
    def device(self) -> str:
        """The device that the tensor is on: ``"cpu"`` or ``"cuda"``."""
        return backend.device_of(self._data)

    @property
    def T(self) -> Tensor:
        """This tensor with its axes in reverse order."""
        return self.transpose()

    @property
    def source(self) -> Op | Tensor:
        """Where this tensor's gradient is sent: the op that made the tensor, or the tensor itself if it is a leaf."""
        return self.op if self.op is not None else self

    @property
    def version(self) -> int:
        """How many times the tensor's memory was changed in place."""
        return self._version[0]

    def mark_changed(self) -> None:
        """Tell the tape that ``data`` was changed, so that a backward that needs the old values raises."""
        self._version[0] += 1

    def share_version(self, others: Iterable[Tensor]) -> None:
        """Share the change count of those ``others`` that use the same memory (as a reshape and its input do)."""
        owner = self._data if self._data.base is None else self._data.base
        for other in others:
            if owner is (other._data if other._data.base is None else other._data.base):
                self._version = other._version

    def changed_from_now(self) -> Callable[[], bool]:
        """Return a function that tells whether the memory has changed since this call."""
        version, start, array = self._version, self._version[0], self._data
        seen = fingerprint(array) if state.anomaly else None
        return lambda: version[0] != start or (seen is not None and fingerprint(array) != seen)

    def numpy(self) -> np.ndarray[Any, Any]:
        """Return the values as a NumPy array: the same memory if they are on the CPU, a copy if they are on the GPU."""
        return backend.to_device(self._data, "cpu")

    def item(self) -> float | int | bool:
        """Return the only element as a Python number. Raises ShapeError unless there is exactly one element."""
        if self._data.size != 1:
            raise ShapeError(f"item: the tensor ({sizes(self.shape)}) has {self.size} elements; it must have one.")
        return self._data.item()

    def tolist(self) -> Any:
        """Return the elements as nested lists of Python numbers; a scalar as a number."""
        return self._data.tolist()

    def _test(self, name: str, axis: Axis = None, keepdims: bool = False) -> Tensor:
        from .checks import axis_numbers  # checks.py imports this file

        return Tensor.wrap(getattr(self._data, name)(axis=axis_numbers(name, axis, self), keepdims=keepdims))

    @pytorch_names
    def any(self, axis: Axis = None, keepdims: bool = False) -> Tensor:
        """Whether any element along ``axis`` is not 0: a tensor of booleans. Raises ShapeError for a wrong axis."""
        return self._test("any", axis, keepdims)

    @pytorch_names
    def all(self, axis: Axis = None, keepdims: bool = False) -> Tensor:
        """Whether all elements along ``axis`` are not 0: a tensor of booleans. Raises ShapeError for a wrong axis."""
        return self._test("all", axis, keepdims)

    def detach(self) -> Tensor:
        """Return a tensor that shares this tensor's memory but is not part of the graph."""
        detached = Tensor.wrap(self._data)
        detached._version = self._version
        return detached

    @pytorch_names
    def to(self, device_or_dtype: Any = None, dtype: DTypeLike = None, device: str | None = None) -> Tensor:
        """Copy to a device (``"cpu"``, ``"cuda"``) or convert to a dtype (``"float64"``), or both.

        Returns this tensor itself if it is already on the device and has the dtype.
        """
        moved = self
        for target in [given for given in (device_or_dtype, dtype, device) if given is not None] or [None]:
            if isinstance(target, str) and target in backend.DEVICES:
                moved = moved if target == moved.device else moved.to_device(target)
            else:
                moved = moved if moved.dtype == backend.as_dtype(target) else moved.astype(target)
        return moved

    @pytorch_names
    def backward(self, grad: TensorLike = None, retain_graph: bool = False, create_graph: bool = False) -> None:
        """Compute the gradient of this tensor with respect to each leaf that it was computed from.

        Each gradient is added to the ``grad`` of its leaf.

        Parameters
        ----------
        grad : Tensor or array, optional
            The upstream gradient, with the shape of this tensor. The default is 1 if the tensor has one element.
        retain_graph : bool
            Whether to keep the graph, so that backward can be called again. Otherwise it is freed during the pass.
        create_graph : bool
            Whether to record the backward pass, so that the gradients can be differentiated again. The graph is kept.

        Raises
        ------
        GraphError
            If nothing was recorded, the graph was freed, or a saved array was changed in place.
        ShapeError
            If ``grad`` is missing for a tensor with several elements, or has another shape.

        Examples
        --------
        >>> import minires as mr
        >>> x = mr.tensor([1.0, 2.0], requires_grad=True)
        >>> (x * x).sum().backward()
        >>> x.grad
        tensor([2., 4.])
        """
        autograd.backward(self, self.upstream(grad), retain_graph, create_graph)

    def upstream(self, grad: TensorLike = None) -> Tensor:
        """Return ``grad`` as an upstream gradient for this tensor, with its shape and dtype; 1 if ``grad`` is None."""
        if grad is None:
            if self._data.size != 1:
                raise ShapeError(
                    f"backward: the tensor ({sizes(self.shape)}) has {self.size} elements; reduce it to one number "
                    "(.sum(), .mean()), or pass an upstream gradient of its shape."
                )
            return Tensor.wrap(backend.array_module(self._data).ones_like(self._data))
        grad = as_tensor(grad, like=self)
        if grad.shape != self.shape:
            raise ShapeError(f"backward: grad is {sizes(grad.shape)}, but the tensor is {sizes(self.shape)}.")
        return grad.to(self.dtype)

    def register_hook(self, hook: Hook) -> HookHandle:
        """Call ``hook(gradient)`` when the gradient of this tensor is complete.

        If the hook returns a gradient, this replaces the original one.

        Returns
        -------
        HookHandle
            Its ``remove()`` unregisters the hook.
        """
        if not self.requires_grad:
            raise GraphError("register_hook: this tensor does not require a gradient, so the hook would never run.")
        if not callable(hook):
            raise ArgumentError(f"register_hook: hook is {hook!r}; it must be a function of the gradient.")
        self.source.hooks = self.source.hooks or []
        return HookHandle(self.source.hooks, hook)

    def retain_grad(self) -> None:
        """Store the gradient of this intermediate tensor in its ``grad``, too."""
        if not self.requires_grad:
            raise GraphError("retain_grad: this tensor does not require a gradient, so it will never get one.")
        if self.op is not None and not self._retains_grad:
            self._retains_grad = True
            self_or_none = weakref.ref(self)  # the op keeps the hook: a strong reference would make a cycle

            def keep(grad: Tensor) -> None:
                if (tensor := self_or_none()) is not None:
                    tensor.grad = grad * 1 if tensor.grad is None else tensor.grad + grad

            self.register_hook(keep)

    def __len__(self) -> int:
        if self.ndim == 0:
            raise NoAxisError("len: the tensor is a scalar; it has no first axis.")
        return self.shape[0]

    def __iter__(self) -> Iterator[Tensor]:
        if self.ndim == 0:
            raise NoAxisError("iter: the tensor is a scalar; it has no first axis. Its value is t.item().")
        return (self[i] for i in range(len(self)))

    def __bool__(self) -> bool:
        if self.size != 1:
            raise ShapeError(f"bool: the tensor is {sizes(self.shape)}; use t.any() or t.all().")
        return bool(self._data)

    def __float__(self) -> float:
        return float(self.item())

    def __int__(self) -> int:
        return int(self.item())

    def __round__(self, digits: int | None = None) -> float | int:
        return round(self.item(), digits)

    def __index__(self) -> int:
        if self.size != 1 or self.dtype.kind == "f":
            raise DTypeError(f"index: the tensor ({sizes(self.shape)}) is {self.dtype}; only one integer is an index.")
        return int(self.item())

    def __contains__(self, value: TensorLike) -> bool:
        return bool((self == value).any())

    def __pos__(self) -> Tensor:
        return self

    def __format__(self, spec: str) -> str:
        return format(self.item(), spec) if spec else str(self)

    def __copy__(self) -> Tensor:
        copied = Tensor.__new__(type(self))
        copied.__dict__.update(self.__dict__)
        return copied

    def __getstate__(self) -> dict[str, Any]:
        """Return what ``deepcopy`` and ``pickle`` keep: everything but the hooks, which may refer to anything."""
        if self.op is not None:
            raise GraphError(f"deepcopy or pickle: {self.op.name} computed the tensor; copy t.detach() instead.")
        return {**self.__dict__, "hooks": None}

    def __array__(self, dtype: DTypeLike = None, copy: bool | None = None) -> np.ndarray[Any, Any]:
        array = self.numpy().astype(self.dtype if dtype is None else dtype, copy=False)
        if copy is False and array is not self._data:
            raise ArgumentError(f"__array__: {self.dtype} on {self.device} cannot become {array.dtype} without a copy.")
        return array.copy() if copy else array

    def __repr__(self) -> str:
        values = np.array2string(self.numpy(), separator=", ", prefix="tensor(")
        notes = "" if self.dtype in (np.float32, np.int64, np.bool_) else f", dtype={self.dtype}"
        notes += "" if self.device == "cpu" else f", device={self.device!r}"
        notes += f", op={self.op!r}" if self.op is not None else ", requires_grad=True" if self.requires_grad else ""
        return f"tensor({values}{notes})"

    def _compare(self, comparison: str, other: TensorLike) -> Tensor:
        """Compare elementwise. The result is not part of the graph. ``t == None`` is False, as in PyTorch."""
        try:
            other = as_tensor(other, like=self)
        except DTypeError:
            if comparison in ("eq", "ne"):
                return NotImplemented
            raise
        try:
            return Tensor.wrap(getattr(operator, comparison)(self._data, other.data))
        except ValueError as error:
            raise ShapeError(f"{comparison}: {sizes(self.shape)} and {sizes(other.shape)} do not broadcast.") from error
        except TypeError as error:
            raise DTypeError(
                f"& | ^ ~: the operands are {self.dtype} and {other.dtype}, but must be booleans or integers; "
                "compare first, as in (x > 0) & (x < 1)."
            ) from error

    __eq__ = partialmethod(_compare, "eq")  # type: ignore[assignment]
    __ne__ = partialmethod(_compare, "ne")  # type: ignore[assignment]
    __lt__ = partialmethod(_compare, "lt")  # type: ignore[assignment]
    __le__ = partialmethod(_compare, "le")  # type: ignore[assignment]
    __gt__ = partialmethod(_compare, "gt")  # type: ignore[assignment]
    __ge__ = partialmethod(_compare, "ge")  # type: ignore[assignment]
    __and__ = __rand__ = partialmethod(_compare, "and_")
    __or__ = __ror__ = partialmethod(_compare, "or_")
    __xor__ = __rxor__ = partialmethod(_compare, "xor")

    def __invert__(self) -> Tensor:
        return Tensor.wrap(~(self & self)._data)  # which raises for floats

    def __setitem__(self, index: Any, value: TensorLike) -> None:
        """Assign in place; allowed only inside ``no_grad()`` if the tensor or the value requires a gradient.

        A later backward pass that needs the old values raises GraphError.
        """
        value = as_tensor(value, like=self)
        if state.grad_enabled and (self.requires_grad or value.requires_grad):
            raise GraphError("t[index] = value: t or value requires a gradient; assign inside no_grad().")
        try:
            self._data[as_index(index, self)] = value.data
        except (IndexError, ValueError) as error:
            kind = OutOfRangeError if isinstance(error, IndexError) else ShapeError
            where = f"t ({sizes(self.shape)}) and value ({sizes(value.shape)})"
            raise kind(f"t[index] = value, for {where}: {error}.") from error
        self.mark_changed()

    def _augment(self, name: str, other: TensorLike) -> Tensor:
        """Compute ``+=``, ``-=``, ``*=`` or ``/=``: in place if nothing is recorded, otherwise as a new tensor."""
        other = as_tensor(other, like=self)
        if state.grad_enabled and (self.requires_grad or other.requires_grad):
            if self.requires_grad and self.op is None:
                raise GraphError(f"{name}: a leaf that requires a gradient can be changed only inside no_grad().")
            return NotImplemented  # Python then computes self + other
        try:
            self.data = getattr(operator, name)(self._data, other.data)
        except (TypeError, ValueError) as error:
            kind = DTypeError if isinstance(error, TypeError) else ShapeError
            raise kind(
                f"{name}: {sizes(other.shape)} {other.dtype} cannot be written into {sizes(self.shape)} {self.dtype}."
            ) from error
        return self

    __iadd__ = partialmethod(_augment, "iadd")
    __isub__ = partialmethod(_augment, "isub")
    __imul__ = partialmethod(_augment, "imul")
    __itruediv__ = partialmethod(_augment, "itruediv")

    if TYPE_CHECKING:  # what minires/interop attaches, and the functions that minires/ops attaches as methods
        __dlpack__: Any
        __dlpack_device__: Any
        __add__ = __radd__ = ops.add
        __sub__ = __rsub__ = ops.sub
        __mul__ = __rmul__ = ops.mul
        __truediv__ = __rtruediv__ = ops.div
        __floordiv__ = __rfloordiv__ = ops.floor_divide
        __mod__ = __rmod__ = ops.remainder
        __pow__ = __rpow__ = ops.pow
        __matmul__ = __rmatmul__ = ops.matmul
        __neg__, __abs__, __getitem__ = ops.neg, ops.abs, ops.getitem
        exp, log, sqrt, abs, tanh, sigmoid, relu = ops.exp, ops.log, ops.sqrt, ops.abs, ops.tanh, ops.sigmoid, ops.relu
        sum, mean, var, std, logsumexp = ops.sum, ops.mean, ops.var, ops.std, ops.logsumexp

        def max(self, axis: Axis = None, keepdims: bool = False) -> Tensor: ...  # ops.max is decorated

        min = max
        argmax, argmin = ops.argmax, ops.argmin
        softmax, log_softmax, clip, masked_fill = ops.softmax, ops.log_softmax, ops.clip, ops.masked_fill
        reshape, transpose, permute, flatten, flip = ops.reshape, ops.transpose, ops.permute, ops.flatten, ops.flip
        squeeze, expand_dims, broadcast_to, sum_to = ops.squeeze, ops.expand_dims, ops.broadcast_to, ops.sum_to
        view, unsqueeze, expand = ops.reshape, ops.expand_dims, ops.broadcast_to
        astype, to_device = ops.astype, ops.to_device


@pytorch_names
def tensor(data: TensorLike, requires_grad: bool = False, dtype: DTypeLike = None, device: str | None = None) -> Tensor:
    """Create a :class:`Tensor` from a copy of ``data``; the class describes the arguments and errors.

    Examples
    --------
    >>> import minires as mr
    >>> mr.tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True)
    tensor([[1., 2.],
            [3., 4.]], requires_grad=True)
    """
    return Tensor(data, requires_grad, dtype, device)


def as_tensor(value: TensorLike, like: Tensor | None = None) -> Tensor:
    """Return ``value`` itself if it is a tensor; otherwise a constant tensor that holds it.

    Numbers get the dtype of ``like`` if it can hold them, as in NumPy: ``x * 0.5`` is float32 if x is float32.
    """
    if isinstance(value, Tensor):
        return value
    # The memory of an array, data frame or buffer belongs to the caller, who may change it before backward reads it.
    shared = not isinstance(value, (int, float, list, tuple, np.generic))
    if like is None or shared:
        array = backend.as_array(value)
        return Tensor.wrap(array.copy(order="K") if shared and state.grad_enabled else array)
    array = backend.as_array(value, like.dtype if like.dtype.kind == "f" else None)
    if like.dtype.kind in "iu" and array.dtype.kind in "iu" and (array == (cast := array.astype(like.dtype))).all():
        array = cast
    return Tensor.wrap(backend.to_device(array, like.device))


def fingerprint(array: Array) -> int:
    """Return a hash of the array's contents."""
    return hash(array.tobytes())


def as_index(index: Any, x: Tensor) -> tuple[Any, ...]:
    """Return ``index`` as a tuple, with its tensors, arrays and sequences copied to arrays on the device of x."""

    def part(given: Any) -> Any:
        if given is None or given is Ellipsis or isinstance(given, (slice, int, np.integer, str, bytes)):
            return given
        array = as_tensor(given).data.copy()
        return array.astype(int) if not array.size and isinstance(given, Sequence) else array  # [] would be float32

    return backend.index_on_device(tuple(map(part, index if isinstance(index, tuple) else (index,))), x._data)
