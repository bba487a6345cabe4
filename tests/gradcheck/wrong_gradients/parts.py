"""Right gradients in parts, for the wrong ones to replace one, and the inputs that they are checked on."""

from minires.gradcheck.cases import nonzero, normal
from minires.ops.conv import Conv2d, Conv2dGradWeight, ConvTranspose2d, Window
from minires.ops.norm import BatchNorm

# convolution: x (N, C, H, W) = (2, 3, 9, 5), weight (O, C, KH, KW) = (4, 3, 3, 2)
X, W, B = normal(2, 3, 9, 5), normal(4, 3, 3, 2), normal(4)
CONV = (Window((3, 2), (2, 1), (1, 1)), 1)


class ConvInParts(Conv2d):
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


# batch norm: x (N, C, H, W) = (2, 3, 5, 4)
BN = (normal(2, 3, 5, 4), nonzero(3), normal(3))


class BatchNormInParts(BatchNorm):
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
