"""Every op against PyTorch: values, gradients, second derivatives."""

from __future__ import annotations

import numpy as np
import pytest
from op_cases import CASES, IMAGES, MEAN, VAR

import minires as mr
from minires import ops

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.parity

EXACT = {"rtol": 1e-10, "atol": 1e-10}


def pair(arrays):
    """The same numbers as leaves of both frameworks."""
    ours = [mr.tensor(a, requires_grad=True) for a in arrays]
    theirs = [torch.tensor(a, requires_grad=True) for a in arrays]
    return ours, theirs


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_values_and_gradients(case, rng):
    ours, theirs = pair(case.inputs(rng))
    y, expected = case.ours(*ours), case.theirs(*theirs)
    np.testing.assert_allclose(y.numpy(), expected.detach().numpy(), **EXACT)
    upstream = rng.standard_normal(y.shape)
    y.backward(upstream)
    expected.backward(torch.tensor(upstream))
    for x, reference in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(x.grad.numpy(), reference.grad.numpy(), **EXACT)


SMOOTH = [case for case in CASES if case.draw != "ties" or case.op in ("max_pool2d", "avg_pool2d", "relu")]


@pytest.mark.parametrize("case", SMOOTH, ids=lambda case: case.id)
def test_second_derivatives(case, rng):
    """The gradient of <v, gradient> with respect to the inputs and the upstream, for a random v."""
    ours, theirs = pair(case.inputs(rng))
    y, expected = case.ours(*ours), case.theirs(*theirs)
    (u,), (u_theirs,) = pair([rng.standard_normal(y.shape)])
    grads = mr.grad(y, ours, u, create_graph=True)
    references = torch.autograd.grad(expected, theirs, u_theirs, create_graph=True)
    directions = [rng.standard_normal(g.shape) for g in grads]
    product = sum((g * v).sum() for g, v in zip(grads, directions, strict=True))
    reference = sum((g * torch.tensor(v)).sum() for g, v in zip(references, directions, strict=True))
    seconds = torch.autograd.grad(reference, [*theirs, u_theirs], allow_unused=True)
    product.backward()
    for x, second in zip([*ours, u], seconds, strict=True):
        zeros = np.zeros(x.shape)
        found = zeros if x.grad is None else x.grad.numpy()
        np.testing.assert_allclose(found, zeros if second is None else second.numpy(), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("momentum", [0.1, 0.7, 1.0])
def test_running_statistics_after_two_updates(momentum, rng):
    ours, theirs = (mr.tensor(MEAN), mr.tensor(VAR)), (torch.tensor(MEAN), torch.tensor(VAR))
    gamma, beta = rng.standard_normal((2, 3))
    for _ in range(2):
        x = 3 + 2 * rng.standard_normal(IMAGES)
        ops.batch_norm(x, gamma, beta, *ours, True, momentum)
        torch.nn.functional.batch_norm(
            torch.tensor(x), *theirs, torch.tensor(gamma), torch.tensor(beta), True, momentum
        )
    for found, expected in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(found.numpy(), expected.numpy(), **EXACT)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("f", ["sigmoid", "tanh", "gelu", "exp", "log_softmax", "softmax"])
def test_accuracy_is_relative_far_from_zero(f, dtype):
    x = np.linspace(-30, 30, 61, dtype=dtype)[None]
    theirs = getattr(torch, f, None) or getattr(torch.nn.functional, f)
    options = {"dim": -1} if "softmax" in f else {}
    expected = theirs(torch.tensor(x.astype("float64")), **options).numpy()
    # gelu is 0.5 x (1 + erf) in both, which loses digits where 1 + erf is nearly 0
    atol = 1e-6 if f == "gelu" and dtype == "float32" else 1e-14 if f == "gelu" else 0
    np.testing.assert_allclose(
        getattr(ops, f)(x).numpy(), expected, rtol=2e-5 if dtype == "float32" else 1e-12, atol=atol
    )
