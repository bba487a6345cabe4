"""Fine-tuning: pretrained weights, a new head for new classes, and frozen layers."""

from __future__ import annotations

from pathlib import Path

from ..data import Dataset
from ..data.transforms import Normalize
from ..errors import ArgumentError, RunError, listed, sizes
from ..interop.published import HEAD, load_weights
from ..nn import Module
from .config import Config
from .folder import Run, load_run
from .task import find

BACKBONE = "backbone"  # stands for all parts but the head


def load_pretrained(config: Config, model: Module, dataset: Dataset) -> tuple[Normalize, str]:
    """Copy the weights at ``config.weights`` into ``model``. For new classes, the head stays random.

    - A run folder must hold the same network, for images with the same number of channels. Rows of the head are copied
      for classes with the same name, and stay random for new classes. Images are normalised like those of the run,
      because its layers were trained on such images.
    - A model for boxes, masks or clips also takes the run of a classifier with the network that it stands on, for its
      backbone.
    - A file of published weights (see :func:`minires.interop.load_weights`) contains neither class names nor a
      normalisation. The head is always new, and images are normalised by the mean and standard deviation of the
      training images.

    Returns
    -------
    normalize : Normalize
        The normalisation of the images.
    origin : str
        A description of what was copied.

    Raises
    ------
    RunError
        If the run cannot be read, or its network or number of channels differs.
    StateDictError, DataError
        If the file cannot be read, or does not fit the model.
    """
    path = str(config.weights)
    task = find(config.task)
    new_head = f"with a new head for {len(dataset.classes)} classes"
    if not Path(path).is_dir():
        load_weights(task.trunk(model), path, head=False)
        return Normalize.of(dataset.train), f"weights of {path}, {new_head}"

    run = load_run(path)
    is_classifier = run.config.task == "classification" != config.task
    network = config.model.partition("_")[2] if is_classifier else config.model
    theirs = _described(run.config.model, run.config)
    if run.config.task not in (config.task, "classification"):
        raise RunError(f"train: the run in {path} is one of {run.config.task}; {config.task} cannot start from it.")
    if theirs != _described(network, config):
        raise RunError(
            f"train: the run in {path} is a {theirs}; a {_described(config.model, config)} cannot start from it."
        )
    if run.image_shape[-3] != dataset.image_shape[-3]:
        raise RunError(
            f"train: the run in {path} takes images of {sizes(run.image_shape)}, but those of {dataset.name} are "
            f"{sizes(dataset.image_shape)}; the first, the number of channels, must be the same."
        )
    if is_classifier:
        trunk = task.trunk(model)
        learned = run.model.state_dict()
        state = trunk.state_dict()
        trunk.load_state_dict(
            {name: array if name.startswith(HEAD) else learned[name] for name, array in state.items()}
        )
        return run.normalize, f"weights and normalisation of {path} ({run.config.data_name}), as the backbone"
    return run.normalize, _copy(run, model, dataset, task.head(model), new_head)


def _copy(run: Run, model: Module, dataset: Dataset, head: str, new_head: str) -> str:
    """Copy the weights of a run of the same network, and return a description of what was copied."""
    known = [name for name in dataset.classes if name in run.classes]
    our_rows, their_rows = ([classes.index(name) for name in known] for classes in (dataset.classes, run.classes))
    state = run.model.state_dict()
    for name, weights in model.state_dict().items():
        if name.startswith(head):
            weights[our_rows] = state[name][their_rows]  # (classes, ...)
            state[name] = weights
    model.load_state_dict(state)
    if len(known) < len(dataset.classes):
        what = f"{new_head}, of which it knows {listed(known)}" if known else new_head
    else:
        what = "with its head"
    return f"weights and normalisation of {run.path} ({run.config.data_name}), {what}"


def _described(network: str, config: Config) -> str:
    """Describe the network, for instance as ``resnet20`` or ``resnet20 with shortcut='B'``."""
    options = ", ".join(f"{name}={value!r}" for name, value in config.model_options.items())
    return f"{network} with {options}" if options else network


def freeze(model: Module, last: str) -> None:
    """Freeze ``last`` and all parts before it: their parameters no longer require gradients.

    The backward pass stops there, the optimiser does not get these parameters, and :func:`training_mode` keeps the
    parts in evaluation mode.

    Parameters
    ----------
    model : Module
        Its parts must be in the order of the forward pass, with the head ``fc``, if it has one, last.
    last : str
        The name of a part, or "backbone" for all but the head.

    Raises
    ------
    ArgumentError
        If there is no such part.
    """
    learning = [name for name, part in model.named_children() if list(part.parameters())]
    parts = [name for name in learning if f"{name}." != HEAD]
    if last not in (*parts, BACKBONE):
        raise ArgumentError(f"train: freeze is {last!r}; it must be {', '.join(parts)}, or {BACKBONE} for all of them.")
    for name in parts[: parts.index(last) + 1] if last != BACKBONE else parts:
        getattr(model, name).requires_grad_(False)


def training_mode(model: Module) -> None:
    """Put ``model`` in training mode, except for frozen parts, whose batch norm keeps its running statistics."""
    model.train()
    for part in model.modules():
        learned = [parameter.requires_grad for parameter in part.parameters()]
        if learned and not any(learned):
            part.eval()
