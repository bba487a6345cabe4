"""FCOS beside torchvision's: outputs, assignment, losses, gradients, detections. The file of its values says how."""

from pathlib import Path

import numpy as np
import pytest
from golden.make_fcos import CLASSES, CONFIDENCE, IMAGES, SIZE, STRIDES, drawn, places, weights

import minires as mr
from minires import vision
from minires.data.annotated import Objects
from minires.vision.assignment import decode, locations
from minires.vision.decoding import detect

with np.load(Path(__file__).parent / "golden" / "fcos.npz") as file:
    GOLDEN = dict(file)


def objects(boxes, labels=None, crowd=None):
    return Objects(boxes, np.zeros(len(boxes), int) if labels is None else labels, crowd)


@pytest.fixture(scope="module")
def trained():
    """The network and the batch of the golden training step, and its losses after backward."""
    model = vision.fcos("resnet18", CLASSES, offset=0).to("float64")
    shapes = {name: array.shape for name, array in model.state_dict().items() if "num_batches" not in name}
    assert sorted(shapes) == [name for name in GOLDEN["names"] if ".fc." not in name]  # none is renamed
    model.load_state_dict(weights(shapes), strict=False)
    maps = model.backbone(mr.tensor(drawn("images", IMAGES)))
    outputs = model(mr.tensor(drawn("images", IMAGES)))
    targets = [objects(GOLDEN[f"step_boxes{n}"], GOLDEN[f"step_labels{n}"]) for n in range(3)]
    losses = vision.fcos_loss(outputs, targets, model.locations(SIZE))
    losses.total.backward()
    return model, maps, outputs, losses


def test_the_pyramid_is_torchvisions(trained):
    for number, each in enumerate(trained[1]):
        projected = np.tensordot(each.numpy(), drawn("channels", 256), (1, 0))
        np.testing.assert_allclose(projected, GOLDEN[f"map{number}"], rtol=1e-9, atol=1e-9)


def test_the_heads_are_torchvisions(trained):
    classes, boxes, centerness = (output.numpy() for output in trained[2])
    np.testing.assert_allclose(classes, GOLDEN["cls_logits"], rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(boxes, GOLDEN["bbox_regression"], rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(centerness, GOLDEN["bbox_ctrness"][..., 0], rtol=1e-9, atol=1e-9)


def test_locations_are_the_middle_of_torchvisions_anchors(trained):
    found = trained[0].locations(SIZE)
    np.testing.assert_array_equal(found.points, (GOLDEN["anchors"][:, :2] + GOLDEN["anchors"][:, 2:]) / 2)
    np.testing.assert_array_equal(found.strides, GOLDEN["anchors"][:, 2] - GOLDEN["anchors"][:, 0])


def test_the_losses_are_torchvisions(trained):
    total, *parts = (loss.item() for loss in trained[3])
    np.testing.assert_allclose(parts, GOLDEN["losses"], rtol=1e-9)
    assert total == pytest.approx(sum(parts), rel=1e-12)


def test_the_gradients_of_a_training_step_are_torchvisions(trained):
    """Each is held to its length and to its product with random numbers, relative to its length."""
    model = trained[0]
    for name, parameter in model.named_parameters():
        gradient = parameter.grad.numpy()
        norm, product = GOLDEN[f"grad.{name}"]
        assert np.linalg.norm(gradient) == pytest.approx(norm, rel=1e-6, abs=1e-12), name
        assert abs(np.vdot(gradient, drawn(name, gradient.shape)) - product) <= 1e-6 * norm + 1e-12, name


def test_float32_outputs_are_close(trained):
    model = vision.fcos("resnet18", CLASSES)
    model.load_state_dict({name: array.astype("float32") for name, array in trained[0].state_dict().items()})
    outputs = model(mr.tensor(drawn("images", IMAGES).astype("float32")))
    assert all(output.dtype == "float32" for output in outputs)
    for found, key in zip(outputs, ("cls_logits", "bbox_regression", "bbox_ctrness"), strict=True):
        expected = GOLDEN[key].reshape(found.shape)
        np.testing.assert_allclose(found.numpy(), expected, rtol=0, atol=3e-5 * np.abs(expected).max())


def test_detections_are_torchvisions():
    size, found = (256, 192), locations((256, 192), STRIDES)
    length = len(found.points)
    assert length == len(places(size, STRIDES)[0])
    logits = drawn("cls_logits", (3, length, CLASSES)) - CONFIDENCE
    sides = np.abs(drawn("bbox_regression", (3, length, 4))) * 2
    central = drawn("bbox_ctrness", (3, length, 1))[..., 0]
    for number, each in enumerate(detect([mr.tensor(array) for array in (logits, sides, central)], size, found)):
        expected = [GOLDEN[f"detect_{key}{number}"] for key in ("boxes", "scores", "labels")]
        np.testing.assert_allclose(each.boxes, expected[0], rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(each.scores, expected[1], rtol=1e-9)
        np.testing.assert_array_equal(each.labels, expected[2])
        assert each.labels.dtype == np.int64 and (np.diff(each.scores) <= 0).all()
    assert [len(GOLDEN[f"detect_scores{number}"]) > 0 for number in range(3)] == [True, True, False]
    assert len(GOLDEN["detect_scores0"]) == 100 > len(GOLDEN["detect_scores1"])


@pytest.mark.parametrize("threshold", ["0", "0.3", "0.6"])
def test_nms_is_torchvisions(threshold):
    kept = vision.nms(GOLDEN["nms_boxes"], GOLDEN["nms_scores"], float(threshold))
    np.testing.assert_array_equal(kept, GOLDEN[f"nms{threshold}"])


@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-9), ("float32", 1e-5)])
def test_focal_and_giou_losses_are_torchvisions(dtype, tolerance):
    x, target = drawn("focal", (7, 5), 4).astype(dtype), drawn("truth", (7, 5)) > 0.5
    for number, (alpha, gamma) in enumerate([(0.25, 2), (-1, 2), (0.6, 0.5), (0.25, 0)]):
        logits = mr.tensor(x, requires_grad=True)
        losses = mr.ops.sigmoid_focal_loss(logits, target, alpha=alpha, gamma=gamma)
        losses.sum().backward()
        for found, expected in zip((losses, logits.grad), GOLDEN[f"focal{number}"], strict=True):
            np.testing.assert_allclose(found.numpy(), expected, rtol=tolerance, atol=tolerance)
    boxes = mr.tensor(GOLDEN["giou_a"].astype(dtype), requires_grad=True)
    losses = mr.ops.giou_loss(boxes, GOLDEN["giou_b"].astype(dtype))
    losses.sum().backward()
    np.testing.assert_allclose(losses.numpy(), GOLDEN["giou"], rtol=tolerance, atol=tolerance)
    np.testing.assert_allclose(boxes.grad.numpy(), GOLDEN["giou_grad"], rtol=tolerance, atol=tolerance)


