"""minires: a deep-learning framework that can be read in an evening and trains real residual networks.

>>> import minires as mr
>>> x = mr.tensor([[1.0, -2.0, 3.0]], requires_grad=True)
>>> loss = mr.ops.relu(x).sum()
>>> loss.backward()
>>> x.grad
tensor([[1., 0., 1.]])
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from . import data, errors, interop, models, nn, ops, optim
from .bench.profiling import profile
from .core.autograd import Op, grad
from .core.backend import manual_seed
from .core.calls import missing_name
from .core.creation import arange, full, ones, ones_like, rand, randn, zeros, zeros_like
from .core.dispatch import engine, kernel_room, register_kernel
from .core.state import enable_grad, is_grad_enabled, no_grad
from .core.tensor import Tensor, tensor
from .errors import GradcheckError, MiniresError
from .gradcheck import detect_anomaly, gradcheck
from .interop import from_dlpack
from .interop.safetensors_file import load, save
from .kernels import gpu as cuda
from .kernels.threads import get_num_threads, set_num_threads
from .version import __version__

if TYPE_CHECKING:
    from . import explain, vision

kernel_room("cpu", "minires.kernels.cpu")
kernel_room("cuda", "minires.kernels.cuda")

__all__ = [
    "GradcheckError", "MiniresError", "Op", "Tensor", "__version__", "arange", "cuda", "data", "detect_anomaly",
    "enable_grad", "engine", "errors", "explain", "from_dlpack", "full", "get_num_threads", "grad", "gradcheck",
    "interop", "is_grad_enabled", "load", "manual_seed", "models", "nn", "no_grad", "ones", "ones_like", "ops", "optim",
    "profile", "rand", "randn", "register_kernel", "save", "set_num_threads", "show_config", "tensor", "vision",
    "zeros", "zeros_like",
]  # fmt: skip


def show_config() -> None:
    """Print the versions, CPU, BLAS library, GPU and data sets that minires finds, and what could be improved."""
    print(import_module(".cli.doctor", __name__).examine())


_missing = missing_name("mr", __all__, {name: f"mr.ops.{name}" for name in ops.__all__} | {
    "as_tensor": "mr.tensor(data)", "from_numpy": "mr.tensor(array)", "cat": "mr.ops.concatenate(tensors, axis)",
    "empty": "mr.zeros(2, 3)", "eye": "mr.tensor(np.eye(3))", "linspace": "mr.tensor(np.linspace(0, 1, 5))",
    "full_like": "mr.full(x.shape, value)", "inference_mode": "mr.no_grad()", "set_grad_enabled": "mr.enable_grad()",
    "float16": "'float16'", "float32": "'float32'", "float64": "'float64'", "int64": "'int64'", "bool": "'bool'",
    "randint": "mr.tensor(np.random.default_rng(0).integers(0, 10, (2, 3)))", "is_tensor": "isinstance(x, mr.Tensor)",
    "autograd": "mr.grad", "utils": "mr.data.Loader or mr.optim.clip_grad_norm", "device": "'cpu' or 'cuda'",
})  # fmt: skip


def __getattr__(name: str) -> Any:
    """Import ``minires.explain`` and ``minires.vision`` on first use, because classification does not need them."""
    return import_module(f".{name}", __name__) if name in ("explain", "vision") else _missing(name)
