"""Loading published weights: state dicts of PyTorch models whose names may differ from those of the models here.

The models here use torchvision's names. Other well-known code differs in a few words: ``linear`` for ``fc`` and
``shortcut`` for ``downsample`` (kuangliu/pytorch-cifar, akamaster/pytorch_resnet_cifar10). Wrappers used in training
add a prefix (``module.`` DataParallel, ``model.`` Lightning, ``_orig_mod.`` torch.compile, ``backbone.`` detectors).
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import BinaryIO

import numpy as np

from ..core.backend import Array
from ..core.tensor import Tensor
from ..errors import StateDictError, listed, sizes
from ..nn import Module
from ..nn.module import check_module, not_needed, renaming_hint, saved_tensors
from .files import PathLike, brief, foreign, opened
from .npz_file import read_directory
from .safetensors_file import StoredArray, read_header

WRAPPERS = ("module.", "model.", "_orig_mod.", "net.", "network.", "backbone.")
HEAD = "fc."  # prefix of the classifier's parameters
WORDS = {"linear": "fc", "classifier": "fc", "head": "fc", "shortcut": "downsample"}


def load_weights(model: Module, path: PathLike, head: bool = True) -> None:
    """Copy the weights of a PyTorch model into ``model``; if any of them does not fit, nothing is changed.

    Names that the model has are used unchanged. From other names, the prefixes of wrappers (``module.``, ``model.``,
    ``_orig_mod.``, ``net.``, ``network.``, ``backbone.``) are removed, and ``linear``, ``classifier`` and ``head`` are
    read as ``fc``, ``shortcut`` as ``downsample``. ``num_batches_tracked`` is ignored if the model has no such buffer.
    Names, shapes and types are compared before any array is read, so a file cannot take much more memory than the model
    does.

    Parameters
    ----------
    model : Module
    path : str or path
        A safetensors or npz file, recognised by its content, not its name. Float16, bfloat16 and float64 are converted.
    head : bool
        Whether to load the classifier ``fc``, too. If False, the model keeps its own, which may have other classes.

    Raises
    ------
    StateDictError
        If entries are missing, left over, or of another shape or kind of number. The message names them.
    DataError
        If the file is missing, damaged or of another format. A pickle (``.pt``, ``.pth``) is never read.
    ArgumentError
        If ``model`` is not a Module.

    Examples
    --------
    >>> import os, tempfile
    >>> import minires as mr
    >>> published = {"module." + name.replace("fc", "linear"): array
    ...              for name, array in mr.models.resnet8().state_dict().items()}
    >>> path = os.path.join(tempfile.mkdtemp(), "resnet8.safetensors")
    >>> mr.save(path, published)
    >>> mr.interop.load_weights(mr.models.resnet8(), path)
    >>> mr.interop.load_weights(mr.models.resnet8(num_classes=5), path, head=False)
    >>> mr.interop.load_weights(mr.models.resnet8(num_classes=100), path)
    Traceback (most recent call last):
        ...
    minires.errors.StateDictError: load_weights: ...resnet8.safetensors does not fit CifarResNet: missing none; left
    over none; of another shape or type module.linear.bias (10 for 100), module.linear.weight (10x64 for 100x64). The
    file holds a network with 10 classes: num_classes=10.
    """
    check_module("load_weights", model)
    own = saved_tensors(model)
    with opened("load_weights", path, "weights") as file:
        stored = _stored_arrays(file)
        if not head:
            own = {name: tensor for name, tensor in own.items() if not name.startswith(HEAD)}
            stored = {key: array for key, array in stored.items() if not torchvision_name(key).startswith(HEAD)}
        fitting = match(own, stored, os.fspath(path), type(model).__name__)
        state = {name: _read(stored[key], key, own[name]) for name, key in fitting.items()}
    model.load_state_dict(state, strict=head)


def torchvision_name(key: str) -> str:
    """Return the name that torchvision gives to an entry.

    >>> torchvision_name("module.layer2.0.shortcut.1.bias"), torchvision_name("linear.weight")
    ('layer2.0.downsample.1.bias', 'fc.weight')
    """
    while key.startswith(WRAPPERS):
        key = key.split(".", 1)[1]
    return ".".join(WORDS.get(word, word) for word in key.split("."))


def match(own: Mapping[str, Tensor], stored: Mapping[str, StoredArray], path: str, model: str) -> dict[str, str]:
    """Return a dict that maps the name of each tensor of a model to the name of its entry in the file.

    Raises
    ------
    StateDictError
        Unless each tensor has exactly one entry that fits, and no entry is left over.
    """
    found: dict[str, str] = {}
    left_over, misfits = [], []
    for key, entry in stored.items():
        name = key if key in own else torchvision_name(key)
        if name not in own:
            left_over += [] if not_needed(key) else [key]
        elif name in found:
            raise StateDictError(f"load_weights: {path} has {brief(found[name])} and {brief(key)}, both for {name}.")
        else:
            found[name] = key
            if entry.shape != own[name].shape:
                misfits.append(f"{brief(key)} ({sizes(entry.shape)} for {sizes(own[name].shape)})")
            elif entry.dtype.kind != own[name].dtype.kind:
                misfits.append(f"{brief(key)} ({entry.dtype} for {own[name].dtype})")
    missing = [name for name in own if name not in found]
    if missing or left_over or misfits:
        raise StateDictError(
            f"load_weights: {path} does not fit {model}: missing {listed(missing)}; left over "
            f"{listed([brief(key) for key in left_over])}; of another shape or type {listed(misfits)}."
            + _hint(own, {name: stored[key].shape for name, key in found.items()}, missing, left_over)
        )
    return found


def _hint(own: Mapping[str, Tensor], shapes: Mapping[str, tuple[int, ...]], missing: list[str], left: list[str]) -> str:
    """Return sentences that name probable causes, such as another option of the model, or "" if none is known."""
    hints = []
    for name, axis, what, option in (
        ("fc.bias", 0, "classes", "num_classes"),
        ("conv1.weight", 1, "input channels", "in_channels"),
    ):
        if name in shapes and len(shapes[name]) == own[name].ndim and shapes[name][axis] != own[name].shape[axis]:
            hints.append(f" The file holds a network with {shapes[name][axis]} {what}: {option}={shapes[name][axis]}.")
    for names, there in ((missing, "without"), (left, "with")):
        if names and all(".downsample." in torchvision_name(name) for name in names):
            hints.append(f" The file holds a network {there} projections: another shortcut option ('A', 'B' or 'C').")
    blocks = re.compile(r"layer\d\.\d+\.(?!downsample)")
    if any(map(blocks.match, (*missing, *map(torchvision_name, left)))):
        hints.append(" Is it a network of another depth?")
    return renaming_hint(missing, left) or "".join(hints)


def _stored_arrays(file: BinaryIO) -> dict[str, StoredArray]:
    start = file.read(1000)
    file.seek(0)
    if not start.startswith(b"PK\3\4"):
        return read_header(file)[0]
    if reason := foreign(start):
        raise ValueError(reason)
    return read_directory(file)


def _read(stored: StoredArray, key: str, target: Tensor) -> Array:
    try:
        with np.errstate(over="raise", invalid="ignore"):
            return stored.read().astype(target.dtype)
    except FloatingPointError as error:
        raise ValueError(f"entry '{brief(key)}' holds numbers too large for {target.dtype}") from error
