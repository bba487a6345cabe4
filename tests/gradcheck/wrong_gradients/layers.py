"""Wrong gradients of layers, residual blocks and losses."""

import numpy as np

import minires as mr
from minires.core.tensor import Tensor
from minires.gradcheck.cases import distinct, nonzero, normal
from minires.ops.activation import ResidualAdd
from minires.ops.conv import Col2Im, Conv2dGradWeight, ConvTranspose2d, Im2Col, Window
from minires.ops.loss import BinaryCrossEntropyWithLogits, CrossEntropy
from minires.ops.norm import BatchNorm
from minires.ops.pool import AvgPool2d, GlobalAvgPool2d, MaxPool2d

from .bank import raw, wrong
from .parts import BN, CONV, B, BatchNormInParts, ConvInParts, W, X

# --- convolution


@wrong(X, W, says="right if input 1 were flipped along axes 2, 3", options=CONV)
class ConvFlipsTheKernelInDx(ConvInParts):
    def dx(self, upstream):
        x, weight = self.inputs
        return ConvTranspose2d(self.window, 1, x.shape[2:])(upstream, mr.ops.flip(weight, (2, 3)))


@wrong(X, W, says="flipped along axes 2, 3", options=CONV)
class ConvFlipsTheKernelInDweight(ConvInParts):
    def dweight(self, upstream):
        return mr.ops.flip(super().dweight(upstream), (2, 3))


@wrong(X, W, says="index 0 along axis 0 of the output alone", options=CONV)
class ConvWeightSeesTheFirstExample(ConvInParts):
    def dweight(self, upstream):
        return Conv2dGradWeight(self.window, 1)(self.inputs[0][:1], upstream[:1])


@wrong(normal(5, 3, 4, 4), W, says="too small by the factor 5, the size of axis 0 of the output", options=CONV)
class ConvWeightIsAveragedOverTheBatch(ConvInParts):
    def dweight(self, upstream):
        return super().dweight(upstream) / len(upstream)


@wrong(X, W, says="in the order of axes (0, 2, 3, 1)", options=CONV)
class ConvWeightHasColumnsInTheWrongOrder(ConvInParts):
    def dweight(self, upstream):
        return super().dweight(upstream).transpose(0, 2, 3, 1).reshape(4, 3, 3, 2)


@wrong(
    normal(2, 3, 6, 5),
    normal(4, 3, 3, 3),
    says="in the order of axes (0, 1, 3, 2)",
    options=(Window((3, 3), (1, 1), (0, 0)), 1),
)
class ConvSwapsKernelHeightAndWidth(ConvInParts):
    def dweight(self, upstream):
        return super().dweight(upstream).transpose(0, 1, 3, 2)


@wrong(X, W, options=CONV)
class ConvIgnoresItsStrideInDx(ConvInParts):
    def dx(self, upstream):
        x, weight = self.inputs
        return ConvTranspose2d(Window((3, 2), (1, 1), (1, 1)), 1, x.shape[2:])(upstream, weight)


@wrong(X, W, says="shifted by +1 along axis 2", options=CONV)
class ConvCutsThePaddingAtTheWrongEnd(ConvInParts):
    def dx(self, upstream):
        h, w = self.inputs[0].shape[2:]
        no_padding = Window((3, 2), (2, 1), (0, 1))
        return ConvTranspose2d(no_padding, 1, (h + 2, w))(upstream, self.inputs[1])[:, :, :h]


@wrong(
    X, normal(4, 3, 3, 3), says="all on the border of the last two axes", options=(Window((3, 3), (1, 1), (1, 1)), 1)
)
class ConvDropsTheBorder(ConvInParts):
    def dx(self, upstream):
        inside = np.zeros(self.inputs[0].shape)
        inside[:, :, 1:-1, 1:-1] = 1
        return super().dx(upstream) * raw(inside)


@wrong(X, W, B, says="too small by the factor 30, the size of axes 2, 3 of the output", options=CONV)
class ConvBiasIsAveragedOverTheImage(ConvInParts):
    def dbias(self, upstream):
        return upstream.mean(axis=(2, 3)).sum(axis=0)


@wrong(normal(2, 4, 4, 3), normal(6, 2, 3, 2), says="in the wrong places", options=(Window((3, 2), (1, 1), (0, 0)), 2))
class ConvMixesUpItsGroups(ConvInParts):
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


# --- batch norm


@wrong(*BN, says="constant along axes 0, 2, 3: a term is missing there, such as that of the mean")
class BatchNormForgetsTheMean(BatchNormInParts):
    def dx(self, upstream, scale, normalised, mean, correlation):
        return scale * (upstream - normalised * correlation)


@wrong(*BN, says="linear function of input 0 along axes 0, 2, 3")
class BatchNormForgetsTheVariance(BatchNormInParts):
    def dx(self, upstream, scale, normalised, mean, correlation):
        return scale * (upstream - mean)


@wrong(*BN, says="linear function of input 0 along axes 0, 2, 3")
class BatchNormTakesItsStatisticsForConstants(BatchNormInParts):
    def dx(self, upstream, scale, normalised, mean, correlation):
        return scale * upstream


@wrong(*BN, says="a factor for each index of axis 1")
class BatchNormForgetsGamma(BatchNormInParts):
    def dx(self, upstream, scale, normalised, mean, correlation):
        gamma = self.inputs[1].reshape(self.per_channel)
        return scale / gamma * (upstream - mean - normalised * correlation)


@wrong(*BN, says="linear function of input 0 along axes 0, 2, 3")
class BatchNormCountsExamplesOnly(BatchNormInParts):
    def dx(self, upstream, scale, normalised, mean, correlation):
        return scale * (upstream - 20 * mean - 20 * normalised * correlation)


@wrong(*BN, says="It is the sum of the upstream times input 0 over axes 0, 2, 3", options=(1e-5,))
class BatchNormUsesXForDgamma(BatchNorm):
    def backward(self, upstream):
        dx, _, dbeta = super().backward(upstream)
        return dx, (upstream * self.inputs[0]).sum((0, 2, 3)), dbeta


@wrong(*BN, says="too small by the factor 40, the size of axes 0, 2, 3 of the output", options=(1e-5,))
class BatchNormAveragesDbeta(BatchNorm):
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
        return super().forward(logits, np.full(logits.shape, 0.25)).mean()

    def backward(self, upstream):
        (logits,) = self.inputs
        return (mr.ops.sigmoid(logits) - 0.25) * (upstream / len(logits))
