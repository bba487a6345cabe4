"""The contenders in a race. Each one prepares a workload and returns a function that runs it once."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from .. import models, nn, ops, optim, vision
from ..core.backend import Array, manual_seed
from ..core.tensor import Tensor, tensor
from ..data.annotated import Objects
from ..errors import ArgumentError, listed
from ..interop import export_onnx
from ..kernels import gpu
from ..kernels.device import as_images
from ..kernels.threads import set_num_threads
from ..ops.conv import Conv2dGradWeight, ConvTranspose2d, Window
from ..vision.fcos import FCOS
from .workloads import Workload

Step = Callable[[], Any]
GRAPH = "minires graph"  # the same step, run as a CUDA graph
TORCH = ("torch eager", "torch channels-last", "torch compile", "torch frozen")
OTHERS = {  # the names that --against takes, and the packages that they need
    "torch": ("torch",),
    "dezero": ("dezero",),
    "onnxruntime": ("onnxruntime", "onnx"),
    "openvino": ("openvino", "onnx"),
}
LR, MOMENTUM = 0.01, 0.9
METHODS: dict[str, Callable[..., nn.Module]] = {"fcos": vision.fcos, "deeplabv3plus": vision.deeplabv3plus}
BOXES = 5  # objects in an image


def available(against: str, device: str = "cpu") -> list[str]:
    """Return minires and the contenders in a comma-separated list, where ``torch`` stands for four of them.

    Raises
    ------
    ArgumentError
        If the list names anything but ``OTHERS``, or a package is not installed.
    """
    found = ["minires"] if device == "cpu" else ["minires", GRAPH]
    for name in filter(None, (part.strip() for part in against.split(","))):
        if name not in OTHERS:
            raise ArgumentError(f"bench: --against names {name!r}; choose from {listed(list(OTHERS))}.")
        for package in OTHERS[name]:
            if importlib.util.find_spec(package) is None:
                raise ArgumentError(f"bench: {package} is not installed: pip install {package}.")
        found += TORCH if name == "torch" else (name,)
    return found


def can_run(contender: str, workload: Workload) -> bool:
    """Return whether a contender can run a workload."""
    on_cpu, infers = workload.device == "cpu", workload.kind == "infer"
    limits = {
        "torch compile": workload.kind != "ops",
        "torch frozen": infers,
        "onnxruntime": on_cpu and infers,
        "openvino": on_cpu and infers,
        "dezero": on_cpu and (workload.kind, workload.model) == ("train", "resnet20"),
    }
    return limits.get(contender, True)


def prepare(contender: str, workload: Workload, threads: int) -> Step:
    """Return a function that runs the workload once, and waits for the GPU if it runs there.

    The function returns the logits of inference or the loss of a training step, which :func:`as_array` converts. For
    one workload, minires and PyTorch begin with the same weights.
    """
    of_the_cpu = {"dezero": _dezero, "onnxruntime": _onnxruntime, "openvino": _openvino}
    if contender in of_the_cpu:
        return of_the_cpu[contender](workload, threads)
    step, synchronize = (_minires if contender in ("minires", GRAPH) else _torch)(workload, threads, contender)
    if workload.device == "cpu":
        return step

    def step_and_wait() -> Any:
        result = step()
        synchronize()
        return result

    return step_and_wait


def as_array(result: Any) -> Array:
    """Return the logits or the loss of any contender as a NumPy array."""
    on_host = result.detach().to("cpu").numpy() if hasattr(result, "numpy") else result  # of minires, or of PyTorch
    return np.asarray(on_host)


def _images(workload: Workload) -> tuple[Array, Array]:
    """Return the images, and their classes or those of their pixels."""
    rng = np.random.default_rng(0)
    channels, size = workload.channels or 3, workload.size
    x = rng.standard_normal((workload.batch, channels, size, size), dtype=np.float32)
    labelled = (workload.batch, size, size) if workload.method == "deeplabv3plus" else workload.batch
    return x, rng.integers(0, max(workload.classes, 1), labelled)


def _objects(workload: Workload) -> list[Objects]:
    """Return the objects in each image: boxes with sides from a sixteenth to three quarters of the image."""
    rng, found = np.random.default_rng(1), []
    for _ in range(workload.batch):
        sides = workload.size * np.exp(rng.uniform(np.log(1 / 16), np.log(3 / 4), (BOXES, 2)))
        corners = rng.uniform(0, workload.size - sides)
        boxes = np.concatenate([corners, corners + sides], axis=1).astype(np.float32)
        found.append(Objects(boxes, rng.integers(0, workload.classes, BOXES), np.zeros(BOXES, bool)))
    return found


def _network(workload: Workload) -> nn.Module:
    """Return the network of minires, whose weights are the same in every process.

    For inference, the numbers of each batch norm are random, so that leaving one out would change the logits. Training
    is without dropout, so that the losses of two frameworks are the same.
    """
    manual_seed(0)
    if workload.method:
        backbone = workload.model.rpartition("_")[2]
        model = METHODS[workload.method](backbone, num_classes=workload.classes)
        for module in model.modules():
            if isinstance(module, nn.Dropout):
                module.p = 0.0
    else:
        model = models.build(workload.model, num_classes=workload.classes)
    if workload.kind == "infer":
        rng = np.random.default_rng(0)
        state = model.state_dict()
        vectors = {name: rng.uniform(0.5, 1.5, array.shape) for name, array in state.items() if array.ndim == 1}
        model.load_state_dict({**state, **{name: vector.astype(np.float32) for name, vector in vectors.items()}})
    return model


def _training_step(model: Any, optimizer: Any, criterion: Callable[..., Any]) -> Callable[[Any, Any], Any]:
    """Return a training step as users write it; the code is the same in minires and PyTorch."""

    def step(x: Any, y: Any) -> Any:
        optimizer.zero_grad()
        loss = criterion(model(x), y)
        loss.backward()
        optimizer.step()
        return loss

    return step


def _minires(workload: Workload, threads: int, contender: str) -> tuple[Step, Step]:
    set_num_threads(threads)
    images, labels = _images(workload)
    x, y = (tensor(array, device=workload.device) for array in (images, labels))
    if workload.device == "cuda":
        gpu.allow_tf32(workload.size > 32)  # as in _torch, for networks that are limited by arithmetic
    if workload.kind == "ops":
        return _minires_conv(workload, x), gpu.synchronize
    model = _network(workload).to(workload.device)
    work: Callable[..., Any]
    inputs: tuple[Any, ...]
    if workload.kind == "infer":
        work, inputs = nn.fold(model, replay=workload.device == "cpu"), (x,)
    else:
        optimizer = optim.SGD(model.parameters(), lr=LR, momentum=MOMENTUM)
        work, inputs = _training_step(model, optimizer, ops.cross_entropy), (x, y)
        if isinstance(model, FCOS):
            places = model.locations((workload.size, workload.size))
            work = _training_step(model, optimizer, lambda outputs, y: vision.fcos_loss(outputs, y, places).total)
            inputs = x, _objects(workload)
    if contender == GRAPH:
        work = gpu.graph(work)
    return lambda: work(*inputs), gpu.synchronize


def _minires_conv(workload: Workload, x: Tensor) -> Step:
    """Return a function for one direction of a convolution on channels-last images, as between two layers."""
    device = importlib.import_module(f"minires.kernels.{workload.device}").DEVICE
    k, s = workload.kernel, workload.stride
    shape = workload.out_channels, workload.channels, k, k
    weight = tensor(np.random.default_rng(1).standard_normal(shape, dtype=np.float32), device=workload.device)
    x = Tensor.wrap(as_images(device.channels_last(x.data)))
    window = Window((k, k), (s, s), (k // 2, k // 2))
    y = ops.conv2d(x, weight, stride=s, padding=k // 2)
    if workload.direction == "forward":
        return lambda: ops.conv2d(x, weight, stride=s, padding=k // 2)
    if workload.direction == "grad_input":
        return lambda: ConvTranspose2d(window, 1, x.shape[2:])(y, weight)
    return lambda: Conv2dGradWeight(window, 1)(x, y)


def _torch(workload: Workload, threads: int, contender: str) -> tuple[Step, Step]:
    import torch

    from . import torch_models

    torch.set_num_threads(threads)
    torch.manual_seed(0)
    if workload.device == "cuda":
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = workload.size > 32
    images, labels = (torch.from_numpy(array) for array in _images(workload))
    layout = torch.contiguous_format if contender == "torch eager" else torch.channels_last
    x, y = images.contiguous(memory_format=layout).to(workload.device), labels.to(workload.device)
    if workload.kind == "ops":
        return _torch_conv(workload, x, layout), torch.cuda.synchronize
    build: Any = {"fcos": torch_models.FCOS, "deeplabv3plus": torch_models.DeepLabV3Plus, "": torch_models.ResNet}
    model: Any = build[workload.method](workload.model.rpartition("_")[2], workload.classes)
    weights = {name: torch.from_numpy(array) for name, array in _network(workload).state_dict().items()}
    model.load_state_dict({**model.state_dict(), **weights})  # PyTorch also counts the batches of batch norm
    model.to(workload.device, memory_format=layout)
    run = model
    if contender in ("torch compile", "torch frozen"):
        from torch._inductor import config

        config.freezing = contender == "torch frozen"  # what the variable TORCHINDUCTOR_FREEZING sets
        torch.compiler.reset()  # otherwise a second batch size would be compiled for any size
        run = torch.compile(model)
    if workload.kind == "infer":
        model.eval()

        def infer() -> Any:
            with torch.inference_mode():
                return run(x)

        return infer, torch.cuda.synchronize
    optimizer = torch.optim.SGD(model.parameters(), lr=LR, momentum=MOMENTUM)
    step = _training_step(run, optimizer, torch.nn.functional.cross_entropy)
    if workload.method == "fcos":
        y, criterion = _torch_objects(workload), torch_models.FCOSLoss(workload.size)
        step = _training_step(run, optimizer, criterion)
    return lambda: step(x, y), torch.cuda.synchronize


def _torch_objects(workload: Workload) -> Any:
    """Return the boxes (N, M, 4) and labels (N, M) of the objects as PyTorch's tensors."""
    import torch

    objects = _objects(workload)
    return [torch.from_numpy(np.stack([getattr(one, name) for one in objects])) for name in ("boxes", "labels")]


