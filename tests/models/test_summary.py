"""models.summary: the papers' numbers, any module, and a model that stays unchanged."""

import numpy as np
import pytest

import minires as mr
from minires import nn
from minires.core.backend import generator
from minires.errors import ArgumentError, ShapeError


@pytest.mark.parametrize(
    ("depth", "billions", "papers"),
    [(18, 1.814, 1.8), (34, 3.664, 3.6), (50, 4.089, 4.1), (101, 7.801, 7.8), (152, 11.514, 11.5)],
)
def test_multiply_adds_are_torchvisions(depth, billions, papers):
    """As its documentation lists them; the last column is the paper's table 1, with the stride moved from 50 on."""
    found = mr.models.summary(mr.models.build(f"resnet{depth}"), (1, 3, 224, 224)).multiply_adds / 1e9
    assert found == pytest.approx(billions, abs=0.0005)
    assert found == pytest.approx(papers, abs=0.07)


def test_multiply_adds_of_the_cifar_family_are_the_sum_over_its_layers():
    n = 3  # resnet20
    pixels, convs = (32**2, 16**2, 8**2), [9 * 3 * 16 * 32**2]
    for size, width, before in zip(pixels, (16, 32, 64), (16, 16, 32), strict=True):
        convs += [size * 9 * before * width, (2 * n - 1) * size * 9 * width**2]
    found = mr.models.summary(mr.models.resnet20(), (5, 3, 32, 32))
    assert found.multiply_adds == 5 * (sum(convs) + 640)
    assert found.multiply_adds / 5e6 == pytest.approx(41, abs=0.5)


class Net(nn.Module):
    """It has its own parameter and ops, a layer that is used twice, one that is never used, and dropout."""

    def __init__(self):
        self.scale = nn.Parameter(np.ones(4, "f"))
        self.norm = nn.BatchNorm1d(4)
        self.twice = nn.Linear(4, 4)
        self.never = nn.Linear(7, 7)
        self.drop = nn.Dropout(0.5)
        self.kept = None

    def forward(self, x):
        x = self.twice(self.norm(x) * self.scale)
        self.kept = self.drop(self.twice(x))
        return mr.ops.matmul(self.kept, self.twice.weight)


def test_a_module_of_ones_own_is_counted_to_the_last_number():
    found = mr.models.summary(Net(), (3, 4))
    linear = 4 * 4 + 4
    rows = {(i, layer.name): layer for i, layer in enumerate(found.layers)}
    assert [layer.name for layer in found.layers] == ["", "norm", "twice", "twice", "drop"]
    assert [layer.parameters for layer in found.layers] == [4, 8, linear, 0, 0]
    assert [layer.multiply_adds for layer in found.layers] == [3 * 4 * 4, 0, 3 * 4 * 4, 3 * 4 * 4, 0]
    assert rows[0, ""].activation_bytes == 4 * 2 * 3 * 4  # the multiplication by scale, and the matrix product
    assert [layer.activation_bytes for layer in found.layers[1:]] == [48, 48, 48, 0]
    assert found.parameters == 4 + 8 + linear + 7 * 7 + 7
    assert found.parameter_bytes == 4 * (found.parameters + 8)  # a mean and a variance for each of 4
    assert found.multiply_adds == 3 * 48 and found.activation_bytes == 5 * 48


def test_the_model_is_left_as_it_was(rng):
    model = Net()
    model.drop.eval()
    model(mr.tensor(rng.standard_normal((6, 4)).astype("f"))).sum().backward()
    calls = []
    handle = model.norm.register_forward_hook(lambda module, inputs, output: calls.append(module))
    hooks, kept, state = model.norm._forward_hooks, model.kept, model.state_dict()
    grads = {name: p.grad for name, p in model.named_parameters()}
    attributes = [dict(vars(module)) for module in model.modules()]
    random = generator().bit_generator.state
    mr.models.summary(model, (3, 4))
    with pytest.raises(ShapeError):
        mr.models.summary(model, (3, 5))
    assert [module.training for module in model.modules()] == [True, True, True, True, False]
    assert model.norm._forward_hooks is hooks and not calls and model.kept is kept
    assert all(p.grad is grads[name] for name, p in model.named_parameters())
    assert generator().bit_generator.state == random
    for before, module in zip(attributes, model.modules(), strict=True):
        assert vars(module) == before
    for name, array in model.state_dict().items():
        np.testing.assert_array_equal(array, state[name])
    model(mr.tensor(rng.standard_normal((6, 4)).astype("f")))
    assert calls == [model.norm]
    handle.remove()


class Careless(nn.Module):
    """It counts its calls, changes a buffer and draws random numbers, in every mode."""

    def __init__(self):
        self.calls = nn.Buffer(np.zeros(1, "f"))

    def forward(self, x):
        self.calls.data[...] += 1
        return mr.ops.dropout(x, 0.5)


def test_buffers_and_the_generator_are_put_back():
    model, before = Careless(), generator().bit_generator.state
    mr.models.summary(model, (2, 3))
    assert model.calls.numpy() == 0 and generator().bit_generator.state == before


@pytest.mark.parametrize("replay", [False, True])
def test_a_folded_model_has_the_multiply_adds_of_the_model(replay):
    model = mr.models.resnet8()
    folded = nn.fold(model, replay=replay)
    expected = mr.models.summary(model, (2, 3, 16, 16)).multiply_adds
    assert mr.models.summary(folded, (2, 3, 16, 16)).multiply_adds == expected


def test_it_prints_a_table_and_shows_one_in_a_notebook():
    found = mr.models.summary(mr.models.resnet8(), (1, 3, 32, 32))
    lines = str(found).splitlines()
    assert repr(found) == str(found) and lines[0] == "CifarResNet, input 1x3x32x32"
    (conv,) = [line.split() for line in lines if line.startswith("layer2.0.conv1")]
    assert conv == ["layer2.0.conv1", "Conv2d", "1x32x16x16", "4,608", "1,179,648", "32.8", "kB"]
    assert len({len(line) for line in lines[2:-4]}) == 1  # the columns are flush
    assert "parameters     75,290" in lines[-3]
    table = found._repr_html_()
    assert table.count("<tr>") == len(found.layers) + 1 and "<td>1,179,648</td>" in table


def test_float64_counts_eight_bytes():
    model = nn.Linear(3, 2).to("float64")
    assert mr.models.summary(model, (5, 3)).activation_bytes == 5 * 2 * 8


WRONG = [
    (
        lambda: mr.models.summary(mr.models.resnet8(), (1, 1, 8, 8)),
        ShapeError,
        r"of 1x1x8x8 \(layer conv1\): conv2d: x",
    ),
    (lambda: mr.models.summary(mr.models.resnet8(), (3, 8, 8)), ShapeError, "3x8x8 .* Add a batch axis"),
    (lambda: mr.models.summary(nn.Linear(3, 2), (1, 4)), ShapeError, "Linear does not take an input of 1x4: linear"),
    (
        lambda: mr.models.summary(nn.Linear(3, 2), (0, 3)),
        ArgumentError,
        r"shape is \(0, 3\); it must be the shape of the input",
    ),
    (lambda: mr.models.summary(nn.Linear(3, 2), 3), ArgumentError, "shape is 3"),
    (lambda: mr.models.summary("resnet8", (1, 3)), ArgumentError, "model is str; it must be a Module"),
]


@pytest.mark.parametrize(("call", "error", "words"), WRONG)
def test_what_does_not_fit_is_said_in_a_sentence(call, error, words):
    with pytest.raises(error, match=words) as caught:
        call()
    assert "\n" not in str(caught.value)
