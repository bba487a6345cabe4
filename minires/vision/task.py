"""What the tasks of this room share: models that are methods on networks of mr.models, and the loop of a test."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, ClassVar

from .. import models
from ..core.state import no_grad
from ..core.tensor import Tensor, as_tensor
from ..data import Dataset, Loader
from ..data.dataset import Source, Transform
from ..data.moving import ComposeWithTargets
from ..data.transforms import ColorJitter, Normalize
from ..nn import Module
from ..nn.module import in_mode
from ..training import Config
from ..training.task import Task

BATCH_SIZE = 32  # of a test
SHEET_SIZE = 192  # pixels along the longer side of an image in a report, at least


class VisionTask(Task):
    """A task whose models are named like ``fcos_resnet18``: a method of :attr:`methods` on a network of mr.models."""

    methods: ClassVar[Mapping[str, Callable[..., Module]]]
    needs_all_classes = False

    @property
    def models(self) -> Sequence[str]:
        return [f"{method}_{network}" for method in self.methods for network in models.names()]

    def options(self, model: str) -> list[str]:
        return models.options(model.partition("_")[2])

    def build(self, model: str, num_classes: int, in_channels: int, **options: Any) -> Module:
        method, _, name = model.partition("_")
        network = models.build(name, num_classes=num_classes, in_channels=in_channels, **options)
        return self.methods[method](network, num_classes)

    def transform(self, config: Config, dataset: Dataset, normalize: Normalize) -> Transform:
        return composed(config, dataset, normalize)


def composed(config: Config, dataset: Dataset, normalize: Normalize) -> Transform:
    """Return the transform of training data, whose first steps may move the targets, too."""
    steps: list[Any] = [dataset.augmentation] if config.augment and dataset.augmentation is not None else []
    if config.color_jitter:
        steps.append(ColorJitter(*[config.color_jitter] * 3))
    return ComposeWithTargets([*steps, normalize]) if steps else normalize


def outputs_of(
    model: Module, split: Source, normalize: Normalize, num_workers: int = 0
) -> Iterator[tuple[Any, Any, Tensor]]:
    """Yield what the model returns in evaluation mode, the targets, and the images, for each batch of ``split``."""
    device = next(model.parameters()).device
    batches = Loader(split, BATCH_SIZE, seed=0, transform=normalize, num_workers=num_workers, device=device)
    with in_mode(model, training=False), no_grad():
        for images, targets in batches:
            x = as_tensor(images)
            yield model(x), targets, x
