"""PyTorch's side of the parity tests: its models, and one training step of both frameworks on the same numbers."""

from __future__ import annotations

import importlib
import re
from typing import Any

import numpy as np
import pytest

import minires as mr

torch = pytest.importorskip("torch")
functional = torch.nn.functional


def reference(module: str) -> Any:
    """``torchvision`` or ``timm``, which needs it; the test is skipped where they are not installed.

    The wheels of torchvision on PyPI are for PyTorch with CUDA. Beside a PyTorch without it, their own operators
    (non-maximum suppression and the like) are missing, which no ResNet needs; declared, they stay away quietly.
    """
    pytest.importorskip("torchvision", reason="torchvision is not installed") if _declared() else None
    return pytest.importorskip(module)


def _declared() -> bool:
    while True:
        try:
            importlib.import_module("torchvision")
        except ImportError:
            return False
        except RuntimeError as error:
            missing = re.search(r"operator (torchvision::\w+) does not exist", str(error))
            if missing is None:
                raise
            torch.library.define(missing[1], "(Tensor x) -> Tensor")
        else:
            return True


class SubsampleAndPad(torch.nn.Module):
    """Option A."""

    def forward(self, x: Any) -> Any:
        c = x.shape[1] // 2
        return functional.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, c, c))


class Block(torch.nn.Module):
    """The block of the CIFAR networks, original or pre-activation, option A, B or C."""

    def __init__(self, i: int, o: int, stride: int, option: str, pre: bool, first: bool) -> None:
        super().__init__()
        self.conv1, self.bn1 = conv(i, o, stride), torch.nn.BatchNorm2d(i if pre else o)
        self.conv2, self.bn2 = conv(o, o, 1), torch.nn.BatchNorm2d(o)
        self.pre, self.first = pre, first
        self.downsample: Any = None
        if option == "C" or (option == "B" and stride > 1):
            projection = torch.nn.Conv2d(i, o, 1, stride, bias=False)
            self.downsample = torch.nn.Sequential(projection, *([] if pre else [torch.nn.BatchNorm2d(o)]))
        elif stride > 1:
            self.downsample = SubsampleAndPad()

    def forward(self, x: Any) -> Any:
        if not self.pre:
            y = self.bn2(self.conv2(self.bn1(self.conv1(x)).relu()))
            return (y + (x if self.downsample is None else self.downsample(x))).relu()
        activated = self.bn1(x).relu()
        y = self.conv2(self.bn2(self.conv1(activated)).relu())
        x = activated if self.first or isinstance(self.downsample, torch.nn.Sequential) else x
        return y + (x if self.downsample is None else self.downsample(x))


class CifarResNet(torch.nn.Module):
    """6n + 2 layers, as PyTorch's users write them."""

    def __init__(self, depth: int, shortcut: str = "A", preactivation: bool = False) -> None:
        super().__init__()
        self.conv1, self.bn1 = conv(3, 16, 1), torch.nn.BatchNorm2d(64 if preactivation else 16)
        channels = 16
        for stage, width in enumerate((16, 32, 64)):
            blocks = []
            for i in range((depth - 2) // 6):
                first = stage == i == 0
                stride = 2 if stage > 0 and i == 0 else 1
                blocks.append(Block(channels, width, stride, shortcut, preactivation, first))
                channels = width
            setattr(self, f"layer{stage + 1}", torch.nn.Sequential(*blocks))
        self.fc = torch.nn.Linear(64, 10)
        self.pre = preactivation

    def forward(self, x: Any) -> Any:
        x = self.conv1(x)
        x = x if self.pre else self.bn1(x).relu()
        x = self.layer3(self.layer2(self.layer1(x)))
        x = self.bn1(x).relu() if self.pre else x
        return self.fc(x.mean(dim=(2, 3)))


def conv(i: int, o: int, stride: int) -> Any:
    return torch.nn.Conv2d(i, o, 3, stride, padding=1, bias=False)


def randomize(model: Any, seed: int = 0) -> Any:
    """Numbers as a net has them that was trained for a while: He's normal convolutions, BN away from 1 and 0."""
    torch.manual_seed(seed)
    for module in model.modules():
        if isinstance(module, torch.nn.Conv2d):
            torch.nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            torch.nn.init.uniform_(module.bias, -0.3, 0.3)
            torch.nn.init.uniform_(module.running_mean, -0.3, 0.3)
            torch.nn.init.uniform_(module.running_var, 0.5, 1.5)
    return model


def arrays(tensors: Any) -> dict[str, Any]:
    """PyTorch's named tensors as arrays, without the counter that minires does not keep."""
    return {n: t.detach().numpy().copy() for n, t in tensors if not n.endswith("num_batches_tracked")}


def relative(got: Any, expected: Any) -> float:
    """The largest difference, over the largest number."""
    return float(np.abs(got - expected).max() / np.abs(expected).max())


def compare_step(ours: Any, theirs: Any, x: Any, labels: Any, rename: Any = str) -> dict[str, float]:
    """One training step of both from the weights of ``theirs``; the relative difference of everything it yields."""
    dtype = str(x.dtype)
    theirs.to(getattr(torch, dtype)).train()
    ours.to(dtype).train()
    ours.load_state_dict({rename(name): value for name, value in arrays(theirs.state_dict().items()).items()})
    expected = theirs(torch.tensor(x))
    functional.cross_entropy(expected, torch.tensor(labels)).backward()
    logits = ours(mr.tensor(x))
    mr.ops.cross_entropy(logits, labels).backward()
    found = {"logits": relative(logits.numpy(), expected.detach().numpy())}
    gradients = {name: parameter.grad.numpy() for name, parameter in ours.named_parameters()}
    wanted = {rename(name): value for name, value in arrays((n, p.grad) for n, p in theirs.named_parameters()).items()}
    assert gradients.keys() == wanted.keys()
    found |= {f"gradient of {name}": relative(gradients[name], wanted[name]) for name in wanted}
    buffers = {name: buffer.numpy() for name, buffer in ours.named_buffers()}
    statistics = {rename(name): value for name, value in arrays(theirs.named_buffers()).items()}
    assert buffers.keys() == statistics.keys()
    return found | {name: relative(buffers[name], statistics[name]) for name in statistics}
