"""Compare training from scratch with fine-tuning a CIFAR-10 network, on 100 images of five classes.

    minires train --config experiments/cifar10.toml --out runs/cifar10
    python experiments/five_classes.py IMAGES --pretrained runs/cifar10

IMAGES is a folder that ``minires.data.folder`` can read, with 100 training images. Each arm is trained with five seeds
and tested after its last epoch, on the folder's test images and their mirror images. The script writes ``runs.csv``,
``table.md`` and ``accuracy.png`` to the folder ``--out``. If it is stopped, the same command continues it.

The test images were not used to choose any setting. For fine-tuning, five_classes_validation.py did not find clearly
better settings. Training from scratch uses the usual settings for CIFAR, but more epochs, because an epoch is only five
steps.
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
    "fine-tuned": replace(SCRATCH, epochs=30, lr=0.005, color_jitter=0.3),  # main() sets weights and freeze
}


@dataclass(frozen=True)
class Result:
    """One run and its accuracy on the test images (0 to 1)."""

    arm: str
    seed: int
    test_accuracy: float
    train_seconds: float


def run(arm: str, config: Config) -> Result:
    """Train, resume a stopped run, or read the result of a complete one."""
    folder = Path(str(config.out))
    complete = (folder / METRICS).exists()
    result = read_json(folder / METRICS) if complete else train(config, resume=(folder / CONFIG).exists())
    print(f"{arm}, seed {config.seed}: {100 * result['test_accuracy']:.1f} %", flush=True)
    return Result(arm, config.seed, result["test_accuracy"], result["train_seconds"])


def accuracies(results: list[Result], arm: str) -> list[float]:
    """Return the test accuracies of an arm in percent, one for each seed."""
    return [100 * result.test_accuracy for result in results if result.arm == arm]


def table(results: list[Result]) -> str:
    """Return a Markdown table of the mean and standard deviation over the seeds."""
    lines = ["| | test accuracy | seeds | seconds per run |", "|---|---|---|---|"]
    for arm in ARMS:
        found = accuracies(results, arm)
        seconds = mean(result.train_seconds for result in results if result.arm == arm)
        lines.append(f"| {arm} | {mean(found):.1f} ± {stdev(found):.1f} % | {len(found)} | {seconds:.0f} |")
    return "\n".join(lines) + "\n"


def draw(results: list[Result], path: Path) -> None:
    """Draw a dot for each seed and a line at the mean of each arm."""
    figure = Figure(figsize=(6, 4), dpi=150, layout="constrained")
    axes = figure.subplots()
    for place, arm in enumerate(ARMS):
        found = accuracies(results, arm)
        axes.plot([place] * len(found), found, "o", color="#1f5fa8", alpha=0.6)
        axes.hlines(mean(found), place - 0.2, place + 0.2, color="#1f5fa8")
        axes.annotate(f"{mean(found):.1f} %", (place + 0.23, mean(found)), va="center")
    axes.set_xticks(range(len(ARMS)), list(ARMS))
    axes.set_xlim(-0.5, len(ARMS) - 0.3)
    axes.set_ylim(0, 100)
    axes.set_ylabel("test accuracy in %")
    axes.set_title("100 training images: a dot for each seed, lines at the mean", loc="left", fontsize=10)
    axes.grid(axis="y", alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images", help="folder of images")
    parser.add_argument(
        "--pretrained", required=True, help="run folder or published weights of a ResNet-20 trained on CIFAR-10"
    )
    parser.add_argument("--runs", type=Path, default=Path("runs/five-classes"), help="folder for the run folders")
    parser.add_argument("--out", type=Path, default=Path("results/five-classes"), help="folder for the results")
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
