"""The workloads that ``minires bench`` measures."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from ..errors import ArgumentError

KINDS = ("train", "infer", "ops")
DIRECTIONS = ("forward", "grad_input", "grad_weight")
LARGE: dict[str, Any] = {"size": 224, "classes": 1000}  # as in ImageNet


@dataclass(frozen=True)
class Workload:
    """A training step or inference of a model, or one direction of a convolution. Images are square.

    A model is a classifier, or a method of ``mr.vision`` on one, such as ``fcos_resnet18``.
    """

    kind: str
    model: str = ""
    batch: int = 1
    size: int = 32
    classes: int = 10
    channels: int = 0
    out_channels: int = 0
    kernel: int = 3
    stride: int = 1
    direction: str = ""
    device: str = "cpu"

    @property
    def name(self) -> str:
        where = "" if self.device == "cpu" else f", {self.device}"
        if self.kind == "ops":
            what = f"conv {self.kernel}x{self.kernel} {self.channels}-{self.out_channels}"
            stride = f" stride {self.stride}" if self.stride > 1 else ""
            return f"{what}{stride}, {self.batch}x{self.size}x{self.size}, {self.direction}{where}"
        return f"{self.kind} {self.model}, {self.batch}x{self.size}x{self.size}{where}"

    @property
    def method(self) -> str:
        """Return what makes a detector or a segmentation network of the model, or "" for a classifier."""
        return self.model.rpartition("_")[0]

    @property
    def operations(self) -> int:
        """The floating-point operations of a convolution computed directly, two per multiply-add; 0 for a model."""
        out = (self.size - 1) // self.stride + 1
        return 2 * self.batch * out**2 * self.channels * self.out_channels * self.kernel**2


def _conv(batch: int, size: int, channels: int, out_channels: int, kernel: int = 3, stride: int = 1) -> list[Workload]:
    return [
        Workload("ops", "", batch, size, 0, channels, out_channels, kernel, stride, direction)
        for direction in DIRECTIONS
    ]


TRAIN = [
    Workload("train", "resnet20", 128),
    Workload("train", "resnet56", 128),
    Workload("train", "resnet110", 128),
    Workload("train", "resnet18", 16, **LARGE),
    Workload("train", "resnet50", 8, **LARGE),
    Workload("train", "fcos_resnet18", 4, 256, 5),
    Workload("train", "deeplabv3plus_resnet18", 8, 128, 6),
]
# On a GPU, batches of large images are larger.
TRAIN_ON_CUDA = [*TRAIN[:3], Workload("train", "resnet18", 128, **LARGE), Workload("train", "resnet50", 64, **LARGE)]
INFER = [
    Workload("infer", "resnet20", 128),
    Workload("infer", "resnet20", 1),
    Workload("infer", "resnet56", 128),
    Workload("infer", "resnet18", 8, **LARGE),
    Workload("infer", "resnet18", 1, **LARGE),
    Workload("infer", "resnet50", 8, **LARGE),
    Workload("infer", "resnet50", 1, **LARGE),
]
# 3x3 convolutions of ResNet-20 and ResNet-18, and two 1x1 convolutions of ResNet-50.
OPS = [
    *_conv(128, 32, 16, 16), *_conv(128, 32, 16, 32, stride=2), *_conv(128, 16, 32, 32),
    *_conv(128, 16, 32, 64, stride=2), *_conv(128, 8, 64, 64),
    *_conv(16, 56, 64, 64), *_conv(16, 56, 64, 128, stride=2), *_conv(16, 28, 128, 128),
    *_conv(16, 28, 128, 256, stride=2), *_conv(16, 14, 256, 256), *_conv(16, 14, 256, 512, stride=2),
    *_conv(16, 7, 512, 512),
    *_conv(8, 56, 64, 256, kernel=1), *_conv(8, 14, 1024, 256, kernel=1),
]  # fmt: skip


def workloads(kind: str | None, only: str = "", device: str = "cpu") -> list[Workload]:
    """Return the races of a kind (None: all) whose name contains ``only``. Raises ArgumentError if there are none."""
    train = TRAIN if device == "cpu" else TRAIN_ON_CUDA
    found = {"train": train, "infer": INFER, "ops": OPS, None: train + INFER + OPS}[kind]
    found = [replace(workload, device=device) for workload in found]
    chosen = [workload for workload in found if only in workload.name]
    if not chosen:
        names = "; ".join(workload.name for workload in found)
        raise ArgumentError(f"bench: no workload has {only!r} in its name; choose from: {names}.")
    return chosen


def step(only: str = "", device: str = "cpu") -> list[Workload]:
    """Return the training steps for memory, start, scaling and profile: ResNet-20's, or those that match ``only``."""
    chosen = workloads("train", only, device)
    return chosen if only else chosen[:1]
