"""Evaluation against counting by hand."""

import numpy as np
import pytest

import minires as mr
from minires.data import Split
from minires.errors import ArgumentError, DTypeError, LabelError
from minires.training import evaluate

LABELS = np.array([0, 1, 2, 2, 1], np.int64)
SCORES = np.log(
    [[0.7, 0.2, 0.1], [0.6, 0.3, 0.1], [0.1, 0.1, 0.8], [0.2, 0.5, 0.3], [0.25, 0.5, 0.25]],
)


class Table(mr.nn.Module):
    """Looks up its logits in a table; the first pixel is the row number."""

    def __init__(self, logits):
        self.logits = mr.nn.Parameter(logits.astype(np.float32))
        self.seen = []

    def forward(self, x):
        self.seen.append((x.shape, x.dtype, self.training, mr.is_grad_enabled()))
        return self.logits[np.rint(x.numpy()[:, 0, 0, 0] * 255).astype(np.int64)]


@pytest.fixture
def split():
    return Split(np.arange(5, dtype=np.uint8).reshape(5, 1, 1, 1) * np.ones((1, 1, 2, 2), np.uint8), LABELS)


def test_evaluation_counts(split):
    result = evaluate(Table(SCORES), split)
    assert result.predictions.tolist() == [0, 0, 2, 1, 1]
    assert (result.errors, result.accuracy) == (2, pytest.approx(3 / 5))
    assert result.confusion.tolist() == [[1, 0, 0], [1, 1, 0], [0, 1, 1]]
    assert result.confusion.dtype == np.int64
    assert result.loss == pytest.approx(-np.mean(np.log([0.7, 0.3, 0.8, 0.3, 0.5])), rel=1e-6)
    np.testing.assert_allclose(result.probabilities, np.exp(SCORES), rtol=1e-6)
    np.testing.assert_array_equal(result.labels, LABELS)


def test_the_worst_mistakes_are_the_most_confident_ones(split):
    """Images 1 and 3 are misclassified, with probabilities of 0.6 and 0.5."""
    assert evaluate(Table(SCORES), split).worst_mistakes(5).tolist() == [1, 3]
    assert evaluate(Table(SCORES), split).worst_mistakes(1).tolist() == [1]
    sure = SCORES.copy()
    sure[3] = np.log([0.2, 0.79, 0.01])
    assert evaluate(Table(sure), split).worst_mistakes(5).tolist() == [3, 1]
    assert evaluate(Table(np.eye(3)[LABELS]), split).worst_mistakes(5).tolist() == []


def test_with_flip_the_mirror_image_has_half_of_the_say():
    """Each image names its row of the table in its first column, and another row in its last."""
    images = np.zeros((5, 1, 1, 3), np.uint8)
    images[:, 0, 0, 0], images[:, 0, 0, 2] = np.arange(5), [1, 0, 2, 2, 0]
    before = images.copy()
    result = evaluate(Table(SCORES), Split(images, LABELS), flip=True, batch_size=2)
    logits = (SCORES + SCORES[[1, 0, 2, 2, 0]]) / 2
    expected = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(result.probabilities, expected, rtol=1e-6)
    assert result.predictions.tolist() == [0, 0, 2, 2, 0]
    np.testing.assert_array_equal(images, before)
    symmetric = Split(np.maximum(images, images[..., ::-1]), LABELS)
    assert evaluate(Table(SCORES), symmetric, flip=True).loss == evaluate(Table(SCORES), symmetric).loss


@pytest.mark.parametrize("batch_size", [1, 2, 5, 100])
def test_batches_change_nothing(split, batch_size):
    result, whole = evaluate(Table(SCORES), split, batch_size=batch_size), evaluate(Table(SCORES), split)
    assert result.loss == whole.loss
    np.testing.assert_array_equal(result.probabilities, whole.probabilities)


def test_model_is_in_evaluation_mode_and_unrecorded_and_put_back(split):
    model = Table(SCORES)
    evaluate(model, split, batch_size=3)
    assert model.seen == [((3, 1, 2, 2), np.float32, False, False), ((2, 1, 2, 2), np.float32, False, False)]
    assert model.training
    model.eval()
    evaluate(model, split)
    assert not model.training


def test_a_model_without_parameters_is_tested_and_other_things_are_refused(split):
    class Brightest(mr.nn.Module):
        def forward(self, x):
            return x.reshape((len(x), 4))[:, :3]

    assert evaluate(Brightest(), split).predictions.tolist() == [0] * 5
    with pytest.raises(ArgumentError, match="evaluate: model is str; it must be a Module"):
        evaluate("resnet8", split)


@pytest.mark.parametrize(
    ("transform", "message"),
    [
        (lambda x, rng: x / 255, r"x is float64 but weight is float32; convert x with x.astype\('float32'\)"),
        (lambda x, rng: x, r"x .* is uint8, but floats are needed"),
    ],
)
def test_images_of_another_dtype_than_the_weights_are_refused(few, transform, message):
    with pytest.raises(DTypeError, match=message):
        evaluate(mr.models.resnet8(in_channels=1), few.test, transform)


def test_each_module_is_put_back_in_its_own_mode():
    model = mr.models.resnet8(in_channels=1)
    model.bn1.eval()
    model.layer1.eval()
    model.layer1[0].conv1.train()
    before = {name: module.training for name, module in model.named_modules()}
    evaluate(model, mr.data.Split(np.zeros((2, 1, 8, 8), np.uint8), np.zeros(2, np.int64)))
    assert {name: module.training for name, module in model.named_modules()} == before


def test_model_is_put_back_after_an_error(split):
    model = Table(SCORES[:, :2])
    with pytest.raises(LabelError, match="labels run from 0 to 2"):
        evaluate(model, split)
    assert model.training


def test_transform_is_applied(split):
    reverse = evaluate(Table(SCORES[::-1]), split, transform=lambda x, rng: (4 - x).astype(np.float32) / 255)
    assert reverse.loss == evaluate(Table(SCORES), split).loss
