"""FCN and DeepLabv3+ against torchvision's parts (golden/make_deeplab.py), and what they promise for any image."""

import time
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from golden.make_deeplab import CLASSES, IMAGES, MAPS, RATES, SIZES, draw, labels, summary, weights
from hypothesis import given
from hypothesis import strategies as st

import minires as mr
from minires import nn, ops, vision
from minires.data.shapes import drawings
from minires.vision.deeplab import ASPP, ImagePooling

NETWORKS = ["resnet8", "plain14", "resnet9", "resnet18"]


@pytest.fixture(scope="module")
def golden():
    with np.load(Path(__file__).parent / "golden" / "deeplab.npz") as file:
        return dict(file)


def loaded(module, seed, dtype):
    """The module with the weights of the golden run, and without dropout."""
    shapes = {name: array.shape for name, array in module.state_dict().items()}
    module.to(dtype).load_state_dict(weights(shapes, seed))
    for part in module.modules():
        if isinstance(part, nn.Dropout):
            part.p = 0.0
    return module


def assert_close(got, expected, dtype, single=1e-5):
    assert got.dtype == dtype
    bound = {"float32": single, "float64": 1e-9}[dtype] * np.abs(expected).max()
    np.testing.assert_allclose(got.numpy(), expected, rtol=0, atol=bound)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("mode", ["nearest", "bilinear"])
def test_resized_maps_are_those_of_torch(golden, dtype, size, mode):
    x = mr.tensor(draw(1, MAPS)[:, :2].astype(dtype))
    assert_close(ops.interpolate(x, size, mode=mode), golden[f"resize {mode} {size}"], dtype)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("phase", ["evaluation", "training"])
@pytest.mark.parametrize("part", ["fcn head", "aspp"])
def test_the_parts_compute_what_torchvisions_compute(golden, dtype, phase, part):
    if part == "aspp":
        module = ASPP(16, RATES, 6)
    else:
        module = vision.fcn(mr.models.resnet8(), CLASSES).classifier
        module[0], module[1] = nn.Conv2d(16, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4)
        module[4] = nn.Conv2d(4, CLASSES, 1)
    loaded(module, 2, dtype).train(phase == "training")
    assert_close(module(mr.tensor(draw(1, MAPS).astype(dtype))), golden[f"{part} {phase}"], dtype)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_training_step_of_a_whole_network_is_torchs(golden, dtype):
    model = loaded(vision.deeplabv3plus("resnet18", CLASSES, rates=RATES), 3, dtype)
    images = mr.tensor(draw(4, IMAGES).astype(dtype))
    assert_close(model.eval()(images)[:, :, ::8, ::8], golden["deeplab evaluation"], dtype)
    logits = model.train()(images)
    # Each of the 28 batch norms divides by a deviation that itself has rounding errors.
    assert_close(logits[:, :, ::8, ::8], golden["deeplab training"], dtype, single=1e-4)
    loss = ops.cross_entropy(logits, labels(), ignore_index=255)
    loss.backward()
    assert loss.item() == pytest.approx(float(golden["deeplab loss"]), rel=1e-5 if dtype == "float32" else 1e-9)
    got = summary({name: p.grad.numpy().astype("float64") for name, p in model.named_parameters()})
    deviations = np.abs(got - golden["deeplab gradients"]) / golden["deeplab gradients"][:, :1]
    if dtype == "float64":
        assert deviations.max() < 1e-8
    else:  # the sign of a number close to 0 is up to rounding, and with it what a ReLU passes on, in PyTorch as well
        assert deviations.mean() < 4 * golden["deeplab deviations of float32"].mean()
        assert deviations.max() < 4 * golden["deeplab deviations of float32"].max()


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("build", [vision.fcn, vision.deeplabv3plus])
def test_each_pixel_of_any_image_gets_scores(name, build, rng):
    model = build(name, 4)
    assert next(iter(dict(model.named_children()))) == "backbone"
    assert list(dict(model.named_children()))[-1] == "classifier"
    for size in ((33, 50), (64, 32)):
        images = mr.tensor(rng.standard_normal((1, 3, *size)).astype("f"))
        logits = model(images)  # in training, with a single image
        assert logits.shape == (1, 4, *size)
        loss = ops.cross_entropy(logits, rng.integers(0, 4, (1, *size)).astype(np.uint8), ignore_index=255)
        loss.backward()
        assert all(np.isfinite(p.grad.numpy()).all() for p in model.parameters())
        model.zero_grad()


def test_a_network_with_other_channels_can_be_given(rng):
    network = mr.models.resnet8(in_channels=1)
    model = vision.deeplabv3plus(network, 3)
    assert model.backbone.conv1 is network.conv1
    assert model(mr.zeros(2, 1, 16, 24)).shape == (2, 3, 16, 24)


def test_output_strides_and_the_map_of_the_decoder():
    for name, stride, strides, finer in [
        ("resnet18", 8, (4, 8, 8, 8), 0), ("resnet8", 16, (1, 2, 4), 1), ("resnet8", 2, (1, 2, 2), 1),
        ("resnet8", 1, (1, 1, 1), 0),
    ]:  # fmt: skip
        model = vision.deeplabv3plus(name, 3, stride)
        assert (model.backbone.strides, model.finer) == (strides, finer)
    assert vision.fcn("resnet18", 3).backbone.strides[-1] == 8
    assert vision.fcn("resnet20", 3).backbone.strides[-1] == 4


