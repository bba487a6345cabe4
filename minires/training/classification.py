"""The task of a run, image classification: its loss, metrics and report.

Another task would be another file like this one.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..core.backend import Array, generator
from ..core.state import no_grad
from ..core.tensor import Tensor, as_tensor
from ..data import Dataset, Loader
from ..data.dataset import Source, Transform
from ..data.transforms import MixUp
from ..nn import Module
from ..nn.module import check_module, in_mode
from ..ops import cross_entropy, softmax
from ..version import __version__
from .config import Config
from .figures import write_confusion, write_curves, write_mistakes
from .folder import CLASSES, CONFUSION, CURVES, MISTAKES, Row, write_table


def forward(config: Config, model: Module, images: Array, labels: Array) -> tuple[Tensor, Tensor]:
    """Return the logits (B, K) and the loss of a training batch.

    With ``config.mixup``, images are mixed in pairs, and the loss is the weighted mean of the losses for both classes.
    """
    smoothing = config.label_smoothing
    if not config.mixup:
        logits = model(Tensor.wrap(images))
        return logits, cross_entropy(logits, labels, label_smoothing=smoothing)
    mixed, partners, lam = MixUp(config.mixup)(images, generator())
    logits = model(Tensor.wrap(mixed))
    own, other = (cross_entropy(logits, classes, label_smoothing=smoothing) for classes in (labels, labels[partners]))
    return logits, lam * own + (1 - lam) * other


@dataclass
class Tally:
    """Loss, accuracy and speed of an epoch so far, for augmented images in training mode.

    ``lr`` is the learning rate at the beginning of the epoch. A run may be stopped and resumed within an epoch.
    """

    lr: float
    batches: int = 0
    images: int = 0
    correct: int = 0
    summed_loss: float = 0.0
    seconds: float = 0.0

    def start_clock(self) -> None:
        """Start to count seconds, or continue after the run was resumed."""
        self._start = time.perf_counter() - self.seconds

    def add(self, loss: Tensor, logits: Tensor, labels: np.ndarray[Any, Any]) -> None:
        """Add a batch, given its mean loss, its logits (B, K) and its labels (B,)."""
        self.batches += 1
        self.images += len(labels)
        self.correct += int((logits.numpy().argmax(axis=1) == labels).sum())
        self.summed_loss += loss.item() * len(labels)
        self.seconds = time.perf_counter() - self._start

    @property
    def loss(self) -> float:
        return self.summed_loss / self.images

    @property
    def accuracy(self) -> float:
        return self.correct / self.images

    @property
    def speed(self) -> float:
        """Images per second."""
        return self.images / self.seconds


def history_row(epoch: int, tally: Tally, test: Evaluation) -> Row:
    """Return the row of ``history.csv`` for an epoch."""
    return {
        "epoch": epoch,
        "lr": tally.lr,
        "train_loss": tally.loss,
        "train_accuracy": tally.accuracy,
        "test_loss": test.loss,
        "test_accuracy": test.accuracy,
        "seconds": tally.seconds,
    }


def result(config: Config, loader: Loader, model: Module, history: list[Row], test: Evaluation) -> dict[str, Any]:
    """Return the content of ``metrics.json``. Its ``train_seconds`` and ``images_per_second`` exclude evaluation."""
    train_seconds = sum(row["seconds"] for row in history)
    images = len(loader) * loader.batch_size if loader.drop_last else len(loader.split)  # in an epoch
    return {
        **{name: getattr(config, name) for name in ("model", "data", "epochs", "seed", "device")},
        "test_accuracy": test.accuracy,
        "test_error_percent": 100 * test.errors / len(test.labels),
        "test_loss": test.loss,
        "train_seconds": train_seconds,
        "images_per_second": config.epochs * images / train_seconds,
        "parameters": sum(parameter.size for parameter in model.parameters()),
        "out": config.out,
        "minires": __version__,
    }


@dataclass(frozen=True, eq=False)
class Evaluation:
    """The predictions of a model for N images of K classes, and how good they are.

    Attributes
    ----------
    loss : float
        The mean cross-entropy, without label smoothing.
    accuracy : float
        The fraction of right predictions, from 0 to 1.
    errors : int
        The number of wrong predictions.
    confusion : array of int64, (K, K)
        The number of images of class i (row) that were predicted to be of class j (column).
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
        """Return the indices of the ``most`` wrong predictions with the highest probabilities, in descending order."""
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
    """Test ``model`` on ``split``, in evaluation mode; afterwards, each module has its former mode again.

    Parameters
    ----------
    model : Module
        Takes (N, C, H, W) and returns logits (N, K).
    split : Split, or another source that a loader accepts
    transform : callable, optional
        The transform of the training images without augmentation: ``Normalize.of(train)``, or
        ``load_run(path).normalize``.
    batch_size : int
    num_workers : int
        The number of threads that prepare batches in advance, see :class:`minires.data.Loader`.
    flip : bool
        Whether to use each image's mirror image as well, see :func:`predict_logits`.

    Raises
    ------
    ArgumentError, ShapeError, LabelError
        If the images or labels do not fit the model.
    """
    parameters = check_module("evaluate", model).parameters()
    device = next((parameter.device for parameter in parameters), "cpu")
    batches = Loader(split, batch_size, seed=0, transform=transform, num_workers=num_workers, device=device)
    logits, labels = [], []
    with in_mode(model, training=False), no_grad():
        for images, classes in batches:
            logits.append(predict_logits(model, images, flip))
            labels.append(classes)
    return assess(np.concatenate(logits), np.concatenate(labels))


