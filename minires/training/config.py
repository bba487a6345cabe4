"""The settings of a run, and what they may be."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from .. import data, models
from ..core import checks
from ..core.backend import DEVICES
from ..errors import ArgumentError

SCHEDULES = ("cosine", "onecycle", "step", "multistep", "constant")
#: What is meant where no learning rate or weight decay is given. Those of Adam and AdamW are PyTorch's.
OPTIMIZERS = {
    "sgd": {"lr": 0.1, "weight_decay": 5e-4},
    "adam": {"lr": 1e-3, "weight_decay": 0.0},
    "adamw": {"lr": 1e-3, "weight_decay": 1e-2},
}
BY_OPTIMIZER: Any = None  # no number yet: one of those takes its place


@dataclass(frozen=True)
class Config:
    """Everything that decides how a run turns out. The defaults train a small ResNet on digits in under a minute.

    Parameters
    ----------
    model : str
        One of ``minires.models.names()``.
    data : str
        One of ``minires.data.names()``, or the path of a folder that :func:`minires.data.folder` reads: one with a
        separator (``./pets``), or the name of a folder that is there, which is stored as such a path.
    epochs, batch_size : int
        Passes over the training images, and images a step.
    optimizer : {"sgd", "adam", "adamw"}
        SGD is with Nesterov's momentum.
    lr : float, optional
        The highest learning rate of the schedule; by default 0.1 for "sgd", and 0.001 for the others.
    schedule : {"cosine", "onecycle", "step", "multistep", "constant"}
        How the learning rate changes, batch by batch: see :func:`minires.training.recipe.make_schedule`.
    warmup : float
        Epochs in which the learning rate rises from a tenth. "onecycle" has its own rise, and needs none.
    momentum : float
        Of SGD, which is plain for a momentum of 0; of Adam, the first beta.
    weight_decay : float, optional
        By default 5e-4 for "sgd", 0 for "adam", and 0.01 for "adamw".
    clip : float
        The largest L2 norm of all gradients together, see :func:`minires.optim.clip_grad_norm`; 0 for any.
    ema : float
        The decay of a moving average of the weights, see :class:`minires.optim.EMA`; 0 for none. With it, the averaged
        network is the one that is tested and saved as ``model.safetensors``.
    label_smoothing : float
        The part of each target that all classes share.
    augment : bool
        Whether training images are changed at random, as their data set allows. Test images never are.
    color_jitter : float
        How much brightness, contrast and saturation of each training image are changed: times up to 1 - color_jitter
        and 1 + color_jitter, see :class:`minires.data.transforms.ColorJitter`; 0 for not at all.
    cutout : int
        The side of the square that is cut out of each training image, in pixels; 0 for none.
    mixup : float
        Training images are mixed in pairs, by shares from Beta(mixup, mixup); 0 for none. The training accuracy then
        counts the first class of each pair only.
    flip_test : bool
        Whether a test, and later a prediction, takes the mean of an image's and its mirror image's logits. It takes
        twice the time, and is for images whose mirror image is of the same class.
    device : {"cpu", "cuda"}
    seed : int
        Decides the initial weights, the order of the images and their augmentation.
    out : str, optional
        The run folder; by default a new one, ``runs/<model>-<data>-seed<seed>``.
    save_every : int
        Epochs between checkpoints.
    workers : int
        Threads that prepare batches in advance. They change the time that a run takes, and nothing else.
    log_gradients : bool
        Whether the run folder gets the norm of each layer's gradient, see :class:`minires.training.GradientLog`.
    tensorboard : bool
        Whether the run folder gets event files for TensorBoard, too, which takes the package tensorboardX.
    size : int
        Height and width to which the images of a folder are resized; 0 for their own, if all have the same.
    weights : str, optional
        Where the weights come from that training starts with: a run folder, or a file of published weights, see
        :func:`minires.training.pretrained.load_pretrained`. By default they are random.
    freeze : str, optional
        The last part of the network that keeps those weights as they are, with all parts before it: e.g. "layer2", or
        "backbone" for all but the head.

    Raises
    ------
    ArgumentError
        For a value out of range, with the option's name.
    """

    model: str = "resnet8"
    data: str = "digits"
    epochs: int = 20
    batch_size: int = 64
    optimizer: str = "sgd"
    lr: float = BY_OPTIMIZER
    schedule: str = "cosine"
    warmup: float = 2.0
    momentum: float = 0.9
    weight_decay: float = BY_OPTIMIZER
    clip: float = 0.0
    ema: float = 0.0
    label_smoothing: float = 0.0
    augment: bool = True
    color_jitter: float = 0.0
    cutout: int = 0
    mixup: float = 0.0
    flip_test: bool = False
    device: str = "cpu"
    seed: int = 0
    out: str | None = None
    save_every: int = 1
    workers: int = 0
    log_gradients: bool = False
    tensorboard: bool = False
    size: int = 0
    weights: str | None = None
    freeze: str | None = None

    def __post_init__(self) -> None:
        for name, choices in {
            "model": models.names(),
            "optimizer": tuple(OPTIMIZERS),
            "schedule": SCHEDULES,
            "device": DEVICES,
        }.items():
            if getattr(self, name) not in choices:
                among = ", ".join(map(str, choices))
                raise ArgumentError(f"train: there is no {name} {getattr(self, name)!r}; choose one of {among}.")
        self._check_data()
        for name, default in OPTIMIZERS[self.optimizer].items():
            if getattr(self, name) is None:
                object.__setattr__(self, name, default)
        for name in ("augment", "flip_test", "log_gradients", "tensorboard"):
            if not isinstance(getattr(self, name), bool):
                raise ArgumentError(f"train: {name} is {getattr(self, name)!r}; it must be True or False.")
        minima = {"epochs": 1, "batch_size": 1, "cutout": 0, "seed": 0, "save_every": 1, "workers": 0, "size": 0}
        for name, minimum in minima.items():
            checks.integer("train", getattr(self, name), name, minimum)
        checks.positive("train", self.lr, "lr")
        for name in ("warmup", "weight_decay", "clip", "color_jitter", "mixup"):
            checks.not_negative("train", getattr(self, name), name)
        for name in ("momentum", "ema", "label_smoothing"):
            checks.fraction("train", getattr(self, name), name, below_one=True)
        for name, what in {
            "out": "the path of a folder",
            "weights": "the path of a run folder or of a file of weights",
            "freeze": "the name of a part of the network",
        }.items():
            value = getattr(self, name)
            if value is not None and (not isinstance(value, str) or not value):
                raise ArgumentError(f"train: {name} is {value!r}; it must be a string, {what}.")
        if self.freeze is not None and self.weights is None:
            raise ArgumentError(
                f"train: freeze is {self.freeze!r}, but frozen layers would keep random weights; say from where they "
                "have better ones (weights, or --from)."
            )

    def _check_data(self) -> None:
        """A data set by its name, or a folder by its path, which is then stored with a separator."""
        given = self.data
        if isinstance(given, str) and given:
            if given in data.names() or _is_path(given):
                if self.size and given in data.names():
                    raise ArgumentError(
                        f"train: size is {self.size}, but the images of {given} have their own; it is for the "
                        "images of a folder."
                    )
                return
            if os.path.isdir(given):
                object.__setattr__(self, "data", os.path.join(os.curdir, given))
                return
        raise ArgumentError(
            f"train: there is no data {given!r}, neither a data set nor a folder; choose one of "
            f"{', '.join(data.names())}, or the path of a folder of images."
        )

    @property
    def data_name(self) -> str:
        """The name of the data set or, without the path to it, of the folder."""
        return os.path.basename(os.path.abspath(self.data)) if _is_path(self.data) else self.data

    def to_json(self) -> dict[str, Any]:
        """The settings by name, as JSON can store them."""
        return asdict(self)

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Config:
        """The settings in ``stored``, which may hold more. Raises ArgumentError for values out of range."""
        return cls(**{field.name: stored[field.name] for field in fields(cls) if field.name in stored})

    def differences(self, other: Config) -> list[str]:
        """The names of the settings that would make the two runs turn out differently."""
        return [
            field.name
            for field in fields(self)
            if field.name not in ("out", "save_every", "workers", "log_gradients", "tensorboard")
            and getattr(self, field.name) != getattr(other, field.name)
        ]


def _is_path(name: str) -> bool:
    return name in (os.curdir, os.pardir) or "/" in name or os.sep in name
