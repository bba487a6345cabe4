"""The ImageNet family: torchvision's sizes, and the options that change the networks."""

import numpy as np
import pytest

import minires as mr
from minires.errors import ArgumentError
from minires.models.shortcuts import HalvingAvgPool


def count(model):
    return sum(parameter.size for parameter in model.parameters())


@pytest.mark.parametrize(
    ("depth", "parameters"),
    [(18, 11_689_512), (34, 21_797_672), (50, 25_557_032), (101, 44_549_160), (152, 60_192_808)],
)  # as torchvision's documentation lists them
def test_parameter_counts_are_torchvisions(depth, parameters):
    assert count(mr.models.build(f"resnet{depth}")) == parameters


@pytest.mark.parametrize(("name", "parameters"), [("resnet18", 11_708_744), ("resnet50", 25_576_264)])
def test_parameter_counts_of_resnet_d_are_timms(name, parameters):
    assert count(mr.models.build(name, deep_stem=True, avg_down=True)) == parameters


def test_parameter_count_of_the_preactivation_network_is_timms():
    assert count(mr.models.resnet50(preactivation=True)) == 25_549_352  # resnetv2_50


def test_the_stride_is_on_the_3x3_convolution():
    for options in ({}, {"preactivation": True}):
        block = mr.models.resnet50(**options).layer2[0]
        assert (block.conv1.stride, block.conv2.stride, block.conv3.stride) == ((1, 1), (2, 2), (1, 1))
        assert block.conv2.kernel_size == (3, 3)


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_zero_gamma_makes_each_block_the_identity_at_first(name, rng):
    model = mr.models.build(name, zero_init_residual=True)
    block = model.layer2[1]
    x = mr.tensor(np.abs(rng.standard_normal((2, 128 * block.expansion, 3, 2))).astype("f"))
    np.testing.assert_array_equal(block(x).numpy(), x.numpy())


@pytest.mark.parametrize(("h", "w"), [(4, 6), (5, 6), (4, 3), (3, 5), (1, 1)])
def test_halving_averages_what_is_there(h, w, rng):
    x = rng.standard_normal((2, 3, h, w)).astype("f")
    expected = np.empty((2, 3, -(-h // 2), -(-w // 2)), "f")
    for i in range(expected.shape[2]):
        for j in range(expected.shape[3]):
            expected[:, :, i, j] = x[:, :, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2].mean(axis=(2, 3))
    np.testing.assert_allclose(HalvingAvgPool()(mr.tensor(x)).numpy(), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("options", [
    {"preactivation": True}, {"deep_stem": True}, {"avg_down": True}, {"shortcut": "C", "avg_down": True},
    {"deep_stem": True, "avg_down": True, "preactivation": True}, {"stochastic_depth_prob": 0.1},
])  # fmt: skip
def test_every_parameter_gets_a_gradient(options, rng):
    model = mr.models.resnet18(num_classes=5, in_channels=2, **options)
    logits = model(mr.tensor(rng.standard_normal((3, 2, 45, 40)).astype("f")))
    assert logits.shape == (3, 5)
    mr.ops.cross_entropy(logits, [0, 4, 1]).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad.dtype == np.float32 and np.abs(parameter.grad.numpy()).max() > 0, name


WRONG = [
    (lambda: mr.models.ImageNetResNet(20), "depth is 20; it must be one of 18, 34"),
    (lambda: mr.models.resnet18(shortcut="D"), "shortcut is 'D'"),
    (
        lambda: mr.models.resnet18(pretrained=True),
        "argument 'pretrained'; its arguments are num_classes, .*load_weights",
    ),
    (lambda: mr.models.plain20(10, 3, 16), "plain20: too many positional arguments; its arguments are num_classes"),
    (lambda: mr.models.resnet18(shortcut=None), "use plain18"),
    (lambda: mr.models.resnet18(shortcut="A", avg_down=True), "avg_down needs projections, 'B' or 'C'"),
    (lambda: mr.models.resnet50(preactivation=True, zero_init_residual=True), "zero_init_residual needs blocks"),
    (lambda: mr.models.resnet18(stochastic_depth_prob=1.0), r"stochastic_depth_prob is 1.0; it must lie in \[0, 1\)"),
    (lambda: mr.models.ImageNetResNet(18, shortcut=None, stochastic_depth_prob=0.1), "needs shortcuts"),
]


@pytest.mark.parametrize(("call", "words"), WRONG)
def test_wrong_arguments_raise_the_named_error(call, words):
    with pytest.raises(ArgumentError, match=words) as caught:
        call()
    assert "\n" not in str(caught.value)


def test_the_options_come_in_the_same_order_as_in_the_small_networks():
    small = mr.models.options("resnet20")
    assert mr.models.options("resnet18")[: len(small)] == small


def test_a_model_by_another_name_is_named():
    with pytest.raises(AttributeError, match="'ResNet18'; did you mean resnet18"):
        mr.models.ResNet18()
