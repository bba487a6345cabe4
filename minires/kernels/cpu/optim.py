"""Optimiser steps, one parameter after another."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from ...core.backend import Array
from ..threads import share
from .compiler import kernel
from .simd import at, put


@kernel
def _sgd(parameter, grad, velocity, lr, momentum, decay, nesterov, first, last):
    for i in range(first, last):
        p = at(parameter, i)
        g = at(grad, i) + decay * p
        v = momentum * at(velocity, i) + g
        put(velocity, i, v)
        put(parameter, i, p - lr * (g + momentum * v if nesterov else v))


@kernel
def _adam(parameter, grad, mean, square, lr, beta1, rest1, beta2, rest2, eps, decay, shrink, unbias, first, last):
    for i in range(first, last):
        p = at(parameter, i) * shrink
        g = at(grad, i) + decay * p
        m = beta1 * at(mean, i) + rest1 * g
        s = beta2 * at(square, i) + rest2 * g * g
        put(mean, i, m)
        put(square, i, s)
        put(parameter, i, p - lr * (m / (math.sqrt(s) * unbias + eps)))


@kernel
def _rmsprop(parameter, grad, square, mean, velocity, lr, alpha, rest, eps, decay, momentum, first, last):
    """The compiler knows which arrays are None, so the loop does not branch."""
    for i in range(first, last):
        p = at(parameter, i)
        g = at(grad, i) + decay * p
        s = alpha * at(square, i) + rest * g * g
        put(square, i, s)
        if mean is not None:
            m = alpha * at(mean, i) + rest * g
            put(mean, i, m)
            s = max(s - m * m, np.float32(0))  # rounding could make it negative
        step = g / (math.sqrt(s) + eps)
        if velocity is not None:
            step = momentum * at(velocity, i) + step
            put(velocity, i, step)
        put(parameter, i, p - lr * step)


def sgd(tensors: list[list[Array]], numbers: Callable[[], list[float]], nesterov: bool) -> None:
    """Update parameters by SGD. Velocities are zero before the first step."""
    options = *map(np.float32, numbers()), nesterov
    for flat in tensors:
        share(partial(_sgd, *flat, *options), flat[0].size, flat[0].size)


def adam(tensors: list[list[Array]], numbers: Callable[[], list[float]]) -> None:
    options = [np.float32(number) for number in numbers()]
    for flat in tensors:
        share(partial(_adam, *flat, *options), flat[0].size, flat[0].size * 4)


def rmsprop(tensors: list[list[Any]], numbers: list[float]) -> None:
    """Update parameters by RMSprop. Averages of gradients and velocities are None if not needed."""
    options = [np.float32(number) for number in numbers]
    for parameter, *arrays in tensors:
        size = parameter.size
        share(partial(_rmsprop, parameter, *arrays, *options), size, size * 4)
