"""Dice losses against sums in NumPy, their gradients, and pixels that do not count."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minires as mr
from minires import vision

SHAPE = (2, 4, 3, 5)  # (N, K, H, W)


def reference(logits, labels, smooth, ignore):
    """The loss of each class, by loops over classes; NaN for classes without labels."""
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    probabilities = shifted / shifted.sum(axis=1, keepdims=True)
    losses = []
    for k in range(logits.shape[1]):
        p, t = probabilities[:, k][labels != ignore], (labels == k)[labels != ignore]
        losses.append(1 - (2 * p[t].sum() + smooth) / (p.sum() + t.sum() + smooth) if t.any() else np.nan)
    return np.array(losses)


@pytest.mark.parametrize("smooth", [1.0, 0.01])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_dice_loss_is_the_mean_over_the_classes_that_occur(rng, smooth, dtype):
    logits, labels = 3 * rng.standard_normal(SHAPE), rng.integers(0, 3, (2, 3, 5)).astype(np.uint8)  # class 3 is absent
    labels[rng.random(labels.shape) < 0.3] = 255
    right = reference(logits, labels, smooth, 255)
    x = mr.tensor(logits.astype(dtype))
    each = vision.dice_loss(x, labels, smooth=smooth, reduction="none")
    tolerance = 1e-6 if dtype == "float32" else 1e-12
    np.testing.assert_allclose(each.numpy(), np.nan_to_num(right), rtol=tolerance, atol=tolerance)
    assert each.dtype == dtype
    assert vision.dice_loss(x, labels, smooth=smooth).item() == pytest.approx(np.nanmean(right), rel=tolerance)


def test_the_binary_dice_loss(rng):
    logits, labels = 3 * rng.standard_normal((2, 1, 3, 5)), rng.integers(0, 2, (2, 1, 3, 5))
    labels[0, 0, 1] = 255
    p, t = (1 / (1 + np.exp(-logits)))[labels < 2], labels[labels < 2]
    right = 1 - (2 * (p * t).sum() + 0.5) / (p.sum() + t.sum() + 0.5)
    assert vision.binary_dice_loss(mr.tensor(logits), labels, smooth=0.5).item() == pytest.approx(right, abs=1e-12)
    assert vision.binary_dice_loss(mr.tensor(logits), labels == 1, smooth=0.5).item() != pytest.approx(right)


def test_gradients(rng):
    labels = rng.integers(0, 3, (2, 3, 5))
    labels[0, :2] = 255
    x = mr.tensor(rng.standard_normal(SHAPE), requires_grad=True)
    mr.gradcheck(lambda x: vision.dice_loss(x, labels), x)
    mr.gradcheck(lambda x: vision.dice_loss(x, labels, reduction="none"), x)
    binary = mr.tensor(rng.standard_normal((2, 3, 5)), requires_grad=True)
    mr.gradcheck(lambda x: vision.binary_dice_loss(x, np.where(labels < 2, labels, 255)), binary)


def test_a_perfect_prediction_has_no_loss_and_a_wrong_one_loses_all(rng):
    labels = rng.integers(0, 4, (2, 3, 5))
    labels[0, 0, :4] = range(4)
    logits = 100.0 * (labels[:, None] == np.arange(4)[:, None, None])
    assert vision.dice_loss(mr.tensor(logits), labels).item() == pytest.approx(0, abs=1e-12)
    assert vision.dice_loss(mr.tensor(-logits), labels, smooth=1e-6).item() > 0.6
    assert vision.binary_dice_loss(mr.tensor(2 * logits[:, 1] - 100), labels == 1).item() == pytest.approx(0, abs=1e-12)


def test_ignored_pixels_neither_count_nor_get_a_gradient(rng):
    labels = rng.integers(0, 4, (2, 3, 5)).astype(np.uint8)
    labels[1, 2, 3], values = 255, rng.standard_normal(SHAPE)
    x = mr.tensor(values, requires_grad=True)
    loss = vision.dice_loss(x, labels)
    loss.backward()
    values[1, :, 2, 3] = np.nan
    y = mr.tensor(values, requires_grad=True)
    other = vision.dice_loss(y, labels)
    assert other.item() == loss.item()
    assert (x.grad.numpy()[1, :, 2, 3] == 0).all()


@pytest.mark.parametrize("loss", [vision.dice_loss, vision.binary_dice_loss])
def test_if_all_pixels_are_ignored_the_loss_and_its_gradient_are_0(rng, loss):
    x = mr.tensor(rng.standard_normal(SHAPE).astype("f"), requires_grad=True)
    shape = SHAPE if loss is vision.binary_dice_loss else (2, 3, 5)
    result = loss(x, np.full(shape, 255, np.uint8))
    result.backward()
    assert result.item() == 0
    assert not x.grad.numpy().any()


LOGITS = np.zeros(SHAPE, "f")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: vision.dice_loss(LOGITS, np.zeros((2, 5, 3), int)), "labels is 2x5x3"),
        (lambda: vision.dice_loss(LOGITS[0, 0], np.zeros(3, int)), r"must be \(N, K, H, W\)"),
        (lambda: vision.dice_loss(LOGITS, np.full((2, 3, 5), 4)), "run from 4 to 4, but must be 0 to 3"),
        (lambda: vision.dice_loss(LOGITS, np.zeros((2, 3, 5))), "float64; they must be integers"),
        (lambda: vision.dice_loss(LOGITS, np.zeros((2, 3, 5), int), reduction="sum"), "no reduction 'sum'"),
        (lambda: vision.binary_dice_loss(LOGITS, np.full(SHAPE, 2)), "must be 0 to 1"),
        (lambda: vision.binary_dice_loss(LOGITS.astype(int), np.zeros(SHAPE, int)), "floats are needed"),
    ],
)
def test_what_does_not_fit_is_refused(call, message):
    with pytest.raises(mr.errors.MiniresError, match=message):
        call()


@given(st.floats(max_value=0) | st.just(float("nan")) | st.just(float("inf")) | st.none() | st.text())
def test_smooth_must_be_positive(smooth):
    with pytest.raises(mr.errors.ArgumentError, match="smooth is"):
        vision.dice_loss(LOGITS, np.zeros((2, 3, 5), int), smooth=smooth)


def test_inputs_are_unchanged(rng):
    logits, labels = rng.standard_normal(SHAPE), rng.integers(0, 4, (2, 3, 5)).astype(np.uint8)
    copies = logits.copy(), labels.copy()
    first, second = (vision.dice_loss(mr.tensor(logits), labels).item() for _ in range(2))
    assert first == second
    np.testing.assert_array_equal(logits, copies[0])
    np.testing.assert_array_equal(labels, copies[1])
