"""Softmax and the losses: digits in float16 and float32, ignored labels, logits of -inf. Values are closed forms."""

from __future__ import annotations

import math

import numpy as np
import pytest

import minires as mr
from minires import ops

pytestmark = pytest.mark.parametrize("engine", ["textbook", "fast"])
MANY = 70_000  # more than the largest float16
HALVES = np.zeros((MANY, 2), "float16")
FLOAT16 = [
    ("softmax", lambda: ops.softmax(HALVES[:, 0])[0], 1 / MANY),
    ("log_softmax", lambda: ops.log_softmax(HALVES, 0)[0, 1], -math.log(MANY)),
    ("cross_entropy", lambda: ops.cross_entropy(HALVES, np.zeros(MANY, int)), math.log(2)),
    ("cross_entropy, weight", lambda: ops.cross_entropy(HALVES, np.ones(MANY, int), [1.0, 3]), math.log(2)),
    ("cross_entropy, soft", lambda: ops.cross_entropy(HALVES, HALVES + np.float16(0.5)), math.log(2)),
    ("bce", lambda: ops.binary_cross_entropy_with_logits(HALVES, HALVES), math.log(2)),
    ("mse", lambda: ops.mse_loss(np.array([300, 0, 0, 0], "float16"), np.zeros(4, "float16")), 300**2 / 4),
    ("gelu", lambda: ops.gelu(np.float16(-3)), -1.5 * (1 + math.erf(-3 / math.sqrt(2)))),
]


@pytest.mark.parametrize(("compute", "expected"), [case[1:] for case in FLOAT16], ids=[case[0] for case in FLOAT16])
def test_float16_computes_in_more_digits(engine, compute, expected):
    with mr.engine(engine):
        y = compute()
    assert y.dtype == "float16"
    assert y.item() == pytest.approx(expected, rel=5e-3)


def test_denominators_of_float32_along_the_first_axis(engine, rng):
    x = rng.uniform(-1, 1, (1_000_000, 2)).astype("float32")
    total = math.fsum(np.exp(x[:, 1].astype("float64")))
    with mr.engine(engine):
        found = [ops.softmax(x, 0)[0, 1].item(), ops.log_softmax(x, 0)[0, 1].item()]
    assert found == pytest.approx([math.exp(x[0, 1]) / total, x[0, 1] - math.log(total)], rel=1e-6)


def test_weights_of_another_dtype_do_not_change_that_of_the_loss(engine):
    logits, weights = mr.tensor(np.zeros((4, 2), "f"), requires_grad=True), np.array([0.5, 2.0])
    with mr.engine(engine):
        for loss in (
            ops.cross_entropy(logits, [0, 1, 0, 1], weights),
            ops.binary_cross_entropy_with_logits(logits, logits.detach(), weights, pos_weight=weights),
        ):
            assert loss.dtype == "float32"


@pytest.mark.filterwarnings("ignore:(invalid value|divide by zero) encountered")
@pytest.mark.parametrize("options", [{}, {"label_smoothing": 0.1}, {"weight": [1.0, 2, 3]}])
def test_if_all_labels_are_ignored_the_mean_is_nan_and_the_gradient_0(engine, options):
    logits = mr.tensor(np.ones((400, 3), "f"), requires_grad=True)
    with mr.engine(engine):
        loss = ops.cross_entropy(logits, np.full(400, -100), **options)
        loss.backward()
    assert math.isnan(loss.item())
    np.testing.assert_array_equal(logits.grad.numpy(), np.zeros((400, 3)))


@pytest.mark.parametrize("labels", ["numbers", "probabilities", "with one that is ignored"])
def test_a_class_that_is_ruled_out_adds_nothing(engine, labels):
    """A logit of -inf where the target is 0: log 2 for each of the others, and no gradient to it."""
    logits = mr.tensor([[0.0, -np.inf, 0]] * 400, requires_grad=True)
    given = np.zeros(400, int) if labels != "probabilities" else np.array([[1.0, 0, 0]] * 400, "f")
    given[-1] = -100 if labels.startswith("with") else given[-1]
    with mr.engine(engine):
        loss = ops.cross_entropy(logits, given)
        loss.backward()
    assert loss.item() == pytest.approx(math.log(2))
    counted = 399 if labels.startswith("with") else 400
    np.testing.assert_allclose(logits.grad.numpy()[0], np.array([-0.5, 0, 0.5]) / counted, rtol=1e-5)
