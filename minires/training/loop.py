"""The training loop, from settings to a run folder."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

from ..backend import manual_seed
from ..data import Loader
from ..data.transforms import Normalize
from ..errors import RunError
from ..nn import Module
from ..optim import EMA, Optimizer, Schedule, clip_grad_norm
from . import figures
from .checkpoint import load_checkpoint, save_checkpoint
from .config import Config
from .evaluation import Evaluation, evaluate
from .folder import CONFIG, CONFUSION, CURVES, METRICS, existing_folder, new_folder, write_history, write_json
from .pretrained import freeze, load_pretrained, training_mode
from .progress import Progress
from .recipe import forward, load_data, make_ema, make_model, make_optimizer, make_schedule, make_transform
from .run import description
from .tally import Tally, history_row, result


# Numbers that overflow would also print NumPy's warnings; the first loss that is not finite says it in a sentence.
@np.errstate(over="ignore", invalid="ignore", divide="ignore")
def train(config: Config, resume: bool = False, progress: Progress | None = None) -> dict[str, Any]:
    """Train a model as ``config`` says, and leave a run folder behind.

    The result is that of the last epoch: choosing the epoch that tests best would be fitting the test pictures.
    The same settings on the same machine give the same weights, bit for bit, in one go or resumed: ``config.seed``
    restarts the random generator, as ``manual_seed`` does.

    Parameters
    ----------
    config : Config
    resume : bool
        Continue the run in ``config.out`` after its last checkpoint. A complete run stays as it is.
    progress : Progress, optional
        Told how it goes.

    Returns
    -------
    dict
        What ``metrics.json`` holds: the settings' names, ``test_accuracy`` (0 to 1), ``test_error_percent``,
        ``train_seconds`` (without evaluation), ``images_per_second``, ...

    Raises
    ------
    RunError
        If the folder holds a run already (or none, to be resumed), or the loss stops being finite.
    DataError
        If the data set cannot be read, or the folder not written to.
    DeviceError
        If ``config.device`` is not there.
    """
    progress = progress or Progress()
    dataset = load_data(config.data, config.size or None)
    manual_seed(config.seed)
    model = make_model(config, dataset)
    if config.weights is None:
        normalize, origin = Normalize.of(dataset.train), ""
    else:
        normalize, origin = load_pretrained(config, model, dataset)
    if config.freeze is not None:
        freeze(model, config.freeze)
    transform = make_transform(config, dataset, normalize)
    loader = Loader(
        dataset.train,
        config.batch_size,
        shuffle=True,
        seed=config.seed,
        transform=transform,
        num_workers=config.workers,
    )
    optimizer = make_optimizer(config, model)
    schedule = make_schedule(config, optimizer, batches=len(loader))
    ema = make_ema(config, model)
    tested = model if ema is None else ema.module

    config = existing_folder(config) if resume else new_folder(config)
    folder = Path(str(config.out))
    history = load_checkpoint(folder, model, optimizer, schedule, ema) if resume else []
    write_json(folder / CONFIG, description(config, dataset, normalize))

    if origin:
        progress.note(origin)
    progress.start(config, model, dataset, start_epoch=len(history) + 1)
    test: Evaluation | None = None
    for epoch in range(len(history) + 1, config.epochs + 1):
        lr = schedule.get_last_lr()[0]
        tally = train_epoch(config, epoch, model, loader, optimizer, schedule, ema, progress)
        test = evaluate(tested, dataset.test, normalize, num_workers=config.workers)
        require_finite(test.loss, f"the test after epoch {epoch}", config)
        history.append(history_row(epoch, lr, tally, test))
        write_history(folder, history)
        if epoch % config.save_every == 0 or epoch == config.epochs:
            save_checkpoint(folder, model, optimizer, schedule, ema, history)
        progress.epoch(epoch, history[-1])

    if test is None:  # a complete run was resumed
        test = evaluate(tested, dataset.test, normalize, num_workers=config.workers)
    figures.write_curves(folder / CURVES, history, title=f"{config.model} on {config.data_name}")
    figures.write_confusion(folder / CONFUSION, test.confusion, dataset.classes)
    metrics = result(config, dataset, model, history, test)
    write_json(folder / METRICS, metrics)
    progress.end(metrics)
    return metrics


def train_epoch(
    config: Config,
    epoch: int,
    model: Module,
    loader: Loader,
    optimizer: Optimizer,
    schedule: Schedule,
    ema: EMA | None,
    progress: Progress,
) -> Tally:
    """One pass over the training pictures: forward, loss, backward, step, for each batch."""
    training_mode(model)
    loader.set_epoch(epoch)
    tally = Tally()
    for batch, (pictures, labels) in enumerate(loader, start=1):
        logits, loss = forward(config, model, pictures, labels)  # (B, K) and one number
        where = f"epoch {epoch}, batch {batch} of {len(loader)}"
        require_finite(loss.item(), where, config)
        optimizer.zero_grad()
        loss.backward()
        if config.clip:
            norm = clip_grad_norm(optimizer.parameters, config.clip)
            require_finite(norm, where, config, what="the norm of the gradients")
        optimizer.step()
        schedule.step()
        if ema is not None:
            ema.update()

        tally.add(loss, logits, labels)
        pictures_left = (config.epochs - epoch + 1) * len(loader.split) - tally.pictures
        progress.batch(epoch, batch, len(loader), tally.loss, tally.accuracy, tally.speed, pictures_left / tally.speed)
    return tally


def require_finite(value: float, where: str, config: Config, what: str = "the loss") -> None:
    """Raise RunError if ``value`` is NaN or infinite: no later step could mend the weights."""
    if not math.isfinite(value):
        raise RunError(f"training stopped at {where}: {what} is {value}; lower --lr (it is {config.lr:g}).")
