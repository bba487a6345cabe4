"""Layers with PyTorch's constructor arguments: the same values and gradients, in training and in evaluation."""

from __future__ import annotations

import numpy as np
import pytest

import minires as mr
from minires import nn
from minires.errors import ArgumentError, DTypeError

IMAGES, LABELS = (4, 6, 7, 5), [1, 0, 2, 1]

# the name of a layer, positional arguments, named arguments, and the shape of x
LAYERS = [
    ("Conv2d", (6, 4, (3, 2), 1, "same", (1, 3)), {}, IMAGES),
    ("Conv2d", (6, 4, 3), {"padding": "valid", "bias": False}, IMAGES[1:]),
    ("Conv2d", (6, 4, 3, 2, (2, 1), 1, 2, True, "reflect"), {}, IMAGES),
    ("Conv2d", (6, 4, 3), {"padding": 2, "padding_mode": "replicate"}, IMAGES),
    ("Conv2d", (6, 4, (4, 3)), {"padding": "same", "padding_mode": "circular"}, IMAGES),
    ("Conv2d", (6, 4, 3), {}, (0, *IMAGES[1:])),
    ("ConvTranspose2d", (6, 4, 3, 2, 1, 1, 2, False, 2), {"padding_mode": "zeros"}, IMAGES[1:]),
    ("BatchNorm2d", (6, 0.1, None), {}, IMAGES),
    ("BatchNorm2d", (6,), {"affine": False}, IMAGES),
    ("BatchNorm2d", (6,), {"track_running_stats": False, "momentum": None}, IMAGES),
    ("BatchNorm1d", (6,), {}, IMAGES[:3]),
    ("LayerNorm", ((7, 5),), {"elementwise_affine": False}, IMAGES),
    ("LayerNorm", (5, 0.1), {"bias": False}, IMAGES),
    ("GroupNorm", (3, 6), {}, IMAGES),
    ("GroupNorm", (2, 6, 0.1, False), {}, (4, 6)),
    ("MaxPool2d", (3, 2, 1, 2, False, True), {}, IMAGES),
    ("MaxPool2d", (2,), {"ceil_mode": True}, IMAGES[1:]),
    ("AvgPool2d", (2, None, 1, True, False), {}, IMAGES),
    ("AvgPool2d", (3, 2), {"divisor_override": 5}, (0, *IMAGES[1:])),
    ("AdaptiveAvgPool2d", ((3, None),), {}, IMAGES),
    ("AdaptiveAvgPool2d", (1,), {}, IMAGES[1:]),
    ("Upsample", (None, 2), {}, IMAGES),
    ("Upsample", (), {"size": (9, 4), "mode": "bilinear", "align_corners": True}, IMAGES),
    ("Flatten", (), {"start_dim": 1, "end_dim": 2}, IMAGES),
    ("ReLU", (True,), {}, IMAGES),
    ("LeakyReLU", (0.2,), {"inplace": True}, IMAGES),
    ("GELU", (), {"approximate": "tanh"}, IMAGES),
    ("SiLU", (), {"inplace": True}, IMAGES),
    ("Sigmoid", (), {}, IMAGES),
    ("Tanh", (), {}, IMAGES),
    ("Softmax", (1,), {}, IMAGES),
    ("LogSoftmax", (), {"dim": -1}, IMAGES),
    ("Dropout", (1.0, True), {}, IMAGES),
]


@pytest.mark.parity
@pytest.mark.filterwarnings("ignore:Using padding=")
@pytest.mark.parametrize(("layer", "args", "options", "shape"), LAYERS, ids=lambda part: str(part))
def test_a_layer_computes_what_pytorchs_does(layer, args, options, shape, rng):
    torch = pytest.importorskip("torch")
    theirs = getattr(torch.nn, layer)(*args, **options).double()
    ours = getattr(nn, layer)(*args, **options).to("float64")
    tracked = {"num_batches_tracked"} - set(ours.state_dict())
    ours.load_state_dict({k: v.numpy() for k, v in theirs.state_dict().items() if k not in tracked})
    for mode in (True, True, False):
        x = rng.standard_normal(shape)
        mine = mr.tensor(x, requires_grad=True)
        leaf = torch.tensor(x, requires_grad=True)
        y, expected = ours.train(mode)(mine), theirs.train(mode)(leaf * 1)  # a leaf cannot be changed in place
        np.testing.assert_allclose(y.numpy(), expected.detach().numpy(), rtol=1e-9, atol=1e-9)
        (y * y).sum().backward()
        (expected * expected).sum().backward()
        np.testing.assert_allclose(mine.grad.numpy(), leaf.grad.numpy(), rtol=1e-9, atol=1e-9)
    for name, parameter in theirs.named_parameters():
        np.testing.assert_allclose(dict(ours.named_parameters())[name].grad.numpy(), parameter.grad.numpy(), atol=1e-9)
    for name, value in theirs.state_dict().items():
        if name not in tracked:
            np.testing.assert_allclose(ours.state_dict()[name], value.numpy(), rtol=1e-12)


