"""Batch and layer normalisation."""

from collections.abc import Sequence
from typing import Any

from ..core import checks
from ..core.autograd import Op
from ..core.backend import Array, array_module
from ..core.tensor import Tensor, TensorLike
from ..errors import ArgumentError, ShapeError, sizes
from .activation import join_inputs
from .reduce import mean, var


def _batch_axes(ndim: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the axes to average over for each channel, and the shape in which a (C,) array broadcasts to x."""
    return (0, *range(2, ndim)), (1, -1, *(1,) * (ndim - 2))


class BatchNorm(Op):
    """gamma * (x - mean) / sqrt(var + eps) + beta, for each channel.

    ``running`` holds the mean and variance used in evaluation. In training, it is None: the mean and variance of the
    batch are used instead, and gradients flow through them, too.
    """

    def __init__(self, eps: float, running: Sequence[Array] | None = None) -> None:
        self.eps, self.running = eps, running

    def forward(self, x: Array, gamma: Array, beta: Array) -> Array:
        axes, per_channel = _batch_axes(x.ndim)
        xp = array_module(x)
        if self.running is None:
            centre = x.mean(axis=axes)  # (C,)
            spread = xp.square(x - centre.reshape(per_channel)).mean(axis=axes)  # (C,), biased
            self.batch = centre, spread
        else:
            centre, spread = self.running
        scale = gamma / xp.sqrt(spread + self.eps)  # (C,)
        return x * scale.reshape(per_channel) + (beta - centre * scale).reshape(per_channel)

    def backward(self, upstream: Tensor) -> tuple[Tensor | None, ...]:
        x, gamma, *_ = self.inputs
        axes, per_channel = _batch_axes(x.ndim)
        if self.running is None:
            centre, spread = mean(x, axes, keepdims=True), var(x, axes, correction=0, keepdims=True)
        else:
            centre, spread = (Tensor.wrap(s.reshape(per_channel)) for s in self.running)
        inverse_std = (spread + self.eps) ** -0.5  # (1, C, 1, 1)
        normalised = (x - centre) * inverse_std  # (N, C, H, W)
        dbeta = upstream.sum(axes)  # (C,)
        dgamma = (upstream * normalised).sum(axes)  # (C,)
        dx = upstream
        if self.running is None:  # subtract the gradients through the mean and the variance
            count = x.size // gamma.size
            dx = dx - (dbeta / count).reshape(per_channel) - normalised * (dgamma / count).reshape(per_channel)
        return dx * (gamma.reshape(per_channel) * inverse_std), dgamma, dbeta


class BatchNormAct(BatchNorm, saves="both"):
    """relu(batch_norm(x) + shortcut) in one op, which a kernel computes in one pass. ReLU and shortcut are optional."""

    def __init__(self, eps: float, running: Sequence[Array] | None, activation: str | None) -> None:
        super().__init__(eps, running)
        self.activation = activation

    def forward(self, x: Array, gamma: Array, beta: Array, *shortcut: Array) -> Array:
        y = super().forward(x, gamma, beta)
        y = y + shortcut[0] if shortcut else y
        return y if self.activation is None else array_module(y).maximum(y, 0)

    def backward(self, upstream: Tensor) -> tuple[Tensor | None, ...]:
        dy = upstream if self.activation is None else upstream * (self.output > 0)
        return (*super().backward(dy), *(dy for _ in self.inputs[3:]))


def batch_norm(
    x: TensorLike,
    gamma: TensorLike,
    beta: TensorLike,
    running_mean: Any,
    running_var: Any,
    training: bool,
    momentum: float = 0.1,
    eps: float = 1e-5,
    shortcut: TensorLike | None = None,
    activation: str | None = None,
) -> Tensor:
    """Normalise each channel with the statistics of the batch in training, and with running statistics in evaluation.

    Ioffe and Szegedy, arXiv 1502.03167, algorithm 1.

    Parameters
    ----------
    x : Tensor, (N, C) or (N, C, H, W)
    gamma, beta : Tensor, (C,)
        Scale and shift of each channel.
    running_mean, running_var : Tensor, (C,), or None in training
        Updated in place in training: ``running = (1 - momentum) * running + momentum * batch``. The running variance
        uses the unbiased batch variance; the normalisation uses the biased one.
    training : bool
        Whether to normalise with the statistics of the batch.
    momentum : float
        The weight of the batch in the running statistics.
    eps : float
        A small number that is added to the variance.
    shortcut : Tensor, optional
        A tensor with the shape of x, which is added to the result before the activation.
    activation : {"relu", None}
        ``batch_norm(..., shortcut=s, activation="relu")`` is ``residual_add(batch_norm(...), s)``, and without a
        shortcut ``relu(batch_norm(...))``, but the fast engine reads the images once instead of three times.

    Returns
    -------
    Tensor
        The normalised x, with the same shape.

    Raises
    ------
    ShapeError
        If the sizes do not fit, or a training batch has fewer than two values for each channel.
    ArgumentError
        If ``momentum`` is outside of [0, 1], ``eps`` <= 0, ``activation`` is unknown, or running statistics are missing
        in evaluation.
    DTypeError
        If an input does not hold floats.
    """
    x = checks.floats("batch_norm", x)
    gamma, beta = checks.floats("batch_norm", gamma, "gamma", x), checks.floats("batch_norm", beta, "beta", x)
    running = {"running_mean": running_mean, "running_var": running_var}
    # An array is not copied, as it is updated in place.
    running = {name: s if isinstance(s, Tensor) else Tensor.wrap(s) for name, s in running.items() if s is not None}
    running = {name: checks.floats("batch_norm", s, name) for name, s in running.items()}
    if x.ndim not in (2, 3, 4):
        raise ShapeError(f"batch_norm: x has {x.ndim} axes (x: {sizes(x.shape)}) but (N, C) or (N, C, H, W) is needed.")
    for name, vector in {"gamma": gamma, "beta": beta, **running}.items():
        if vector.shape != (x.shape[1],):
            raise ShapeError(
                f"batch_norm: x has {x.shape[1]} channels (x: {sizes(x.shape)}) but {name} is {sizes(vector.shape)}."
            )
    momentum = checks.fraction("batch_norm", momentum, "momentum")
    eps = checks.positive("batch_norm", eps, "eps")
    if not training and len(running) < 2:
        raise ArgumentError("batch_norm: evaluation needs both running_mean and running_var; one is None.")
    count = x.size // max(gamma.size, 1)
    if training and count < 2:
        raise ShapeError(
            f"batch_norm: in training each channel needs more than one value, but x ({sizes(x.shape)}) has {count}; "
            "use a larger batch, or eval()."
        )
    inputs = [x, gamma, beta, *join_inputs("batch_norm", x.shape, shortcut, activation)]
    copies = None if training else [statistic.data.astype(x.dtype) for statistic in running.values()]
    plain = activation is None and shortcut is None
    op = BatchNorm(eps, copies) if plain else BatchNormAct(eps, copies, activation)
    y = op(*inputs)
    if training:
        batch_mean, batch_var = op.batch
        for name, new in (("running_mean", batch_mean), ("running_var", batch_var * (count / (count - 1)))):
            if name in running:
                old = running[name]
                old.data[...] = (1 - momentum) * old.data + momentum * new
                old.mark_changed()
    return y


def layer_norm(
    x: TensorLike, gamma: TensorLike | None = None, beta: TensorLike | None = None, eps: float = 1e-5
) -> Tensor:
    """Normalise each example over its trailing axes (Ba et al., arXiv 1607.06450).

    The shape of ``gamma`` and ``beta`` (scale and shift, optional) selects the trailing axes to normalise over; without
    them, it is the last axis. Raises ShapeError if they do not fit x, and ArgumentError if eps <= 0.
    """
    x = checks.floats("layer_norm", x)
    checks.positive("layer_norm", eps, "eps")
    given = {"gamma": gamma, "beta": beta}
    given = {name: checks.floats("layer_norm", p, name, x) for name, p in given.items() if p is not None}
    features = next(iter(given.values())).shape if given else x.shape[-1:]
    for name, parameter in given.items():
        if parameter.shape != features or x.shape[x.ndim - len(features) :] != features or not features:
            raise ShapeError(
                f"layer_norm: {name} is {sizes(parameter.shape)}, but must match the last axes of x ({sizes(x.shape)})."
            )
    axes, _ = checks.filled_axes("layer_norm", tuple(range(-len(features), 0)) or -1, x)
    centred = x - mean(x, axes, keepdims=True)
    y = centred * (mean(centred * centred, axes, keepdims=True) + eps) ** -0.5
    y = y * given["gamma"] if "gamma" in given else y
    return y + given["beta"] if "beta" in given else y
