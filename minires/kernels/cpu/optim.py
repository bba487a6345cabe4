"""Optimiser steps, one parameter after another."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import numpy as np

from ...core.backend import Array
from ..threads import share
from .compiler import kernel


@kernel
def _sgd(parameter, grad, velocity, lr, momentum, decay, nesterov, first, last):
    for i in range(first, last):
        g = grad[i] + decay * parameter[i]
        v = momentum * velocity[i] + g
        velocity[i] = v
        parameter[i] -= lr * (g + momentum * v if nesterov else v)


@kernel
def _adam(parameter, grad, mean, square, lr, beta1, rest1, beta2, rest2, eps, decay, shrink, unbias, first, last):
    for i in range(first, last):
        p = parameter[i] * shrink
        g = grad[i] + decay * p
        m = beta1 * mean[i] + rest1 * g
        s = beta2 * square[i] + rest2 * g * g
        mean[i] = m
        square[i] = s
        parameter[i] = p - lr * (m / (math.sqrt(s) * unbias + eps))


def sgd(tensors: list[list[Array]], numbers: Callable[[], list[float]], nesterov: bool) -> None:
    """Update parameters by SGD. Velocities are zero before the first step."""
    options = *map(np.float32, numbers()), nesterov
    for flat in tensors:
        share(partial(_sgd, *flat, *options), flat[0].size, flat[0].size)


def adam(tensors: list[list[Array]], numbers: Callable[[], list[float]]) -> None:
    options = [np.float32(number) for number in numbers()]
    for flat in tensors:
        share(partial(_adam, *flat, *options), flat[0].size, flat[0].size * 4)
