"""Lesions and swaps: errors that are known in advance, and models that have all their blocks afterwards."""

import numpy as np
import pytest

import minires as mr
from minires.data import Split
from minires.errors import ArgumentError
from minires.explain.surgery import Study
from minires.models.blocks import BasicBlock, Bottleneck
from minires.training import evaluate


class Adding(mr.nn.Module):
    """x + W x."""

    def __init__(self, weight):
        self.fc = mr.nn.Linear(2, 2, bias=False)
        self.fc.weight.data = np.array(weight, np.float32)

    def forward(self, x):
        return x + self.fc(x)


NOTHING, EXCHANGE = [[0, 0], [0, 0]], [[-1, 1], [1, -1]]  # x + W x is x, and x with its two numbers exchanged
BLOCKS = ["1", "2"]


def floats(images, rng=None):
    return images.astype(np.float32)


def network(*blocks):
    return mr.nn.Sequential(mr.nn.Flatten(), *blocks, mr.nn.Identity())


@pytest.fixture
def split():
    """Of four images of two pixels, the second pixel is the brighter one in three, and the label says so in all."""
    images = np.array([[10, 200], [0, 7], [30, 31], [90, 20]], np.uint8).reshape(4, 1, 1, 2)
    return Split(images, np.array([1, 1, 1, 1]))


def test_errors_worked_out_by_hand(split, device):
    """The network exchanges the pixels, and so is wrong about three; without that block about one."""
    model = network(Adding(NOTHING), Adding(EXCHANGE)).to(device)
    result = mr.explain.lesion(model, split, floats, BLOCKS, counts=[1, 2])
    assert [(row["count"], row["removed"], row["error_percent"]) for row in result.rows] == [
        (0, "", 75), (1, "1", 75), (1, "2", 25), (2, "1 2", 25),
    ]  # fmt: skip
    assert result.rows[1]["loss"] == result.rows[0]["loss"], "a block that adds nothing is not missed"
    assert result.guessing_percent == 0 and result.rows[1]["reads"] == result.rows[1]["gives"] == "2"
    logits = split.images.reshape(4, 2).astype(float)  # without the exchange
    loss = np.mean(np.logaddexp(logits[:, 0], logits[:, 1]) - logits[:, 1])
    assert result.rows[2]["loss"] == pytest.approx(loss, rel=1e-5)


def digits(n=40):
    test = mr.data.digits().test
    return Split(test.images[:n], test.labels[:n])


def scaled(images, rng=None):
    return images.astype(np.float32) / 255


def randomised(model):
    """Scales and statistics that differ between channels, so that symmetry cannot hide an error."""
    rng = np.random.default_rng(3)
    for module in model.modules():
        if isinstance(module, mr.nn.BatchNorm2d):
            for name, low in (("weight", 0.5), ("bias", -1), ("running_mean", -1), ("running_var", 0.5)):
                getattr(module, name).data = rng.uniform(low, 2, module.num_features).astype(np.float32)
    return model


class Bottlenecks(mr.nn.Module):
    def __init__(self, shortcut):
        self.conv1 = mr.nn.Conv2d(1, 8, 3, padding=1)
        self.blocks = mr.nn.Sequential(Bottleneck(8, 16, 2, shortcut), Bottleneck(16, 16, 1, shortcut))
        self.fc = mr.nn.Linear(16, 10)

    def forward(self, x):
        return self.fc(mr.ops.global_avg_pool2d(self.blocks(self.conv1(x))))


RESIDUAL = {
    "option A": lambda: mr.models.resnet14(in_channels=1),
    "option B": lambda: mr.models.resnet8(in_channels=1, shortcut="B"),
    "option C": lambda: mr.models.resnet8(in_channels=1, shortcut="C"),
    "pre-activation": lambda: mr.models.resnet14(in_channels=1, preactivation=True),
    "pre-activation, B": lambda: mr.models.resnet8(in_channels=1, preactivation=True, shortcut="B"),
    "bottlenecks": lambda: Bottlenecks("B"),
}


