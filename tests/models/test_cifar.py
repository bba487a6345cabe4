"""The CIFAR family: sizes, names, twins, shortcuts, and gradients through the whole net."""

import numpy as np
import pytest

import minires as mr
from minires.errors import ArgumentError
from minires.models.blocks import BasicBlock, PreActivationBlock
from minires.models.shortcuts import SubsampleAndPad


def count(model):
    return sum(parameter.size for parameter in model.parameters())


def by_formula(depth, num_classes=10, in_channels=3):
    """6n + 2 layers, counted from the paper's table: no biases but the last, two numbers for a BN channel."""
    n = (depth - 2) // 6
    convs = 9 * in_channels * 16
    channels = 16
    for width, before in ((16, 16), (32, 16), (64, 32)):
        convs += 9 * before * width + (2 * n - 1) * 9 * width * width
        channels += 2 * n * width
    return convs + 2 * channels + 64 * num_classes + num_classes


@pytest.mark.parametrize(
    ("depth", "millions"), [(20, 0.27), (32, 0.46), (44, 0.66), (56, 0.85), (110, 1.7)]
)  # table 6 of arXiv 1512.03385
def test_parameter_counts_are_the_papers(depth, millions):
    model = mr.models.build(f"resnet{depth}")
    assert count(model) == by_formula(depth) == count(mr.models.build(f"plain{depth}"))
    assert count(model) / 1e6 == pytest.approx(millions, abs=0.005 if depth < 110 else 0.05)


def test_parameter_names_are_torchvisions():
    names = list(mr.models.resnet8(shortcut="B").state_dict())
    assert names[:3] == ["conv1.weight", "bn1.weight", "bn1.bias"] and names[-2:] == ["fc.weight", "fc.bias"]
    for name in ("layer1.0.conv1.weight", "layer2.0.bn2.running_var", "layer3.0.downsample.0.weight",
                 "layer3.0.downsample.1.bias"):  # fmt: skip
        assert name in names
    assert not any("downsample" in name for name in mr.models.resnet20().state_dict())


def test_every_stage_halves_the_image_and_doubles_the_channels(rng):
    model = mr.models.resnet14(num_classes=7, in_channels=2)
    shapes = []
    for stage in (model.layer1, model.layer2, model.layer3):
        stage.register_forward_hook(lambda module, inputs, output: shapes.append(output.shape))
    logits = model(mr.tensor(rng.standard_normal((3, 2, 13, 10)).astype("f")))
    assert shapes == [(3, 16, 13, 10), (3, 32, 7, 5), (3, 64, 4, 3)] and logits.shape == (3, 7)


def test_a_block_is_relu_of_branch_plus_shortcut(rng):
    """The ReLU comes after the addition, only the first convolution has the stride, and x is unchanged."""
    block = BasicBlock(4, 6, 2, "A").eval()
    x = rng.standard_normal((2, 4, 5, 7)).astype("f")
    before = x.copy()
    branch = block.bn2(block.conv2(block.bn1(block.conv1(mr.tensor(x))).relu())).numpy()
    shortcut = np.zeros((2, 6, 3, 4), "f")
    shortcut[:, 1:5] = x[:, :, ::2, ::2]
    np.testing.assert_allclose(block(mr.tensor(x)).numpy(), np.maximum(branch + shortcut, 0), rtol=1e-6)
    assert (branch + shortcut).min() < 0 < branch.max()
    np.testing.assert_array_equal(x, before)
    assert block.conv2.stride == (1, 1)


def test_a_plain_block_is_its_twin_without_the_shortcut(rng):
    mr.manual_seed(5)
    residual = BasicBlock(4, 4, 1, "A").eval()
    plain = BasicBlock(4, 4, 1, None).eval()
    plain.load_state_dict(residual.state_dict())
    x = mr.tensor(rng.standard_normal((2, 4, 5, 7)).astype("f"))
    branch = plain.bn2(plain.conv2(plain.bn1(plain.conv1(x)).relu()))
    np.testing.assert_array_equal(plain(x).numpy(), branch.relu().numpy())
    np.testing.assert_allclose(residual(x).numpy(), (branch + x).relu().numpy(), rtol=1e-6)


