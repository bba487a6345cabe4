"""Gradients that lose contributions, change arrays, keep state, or cannot be differentiated again."""

import numpy as np

import minires as mr
from minires.gradcheck.cases import distinct, nonzero, normal
from minires.ops.activation import ReLU
from minires.ops.arithmetic import Add, Exp, Pow
from minires.ops.conv import Conv2d, Conv2dGradWeight, ConvTranspose2d, Im2Col, Window
from minires.ops.pool import MaxPool2d

from .bank import raw, wrong
from .parts import CONV, ConvInParts, W, X

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
class ConvOverwritesWhereWindowsOverlap(ConvInParts):
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
class ConvWeightSeesTheLastExample(ConvInParts):
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


@wrong(normal(3, 4), says="It holds NaN or infinity", options=(2,))
class SquareGivesANaN(Pow):
    def backward(self, upstream):
        flaw = np.ones(upstream.shape)
        flaw[1, 2] = np.nan
        return upstream * 2 * self.inputs[0] * raw(flaw)


@wrong(normal(3, 4), normal(3, 4), says="returned 1 gradients for 2 inputs")
class AddGivesOneGradient(Add):
    def backward(self, upstream):
        return upstream


# --- right gradients whose own derivative is wrong


@wrong(normal(3, 4), says="It is zero everywhere", order=2)
class ExpComputesBackwardOnArrays(Exp):
    def backward(self, upstream):
        return upstream * raw(self.output.data)


@wrong(normal(3, 4), says="with respect to the upstream (3x4) is wrong", order=2, options=(2,))
class SquareDetachesItsUpstream(Pow):
    def backward(self, upstream):
        return upstream.detach() * 2 * self.inputs[0]


@wrong(X, W, says="right if the upstream were flipped", order=2, options=CONV)
class ConvHasAWrongSecondDerivative(ConvInParts):
    def dx(self, upstream):
        return _TransposedWithAWrongBackward(self.window, 1, (9, 5))(upstream, self.inputs[1])


class _TransposedWithAWrongBackward(ConvTranspose2d):
    def backward(self, upstream):
        x, weight = self.inputs
        dweight = Conv2dGradWeight(self.window, 1)(upstream, mr.ops.flip(x, (2, 3)))
        return Conv2d(self.window, 1)(upstream, weight), dweight
