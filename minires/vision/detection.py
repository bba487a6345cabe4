"""The task detection: the boxes of the objects in an image, and their classes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from ..core.backend import Array
from ..core.tensor import Tensor
from ..data import Dataset
from ..data.annotated import Objects
from ..data.annotated_folder import annotated_folder
from ..data.dataset import Source
from ..data.shapes import shapes
from ..data.transforms import Normalize
from ..errors import ArgumentError, percent, printable
from ..nn import Module
from ..training import Config
from ..training.figures import write_scores
from ..training.folder import CLASSES, CURVES, write_table
from ..training.task import Row, Step
from .assignment import fcos_loss
from .coco import coco_map
from .decoding import Detections, detect
from .drawing import draw_boxes, write_sheet
from .fcos import FCOS, fcos
from .task import VisionTask, outputs_of

SHEET = "detections.png"
SHEET_ROWS, SHEET_COLUMNS = 3, 4
SHEET_SCORE = 0.4  # of a box that is drawn


@dataclass(frozen=True, eq=False)
class DetectionTest:
    """How good the boxes in all test images are.

    Attributes
    ----------
    loss : float
        The mean over batches of the loss.
    detections : list of Detections
        Of each image.
    truth : dict
        COCO's instances.
    """

    loss: float
    detections: list[Detections]
    truth: dict[str, Any]

    @cached_property
    def coco(self) -> dict[str, float]:
        """COCO's scores, see :func:`minires.vision.coco_map`."""
        return coco_map(self._results, self.truth)

    @cached_property
    def by_class(self) -> list[dict[str, float]]:
        """COCO's scores of each class alone."""
        found = []
        for category in self.truth["categories"]:
            own = [[row for row in rows if row["category_id"] == category["id"]] for rows in self._tables]
            found.append(coco_map(own[0], {**self.truth, "annotations": own[1]}))
        return found

    @property
    def _tables(self) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        return self._results, self.truth["annotations"]

    @cached_property
    def _results(self) -> list[dict[str, Any]]:
        classes = range(len(self.truth["categories"]))
        return [row for i, found in enumerate(self.detections) for row in coco_rows(found, i, classes)]

    @property
    def scores(self) -> dict[str, float]:
        return {name: self.coco[name] for name in ("AP", "AP50")}

    @property
    def metrics(self) -> dict[str, float]:
        return {**{f"test_{name}": score for name, score in self.coco.items()}, "test_loss": self.loss}

    def summary(self, classes: Sequence[str]) -> dict[str, str]:
        at = {iou: percent(self.coco[f"AP{iou}"]) for iou in (50, 75)}
        known = [k for k, scores in enumerate(self.by_class) if scores["AP"] >= 0]  # -1: no objects of this class
        worst = min(known, key=lambda k: self.by_class[k]["AP"])
        return {
            "mean AP": f"{percent(self.coco['AP'])} (at IoU 0.5: {at[50]}, at 0.75: {at[75]})",
            "objects found": f"{percent(self.coco['AR100'])} on average over the same IoUs",
            "hardest class": f"{printable(classes[worst])}, AP {percent(self.by_class[worst]['AP'])}",
        }

    def table(self, classes: Sequence[str]) -> list[Row]:
        rows = []
        for k, (name, scores) in enumerate(zip(classes, self.by_class, strict=True)):
            objects = sum(row["category_id"] == k for row in self.truth["annotations"])
            known = {key: scores[key] if scores[key] >= 0 else None for key in ("AP", "AP50", "AP75", "AR100")}
            rows.append({"class": name, "objects": objects, **known})
        return rows


