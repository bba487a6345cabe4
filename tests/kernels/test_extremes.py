"""Very small and very large numbers, infinities and NaN: the kernels lose no more of them than the textbook."""

from __future__ import annotations

import numpy as np
import pytest
from twins import OPS

import minires as mr
from minires.core import dispatch
from minires.core.dispatch import SMALL, load_kernels
from minires.nn.folding import Conv2dAct, Replay
from minires.ops.activation import ResidualAdd
from minires.ops.arithmetic import Add

load_kernels("cpu")
ENGINES = ("textbook", "fast")


@pytest.fixture
def kernels_of_any_size(monkeypatch):
    kernels = {key: kernel._replace(smallest=0) for key, kernel in dispatch._kernels.items()}
    monkeypatch.setattr(dispatch, "_kernels", kernels)


GRADIENTS = (1e-30, 1e-20, 1e-10, 1.0, 1e10, 1e18, 2e19, 1e20, 5e20, -3e20)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("optimizer", [mr.optim.Adam, mr.optim.AdamW])
def test_adams_first_step_is_lr_whatever_the_scale_of_the_gradient(optimizer, engine, device):
    """With betas b1 and b2, it is lr * m / (1 - b1) / (sqrt(s / (1 - b2)) + eps) = lr * g / (|g| + eps)."""
    for g in GRADIENTS:
        parameter = mr.nn.Parameter(mr.tensor(np.zeros(SMALL, "f"), device=device).data)
        parameter.grad = mr.tensor(np.full(SMALL, g, "f"), device=device)
        with mr.engine(engine):
            optimizer([parameter], lr=0.1).step()
        np.testing.assert_allclose(parameter.numpy(), -0.1 * g / (abs(g) + 1e-8), rtol=1e-6, err_msg=f"gradient {g}")


@pytest.mark.parametrize("engine", ENGINES)
def test_rmsprops_first_step_is_lr_over_the_root_of_1_minus_alpha(engine):
    for g in GRADIENTS[2:8]:  # a hundredth of the square of 5e20 is larger than any float32
        parameter = mr.nn.Parameter(np.zeros(SMALL, "f"))
        parameter.grad = mr.tensor(np.full(SMALL, g, "f"))
        with mr.engine(engine):
            mr.optim.RMSprop([parameter], lr=0.1).step()
        np.testing.assert_allclose(parameter.numpy(), -0.1 * g / (0.1 * abs(g) + 1e-8), rtol=1e-5, err_msg=f"{g}")


@pytest.mark.parametrize("engine", ENGINES)
def test_sgd_takes_gradients_of_any_scale(engine):
    for g in (*GRADIENTS, 1e30, 1e38):
        parameter = mr.nn.Parameter(np.zeros(SMALL, "f"))
        optimizer = mr.optim.SGD([parameter], lr=0.1, momentum=0.5, nesterov=True)
        parameter.grad = mr.tensor(np.full(SMALL, g, "f"))
        with mr.engine(engine):
            optimizer.step()
        np.testing.assert_allclose(parameter.numpy(), np.float64(-0.15) * g, rtol=1e-6, err_msg=f"gradient {g}")


def run(op, make, arrays, seed, engine):
    """The output and the gradients, for a random upstream gradient."""
    leaves = [mr.Tensor.wrap(array.copy("K")) for array in arrays]
    for leaf in leaves:
        leaf.requires_grad = not issubclass(op, (Conv2dAct, Replay))  # these are for inference
    with mr.engine(engine), np.errstate(all="ignore"):
        y = make()(*leaves)
        upstream = np.random.default_rng(seed).standard_normal(y.shape).astype("f")
        return [y.numpy(), *((g.numpy() for g in mr.grad(y, leaves, upstream)) if y.requires_grad else ())]


def agree(arrays, others):
    for right, mine in zip(arrays, others, strict=True):
        finite = np.isfinite(right)
        np.testing.assert_array_equal(mine[~finite], right[~finite])
        scale = np.abs(right[finite]).max(initial=0)
        np.testing.assert_allclose(mine[finite], right[finite], rtol=0, atol=1e-4 * scale + 1e-38)


@pytest.mark.parametrize("op", OPS, ids=lambda op: op.__name__)
def test_kernels_and_textbook_agree_from_one_end_of_float32_to_the_other(op, rng, kernels_of_any_size):
    for scale in (1e-30, 1e-15, 1e15, 1e30):
        for _ in range(4):
            make, arrays = OPS[op](rng)
            arrays = [array.astype("f", order="K") for array in arrays]
            arrays[0] *= np.float32(scale)
            if issubclass(op, (Add, ResidualAdd)):
                arrays[1] *= np.float32(scale)
            agree(*(run(op, make, arrays, 7, engine) for engine in ENGINES))


@pytest.mark.parametrize("special", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("op", OPS, ids=lambda op: op.__name__)
def test_kernels_and_textbook_agree_on_nan_and_infinity(op, special, rng, kernels_of_any_size):
    for _ in range(8):
        make, arrays = OPS[op](rng)
        arrays = [array.astype("f", order="K") for array in arrays]
        arrays[0][tuple(map(rng.integers, arrays[0].shape))] = special
        agree(*(run(op, make, arrays, 7, engine) for engine in ENGINES))