def test_a_preactivation_block_adds_x_itself(rng):
    block = PreActivationBlock(4, 4, 1, "A")
    for conv in (block.conv1, block.conv2):
        mr.nn.init.zeros(conv.weight)
    x = mr.tensor(rng.standard_normal((2, 4, 5, 7)).astype("f"))
    np.testing.assert_array_equal(block(x).numpy(), x.numpy())


def test_zero_gamma_makes_each_block_the_identity_at_first(rng):
    model = mr.models.resnet14(zero_init_residual=True)
    x = mr.tensor(np.abs(rng.standard_normal((2, 16, 6, 5))).astype("f"))
    np.testing.assert_array_equal(model.layer1(x).numpy(), x.numpy())


@pytest.mark.parametrize("options", [
    {"shortcut": "A"}, {"shortcut": "B"}, {"shortcut": "C"}, {"preactivation": True},
    {"preactivation": True, "shortcut": "C"},
])  # fmt: skip
def test_every_parameter_gets_a_gradient_and_float32_stays(options, rng):
    model = mr.models.resnet14(**options)
    x = mr.tensor(rng.standard_normal((4, 3, 8, 8)).astype("f"))
    loss = mr.ops.cross_entropy(model(x), [0, 1, 2, 3])
    loss.backward()
    assert loss.dtype == np.float32 and loss.item() == pytest.approx(np.log(10), rel=1.0)
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.dtype == np.float32, name
        assert np.abs(parameter.grad.numpy()).max() > 0, name


def test_the_gradient_of_the_whole_net_is_its_slope(rng):
    """Central differences along a random direction through all parameters of a float64 net."""
    model = mr.models.resnet8(in_channels=1, num_classes=3).to("float64")
    x, labels = mr.tensor(rng.standard_normal((5, 1, 8, 7))), [0, 1, 2, 1, 0]
    start = model.state_dict()
    mr.ops.cross_entropy(model(x), labels).backward()
    direction = {name: rng.standard_normal(p.shape) for name, p in model.named_parameters()}
    slope = sum((p.grad.numpy() * direction[name]).sum() for name, p in model.named_parameters())

    def loss_at(step):
        model.load_state_dict({name: a + step * direction.get(name, 0) for name, a in start.items()})
        return mr.ops.cross_entropy(model(x), labels).item()

    assert (loss_at(1e-6) - loss_at(-1e-6)) / 2e-6 == pytest.approx(slope, rel=1e-5)


@pytest.mark.parity
@pytest.mark.parametrize("shortcut", ["A", "B"])
def test_a_training_step_equals_pytorch(shortcut, rng):
    """Outputs, gradients and running statistics of ResNet-8, with the same weights, in float64."""
    torch = pytest.importorskip("torch")
    functional = torch.nn.functional
    model = mr.models.resnet8(shortcut=shortcut).to("float64")
    theirs = {
        name: torch.tensor(array, requires_grad="running" not in name) for name, array in model.state_dict().items()
    }

    def bn(x, name):
        running = theirs[f"{name}.running_mean"], theirs[f"{name}.running_var"]
        return functional.batch_norm(x, *running, theirs[f"{name}.weight"], theirs[f"{name}.bias"], training=True)

    def block(x, name, width, stride):
        out = bn(functional.conv2d(x, theirs[f"{name}.conv1.weight"], stride=stride, padding=1), f"{name}.bn1").relu()
        out = bn(functional.conv2d(out, theirs[f"{name}.conv2.weight"], padding=1), f"{name}.bn2")
        if stride == 2 and shortcut == "A":
            x = functional.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, width // 4, width // 4))
        elif stride == 2:
            projected = functional.conv2d(x, theirs[f"{name}.downsample.0.weight"], stride=2)
            x = bn(projected, f"{name}.downsample.1")
        return (out + x).relu()

    x, labels = rng.standard_normal((6, 3, 12, 10)), np.array([0, 9, 3, 3, 1, 7])
    out = bn(functional.conv2d(torch.tensor(x), theirs["conv1.weight"], padding=1), "bn1").relu()
    for name, width, stride in (("layer1.0", 16, 1), ("layer2.0", 32, 2), ("layer3.0", 64, 2)):
        out = block(out, name, width, stride)
    expected = functional.linear(out.mean(dim=(2, 3)), theirs["fc.weight"], theirs["fc.bias"])
    functional.cross_entropy(expected, torch.tensor(labels)).backward()

    logits = model(mr.tensor(x))
    mr.ops.cross_entropy(logits, labels).backward()
    np.testing.assert_allclose(logits.numpy(), expected.detach().numpy(), rtol=1e-9, atol=1e-12)
    for name, parameter in model.named_parameters():
        np.testing.assert_allclose(
            parameter.grad.numpy(), theirs[name].grad.numpy(), rtol=1e-9, atol=1e-12, err_msg=name
        )
    for name, buffer in model.named_buffers():
        np.testing.assert_allclose(buffer.numpy(), theirs[name].numpy(), rtol=1e-12, err_msg=name)