@pytest.mark.parametrize("make", RESIDUAL.values(), ids=RESIDUAL)
def test_a_block_without_its_branch_is_one_whose_last_layer_gives_zero(make):
    """Another way to remove F is to set the weights of its last layer to 0. Removing the block then changes nothing."""
    model = randomised(make())
    result = mr.explain.lesion(model, digits(), scaled)
    found = {row["removed"]: row for row in result.rows}
    blocks = [name for name in found if name]
    assert blocks == [name for name, module in model.named_modules() if hasattr(module, "downsample")]
    for name in blocks:
        block = dict(model.named_modules())[name]
        last = list(block.children())[-2]  # before the shortcut
        before = {kind: getattr(last, kind).data for kind in ("weight", "bias") if getattr(last, kind) is not None}
        for kind, values in before.items():
            getattr(last, kind).data = np.zeros_like(values)
        (intact, lesion) = mr.explain.lesion(model, digits(), scaled, blocks=[name]).rows
        for kind, values in before.items():
            getattr(last, kind).data = values
        assert intact["loss"] == pytest.approx(found[name]["loss"], rel=1e-4) and lesion["loss"] == intact["loss"]
        assert abs(found[name]["loss"] - result.rows[0]["loss"]) > 1e-4, "or this shows nothing"


@pytest.mark.parametrize(
    ("block", "channels", "stride"),
    [(BasicBlock(4, 9, 2, None), 4, 2), (Bottleneck(3, 8, 2, None), 3, 2), (BasicBlock(4, 4, 1, None), 4, 1)],
)
def test_a_plain_block_is_replaced_by_the_shortcut_of_its_twin(block, channels, stride):
    """Every second pixel, and new channels of zeros, as many before as after; an odd one comes after."""

    class Net(mr.nn.Module):
        def __init__(self):
            self.conv1, self.block = mr.nn.Conv2d(1, channels, 1), block

        def forward(self, x):
            return mr.ops.global_avg_pool2d(self.block(self.conv1(x)))

    net = Net()
    study = Study("lesion", net, Split(digits().images, np.zeros(40, np.int64)), scaled, None, 1, 0, 256)
    x = np.random.default_rng(0).standard_normal((2, channels, 5, 7)).astype(np.float32)
    found = study.instead(study.places[0])(mr.tensor(x)).numpy()
    kept = np.maximum(x[:, :, ::stride, ::stride], 0)
    new = found.shape[1] - channels
    assert np.array_equal(found[:, new // 2 : new // 2 + channels], kept)
    assert not found[:, : new // 2].any() and not found[:, new // 2 + channels :].any()


@pytest.mark.parametrize("name", ["plain8", "resnet8"])
def test_a_folded_network_gives_the_same(name):
    model = randomised(mr.models.build(name, in_channels=1))
    rows, folded = (
        mr.explain.lesion(network, digits(), scaled, counts=[3]).rows for network in (model, mr.nn.fold(model))
    )
    assert [row["removed"] for row in rows] == [row["removed"] for row in folded]
    assert [row["loss"] for row in folded] == pytest.approx([row["loss"] for row in rows], rel=1e-4)


def test_several_blocks_at_once_are_drawn_by_the_seed():
    model = mr.models.resnet14(in_channels=1)
    draw = [
        [row["removed"] for row in mr.explain.lesion(model, digits(8), scaled, counts=[2, 6], trials=3, seed=seed).rows]
        for seed in (0, 0, 1)
    ]
    assert draw[0] == draw[1] != draw[2]
    assert draw[0][-1].split() == draw[0][1:7], "there is one way to take out all six, and it is tried once"
    for names in draw[0][7:-1]:
        assert len(set(names.split())) == 2


def test_orders_worked_out_by_hand(split):
    """(a, b) becomes (a, a + b) and then (a + b', b'), or the other way round."""
    model = network(Adding([[0, 0], [1, 0]]), Adding([[0, 1], [0, 0]]))
    result = mr.explain.swap(model, split, floats, BLOCKS)
    assert [(row["count"], row["kendall_tau"], row["order"]) for row in result.rows] == [(0, 1, "1 2"), (1, -1, "2 1")]
    a, b = split.images.reshape(4, 2).astype(float).T
    for row, (first, second) in zip(result.rows, ((2 * a + b, a + b), (a + b, a + 2 * b)), strict=True):
        assert row["error_percent"] == 100 * np.mean(first >= second)  # of equals, the first is taken
        assert row["loss"] == pytest.approx(np.mean(np.logaddexp(first, second) - second), abs=1e-4)


def test_swapping_equal_blocks_changes_nothing():
    model = mr.models.resnet14(in_channels=1)
    for stage, (one, other) in ((s, list(getattr(model, s).children())) for s in ("layer1", "layer2", "layer3")):
        if stage == "layer1":
            other.load_state_dict(one.state_dict())
    pair = mr.explain.swap(model, digits(), scaled, ["layer1.0", "layer1.1"])
    assert pair.rows[1]["loss"] == pair.rows[0]["loss"] and pair.rows[1]["kendall_tau"] == -1


def test_only_blocks_of_equal_shapes_change_places():
    result = mr.explain.swap(mr.models.resnet20(in_channels=1), digits(4), scaled, counts=[1, 3], trials=8, seed=5)
    fixed = {"layer2.0": 3, "layer3.0": 6}
    for row in result.rows:
        order = row["order"].split()
        assert all(order.index(name) == place for name, place in fixed.items())
        assert [name[:6] for name in order] == [f"layer{stage}" for stage in (1, 2, 3) for _ in range(3)]
    assert len({row["order"] for row in result.rows}) > 4


@pytest.mark.parametrize("instrument", [mr.explain.lesion, mr.explain.swap])
def test_every_block_is_back_afterwards_and_after_an_interruption(instrument, monkeypatch):
    model = mr.models.resnet20(in_channels=1)
    model.train().layer3.eval()
    modules = [(name, module, module.training, dict(vars(module))) for name, module in model.named_modules()]
    weights = {name: array.tobytes() for name, array in model.state_dict().items()}

    def check():
        for (name, module, training, attributes), (name_now, now) in zip(modules, model.named_modules(), strict=True):
            assert (name, module, training) == (name_now, now, now.training)
            assert list(attributes) == list(vars(now)) and "forward" not in vars(now)
        assert weights == {name: array.tobytes() for name, array in model.state_dict().items()}

    instrument(model, digits(4), scaled)
    check()
    with pytest.raises(mr.errors.LabelError):
        instrument(model, Split(digits(4).images, np.full(4, 10)), scaled)
    check()
    calls = []

    def interrupted(*arguments):
        calls.append(arguments)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return evaluate(*arguments)

    monkeypatch.setattr("minires.explain.surgery.evaluate", interrupted)
    with pytest.raises(KeyboardInterrupt):
        instrument(model, digits(4), scaled, counts=[1, 2])
    check()


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"blocks": ["1", "7"]}, "Sequential has no 7; it has 0, 1, 1.fc, 2, 2.fc, 3."),
        ({"blocks": "1"}, "blocks is '1'; it must be a list of names"),
        ({"blocks": []}, "blocks is []; it must be"),
        (
            {"blocks": None},
            "Sequential has no blocks of minires.models; name your own blocks, such as ",
        ),
        ({"counts": 4}, "counts is 4; it must be a list of integers"),
        ({"counts": "4"}, "counts is '4'; it must be a list of integers"),
        ({"counts": [3]}, "counts holds 3; it must hold integers from 1 to "),
        ({"counts": [0]}, "counts holds 0; it must hold integers from 1 to "),
        ({"counts": [True]}, "counts holds True"),
        ({"trials": 0}, "trials is 0; it must be an integer >= 1"),
        ({"seed": -1}, "seed is -1; it must be an integer >= 0"),
    ],
)
@pytest.mark.parametrize("name", ["lesion", "swap"])
def test_what_is_wrong_is_a_sentence(name, options, sentence, split):
    model = network(Adding(NOTHING), Adding(EXCHANGE))
    with pytest.raises(ArgumentError) as caught:
        getattr(mr.explain, name)(model, split, floats, **{"blocks": BLOCKS, **options})
    assert str(caught.value).startswith(f"{name}: ") and sentence in str(caught.value)


def test_what_cannot_be_taken_out_or_swapped():
    model = mr.models.resnet8(in_channels=1)
    with pytest.raises(
        ArgumentError, match=r"^lesion: layer2 turns 16x8x8 into 32x4x4, so its input cannot replace it"
    ):
        mr.explain.lesion(model, digits(4), scaled, ["layer2"])
    with pytest.raises(
        ArgumentError, match=r"^swap: no two of the 3 blocks of CifarResNet have inputs and outputs of the same size"
    ):
        mr.explain.swap(model, digits(4), scaled)
    with pytest.raises(ArgumentError, match=r"^swap: layer1.0 is part of layer1; name only one of them."):
        mr.explain.swap(model, digits(4), scaled, ["layer1", "layer1.0"])
    unused = mr.models.resnet8(in_channels=1)
    unused.spare = mr.nn.ReLU()
    with pytest.raises(ArgumentError, match=r"^lesion: spare was not called with a tensor"):
        mr.explain.lesion(unused, digits(4), scaled, ["layer1.0", "spare"])
    with pytest.raises(ArgumentError, match=r"^lesion: model is NoneType; it must be a Module"):
        mr.explain.lesion(None, digits(4), scaled)
