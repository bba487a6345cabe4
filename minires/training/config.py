"""The settings of a run. Each is a field of :class:`Config`, with its default, its help text and a check of its value.

The options of ``minires train``, and the keys of TOML files and ``config.json``, are derived from these fields.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict, dataclass, field, fields
from functools import partial
from pathlib import Path
from typing import Any

from .. import data, models, optim
from ..core import checks
from ..core.backend import DEVICES
from ..errors import ArgumentError, closest, listed
from ..interop.files import PathLike, brief, opened
from .task import TASKS, find

PANELS = ("Data", "Network", "Variants", "Optimisation", "Augmentation", "Run")  # of the help, in the order shown
# The keys of config.json besides the settings.
NOTES = ("model_options", "classes", "category_ids", "image_shape", "images", "mean", "std", "minires")
LARGEST_JSON = 1 << 20  # bytes; enough for the names of 20,000 classes

Check = Callable[[str, Any, str], Any]


def setting(panel: str, default: Any, help: str, check: Check | None = None, **more: Any) -> Any:
    """Define a field of :class:`Config`.

    Parameters
    ----------
    panel : str
        The group of options that the setting belongs to in ``minires train --help``.
    default : object
        The default value; None if it depends on other settings, or if there is none.
    help : str
        The help text of the option.
    check : callable, optional
        ``check(where, value, name)`` returns the value to store, or raises ArgumentError. It is not needed for
        booleans, or with ``choices``. A default of None is not checked. Names that depend on the task are checked by
        :class:`Config` itself.
    **more
        ``choices``: the valid names. ``metavar``: the placeholder for the value in the help. ``unset``: a description
        of what None means. ``option``: the option, if it is not named like the field. ``of_model``: whether the setting
        is passed to ``models.build``. ``tasks``: the tasks that take it, if not all do. ``harmless``: whether it cannot
        change the result of a run.
    """
    if choices := more.get("choices"):
        check = partial(checks.choice, choices=choices)
        help = f"{help} One of {', '.join(choices)}.".lstrip()
    if isinstance(default, bool):
        check = _boolean
    if tasks := more.get("tasks"):
        help = f"{help} For {listed(tasks)}."
    return field(default=default, metadata={"panel": panel, "help": help, "check": check, **more})


def _boolean(where: str, value: Any, name: str) -> bool:
    if not isinstance(value, bool):
        raise ArgumentError(f"{where}: {name} is {value!r}; it must be True or False.")
    return value


def _text(what: str) -> Check:
    def check(where: str, value: Any, name: str) -> str:
        if not isinstance(value, str) or not value:
            raise ArgumentError(f"{where}: {name} is {value!r}; it must be a string, {what}.")
        return value

    return check


def _data_set_or_folder(value: Any, names: Collection[str]) -> str:
    """Return the name of a data set, or the path of a folder, with a separator that tells it from a name."""
    if isinstance(value, str) and (value in names or _is_path(value)):
        return value
    if isinstance(value, str) and value and os.path.isdir(value):
        return os.path.join(os.curdir, value)
    meant = closest(value, names) if isinstance(value, str) else None
    hint = f"did you mean {meant}? Choose" if meant else "choose"
    raise ArgumentError(
        f"train: there is no data set or folder {value!r}; {hint} one of {', '.join(names)}, or the path of a folder "
        "of images."
    )


def _is_path(name: str) -> bool:
    return name in (os.curdir, os.pardir) or "/" in name or os.sep in name


def _by_task(name: str) -> str:
    """Return the default of each task, such as ``classification 20, detection 40``."""
    return ", ".join(f"{task} {entry.defaults[name]}" for task, entry in TASKS.items())


def _by_optimizer(name: str) -> str:
    """Return the default of each optimiser, such as ``sgd 0.1, adam 0.001, adamw 0.001``."""
    return ", ".join(f"{kind} {optimizer.training_defaults[name]:g}" for kind, optimizer in optim.OPTIMIZERS.items())


_at_least_0, _at_least_1 = partial(checks.integer, minimum=0), partial(checks.integer, minimum=1)
_below_one = partial(checks.fraction, below_one=True)
_data, _network, _variant, _optimisation, _augmentation, _run = (partial(setting, panel) for panel in PANELS)
_variant = partial(_variant, of_model=True)


@dataclass(frozen=True)
class Config:
    """All settings of a training run. The defaults train a small ResNet on digits in under a minute.

    Raises
    ------
    ArgumentError
        If a value is invalid, or settings exclude each other. The message names the setting.
    """

    task: str = _network("classification", "What the network learns.", choices=TASKS)
    model: str = _network(
        None,
        f"One of {', '.join(models.MODELS)}; for detection, segmentation and video a method on such a network, such as "
        "fcos_resnet18, deeplabv3plus_resnet18 and tsm_resnet8.",
        unset=_by_task("model"),
    )
    data: str = _data(
        None,
        f"One of {', '.join(data.DATASETS)}, or the path of a folder of images with a folder for each class. Other "
        "tasks: shapes, or a folder.",
        metavar="NAME_OR_FOLDER",
        unset=_by_task("data"),
    )
    epochs: int = _optimisation(None, "Passes over the training images.", _at_least_1, unset=_by_task("epochs"))
    batch_size: int = _optimisation(None, "Images per step.", _at_least_1, unset=_by_task("batch_size"))
    drop_last: bool = _optimisation(False, "Leave out the last batch of an epoch if it is smaller than the others.")
    optimizer: str = _optimisation(
        None, "sgd has Nesterov momentum.", choices=optim.OPTIMIZERS, unset=_by_task("optimizer")
    )
    lr: float = _optimisation(
        None, "The highest learning rate of the schedule.", checks.positive, unset=_by_optimizer("lr")
    )
    schedule: str = _optimisation(
        "cosine", "How the learning rate changes from batch to batch.", choices=optim.SCHEDULES
    )
    warmup: float = _optimisation(
        None,
        "Epochs in which the learning rate rises; onecycle has its own warm-up.",
        checks.not_negative,
        unset=_by_task("warmup"),
    )
    momentum: float = _optimisation(0.9, "The momentum of sgd; the first beta of adam and adamw.", _below_one)
    weight_decay: float = _optimisation(
        None, "How strongly weights are pulled towards 0.", checks.not_negative, unset=_by_optimizer("weight_decay")
    )
    clip: float = _optimisation(0.0, "Maximum norm of all gradients together; 0 for no limit.", checks.not_negative)
    ema: float = _optimisation(
        0.0, "Test and save a moving average of the weights with this decay; 0 for no average.", _below_one
    )
    label_smoothing: float = _optimisation(
        0.0, "Fraction of each target spread over all classes.", _below_one, tasks=("classification", "video")
    )
    dice: float = _optimisation(
        0.0, "Add the Dice loss with this weight.", checks.not_negative, tasks=("segmentation",)
    )
    augment: bool = _augmentation(True, "Change training images at random, in ways that suit their data set.")
    color_jitter: float = _augmentation(
        0.0,
        "Change brightness, contrast and saturation by factors of 1 - X to 1 + X.",
        checks.not_negative,
        tasks=("classification", "detection", "segmentation"),
    )
    cutout: int = _augmentation(
        0,
        "Cut a square of N x N pixels out of training images; 0 for none.",
        _at_least_0,
        tasks=("classification",),
    )
    mixup: float = _augmentation(
        0.0,
        "Mix training images in pairs, in proportions from Beta(X, X); 0 for no mixing.",
        checks.not_negative,
        tasks=("classification",),
    )
    flip_test: bool = _augmentation(
        False,
        "Test and predict with the mean of the logits of each image and its mirror image.",
        tasks=("classification",),
    )
    device: str = _run("cpu", "The device that the network runs on.", choices=DEVICES)
    seed: int = _run(0, "Seed for the initial weights, the order of the images and their augmentation.", _at_least_0)
    out: str | None = _run(
        None,
        "The run folder.",
        _text("the path of a folder"),
        metavar="FOLDER",
        unset="runs/MODEL-DATA-seedN",
        harmless=True,
    )
    save_every: int = _run(1, "Epochs between checkpoints.", _at_least_1, harmless=True)
    workers: int = _run(0, "Threads that prepare batches in advance.", _at_least_0, harmless=True)
    log_gradients: bool = _run(False, "Record the norm of each layer's gradient in each epoch.", harmless=True)
    tensorboard: bool = _run(False, "Also write event files for TensorBoard.", harmless=True)
    size: int = _data(0, "Resize the images of a folder to N x N pixels; 0 to keep their size.", _at_least_0)
    weights: str | None = _network(
        None,
        "Start from the weights of a run, or of a file (safetensors, npz), with a new head for new classes.",
        _text("the path of a run folder or of a file of weights"),
        metavar="RUN_OR_WEIGHTS",
        unset="random weights",
        option="--from",
    )
    freeze: str | None = _network(
        None,
        "Freeze the network up to and including this part: layer1, layer2, ..., or backbone for all but the head.",
        _text("the name of a part of the network"),
        metavar="PART",
        unset="train all of it",
    )
    shortcut: str | None = _variant(
        None,
        "How shortcuts change the size: A pads with zeros, B projects with a 1x1 convolution; C projects everywhere.",
        choices=("A", "B", "C"),
        unset="A for small images, B for large ones",
    )
    preactivation: bool = _variant(False, "Put BN and ReLU before each convolution instead of after it.")
    zero_init_residual: bool = _variant(False, "Start with gamma = 0 in the last BN of each block.")
    deep_stem: bool = _variant(False, "Begin with three 3x3 convolutions instead of one of 7x7.")
    avg_down: bool = _variant(False, "Let projections average 2x2 pixels instead of skipping three of every four.")
    stochastic_depth_prob: float = _variant(
        0.0, "Probability of dropping the last block for an image in training; lower for earlier blocks.", _below_one
    )
    width: int | None = _variant(
        None, "Filters of the first convolution of resnet9.", _at_least_1, unset="the network's own"
    )

    def __post_init__(self) -> None:
        task = find(self.task)
        defaults = TASKS[self.task].defaults
        for name, default in defaults.items():
            if getattr(self, name) is None and (name != "lr" or self.optimizer == defaults["optimizer"]):
                object.__setattr__(self, name, default)
        for each in fields(self):
            value = getattr(self, each.name)
            if each.metadata["check"] is not None and (value is not None or each.default is not None):
                object.__setattr__(self, each.name, each.metadata["check"]("train", value, each.name))
        for name, default in optim.OPTIMIZERS[self.optimizer].training_defaults.items():
            if getattr(self, name) is None:
                object.__setattr__(self, name, default)
        checks.choice("train", self.model, "model", task.models)
        object.__setattr__(self, "data", _data_set_or_folder(self.data, task.data_sets))
        taken = task.options(self.model)
        for name, value in self.model_options.items():
            if name not in taken:
                known = f"its options are {', '.join(taken)}" if taken else "it has no options"
                raise ArgumentError(f"train: {name} is {value!r}, but {self.model} does not take it; {known}.")
        for each in fields(self):
            takers, value = each.metadata.get("tasks", TASKS), getattr(self, each.name)
            if self.task not in takers and value != each.default:
                raise ArgumentError(
                    f"train: {each.name} is {value!r}, but {self.task} does not take it; leave it out (it is for "
                    f"{listed(takers)})."
                )
        if self.size and self.data in task.data_sets:
            raise ArgumentError(
                f"train: size is {self.size}, but only the images of a folder can be resized, and {self.data} is a "
                "data set."
            )
        if self.freeze is not None and self.weights is None:
            raise ArgumentError(
                f"train: freeze is {self.freeze!r}, but frozen layers would keep random weights; say which weights to "
                "start from (weights, or --from)."
            )

    @property
    def model_options(self) -> dict[str, Any]:
        """The options of the model that differ from their defaults."""
        names = [each.name for each in fields(self) if each.metadata.get("of_model")]
        return {name: getattr(self, name) for name in names if getattr(self, name) != getattr(Config, name)}

    @property
    def data_name(self) -> str:
        """The name of the data set or, without the path to it, of the folder."""
        return os.path.basename(os.path.abspath(self.data)) if _is_path(self.data) else self.data

    def to_json(self) -> dict[str, Any]:
        """Return the settings, keyed by name, as values that JSON can store."""
        return asdict(self)

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Config:
        """Create settings from ``stored``, whose other keys are ignored. Raises ArgumentError if a value is invalid."""
        for name in TASKS[cls.task].defaults:
            if stored.get(name, "") is None:
                raise ArgumentError(f"train: {name} is None; a run stores what it used.")
        return cls(**{each.name: stored[each.name] for each in fields(cls) if each.name in stored})

    def differences(self, other: Config) -> list[str]:
        """Return the names of the settings that differ and can change the result of a run."""
        names = [each.name for each in fields(self) if not each.metadata.get("harmless")]
        return [name for name in names if getattr(self, name) != getattr(other, name)]


def option(name: str) -> str:
    """Return the option of ``minires train`` for a setting, such as ``--batch-size``."""
    return Config.__dataclass_fields__[name].metadata.get("option", f"--{name.replace('_', '-')}")


def no_option(name: str) -> str:
    """Return the option that makes a setting False, such as ``--no-augment``."""
    return f"--no-{option(name).removeprefix('--')}"


def read_settings(path: PathLike) -> dict[str, Any]:
    """Read settings from a file, and check them.

    Parameters
    ----------
    path : str or path
        A file whose name ends with ``.json`` is read as the ``config.json`` of a run. Its notes about the run's model
        and images are ignored, and so is its ``out``, because the new run gets its own folder. Any other file is read
        as TOML, with the names of settings at its top level.

    Returns
    -------
    dict
        The settings in the file, keyed by name. ``Config(**read_settings(path))`` adds the defaults of the others.

    Raises
    ------
    DataError
        If the file cannot be read, or is not TOML or JSON.
    ArgumentError
        If a setting does not exist, or its value is invalid.
    """
    is_json = Path(path).suffix == ".json"
    stored = read_object(path, "JSON" if is_json else "TOML")
    if is_json:
        stored = {name: value for name, value in stored.items() if name not in (*NOTES, "out")}
    names = [each.name for each in fields(Config)]
    for name in stored:
        if name not in names:
            near = closest(name, names)
            meant = f"; did you mean {near!r}?" if near else "."
            raise ArgumentError(
                f"train: {path}: there is no setting '{brief(name)}'{meant} The settings are {', '.join(names)}."
            )
    try:
        Config(**stored)
    except ArgumentError as error:
        raise ArgumentError(f"train: {path}: {str(error).removeprefix('train: ')}") from error
    return stored


def read_object(path: PathLike, kind: str) -> dict[str, Any]:
    """Read an object from a JSON or TOML file of at most a megabyte. Raises DataError if that fails."""
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    with opened("train", path, kind) as file:
        content = file.read(LARGEST_JSON + 1)
        if len(content) > LARGEST_JSON:
            raise ValueError("it is too long")
        text = content.decode("utf-8-sig")
        stored = json.loads(text) if kind == "JSON" else tomllib.loads(text)
        if not isinstance(stored, dict):
            raise ValueError(f"it holds {type(stored).__name__}, not an object")
    return stored
