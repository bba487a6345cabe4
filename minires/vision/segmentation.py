"""The task segmentation: a class for each pixel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from ..core.backend import Array
from ..core.tensor import Tensor
from ..data import Dataset
from ..data.annotated import IGNORED
from ..data.annotated_folder import annotated_folder
from ..data.dataset import Source
from ..data.shapes import shapes
from ..data.transforms import Normalize
from ..errors import percent, printable
from ..nn import Module
from ..ops import cross_entropy
from ..training import Config
from ..training.figures import write_scores
from ..training.folder import CLASSES, CURVES, write_table
from ..training.task import Row, Step
from .confusion import class_iou, confusion_matrix, dice, mean_iou, pixel_accuracy
from .deeplab import FCN, deeplabv3plus, fcn
from .dice_losses import dice_loss
from .drawing import as_image, draw_mask, write_sheet
from .task import SHEET_SIZE, VisionTask, outputs_of

SHEET = "segments.png"
SHEET_ROWS = 5


@dataclass(frozen=True, eq=False)
class SegmentationTest:
    """How good maps of classes are, over all pixels of all test images.

    Attributes
    ----------
    loss : float
        The mean cross-entropy of the pixels that count.
    confusion : array of int64, (K, K)
        The number of pixels of class i (row) that were predicted to be of class j (column).
    first : array of int64, (M, H, W)
        The predicted classes in the first images.
    """

    loss: float
    confusion: Array
    first: Array

    @property
    def scores(self) -> dict[str, float]:
        return {"mean_iou": mean_iou(self.confusion), "accuracy": pixel_accuracy(self.confusion)}

    @property
    def metrics(self) -> dict[str, float]:
        scores = {f"test_{name}": score for name, score in self.scores.items()}
        return {**scores, "test_dice": dice(self.confusion), "test_loss": self.loss}

    def summary(self, classes: Sequence[str]) -> dict[str, str]:
        ious = class_iou(self.confusion)
        worst = int(np.nanargmin(np.where(self.confusion.sum(axis=1) > 0, ious, np.nan)))  # of those in the masks
        return {
            "mean IoU": f"{percent(mean_iou(self.confusion))} (mean Dice {percent(dice(self.confusion))})",
            "pixels right": percent(pixel_accuracy(self.confusion)),
            "hardest class": f"{printable(classes[worst])}, IoU {percent(float(ious[worst]))}",
        }

    def table(self, classes: Sequence[str]) -> list[Row]:
        ious, right = class_iou(self.confusion), self.confusion.diagonal()
        rows = []
        for k, name in enumerate(classes):
            true, predicted = int(self.confusion[k].sum()), int(self.confusion[:, k].sum())
            rows.append(
                {
                    "class": name,
                    "pixels": true,
                    "iou": None if np.isnan(ious[k]) else float(ious[k]),
                    "recall": float(right[k] / true) if true else None,
                    "precision": float(right[k] / predicted) if predicted else None,
                }
            )
        return rows


class Segmentation(VisionTask):
    """A class for each pixel, by FCN or DeepLabv3+."""

    name = "segmentation"
    scores = ("mean_iou", "accuracy")
    outputs = "logits (N, classes, H, W)"
    methods: ClassVar = {"deeplabv3plus": deeplabv3plus, "fcn": fcn}
    data_sets: ClassVar = {"shapes": partial(shapes, task="segmentation")}

    def trunk(self, model: Any) -> Module:
        return model.backbone

    def head(self, model: Module) -> str:
        return "classifier.4." if isinstance(model, FCN) else "classifier."

    def load_folder(self, path: str, size: int | tuple[int, int] | None, channels: int) -> Dataset:
        return annotated_folder(path, self.name, size, channels)

    def step(self, config: Config, model: Module, images: Array, masks: Array) -> Step:
        """The mean cross-entropy of the pixels that count; with ``config.dice``, plus this times the Dice loss."""
        logits = model(Tensor.wrap(images))  # (B, K, H, W)
        counts = masks != IGNORED
        judged = int(counts.sum())
        loss = cross_entropy(logits, masks, ignore_index=IGNORED, reduction="sum") / max(1, judged)
        if config.dice:
            loss = loss + config.dice * dice_loss(logits, masks)
        right = int(((logits.numpy().argmax(axis=1) == masks) & counts).sum())
        return Step(loss, right, judged)

    def evaluate(self, config: Config, model: Module, split: Source, normalize: Normalize) -> SegmentationTest:
        return evaluate(model, split, normalize, config.workers)

    def write_report(self, folder: Path, config: Config, dataset: Dataset, history: list[Row], test: Any) -> None:
        write_scores(folder / CURVES, history, f"{config.model} on {config.data_name}", self.scores)
        rows = test.table(dataset.classes)
        write_table(folder / CLASSES, list(rows[0]), rows)
        images, masks = dataset.test[np.arange(min(len(dataset.test), SHEET_ROWS))]
        write_sheet(
            folder / SHEET,
            [
                [as_image(image, SHEET_SIZE), draw_mask(image, true, SHEET_SIZE), draw_mask(image, found, SHEET_SIZE)]
                for image, true, found in zip(images, masks, test.first, strict=False)
            ],
            titles=("image", "truth", "found"),
            legend=dataset.classes[1:],
        )


def evaluate(model: Module, split: Source, normalize: Normalize, num_workers: int = 0) -> SegmentationTest:
    """Test a model of maps of classes on a split with masks, in evaluation mode.

    Parameters
    ----------
    model : Module
        Takes (N, C, H, W) and returns logits (N, K, H, W).
    split : SegmentationSplit, or another source of images and masks
    normalize : Normalize
    num_workers : int
        The number of threads that prepare batches in advance.
    """
    summed, first = 0.0, None
    for logits, masks, _ in outputs_of(model, split, normalize, num_workers):
        summed += cross_entropy(logits, masks, ignore_index=IGNORED, reduction="sum").item()
        predicted = logits.numpy().argmax(axis=1)  # (N, H, W)
        counts = confusion_matrix(predicted, masks, logits.shape[1])
        if first is None:
            first, confusion = predicted[:SHEET_ROWS], np.zeros_like(counts)
        confusion += counts
    return SegmentationTest(summed / max(1, int(confusion.sum())), confusion, first)


TASK = Segmentation()
