"""A bank of wrong gradients as students write them: the forward is right, and the checker must reject the backward.

Each class is an op whose name says what is wrong. The decorator says on which inputs it is checked, and which words
the diagnosis must contain; None where no guess is expected.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

import minires as mr
from minires.core.tensor import Tensor
from minires.gradcheck.cases import Draw, distinct, nonzero, normal, positive
from minires.ops.activation import ReLU, ResidualAdd, Tanh
from minires.ops.arithmetic import Add, Div, Exp, Log, Mul, Pow, Sub
from minires.ops.conv import Col2Im, Conv2d, Conv2dGradWeight, ConvTranspose2d, Im2Col, Window
from minires.ops.linalg import Linear, MatMul
from minires.ops.loss import BinaryCrossEntropyWithLogits, CrossEntropy
from minires.ops.norm import BatchNorm
from minires.ops.pool import AvgPool2d, GlobalAvgPool2d, MaxPool2d
from minires.ops.reduce import BroadcastTo, Max, Sum
from minires.ops.shape import Concatenate, GetItem, Pad, Transpose


@dataclass(frozen=True)
class Wrong:
    """A wrong gradient, inputs that reveal it, and the lowest order at which it is wrong."""

    name: str
    function: Callable[..., Tensor]
    draws: tuple[Draw, ...]
    says: str | None
    order: int

    def inputs(self) -> list[Tensor]:
        rng = np.random.default_rng(0)
        return [mr.tensor(draw(rng), requires_grad=True, dtype="float64") for draw in self.draws]


BANK: list[Wrong] = []


def wrong(*draws: Draw, says: str | None = None, order: int = 1, options: tuple[Any, ...] = ()):
    """Add an op, called with ``options``, to the bank."""

    def register(op: type[mr.Op]) -> type[mr.Op]:
        BANK.append(Wrong(op.__name__, lambda *inputs: op(*options)(*inputs), draws, says, order))
        return op

    return register


def raw(array: Any) -> Tensor:
    return Tensor.wrap(array)


# --- arithmetic and broadcasting


@wrong(normal(3, 4), normal(4), says="too small by the factor 3, the size of axis 0 of the output")
class AddAveragesWhatWasBroadcast(Add):
    def backward(self, upstream):
        return upstream, upstream.mean(axis=0)


@wrong(normal(3, 4), normal(4), says="index 0 along axis 0 of the output alone")
class AddTakesTheFirstSlice(Add):
    def backward(self, upstream):
        return upstream, upstream[0]


@wrong(normal(3, 4), normal(4), says="a sum over broadcast axes may be missing")
class AddKeepsTheBroadcastShape(Add):
    def backward(self, upstream):
        return upstream, upstream


@wrong(normal(3, 4), normal(3, 1), says="index 0 along axis 1 of the output alone")
class AddSumsLeadingAxesOnly(Add):
    def backward(self, upstream):
        return upstream, upstream[:, :1]


@wrong(normal(3, 4), normal(3, 4), says="sign is flipped")
class SubForgetsTheMinus(Sub):
    def backward(self, upstream):
        return upstream, upstream


@wrong(normal(3, 4), normal(3, 4), says="ignores its upstream")
class MulIgnoresItsUpstream(Mul):
    def backward(self, upstream):
        a, b = self.inputs
        return b, a


@wrong(normal(3, 4), normal(3, 4), says="gradient to input 1: the two are swapped")
class MulSwapsItsInputs(Mul):
    def backward(self, upstream):
        a, b = self.inputs
        return upstream * a, upstream * b


@wrong(normal(3, 4), normal(3, 4), says="It is zero everywhere")
class MulForgetsOneInput(Mul):
    def backward(self, upstream):
        _, b = self.inputs
        return upstream * b, None


@wrong(normal(3, 4), normal(3, 4), says="off by the constant factor 1.001")
class MulIsOffByOnePerMille(Mul):
    def backward(self, upstream):
        a, b = self.inputs
        return upstream * b * 1.001, upstream * a


@wrong(normal(3, 4), says="wrong at 1 of 12 elements; at [2, 1] backward")
class OneElementIsOffByOnePerMille(Exp):
    def backward(self, upstream):
        flaw = np.ones(upstream.shape)
        flaw[2, 1] = 1.001
        return upstream * self.output * raw(flaw)


@wrong(normal(3, 4), nonzero(3, 4), says="factor too many: input 1")
class DivForgetsTheSquare(Div):
    def backward(self, upstream):
        a, b = self.inputs
        return upstream / b, -upstream * a / b


@wrong(normal(3, 4), says="half of what it should be")
class SquareCountsOneUse(Pow):
    def __init__(self):
        super().__init__(2)

    def backward(self, upstream):
        return upstream * self.inputs[0]


@wrong(positive(3, 4), says="factor too many: input 0", options=(3,))
class PowKeepsTheExponent(Pow):
    def backward(self, upstream):
        (x,) = self.inputs
        return upstream * 3 * x**3


@wrong(normal(3, 4), says="It lacks a factor: input 0", options=(3,))
class PowDropsAPower(Pow):
    def backward(self, upstream):
        return upstream * 3 * self.inputs[0]


@wrong(normal(3, 4), says="ignores its upstream")
class ExpIgnoresItsUpstream(Exp):
    def backward(self, upstream):
        return self.output


@wrong(normal(3, 4), says="the upstream, unchanged")
class ExpForgetsItself(Exp):
    def backward(self, upstream):
        return upstream


@wrong(positive(3, 4), says="the upstream, unchanged")
class LogForgetsItself(Log):
    def backward(self, upstream):
        return upstream


@wrong(normal(3, 4))
class TanhForgetsTheSquare(Tanh):
    def backward(self, upstream):
        return upstream * (1 - self.output)


@wrong(nonzero(3, 4), says="the upstream, unchanged")
class ReLUForgetsItsMask(ReLU):
    def backward(self, upstream):
        return upstream


@wrong(nonzero(3, 4), says="It has a factor too many: input 0")
class ReLUUsesItsOutputForTheMask(ReLU):
    def backward(self, upstream):
        return upstream * self.output


# --- matrix products


@wrong(normal(4, 3), normal(3, 3), says="right if input 1 were transposed")
class MatMulForgetsToTransposeB(MatMul):
    def backward(self, upstream):
        a, b = self.inputs
        return upstream @ b, a.T @ upstream


@wrong(normal(3, 3), normal(3, 3), says="in the order of axes (1, 0)")
class MatMulTransposesTheResult(MatMul):
    def backward(self, upstream):
        a, b = self.inputs
        return upstream @ b.T, upstream.T @ a


@wrong(normal(3, 4), normal(4, 2), says="backward raises ShapeError: matmul")
class MatMulFitsSquaresOnly(MatMul):
    def backward(self, upstream):
        a, b = self.inputs
        return upstream @ b, a @ upstream


@wrong(normal(5, 3, 4), normal(4, 2), says="index 0 along axis 0 of the output alone")
class MatMulSharesTheFirstOfAStackOnly(MatMul):
    def backward(self, upstream):
        a, b = self.inputs
        return upstream @ b.T, a[0].T @ upstream[0]


@wrong(normal(4, 5), normal(3, 5), normal(3), says="too small by the factor 4, the size of axis 0 of the output")
class LinearAveragesItsWeight(Linear):
    def backward(self, upstream):
        x, weight, _ = self.inputs
        return upstream @ weight, upstream.T @ x / len(x), upstream.sum(axis=0)


@wrong(normal(4, 5), normal(3, 5), normal(3), says="index 0 along axis 0 of the output alone")
class LinearBiasSeesOneExample(Linear):
    def backward(self, upstream):
        x, weight, _ = self.inputs
        return upstream @ weight, upstream.T @ x, upstream[0]


@wrong(normal(4, 5), normal(3, 5), normal(3), says="in the order of axes (1, 0)")
class LinearReshapesItsWeight(Linear):
    def backward(self, upstream):
        x, weight, _ = self.inputs
        return upstream @ weight, (x.T @ upstream).reshape(weight.shape), upstream.sum(axis=0)


# --- reductions and shapes


class _Mean(Sum):
    """The mean over axis 1."""

    def __init__(self):
        super().__init__((1,), True)

    def forward(self, x):
        return super().forward(x) / x.shape[1]


@wrong(normal(3, 4), says="too large by the factor 4, the size of axis 1 of input 0: the division")
class MeanForgetsToDivide(_Mean):
    def backward(self, upstream):
        return upstream.broadcast_to(self.input_shapes[0])


@wrong(normal(3, 4), says="off by the constant factor 1.33333")
class MeanDividesByTheWrongAxis(_Mean):
    def backward(self, upstream):
        return upstream.broadcast_to(self.input_shapes[0]) / 3


@wrong(normal(3, 3), says="in the order of axes (1, 0)", options=((0,), False))
class SumSpreadsAlongTheWrongAxis(Sum):
    def backward(self, upstream):
        return upstream.expand_dims(1).broadcast_to(self.input_shapes[0])


@wrong(normal(3, 1), says="index 0 along axis 1 of the output alone", options=((3, 4),))
class BroadcastToKeepsTheFirst(BroadcastTo):
    def backward(self, upstream):
        return upstream[:, :1]


@wrong(distinct(3, 4), says="f does not depend on any of them", options=((1,), True))
class MaxSpreadsToAll(Max):
    def backward(self, upstream):
        return upstream.broadcast_to(self.inputs[0].shape)


@wrong(normal(4, 4), says="in the order of axes (1, 0)", options=((1, 0),))
class TransposeDoesNothingToASquare(Transpose):
    def backward(self, upstream):
        return upstream.reshape(self.input_shapes[0])


@wrong(normal(2, 3, 4), says="in the order of axes (1, 2, 0)", options=((1, 2, 0),))
class TransposeReshapesInstead(Transpose):
    def backward(self, upstream):
        return upstream.reshape(self.input_shapes[0])


@wrong(normal(3, 3, 3), says="in the order of axes", options=((1, 2, 0),))
class TransposeRepeatsItsOrder(Transpose):
    def backward(self, upstream):
        return upstream.transpose(self.axes)


@wrong(normal(3, 4), says="flipped along axis 1", options=((slice(None), slice(None, None, -1)),))
class FlipIsNotFlippedBack(GetItem):
    def backward(self, upstream):
        return upstream * 1


@wrong(normal(4, 3), says="all at index 1 of axis 0", options=(np.array([1, 3, 1]),))
class GetItemOverwritesRepeatedIndices(GetItem):
    def backward(self, upstream):
        dx = np.zeros(self.input_shapes[0])
        dx[self.index] = upstream.data
        return raw(dx)


@wrong(normal(3, 4), normal(3, 4), says="gradient to input 1: the two are swapped", options=(0,))
class ConcatenateSwapsItsParts(Concatenate):
    def backward(self, upstream):
        return upstream[3:], upstream[:3]


@wrong(normal(3, 4), says="shifted by +1 along axis 1", options=(((0, 0), (1, 1)), 0.0))
class PadCutsTheWrongEnd(Pad):
    def backward(self, upstream):
        return upstream[:, :-2]


# --- convolution: x (N, C, H, W) = (2, 3, 9, 5), weight (O, C, KH, KW) = (4, 3, 3, 2)

X, W, B = normal(2, 3, 9, 5), normal(4, 3, 3, 2), normal(4)
CONV = (Window((3, 2), (2, 1), (1, 1)), 1)


class _Conv(Conv2d):
    """The three right gradients, for subclasses to spoil."""

    def dx(self, upstream):
        x, weight, *_ = self.inputs
        return ConvTranspose2d(self.window, self.groups, x.shape[2:])(upstream, weight)

    def dweight(self, upstream):
        return Conv2dGradWeight(self.window, self.groups)(self.inputs[0], upstream)

    def dbias(self, upstream):
        return upstream.sum(axis=(0, 2, 3))

    def backward(self, upstream):
        return (self.dx(upstream), self.dweight(upstream), self.dbias(upstream))[: len(self.inputs)]


@wrong(X, W, says="right if input 1 were flipped along axes 2, 3", options=CONV)
class ConvFlipsTheKernelInDx(_Conv):
    def dx(self, upstream):
        x, weight = self.inputs
        return ConvTranspose2d(self.window, 1, x.shape[2:])(upstream, mr.ops.flip(weight, (2, 3)))


@wrong(X, W, says="flipped along axes 2, 3", options=CONV)
class ConvFlipsTheKernelInDweight(_Conv):
    def dweight(self, upstream):
        return mr.ops.flip(super().dweight(upstream), (2, 3))


@wrong(X, W, says="index 0 along axis 0 of the output alone", options=CONV)
class ConvWeightSeesTheFirstExample(_Conv):
    def dweight(self, upstream):
        return Conv2dGradWeight(self.window, 1)(self.inputs[0][:1], upstream[:1])


@wrong(normal(5, 3, 4, 4), W, says="too small by the factor 5, the size of axis 0 of the output", options=CONV)
class ConvWeightIsAveragedOverTheBatch(_Conv):
    def dweight(self, upstream):
        return super().dweight(upstream) / len(upstream)


@wrong(X, W, says="in the order of axes (0, 2, 3, 1)", options=CONV)
class ConvWeightHasColumnsInTheWrongOrder(_Conv):
    def dweight(self, upstream):
        return super().dweight(upstream).transpose(0, 2, 3, 1).reshape(4, 3, 3, 2)


@wrong(
    normal(2, 3, 6, 5),
    normal(4, 3, 3, 3),
    says="in the order of axes (0, 1, 3, 2)",
    options=(Window((3, 3), (1, 1), (0, 0)), 1),
)
class ConvSwapsKernelHeightAndWidth(_Conv):
    def dweight(self, upstream):
        return super().dweight(upstream).transpose(0, 1, 3, 2)


@wrong(X, W, options=CONV)
class ConvIgnoresItsStrideInDx(_Conv):
    def dx(self, upstream):
        x, weight = self.inputs
        return ConvTranspose2d(Window((3, 2), (1, 1), (1, 1)), 1, x.shape[2:])(upstream, weight)


@wrong(X, W, says="shifted by +1 along axis 2", options=CONV)
class ConvCutsThePaddingAtTheWrongEnd(_Conv):
    def dx(self, upstream):
        h, w = self.inputs[0].shape[2:]
        no_padding = Window((3, 2), (2, 1), (0, 1))
        return ConvTranspose2d(no_padding, 1, (h + 2, w))(upstream, self.inputs[1])[:, :, :h]


@wrong(
    X, normal(4, 3, 3, 3), says="all on the border of the last two axes", options=(Window((3, 3), (1, 1), (1, 1)), 1)
)
class ConvDropsTheBorder(_Conv):
    def dx(self, upstream):
        inside = np.zeros(self.inputs[0].shape)
        inside[:, :, 1:-1, 1:-1] = 1
        return super().dx(upstream) * raw(inside)


@wrong(X, W, B, says="too small by the factor 30, the size of axes 2, 3 of the output", options=CONV)
class ConvBiasIsAveragedOverTheImage(_Conv):
    def dbias(self, upstream):
        return upstream.mean(axis=(2, 3)).sum(axis=0)


@wrong(normal(2, 4, 4, 3), normal(6, 2, 3, 2), says="in the wrong places", options=(Window((3, 2), (1, 1), (0, 0)), 2))
class ConvMixesUpItsGroups(_Conv):
    def dx(self, upstream):
        dx = super().dx(upstream)
        return mr.ops.concatenate([dx[:, 2:], dx[:, :2]], axis=1)


@wrong(
    normal(2, 3, 4, 5),
    says="It holds one of several contributions alone: `=` where `+=` is due",
    options=(Window((3, 2), (1, 1), (0, 0)),),
)
class Im2ColOverwritesWhereWindowsOverlap(Im2Col):
    def backward(self, upstream):
        n, c, h, w = self.input_shapes[0]
        (kh, kw), (oh, ow) = self.window.kernel, upstream.shape[1:3]
        dx = np.zeros((n, h, w, c))
        windows = upstream.data.reshape(n, oh, ow, c, kh, kw)
        for i, j, rows, columns in self.window.slices(oh, ow):
            dx[:, rows, columns] = windows[..., i, j]
        return raw(dx.transpose(0, 3, 1, 2))


@wrong(normal(2, 3, 2, 12), says="in the wrong places", options=((2, 2, 6, 6), Window((2, 3), (2, 3), (0, 0))))
class Col2ImHasColumnsInTheWrongOrder(Col2Im):
    def backward(self, upstream):
        cols = super().backward(upstream)  # (N, OH, OW, C*KH*KW)
        return cols.reshape(-1, 2, 2, 3).transpose(0, 2, 3, 1).reshape(cols.shape)


# --- batch norm: x (N, C, H, W) = (2, 3, 5, 4)

BN = (normal(2, 3, 5, 4), nonzero(3), normal(3))


class _BatchNorm(BatchNorm):
    """The terms of the right gradient, for subclasses to spoil."""

    axes, per_channel = (0, 2, 3), (1, 3, 1, 1)

    def __init__(self):
        super().__init__(1e-5)

    def terms(self, upstream):
        """gamma / std, the normalised x, and the means of upstream and of upstream * normalised."""
        x, gamma, _ = self.inputs
        inverse_std = (x.var(self.axes, correction=0, keepdims=True) + self.eps) ** -0.5
        normalised = (x - x.mean(self.axes, keepdims=True)) * inverse_std
        means = upstream.mean(self.axes, keepdims=True), (upstream * normalised).mean(self.axes, keepdims=True)
        return gamma.reshape(self.per_channel) * inverse_std, normalised, *means

    def backward(self, upstream):
        scale, normalised, mean, correlation = self.terms(upstream)
        return self.dx(upstream, scale, normalised, mean, correlation), *super().backward(upstream)[1:]


@wrong(*BN, says="constant along axes 0, 2, 3: a term is missing there, such as that of the mean")
class BatchNormForgetsTheMean(_BatchNorm):
    def dx(self, upstream, scale, normalised, mean, correlation):
        return scale * (upstream - normalised * correlation)


@wrong(*BN, says="linear function of input 0 along axes 0, 2, 3")
class BatchNormForgetsTheVariance(_BatchNorm):
    def dx(self, upstream, scale, normalised, mean, correlation):
        return scale * (upstream - mean)


@wrong(*BN, says="linear function of input 0 along axes 0, 2, 3")
class BatchNormTakesItsStatisticsForConstants(_BatchNorm):
    def dx(self, upstream, scale, normalised, mean, correlation):
        return scale * upstream


@wrong(*BN, says="a factor for each index of axis 1")
class BatchNormForgetsGamma(_BatchNorm):
    def dx(self, upstream, scale, normalised, mean, correlation):
        gamma = self.inputs[1].reshape(self.per_channel)
        return scale / gamma * (upstream - mean - normalised * correlation)


@wrong(*BN, says="linear function of input 0 along axes 0, 2, 3")
class BatchNormCountsExamplesOnly(_BatchNorm):
    def dx(self, upstream, scale, normalised, mean, correlation):
        return scale * (upstream - 20 * mean - 20 * normalised * correlation)


@wrong(*BN, says="It is the sum of the upstream times input 0 over axes 0, 2, 3")
class BatchNormUsesXForDgamma(BatchNorm):
    def __init__(self):
        super().__init__(1e-5)

    def backward(self, upstream):
        dx, _, dbeta = super().backward(upstream)
        return dx, (upstream * self.inputs[0]).sum((0, 2, 3)), dbeta


@wrong(*BN, says="too small by the factor 40, the size of axes 0, 2, 3 of the output")
class BatchNormAveragesDbeta(BatchNorm):
    def __init__(self):
        super().__init__(1e-5)

    def backward(self, upstream):
        dx, dgamma, dbeta = super().backward(upstream)
        return dx, dgamma, dbeta / 40


# --- pooling


@wrong(normal(2, 3, 5, 4), says="too large by the factor 20, the size of axes 2, 3 of input 0: the division")
class GlobalAvgPoolForgetsToDivide(GlobalAvgPool2d):
    def backward(self, upstream):
        return upstream.reshape(2, 3, 1, 1).broadcast_to(self.input_shapes[0])


@wrong(normal(2, 5, 6, 4), says="constant factor 9", options=(Window((3, 3), (2, 2), (1, 1)),))
class AvgPoolForgetsToDivide(AvgPool2d):
    def backward(self, upstream):
        return super().backward(upstream) * 9


@wrong(distinct(2, 3, 6, 4), says="f does not depend on any of them", options=(Window((3, 2), (3, 2), (0, 0)),))
class MaxPoolSpreadsToItsWindow(MaxPool2d):
    def backward(self, upstream):
        return AvgPool2d.backward(self, upstream) * 6


@wrong(distinct(2, 3, 6, 4), says="part of the gradient does not arrive", options=(Window((3, 2), (3, 2), (0, 0)),))
class MaxPoolReturnsEarly(MaxPool2d):
    def backward(self, upstream):
        dx = super().backward(upstream).data.copy()
        dx[0, 1:] = dx[1:] = 0
        return raw(dx)


# --- residual blocks


@wrong(nonzero(3, 4), nonzero(3, 4), says="It is zero everywhere", options=("relu",))
class ResidualAddForgetsTheShortcut(ResidualAdd):
    def backward(self, upstream):
        return super().backward(upstream)[0], None


@wrong(nonzero(3, 4), nonzero(3, 4), says="twice what it should be", options=("relu",))
class ResidualAddCountsTheShortcutTwice(ResidualAdd):
    def backward(self, upstream):
        dy, _ = super().backward(upstream)
        return dy, dy + dy


@wrong(nonzero(3, 4), nonzero(3, 4), says="ignores its upstream", options=("relu",))
class ResidualAddHandsOnAOne(ResidualAdd):
    def backward(self, upstream):
        dy, _ = super().backward(upstream)
        return dy, Tensor.wrap((self.output.data > 0).astype("float64"))


@wrong(nonzero(3, 4), nonzero(3, 4), says="the upstream, unchanged", options=("relu",))
class ResidualAddMasksTheBranchOnly(ResidualAdd):
    def backward(self, upstream):
        return super().backward(upstream)[0], upstream


class _Block(mr.Op):
    """A residual unit x + tanh(x @ w) as one op."""

    def forward(self, x, w):
        return x + np.tanh(x @ w)

    def backward(self, upstream):
        x, w = self.inputs
        dy = upstream * (1 - (x @ w).tanh() ** 2)
        return self.join(upstream, dy @ w.T), x.T @ dy


@wrong(normal(4, 3), normal(3, 3), says="the shortcut, is forgotten")
class BlockForgetsTheShortcut(_Block):
    def join(self, upstream, branch):
        return branch


@wrong(normal(4, 3), normal(3, 3), says="the shortcut is counted twice")
class BlockCountsTheShortcutTwice(_Block):
    def join(self, upstream, branch):
        return branch + upstream + upstream


@wrong(normal(4, 3), normal(3, 3), says="the shortcut hands on a one")
class BlockAddsOne(_Block):
    def join(self, upstream, branch):
        return branch + 1


# --- losses

LABELS = np.array([4, 0, 2])


@wrong(
    normal(3, 5), says="too large by the factor 3, the size of axis 0 of input 0: the division", options=(LABELS, 0.0)
)
class CrossEntropyForgetsToAverage(CrossEntropy):
    def backward(self, upstream):
        return super().backward(upstream) * 3


@wrong(normal(3, 5), says="too small by the factor 3, the size of axis 0 of input 0", options=(LABELS, 0.0))
class CrossEntropyAveragesTwice(CrossEntropy):
    def backward(self, upstream):
        return super().backward(upstream) / 3


@wrong(normal(3, 5), says="ignores its upstream", options=(LABELS, 0.0))
class CrossEntropyIgnoresItsUpstream(CrossEntropy):
    def backward(self, upstream):
        return super().backward(Tensor.wrap(np.ones(())))


@wrong(normal(3, 5), options=(LABELS, 0.0))
class CrossEntropyForgetsTheLabels(CrossEntropy):
    def backward(self, upstream):
        return mr.ops.softmax(self.inputs[0], axis=1) * (upstream / 3)


@wrong(normal(3, 5), says="the upstream, unchanged")
class LogSoftmaxForgetsTheSum(mr.Op):
    def forward(self, x):
        return x - np.log(np.exp(x).sum(axis=1, keepdims=True))

    def backward(self, upstream):
        return upstream


@wrong(normal(3, 5), says="proportional to the output along axis 1")
class SoftmaxForgetsTheSum(mr.Op, saves="output"):
    def forward(self, x):
        return np.exp(x) / np.exp(x).sum(axis=1, keepdims=True)

    def backward(self, upstream):
        return upstream * self.output


@wrong(normal(3, 5), says="too large by the factor 5, the size of axis 1 of input 0: the division")
class BinaryCrossEntropyAveragesOverTheBatchOnly(BinaryCrossEntropyWithLogits):
    def forward(self, logits):
        return super().forward(logits, np.full(logits.shape, 0.25))

    def backward(self, upstream):
        (logits,) = self.inputs
        return (mr.ops.sigmoid(logits) - 0.25) * (upstream / len(logits))


# --- shifted by a few pixels


@wrong(X, W, says="shifted by +1 along axis 2 and by +1 along axis 3", options=CONV)
class ConvCutsThePaddingOnOneSide(_Conv):
    def dx(self, upstream):
        h, w = self.inputs[0].shape[2:]
        no_padding = Window((3, 2), (2, 1), (0, 0))
        return ConvTranspose2d(no_padding, 1, (h + 2, w + 2))(upstream, self.inputs[1])[:, :, :h, :w]


@wrong(X, W, says="It is shifted by +1 along axis 2: look at the padding", options=CONV)
class ConvPadsOnTopOnly(_Conv):
    def dweight(self, upstream):
        padded = np.pad(self.inputs[0].data, ((0, 0), (0, 0), (2, 0), (1, 1)))
        return Conv2dGradWeight(Window((3, 2), (2, 1), (0, 0)), 1)(raw(padded), upstream)


@wrong(X, W, says="right if the upstream were shifted by +1 along axis 1, around its edges", options=CONV)
class ConvIsOffByAChannelOfItsUpstream(_Conv):
    def dx(self, upstream):
        return super().dx(raw(np.roll(upstream.data, 1, axis=1)))


@wrong(distinct(2, 3, 6, 8), says="shifted by +1 along axis 2", options=(Window((3, 2), (3, 2), (0, 0)),))
class MaxPoolIsOffByARow(MaxPool2d):
    def backward(self, upstream):
        return raw(np.roll(super().backward(upstream).data, 1, axis=2))


@wrong(normal(2, 3, 7, 8), says="by -1 along axis 2 and by -1 along axis 3", options=(Window((3, 2), (2, 2), (1, 1)),))
class AvgPoolCutsTooMuch(AvgPool2d):
    def backward(self, upstream):
        dx = super().backward(upstream).data
        return raw(np.pad(dx[:, :, 1:, 1:], ((0, 0), (0, 0), (0, 1), (0, 1))))


@wrong(nonzero(4, 7), says="right if the upstream were shifted by +2 along axis 1")
class ReLUIsTwoColumnsLate(ReLU):
    def backward(self, upstream):
        late = np.pad(upstream.data[:, :-2], ((0, 0), (2, 0)))
        return super().backward(raw(late))


@wrong(normal(4, 5), normal(3, 5), normal(3), says="right if the upstream were shifted by -1 along axis 0")
class LinearPairsEachExampleWithTheNext(Linear):
    def backward(self, upstream):
        x, weight, _ = self.inputs
        return upstream @ weight, upstream.T @ raw(np.roll(x.data, 1, axis=0)), upstream.sum(axis=0)


@wrong(normal(2, 5, 4, 3), nonzero(5), normal(5), says="shifted by +1 along axis 0")
class BatchNormIsOffByAChannel(BatchNorm):
    def __init__(self):
        super().__init__(1e-5)

    def backward(self, upstream):
        dx, dgamma, dbeta = super().backward(upstream)
        return dx, raw(np.roll(dgamma.data, 1)), dbeta


# --- masked by the wrong thing


@wrong(nonzero(4, 5), says="It passes where the upstream > 0, but should pass where input 0 > 0")
class ReLUMasksByItsUpstream(ReLU):
    def backward(self, upstream):
        return upstream * raw((upstream.data > 0).astype(float))


@wrong(nonzero(4, 5), says="It is zero except where the upstream > 0: a mask too many")
class ReLUMasksByItsUpstreamToo(ReLU):
    def backward(self, upstream):
        return super().backward(upstream) * raw((upstream.data > 0).astype(float))


@wrong(nonzero(4, 5), says="It passes where input 0 < 0, but should pass where input 0 > 0")
class ReLUMasksTheWrongWayRound(ReLU):
    def backward(self, upstream):
        return upstream * raw((self._output <= 0).astype(float))


@wrong(nonzero(4, 5), says="right if input 0 were flipped along axes 0, 1")
class ReLUMasksByAFlippedInput(ReLU):
    def backward(self, upstream):
        return upstream * raw((self._output[::-1, ::-1] > 0).astype(float))


@wrong(
    nonzero(4, 5), nonzero(4, 5), says="It passes where input 0 > 0, but should pass where the output > 0",
    options=("relu",),
)  # fmt: skip
class ResidualAddMasksByItsBranch(ResidualAdd, saves="both"):
    def backward(self, upstream):
        branch, _ = self.inputs
        dy = upstream * raw((branch.data > 0).astype(float))
        return dy, dy


@wrong(nonzero(4, 5), nonzero(4, 5), says="It passes where input 1 > 0", options=("relu",))
class ResidualAddMasksByItsShortcut(ResidualAdd, saves="both"):
    def backward(self, upstream):
        _, shortcut = self.inputs
        dy = upstream * raw((shortcut.data > 0).astype(float))
        return dy, dy


class _Larger(mr.Op):
    """The larger of two; its mask is spoiled by subclasses."""

    def forward(self, a, b):
        return np.maximum(a, b)

    def backward(self, upstream):
        a, b = (x.data for x in self.inputs)
        mask = self.mask(a, b).astype(float)
        return upstream * raw(mask), upstream * raw(1 - mask)


@wrong(normal(4, 5), normal(4, 5), says="gradient to input 1: the two are swapped")
class LargerGivesTheSmaller(_Larger):
    def mask(self, a, b):
        return a < b


@wrong(normal(4, 5), normal(4, 5), says="It passes where input 0 > 0, but should pass where input 0 > input 1")
class LargerComparesWithZero(_Larger):
    def mask(self, a, b):
        return a > 0


class _WhereNotNegative(mr.Op):
    """x where the second input, which holds -0.7, 0 and 0.7, is at least 0."""

    def forward(self, x, condition):
        return np.where(condition > -0.35, x, 0)

    def backward(self, upstream):
        return upstream * raw((self.inputs[1].data > 0).astype(float)), None


@wrong(
    normal(4, 5), lambda rng: np.asarray(np.arange(20.0).reshape(4, 5) % 3 - 1) * 0.7,
    says="It passes where input 1 > 0, but should pass where input 1 >= 0",
)  # fmt: skip
class WhereForgetsEquality(_WhereNotNegative):
    pass


@wrong(X, W, says="right for an upstream that passes only where the upstream > 0", options=CONV)
class ConvMasksItsUpstreamByItsSign(_Conv):
    def dx(self, upstream):
        return super().dx(upstream * raw((upstream.data > 0).astype(float)))


@wrong(normal(4, 5), normal(3, 5), normal(3), says="upstream that passes only where the output > 0")
class LinearHasTheMaskOfAReLU(Linear):
    def backward(self, upstream):
        x, weight, _ = self.inputs
        dy = upstream * raw((self._linear > 0).astype(float))
        return dy @ weight, dy.T @ x, dy.sum(axis=0)

    def forward(self, *inputs):
        self._linear = super().forward(*inputs)
        return self._linear


@wrong(*BN, says="upstream that passes only where input 0 > 0")
class BatchNormHasTheMaskOfALayerBefore(_BatchNorm):
    def dx(self, upstream, scale, normalised, mean, correlation):
        dy = upstream * raw((self.inputs[0].data > 0).astype(float))
        mean, correlation = dy.mean(self.axes, keepdims=True), (dy * normalised).mean(self.axes, keepdims=True)
        return scale * (dy - mean - normalised * correlation)


class _LinearReLU(mr.Op):
    """relu(x @ w) as one op."""

    def forward(self, x, w):
        return np.maximum(x @ w, 0)

    def backward(self, upstream):
        x, w = self.inputs
        dy = upstream * raw(self.mask(x.data, w.data, upstream.data).astype(float))
        return dy @ w.T, x.T @ dy


@wrong(normal(4, 5), normal(5, 3), says="an upstream that passes everywhere, but should pass where the output > 0")
class LinearReLUForgetsItsMask(_LinearReLU):
    def mask(self, x, w, upstream):
        return np.ones(upstream.shape)


@wrong(normal(4, 5), normal(5, 3), says="passes where the upstream > 0, but should pass where the output > 0")
class LinearReLUMasksByItsUpstream(_LinearReLU):
    def mask(self, x, w, upstream):
        return upstream > 0


@wrong(normal(4, 3), normal(3, 3), says="passes where input 0 < 0, but should pass where the output > 0")
class LinearReLUMasksByItsInput(_LinearReLU):
    def mask(self, x, w, upstream):
        return x < 0


@wrong(X, W, says="an upstream that passes everywhere, but should pass where the output > 0", options=CONV)
class ConvReLUForgetsItsMask(_Conv):
    def forward(self, *inputs):
        return np.maximum(super().forward(*inputs), 0)


@wrong(normal(4, 5), says="f does not depend on any of them: a mask is missing")
class ClipForgetsItsLowerBound(mr.Op):
    def forward(self, x):
        return np.clip(x, -0.5, 0.5)

    def backward(self, upstream):
        return upstream * raw((self.inputs[0].data < 0.5).astype(float))


@wrong(normal(4, 5), normal(5, 3), says="It is zero except where input 0 > 0: a mask too many")
class LinearReLUMasksItsInputAsWell(mr.Op):
    def forward(self, x, w):
        return np.maximum(x @ w, 0)

    def backward(self, upstream):
        x, w = self.inputs
        dy = upstream * raw((x.data @ w.data > 0).astype(float))
        return (dy @ w.T) * raw((x.data > 0).astype(float)), x.T @ dy


@wrong(distinct(2, 3, 6, 4), says="right if input 0 were negated", options=(Window((3, 2), (3, 2), (0, 0)),))
class MaxPoolGivesToTheSmallest(MaxPool2d, saves="both"):
    def backward(self, upstream):
        return self.spread(upstream, lambda windows: windows.argmin(-1))

    def spread(self, upstream, choose):
        """The upstream at the chosen element of each window; windows lie side by side."""
        n, c, oh, ow = upstream.shape
        x = self.inputs[0].data.reshape(n, c, oh, 3, ow, 2).transpose(0, 1, 2, 4, 3, 5).reshape(n, c, oh, ow, 6)
        chosen = np.arange(6) == choose(x)[..., None]
        dx = (chosen * upstream.data[..., None]).reshape(n, c, oh, ow, 3, 2).transpose(0, 1, 2, 4, 3, 5)
        return raw(dx.reshape(n, c, 3 * oh, 2 * ow))


@wrong(
    distinct(2, 3, 6, 4), says="right if input 0 were taken without its sign", options=(Window((3, 2), (3, 2), (0, 0)),)
)
class MaxPoolGivesToTheLargestMagnitude(MaxPoolGivesToTheSmallest):
    def backward(self, upstream):
        return self.spread(upstream, lambda windows: np.abs(windows).argmax(-1))


@wrong(
    distinct(2, 3, 6, 4), says="a mask, or the choice of a winner, is wrong", options=(Window((3, 2), (3, 2), (0, 0)),)
)
class MaxPoolGivesToTheFirst(MaxPoolGivesToTheSmallest):
    def backward(self, upstream):
        return self.spread(upstream, lambda windows: np.zeros(windows.shape[:-1], int))


@wrong(nonzero(4, 5), says="It is zero where it should not be, and the reverse: a mask")
class ReLUMasksAtRandom(ReLU):
    def backward(self, upstream):
        return upstream * raw(np.random.default_rng(5).integers(0, 2, upstream.shape).astype(float))


# --- computed from a reordered upstream


@wrong(X, W, says="right if the upstream were reshaped as if it lay in the order of axes (0, 2, 3, 1)", options=CONV)
class ConvReshapesItsUpstream(_Conv):
    def dx(self, upstream):
        n, o, oh, ow = upstream.shape
        return super().dx(raw(upstream.data.reshape(n, oh, ow, o).transpose(0, 3, 1, 2)))


@wrong(X, W, says="the upstream were transposed to the order of axes (0, 2, 3, 1) and reshaped", options=CONV)
class ConvMixesChannelsAndPixelsOfItsUpstream(_Conv):
    def dweight(self, upstream):
        return super().dweight(raw(upstream.data.transpose(0, 2, 3, 1).reshape(upstream.shape)))


SQUARE = (normal(2, 3, 6, 5), normal(4, 3, 3, 2), Window((3, 2), (1, 1), (0, 0)))  # the output is 4x4


@wrong(*SQUARE[:2], says="right if the upstream were transposed", options=(SQUARE[2], 1))
class ConvSwapsHeightAndWidthOfItsUpstream(_Conv):
    def dx(self, upstream):
        return super().dx(upstream.transpose(0, 1, 3, 2))


@wrong(*SQUARE[:2], says="right if the upstream were flipped along axes 2, 3", options=(SQUARE[2], 1))
class ConvFlipsItsUpstream(_Conv):
    def dweight(self, upstream):
        return super().dweight(mr.ops.flip(upstream, (2, 3)))


@wrong(X, W, says="right if input 0 were flipped along axis 3", options=CONV)
class ConvReadsItsRowsBackwards(_Conv):
    def dweight(self, upstream):
        return Conv2dGradWeight(self.window, 1)(mr.ops.flip(self.inputs[0], 3), upstream)


@wrong(
    distinct(2, 3, 7, 9),
    says="as if it lay in the order of axes (0, 2, 3, 1)",
    options=(Window((3, 2), (2, 2), (0, 0)),),
)
class MaxPoolReshapesItsUpstream(MaxPool2d):
    def backward(self, upstream):
        n, c, oh, ow = upstream.shape
        return super().backward(raw(upstream.data.reshape(n, oh, ow, c).transpose(0, 3, 1, 2)))


@wrong(normal(2, 3, 9, 6), says="right if the upstream were transposed", options=(Window((3, 2), (3, 2), (0, 0)),))
class AvgPoolTransposesItsUpstream(AvgPool2d):
    def backward(self, upstream):
        return super().backward(upstream.transpose(0, 1, 3, 2))


@wrong(*BN, says="right if the upstream were reshaped as if it lay in the order of axes (0, 2, 3, 1)")
class BatchNormReshapesItsUpstream(BatchNorm):
    def __init__(self):
        super().__init__(1e-5)

    def backward(self, upstream):
        n, c, h, w = upstream.shape
        return super().backward(raw(upstream.data.reshape(n, h, w, c).transpose(0, 3, 1, 2)))


@wrong(normal(3, 5), normal(3, 5), normal(3), says="right if the upstream were transposed")
class LinearTransposesItsUpstream(Linear):
    def backward(self, upstream):
        x, weight, _ = self.inputs
        return upstream.T @ weight, upstream.T @ x, upstream.sum(axis=0)


@wrong(nonzero(4, 5), says="right if the upstream were flipped along axis 0")
class ReLUReversesItsUpstream(ReLU):
    def backward(self, upstream):
        return super().backward(mr.ops.flip(upstream, 0))


@wrong(normal(3, 5), says="right if the upstream were flipped along axis 1")
class SoftmaxReversesItsUpstream(mr.Op, saves="output"):
    def forward(self, x):
        return np.exp(x) / np.exp(x).sum(axis=1, keepdims=True)

    def backward(self, upstream):
        dy = mr.ops.flip(upstream, 1)
        return (dy - (dy * self.output).sum(axis=1, keepdims=True)) * self.output


@wrong(normal(2, 3, 4), says="as if they lay in the order of axes (2, 0, 1)", options=((2, 0, 1),))
class TransposeReadsItsUpstreamInTheOldOrder(Transpose):
    def backward(self, upstream):
        return raw(super().backward(upstream).data.reshape(4, 2, 3).transpose(1, 2, 0))


# --- several contributions to one element


@wrong(
    distinct(2, 3, 7, 5), says="It holds one of several contributions alone", options=(Window((3, 3), (1, 1), (0, 0)),)
)
class MaxPoolOverwritesWhereWindowsOverlap(MaxPool2d, saves="both"):
    def backward(self, upstream):
        x, dx = self.inputs[0].data, np.zeros(self.inputs[0].shape)
        for n, c, p, q in np.ndindex(*upstream.shape):
            window = x[n, c, p : p + 3, q : q + 3]
            i, j = np.unravel_index(window.argmax(), window.shape)
            dx[n, c, p + i, q + j] = upstream.data[n, c, p, q]
        return raw(dx)


@wrong(X, W, says="It holds one of several contributions alone", options=(Window((3, 2), (1, 1), (1, 1)), 1))
class ConvOverwritesWhereWindowsOverlap(_Conv):
    def dx(self, upstream):
        weight, padded = self.inputs[1].data, np.zeros((2, 3, 11, 7))
        oh, ow = upstream.shape[2:]
        for i, j in np.ndindex(3, 2):
            padded[:, :, i : i + oh, j : j + ow] = np.einsum("nopq,oc->ncpq", upstream.data, weight[:, :, i, j])
        return raw(padded[:, :, 1:-1, 1:-1])


@wrong(normal(2, 3, 4, 5), says="It is the mean of several contributions", options=(Window((3, 2), (1, 1), (0, 0)),))
class Im2ColAveragesWhereWindowsOverlap(Im2Col):
    def backward(self, upstream):
        return super().backward(upstream) / super().backward(raw(np.ones(upstream.shape)))


@wrong(X, W, says="index 1 along axis 0 of the output alone", options=CONV)
class ConvWeightSeesTheLastExample(_Conv):
    def dweight(self, upstream):
        return Conv2dGradWeight(self.window, 1)(self.inputs[0][-1:], upstream[-1:])


@wrong(normal(3, 4), says="cut off to whole numbers", options=(3,))
class PowComputesWithIntegers(Pow):
    def backward(self, upstream):
        return raw(super().backward(upstream).data.astype(int).astype(float))


# --- state


@wrong(nonzero(3, 4), says="changes the upstream (3x4) in place")
class ReLUMasksItsUpstreamInPlace(ReLU):
    def backward(self, upstream):
        upstream.data[self._output <= 0] = 0
        return upstream


@wrong(nonzero(3, 4), says="changes input 0 (3x4) in place")
class ReLUWorksInPlace(ReLU):
    def forward(self, x):
        return np.maximum(x, 0, out=x)


@wrong(normal(3, 4), says="a second identical call gives another result")
class ExpKeepsAGradientFromCallToCall(Exp):
    total = 0.0

    def backward(self, upstream):
        type(self).total = type(self).total + upstream * self.output
        return type(self).total


@wrong(normal(3, 4), says="It holds NaN or infinity")
class SquareGivesANaN(Pow):
    def __init__(self):
        super().__init__(2)

    def backward(self, upstream):
        flaw = np.ones(upstream.shape)
        flaw[1, 2] = np.nan
        return upstream * 2 * self.inputs[0] * raw(flaw)


@wrong(normal(3, 4), normal(3, 4), says="gave 1 gradients for 2 inputs")
class AddGivesOneGradient(Add):
    def backward(self, upstream):
        return upstream


# --- right gradients whose own derivative is wrong


@wrong(normal(3, 4), says="It is zero everywhere", order=2)
class ExpComputesBackwardOnArrays(Exp):
    def backward(self, upstream):
        return upstream * raw(self.output.data)


@wrong(normal(3, 4), says="with respect to the upstream (3x4) is wrong", order=2)
class SquareDetachesItsUpstream(Pow):
    def __init__(self):
        super().__init__(2)

    def backward(self, upstream):
        return upstream.detach() * 2 * self.inputs[0]


@wrong(X, W, says="right if the upstream were flipped", order=2, options=CONV)
class ConvHasAWrongSecondDerivative(_Conv):
    def dx(self, upstream):
        return _TransposedWithAWrongBackward(self.window, 1, (9, 5))(upstream, self.inputs[1])


class _TransposedWithAWrongBackward(ConvTranspose2d):
    def backward(self, upstream):
        x, weight = self.inputs
        dweight = Conv2dGradWeight(self.window, 1)(upstream, mr.ops.flip(x, (2, 3)))
        return Conv2d(self.window, 1)(upstream, weight), dweight