@pytest.mark.parity
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_losses_as_layers(reduction, rng):
    torch = pytest.importorskip("torch")
    x, target, weight = rng.standard_normal((4, 3)), rng.random((4, 3)), np.array([1.0, 2.0, 3.0])
    cases = [
        ("MSELoss", {}, target),
        ("BCEWithLogitsLoss", {"weight": weight, "pos_weight": weight}, target),
        ("CrossEntropyLoss", {"weight": weight, "ignore_index": 2, "label_smoothing": 0.1}, np.array(LABELS)),
    ]
    for name, options, wanted in cases:
        given = {k: torch.tensor(v) if isinstance(v, np.ndarray) else v for k, v in options.items()}
        expected = getattr(torch.nn, name)(**given, reduction=reduction)(torch.tensor(x), torch.tensor(wanted))
        found = getattr(nn, name)(**options, reduction=reduction)(mr.tensor(x), wanted)
        np.testing.assert_allclose(found.numpy(), expected.numpy(), rtol=1e-9)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: nn.BatchNorm2d(3, width=1), r"BatchNorm2d: .*'width'; .*affine=True, track_running_stats=True"),
        (lambda: nn.AvgPool2d(), r"AvgPool2d: missing .*'kernel_size'; .*count_include_pad=True"),
        (lambda: nn.Conv2d(3, 4, 3, device="cuda"), r"Conv2d: device is not offered; .*\.to\('cuda'\)"),
        (lambda: nn.Linear(3, 4, dtype="float64"), r"Linear: dtype is not offered; .*\.to\('float64'\)"),
        (lambda: nn.MSELoss(size_average=True), "MSELoss: size_average is not offered; write reduction="),
        (lambda: nn.CrossEntropyLoss(None, True), "CrossEntropyLoss: too many arguments"),
        (lambda: nn.MaxPool2d(2, return_indices=True), "MaxPool2d: return_indices=True is not offered"),
        (lambda: nn.Conv2d(3, 4, 3, 2, "same"), "Conv2d: padding='same' needs stride 1, not 2"),
        (lambda: nn.Conv2d(3, 4, 3, padding="full"), "Conv2d: there is no padding 'full'; choose one of same, valid"),
        (lambda: nn.Conv2d(3, 4, 3, padding_mode="mirror"), "Conv2d: there is no padding_mode 'mirror'"),
        (lambda: nn.ConvTranspose2d(3, 4, 3, padding_mode="reflect"), "ConvTranspose2d: there is no padding_mode"),
        (lambda: nn.GroupNorm(4, 6), "GroupNorm: num_channels 6 must be divisible by num_groups 4"),
        (lambda: nn.Softmax(), "Softmax: missing .*'axis'"),
    ],
)
def test_what_is_not_offered_is_refused_with_the_name_of_the_layer(call, words):
    with pytest.raises(ArgumentError, match=words):
        call()


@pytest.mark.parametrize("layer", ["conv2d", "conv_transpose2d", "batch_norm", "layer_norm", "group_norm"])
def test_a_batch_of_another_float_type_than_the_layer(layer, rng):
    """A float64 batch would make every later layer float64, too."""
    module = {
        "conv2d": nn.Conv2d(6, 4, 3), "conv_transpose2d": nn.ConvTranspose2d(6, 4, 3),
        "batch_norm": nn.BatchNorm2d(6, affine=False), "layer_norm": nn.LayerNorm(5), "group_norm": nn.GroupNorm(2, 6),
    }[layer]  # fmt: skip
    with pytest.raises(DTypeError, match=rf"{layer}: x is float64 but \w+ is float32; .*x\.astype\('float32'\)"):
        module.eval()(mr.tensor(rng.standard_normal(IMAGES)))


def test_layers_with_other_arguments_fold_to_the_same(rng):
    model = nn.Sequential(
        nn.Conv2d(3, 4, 2, padding="same"), nn.BatchNorm2d(4), nn.Conv2d(4, 4, 3, padding=1, padding_mode="reflect"),
        nn.BatchNorm2d(4), nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4, affine=False), nn.Conv2d(4, 4, 1),
        nn.BatchNorm2d(4, track_running_stats=False),
    )  # fmt: skip
    x = mr.tensor(rng.standard_normal((2, 3, 8, 8)).astype("f"))
    model(x)
    np.testing.assert_allclose(nn.fold(model)(x).numpy(), model.eval()(x).numpy(), atol=1e-4)
