"""The training loop, which turns settings into a run folder."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from ..core.backend import manual_seed
from ..data import Dataset, Loader
from ..data.transforms import Normalize
from ..errors import RunError, StoppedError
from ..interop.files import remove_temporary_files, write_json
from ..nn import Module
from ..optim import EMA, clip_grad_norm
from ..version import __version__
from .checkpoint import TrainingState, load_checkpoint, save_checkpoint, saving
from .config import Config
from .folder import CONFIG, HISTORY, METRICS, check_same_data, description, run_folder, write_table
from .gradients import GradientLog
from .preflight import check_before_training
from .pretrained import freeze, load_pretrained, training_mode
from .progress import Progress, TensorBoard
from .recipe import load_data, make_model, make_optimizer, make_schedule, make_transform
from .task import Row, Tally, Test, find

Stop = Callable[[], bool]


# NumPy need not warn of an overflow, because the first loss that is not finite raises an error.
@np.errstate(over="ignore", invalid="ignore", divide="ignore")
def train(
    config: Config, resume: bool = False, progress: Progress | None = None, stop: Stop = lambda: False
) -> dict[str, Any]:
    """Train a model with the settings of ``config``, and write a run folder.

    The result is that of the last epoch, because choosing the epoch with the best test result would fit the test
    images. The same settings on the same machine give the same weights, bit for bit, even if the run is stopped and
    resumed. ``config.seed`` seeds the global random generator, like ``manual_seed``.

    Parameters
    ----------
    config : Config
    resume : bool
        Continue the run in ``config.out`` from its last checkpoint. A complete run is not changed.
    progress : Progress, optional
        Its methods are called during the run.
    stop : callable, optional
        Called after each batch, and after the test at the end of an epoch. If it returns True, the run is saved and
        ends with StoppedError. Pass a :class:`StopSignals` to stop at Ctrl-C.

    Returns
    -------
    dict
        The content of ``metrics.json``: the main settings, ``test_accuracy`` (0 to 1), ``test_error_percent``,
        ``train_seconds`` (without evaluation), ``images_per_second``, ...

    Raises
    ------
    RunError
        If the folder already holds a run (or, with ``resume``, does not), another process is writing to it, the loss is
        not finite, or the folder or its disk cannot take the files. What was saved before stays intact.
    ArgumentError, ShapeError
        Before training, if a batch of a single image or the size of the images does not fit the model.
    StoppedError
        If ``stop`` returned True. With ``resume``, the run continues with the next batch.
    DataError
        If the data set cannot be read or has a class without training images, or the first file cannot be written.
    DeviceError
        If ``config.device`` is not available.
    """
    watchers = [*([TensorBoard()] if config.tensorboard else []), *([progress] if progress is not None else [])]
    task = find(config.task)
    dataset = load_data(config.data, config.size or None, task=config.task)
    manual_seed(config.seed)
    model = make_model(config, dataset)
    if config.weights is None:
        normalize, origin = Normalize.of(dataset.train), ""
    else:
        normalize, origin = load_pretrained(config, model, dataset)
    if config.freeze is not None:
        freeze(task.trunk(model), config.freeze)
    transform = make_transform(config, dataset, normalize)
    loader = Loader(
        dataset.train,
        config.batch_size,
        shuffle=True,
        seed=config.seed,
        transform=transform,
        num_workers=config.workers,
        device=config.device,
        drop_last=config.drop_last,
    )
    optimizer = make_optimizer(config, model)
    schedule = make_schedule(config, optimizer, batches=len(loader))
    training_mode(model)
    check_before_training(config, model, dataset, loader, optimizer, resume)

    with run_folder(config, resume) as config:
        folder = Path(str(config.out))
        gradients = GradientLog(model, folder) if config.log_gradients else None
        ema = EMA(model, config.ema) if config.ema else None
        state = TrainingState(model, optimizer, schedule, ema, gradients, task.columns)
        if resume:
            check_same_data(folder, dataset)
            load_checkpoint(folder, config, state)
        remove_temporary_files(folder)
        complete = state.epoch > config.epochs and (folder / METRICS).exists()
        if not complete:
            write_json(folder / CONFIG, description(config, dataset, normalize))
        for watcher in watchers:
            watcher.start(config, dataset, state, origin)
        test = train_epochs(config, state, dataset, normalize, loader, watchers, stop)
        metrics = result(config, loader, model, state.history, test)
        if not complete:
            with saving(folder):
                task.write_report(folder, config, dataset, state.history, test)
                if gradients is not None:
                    gradients.draw(f"gradients of {config.model} on {config.data_name}")
                write_json(folder / METRICS, metrics)
        for watcher in watchers:
            watcher.end(metrics, test)
    return metrics


def train_epochs(
    config: Config,
    state: TrainingState,
    dataset: Dataset,
    normalize: Normalize,
    loader: Loader,
    watchers: Iterable[Progress],
    stop: Stop,
) -> Test:
    """Train, test and save the remaining epochs, and return the last test. Raises StoppedError after ``stop``."""
    folder = Path(str(config.out))
    test: Test | None = None
    while state.epoch <= config.epochs:
        epoch = state.epoch
        complete = train_epoch(config, state, loader, watchers, stop)
        if complete:
            test = evaluate_test_images(config, state.result, dataset, normalize)
            require_finite(test.loss, f"the test after epoch {epoch}", config)
            state.history.append(history_row(epoch, state.tally, test))
            state.start_epoch()
            with saving(folder):
                write_table(folder / HISTORY, state.columns, state.history)
                if state.gradients is not None:
                    state.gradients.epoch(epoch)
                if epoch % config.save_every == 0 or epoch == config.epochs:
                    save_checkpoint(folder, config, state)
            for watcher in watchers:
                watcher.epoch(epoch, state.history[-1])
        if not complete or (epoch < config.epochs and stop()):
            with saving(folder):
                save_checkpoint(folder, config, state)
            raise StoppedError(f"train: stopped and saved; continue the run in {folder} with resume=True.")
    # If a complete run was resumed, no epoch was left to train.
    return test or evaluate_test_images(config, state.result, dataset, normalize)


def evaluate_test_images(config: Config, model: Module, dataset: Dataset, normalize: Normalize) -> Test:
    """Test ``model`` on the test images, with the settings of ``config``."""
    return find(config.task).evaluate(config, model, dataset.test, normalize)


def history_row(epoch: int, tally: Tally, test: Test) -> Row:
    """Return the row of ``history.csv`` for an epoch."""
    accuracy = {"train_accuracy": tally.accuracy} if tally.judged else {}
    scores = {f"test_{name}": score for name, score in test.scores.items()}
    row = {"epoch": epoch, "lr": tally.lr, "train_loss": tally.loss, **accuracy, "test_loss": test.loss, **scores}
    return {**row, "seconds": tally.seconds}


def result(config: Config, loader: Loader, model: Module, history: list[Row], test: Test) -> dict[str, Any]:
    """Return the content of ``metrics.json``. Its ``train_seconds`` and ``images_per_second`` exclude evaluation."""
    train_seconds = sum(row["seconds"] for row in history)
    images = len(loader) * loader.batch_size if loader.drop_last else len(loader.split)  # in an epoch
    return {
        **{name: getattr(config, name) for name in ("task", "model", "data", "epochs", "seed", "device")},
        **test.metrics,
        "train_seconds": train_seconds,
        "images_per_second": config.epochs * images / train_seconds,
        "parameters": sum(parameter.size for parameter in model.parameters()),
        "out": config.out,
        "minires": __version__,
    }


def train_epoch(config: Config, state: TrainingState, loader: Loader, watchers: Iterable[Progress], stop: Stop) -> bool:
    """Train on the remaining batches of an epoch: forward, loss, backward and step for each.

    The modules stay in their modes: :func:`training_mode` chooses them before the first epoch, so a layer that a
    watcher puts in evaluation mode stays there. Returns whether the epoch is complete: False if ``stop`` ended it.
    """
    task, epoch, tally = find(config.task), state.epoch, state.tally
    loader.set_epoch(epoch, tally.batches)
    tally.start_clock()
    for batch, (images, targets) in enumerate(loader, start=tally.batches + 1):
        step = task.step(config, state.model, images, targets)
        where = f"epoch {epoch}, batch {batch} of {len(loader)}"
        require_finite(step.loss.item(), where, config)
        state.optimizer.zero_grad()
        step.loss.backward()
        if state.gradients is not None:
            state.gradients.batch(batch)
        if config.clip:
            norm = clip_grad_norm(state.optimizer.parameters, config.clip)
            require_finite(norm, where, config, what="the norm of the gradients")
        state.optimizer.step()
        state.schedule.step()
        if state.ema is not None:
            state.ema.update()

        tally.add(step, len(images))
        for watcher in watchers:
            watcher.batch(epoch, batch, len(loader), tally)
        if batch < len(loader) and stop():
            return False
    return True


def require_finite(value: float, where: str, config: Config, what: str = "the loss") -> None:
    """Raise RunError if ``value`` is NaN or infinite: later steps could not repair the weights."""
    if not math.isfinite(value):
        raise RunError(f"training stopped at {where}: {what} is {value}; lower --lr (it is {config.lr:g}).")
