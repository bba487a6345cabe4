"""Stochastic depth: which images lose a branch, how often, and what evaluation does."""

import numpy as np
import pytest

import minires as mr
from minires.errors import ArgumentError
from minires.models.blocks import BasicBlock, Bottleneck, PreActivationBlock, PreActivationBottleneck
from minires.models.shortcuts import StochasticDepth

BLOCKS = [BasicBlock, Bottleneck, PreActivationBlock, PreActivationBottleneck]


def test_the_probability_grows_linearly_to_the_last_block():
    model = mr.models.resnet20(stochastic_depth_prob=0.9)
    found = [module.p for module in model.modules() if isinstance(module, StochasticDepth)]
    np.testing.assert_allclose(found, np.arange(1, 10) / 10)
    assert not any(isinstance(module, StochasticDepth) for module in mr.models.resnet20().modules())


def test_it_zeroes_whole_images_as_often_as_asked_and_keeps_the_mean():
    n, p = 20_000, 0.3
    y = StochasticDepth(p)(mr.tensor(np.ones((n, 2, 2, 1), "f"))).numpy()
    kept = y[:, 0, 0, 0] > 0
    assert (y == y[:, :1, :1, :1]).all() and y.dtype == np.float32
    np.testing.assert_allclose(y[kept], 1 / (1 - p), rtol=1e-6)
    assert abs(kept.mean() - (1 - p)) < 5 * np.sqrt(p * (1 - p) / n)


@pytest.mark.parametrize("block", BLOCKS)
def test_a_dropped_image_takes_the_shortcut_and_a_kept_one_a_scaled_branch(block, rng):
    module = block(8, 8, 1, "A", drop_probability=0.4)
    twin = block(8, 8, 1, "A")
    twin.load_state_dict(module.state_dict())
    x = np.abs(rng.standard_normal((40, 8, 3, 5))).astype("f")
    relu = (lambda a: np.maximum(a, 0)) if block in BLOCKS[:2] else (lambda a: a)
    last = twin.bn3 if block is Bottleneck else twin.bn2 if block is BasicBlock else None
    if last is None:  # without an activation after the addition, the difference is the branch
        branch = twin(mr.tensor(x)).numpy() - x
    else:
        (seen := []) or last.register_forward_hook(lambda m, inputs, output: seen.append(inputs[0]))
        twin(mr.tensor(x))
        branch = last(seen[0]).numpy()
    mr.manual_seed(3)
    y = module(mr.tensor(x)).numpy()
    dropped = np.array([np.array_equal(a, b) for a, b in zip(y, x, strict=True)])
    assert 5 < dropped.sum() < 30
    np.testing.assert_allclose(y[~dropped], relu(x + branch / 0.6)[~dropped], rtol=1e-4, atol=1e-5)
    mr.manual_seed(3)
    np.testing.assert_array_equal(module(mr.tensor(x)).numpy(), y)
    assert not np.array_equal(module(mr.tensor(x)).numpy(), y)


@pytest.mark.parametrize("options", [{}, {"preactivation": True}])
def test_evaluation_uses_every_branch_as_it_is(options, rng):
    model = mr.models.resnet14(stochastic_depth_prob=0.5, **options).eval()
    twin = mr.models.resnet14(**options).eval()
    twin.load_state_dict(model.state_dict())
    x = mr.tensor(rng.standard_normal((2, 3, 9, 8)).astype("f"))
    np.testing.assert_array_equal(model(x).numpy(), twin(x).numpy())


def test_a_dropped_image_sends_no_gradient_into_the_branch(rng):
    block = BasicBlock(4, 4, 1, "A", drop_probability=0.5)
    x = mr.tensor(np.abs(rng.standard_normal((1, 4, 5, 3))).astype("f"), requires_grad=True)
    for seed in range(20):
        mr.manual_seed(seed)
        y = block(x)
        if np.array_equal(y.numpy(), x.numpy()):
            break
    (dx,) = mr.grad(y.sum(), x)
    np.testing.assert_array_equal(dx.numpy(), np.ones_like(x.numpy()))


@pytest.mark.parametrize("p", [-0.1, 1, 1.5, "half"])
def test_a_probability_lies_in_0_to_1(p):
    with pytest.raises(ArgumentError, match="p is"):
        StochasticDepth(p)
