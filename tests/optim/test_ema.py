"""The moving average of the weights: its closed form, PyTorch's result, and its state."""

import numpy as np
import pytest

import minires as mr
from minires.errors import ArgumentError, StateDictError
from minires.optim import EMA


class Net(mr.nn.Module):
    """Parameters of two kinds of layer, running statistics, and a count."""

    def __init__(self):
        self.fc = mr.nn.Linear(3, 4)
        self.bn = mr.nn.BatchNorm1d(4)
        self.seen = mr.nn.module.Buffer(np.array(0))

    def forward(self, x):
        return self.bn(self.fc(x))


def set_all(model, rng):
    """Change the weights in place, as a step does."""
    for tensor in [*model.parameters(), *(buffer for _, buffer in model.named_buffers())]:
        if tensor.dtype.kind == "f":
            tensor.data += rng.random(tensor.shape).astype("f")  # a variance stays positive
        else:
            tensor.data += 1


def test_it_is_the_weighted_sum_of_all_weights_since_the_beginning(rng):
    """w_t has the weight (1 - d_t) * d_(t+1) * ... * d_last, and the first weights d_0 * ... * d_last."""
    model, decay, steps = Net(), 0.6, 15
    ema = EMA(model, decay)
    seen = [model.state_dict()]
    for _ in range(steps):
        set_all(model, rng)
        ema.update()
        seen.append(model.state_dict())
    decays = [min(decay, (1 + t) / (10 + t)) for t in range(steps)]
    assert decays[0] == 0.1 and decays[-1] == decay and 0.1 < decays[5] < decay
    shares = [1.0 if t == 0 else 1 - decays[t - 1] for t in range(steps + 1)]
    shares = [share * np.prod(decays[t:]) for t, share in enumerate(shares)]
    assert sum(shares) == pytest.approx(1)
    averaged = ema.module.state_dict()
    for name in ("fc.weight", "fc.bias", "bn.weight", "bn.bias", "bn.running_mean", "bn.running_var"):
        expected = sum(share * state[name].astype("d") for share, state in zip(shares, seen, strict=True))
        np.testing.assert_allclose(averaged[name], expected, rtol=1e-5, atol=1e-6)
        assert averaged[name].dtype == np.float32
    assert averaged["seen"] == steps, "a count is not averaged"


def test_the_first_weights_are_forgotten_soon(rng):
    """With a fixed decay, their weight would still be 0.999**50, or 95 %."""
    model = mr.nn.Linear(3, 2)
    ema = EMA(model, 0.999)
    model.weight.data += 1000
    model.bias.data[:] = 5.0
    for _ in range(50):
        ema.update()
    np.testing.assert_allclose(ema.module.weight.numpy(), model.weight.numpy(), rtol=1e-6)
    np.testing.assert_allclose(ema.module.bias.numpy(), 5.0, rtol=1e-6)


def test_weights_that_stay_keep_their_bits(rng):
    model = Net()
    ema = EMA(model, 0.97)
    before = model.state_dict()
    for _ in range(100):
        ema.update()
    for name, array in ema.module.state_dict().items():
        assert array.tobytes() == before[name].tobytes(), name


def test_the_model_itself_goes_on_as_without_it(rng):
    x, model = mr.tensor(rng.standard_normal((5, 3)).astype("f")), Net()
    model(x).sum().backward()
    ema = EMA(model, 0.9)
    assert not ema.module.training and model.training
    assert not any(parameter.requires_grad or parameter.grad for parameter in ema.module.parameters())
    assert all(parameter.requires_grad and parameter.grad is not None for parameter in model.parameters())
    before = model.state_dict()
    ema.update()
    set_all(ema.module, rng)
    assert all(before[name].tobytes() == array.tobytes() for name, array in model.state_dict().items())
    assert ema.module(x).shape == (5, 4)


def test_weights_that_were_loaded_or_moved_are_followed(rng):
    """Both give a parameter another array."""
    model = Net()
    ema = EMA(model, 0.0)
    model.load_state_dict({**model.state_dict(), "fc.bias": np.arange(4.0)})
    ema.update()
    np.testing.assert_array_equal(ema.module.fc.bias.numpy(), np.arange(4.0))


