"""PyTorch's side of the parity tests: its models, and one training step of both frameworks on the same numbers."""

from __future__ import annotations

import copy
import importlib
import re
from typing import Any

import numpy as np
import pytest

import minires as mr

torch = pytest.importorskip("torch", reason="PyTorch is not installed")
functional = torch.nn.functional

RUNS = [("float64", "textbook", 1e-9), ("float32", "textbook", 1e-4), ("float32", "fast", 1e-4)]


def reference(module: str) -> Any:
    """``torchvision``, or ``timm``, which needs it; the test is skipped where it is not installed.

    The wheels of torchvision on PyPI are for PyTorch with CUDA. Beside a PyTorch without it, their own operators
    (non-maximum suppression and the like) are missing, which no ResNet needs: each is declared, and never called.
    """
    while True:
        try:
            importlib.import_module("torchvision")
            return importlib.import_module(module)
        except ImportError as error:
            pytest.skip(f"{module} cannot be imported: {error}")
        except RuntimeError as error:
            missing = re.search(r"operator (torchvision::\w+) does not exist", str(error))
            if missing is None:
                raise
            torch.library.define(missing[1], "(Tensor x) -> Tensor")


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
        self.pre, self.first, self.relu = pre, first, torch.nn.ReLU()
        self.downsample: Any = None
        if option == "C" or (option == "B" and stride > 1):
            projection = torch.nn.Conv2d(i, o, 1, stride, bias=False)
            self.downsample = torch.nn.Sequential(projection, *([] if pre else [torch.nn.BatchNorm2d(o)]))
        elif stride > 1:
            self.downsample = SubsampleAndPad()

    def forward(self, x: Any) -> Any:
        if not self.pre:
            y = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
            return self.relu(y + (x if self.downsample is None else self.downsample(x)))
        activated = self.relu(self.bn1(x))
        y = self.conv2(self.relu(self.bn2(self.conv1(activated))))
        x = activated if self.first or isinstance(self.downsample, torch.nn.Sequential) else x
        return y + (x if self.downsample is None else self.downsample(x))


class CifarResNet(torch.nn.Module):
    """6n + 2 layers, as PyTorch users write them."""

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
        self.pre, self.relu = preactivation, torch.nn.ReLU()

    def forward(self, x: Any) -> Any:
        x = self.conv1(x)
        x = x if self.pre else self.relu(self.bn1(x))
        x = self.layer3(self.layer2(self.layer1(x)))
        x = self.relu(self.bn1(x)) if self.pre else x
        return self.fc(x.mean(dim=(2, 3)))


def conv(i: int, o: int, stride: int) -> Any:
    return torch.nn.Conv2d(i, o, 3, stride, padding=1, bias=False)


def randomize(model: Any) -> Any:
    """Numbers as a trained net has them: BN away from 1 and 0, and branches that add less than the shortcut carries.

    With branches as strong as the shortcut, a random ResNet-50 magnifies the rounding of its first layers (measured:
    gradients of both frameworks differ by up to 4e-4 in float32, and by 3e-13 in float64).
    """
    torch.manual_seed(0)
    for module in model.modules():
        if isinstance(module, torch.nn.Conv2d):
            torch.nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            torch.nn.init.uniform_(module.bias, -0.3, 0.3)
            torch.nn.init.uniform_(module.running_mean, -0.3, 0.3)
            torch.nn.init.uniform_(module.running_var, 0.5, 1.5)
    with torch.no_grad():
        for module in model.modules():
            if hasattr(module, "downsample"):  # a block: its last layer is the last one of that kind before it
                *_, last = (m for name, m in module.named_children() if re.fullmatch(r"(conv|bn|norm)\d", name))
                last.weight *= 0.2
    return model


def keep_off_kinks(model: Any, x: Any) -> None:
    """Move the biases of the batch norms so that ``x`` brings no number near the kink of a ReLU.

    The derivative jumps at the kink. Of a million numbers some come so near to it that two correct programs round them
    to different sides in float32, and then a gradient differs by percents, whoever is right. So, from the first ReLU
    to the last, each channel's kink is put into a gap between the numbers that arrive.
    """
    moved = copy.deepcopy(model).double().train()
    norms: list[Any] = []

    def move(_: Any, inputs: Any) -> Any:
        (y,) = inputs
        values = y.transpose(0, 1).flatten(1).sort(dim=1).values  # (C, N*H*W)
        gaps, middles = values.diff(dim=1), (values[:, 1:] + values[:, :-1]) / 2
        best = (gaps.clamp(max=0.02) - 0.01 * middles.abs()).argmax(dim=1, keepdim=True)  # wide, and not far
        step = -middles.gather(1, best)[:, 0]  # (C,)
        norms[-1].bias += step
        return y + step[:, None, None]

    for module in moved.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.register_forward_pre_hook(lambda norm, _: norms.append(norm))
        if isinstance(module, torch.nn.ReLU):
            module.register_forward_pre_hook(move)
    with torch.no_grad():
        moved(torch.tensor(x))
        for parameter, new in zip(model.parameters(), moved.parameters(), strict=True):
            parameter.copy_(new)


def arrays(tensors: Any) -> dict[str, Any]:
    """PyTorch's named tensors as arrays, without the batch counters, which minires does not have."""
    found = {n: t.detach().numpy().copy() for n, t in tensors if not n.endswith("num_batches_tracked")}
    return {n: a.reshape(a.shape[:2]) if n == "head.fc.weight" else a for n, a in found.items()}  # a 1x1 convolution


def tensors(state: dict[str, Any], model: Any) -> dict[str, Any]:
    """Our state dict as PyTorch's ``load_state_dict`` takes it: as tensors, with batch counters."""
    counters = {n: t for n, t in model.state_dict().items() if n.endswith("num_batches_tracked")}
    return {name: torch.tensor(array) for name, array in state.items()} | counters


def relative(got: Any, expected: Any) -> float:
    """The largest difference, divided by the largest number."""
    return float(np.abs(got - expected).max() / np.abs(expected).max())


def compare_step(ours: Any, theirs: Any, x: Any, labels: Any, rename: Any = str) -> dict[str, float]:
    """One training step of both from the weights of ``theirs``; the relative difference of everything it yields.

    ``rename`` turns PyTorch's name of a parameter or buffer into ours.
    """
    dtype = str(x.dtype)
    theirs = copy.deepcopy(theirs).to(getattr(torch, dtype)).train()
    ours.to(dtype).train()
    state = {rename(name): value for name, value in arrays(theirs.state_dict().items()).items()}
    ours.load_state_dict(state)
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
