"""Wrong gradients of arithmetic, matrix products, reductions and shapes."""

import numpy as np

from minires.gradcheck.cases import distinct, nonzero, normal, positive
from minires.ops.activation import ReLU, Tanh
from minires.ops.arithmetic import Add, Div, Exp, Log, Mul, Pow, Sub
from minires.ops.linalg import Linear, MatMul
from minires.ops.reduce import BroadcastTo, Max, Sum
from minires.ops.shape import Concatenate, GetItem, Pad, Transpose

from .bank import raw, wrong

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


@wrong(normal(3, 4), normal(3, 4), says="gradient with respect to input 1: the two are swapped")
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


@wrong(normal(3, 4), says="half of what it should be", options=(2,))
class SquareCountsOneUse(Pow):
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


@wrong(normal(4, 3), says="all at index 1 of axis 0", options=((np.array([1, 3, 1]),),))
class GetItemOverwritesRepeatedIndices(GetItem):
    def backward(self, upstream):
        dx = np.zeros(self.input_shapes[0])
        dx[self.index] = upstream.data
        return raw(dx)


@wrong(normal(3, 4), normal(3, 4), says="gradient with respect to input 1: the two are swapped", options=(0,))
class ConcatenateSwapsItsParts(Concatenate):
    def backward(self, upstream):
        return upstream[3:], upstream[:3]


@wrong(normal(3, 4), says="shifted by +1 along axis 1", options=(((0, 0), (1, 1)), 0.0))
class PadCutsTheWrongEnd(Pad):
    def backward(self, upstream):
        return upstream[:, :-2]