@pytest.mark.parametrize(
    ("name", "options", "rates"),
    [
        ("resnet8", {"image_size": 129}, (6, 12, 18)),  # a map of 33, as in the papers
        ("resnet8", {"image_size": 257, "output_stride": 8}, (12, 24, 36)),
        ("resnet18", {}, (1, 2, 3)),
        ("resnet8", {}, (3, 6, 9)),
        ("resnet8", {"image_size": 96}, (4, 8, 12)),
        ("resnet8", {"image_size": 8}, (1, 2, 3)),
        ("resnet8", {"rates": [2, 5]}, (2, 5)),
    ],
)
def test_the_rates_suit_the_size_of_the_map(name, options, rates):
    model = vision.deeplabv3plus(name, 3, **options)
    dilated = list(model.aspp.convs)[1:-1]
    assert tuple(branch[0].dilation for branch in dilated) == tuple((rate, rate) for rate in rates)
    assert [branch[0].padding for branch in dilated] == [branch[0].dilation for branch in dilated]


def test_with_one_image_the_pooling_branch_normalises_as_in_evaluation(rng):
    pooling = ImagePooling(5, 3)
    pooling[2].running_mean.data, pooling[2].running_var.data = (
        -rng.random(3).astype("f") - 1,
        rng.random(3).astype("f"),
    )
    before = pooling[2].running_mean.numpy().copy(), pooling[2].running_var.numpy().copy()
    x = mr.tensor(rng.standard_normal((1, 5, 4, 6)).astype("f"), requires_grad=True)
    trained = pooling.train()(x)
    trained.sum().backward()
    assert x.grad.numpy().any()
    np.testing.assert_array_equal(trained.numpy(), pooling.eval()(x).numpy())
    pooling.train()
    assert pooling[2].training
    for statistic, old in zip((pooling[2].running_mean, pooling[2].running_var), before, strict=True):
        np.testing.assert_array_equal(statistic.numpy(), old)
    pooling(mr.tensor(rng.standard_normal((2, 5, 4, 6)).astype("f")))
    assert (pooling[2].running_mean.numpy() != before[0]).all()


def test_the_names_are_those_of_torchvisions_fcn():
    names = set(vision.fcn("resnet8", 21).state_dict())
    assert {"backbone.conv1.weight", "backbone.layer3.0.conv2.weight", "classifier.0.weight"} <= names
    assert {"classifier.1.running_var", "classifier.4.bias"} <= names


def test_folding_keeps_the_result(rng):
    images = mr.tensor(rng.standard_normal((2, 3, 24, 32)).astype("f"))
    for build in (vision.fcn, vision.deeplabv3plus):
        model = build("resnet8", 3)
        model(images)  # sets the running statistics
        expected = model.eval()(images).numpy()
        np.testing.assert_allclose(nn.fold(model)(images).numpy(), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: vision.fcn("resnet19", 3), "no model 'resnet19'"),
        (lambda: vision.fcn("resnet8", 0), "num_classes is 0"),
        (lambda: vision.fcn("resnet8", 3, output_stride=3), "output_stride is 3"),
        (lambda: vision.deeplabv3plus("resnet8", 2.5), "num_classes is 2.5"),
        (lambda: vision.deeplabv3plus("resnet8", 3, image_size=0), "image_size is 0"),
        (lambda: vision.deeplabv3plus(nn.Linear(3, 4), 3), "Linear has no conv1"),
        (lambda: vision.deeplabv3plus(None, 3), "deeplabv3plus: model is NoneType"),
        (lambda: vision.fcn("resnet8", 3)(mr.zeros(3, 16, 16)), "4 are needed"),
    ],
)
def test_what_does_not_fit_is_refused(call, message):
    with pytest.raises(mr.errors.MiniresError, match=message):
        call()


@given(
    st.lists(st.integers(max_value=0) | st.floats() | st.text() | st.booleans(), min_size=1) | st.integers() | st.text()
)
def test_rates_must_be_positive_integers(rates):
    with pytest.raises(mr.errors.ArgumentError, match="rates is"):
        ASPP(4, rates, 2)


def miou(model, images, masks):
    with mr.no_grad():
        predicted = model.eval()(images).numpy().argmax(axis=1)
    return vision.mean_iou(vision.confusion_matrix(predicted, masks, classes=6))


@pytest.mark.slow
def test_eight_images_are_overfitted():
    mr.manual_seed(0)
    drawn = list(islice(drawings(size=64, seed=1), 8))
    images = mr.tensor(np.stack([each.image for each in drawn]).astype("f") / 128 - 1)
    masks = np.stack([(each.label + 1) * each.mask for each in drawn]).astype(np.uint8)
    model = vision.deeplabv3plus("resnet20", num_classes=6)
    optimizer, begin = mr.optim.AdamW(model.parameters(), lr=2e-3), time.perf_counter()
    for step in range(300):
        loss = ops.cross_entropy(model.train()(images), masks, ignore_index=255)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % 20 == 19:
            score = miou(model, images, masks)
            print(step, round(time.perf_counter() - begin, 1), loss.item(), score)
            if score >= 0.98:
                break
    assert score >= 0.98