def test_the_start_is_the_papers_but_no_edge_is_stuck():
    mr.manual_seed(0)
    model = vision.fcos("resnet8", 3, channels=32)
    classes, sides, centerness = (output.numpy() for output in model(mr.randn(2, 3, 32, 32)))
    probabilities = 1 / (1 + np.exp(-classes))
    assert probabilities.mean() == pytest.approx(0.01, rel=0.2) and probabilities.max() < 0.05
    assert sides.min() > 0 and sides.mean() == pytest.approx(1, abs=0.1) and abs(centerness).max() < 1
    head = model.head["classification_head"]
    for layer in (head.conv[0], head.cls_logits):
        assert layer.weight.numpy().std() == pytest.approx(0.01, rel=0.1)
    lateral = model.backbone.fpn.inner_blocks[0][0].weight.numpy()  # (32, 64, 1, 1), variance 1 / fan_in
    assert lateral.std() == pytest.approx(64**-0.5, rel=0.1) and abs(lateral).max() <= (3 / 64) ** 0.5


@pytest.mark.parametrize(
    ("name", "options", "strides"),
    [
        ("resnet8", {}, (4, 8, 16)),
        ("plain8", {"channels": 24}, (4, 8, 16)),
        ("resnet8", {"strides": [2, 4]}, (2, 4)),
        ("resnet8", {"strides": (8,)}, (8,)),  # made from the last map, of stride 4
        ("resnet9", {"channels": 16}, (8, 16, 32)),
        ("resnet18", {"channels": 32}, (8, 16, 32, 64, 128)),
        ("resnet18", {"channels": 32, "strides": (8,)}, (8,)),  # coarser maps are added to it
        ("resnet18", {"channels": 8, "strides": (16, 32, 64)}, (16, 32, 64)),
    ],
)
def test_outputs_belong_to_locations_and_all_parameters_learn(name, options, strides):
    mr.manual_seed(0)
    size = (40, 72) if name == "resnet18" else (24, 40)
    model = vision.fcos(name, num_classes=2, **options)
    assert model.strides == strides
    outputs, here = model(mr.randn(1, 3, *size)), model.locations(size)
    points, steps, _ = places(size, strides)
    np.testing.assert_array_equal(here.points, points)
    np.testing.assert_array_equal(here.strides, steps)
    assert [output.shape for output in outputs] == [(1, len(points), 2), (1, len(points), 4), (1, len(points))]
    losses = vision.fcos_loss(outputs, [objects([[2, 2, 23, 23], [4, 4, 18, 12]], [0, 1])], here)
    losses.total.backward()
    assert losses.boxes.item() > 0
    assert [
        name for name, p in model.named_parameters() if p.grad is None or not np.isfinite(p.grad.numpy()).all()
    ] == []


