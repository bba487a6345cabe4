"""The way to other frameworks: ONNX files, and arrays that are shared through DLPack."""

from .dlpack import from_dlpack
from .onnx_file import export_onnx

__all__ = ["export_onnx", "from_dlpack"]
