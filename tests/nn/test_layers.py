"""Layers: shapes, defaults, statistics of the initialisers, batch norm's modes, float32 throughout."""

import math

import numpy as np
import pytest

import minires as mr
from minires import nn
from minires.errors import ArgumentError, ShapeError

LAYERS = {
    "Linear": (lambda: nn.Linear(5, 3), (4, 5), (4, 3)),
    "Linear without bias": (lambda: nn.Linear(5, 3, bias=False), (2, 4, 5), (2, 4, 3)),
    "Conv2d": (lambda: nn.Conv2d(4, 6, (3, 2), stride=(2, 1), padding=1, groups=2), (2, 4, 7, 5), (2, 6, 4, 6)),
    "ConvTranspose2d": (lambda: nn.ConvTranspose2d(4, 6, 3, stride=2, output_padding=1), (2, 4, 5, 3), (2, 6, 12, 8)),
    "BatchNorm1d": (lambda: nn.BatchNorm1d(5), (4, 5), (4, 5)),
    "BatchNorm2d": (lambda: nn.BatchNorm2d(3), (2, 3, 4, 5), (2, 3, 4, 5)),
    "LayerNorm": (lambda: nn.LayerNorm((4, 5)), (2, 3, 4, 5), (2, 3, 4, 5)),
    "ReLU": (nn.ReLU, (2, 3), (2, 3)),
    "Dropout": (lambda: nn.Dropout(0.3), (2, 3), (2, 3)),
    "MaxPool2d": (lambda: nn.MaxPool2d(3, stride=2, padding=1), (2, 3, 7, 8), (2, 3, 4, 4)),
    "AvgPool2d": (lambda: nn.AvgPool2d((2, 3)), (2, 3, 7, 8), (2, 3, 3, 2)),
    "GlobalAvgPool2d": (nn.GlobalAvgPool2d, (2, 3, 4, 5), (2, 3)),
    "Flatten": (nn.Flatten, (2, 3, 4, 5), (2, 60)),
    "Identity": (nn.Identity, (2, 3), (2, 3)),
}


@pytest.mark.parametrize("layer", LAYERS)
def test_shapes_and_float32_through_a_training_step(layer, rng):
    make, given, expected = LAYERS[layer]
    module = make()
    x = mr.tensor(rng.standard_normal(given).astype("f"), requires_grad=True)
    y = module(x)
    assert y.shape == expected and y.dtype == np.float32
    (y * y).sum().backward()
    assert x.grad.dtype == np.float32 and x.grad.shape == given
    for make_optimizer in (mr.optim.SGD, mr.optim.Adam, mr.optim.AdamW):
        parameters = list(module.parameters())
        if parameters:
            optimizer = make_optimizer(parameters, lr=0.1, weight_decay=0.01)
            optimizer.step()
            arrays = [array for state in optimizer.state for name, array in state.items() if name != "step"]
            assert {a.dtype for a in [*(p.data for p in parameters), *arrays]} == {np.dtype("float32")}
    assert {buffer.dtype for _, buffer in module.named_buffers()} <= {np.dtype("float32")}
    assert repr(module).startswith(layer.split()[0] + "(")


@pytest.mark.parametrize(
    ("fill", "std", "is_normal"),
    [
        (lambda w: nn.init.kaiming_normal(w, nonlinearity="relu"), math.sqrt(2 / (40 * 15)), True),
        (lambda w: nn.init.kaiming_normal(w, mode="fan_out"), math.sqrt(2 / (60 * 15)), True),
        (lambda w: nn.init.kaiming_uniform(w, a=1.0), math.sqrt(1 / (40 * 15)), False),
        (lambda w: nn.init.xavier_normal(w), math.sqrt(2 / (100 * 15)), True),
        (lambda w: nn.init.xavier_uniform(w, gain=3.0), 3 * math.sqrt(2 / (100 * 15)), False),
        (lambda w: nn.init.kaiming_normal(w, nonlinearity="tanh"), 5 / 3 / math.sqrt(40 * 15), True),
    ],
)
def test_initialisers_have_the_variance_of_their_formula(fill, std, is_normal):
    weight = nn.Parameter(np.zeros((60, 40, 3, 5), "f"))  # 36,000 numbers: their deviation is known to 0.4 %
    assert fill(weight) is weight and weight.dtype == np.float32
    assert weight.numpy().std() == pytest.approx(std, rel=0.02)
    assert abs(weight.numpy().mean()) < 4 * std / math.sqrt(weight.size)
    largest = np.abs(weight.numpy()).max() / std
    assert largest > 3 if is_normal else largest <= math.sqrt(3) * 1.0001


def test_layers_start_as_in_pytorch():
    conv = nn.Conv2d(40, 60, 3)
    bound = 1 / math.sqrt(40 * 9)
    for parameter in (conv.weight, conv.bias):
        assert np.abs(parameter.numpy()).max() <= bound
    assert np.abs(conv.weight.numpy()).max() > 0.99 * bound


