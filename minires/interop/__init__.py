"""Exchange with files and other frameworks: safetensors, npz, published weights, ONNX, and memory shared by DLPack."""

from .dlpack import from_dlpack
from .onnx_file import export_onnx
from .published import load_weights

__all__ = ["export_onnx", "from_dlpack", "load_weights"]
