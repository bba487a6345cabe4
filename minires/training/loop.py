"""The training loop, from settings to a run folder."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from ..core.backend import manual_seed
from ..data import Dataset, Loader
from ..data.transforms import Normalize
from ..errors import RunError, StoppedError
from ..interop.files import remove_temporary_files
from ..nn import Module
from ..optim import clip_grad_norm
from .checkpoint import TrainingState, load_checkpoint, save_checkpoint, saving
from .config import Config
from .evaluation import Evaluation, evaluate
from .folder import CONFIG, METRICS, existing_folder, new_folder, write_history, write_json
from .gradients import GradientLog
from .pretrained import freeze, load_pretrained, training_mode
from .progress import Progress, Several
from .recipe import forward, load_data, make_ema, make_model, make_optimizer, make_schedule, make_transform
from .report import write_report
from .run import description
from .tally import history_row, result
from .tensorboard import TensorBoard

Stop = Callable[[], bool]


# Numbers that overflow would also print NumPy's warnings; the first loss that is not finite says it in a sentence.
@np.errstate(over="ignore", invalid="ignore", divide="ignore")
def train(
    config: Config, resume: bool = False, progress: Progress | None = None, stop: Stop = lambda: False
) -> dict[str, Any]:
    """Train a model as ``config`` says, and leave a run folder behind.

    The result is that of the last epoch: choosing the epoch that tests best would be fitting the test images.
    The same settings on the same machine give the same weights, bit for bit, in one go or resumed: ``config.seed``
    restarts the random generator, as ``manual_seed`` does.

    Parameters
    ----------
    config : Config
    resume : bool
        Continue the run in ``config.out`` from its last checkpoint. A complete run stays as it is.
    progress : Progress, optional
        Told how it goes.
    stop : callable, optional
        Asked after each batch (the last of an epoch is tested and recorded first): if it returns True, the run is
        saved as it is, and ends with StoppedError. :class:`StopSignals` answers for Ctrl-C.

    Returns
    -------
    dict
        What ``metrics.json`` holds: the settings' names, ``test_accuracy`` (0 to 1), ``test_error_percent``,
        ``train_seconds`` (without evaluation), ``images_per_second``, ...

    Raises
    ------
    RunError
        If the folder holds a run already (or none, to be resumed), the loss stops being finite, or the folder cannot be
        written to any more: what was saved before is whole.
    StoppedError
        If ``stop`` said so; ``resume`` continues with the next batch.
    DataError
        If the data set cannot be read, or the first file not written.
    DeviceError
        If ``config.device`` is not there.
    """
    progress = progress or Progress()
    if config.tensorboard:
        progress = Several([TensorBoard(), progress])
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
        device=config.device,
    )
    optimizer = make_optimizer(config, model)
    schedule = make_schedule(config, optimizer, batches=len(loader))

    config = existing_folder(config) if resume else new_folder(config)
    folder = Path(str(config.out))
    gradients = GradientLog(model, folder) if config.log_gradients else None
    state = TrainingState(model, optimizer, schedule, make_ema(config, model), gradients)
    if resume:
        load_checkpoint(folder, config, state)
    remove_temporary_files(folder)
    write_json(folder / CONFIG, description(config, dataset, normalize))

    if origin:
        progress.note(origin)
    progress.start(config, model, dataset, start_epoch=state.epoch)
    test: Evaluation | None = None
    while state.epoch <= config.epochs:
        epoch = state.epoch
        complete = train_epoch(config, state, loader, progress, stop)
        if complete:
            test = evaluate_test_images(config, state.result, dataset, normalize)
            require_finite(test.loss, f"the test after epoch {epoch}", config)
            state.history.append(history_row(epoch, state.tally, test))
            state.start_epoch()
            with saving(folder):
                write_history(folder, state.history)
                if gradients is not None:
                    gradients.epoch(epoch)
                if epoch % config.save_every == 0 or epoch == config.epochs:
                    save_checkpoint(folder, config, state)
            progress.epoch(epoch, state.history[-1])
        if not complete or (epoch < config.epochs and stop()):
            with saving(folder):
                save_checkpoint(folder, config, state)
            raise StoppedError(f"train: stopped and saved; continue the run in {folder} with resume=True.")

    if test is None:  # a complete run was resumed
        test = evaluate_test_images(config, state.result, dataset, normalize)
    metrics = result(config, dataset, model, state.history, test)
    with saving(folder):
        write_report(folder, config, dataset, state.history, test)
        if gradients is not None:
            gradients.draw(f"gradients of {config.model} on {config.data_name}")
        write_json(folder / METRICS, metrics)
    progress.end(metrics, test)
    return metrics


def evaluate_test_images(config: Config, model: Module, dataset: Dataset, normalize: Normalize) -> Evaluation:
    """How good ``model`` is on the test images, tested as ``config`` says."""
    return evaluate(model, dataset.test, normalize, num_workers=config.workers, flip=config.flip_test)


def train_epoch(config: Config, state: TrainingState, loader: Loader, progress: Progress, stop: Stop) -> bool:
    """What is left of an epoch's pass over the training images: forward, loss, backward, step, for each batch.

    False if ``stop`` ended it early.
    """
    training_mode(state.model)
    epoch, tally = state.epoch, state.tally
    loader.set_epoch(epoch, tally.batches)
    tally.start_clock()
    for batch, (images, labels) in enumerate(loader, start=tally.batches + 1):
        logits, loss = forward(config, state.model, images, labels)  # (B, K) and one number
        where = f"epoch {epoch}, batch {batch} of {len(loader)}"
        require_finite(loss.item(), where, config)
        state.optimizer.zero_grad()
        loss.backward()
        if state.gradients is not None:
            state.gradients.batch(batch)
        if config.clip:
            norm = clip_grad_norm(state.optimizer.parameters, config.clip)
            require_finite(norm, where, config, what="the norm of the gradients")
        state.optimizer.step()
        state.schedule.step()
        if state.ema is not None:
            state.ema.update()

        tally.add(loss, logits, labels)
        images_left = (config.epochs - epoch + 1) * len(loader.split) - tally.images
        progress.batch(epoch, batch, len(loader), tally.loss, tally.accuracy, tally.speed, images_left / tally.speed)
        if batch < len(loader) and stop():
            return False
    return True


def require_finite(value: float, where: str, config: Config, what: str = "the loss") -> None:
    """Raise RunError if ``value`` is NaN or infinite: no later step could mend the weights."""
    if not math.isfinite(value):
        raise RunError(f"training stopped at {where}: {what} is {value}; lower --lr (it is {config.lr:g}).")
