"""What ``minires train`` says at its end: what the network learned, and what to try next."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from typing import Any

import numpy as np

from .. import models
from ..training import Config, Evaluation
from .output import counted, option, percent, printable, times


def print_summary(config: Config, metrics: dict[str, Any], test: Evaluation, classes: tuple[str, ...]) -> None:
    """Say how the network does on the test images, and how to go on.

    Parameters
    ----------
    config : Config
        Of a complete run, with its folder.
    metrics : dict
        What ``metrics.json`` holds.
    test : Evaluation
        That of the last epoch.
    classes : tuple of str
    """
    images_of_class = test.confusion.sum(axis=1)
    total = int(images_of_class.sum())
    wrong = f"{test.errors:,} of {counted(total, 'image')} wrong"
    guess = percent(images_of_class.max() / total)

    print("\nwhat it learned")
    print(f"  test accuracy  {percent(test.accuracy)}, {wrong} (always the same answer: {guess})")
    print(f"  confused most  {most_confused(test, classes) or 'nothing'}")
    print(f"  time           {metrics['train_seconds']:.1f} s, {metrics['images_per_second']:,.0f} images/s")
    print(f"  run folder     {printable(str(config.out))}")
    print("\nwhat to try next")
    for command, purpose in next_commands(config):
        print(f"  {command}\n      {purpose}")


def most_confused(result: Evaluation, classes: tuple[str, ...], pairs: int = 3) -> str:
    """E.g. ``8 taken for 1 (3 times), 9 taken for 5 (once)``; empty without a mistake."""
    mistakes = result.confusion.copy()
    np.fill_diagonal(mistakes, 0)
    most = np.argsort(-mistakes, axis=None, kind="stable")[:pairs]
    return ", ".join(
        f"{printable(classes[true])} taken for {printable(classes[taken])} ({times(int(mistakes[true, taken]))})"
        for true, taken in zip(*np.unravel_index(most, mistakes.shape), strict=True)
        if mistakes[true, taken]
    )


def next_commands(config: Config) -> Iterator[tuple[str, str]]:
    """Commands that follow from the run, and what each is for."""
    folder = folder_as_word(config)
    yield f"minires evaluate {folder}", "how it does on each class"
    yield f"minires predict {folder} IMAGE_OR_FOLDER", "what it takes your own images for"
    if config.model.startswith("resnet"):
        twin, how = config.model.replace("resnet", "plain"), "without"
    else:
        twin, how = config.model.replace("plain", "resnet"), "with"
    if twin in models.names() and config.weights is None:  # which are those of this network
        command = f"minires train --model {twin} {options(config)}".rstrip()
        yield command, f"the same layers {how} shortcuts"


def options(config: Config) -> str:
    """The settings of the run, but for the model, as options of ``minires train``: those that are not its defaults."""
    words = []
    for name in config.differences(Config()):
        value = getattr(config, name)
        if isinstance(value, bool):
            words.append(option(name) if value else option(f"no_{name}"))
        elif name != "model":
            words.append(f"{option(name)} {shlex.quote(printable(str(value)))}")
    return " ".join(words)


def folder_as_word(config: Config) -> str:
    """The run folder as the shell wants it."""
    return shlex.quote(printable(str(config.out)))