def _torch_conv(workload: Workload, x: Any, layout: Any) -> Step:
    import torch

    k, s = workload.kernel, workload.stride
    weight = torch.randn(workload.out_channels, workload.channels, k, k, device=workload.device)
    weight = weight.contiguous(memory_format=layout)
    y = torch.nn.functional.conv2d(x, weight, stride=s, padding=k // 2)
    if workload.direction == "forward":
        return lambda: torch.nn.functional.conv2d(x, weight, stride=s, padding=k // 2)
    wanted = [workload.direction == "grad_input", workload.direction == "grad_weight", False]
    options = [s, s], [k // 2, k // 2], [1, 1], False, [0, 0], 1, wanted
    return lambda: torch.ops.aten.convolution_backward(y, x, weight, None, *options)


def _onnx_file(workload: Workload) -> bytes:
    """Return the ONNX file of the network, as minires exports it by default: with folded batch norms."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        export_onnx(_network(workload), path, (3, workload.size, workload.size))
        return path.read_bytes()


def _onnxruntime(workload: Workload, threads: int) -> Step:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    session = onnxruntime.InferenceSession(_onnx_file(workload), options, providers=["CPUExecutionProvider"])
    images, _ = _images(workload)
    return lambda: session.run(None, {"input": images})[0]


def _openvino(workload: Workload, threads: int) -> Step:
    """Return a step for a fixed batch size, with images in OpenVINO's own memory. Both make it faster."""
    import openvino

    core, (images, _) = openvino.Core(), _images(workload)
    network = core.read_model(BytesIO(_onnx_file(workload)))
    network.reshape(images.shape)
    options = {
        "INFERENCE_PRECISION_HINT": "f32",
        "PERFORMANCE_HINT": "LATENCY",
        "NUM_STREAMS": 1,
        "INFERENCE_NUM_THREADS": threads,
    }
    request = core.compile_model(network, "CPU", options).create_infer_request()
    request.get_input_tensor().data[:] = images

    def infer() -> Any:
        request.infer()
        return request.get_output_tensor().data

    return infer


def _dezero(workload: Workload, threads: int) -> Step:
    """Return a training step of ResNet-20. DeZero 0.0.13 needs ``np.int``, which NumPy removed, so it is added back."""
    if not hasattr(np, "int"):
        np.int = int  # type: ignore[attr-defined]
    import dezero.functions as f
    from dezero.layers import BatchNorm, Conv2d, Linear
    from dezero.models import Model, Sequential
    from dezero.optimizers import MomentumSGD

    def conv(channels: int, stride: int = 1) -> list[Any]:
        return [Conv2d(channels, 3, stride, 1, nobias=True), BatchNorm()]

    class Block(Model):
        def __init__(self, channels: int, stride: int) -> None:
            super().__init__()
            self.branch = Sequential(*conv(channels, stride), f.relu, *conv(channels))
            self.project = Conv2d(channels, 1, stride, 0, nobias=True) if stride > 1 else None

        def forward(self, x: Any) -> Any:  # DeZero has no padding op: a 1x1 convolution stands in for option A
            return f.relu(self.branch(x) + (x if self.project is None else self.project(x)))

    def pool(x: Any) -> Any:
        return f.reshape(f.average_pooling(x, x.shape[2], 1, 0), x.shape[:2])

    strides = {16: (1, 1, 1), 32: (2, 1, 1), 64: (2, 1, 1)}
    blocks = [Block(channels, stride) for channels in strides for stride in strides[channels]]
    x, labels = _images(workload)
    model = Sequential(*conv(16), f.relu, *blocks, pool, Linear(10))
    optimizer = MomentumSGD(LR, MOMENTUM).setup(model)

    def step() -> None:
        loss = f.softmax_cross_entropy(model(x), labels)
        model.cleargrads()
        loss.backward()
        optimizer.update()

    return step
