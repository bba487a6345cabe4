"""Focal loss and generalised IoU: closed forms, the largest logits, boxes without an area. Torchvision's values are in
tests/vision/test_fcos.py."""

import math

import numpy as np
import pytest

import minires as mr
from minires import ops


@pytest.mark.parametrize("gamma", [0, 0.5, 1, 2, 5])
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_focal_loss_of_the_largest_logits(dtype, gamma):
    """A wrong answer costs as much as its logit, and a right one nothing; neither overflows, and no gradient is NaN."""
    big = 6e4 if dtype == "float16" else 1e30
    x = mr.tensor(np.array([big, -big, big, -big, 200, -200], dtype), requires_grad=True)
    losses = ops.sigmoid_focal_loss(x, [1, 1, 0, 0, 1, 0], gamma=gamma)
    losses.backward(mr.tensor(np.ones(6, dtype)))
    assert losses.dtype == x.grad.dtype == dtype
    np.testing.assert_allclose(losses.numpy(), [0, 0.25 * big, 0.75 * big, 0, 0, 0], rtol=1e-3, atol=1e-19)
    np.testing.assert_allclose(x.grad.numpy(), [0, -0.25, 0.75, 0, 0, 0], rtol=1e-3, atol=1e-19)


def test_focal_loss_keeps_digits_where_the_sigmoid_rounds_to_1():
    """-log p_t is about exp(-x) for large x, and so is 1 - p_t, although sigmoid(20) is 1 in float32."""
    x = np.array([20, 30, 50], "float32")
    for sign, target, weight in ((1, 1, 0.25), (-1, 0, 0.75)):
        losses = ops.sigmoid_focal_loss(sign * x, np.full(3, target), gamma=1)
        np.testing.assert_allclose(losses.numpy(), weight * np.exp(-2.0 * x), rtol=1e-5, atol=1e-44)


def test_focal_loss_without_focus_is_cross_entropy(rng):
    x, t = rng.standard_normal((3, 4)), rng.integers(0, 2, (3, 4))
    expected = ops.binary_cross_entropy_with_logits(mr.tensor(x), t).item()
    assert ops.sigmoid_focal_loss(mr.tensor(x), t, -1, 0, "mean").item() == pytest.approx(expected)
    assert ops.sigmoid_focal_loss(mr.tensor(x), t, 0.5, 0, "sum").item() == pytest.approx(expected * 12 / 2)
    assert ops.sigmoid_focal_loss([0.0], [True]).item() == pytest.approx(0.25 * 0.25 * math.log(2))


GIOU = [
    ([0, 0, 4, 2], [0, 0, 4, 2], 0),  # the same
    ([0, 0, 4, 2], [1, 0, 3, 2], 1 - 4 / 8),  # one inside the other
    ([0, 0, 2, 2], [1, 1, 3, 3], 1 - 1 / 7 + 2 / 9),  # a corner
    ([0, 0, 2, 2], [2, 0, 4, 2], 1),  # side by side
    ([0, 0, 2, 2], [4, 0, 6, 2], 1 + 4 / 12),  # apart
    ([1, 1, 1, 1], [0, 0, 2, 2], 1),  # a point inside
    ([1, 1, 1, 1], [3, 3, 3, 3], 2),  # two points
    ([1, 1, 1, 1], [1, 1, 1, 1], 1),  # the same point: IoU 0, as in torchvision
]


@pytest.mark.parametrize(("a", "b", "expected"), GIOU)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_giou_of_boxes_whose_areas_are_plain(a, b, expected, dtype):
    first, second = (mr.tensor(np.array([box], dtype), requires_grad=True) for box in (a, b))
    loss = ops.giou_loss(first, second)
    loss.sum().backward()
    assert loss.shape == (1,) and loss.item() == pytest.approx(expected, abs=1e-6)
    assert ops.giou_loss(second, first).item() == pytest.approx(expected, abs=1e-6)
    assert np.isfinite(first.grad.numpy()).all() and np.isfinite(second.grad.numpy()).all()


def test_giou_pulls_boxes_that_do_not_touch():
    box = mr.tensor([[0.0, 0, 2, 2]], requires_grad=True)
    ops.giou_loss(box, [[8, 0, 10, 2]], "sum").backward()
    left, _, right, _ = box.grad.numpy()[0]
    assert right < 0 and right < left  # a larger x2 lowers the loss most


def test_losses_of_no_boxes_are_0_and_belong_to_the_graph():
    boxes = mr.tensor(np.zeros((0, 4), "float32"), requires_grad=True)
    for reduction in ("mean", "sum"):
        loss = ops.giou_loss(boxes, np.zeros((0, 4)), reduction)
        loss.backward()
        assert loss.item() == 0 and boxes.grad.shape == (0, 4)
    assert ops.giou_loss(boxes, np.zeros((0, 4))).shape == (0,)
    assert ops.sigmoid_focal_loss(boxes, boxes.numpy(), reduction="sum").item() == 0


def test_leading_axes_are_kept(rng):
    boxes = np.sort(rng.uniform(0, 9, (2, 3, 2, 2)), axis=2).reshape(2, 3, 4)
    losses = ops.giou_loss(mr.tensor(boxes), boxes[:, ::-1])
    assert losses.shape == (2, 3)
    alone = [ops.giou_loss(mr.tensor(boxes[i, j]), boxes[i, 2 - j]).item() for i in range(2) for j in range(3)]
    np.testing.assert_allclose(losses.numpy().ravel(), alone, rtol=1e-12)