def predict_logits(model: Module, images: Array, flip: bool = False) -> Array:
    """Return the logits (N, K) of a batch of float images (N, C, H, W), on the CPU.

    With ``flip``, they are the mean of the logits of each image and its mirror image. Krizhevsky et al. ("ImageNet
    Classification with Deep Convolutional Neural Networks", 2012, section 4.1) average the probabilities of five crops
    and their mirror images.
    """
    logits = model(as_tensor(images)).numpy()
    if flip:
        mirrored = images[..., ::-1].copy(order="K")  # keeps the memory layout
        logits = (logits + model(as_tensor(mirrored)).numpy()) / 2
    return logits


def assess(logits: Array, labels: Array) -> Evaluation:
    """Compare logits (N, K) with labels (N,)."""
    classes = logits.shape[1]
    scores = Tensor.wrap(logits)
    loss = cross_entropy(scores, labels).item()  # also checks the labels
    predictions = logits.argmax(axis=1)
    errors = int((predictions != labels).sum())
    confusion = np.zeros((classes, classes), np.int64)
    np.add.at(confusion, (labels, predictions), 1)
    probabilities = softmax(scores, axis=1).numpy()
    return Evaluation(loss, 1 - errors / len(labels), errors, confusion, predictions, probabilities, labels)


def class_table(confusion: Array, classes: Sequence[str]) -> list[Row]:
    """Return the results for the test images of each class: the rows of ``classes.csv``.

    Parameters
    ----------
    confusion : array of int, (K, K)
        The confusion matrix of an :class:`Evaluation`.
    classes : sequence of K str

    Returns
    -------
    list of dict
        For each class: ``class``, its name; ``images``, the number of its images; ``right``, how many of them were
        predicted right; ``recall``, ``right`` as a fraction of ``images``, also called the accuracy of the class;
        ``precision``, ``right`` as a fraction of all predictions of this class; ``f1``, the harmonic mean of recall and
        precision; ``taken_for``, the most frequent wrong prediction for its images, or "" if all were right; and
        ``times``, how often that was predicted. Undefined ratios, 0 / 0, are None.

    Examples
    --------
    >>> cat, dog = class_table(np.array([[3, 1], [0, 4]]), ("cat", "dog"))
    >>> cat["recall"], cat["precision"], cat["taken_for"], cat["times"]
    (0.75, 1.0, 'dog', 1)
    >>> dog["recall"], dog["precision"], dog["taken_for"], dog["times"]
    (1.0, 0.8, '', 0)
    """
    mistakes = confusion.copy()
    np.fill_diagonal(mistakes, 0)
    counts = (confusion.sum(axis=1), confusion.diagonal(), confusion.sum(axis=0), mistakes.max(axis=1))  # (K,) each
    rows = []
    for name, wrong, *of_class in zip(classes, mistakes, *counts, strict=True):
        images, right, predicted, times = map(int, of_class)
        rows.append(
            {
                "class": name,
                "images": images,
                "right": right,
                "recall": _ratio(right, images),
                "precision": _ratio(right, predicted),
                "f1": _ratio(2 * right, images + predicted),
                "taken_for": classes[wrong.argmax()] if times else "",
                "times": times,
            }
        )
    return rows


def _ratio(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def write_report(folder: Path, config: Config, dataset: Dataset, history: list[Row], test: Evaluation) -> None:
    """Write the figures and the table of classes of a complete run. Raises DataError if that fails."""
    write_curves(folder / CURVES, history, title=f"{config.model} on {config.data_name}")
    write_confusion(folder / CONFUSION, test.confusion, dataset.classes)
    write_mistakes(folder / MISTAKES, test, dataset.test, dataset.classes)
    classes = class_table(test.confusion, dataset.classes)
    write_table(folder / CLASSES, list(classes[0]), classes)
