"""Optimiser steps, one parameter after another."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ...core.backend import Array
from .compiler import kernel
from .simd import at, put
from .team import enter, leave, part_of, run, team_size, this_call


@kernel
def _sgd(parameter, grad, velocity, lr, momentum, decay, nesterov, team, rank):
    enter(team, rank, this_call())
    for i in range(*part_of(len(parameter), team, rank)):
        p = at(parameter, i)
        g = at(grad, i) + decay * p
        v = momentum * at(velocity, i) + g
        put(velocity, i, v)
        put(parameter, i, p - lr * (g + momentum * v if nesterov else v))
    leave(team, rank)


@kernel
def _adam(parameter, grad, mean, square, lr, beta1, rest1, beta2, rest2, eps, decay, shrink, unbias, team, rank):
    enter(team, rank, this_call())
    for i in range(*part_of(len(parameter), team, rank)):
        p = at(parameter, i) * shrink
        g = at(grad, i) + decay * p
        m = beta1 * at(mean, i) + rest1 * g
        s = beta2 * at(square, i) + rest2 * g * g
        put(mean, i, m)
        put(square, i, s)
        put(parameter, i, p - lr * (m / (math.sqrt(s) * unbias + eps)))
    leave(team, rank)


@kernel
def _rmsprop(parameter, grad, square, mean, velocity, lr, alpha, rest, eps, decay, momentum, team, rank):
    """The compiler knows which arrays are None, so the loop does not branch."""
    enter(team, rank, this_call())
    for i in range(*part_of(len(parameter), team, rank)):
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
    leave(team, rank)


def sgd(tensors: list[list[Array]], numbers: Callable[[], list[float]], nesterov: bool) -> None:
    """Update parameters by SGD. Velocities are zero before the first step."""
    options = *map(np.float32, numbers()), nesterov
    for flat in tensors:
        run(team_size(flat[0].size), _sgd, *flat, *options)


def adam(tensors: list[list[Array]], numbers: Callable[[], list[float]]) -> None:
    options = [np.float32(number) for number in numbers()]
    for flat in tensors:
        run(team_size(flat[0].size * 4), _adam, *flat, *options)


def rmsprop(tensors: list[list[Any]], numbers: list[float]) -> None:
    """Update parameters by RMSprop. Averages of gradients and velocities are None if not needed."""
    options = [np.float32(number) for number in numbers]
    for parameter, *arrays in tensors:
        run(team_size(parameter.size * 4), _rmsprop, parameter, *arrays, *options)
