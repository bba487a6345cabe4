"""Gradients that are masked by the wrong thing, or not at all."""

import numpy as np

import minires as mr
from minires.gradcheck.cases import distinct, nonzero, normal
from minires.ops.activation import ReLU, ResidualAdd
from minires.ops.conv import Window
from minires.ops.linalg import Linear
from minires.ops.pool import MaxPool2d

from .bank import raw, wrong
from .parts import BN, CONV, BatchNormInParts, ConvInParts, W, X


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


@wrong(normal(4, 5), normal(4, 5), says="gradient with respect to input 1: the two are swapped")
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
class ConvMasksItsUpstreamByItsSign(ConvInParts):
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
class BatchNormHasTheMaskOfALayerBefore(BatchNormInParts):
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
class ConvReLUForgetsItsMask(ConvInParts):
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