class Detection(VisionTask):
    """The boxes of objects, by FCOS."""

    name = "detection"
    scores = ("AP", "AP50")
    accuracy = False
    outputs = "class logits (N, L, classes), l t r b in strides (N, L, 4), centerness logits (N, L)"
    data_sets: ClassVar = {"shapes": partial(shapes, task="detection")}
    methods: ClassVar = {
        "fcos": fcos,
        "fcos8": lambda network, num_classes: fcos(network, num_classes, strides=(8,)),  # a single map
    }

    def trunk(self, model: Any) -> Module:
        return model.backbone.body

    def head(self, model: Module) -> str:
        return "head.classification_head.cls_logits."

    def load_folder(self, path: str, size: int | tuple[int, int] | None, channels: int) -> Dataset:
        return annotated_folder(path, self.name, size, channels)

    def step(self, config: Config, model: Module, images: Array, objects: Sequence[Objects]) -> Step:
        assert isinstance(model, FCOS)
        places = model.locations(images.shape[2:])
        return Step(fcos_loss(model(Tensor.wrap(images)), objects, places).total)

    def evaluate(self, config: Config, model: Module, split: Source, normalize: Normalize) -> DetectionTest:
        return evaluate(model, split, normalize, config.workers)

    def write_report(self, folder: Path, config: Config, dataset: Dataset, history: list[Row], test: Any) -> None:
        write_scores(folder / CURVES, history, f"{config.model} on {config.data_name}", self.scores)
        rows = test.table(dataset.classes)
        write_table(folder / CLASSES, list(rows[0]), rows)
        chosen = np.arange(min(len(dataset.test), SHEET_ROWS * SHEET_COLUMNS))
        images, _ = dataset.test[chosen]
        drawn = []
        for image, found in zip(images, test.detections, strict=False):
            likely = Detections(*(values[found.scores > SHEET_SCORE] for values in found))
            drawn.append(draw_boxes(image, likely.boxes, likely.labels.tolist(), captions(likely, dataset.classes)))
        write_sheet(folder / SHEET, [drawn[i : i + SHEET_COLUMNS] for i in range(0, len(drawn), SHEET_COLUMNS)])


def evaluate(model: Module, split: Source, normalize: Normalize, num_workers: int = 0) -> DetectionTest:
    """Test a detector on a split with boxes, in evaluation mode.

    Parameters
    ----------
    model : FCOS
    split : DetectionSplit, or another source of images and Objects
    normalize : Normalize
    num_workers : int
        The number of threads that prepare batches in advance.

    Raises
    ------
    ArgumentError
        If ``model`` is not a detector.
    """
    if not isinstance(model, FCOS):
        raise ArgumentError(f"evaluate: model is {type(model).__name__}; it must be a detector, mr.vision.fcos(...).")
    losses: list[float] = []
    truth: list[Objects] = []
    detections: list[Detections] = []
    for outputs, objects, x in outputs_of(model, split, normalize, num_workers):
        size = x.shape[2], x.shape[3]
        places = model.locations(size)
        losses.append(fcos_loss(outputs, objects, places).total.item())
        detections += detect(outputs, size, places)
        truth += objects
    annotations = [
        {"image_id": i, "category_id": int(label), "bbox": xywh(box), "iscrowd": int(crowd)}
        for i, objects in enumerate(truth)
        for box, label, crowd in zip(objects.boxes, objects.labels, objects.crowd, strict=True)
    ]
    images, categories = ([{"id": k} for k in range(count)] for count in (len(truth), model.num_classes))
    instances = {"images": images, "categories": categories, "annotations": annotations}
    return DetectionTest(float(np.mean(losses)), detections, instances)


def xywh(box: Array) -> list[float]:
    """Convert x1, y1, x2, y2 to COCO's x, y, width, height."""
    x1, y1, x2, y2 = (float(side) for side in box)
    return [x1, y1, x2 - x1, y2 - y1]


def coco_rows(found: Detections, image_id: int, category_ids: Sequence[int]) -> list[dict[str, Any]]:
    """Return the detections in an image in the format of COCO's results."""
    return [
        {"image_id": image_id, "category_id": int(category_ids[label]), "bbox": xywh(box), "score": float(score)}
        for box, score, label in zip(found.boxes, found.scores, found.labels, strict=True)
    ]


def captions(found: Detections, classes: Sequence[str]) -> list[str]:
    """Return what to write at each box, such as ``cat 93 %``."""
    return [f"{classes[label]} {100 * score:.0f} %" for label, score in zip(found.labels, found.scores, strict=True)]


TASK = Detection()
