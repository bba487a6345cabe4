"""Fine-tuning: weights to start with, a head that is new for new classes, and layers that stay as they are."""

from __future__ import annotations

from pathlib import Path

from ..data import Dataset
from ..data.transforms import Normalize
from ..errors import ArgumentError, RunError, listed, sizes
from ..interop.published import HEAD, load_weights
from ..nn import Module
from .config import Config
from .run import load_run

BACKBONE = "backbone"  # all but the head


def load_pretrained(config: Config, model: Module, dataset: Dataset) -> tuple[Normalize, str]:
    """Copy the weights at ``config.weights`` into ``model``; the head stays random for new classes.

    - Of a run folder, the network must be the same, and so must the channels of its images. Its head keeps what it
      knows of classes of the same name; the rows of new classes stay random. Images are normalised as the run's were:
      those are the numbers that its layers know.
    - A file of published weights, as :func:`minires.interop.load_weights` reads it, tells neither classes nor
      normalisation: the head is always new, and images are normalised by their own mean and standard deviation.

    Returns
    -------
    normalize : Normalize
    origin : str
        What was taken, in words.

    Raises
    ------
    RunError
        If the run cannot be read, or is of another network or other images.
    StateDictError, DataError
        If the file cannot be read, or does not fit the model; it says what does not.
    """
    path = str(config.weights)
    new_head = f"with a new head for {len(dataset.classes)} classes"
    if not Path(path).is_dir():
        load_weights(model, path, head=False)
        return Normalize.of(dataset.train), f"weights of {path}, {new_head}"

    run = load_run(path)
    if run.config.model != config.model:
        raise RunError(f"train: the run in {path} is a {run.config.model}; a {config.model} cannot start from it.")
    if run.image_shape[0] != dataset.image_shape[0]:
        raise RunError(
            f"train: the run in {path} takes images of {sizes(run.image_shape)}, but those of {dataset.name} are "
            f"{sizes(dataset.image_shape)}; the first, the number of channels, must be the same."
        )
    known = [name for name in dataset.classes if name in run.classes]
    ours, theirs = ([classes.index(name) for name in known] for classes in (dataset.classes, run.classes))
    state = run.model.state_dict()
    for name, head in model.state_dict().items():
        if name.startswith(HEAD):
            head[ours] = state[name][theirs]  # (classes, features) or (classes,)
            state[name] = head
    model.load_state_dict(state)
    if len(known) < len(dataset.classes):
        what = f"{new_head}, of which it knows {listed(known)}" if known else new_head
    else:
        what = "with its head"
    return run.normalize, f"weights and normalisation of {path} ({run.config.data_name}), {what}"


def freeze(model: Module, last: str) -> None:
    """Stop ``last`` and all parts before it from learning: their parameters require no gradient.

    Backward ends where they end, optimisers do not get them, and :func:`training_mode` leaves them in evaluation mode.

    Parameters
    ----------
    model : Module
        With its parts in the order in which images pass them, the head ``fc`` last.
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
    """Training mode, but for frozen parts: their batch norm keeps the statistics that its weights were learned with."""
    model.train()
    for part in model.children():
        learned = [parameter.requires_grad for parameter in part.parameters()]
        if learned and not any(learned):
            part.eval()
