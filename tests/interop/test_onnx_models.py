"""Whole networks in ONNX files, and what export_onnx promises besides the values."""

import sys

import numpy as np
import pytest

import minires as mr
from minires import nn
from minires.data.transforms import Normalize
from minires.errors import ArgumentError, DataError

onnx = pytest.importorskip("onnx", reason="onnx is not installed")
onnxruntime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")


def run(path, x):
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return session.run(["output"], {"input": x})[0]


def with_statistics(model, rng):
    """Give batch norms an effect: running statistics and parameters other than 0 and 1."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            c = module.num_features
            module.weight.data = rng.uniform(0.5, 1.0, c).astype("f")
            module.bias.data = rng.normal(0, 0.3, c).astype("f")
            module.running_mean.data = rng.normal(0, 0.3, c).astype("f")
            module.running_var.data = rng.uniform(1.0, 2.0, c).astype("f")
    return model


def kinds(path):
    return [node.op_type for node in onnx.load(path).graph.node]


def initializers(path):
    return {array.name: onnx.numpy_helper.to_array(array) for array in onnx.load(path).graph.initializer}


NETWORKS = [
    {"name": "resnet20"},
    {"name": "resnet20", "in_channels": 1, "num_classes": 3, "shortcut": "B"},
    {"name": "resnet8", "shortcut": "C"},
    {"name": "resnet9", "width": 8},
    {"name": "resnet14", "preactivation": True},
    {"name": "resnet8", "preactivation": True, "shortcut": "C"},
    {"name": "plain20"},
    {"name": "resnet18", "num_classes": 10},
    {"name": "resnet18", "num_classes": 10, "shortcut": "A"},
    {"name": "plain18", "num_classes": 10},
    {"name": "resnet50", "num_classes": 10},
]


@pytest.mark.parametrize("fold", [True, False], ids=["folded", "kept"])
@pytest.mark.parametrize("options", NETWORKS, ids=str)
def test_onnxruntime_gives_the_models_logits(options, fold, tmp_path, rng):
    model = with_statistics(mr.models.build(**options), rng).eval()
    cifar = isinstance(model, mr.models.CifarResNet)
    shape = (options.get("in_channels", 3), *((32, 32) if cifar else (65, 64)))
    mr.interop.export_onnx(model, tmp_path / "net.onnx", shape, fold=fold)
    for batch in (1, 7):
        x = rng.standard_normal((batch, *shape)).astype("f")
        with mr.no_grad():
            expected = model(mr.tensor(x)).numpy()
        np.testing.assert_allclose(run(tmp_path / "net.onnx", x), expected, rtol=0, atol=1e-4)
        assert np.ptp(expected) > 0.1
    left = options.get("preactivation", False) or options["name"] == "resnet9"  # BN that follows no convolution
    assert ("BatchNormalization" in kinds(tmp_path / "net.onnx")) == (not fold or left)


def test_folding_leaves_a_convolution_for_each_layer(tmp_path):
    """Nineteen convolutions, nine joins, two shortcuts of option A, pooling and the classifier."""
    mr.interop.export_onnx(mr.models.resnet20(), tmp_path / "net.onnx", (3, 32, 32))
    found = kinds(tmp_path / "net.onnx")
    assert {kind: found.count(kind) for kind in set(found)} == {
        "Conv": 19, "Relu": 19, "Add": 9, "Slice": 2, "Pad": 2, "GlobalAveragePool": 1, "Flatten": 1, "Gemm": 1,
    }  # fmt: skip


def test_parameters_have_the_names_of_the_state_dict(tmp_path, rng):
    model = with_statistics(mr.models.resnet8(shortcut="B"), rng)
    mr.interop.export_onnx(model, tmp_path / "net.onnx", (3, 32, 32), fold=False)
    written, state = initializers(tmp_path / "net.onnx"), model.state_dict()
    assert set(written) == set(state)
    for name, array in state.items():
        np.testing.assert_array_equal(written[name], array)
    mr.interop.export_onnx(model, tmp_path / "folded.onnx", (3, 32, 32))
    folded = initializers(tmp_path / "folded.onnx")
    assert {"conv1.weight", "conv1.bias", "layer2.0.downsample.0.weight", "fc.bias"} <= set(folded)
    assert not any("bn" in name or name.startswith("/") for name in folded)


def test_the_model_is_left_as_it_was(tmp_path, rng):
    model = with_statistics(mr.models.resnet8(), rng)
    model.layer1.eval()
    modes = [module.training for module in model.modules()]
    before = model.state_dict()
    mr.interop.export_onnx(model, tmp_path / "net.onnx", (3, 32, 32))
    assert [module.training for module in model.modules()] == modes and set(modes) == {True, False}
    for name, array in model.state_dict().items():
        np.testing.assert_array_equal(array, before[name])
    assert all(parameter.grad is None for parameter in model.parameters())


def test_the_same_model_gives_the_same_bytes(tmp_path):
    model = mr.models.resnet8()
    for name in ("a.onnx", "b.onnx"):
        mr.interop.export_onnx(model, tmp_path / name, (3, 32, 32), metadata={"b": "2", "a": "1"})
    assert (tmp_path / "a.onnx").read_bytes() == (tmp_path / "b.onnx").read_bytes()


def test_the_file_says_what_it_is(tmp_path):
    mr.interop.export_onnx(mr.models.resnet8(), tmp_path / "net.onnx", (3, 16, 20), metadata={"classes": "a b"})
    model = onnx.load(tmp_path / "net.onnx")
    onnx.checker.check_model(model, full_check=True)
    assert (model.producer_name, model.producer_version) == ("minires", mr.__version__)
    assert model.opset_import[0].version >= 17
    assert {note.key: note.value for note in model.metadata_props} == {"classes": "a b"}
    (x,), (y,) = model.graph.input, model.graph.output
    assert [d.dim_param or d.dim_value for d in x.type.tensor_type.shape.dim] == ["batch", 3, 16, 20]
    assert [d.dim_param or d.dim_value for d in y.type.tensor_type.shape.dim] == ["batch", 10]


def test_an_earlier_file_is_replaced_and_kept_if_the_export_fails(tmp_path):
    path = tmp_path / "net.onnx"
    path.write_text("old")
    with pytest.raises(ArgumentError):
        mr.interop.export_onnx(mr.models.resnet8(), path, (1, 32, 32))
    assert path.read_text() == "old"
    mr.interop.export_onnx(mr.models.resnet8(), path, (3, 32, 32))
    onnx.load(path)
    assert [file.name for file in tmp_path.iterdir()] == ["net.onnx"]


def test_four_sizes_are_those_of_a_batch(tmp_path):
    model = mr.models.resnet8()
    mr.interop.export_onnx(model, tmp_path / "a.onnx", (3, 16, 16))
    mr.interop.export_onnx(model, tmp_path / "b.onnx", [1, 3, 16, 16])
    assert (tmp_path / "a.onnx").read_bytes() == (tmp_path / "b.onnx").read_bytes()


def test_models_of_rows_and_of_other_dtypes(tmp_path, rng):
    model = nn.Sequential(nn.Linear(5, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2)).to("float64")
    mr.interop.export_onnx(model, tmp_path / "net.onnx", (5,))
    x = rng.standard_normal((3, 5))
    expected = model.eval()(mr.tensor(x)).numpy()
    got = run(tmp_path / "net.onnx", x)
    assert got.dtype == np.float64
    np.testing.assert_allclose(got, expected, atol=1e-12)


@pytest.mark.parametrize("replay", [False, True])
def test_a_model_that_is_folded_already_can_be_exported(replay, tmp_path, rng):
    model = with_statistics(mr.models.resnet8(), rng)
    x = rng.standard_normal((2, 3, 16, 16)).astype("f")
    mr.interop.export_onnx(nn.fold(model, replay=replay), tmp_path / "net.onnx", (3, 16, 16))
    np.testing.assert_allclose(run(tmp_path / "net.onnx", x), model.eval()(mr.tensor(x)).numpy(), atol=1e-4)


def test_a_folded_convolution_that_computes_inside_of_another_op_is_not_lost(tmp_path, rng):
    """It waits until its output is read, which leaky_relu does here."""

    class Net(nn.Module):
        def __init__(self):
            self.conv = nn.Conv2d(3, 4, 3)

        def forward(self, x):
            return mr.ops.leaky_relu(self.conv(x))

    model = nn.fold(Net())
    x = rng.standard_normal((2, 3, 8, 8)).astype("f")
    mr.interop.export_onnx(model, tmp_path / "net.onnx", (3, 8, 8))
    assert kinds(tmp_path / "net.onnx") == ["Conv", "LeakyRelu"]
    np.testing.assert_allclose(run(tmp_path / "net.onnx", x), model(mr.tensor(x)).numpy(), atol=1e-5)


class Shared(nn.Module):
    """A convolution with two batch norms after it, one with a bias, and one whose output is read twice."""

    def __init__(self):
        self.twice, self.biased, self.read = nn.Conv2d(3, 3, 3, bias=False), nn.Conv2d(3, 3, 3), nn.Conv2d(3, 3, 1)
        self.bn1, self.bn2, self.bn3, self.bn4 = (nn.BatchNorm2d(3) for _ in range(4))
        self.output = nn.Parameter(np.array([0.5], "f"))  # a name that the file's output has

    def forward(self, x):
        x = self.bn2(self.twice(self.bn1(self.twice(x))))
        x = self.bn3(self.biased(x))
        y = self.read(x)
        return self.bn4(y) + y * self.output


def test_convolutions_that_share_are_folded_right(tmp_path, rng):
    model = with_statistics(Shared(), rng).eval()
    x = rng.standard_normal((2, 3, 9, 8)).astype("f")
    mr.interop.export_onnx(model, tmp_path / "net.onnx", (3, 9, 8))
    np.testing.assert_allclose(run(tmp_path / "net.onnx", x), model(mr.tensor(x)).numpy(), atol=1e-5)
    assert kinds(tmp_path / "net.onnx").count("BatchNormalization") == 1


def test_normalize_makes_it_take_bytes(tmp_path, rng):
    model, normalize = mr.models.resnet8().eval(), Normalize([0.4, 0.5, 0.6], [0.2, 0.3, 0.1])
    mr.interop.export_onnx(model, tmp_path / "net.onnx", (3, 16, 16), normalize=normalize)
    images = rng.integers(0, 256, (5, 3, 16, 16), dtype=np.uint8)
    expected = model(mr.tensor(normalize(images))).numpy()
    np.testing.assert_allclose(run(tmp_path / "net.onnx", images), expected, atol=1e-4)


LAYERS = [
    lambda: nn.Conv2d(4, 6, (2, 4), padding="same", dilation=(1, 2)),
    lambda: nn.Sequential(nn.Conv2d(4, 4, 3, padding=1, padding_mode="reflect"), nn.BatchNorm2d(4)),
    lambda: nn.Conv2d(4, 4, 3, padding=2, padding_mode="circular", stride=2),
    lambda: nn.Sequential(nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4, affine=False)),
    lambda: nn.BatchNorm2d(4, momentum=None),
    lambda: nn.LayerNorm(8, elementwise_affine=False),
    lambda: nn.LayerNorm((8, 8), bias=False),
    lambda: nn.GroupNorm(2, 4, affine=False),
    lambda: nn.AvgPool2d(3, 2, 1, ceil_mode=True, count_include_pad=False),
    lambda: nn.MaxPool2d(3, 2, 1, dilation=2, ceil_mode=True),
    lambda: nn.AdaptiveAvgPool2d((3, 5)),
    lambda: nn.Upsample(scale_factor=2),
    lambda: nn.Upsample(size=(5, 13), mode="bilinear", align_corners=True),
    lambda: nn.Flatten(1, 2),
]


@pytest.mark.parametrize("make", LAYERS)
def test_options_of_layers(make, tmp_path, rng):
    model = nn.Sequential(make())
    model(mr.tensor(3 * rng.standard_normal((3, 4, 8, 8)).astype("f") + 1))  # running statistics
    mr.interop.export_onnx(model.eval(), tmp_path / "net.onnx", (4, 8, 8))
    for batch in (1, 4):
        x = rng.standard_normal((batch, 4, 8, 8)).astype("f")
        expected = model(mr.tensor(x)).numpy()
        np.testing.assert_allclose(run(tmp_path / "net.onnx", x), expected, rtol=0, atol=1e-4)


WRONG = {
    "no module": ((3, (3, 32, 32)), {}, "model is int; it must be a Module"),
    "no shape": ((mr.models.resnet8(), 32), {}, "input_shape is 32; give the shape of one example"),
    "no sizes": ((mr.models.resnet8(), (3, 0, 32)), {}, r"input_shape is \(3, 0, 32\)"),
    "a number as a size": ((mr.models.resnet8(), ("N", 3, 32, 32)), {}, "input_shape is"),
    "other channels": ((mr.models.resnet8(), (1, 32, 32)), {}, "input_shape is 1x32x32 .* expects 3"),
    "no channels": ((mr.models.resnet8(), (32, 32)), {}, "input_shape is 32x32 .* x has 2 channels"),
    "other statistics": (
        (mr.models.resnet8(), (3, 32, 32)),
        {"normalize": Normalize([0.5], [0.5])},
        "normalize has 1 channels, but input_shape is 3x32x32",
    ),
}


@pytest.mark.parametrize("what", WRONG)
def test_wrong_arguments_are_named(what, tmp_path):
    (model, shape), options, sentence = WRONG[what]
    with pytest.raises(ArgumentError, match=sentence):
        mr.interop.export_onnx(model, tmp_path / "net.onnx", shape, **options)


def test_a_batch_norm_without_running_statistics_and_odd_outputs_are_refused(tmp_path):
    class Net(nn.Module):
        def __init__(self, function):
            self.function = function

        def forward(self, x):
            return self.function(x)

    one = mr.tensor(np.ones(3, "f"))
    functions = {
        "the statistics of the batch": lambda x: mr.ops.batch_norm(x, one, one, None, None, training=True),
        "the model returns dict": lambda x: {"y": x},
        "not computed from the input": lambda x: one,
    }
    for sentence, function in functions.items():
        with pytest.raises(ArgumentError, match=sentence):
            mr.interop.export_onnx(Net(function), tmp_path / "net.onnx", (3, 8, 8))


def test_without_the_package_it_says_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(DataError, match=r"onnx is not installed: pip install 'minires\[onnx\]'"):
        mr.interop.export_onnx(mr.models.resnet8(), tmp_path / "net.onnx", (3, 32, 32))


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(DataError, match="cannot be written"):
        mr.interop.export_onnx(mr.models.resnet8(), tmp_path / "no" / "net.onnx", (3, 32, 32))
