"""Gradients that are shifted by a few pixels, or computed from a reordered upstream."""

import numpy as np

import minires as mr
from minires.gradcheck.cases import distinct, nonzero, normal
from minires.ops.activation import ReLU
from minires.ops.conv import Conv2dGradWeight, ConvTranspose2d, Window
from minires.ops.linalg import Linear
from minires.ops.norm import BatchNorm
from minires.ops.pool import AvgPool2d, MaxPool2d
from minires.ops.shape import Transpose

from .bank import raw, wrong
from .parts import BN, CONV, ConvInParts, W, X

# --- shifted by a few pixels


@wrong(X, W, says="shifted by +1 along axis 2 and by +1 along axis 3", options=CONV)
class ConvCutsThePaddingOnOneSide(ConvInParts):
    def dx(self, upstream):
        h, w = self.inputs[0].shape[2:]
        no_padding = Window((3, 2), (2, 1), (0, 0))
        return ConvTranspose2d(no_padding, 1, (h + 2, w + 2))(upstream, self.inputs[1])[:, :, :h, :w]


@wrong(X, W, says="It is shifted by +1 along axis 2: look at the padding", options=CONV)
class ConvPadsOnTopOnly(ConvInParts):
    def dweight(self, upstream):
        padded = np.pad(self.inputs[0].data, ((0, 0), (0, 0), (2, 0), (1, 1)))
        return Conv2dGradWeight(Window((3, 2), (2, 1), (0, 0)), 1)(raw(padded), upstream)


@wrong(X, W, says="right if the upstream were shifted by +1 along axis 1, around its edges", options=CONV)
class ConvIsOffByAChannelOfItsUpstream(ConvInParts):
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


@wrong(normal(2, 5, 4, 3), nonzero(5), normal(5), says="shifted by +1 along axis 0", options=(1e-5,))
class BatchNormIsOffByAChannel(BatchNorm):
    def backward(self, upstream):
        dx, dgamma, dbeta = super().backward(upstream)
        return dx, raw(np.roll(dgamma.data, 1)), dbeta


# --- computed from a reordered upstream


@wrong(X, W, says="right if the upstream were reshaped as if it lay in the order of axes (0, 2, 3, 1)", options=CONV)
class ConvReshapesItsUpstream(ConvInParts):
    def dx(self, upstream):
        n, o, oh, ow = upstream.shape
        return super().dx(raw(upstream.data.reshape(n, oh, ow, o).transpose(0, 3, 1, 2)))


@wrong(X, W, says="the upstream were transposed to the order of axes (0, 2, 3, 1) and reshaped", options=CONV)
class ConvMixesChannelsAndPixelsOfItsUpstream(ConvInParts):
    def dweight(self, upstream):
        return super().dweight(raw(upstream.data.transpose(0, 2, 3, 1).reshape(upstream.shape)))


SQUARE = (normal(2, 3, 6, 5), normal(4, 3, 3, 2), Window((3, 2), (1, 1), (0, 0)))  # the output is 4x4


@wrong(*SQUARE[:2], says="right if the upstream were transposed", options=(SQUARE[2], 1))
class ConvSwapsHeightAndWidthOfItsUpstream(ConvInParts):
    def dx(self, upstream):
        return super().dx(upstream.transpose(0, 1, 3, 2))


@wrong(*SQUARE[:2], says="right if the upstream were flipped along axes 2, 3", options=(SQUARE[2], 1))
class ConvFlipsItsUpstream(ConvInParts):
    def dweight(self, upstream):
        return super().dweight(mr.ops.flip(upstream, (2, 3)))


@wrong(X, W, says="right if input 0 were flipped along axis 3", options=CONV)
class ConvReadsItsRowsBackwards(ConvInParts):
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


@wrong(*BN, says="right if the upstream were reshaped as if it lay in the order of axes (0, 2, 3, 1)", options=(1e-5,))
class BatchNormReshapesItsUpstream(BatchNorm):
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
