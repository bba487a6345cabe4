"""ResNet-9: sizes, what its stages do, errors, and a training step against PyTorch's."""

import numpy as np
import pytest

import minires as mr
from minires.errors import ArgumentError, ShapeError
from minires.models.myrtle import PooledConv


def test_parameters_of_pages_width_are_pages():
    """6,573,120 with a head without biases; ours has 10 biases."""
    assert sum(parameter.size for parameter in mr.models.resnet9(width=64).parameters()) == 6_573_130


def test_every_stage_halves_the_image_and_doubles_the_channels(rng):
    model = mr.models.resnet9(num_classes=7, in_channels=2, width=4)
    shapes = []
    for stage in (model.layer1, model.layer2, model.layer3):
        stage.register_forward_hook(lambda module, inputs, output: shapes.append(output.shape))
    logits = model(mr.tensor(rng.standard_normal((3, 2, 17, 8)).astype("f")))
    assert shapes == [(3, 8, 8, 4), (3, 16, 4, 2), (3, 32, 2, 1)] and logits.shape == (3, 7)


def test_pooling_before_bn_and_relu_is_pages_pooling_after_them(rng):
    """In evaluation, where the statistics are the same, and with positive gammas."""
    layer = PooledConv(3, 5).eval()
    layer.bn.running_mean.data[:], layer.bn.running_var.data[:] = rng.standard_normal(5), rng.uniform(0.5, 2, 5)
    layer.bn.weight.data[:], layer.bn.bias.data[:] = rng.uniform(0.5, 2, 5), rng.standard_normal(5)
    x = mr.tensor(rng.standard_normal((2, 3, 6, 8)).astype("f"))
    pages = mr.ops.max_pool2d(layer.bn(layer.conv(x)).relu(), kernel_size=2)
    np.testing.assert_allclose(layer(x).numpy(), pages.numpy(), rtol=1e-5, atol=1e-6)
    assert 0.1 < (pages.numpy() > 0).mean() < 0.95


def test_folding_keeps_what_it_computes(rng):
    model = mr.models.resnet9(width=8)
    x = mr.tensor(rng.standard_normal((4, 3, 16, 16)).astype("f"))
    model(x)  # statistics that are not 0 and 1
    for replay in (False, True):
        folded = mr.nn.fold(model, replay=replay)(x).numpy()
        np.testing.assert_allclose(folded, model.eval()(x).numpy(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["num_classes", "in_channels", "width"])
@pytest.mark.parametrize("value", [0, 2.0, "8"])
def test_sizes_that_are_no_whole_numbers_are_refused(name, value):
    with pytest.raises(ArgumentError, match=f"ResNet9: {name} is {value!r}"):
        mr.models.ResNet9(**{name: value})


def test_an_image_that_pooling_would_use_up_is_refused():
    with pytest.raises(ShapeError, match="max_pool2d"):
        mr.models.resnet9(width=4)(mr.tensor(np.zeros((2, 3, 7, 7), "f")))


@pytest.mark.parity
def test_a_training_step_equals_pytorchs(rng):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    import torch_side

    class TorchPooledConv(torch.nn.Module):
        def __init__(self, i, o):
            super().__init__()
            self.conv, self.bn, self.relu = torch_side.conv(i, o, 1), torch.nn.BatchNorm2d(o), torch.nn.ReLU()

        def forward(self, x):
            return self.relu(self.bn(torch.nn.functional.max_pool2d(self.conv(x), 2)))

    class TorchResNet9(torch.nn.Module):
        def __init__(self, w):
            super().__init__()
            self.conv1, self.bn1, self.relu = torch_side.conv(3, w, 1), torch.nn.BatchNorm2d(w), torch.nn.ReLU()
            self.layer1 = torch.nn.Sequential(TorchPooledConv(w, 2 * w), self.block(2 * w))
            self.layer2 = torch.nn.Sequential(TorchPooledConv(2 * w, 4 * w))
            self.layer3 = torch.nn.Sequential(TorchPooledConv(4 * w, 8 * w), self.block(8 * w))
            self.fc = torch.nn.Linear(8 * w, 10)

        @staticmethod
        def block(channels):
            return torch_side.Block(channels, channels, 1, "A", False, False)

        def forward(self, x):
            x = self.layer3(self.layer2(self.layer1(self.relu(self.bn1(self.conv1(x))))))
            return self.fc(x.amax(dim=(2, 3)))

    x, labels = rng.standard_normal((4, 3, 16, 16)), rng.integers(0, 10, 4)
    theirs = torch_side.randomize(TorchResNet9(8))
    torch_side.keep_off_kinks(theirs, x)
    for dtype, engine, tolerance in torch_side.RUNS:
        with mr.engine(engine):
            found = torch_side.compare_step(mr.models.resnet9(width=8), theirs, x.astype(dtype), labels)
        worst = max(found, key=found.get)
        assert all(value < tolerance for value in found.values()), (dtype, engine, worst, found[worst])
