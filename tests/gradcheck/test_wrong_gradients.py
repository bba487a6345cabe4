"""The checker finds every wrong gradient of the bank, and names the cause of nearly all of them."""

import numpy as np
import pytest
from wrong_gradients import BANK

import minires as mr
from minires.errors import GradcheckError, MiniresError

bank = pytest.mark.parametrize("entry", BANK, ids=lambda entry: entry.name)


@bank
def test_every_wrong_gradient_is_found_and_named(entry):
    with pytest.raises(GradcheckError) as caught:
        mr.gradcheck(entry.function, entry.inputs(), order=entry.order)
    message = str(caught.value)
    assert message.startswith("gradcheck: ")
    assert entry.says is None or entry.says in message


@pytest.mark.parametrize("entry", [e for e in BANK if e.order == 2], ids=lambda entry: entry.name)
def test_a_wrong_second_derivative_passes_at_order_1(entry):
    assert mr.gradcheck(entry.function, entry.inputs(), order=1)


def test_the_bank_is_large_and_nearly_all_of_it_is_named():
    assert len(BANK) >= 120
    assert len({entry.name for entry in BANK}) == len(BANK)
    assert sum(entry.says is not None for entry in BANK) >= 0.95 * len(BANK)
    assert sum(entry.order == 2 for entry in BANK) >= 3


@bank
def test_no_other_seed_lets_it_pass_or_hides_its_cause(entry):
    for seed in (1, 2):
        with pytest.raises(GradcheckError) as caught:
            mr.gradcheck(entry.function, entry.inputs(), order=entry.order, seed=seed)
        assert entry.says is None or entry.says in str(caught.value)


def test_the_upstream_has_nothing_in_common_with_inputs_of_the_same_seed():
    """Otherwise a mask by the sign of the upstream would look like one by the sign of the input."""
    (entry,) = (e for e in BANK if e.name == "ReLUMasksByItsUpstream")
    for seed in range(5):
        signs = np.random.default_rng(seed).choice([-1.0, 1.0], (4, 5))
        with pytest.raises(GradcheckError, match="It passes where the upstream > 0"):
            mr.gradcheck(entry.function, mr.tensor(signs, requires_grad=True, dtype="float64"), seed=seed)


def passes_with_ones(entry) -> bool:
    """The check that courses use: every element, but an upstream of ones, and a tolerance of a thousandth."""
    inputs = entry.inputs()
    try:
        y = entry.function(*inputs)
        y.backward(np.ones(y.shape))
    except MiniresError:
        return False
    for k, x in enumerate(inputs):
        claimed = np.zeros(x.shape) if x.grad is None else x.grad.numpy()
        for index in np.ndindex(x.shape):
            values = []
            for step in (1e-6, -1e-6):
                moved = [mr.tensor(other.data) for other in inputs]
                moved[k].data[index] += step
                values.append(entry.function(*moved).numpy().sum())
            slope = (values[0] - values[1]) / 2e-6
            if not np.isclose(claimed[index], slope, rtol=1e-3, atol=1e-5):
                return False
    return True


def test_a_checker_with_an_upstream_of_ones_passes_many_of_them():
    missed = {entry.name for entry in BANK if entry.order == 1 and passes_with_ones(entry)}
    assert missed >= {
        "MulIgnoresItsUpstream",
        "ExpIgnoresItsUpstream",
        "CrossEntropyIgnoresItsUpstream",
        "ResidualAddHandsOnAOne",
        "BlockAddsOne",
        "TransposeReshapesInstead",
        "ConvFlipsTheKernelInDx",
        "FlipIsNotFlippedBack",
        "BatchNormForgetsTheVariance",
        "BatchNormForgetsGamma",
    }
