"""Exchange with files and other frameworks: safetensors, npz, published weights, ONNX, DLPack, and NumPy's ufuncs."""

from ..core.tensor import Tensor
from .dlpack import from_dlpack
from .onnx_file import export_onnx
from .published import load_weights
from .ufuncs import ArrayUfunc

__all__ = ["export_onnx", "from_dlpack", "load_weights"]

Tensor.__array_ufunc__ = ArrayUfunc()
