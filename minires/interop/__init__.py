"""To and from other frameworks: published weights in, ONNX files out, and memory that is shared through DLPack."""

from .dlpack import from_dlpack
from .onnx_file import export_onnx
from .published import load_weights

__all__ = ["export_onnx", "from_dlpack", "load_weights"]
