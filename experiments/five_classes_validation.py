"""Compare settings for fine-tuning on five classes, without using their test images.

    python experiments/five_classes_validation.py IMAGES --pretrained runs/cifar10 --out validation.csv

IMAGES is the folder of five_classes.py, and ``--pretrained`` a run of ResNet-20 on CIFAR-10. Cross-validation within
the 100 training images alone would be too optimistic: for the classes that CIFAR-10 has, these images were also used
for pretraining, and the network remembers them. Each network is therefore fine-tuned on four fifths of the training
images, as in ordinary cross-validation. For a new class, it is validated on the remaining fifth; for a class of
CIFAR-10, on a fifth of CIFAR-10's test images of that class, leaving out the test images of the folder. The score is
the mean of the accuracies of the classes.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from five_classes import ARMS

from minires import data
from minires.core.backend import manual_seed
from minires.data import Dataset, Loader, Split
from minires.training import Config
from minires.training.checkpoint import TrainingState
from minires.training.classification import evaluate
from minires.training.folder import write_table
from minires.training.loop import train_epoch
from minires.training.pretrained import freeze, load_pretrained, training_mode
from minires.training.recipe import load_data, make_model, make_optimizer, make_schedule, make_transform

FOLDS, REPEATS = 5, 2
KNOWN = {"bird": "bird", "car": "automobile", "cat": "cat", "dog": "dog"}  # maps the folder's names to CIFAR-10's
CANDIDATES = [
    {"freeze": "layer2"},
    {"freeze": "layer2", "flip_test": False},
    {"freeze": "layer2", "color_jitter": 0.0},
    {"freeze": "layer2", "color_jitter": 0.0, "lr": 0.01},
    {"freeze": "layer2", "color_jitter": 0.6},
    {"freeze": "layer2", "lr": 0.003},
    {"freeze": "layer2", "lr": 0.01},
    {"freeze": "layer2", "weight_decay": 5e-3},
    {"freeze": "layer2", "cutout": 12},
    {"freeze": "layer2", "mixup": 0.2},
    {"freeze": "layer1"},
    {"freeze": "backbone", "lr": 0.03},
]


def folds(five: Dataset, cifar10: Dataset, rng: np.random.Generator) -> Iterator[Dataset]:
    """Yield, for each fold, a data set: four fifths of the training images, and the validation images as ``test``."""
    tested = {image.tobytes() for image in five.test.images}
    unseen = np.array([image.tobytes() not in tested for image in cifar10.test.images])
    own = [rng.permutation(np.flatnonzero(five.train.labels == label)) for label in range(len(five.classes))]
    theirs = {
        name: rng.permutation(np.flatnonzero(unseen & (cifar10.test.labels == cifar10.classes.index(KNOWN[name]))))
        for name in KNOWN
    }
    for fold in range(FOLDS):
        held_out = [numbers[fold::FOLDS] for numbers in own]
        kept = np.setdiff1d(np.arange(len(five.train)), np.concatenate(held_out))
        images = [
            cifar10.test.images[theirs[name][fold::FOLDS]] if name in KNOWN else five.train.images[held_out[label]]
            for label, name in enumerate(five.classes)
        ]
        labels = np.repeat(np.arange(len(five.classes)), [len(part) for part in images])
        validation = Split(np.concatenate(images), labels)
        yield replace(five, train=Split(*five.train[kept]), test=validation)


def confusion(config: Config, dataset: Dataset) -> np.ndarray:
    """Fine-tune without a run folder, and return the confusion matrix (K, K) of ``dataset.test``."""
    manual_seed(config.seed)
    model = make_model(config, dataset)
    normalize, _ = load_pretrained(config, model, dataset)
    freeze(model, str(config.freeze))
    transform = make_transform(config, dataset, normalize)
    loader = Loader(dataset.train, config.batch_size, shuffle=True, seed=config.seed, transform=transform)
    optimizer = make_optimizer(config, model)
    state = TrainingState(model, optimizer, make_schedule(config, optimizer, len(loader)))
    training_mode(model)
    for _ in range(config.epochs):
        train_epoch(config, state, loader, [], stop=lambda: False)
        state.history.append({})
        state.start_epoch()
    return evaluate(model, dataset.test, normalize, flip=config.flip_test).confusion


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images", help="folder of images")
    parser.add_argument("--pretrained", required=True, help="run folder of a ResNet-20 trained on CIFAR-10")
    parser.add_argument("--out", type=Path, default=Path("results/five-classes/validation.csv"))
    options = parser.parse_args()

    five, cifar10 = load_data(options.images), data.load("cifar10")
    parts = [part for repeat in range(REPEATS) for part in folds(five, cifar10, np.random.default_rng(repeat))]
    rows = []
    for settings in CANDIDATES:
        config = replace(ARMS["fine-tuned"], weights=options.pretrained, **settings)
        counts = sum(confusion(replace(config, seed=seed), part) for seed, part in enumerate(parts))
        found = 100 * counts.diagonal() / counts.sum(axis=1)  # (K,), in %
        words = " ".join(f"{name}={value}" for name, value in settings.items())
        rows.append({"settings": words, "mean": found.mean(), **dict(zip(five.classes, found, strict=True))})
        print(f"{words:40} {found.mean():.1f} %", flush=True)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    write_table(options.out, list(rows[0]), rows)


if __name__ == "__main__":
    main()