def test_names_build_and_list():
    assert {"resnet8", "resnet20", "resnet1202", "plain20", "plain110"} <= set(mr.models.names())
    assert "fc" in repr(mr.models.build("plain8", num_classes=2))


WRONG = [
    (lambda: mr.models.build("resnet21"), "no model 'resnet21'; choose one of resnet8"),
    (lambda: mr.models.build("resnet8", width=3), "resnet8 does not take"),
    (lambda: mr.models.CifarResNet(21), "depth is 21; it must be 6n"),
    (lambda: mr.models.CifarResNet(2), "depth is 2"),
    (lambda: mr.models.resnet8(num_classes=0), "num_classes is 0"),
    (lambda: mr.models.resnet8(in_channels=-3), "in_channels is -3"),
    (lambda: mr.models.resnet8(shortcut="D"), "shortcut is 'D'"),
    (lambda: mr.models.resnet8(shortcut=None), "use plain8"),
    (lambda: mr.models.resnet8(preactivation=True, zero_init_residual=True), "zero_init_residual"),
]


@pytest.mark.parametrize(("call", "words"), WRONG)
def test_wrong_arguments_raise_the_named_error(call, words):
    with pytest.raises(ArgumentError, match=words) as caught:
        call()
    assert "\n" not in str(caught.value)


def test_option_a_pads_both_sides():
    assert SubsampleAndPad(16, 33, 2).channels == (8, 9)


def test_resnet1202_has_the_papers_parameters_and_is_not_too_deep_for_python(rng):
    model = mr.models.resnet1202()
    assert count(model) == by_formula(1202) and count(model) / 1e6 == pytest.approx(19.4, abs=0.05)
    loss = mr.ops.cross_entropy(model(mr.tensor(rng.standard_normal((2, 3, 8, 8)).astype("f"))), [3, 4])
    loss.backward()
    assert np.abs(model.conv1.weight.grad.numpy()).max() > 0


@pytest.mark.parametrize("shortcut", ["A", "B"])
def test_the_first_activation_of_a_preactivation_block_is_shared_where_the_paper_says(shortcut, rng):
    """The projections share it, and so does the shortcut of the network's first block."""
    model = mr.models.resnet14(preactivation=True, shortcut=shortcut).eval()
    x = mr.tensor(rng.standard_normal((2, 16, 6, 5)).astype("f"))
    first, second, third = model.layer1[0], model.layer1[1], model.layer2[0]
    for block in (first, second, third):
        mr.nn.init.zeros(block.conv2.weight)  # nothing is left but the shortcut
    np.testing.assert_allclose(first(x).numpy(), np.maximum(x.numpy(), 0), rtol=1e-4)
    np.testing.assert_array_equal(second(x).numpy(), x.numpy())
    activated = third.bn1(x).relu()
    expected = third.downsample(activated if shortcut == "B" else x)
    np.testing.assert_allclose(third(x).numpy(), expected.numpy(), rtol=1e-5)
    assert not any("downsample.1" in name for name in model.state_dict())  # BN came before the projection
