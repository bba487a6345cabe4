"""How good a model is on a split."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..core.state import no_grad
from ..core.tensor import Tensor, as_tensor
from ..data import Loader
from ..data.dataset import Source, Transform
from ..nn import Module
from ..ops import cross_entropy, softmax

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What a model makes of N images of K classes.

    Attributes
    ----------
    loss : float
        Mean cross-entropy, without label smoothing.
    accuracy : float
        0 to 1.
    errors : int
        The number of wrong predictions.
    confusion : array of int64, (K, K)
        Images of class i (row) that were taken for class j (column).
    predictions : array of int64, (N,)
    probabilities : array of float32, (N, K)
    labels : array of int64, (N,)
        The true classes.
    """

    loss: float
    accuracy: float
    errors: int
    confusion: Array
    predictions: Array
    probabilities: Array
    labels: Array

    def worst_mistakes(self, most: int) -> Array:
        """The numbers of the wrongly recognised images with the highest probabilities, the highest first."""
        wrong = np.flatnonzero(self.predictions != self.labels)
        confidence = self.probabilities[wrong, self.predictions[wrong]]
        return wrong[np.argsort(-confidence, kind="stable")[:most]]


def evaluate(
    model: Module,
    split: Source,
    transform: Transform | None = None,
    batch_size: int = 256,
    num_workers: int = 0,
    flip: bool = False,
) -> Evaluation:
    """Run ``model`` in evaluation mode over ``split``; its mode is put back afterwards.

    Parameters
    ----------
    model : Module
        Takes (N, C, H, W) and returns logits (N, K).
    split : Split, or another source that a loader takes
    transform : callable, optional
        That of the training images without augmentation: ``Normalize.of(train)``, or ``load_run(path).normalize``.
    batch_size : int
    num_workers : int
        Threads that read batches in advance, see :class:`minires.data.Loader`.
    flip : bool
        Whether each image's mirror image is looked at, too, see :func:`predict_logits`.

    Raises
    ------
    ArgumentError, ShapeError, LabelError
        If the images or labels do not fit the model.
    """
    device = next(parameter.device for parameter in model.parameters())
    batches = Loader(split, batch_size, seed=0, transform=transform, num_workers=num_workers, device=device)
    was_training = model.training
    model.eval()
    logits, labels = [], []
    try:
        with no_grad():
            for images, classes in batches:
                logits.append(predict_logits(model, images, flip))
                labels.append(classes)
    finally:
        model.train(was_training)
    return assess(np.concatenate(logits), np.concatenate(labels))


def predict_logits(model: Module, images: Array, flip: bool = False) -> Array:
    """The logits (N, K) of a batch of floats (N, C, H, W), on the CPU.

    With ``flip``, the mean of those of each image and of its mirror image, as :class:`minires.data.transforms.Flip`
    makes it. Krizhevsky et al. ("ImageNet Classification with Deep Convolutional Neural Networks", 2012, section 4.1)
    do so with five crops of each, and with probabilities.
    """
    logits = model(as_tensor(images)).numpy()
    if flip:
        mirrored = images[..., ::-1].copy(order="K")  # with the channels last in memory if they were
        logits = (logits + model(as_tensor(mirrored)).numpy()) / 2
    return logits


def assess(logits: Array, labels: Array) -> Evaluation:
    """Compare logits (N, K) with labels (N,)."""
    classes = logits.shape[1]
    scores = Tensor.wrap(logits)
    loss = cross_entropy(scores, labels).item()  # checks the labels, too
    predictions = logits.argmax(axis=1)
    errors = int((predictions != labels).sum())
    confusion = np.zeros((classes, classes), np.int64)
    np.add.at(confusion, (labels, predictions), 1)
    probabilities = softmax(scores, axis=1).numpy()
    return Evaluation(loss, 1 - errors / len(labels), errors, confusion, predictions, probabilities, labels)