def test_same_seed_same_layer():
    states = []
    for seed in (3, 3, 4):
        mr.manual_seed(seed)
        states.append(nn.Conv2d(3, 4, 3).state_dict()["weight"])
    np.testing.assert_array_equal(states[0], states[1])
    assert (states[0] != states[2]).any()


def test_batch_norm_trains_by_the_batch_and_evaluates_by_what_it_has_seen(rng):
    layer = nn.BatchNorm2d(3)
    x = 5 + 2 * rng.standard_normal((6, 3, 4, 5)).astype("f")
    y = layer(mr.tensor(x)).numpy()
    np.testing.assert_allclose(y.mean(axis=(0, 2, 3)), 0, atol=1e-5)
    np.testing.assert_allclose(y.std(axis=(0, 2, 3)), 1, atol=1e-4)
    np.testing.assert_allclose(layer.running_mean.numpy(), 0.1 * x.mean(axis=(0, 2, 3)), rtol=1e-5)
    np.testing.assert_allclose(layer.running_var.numpy(), 0.9 + 0.1 * x.var(axis=(0, 2, 3), ddof=1), rtol=1e-5)
    seen = layer.state_dict()
    one = layer.eval()(mr.tensor(x[:1])).numpy()
    expected = (x[:1] - seen["running_mean"][:, None, None]) / np.sqrt(seen["running_var"][:, None, None] + 1e-5)
    np.testing.assert_allclose(one, expected, rtol=1e-5)
    np.testing.assert_array_equal(layer.state_dict()["running_mean"], seen["running_mean"])


def test_dropout_only_in_training():
    layer, x = nn.Dropout(0.25), mr.tensor(np.ones((50, 80), "f"))
    y = layer(x).numpy()
    assert set(np.unique(y)) == {0.0, np.float32(1 / 0.75)}
    assert (y == 0).mean() == pytest.approx(0.25, abs=0.03)
    assert layer.eval()(x) is x


WRONG = [
    (lambda: nn.Linear(0, 3), ArgumentError, "in_features is 0"),
    (lambda: nn.Linear(3, 2.5), ArgumentError, "out_features is 2.5"),
    (lambda: nn.Conv2d(3, 4, 0), ArgumentError, "kernel_size is 0"),
    (lambda: nn.Conv2d(3, 4, 3, stride=(1, 2, 3)), ArgumentError, r"stride is \(1, 2, 3\)"),
    (lambda: nn.Conv2d(3, 4, 3, padding=-1), ArgumentError, "padding is -1"),
    (lambda: nn.Conv2d(3, 4, 3, groups=2), ArgumentError, "in_channels 3, .* groups 2"),
    (lambda: nn.ConvTranspose2d(3, 4, 3, stride=2, output_padding=2), ArgumentError, "output_padding is 2"),
    (lambda: nn.BatchNorm2d(3, eps=0), ArgumentError, "eps is 0"),
    (lambda: nn.BatchNorm2d(3, momentum=1.5), ArgumentError, "momentum is 1.5"),
    (lambda: nn.LayerNorm(0), ArgumentError, "LayerNorm"),
    (lambda: nn.Dropout(1.5), ArgumentError, "p is 1.5"),
    (lambda: nn.MaxPool2d(3, padding=2), ArgumentError, r"padding is \(2, 2\)"),
    (lambda: nn.BatchNorm2d(3)(mr.tensor(np.ones((2, 3), "f"))), ShapeError, r"BatchNorm2d: x has 2 axes \(x: 2x3\)"),
    (lambda: nn.BatchNorm1d(3)(mr.tensor(np.ones((1, 3), "f"))), ShapeError, "more than one value"),
    (lambda: nn.Linear(4, 2)(mr.tensor(np.ones((2, 3), "f"))), ShapeError, "3 features .* expects 4"),
    (lambda: nn.init.kaiming_normal(mr.tensor([1.0])), ShapeError, "no fan"),
    (
        lambda: nn.init.kaiming_normal(nn.Linear(2, 2).weight, mode="fan"),
        ArgumentError,
        "no mode 'fan'",
    ),
    (lambda: nn.init.kaiming_normal(nn.Linear(2, 2).weight, nonlinearity="mish"), ArgumentError, "'mish'"),
    (lambda: nn.init.uniform(nn.Linear(2, 2).weight, 1, 0), ArgumentError, "a is 1 and b is 0"),
    (lambda: nn.init.normal(nn.Linear(2, 2).weight, std=-1), ArgumentError, "std is -1"),
]


@pytest.mark.parametrize(("call", "error", "words"), WRONG)
def test_wrong_arguments_raise_the_named_error(call, error, words):
    with pytest.raises(error, match=words) as caught:
        call()
    assert type(caught.value) is error and "\n" not in str(caught.value)
