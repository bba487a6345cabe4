"""Export of a trained network to an ONNX file, for onnxruntime and other programs.

The model's forward pass is traced (tracing.py), each call becomes ONNX nodes (translation.py), the traces of two batch
sizes are merged into one graph for every batch size (graph.py), and this module writes the graph to a file.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from importlib import import_module
from typing import Any, Protocol

import numpy as np

from ..core.checks import is_integer
from ..core.tensor import Tensor
from ..errors import ArgumentError, DataError, sizes
from ..nn import Module
from ..nn.module import check_module
from ..version import __version__
from .files import PathLike, write_atomically
from .graph import OnnxGraph, fold_batch_norms, merge, type_of
from .tracing import trace
from .translation import OPSET, translate

IR_VERSION = 8  # the version of the file format that came with opset 18
BATCHES = (2, 3)  # the batch sizes of the two traces


class Statistics(Protocol):
    """The mean and standard deviation of each channel of images scaled to [0, 1]."""

    mean: list[float]
    std: list[float]


def export_onnx(
    model: Module,
    path: PathLike,
    input_shape: tuple[int, ...],
    fold: bool = True,
    normalize: Statistics | None = None,
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Write ``model``, in evaluation mode, to an ONNX file that takes batches of any size.

    The model's forward pass is run twice on random numbers, and the ops that it calls are recorded. Python's control
    flow (``if``, ``for``) is not: the file contains the ops that were called then. The model itself is not changed.

    The input is called ``input``, the output ``output`` (or ``/output_0``, ``/output_1``, ... if the model returns a
    tuple), and parameters have the names that they have in the state dict. The same model gives the same bytes.

    Parameters
    ----------
    model : Module
        A model that takes one tensor and computes with ops of minires.
    path : str or path
        The file to write, conventionally ``.onnx``. An existing file is replaced atomically.
    input_shape : tuple of int
        The shape of one example without the batch axis: ``(C, H, W)`` for images. Four sizes are read as PyTorch's
        ``(N, C, H, W)``; N does not matter.
    fold : bool
        Whether to merge each batch norm that follows a convolution into the convolution's weight and bias. False keeps
        all layers.
    normalize : object with ``mean`` and ``std``, optional
        Such as :class:`minires.data.transforms.Normalize`; for a run of ``minires train`` it is
        ``load_run(folder).normalize``. The exported network then takes images of uint8, from 0 to 255, and normalises
        them first. By default, it takes the input of the model: floats of the dtype of its first parameter.
    metadata : mapping of str to str, optional
        Notes to store in the file, under ``metadata_props``.

    Raises
    ------
    ArgumentError
        If the model cannot be run on ``input_shape``, calls an op that cannot be exported, or does something that
        depends on the numbers in its input or on the batch size.
    DataError
        If the package onnx is not installed, or the file cannot be written.

    Examples
    --------
    >>> import minires as mr
    >>> model = mr.models.resnet20()
    >>> mr.interop.export_onnx(model, "resnet20.onnx", (3, 32, 32))  # doctest: +SKIP
    """
    try:
        import_module("onnx")
    except ImportError as error:
        raise DataError("export_onnx: the package onnx is not installed: pip install 'minires[onnx]'.") from error
    check_module("export_onnx", model)
    shape = _example_shape(input_shape)
    if normalize is not None and (len(shape) not in (3, 4) or len(normalize.mean) != shape[-3]):
        raise ArgumentError(
            f"export_onnx: normalize has {len(normalize.mean)} channels, but input_shape is {sizes(shape)}; "
            "it must be (C, H, W) with the same number of channels."
        )
    graph = _graph_of(copy.deepcopy(model).to("cpu").eval(), shape, normalize)
    if fold:
        fold_batch_norms(graph)
    write_atomically(path, _encode(graph, dict(metadata or {})))


def _example_shape(given: Any) -> tuple[int, ...]:
    shape = tuple(given) if isinstance(given, (tuple, list)) else ()
    if not shape or not all(is_integer(size, 1) for size in shape):
        raise ArgumentError(f"export_onnx: input_shape is {given!r}; give the shape of one example, such as (C, H, W).")
    return shape[1:] if len(shape) in (4, 5) else shape  # a batch of images, or of clips


def _graph_of(model: Module, shape: tuple[int, ...], normalize: Statistics | None) -> OnnxGraph:
    """Return the graph for all batch sizes. ``model`` is a copy on the CPU, in evaluation mode."""
    dtype = next((parameter.dtype for parameter in model.parameters()), np.dtype("float32"))
    state = {name: tensor.data for name, tensor in (*model.named_parameters(), *model.named_buffers())}
    rng = np.random.default_rng(0)
    graphs = []
    for batch in BATCHES:
        x = rng.random((batch, *shape))
        x = x.astype(dtype) if normalize is None else (x * 256).astype(np.uint8)
        traced = trace(model if normalize is None else lambda x: model(_normalized(x, normalize)), x)
        graphs.append(translate(*traced, state))
    return merge(*graphs)


def _normalized(x: Tensor, normalize: Statistics) -> Tensor:
    """Normalise ``x`` as ``normalize`` does, but with ops."""
    mean, std = (np.array(values, np.float32).reshape(-1, 1, 1) for values in (normalize.mean, normalize.std))
    return (x.astype("float32") / 255 - mean) / std  # (N, C, H, W), (C, 1, 1)


def _encode(graph: OnnxGraph, metadata: dict[str, str]) -> bytes:
    """Return the content of the file, after a check by ONNX's own checker."""
    from onnx import checker, helper, numpy_helper

    used = dict.fromkeys(name for node in graph.nodes for name in node.input if name in graph.constants)
    arrays = [numpy_helper.from_array(np.array(graph.constants[name], order="C"), name) for name in used]
    ends = [helper.make_tensor_value_info(name, type_of(x.dtype), graph.shapes[name]) for name, x in graph.ends.items()]
    body = helper.make_graph(graph.nodes, "minires", ends[:1], ends[1:], arrays)
    opsets = [helper.make_opsetid("", OPSET)]
    model = helper.make_model(body, opset_imports=opsets, ir_version=IR_VERSION)
    model.producer_name, model.producer_version = "minires", __version__
    helper.set_model_props(model, metadata)
    checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString(deterministic=True))
