"""Feature maps: channels and strides of every network, and dilation, which must keep the strided values."""

import numpy as np
import pytest

import minires as mr
from minires.vision.backbone import Backbone

NETWORKS = {
    "resnet8": {}, "plain8": {}, "resnet9": {}, "resnet14": {"shortcut": "B"}, "resnet20": {"preactivation": True},
    "resnet18": {}, "resnet50": {}, "plain18": {},
}  # fmt: skip


@pytest.mark.parametrize("name", NETWORKS)
def test_the_last_map_is_what_the_head_of_the_classifier_reads(name):
    mr.manual_seed(0)
    network = mr.models.build(name, num_classes=5, **NETWORKS[name]).eval()
    image = mr.randn(2, 3, 64, 64)
    expected = network(image).numpy()
    backbone = Backbone(network).eval()
    maps = backbone(image)
    assert [each.shape[1] for each in maps] == list(backbone.channels)
    assert [64 // each.shape[2] for each in maps] == list(backbone.strides)
    pooled = maps[-1].max(axis=(2, 3)) if name == "resnet9" else maps[-1].mean(axis=(2, 3))
    np.testing.assert_allclose(network.fc(pooled).numpy(), expected, rtol=1e-5, atol=1e-5)
    assert set(dict(backbone.named_parameters())) == {n for n, _ in network.named_parameters() if "fc" not in n}


@pytest.mark.parametrize(
    ("name", "output_stride"),
    [
        ("resnet8", 2),
        ("resnet8", 1),
        ("resnet14", 2),
        ("resnet20", 1),
        ("resnet18", 16),
        ("resnet18", 8),
        ("resnet50", 8),
    ],
)
def test_the_strided_map_is_a_part_of_the_dilated_map(name, output_stride):
    """Holds in evaluation, and away from the border only as far as both networks pad with zeros at the same places."""
    networks = []
    for _ in range(2):
        mr.manual_seed(0)
        networks.append(mr.models.build(name, **NETWORKS.get(name, {})))
    strided, dilated = Backbone(networks[0]).eval(), Backbone(networks[1], output_stride).eval()
    assert dilated.strides[-1] == output_stride < strided.strides[-1]
    image = mr.randn(1, 3, 32, 64)
    for index, (small, large) in enumerate(zip(strided(image), dilated(image), strict=True)):
        step = strided.strides[index] // dilated.strides[index]
        np.testing.assert_allclose(large.numpy()[:, :, ::step, ::step], small.numpy(), rtol=1e-3, atol=1e-4)


def test_the_dilations_of_a_bottleneck_network_are_those_of_torchvision():
    backbone = Backbone(mr.models.resnet50(), output_stride=8)
    found = [block.conv2.dilation[0] for stage in (backbone.layer3, backbone.layer4) for block in stage]
    assert found == [1, 2, 2, 2, 2, 2, 2, 4, 4]


@pytest.mark.parametrize(
    ("name", "options", "output_stride"),
    [("resnet9", {}, 2), ("resnet18", {}, 3), ("resnet18", {}, 2), ("resnet18", {"avg_down": True}, 8)],
)
def test_an_output_stride_that_dilation_cannot_reach_is_refused(name, options, output_stride):
    with pytest.raises(
        mr.errors.ArgumentError,
        match=f"output_stride is {output_stride}, but (the strides of|ImageNetResNet has avg_down)",
    ):
        Backbone(mr.models.build(name, **options), output_stride)


def test_a_network_without_stages_is_refused():
    with pytest.raises(mr.errors.ArgumentError, match="Linear has no conv1 and layer1"):
        Backbone(mr.nn.Linear(3, 4))


def test_building_draws_no_random_numbers_and_leaves_the_running_statistics():
    network = mr.models.resnet8()
    before = {name: array.copy() for name, array in network.state_dict().items()}
    mr.manual_seed(3)
    first = mr.rand(3).numpy()
    mr.manual_seed(3)
    Backbone(network)
    np.testing.assert_array_equal(mr.rand(3).numpy(), first)
    for name, array in network.state_dict().items():
        np.testing.assert_array_equal(array, before[name])