def test_one_box_for_an_image_is_learnt_with_the_same_parts():
    """The first step of the ladder: a classifier with four outputs, which is one location in the middle.

    Its edges are exp of the outputs, as in the first paper: of a single location, a ReLU may stay at 0.
    """
    mr.manual_seed(0)
    network, size = mr.models.resnet8(num_classes=4), 32
    image, truth = mr.randn(2, 3, size, size), [[4, 6, 30, 20], [0, 2, 22, 28]]
    optimiser = mr.optim.Adam(network.parameters(), 3e-3)
    for _ in range(60):
        boxes = decode(mr.ops.exp(network(image) - 1), np.full((2, 2), size / 2), [size, size])
        loss = mr.ops.giou_loss(boxes, truth, "mean")
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert loss.item() < 0.15


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("resnet7", 3), "there is no model 'resnet7'"),
        (("resnet8", 0), "num_classes is 0"),
        (("resnet8", 3, 0), "channels is 0"),
        (("resnet8", 3, 16, (4, 16)), r"strides is \(4, 16\); each must be twice"),
        (("resnet8", 3, 16, ()), "strides is"),
        (("resnet8", 3, 16, 8), "strides is 8"),
        (("resnet8", 3, 16, ([8], True)), "strides is"),
        (("resnet18", 3, 16, (2, 4)), "the first one of 4, 8, 16"),
        (("resnet8", 3, 16, (3, 6)), "the first one of 1, 2, 4"),
        (("resnet8", 3, 16, (8,), 2), "offset"),
        ((mr.nn.Linear(3, 4), 3), "Linear has no conv1 and layer1"),
    ],
)
def test_what_no_detector_can_be_built_with_is_refused(arguments, message):
    with pytest.raises(mr.errors.ArgumentError, match=message):
        vision.fcos(*arguments)


def some(classes, count=20, images=2):
    """Confident outputs for an image of 32x40 with one map of stride 8, many of them equal."""
    rng = np.random.default_rng(0)
    logits, central = rng.integers(-1, 3, (images, count, classes)), rng.integers(0, 2, (images, count))
    return logits.astype(float), rng.uniform(0, 3, (images, count, 4)), central.astype(float)


def detect_one_by_one(logits, sides, central, size, stride, threshold, overlap, most):
    """The detections of one image: all scores in order, then each is kept unless a kept one of its class overlaps."""
    points, found = places(size, (stride,))[0], []
    for at, (x, y) in enumerate(points):
        for label, logit in enumerate(logits[at]):
            score = (1 / (1 + np.exp(-logit)) / (1 + np.exp(-central[at]))) ** 0.5
            left, top, right, bottom = sides[at] * stride
            box = np.clip([x - left, y - top, x + right, y + bottom], 0, [size[1], size[0]] * 2)
            if score > threshold:
                found.append((score, label, box))
    kept = []
    for score, label, box in sorted(found, key=lambda each: -each[0]):  # stable
        if all(label != other or vision.box_iou([box], [b])[0, 0] <= overlap for _, other, b in kept):
            kept.append((score, label, box))
    return kept[:most]


def test_equal_scores_stay_in_order_and_limits_are_kept():
    arrays = some(classes=3)
    outputs, here = [mr.tensor(array) for array in arrays], locations((32, 40), (8,))
    for threshold, overlap, most in ((0.2, 0.6, 100), (0.55, 0.3, 100), (0.2, 1, 7), (0.99, 0.6, 100)):
        found = detect(outputs, (32, 40), here, threshold, overlap, most)
        for number, each in enumerate(found):
            expected = detect_one_by_one(*(a[number] for a in arrays), (32, 40), 8, threshold, overlap, most)
            assert each.labels.tolist() == [label for _, label, _ in expected]
            np.testing.assert_allclose(each.scores, [score for score, _, _ in expected], rtol=1e-6)
            np.testing.assert_allclose(each.boxes, np.reshape([box for *_, box in expected], (-1, 4)), atol=1e-4)
            assert each.boxes.shape == (len(expected), 4)


def test_what_detect_cannot_use_is_refused():
    outputs, places = [mr.tensor(array) for array in some(classes=3)], locations((32, 40), (8,))
    for options, message in (
        ({"threshold": np.nan}, "threshold is nan"),
        ({"threshold": -1}, r"must lie in \[0, 1\]"),
        ({"image_size": (0, 40)}, "image_size"),
    ):
        with pytest.raises(mr.errors.ArgumentError, match=message):
            detect(outputs, **{"image_size": (32, 40), "places": places, **options})
    for shape, message in (((0, 3, 32, 32), "is empty; give at least one image"), ((3, 32, 32), "fcos: x has 3 axes")):
        with pytest.raises(mr.errors.ShapeError, match=message):
            vision.fcos("resnet8", 2)(mr.tensor(np.zeros(shape, np.float32)))


def test_outputs_of_another_size_are_refused():
    outputs = [mr.tensor(array) for array in some(classes=3)]
    with pytest.raises(mr.errors.ShapeError, match="detect: the outputs have 20 locations, but places has 16"):
        detect(outputs, (32, 32), locations((32, 32), (8,)))
