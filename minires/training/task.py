"""What a run trains: the models, data sets, loss and scores of a task. Classification is one, see classification.py."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Protocol

from ..core import checks
from ..core.backend import Array
from ..core.tensor import Tensor
from ..data import Dataset
from ..data.dataset import Source, Transform
from ..data.transforms import Normalize
from ..nn import Module

if TYPE_CHECKING:
    from .config import Config

Row = dict[str, Any]  # a row of a table, keyed by column


class Entry(NamedTuple):
    """The module that defines a task as ``TASK``, imported when a run needs it, and settings that depend on the task.

    ``lr`` is the default of this optimiser; None is what is usual for it.
    """

    module: str
    model: str
    data: str
    epochs: int
    batch_size: int
    warmup: float
    optimizer: str
    lr: float | None = None

    @property
    def defaults(self) -> dict[str, Any]:
        """The settings, keyed by name."""
        return {name: value for name, value in self._asdict().items() if name != "module" and value is not None}


TASKS = {
    "classification": Entry("minires.training.classification", "resnet8", "digits", 20, 64, 2.0, "sgd"),
    "detection": Entry("minires.vision.detection", "fcos_resnet8", "shapes", 8, 16, 0.5, "adamw", 0.002),
    "segmentation": Entry("minires.vision.segmentation", "deeplabv3plus_resnet8", "shapes", 8, 16, 0.5, "adamw", 0.002),
    "video": Entry("minires.vision.video", "tsm_resnet8", "shapes", 3, 32, 0.3, "adamw", 0.003),
}


class Step(NamedTuple):
    """The loss of a training batch, a tensor of one number, and how many of the judged images or pixels are right."""

    loss: Tensor
    right: int = 0
    judged: int = 0


@dataclass
class Tally:
    """Loss, accuracy and speed of an epoch so far, for augmented images in training mode.

    ``lr`` is the learning rate at the beginning of the epoch. A run may be stopped and resumed within an epoch.
    """

    lr: float
    batches: int = 0
    images: int = 0
    correct: int = 0
    judged: int = 0
    summed_loss: float = 0.0
    seconds: float = 0.0

    def start_clock(self) -> None:
        """Start to count seconds, or continue after the run was resumed."""
        self._start = time.perf_counter() - self.seconds

    def add(self, step: Step, images: int) -> None:
        """Add a batch of so many images."""
        self.batches += 1
        self.images += images
        self.correct += step.right
        self.judged += step.judged
        self.summed_loss += step.loss.item() * images
        self.seconds = time.perf_counter() - self._start

    @property
    def loss(self) -> float:
        return self.summed_loss / self.images

    @property
    def accuracy(self) -> float:
        return self.correct / self.judged

    @property
    def speed(self) -> float:
        """Images per second."""
        return self.images / self.seconds


class Test(Protocol):
    """How good a model is on test data."""

    @property
    def loss(self) -> float:
        """The mean loss."""

    @property
    def scores(self) -> dict[str, float]:
        """The scores of the task, such as ``{"accuracy": 0.97}``: columns ``test_...`` of the history."""

    @property
    def metrics(self) -> dict[str, float]:
        """The results for ``metrics.json``."""

    def summary(self, classes: Sequence[str]) -> dict[str, str]:
        """Return what to print after a run, each line with its name."""

    def table(self, classes: Sequence[str]) -> list[Row]:
        """Return the results of each class: the rows of ``classes.csv``."""


class Task(ABC):
    """A task: what :func:`~minires.training.train` calls to train, test and report on a model.

    Attributes
    ----------
    name : str
        As in ``minires train --task``.
    scores : tuple of str
        The names of a test's scores; the first is the one that counts most.
    accuracy : bool
        Whether a training step has an accuracy.
    example : str
        What a data set holds, for messages: "image" or "clip".
    needs_all_classes : bool
        Whether training is refused if a class has no training images; lists of objects often name more than occur.
    outputs : str
        What the models return, for a reader of their ONNX files.
    """

    name: ClassVar[str]
    scores: ClassVar[tuple[str, ...]]
    accuracy: ClassVar[bool] = True
    example: ClassVar[str] = "image"
    needs_all_classes: ClassVar[bool] = True
    outputs: ClassVar[str] = "logits (N, classes)"

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of ``history.csv``."""
        train = ("train_loss", "train_accuracy") if self.accuracy else ("train_loss",)
        return ("epoch", "lr", *train, "test_loss", *(f"test_{score}" for score in self.scores), "seconds")

    @property
    @abstractmethod
    def models(self) -> Sequence[str]:
        """The names of the models."""

    @abstractmethod
    def options(self, model: str) -> list[str]:
        """Return the options of a model, besides ``num_classes`` and ``in_channels``."""

    @abstractmethod
    def build(self, model: str, num_classes: int, in_channels: int, **options: Any) -> Module:
        """Build a model with random weights."""

    def trunk(self, model: Module) -> Module:
        """Return the part of a model that is a network of mr.models, which takes a classifier's weights."""
        return model

    def head(self, model: Module) -> str:
        """Return how the names of the parameters begin that have a row for each class."""
        return "fc."

    @property
    @abstractmethod
    def data_sets(self) -> dict[str, Callable[[], Dataset]]:
        """A dict that maps the name of each data set to a function that returns it."""

    @abstractmethod
    def load_folder(self, path: str, size: int | tuple[int, int] | None, channels: int) -> Dataset:
        """Load the folder at ``path`` as a data set, with images of this size and number of channels."""

    @abstractmethod
    def transform(self, config: Config, dataset: Dataset, normalize: Normalize) -> Transform:
        """Return the transform of training data."""

    @abstractmethod
    def step(self, config: Config, model: Module, images: Array, targets: Any) -> Step:
        """Compute the loss of a training batch."""

    @abstractmethod
    def evaluate(self, config: Config, model: Module, split: Source, normalize: Normalize) -> Test:
        """Test a model, in evaluation mode."""

    @abstractmethod
    def write_report(self, folder: Path, config: Config, dataset: Dataset, history: list[Row], test: Any) -> None:
        """Write the figures and the table of classes of a complete run."""


def find(name: str) -> Task:
    """Return the task with this name."""
    task: Task = import_module(TASKS[checks.choice("train", name, "task", TASKS)].module).TASK
    return task