def test_an_update_is_noticed_by_a_pending_backward(rng):
    model = Net()
    ema = EMA(model, 0.9)
    x = mr.tensor(rng.standard_normal((5, 3)).astype("f"), requires_grad=True)
    loss = (ema.module(x) ** 2).sum()
    ema.update()
    with pytest.raises(mr.errors.GraphError, match="changed in place"):
        loss.backward()


def test_resumed_it_goes_on_bit_by_bit(rng):
    model, again = Net(), Net()
    straight, resumed = EMA(model, 0.9), EMA(again, 0.9)
    for step in range(9):
        set_all(model, rng)
        straight.update()
        if step == 4:
            resumed.load_state_dict(straight.state_dict())
        if step > 4:
            again.load_state_dict(model.state_dict())
            resumed.update()
    assert resumed.updates == 9
    for name, array in straight.module.state_dict().items():
        assert array.tobytes() == resumed.module.state_dict()[name].tobytes(), name


def test_its_state_is_a_copy(rng):
    model = Net()
    ema = EMA(model, 0.5)
    state = ema.state_dict()
    before = {name: array.copy() for name, array in state["arrays"].items()}
    set_all(model, rng)
    ema.update()
    assert all(np.array_equal(before[name], array) for name, array in state["arrays"].items())


@pytest.mark.parametrize("decay", [1.0, -0.1, 1.5, float("nan"), "0.9", None])
def test_decay_must_lie_in_0_to_1(decay):
    with pytest.raises(ArgumentError, match=r"EMA: decay is .*; it must lie in \[0, 1\)"):
        EMA(Net(), decay)


@pytest.mark.parametrize(
    ("state", "words"),
    [
        ({}, r"must hold 'arrays' and 'updates'; it holds \[\]"),
        ({"arrays": {}, "updates": 3}, "missing .*fc.weight"),
        ({"arrays": {**Net().state_dict(), "fc.bias": np.zeros(5)}, "updates": 3}, r"fc.bias \(5 for 4\)"),
    ],
)
def test_a_state_of_another_model_changes_nothing(state, words):
    ema = EMA(Net(), 0.9)
    before = ema.module.state_dict()
    with pytest.raises(StateDictError, match=words):
        ema.load_state_dict(state)
    assert ema.updates == 0
    assert all(np.array_equal(before[name], array) for name, array in ema.module.state_dict().items())


@pytest.mark.parity
@pytest.mark.parametrize("decay", [0.1, 0.5, 0.99])
def test_averages_equal_pytorch(rng, decay):
    """PyTorch's first update is a copy, so it gets the initial weights, with which ours starts."""
    torch = pytest.importorskip("torch")
    from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

    ours, theirs = mr.nn.Linear(3, 2), torch.nn.Linear(3, 2)
    ema = EMA(ours, decay)
    if decay == 0.1:  # the beginning is no other then
        average = AveragedModel(theirs, multi_avg_fn=get_ema_multi_avg_fn(decay))
    else:

        def averaged(average, latest, number):
            d = min(decay, float(number) / (9 + float(number)))  # counted from 1; ours counts from 0
            return d * average + (1 - d) * latest

        average = AveragedModel(theirs, avg_fn=averaged)

    def copy_ours():
        theirs.weight.data[:] = torch.tensor(ours.weight.numpy())
        theirs.bias.data[:] = torch.tensor(ours.bias.numpy())
        average.update_parameters(theirs)

    copy_ours()
    for _ in range(12):
        set_all(ours, rng)
        ema.update()
        copy_ours()
    np.testing.assert_allclose(ema.module.weight.numpy(), average.module.weight.detach().numpy(), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(ema.module.bias.numpy(), average.module.bias.detach().numpy(), rtol=1e-5, atol=1e-6)


def test_a_replaced_layer_is_noticed():
    model = mr.nn.Sequential(mr.nn.Linear(2, 2), mr.nn.Linear(2, 2))
    ema = EMA(model, 0.9)
    model[1] = mr.nn.Linear(2, 2)
    with pytest.raises(ArgumentError, match=r"a layer of the model was added or replaced; create a new EMA"):
        ema.update()
