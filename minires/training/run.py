"""A finished run, read back from its folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import models
from ..core.backend import check_device
from ..core.checks import is_integer
from ..data import Dataset
from ..data.transforms import Normalize
from ..errors import ArgumentError, MiniresError, RunError
from ..interop.files import PathLike, brief
from ..interop.safetensors_file import load
from ..nn import Module
from ..version import __version__
from .config import Config
from .folder import CONFIG, MODEL, damaged, read_json
from .recipe import model_options

LARGEST_IMAGE = 1 << 24  # values
NOTES = ("model_options", "classes", "image_shape", "mean", "std", "minires")  # in config.json, beside the settings


@dataclass(frozen=True, eq=False)
class Run:
    """A trained network, and what it takes to use it without its data set.

    Attributes
    ----------
    path : Path
        The run folder.
    config : Config
        The settings that it was trained with.
    model : Module
        In evaluation mode.
    classes : tuple of str
        The name of each class number.
    normalize : Normalize
        Makes floats of images as the network knows them: ``normalize(uint8 (N, C, H, W))``.
    image_shape : (int, int, int)
        (C, H, W) of those images.
    """

    path: Path
    config: Config
    model: Module
    classes: tuple[str, ...]
    normalize: Normalize
    image_shape: tuple[int, int, int]


def description(config: Config, dataset: Dataset, normalize: Normalize) -> dict[str, Any]:
    """What ``config.json`` holds: the settings, and what :func:`load_run` needs besides the weights."""
    return {
        **config.to_json(),
        "model_options": model_options(dataset),
        "classes": list(dataset.classes),
        "image_shape": list(dataset.image_shape),
        "mean": normalize.mean,
        "std": normalize.std,
        "minires": __version__,
    }


def load_run(path: PathLike, device: str = "cpu") -> Run:
    """Read the run in the folder ``path``, with its network on ``device``, wherever it was trained.

    Raises
    ------
    DeviceError
        If there is no such device.
    RunError
        If there is no run, it has not come to its first checkpoint, or its files are damaged.
    """
    check_device(device)
    folder = Path(path)
    if not (folder / CONFIG).is_file():
        raise RunError(f"{folder} is no run folder: it has no {CONFIG}; is it the --out of a `minires train`?")
    if not (folder / MODEL).exists():
        raise RunError(f"the run in {folder} has saved no model yet; continue it with `minires train --resume`.")
    stored = read_json(folder / CONFIG)
    try:
        config = Config.from_json(stored)
        classes, image_shape = tuple(stored["classes"]), _image_shape(stored["image_shape"])
        options = {**stored["model_options"], "num_classes": len(classes), "in_channels": image_shape[0]}
        if options != stored["model_options"]:  # checked first: numbers out of a file decide how large the model is
            raise ArgumentError(f"model_options are {brief(str(stored['model_options']))}, but must hold {options}")
        model = models.build(config.model, **options)
        model.load_state_dict(load(folder / MODEL))
        normalize = Normalize(stored["mean"], stored["std"])
        return Run(folder, config, model.to(device).eval(), classes, normalize, image_shape)
    except (MiniresError, KeyError, ValueError, TypeError) as error:
        raise damaged(folder, error) from error


def _image_shape(stored: list[int]) -> tuple[int, int, int]:
    channels, height, width = stored
    if not all(is_integer(size, 1) for size in stored) or channels * height * width > LARGEST_IMAGE:
        raise ArgumentError("image_shape is not three whole numbers from 1 up, or larger than any image here")
    return channels, height, width
