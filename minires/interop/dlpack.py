"""DLPack, the protocol by which array libraries share memory (https://dmlc.github.io/dlpack).

``torch.from_dlpack(t)`` and ``np.from_dlpack(t)`` share the memory of a tensor t of minires, and ``mr.from_dlpack(x)``
shares that of an array x of PyTorch, JAX, CuPy or NumPy. Nothing is copied: a change on one side is seen on the other,
strides are kept (channels-last stays channels-last), and the memory is freed when both sides are gone.

Writes by the other library are not tracked: a later backward pass that needs the old values detects them only under
:func:`minires.detect_anomaly`, as with a write to ``t.data``. Read-only memory (``broadcast_to``) is marked as such for
libraries that ask for version 1 of the protocol; NumPy respects the mark, PyTorch 2.13 does not.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..core import backend
from ..core.calls import pytorch_names, refuses
from ..core.tensor import Tensor
from ..errors import DeviceError, DTypeError, GraphError, ShapeError, sizes

CPU, CUDA, CUDA_MANAGED = 1, 2, 13  # DLDeviceType


@pytorch_names
@refuses(device="move the result, {0}(x).to(device)", copy="mr.tensor(x) makes a copy")
def from_dlpack(x: Any) -> Tensor:
    """Return a tensor that shares the memory of ``x``, on the same device.

    Parameters
    ----------
    x : any object with ``__dlpack__`` and ``__dlpack_device__``
        An array or tensor of PyTorch, JAX, CuPy, NumPy, ... that holds floats, integers or booleans.

    Returns
    -------
    Tensor
        A leaf that does not require a gradient. With NumPy before 2.1, the memory is read-only on the CPU;
        :func:`minires.tensor` makes a copy that can be changed.

    Raises
    ------
    DTypeError
        If ``x`` does not support the protocol, cannot share its memory, or has another dtype, such as complex64 or
        bfloat16.
    DeviceError
        If ``x`` is on the GPU and CuPy is not installed, or on a device that minires does not support.

    Examples
    --------
    >>> import numpy as np
    >>> import minires as mr
    >>> array = np.array([1.0, 2.0], dtype="float32")
    >>> t = mr.from_dlpack(array)
    >>> array[0] = 5
    >>> t
    tensor([5., 2.])
    """
    what = f"{type(x).__module__}.{type(x).__qualname__}"
    if not hasattr(x, "__dlpack__") or not hasattr(x, "__dlpack_device__"):
        raise DTypeError(f"from_dlpack: {what} has no __dlpack__; mr.tensor(x) copies x into a tensor.")
    what += f" ({x.dtype})" if hasattr(x, "dtype") else ""
    try:
        kind = int(x.__dlpack_device__()[0])
        if kind not in (CPU, CUDA, CUDA_MANAGED):
            raise DeviceError(f"from_dlpack: {what} is on DLPack's device {kind}; move it to the CPU or a CUDA GPU.")
        array = (np if kind == CPU else backend.cupy_module()).from_dlpack(x)
    except DeviceError:
        raise
    except (BufferError, RuntimeError, TypeError, ValueError) as error:
        reason = " ".join(str(error).split()).rstrip(".")
        raise DTypeError(f"from_dlpack: {what} cannot be shared: {reason}.") from error
    if array.dtype.kind not in "fiub":
        raise DTypeError(f"from_dlpack: {what} cannot be shared: a tensor holds floats, integers or booleans.")
    return Tensor.wrap(array)


def _share(t: Tensor, **options: Any) -> Any:
    """Return the capsule that other libraries' ``from_dlpack`` requests; see https://data-apis.org/array-api.

    Raises
    ------
    GraphError
        If the tensor requires a gradient: what other libraries compute with it would not be recorded.
    ShapeError
        If an axis runs backwards in memory, as after ``flip``: PyTorch 2.13 would crash.
    BufferError
        If NumPy or CuPy cannot share the memory as requested.
    """
    given = f"__dlpack__: this tensor ({sizes(t.shape)})"
    if t.requires_grad:
        raise GraphError(f"{given} requires a gradient, which other libraries would ignore; share t.detach().")
    if any(stride < 0 for stride in t.data.strides):
        raise ShapeError(
            f"{given} has an axis that runs backwards in memory, as after flip, which other libraries do not support; "
            "share a copy, mr.tensor(t)."
        )
    return t.data.__dlpack__(**{name: value for name, value in options.items() if value is not None})


Tensor.__dlpack__ = _share
Tensor.__dlpack_device__ = lambda t: t.data.__dlpack_device__()  # DLPack's numbers of the device type and the device
