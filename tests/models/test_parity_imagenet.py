"""The ImageNet family against torchvision and timm: one training step, number for number; weights; sizes."""

import re

import pytest

import minires as mr

torch = pytest.importorskip("torch", reason="PyTorch is not installed")
import torch_side  # noqa: E402

pytestmark = pytest.mark.parity

RESNET_D = {"deep_stem": True, "avg_down": True}


def same(name):
    return name


def of_resnetv2(name):
    """minires's name for a part of timm's pre-activation network."""
    name = re.sub(r"stages\.(\d)\.blocks\.", lambda match: f"layer{int(match[1]) + 1}.", name)
    name = re.sub(r"\.norm(\d)", r".bn\1", name).replace("downsample.conv", "downsample.0")
    return name.replace("stem.conv", "conv1").replace("head.fc", "fc").removeprefix("stem.").replace("norm.", "bn1.")


FAMILY = [
    ("resnet18", {}, "torchvision", "resnet18", same),
    ("resnet34", {}, "torchvision", "resnet34", same),
    ("resnet50", {}, "torchvision", "resnet50", same),
    ("resnet18", {}, "timm", "resnet18", same),
    ("resnet34", {}, "timm", "resnet34", same),
    ("resnet50", {}, "timm", "resnet50", same),
    ("resnet18", RESNET_D, "timm", "resnet18d", same),
    ("resnet50", RESNET_D, "timm", "resnet50d", same),
    ("resnet18", {"preactivation": True}, "timm", "resnetv2_18", of_resnetv2),
    ("resnet50", {"preactivation": True}, "timm", "resnetv2_50", of_resnetv2),
]
IDS = [f"{row[2]}-{row[3]}" for row in FAMILY]


def create(library, name):
    module = torch_side.reference(library)
    return module.create_model(name) if library == "timm" else module.models.get_model(name)


@pytest.mark.parametrize(("name", "options", "library", "theirs", "rename"), FAMILY, ids=IDS)
def test_a_training_step_equals_theirs(name, options, library, theirs, rename, rng):
    """Outputs, every gradient, running statistics: in float64, and in float32 with either engine."""
    size = 63 if options is RESNET_D else 64  # with an odd size, the average pooling of ResNet-D has incomplete windows
    x, labels = rng.standard_normal((4, 3, size, 64)), rng.integers(0, 1000, 4)
    theirs = torch_side.randomize(create(library, theirs))
    torch_side.keep_off_kinks(theirs, x)
    for dtype, engine, tolerance in torch_side.RUNS:
        with mr.engine(engine):
            ours = mr.models.build(name, **options)
            if name == "resnet18" and "preactivation" in options:
                ours.layer1[0].is_first = False  # as in timm; a projection shares it in both
            found = torch_side.compare_step(ours, theirs, x.astype(dtype), labels, rename)
        worst = max(found, key=found.get)
        assert all(value < tolerance for value in found.values()), (dtype, engine, worst, found[worst])


@pytest.mark.parametrize(("name", "options", "library", "theirs"), [FAMILY[0][:4], FAMILY[6][:4]], ids=str)
def test_they_take_our_weights(name, options, library, theirs, rng):
    x = rng.standard_normal((2, 3, 64, 64)).astype("f")
    ours, theirs = mr.models.build(name, **options), create(library, theirs).eval()
    ours(mr.tensor(x))  # running statistics other than 0 and 1
    theirs.load_state_dict(torch_side.tensors(ours.state_dict(), theirs))
    with torch.no_grad(), mr.no_grad():
        expected, logits = theirs(torch.tensor(x)).numpy(), ours.eval()(mr.tensor(x)).numpy()
    assert torch_side.relative(logits, expected) < 1e-5


@pytest.mark.parametrize("depth", [18, 34, 50, 101, 152])
def test_names_and_shapes_are_torchvisions(depth):
    theirs = create("torchvision", f"resnet{depth}").state_dict()
    expected = {name: tuple(t.shape) for name, t in theirs.items() if not name.endswith("num_batches_tracked")}
    ours = mr.models.build(f"resnet{depth}").state_dict()
    assert {name: array.shape for name, array in ours.items()} == expected
    assert list(ours) == list(expected)  # in the same order
