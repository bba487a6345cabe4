"""The task video: a label for each clip."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

from .. import models
from ..data import Dataset
from ..data.clips import clip_folder
from ..data.dataset import Transform
from ..data.shapes import shapes
from ..data.transforms import Normalize
from ..nn import Module
from ..training import Config
from ..training.classification import Classification
from ..training.figures import write_confusion, write_curves
from ..training.folder import CLASSES, CONFUSION, CURVES, write_table
from ..training.task import Row
from .task import composed
from .temporal import LAYOUTS, r2plus1d, tsm, tsn

METHODS = {"tsm": tsm, "tsn": tsn}
ALONE = {f"r2plus1d_{depth}": depth for depth in LAYOUTS}  # models that do not stand on a network of mr.models


class Video(Classification):
    """A label for each clip, by a network for each frame (tsn), with temporal shifts (tsm), or by R(2+1)D."""

    name = "video"
    example = "clip"
    data_sets: ClassVar = {"shapes": partial(shapes, task="video")}

    @property
    def models(self) -> Sequence[str]:
        return [*(f"{method}_{network}" for method in METHODS for network in models.names()), *ALONE]

    def options(self, model: str) -> list[str]:
        return [] if model in ALONE else models.options(model.partition("_")[2])

    def build(self, model: str, num_classes: int, in_channels: int, **options: Any) -> Module:
        if model in ALONE:
            return r2plus1d(num_classes, in_channels, ALONE[model])
        method, _, name = model.partition("_")
        network = models.build(name, num_classes=num_classes, in_channels=in_channels, **options)
        return METHODS[method](network, num_classes)

    def trunk(self, model: Module) -> Module:
        return getattr(model, "network", model)

    def head(self, model: Module) -> str:
        return "network.fc." if hasattr(model, "network") else "fc."

    def load_folder(self, path: str, size: int | tuple[int, int] | None, channels: int) -> Dataset:
        return clip_folder(path, size=size, channels=channels)

    def transform(self, config: Config, dataset: Dataset, normalize: Normalize) -> Transform:
        return composed(config, dataset, normalize)

    def write_report(self, folder: Path, config: Config, dataset: Dataset, history: list[Row], test: Any) -> None:
        write_curves(folder / CURVES, history, title=f"{config.model} on {config.data_name}")
        write_confusion(folder / CONFUSION, test.confusion, dataset.classes, self.example)
        rows = test.table(dataset.classes)
        write_table(folder / CLASSES, list(rows[0]), rows)


TASK = Video()
