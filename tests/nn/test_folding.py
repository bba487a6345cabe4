"""A folded model computes what the model computes in evaluation."""

import copy
import pickle

import numpy as np
import pytest

import minires as mr
from minires import nn
from minires.errors import ArgumentError, GraphError, ShapeError
from minires.nn.folding import Conv2dAct


def with_statistics(model, rng):
    """Nontrivial batch norms: running statistics and parameters other than 0 and 1."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            c = module.num_features
            module.weight.data = rng.uniform(0.5, 1.5, c).astype("f")
            module.bias.data = rng.normal(0, 0.3, c).astype("f")
            module.running_mean.data = rng.normal(0, 0.3, c).astype("f")
            module.running_var.data = rng.uniform(0.5, 1.5, c).astype("f")
    return model


@pytest.mark.parametrize("engine", ["fast", "textbook"])
@pytest.mark.parametrize(
    "options",
    [
        {"name": "resnet8"},
        {"name": "resnet14", "shortcut": "B"},
        {"name": "resnet8", "shortcut": "C"},
        {"name": "resnet8", "preactivation": True},
        {"name": "resnet8", "preactivation": True, "shortcut": "B"},
        {"name": "resnet8", "stochastic_depth_prob": 0.5},
        {"name": "plain8"},
        {"name": "resnet18", "num_classes": 10},
        {"name": "resnet50", "num_classes": 10},
        {"name": "resnet18", "num_classes": 10, "deep_stem": True, "avg_down": True},
        {"name": "resnet50", "num_classes": 10, "preactivation": True},
        {"name": "resnet18", "num_classes": 10, "preactivation": True, "deep_stem": True},
    ],
    ids=str,
)
def test_the_outputs_are_the_models(options, engine, rng):
    model = with_statistics(mr.models.build(**options), rng).eval()
    side = 64 if options["name"] in ("resnet18", "resnet50") else 32
    x = mr.tensor(rng.standard_normal((3, 3, side, side)).astype("f"))
    with mr.no_grad(), mr.engine(engine):
        expected, got = model(x).data, nn.fold(model)(x).data
        replayed = nn.fold(model, replay=True)(x).data
    assert np.abs(got - expected).max() < 1e-5 * np.abs(expected).max()
    assert np.abs(replayed - expected).max() < 1e-5 * np.abs(expected).max()


@pytest.mark.parametrize("engine", ["textbook", "fast"])
def test_a_model_of_several_outputs_is_folded_but_not_replayed(engine, rng):
    model = with_statistics(mr.vision.fcos("resnet8", 2), rng).eval()
    with mr.no_grad(), mr.engine(engine):
        replayed = nn.fold(model, replay=True)
        for count in (2, 1, 1):
            x = mr.tensor(rng.standard_normal((count, 3, 32, 32)).astype("f"))
            for got, expected in zip(replayed(x), model(x), strict=True):
                np.testing.assert_allclose(got.data, expected.data, atol=1e-4)


def ops_run(model, x):
    with mr.profile() as p:
        model(x)
    return {name: row.calls for (name, _), row in p.rows.items()}


def test_batch_norm_shortcut_and_relu_are_part_of_the_convolutions(rng):
    folded = nn.fold(mr.models.resnet20())
    x = mr.tensor(rng.standard_normal((2, 3, 32, 32)).astype("f"))
    assert set(ops_run(folded, x)) == {"conv2d_act", "getitem", "pad", "global_avg_pool2d", "linear"}
    assert ops_run(folded, x)["conv2d_act"] == 19


def test_the_model_is_left_as_it_was_and_the_copy_does_not_follow_it(rng):
    model = with_statistics(mr.models.resnet8(), rng)
    x = mr.tensor(rng.standard_normal((2, 3, 16, 16)).astype("f"))
    state = {name: value.copy() for name, value in model.state_dict().items()}
    folded = nn.fold(model)
    before = folded(x).data
    assert model.training and not folded.training
    for name, value in model.state_dict().items():
        assert np.array_equal(value, state[name])
    model.conv1.weight.data[...] = 0
    assert np.array_equal(folded(x).data, before)


def test_nothing_is_recorded(rng):
    folded = nn.fold(mr.models.resnet8())
    y = folded(mr.tensor(rng.standard_normal((2, 3, 16, 16)).astype("f"), requires_grad=True))
    assert not y.requires_grad and y.op is None
    assert not any(parameter.requires_grad for parameter in folded.parameters())
    halves = nn.fold(Halves())(mr.tensor(rng.standard_normal((2, 3, 16, 16)).astype("f"), requires_grad=True))
    assert not halves["both"][0].requires_grad and not halves["sum"].requires_grad


class Halves(nn.Module):
    """A shortcut outside of the folded layers, which would record only a part of the graph, and several outputs."""

    def __init__(self):
        self.conv, self.bn = nn.Conv2d(3, 3, 3, padding=1), nn.BatchNorm2d(3)

    def forward(self, x):
        return {"both": (self.conv(x), x), "sum": self.bn(self.conv(x)) + x}


@pytest.mark.parametrize("build", [lambda conv: conv, lambda conv: nn.Sequential(conv), lambda conv: Halves()])
def test_an_output_does_not_change_when_the_memory_of_the_input_is_used_again(build, rng):
    folded, x = nn.fold(nn.Sequential(build(nn.Conv2d(3, 4, 3)))), rng.standard_normal((1, 3, 8, 8)).astype("f")
    buffer = mr.Tensor.wrap(x.copy())
    expected, got = (folded(each) for each in (mr.tensor(x), buffer))
    buffer.data[...] = 0  # the next batch
    expected, got = (y["both"][0] if isinstance(y, dict) else y for y in (expected, got))
    assert np.array_equal(got.data, expected.data) and expected.data.any()


@pytest.mark.parametrize("change", [lambda x: setattr(x, "data", x.data * 2), lambda x: x.__iadd__(1)])
def test_a_change_between_convolution_and_batch_norm_is_refused(change):
    class Changes(nn.Module):
        def __init__(self):
            self.conv, self.bn = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)

        def forward(self, x):
            y = self.conv(x)
            change(x)
            return self.bn(y)

    with pytest.raises(GraphError, match=r"the input of a convolution \(1x3x8x8\) was changed in place"):
        nn.fold(Changes())(mr.tensor(np.ones((1, 3, 8, 8), "f")))


CHANGES = {
    "to": lambda model: model.to("float64"),
    "load": lambda model: model.load_state_dict({n: a * 0.5 for n, a in model.state_dict().items()}),
    "assignment": lambda model: [setattr(p, "data", p.data * 0.5) for p in model.parameters()],
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("replay", [False, True])
def test_a_folded_model_follows_its_own_weights(change, replay, rng):
    model = with_statistics(mr.models.resnet8(), rng).eval()
    x = mr.tensor(rng.standard_normal((2, 3, 16, 16)).astype("f"))
    folded = nn.fold(model, replay=replay)
    folded(x)
    for changed in (folded, model):
        CHANGES[change](changed)
    x = x.to(model.fc.weight.dtype)
    if change != "assignment" or not replay:  # replayed programs keep the weights
        got, expected = folded(x), model(x)
        assert got.dtype == expected.dtype
        assert np.abs(got.data - expected.data).max() < 1e-5 * np.abs(expected.data).max()


@pytest.mark.parametrize("replay", [False, True])
@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model)), nn.fold])
def test_a_folded_model_can_be_copied_pickled_and_folded_again(duplicate, replay, rng):
    folded = nn.fold(with_statistics(mr.models.resnet8(), rng), replay=replay)
    x = mr.tensor(rng.standard_normal((2, 3, 16, 16)).astype("f"))
    expected = folded(x).data.copy()
    twin = duplicate(folded)
    for parameter in folded.parameters():
        parameter.data[...] = 0
    assert np.allclose(twin(x).data, expected, atol=1e-5)


def test_layers_with_hooks_are_not_folded_and_other_hooks_are_kept(rng):
    model, calls = with_statistics(Odd(), rng).eval(), []
    model.bn.register_forward_hook(lambda module, inputs, output: calls.append("bn") or output * 2)
    model.last.register_forward_hook(lambda module, inputs, output: calls.append("last"))
    model.register_forward_hook(lambda module, inputs, output: calls.append(type(output)))
    x = mr.tensor(rng.standard_normal((2, 3, 9, 8)).astype("f"))
    assert np.allclose(nn.fold(model)(x).data, model(x).data, atol=1e-5)
    assert calls == ["bn", "last", mr.Tensor] * 2


def test_a_shared_block_is_folded_once(rng):
    block = nn.Sequential(nn.Conv2d(3, 3, 3, padding=1), nn.BatchNorm2d(3))
    model = with_statistics(nn.Sequential(block, nn.ReLU(), block), rng).eval()
    x = mr.tensor(rng.standard_normal((2, 3, 8, 8)).astype("f"))
    assert np.allclose(nn.fold(model)(x).data, model(x).data, atol=1e-5)


class Odd(nn.Module):
    """One convolution whose output is used twice, not only by a batch norm, and one with a bias."""

    def __init__(self):
        self.conv = nn.Conv2d(3, 4, 3)
        self.bn = nn.BatchNorm2d(4)
        self.last = nn.Conv2d(4, 2, 1)

    def forward(self, x):
        y = self.conv(x)
        return self.last(self.bn(y) + y * 2).relu()


def test_a_convolution_that_something_else_reads_is_computed(rng):
    model = with_statistics(Odd(), rng).eval()
    x = mr.tensor(rng.standard_normal((2, 3, 9, 8)).astype("f"))
    assert np.allclose(nn.fold(model)(x).data, model(x).data, atol=1e-5)


class Shared(nn.Module):
    """A convolution with a batch norm for each of two images, as in the heads of detectors."""

    def __init__(self):
        self.conv = nn.Conv2d(16, 16, 3, padding=1)
        self.norms = nn.ModuleList(nn.BatchNorm2d(16) for _ in range(2))

    def forward(self, x):
        first, second = (norm(self.conv(x), activation="relu") for norm in self.norms)
        return first - second


@pytest.mark.parametrize("engine", ["fast", "textbook"])
def test_each_batch_norm_after_a_shared_convolution_keeps_its_own_weights(engine, rng):
    model = with_statistics(Shared(), rng).eval()
    x = mr.tensor(rng.standard_normal((2, 16, 16, 16)).astype("f"))
    folded = nn.fold(model)
    with mr.engine(engine):
        for _ in range(2):
            assert np.allclose(folded(x).data, model(x).data, atol=1e-4)


def test_grouped_and_float64_models_fold_as_well(rng):
    model = with_statistics(nn.Sequential(nn.Conv2d(4, 6, 3, groups=2), nn.BatchNorm2d(6)), rng).eval()
    x = mr.tensor(rng.standard_normal((2, 4, 7, 7)).astype("f"))
    assert np.allclose(nn.fold(model)(x).data, model(x).data, atol=1e-5)


OPTIONS = [
    ({"padding": "same"}, {}),
    ({"kernel_size": (2, 4), "padding": "same", "dilation": (1, 3)}, {}),
    ({"padding": 2, "padding_mode": "reflect"}, {}),
    ({"padding": 1, "padding_mode": "circular", "stride": 2, "groups": 4}, {}),
    ({}, {"affine": False}),
    ({}, {"momentum": None}),
    ({}, {"track_running_stats": False}),
]


@pytest.mark.parametrize(("conv", "norm"), OPTIONS)
@pytest.mark.parametrize("replay", [False, True])
def test_every_option_of_the_layers_is_folded_or_kept(conv, norm, replay, rng):
    layers = nn.Conv2d(4, 8, **{"kernel_size": 3, **conv}), nn.BatchNorm2d(8, **norm), nn.ReLU()
    model, x = nn.Sequential(*layers), mr.tensor(rng.standard_normal((3, 4, 9, 8)).astype("f"))
    for _ in range(5):
        model(x * 3 + 1)  # running statistics
    assert np.allclose(nn.fold(model.eval(), replay=replay)(x).data, model(x).data, atol=1e-5)


def test_wrong_uses_say_so(rng):
    with pytest.raises(ArgumentError, match="it must be a Module"):
        nn.fold(3)
    wrong = nn.fold(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(5)))
    x = mr.tensor(rng.standard_normal((1, 3, 8, 8)).astype("f"))
    with pytest.raises(ArgumentError, match="a convolution to 4 channels precedes a batch norm of 5"):
        wrong(x)
    block = nn.fold(mr.models.BasicBlock(3, 3, 1, "A"))
    with pytest.raises(ShapeError, match="shortcut is 1x3x4x4"):
        block.bn1(block.conv1(x), mr.tensor(np.zeros((1, 3, 4, 4), "f")))
    with pytest.raises(mr.errors.ArgumentError, match="activation is 'tanh'"):
        block.bn1(block.conv1(x), activation="tanh")
    with pytest.raises(NotImplementedError):
        Conv2dAct(block.conv1.conv.window, 1, None, {}).backward(x)
