"""What pretraining is worth: 100 images of five classes, learned from scratch and by fine-tuning a CIFAR-10 network.

    minires train --config experiments/cifar10.toml --out runs/cifar10
    python experiments/five_classes.py IMAGES --pretrained runs/cifar10

IMAGES is a folder as ``minires.data.folder`` reads it, with 100 training images. Each arm is trained with five
seeds, and tested on the folder's test images and their mirror images after its last epoch. ``--out`` gets
``runs.csv``, ``table.md`` and ``accuracy.png``. Started again, it goes on where it was stopped.

No setting was chosen by the test images. For fine-tuning, five_classes_validation.py found none clearly
better; those of training from scratch are the usual ones for CIFAR, with more epochs because an epoch is five steps.
"""

from __future__ import annotations

import argparse
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import mean, stdev

from matplotlib.figure import Figure

from minires.interop.files import write_atomically
from minires.training import Config, train
from minires.training.folder import CONFIG, METRICS, read_json, write_table

SEEDS = range(5)
SCRATCH = Config(model="resnet20", epochs=60, batch_size=20, lr=0.1, schedule="cosine", flip_test=True, save_every=10)
ARMS = {
    "from scratch": replace(SCRATCH, augment=False),
    "from scratch, augmented": SCRATCH,
    "fine-tuned": replace(SCRATCH, epochs=30, lr=0.005, color_jitter=0.3),  # main() adds weights and frozen layers
}


@dataclass(frozen=True)
class Result:
    """A run: which it was, and its accuracy on the test images (0 to 1)."""

    arm: str
    seed: int
    test_accuracy: float
    train_seconds: float


def run(arm: str, config: Config) -> Result:
    """Train, go on with what was stopped, or read what was trained before."""
    folder = Path(str(config.out))
    complete = (folder / METRICS).exists()
    result = read_json(folder / METRICS) if complete else train(config, resume=(folder / CONFIG).exists())
    print(f"{arm}, seed {config.seed}: {100 * result['test_accuracy']:.1f} %", flush=True)
    return Result(arm, config.seed, result["test_accuracy"], result["train_seconds"])


def table(results: list[Result]) -> str:
    """Mean and standard deviation over the seeds, in Markdown."""
    lines = ["| | test accuracy | seeds | seconds a run |", "|---|---|---|---|"]
    for arm in ARMS:
        accuracies = [100 * result.test_accuracy for result in results if result.arm == arm]
        seconds = mean(result.train_seconds for result in results if result.arm == arm)
        lines.append(
            f"| {arm} | {mean(accuracies):.1f} ± {stdev(accuracies):.1f} % | {len(accuracies)} | {seconds:.0f} |"
        )
    return "\n".join(lines) + "\n"


def draw(results: list[Result], path: Path) -> None:
    """A dot for each seed, and a line at the mean of each arm."""
    figure = Figure(figsize=(6, 4), dpi=150, layout="constrained")
    axes = figure.subplots()
    for place, arm in enumerate(ARMS):
        accuracies = [100 * result.test_accuracy for result in results if result.arm == arm]
        axes.plot([place] * len(accuracies), accuracies, "o", color="#1f5fa8", alpha=0.6)
        axes.hlines(mean(accuracies), place - 0.2, place + 0.2, color="#1f5fa8")
        axes.annotate(f"{mean(accuracies):.1f} %", (place + 0.23, mean(accuracies)), va="center")
    axes.set_xticks(range(len(ARMS)), list(ARMS))
    axes.set_xlim(-0.5, len(ARMS) - 0.3)
    axes.set_ylim(0, 100)
    axes.set_ylabel("test accuracy in %")
    axes.set_title("100 training images: dots are seeds, lines their mean", loc="left", fontsize=10)
    axes.grid(axis="y", alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images", help="the folder of images")
    parser.add_argument("--pretrained", required=True, help="a run, or published weights, of ResNet-20 on CIFAR-10")
    parser.add_argument("--runs", type=Path, default=Path("runs/five-classes"), help="where the run folders go")
    parser.add_argument("--out", type=Path, default=Path("results/five-classes"), help="where the results go")
    options = parser.parse_args()

    results = []
    for arm, settings in ARMS.items():
        if arm == "fine-tuned":
            settings = replace(settings, weights=options.pretrained, freeze="layer2")
        for seed in SEEDS:
            out = options.runs / f"{arm.replace(', ', '-').replace(' ', '-')}-seed{seed}"
            results.append(run(arm, replace(settings, data=options.images, seed=seed, out=str(out))))

    options.out.mkdir(parents=True, exist_ok=True)
    rows = [asdict(result) for result in results]
    write_table(options.out / "runs.csv", list(rows[0]), rows)
    write_atomically(options.out / "table.md", table(results).encode())
    draw(results, options.out / "accuracy.png")
    print(f"\n{table(results)}")


if __name__ == "__main__":
    main()
