"""Gradient clipping: a bound on the step that one strange batch can cause."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np

from ..core import checks
from ..core.backend import Array, array_module
from ..core.tensor import Tensor


def clip_grad_norm(parameters: Tensor | Iterable[Tensor], max_norm: float) -> float:
    """Scale all gradients by one factor, so that together they are no longer than ``max_norm``.

    Their length is the L2 norm of all of them as one vector. The direction of the step stays as it is: Pascanu et al.,
    arXiv 1211.5063, algorithm 1; ``torch.nn.utils.clip_grad_norm_``. Call it between ``backward`` and ``step``.

    Parameters
    ----------
    parameters : iterable of Parameter, or one
        Those without a gradient take no part.
    max_norm : float
        Greater than 0.

    Returns
    -------
    float
        The norm before. If it is infinite or NaN, no factor helps, and the gradients are left as they are.

    Raises
    ------
    ArgumentError
        For a ``max_norm`` that is no number > 0.

    Examples
    --------
    >>> import minires as mr
    >>> p = mr.nn.Parameter([1.0, 1.0])
    >>> (mr.tensor([3.0, 4.0]) * p).sum().backward()
    >>> mr.optim.clip_grad_norm([p], max_norm=1.0), p.grad.numpy().round(4)
    (5.0, array([0.6, 0.8], dtype=float32))
    """
    checks.positive("clip_grad_norm", max_norm, "max_norm")
    given = [parameters] if isinstance(parameters, Tensor) else parameters
    grads = [(parameter, parameter.grad.data) for parameter in given if parameter.grad is not None]
    norm = math.sqrt(float(sum(sum_of_squares(grad) for _, grad in grads)))
    factor = max_norm / (norm + 1e-6)
    if factor < 1 and math.isfinite(norm):
        for parameter, grad in grads:
            # New arrays: who holds an old one keeps its values, and one that two parameters share is scaled once.
            parameter.grad = Tensor.wrap(grad * factor)
    return norm


def sum_of_squares(array: Array) -> Array:
    """In float64, where the squares of large float32 numbers do not overflow, nor small ones vanish in the sum."""
    return array_module(array).square(array, dtype=np.float64).sum()
