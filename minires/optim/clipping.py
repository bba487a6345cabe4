"""The L2 norm of gradients, and gradient clipping."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np

from ..core import checks
from ..core.backend import Array, array_module
from ..core.calls import pytorch_names, refuses
from ..core.tensor import Tensor
from ..errors import ArgumentError


def l2_norm(*arrays: Array) -> float:
    """Return the L2 norm of all arrays together, as if they were one vector.

    It is computed in float64, so that squares of large float32 numbers do not overflow, and squares of small ones are
    not lost in the sum.
    """
    return math.sqrt(float(sum(array_module(array).square(array, dtype=np.float64).sum() for array in arrays)))


@pytorch_names
@refuses(
    norm_type="the norm is the L2 norm, as by default in PyTorch",
    error_if_nonfinite="the norm is returned, so check math.isfinite(norm)",
    foreach="leave it out",
)
def clip_grad_norm(parameters: Tensor | Iterable[Tensor], max_norm: float) -> float:
    """Scale all gradients by the same factor if their L2 norm, taken as one vector, is larger than ``max_norm``.

    This limits the step that an unusual batch can cause, and keeps the direction of the gradient (Pascanu et al.,
    arXiv 1211.5063, algorithm 1), like PyTorch's ``torch.nn.utils.clip_grad_norm_``. Call it between ``backward`` and
    ``step``.

    Parameters
    ----------
    parameters : Parameter or iterable of Parameter
        Parameters without a gradient are ignored.
    max_norm : float
        The largest norm allowed, greater than 0.

    Returns
    -------
    float
        The norm before clipping. If it is infinite or NaN, the gradients are not changed.

    Raises
    ------
    ArgumentError
        If ``max_norm`` is not a number > 0, or ``parameters`` is a model.

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
    if not isinstance(given, Iterable) or hasattr(given, "parameters"):
        raise ArgumentError(
            f"clip_grad_norm: it takes parameters, not {type(given).__name__}; pass model.parameters()."
        )
    grads = [(parameter, parameter.grad.data) for parameter in given if parameter.grad is not None]
    norm = l2_norm(*(grad for _, grad in grads))
    factor = max_norm / (norm + 1e-6)
    if factor < 1 and math.isfinite(norm):
        for parameter, grad in grads:
            # This creates new arrays, so other references to the old array keep its values, and a gradient that two
            # parameters share is scaled only once.
            parameter.grad = Tensor.wrap(grad * factor)
    return norm
