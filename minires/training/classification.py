"""Image classification: its loss, scores and report."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from .. import data, models
from ..core.backend import Array, generator
from ..core.state import no_grad
from ..core.tensor import Tensor, as_tensor
from ..data import Dataset, Loader
from ..data.annotated_folder import is_annotated
from ..data.dataset import Source, Transform
from ..data.transforms import ColorJitter, Compose, Cutout, MixUp, Normalize
from ..errors import DataError, counted, percent, printable, times
from ..nn import Module
from ..nn.module import check_module, in_mode
from ..ops import cross_entropy, softmax
from .config import Config
from .figures import write_confusion, write_curves, write_mistakes
from .folder import CLASSES, CONFUSION, CURVES, MISTAKES, write_table
from .task import Row, Step, Task


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
    example : str
        What was classified, for messages.
    """

    loss: float
    accuracy: float
    errors: int
    confusion: Array
    predictions: Array
    probabilities: Array
    labels: Array
    example: str = "image"

    @property
    def scores(self) -> dict[str, float]:
        """``{"accuracy": ...}``."""
        return {"accuracy": self.accuracy}

    @property
    def metrics(self) -> dict[str, float]:
        """Accuracy, error in per cent, and loss, as in ``metrics.json``."""
        error = 100 * self.errors / len(self.labels)
        return {"test_accuracy": self.accuracy, "test_error_percent": error, "test_loss": self.loss}

    def summary(self, classes: Sequence[str]) -> dict[str, str]:
        """Return the accuracy and the most frequent mistakes, to be printed."""
        images_of_class = self.confusion.sum(axis=1)
        total = int(images_of_class.sum())
        wrong = f"{self.errors:,} of {counted(total, self.example)} wrong"
        guess = percent(images_of_class.max() / total)
        accuracy = f"{percent(self.accuracy)}, {wrong} (always guessing the largest class: {guess})"
        return {"test accuracy": accuracy, "confused most": self.most_confused(classes) or "nothing"}

    def most_confused(self, classes: Sequence[str], pairs: int = 3) -> str:
        """Return the most frequent mistakes, such as ``8 as 1 (3 times), 9 as 5 (once)``; empty if there are none."""
        mistakes = self.confusion.copy()
        np.fill_diagonal(mistakes, 0)
        most = np.argsort(-mistakes, axis=None, kind="stable")[:pairs]
        return ", ".join(
            f"{printable(classes[true])} as {printable(classes[predicted])} ({times(int(mistakes[true, predicted]))})"
            for true, predicted in zip(*np.unravel_index(most, mistakes.shape), strict=True)
            if mistakes[true, predicted]
        )

    def table(self, classes: Sequence[str]) -> list[Row]:
        """Return the results for the images of each class, see :func:`class_table`."""
        return class_table(self.confusion, classes)

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


class Classification(Task):
    """One label for each image."""

    name = "classification"
    scores = ("accuracy",)

    @property
    def models(self) -> Sequence[str]:
        return models.names()

    def options(self, model: str) -> list[str]:
        return models.options(model)

    def build(self, model: str, num_classes: int, in_channels: int, **options: Any) -> Module:
        network: Module = models.build(model, num_classes=num_classes, in_channels=in_channels, **options)
        return network

    @property
    def data_sets(self) -> dict[str, Callable[[], Dataset]]:
        return data.DATASETS

    def load_folder(self, path: str, size: int | tuple[int, int] | None, channels: int) -> Dataset:
        if is_annotated(path):
            raise DataError(
                f"folder: {path} holds annotated images instead of a folder for each class; they are for --task "
                "detection or segmentation."
            )
        return data.folder(path, size, channels, in_memory=None)  # read batch by batch if it takes more than a GiB

    def transform(self, config: Config, dataset: Dataset, normalize: Normalize) -> Transform:
        before = [dataset.augmentation] if config.augment and dataset.augmentation is not None else []
        if config.color_jitter:
            before.append(ColorJitter(*[config.color_jitter] * 3))
        after = [Cutout(config.cutout)] if config.cutout else []
        return Compose([*before, normalize, *after]) if before or after else normalize

    def step(self, config: Config, model: Module, images: Array, labels: Array) -> Step:
        """With ``config.mixup``, mix images in pairs; the loss is the weighted mean of the losses for both classes."""
        smoothing = config.label_smoothing
        if not config.mixup:
            logits = model(Tensor.wrap(images))  # (B, K)
            loss = cross_entropy(logits, labels, label_smoothing=smoothing)
        else:
            mixed, partners, lam = MixUp(config.mixup)(images, generator())
            logits = model(Tensor.wrap(mixed))  # (B, K)
            own, other = (
                cross_entropy(logits, classes, label_smoothing=smoothing) for classes in (labels, labels[partners])
            )
            loss = lam * own + (1 - lam) * other
        return Step(loss, int((logits.numpy().argmax(axis=1) == labels).sum()), len(labels))

    def evaluate(self, config: Config, model: Module, split: Source, normalize: Normalize) -> Evaluation:
        test = evaluate(model, split, normalize, num_workers=config.workers, flip=config.flip_test)
        return replace(test, example=self.example)

    def write_report(self, folder: Path, config: Config, dataset: Dataset, history: list[Row], test: Any) -> None:
        write_curves(folder / CURVES, history, title=f"{config.model} on {config.data_name}")
        write_confusion(folder / CONFUSION, test.confusion, dataset.classes)
        write_mistakes(folder / MISTAKES, test, dataset.test, dataset.classes)
        classes = test.table(dataset.classes)
        write_table(folder / CLASSES, list(classes[0]), classes)


TASK = Classification()
