"""Fine-tuning: what is taken from another run or a published file, what is new, and what stays frozen."""

import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import minires as mr
from minires.data import Dataset, Split
from minires.errors import ArgumentError, RunError, StateDictError
from minires.training import Config, Progress, load_run, train
from minires.training.pretrained import freeze, load_pretrained, training_mode
from minires.training.recipe import make_model, make_optimizer

pytestmark = pytest.mark.usefixtures("no_figures")

HEAD = ("fc.weight", "fc.bias")


def even_and_odd():
    """The images of "few", darker, in two classes."""
    few = mr.data.load("few")
    train, test = (Split(split.images // 2, split.labels % 2) for split in (few.train, few.test))
    return Dataset("even", ("even", "odd"), train, test)


def some(dataset, classes):
    """The splits, with labels of this many classes."""
    return (Split(split.images, split.labels % classes) for split in (dataset.train, dataset.test))


@pytest.fixture(autouse=True)
def source(monkeypatch, trained):
    """A run that was trained on the ten digits."""
    monkeypatch.setitem(mr.data.DATASETS, "even", even_and_odd)
    return shutil.copytree(trained, "source")


@pytest.fixture
def tuned(source):
    return Config(data="even", epochs=2, batch_size=32, lr=0.05, warmup=0, out="tuned", weights=source)


def weights_of(folder):
    return mr.load(Path(folder) / "model.safetensors")


def as_published(state):
    """The names that the well-known CIFAR code uses, with DataParallel's prefix."""
    return {"module." + name.replace("fc.", "linear."): array for name, array in state.items()}


def loaded(config):
    mr.manual_seed(5)
    dataset = mr.data.load(config.data)
    model = make_model(config, dataset)
    first = model.state_dict()
    normalize, origin = load_pretrained(config, model, dataset)
    return first, model.state_dict(), normalize, origin


def test_new_classes_get_a_new_head_and_the_rest_is_that_of_the_run(tuned, source):
    first, state, normalize, origin = loaded(tuned)
    theirs = weights_of(source)
    for name, array in state.items():
        assert np.array_equal(array, first[name] if name in HEAD else theirs[name]), name
    assert state["fc.weight"].shape == (2, 64)
    assert normalize.mean == load_run(source).normalize.mean, "not that of the darker images"
    assert origin == "weights and normalisation of source (few), with a new head for 2 classes"


def test_the_same_classes_keep_the_head(tuned, source):
    _, state, _, origin = loaded(replace(tuned, data="few"))
    assert all(np.array_equal(array, weights_of(source)[name]) for name, array in state.items())
    assert origin == "weights and normalisation of source (few), with its head"


def test_known_classes_keep_their_rows_of_the_head(tuned, source, monkeypatch):
    few = mr.data.load("few")
    monkeypatch.setitem(mr.data.DATASETS, "even", lambda: Dataset("even", ("3", "new", "0"), *some(few, 3)))
    first, state, _, origin = loaded(tuned)
    theirs = weights_of(source)
    for name in HEAD:
        assert np.array_equal(state[name], [theirs[name][3], first[name][1], theirs[name][0]])
    assert origin.endswith("with a new head for 3 classes, of which it knows 3, 0")


def test_a_published_file_gets_a_new_head_and_the_normalisation_of_the_images(tuned, source):
    theirs = weights_of(source)
    mr.save("published.safetensors", as_published(theirs))
    for data in ("even", "few"):  # ten classes also get a new head: they may be others
        first, state, normalize, origin = loaded(replace(tuned, data=data, weights="published.safetensors"))
        for name, array in state.items():
            assert np.array_equal(array, first[name] if name in HEAD else theirs[name]), name
        assert normalize.mean == pytest.approx([(mr.data.load(data).train.images / 255).mean()])
        assert origin.startswith("weights of published.safetensors, with a new head for ")


def test_what_does_not_fit_is_said_before_there_is_a_folder(tuned, source, monkeypatch):
    mr.save("deeper.safetensors", as_published(mr.models.resnet14(in_channels=1).state_dict()))
    with pytest.raises(StateDictError, match=r"deeper.* left over module\.layer1\.1\.bn1\.bias.*another depth\?"):
        train(replace(tuned, weights="deeper.safetensors"))
    with pytest.raises(RunError, match="the run in source is a resnet8; a resnet14 cannot start from it"):
        train(replace(tuned, model="resnet14"))
    with pytest.raises(RunError, match=r"^nowhere is not a run folder: it has no config\.json"):
        Path("nowhere").mkdir()
        train(replace(tuned, weights="nowhere"))
    colour = Split(np.zeros((4, 3, 8, 8), np.uint8), np.arange(4) % 2)
    monkeypatch.setitem(mr.data.DATASETS, "colour", lambda: Dataset("colour", ("a", "b"), colour, colour))
    with pytest.raises(RunError, match="takes images of 1x8x8, but those of colour are 3x8x8; the first, the number"):
        train(replace(tuned, data="colour"))
    with pytest.raises(
        ArgumentError, match="freeze is 'layer9'; it must be conv1, bn1, layer1, layer2, layer3, or back"
    ):
        train(replace(tuned, freeze="layer9"))
    assert not Path("tuned").exists()


def test_frozen_layers_need_weights_from_somewhere():
    with pytest.raises(ArgumentError, match="freeze is 'layer1', but frozen layers would keep random weights"):
        Config(freeze="layer1")


@pytest.mark.parametrize(
    ("part", "frozen"),
    [
        ("bn1", ("conv1.", "bn1.")),
        ("layer2", ("conv1.", "bn1.", "layer1.", "layer2.")),
        ("backbone", ("conv1.", "bn1.", "layer1.", "layer2.", "layer3.")),
    ],
)
def test_frozen_parts_keep_every_bit_and_the_others_learn(tuned, source, part, frozen):
    """With weight decay and averaged weights; running statistics are among the arrays."""
    train(replace(tuned, freeze=part, ema=0.9))
    theirs, state = weights_of(source), weights_of("tuned")
    for name, array in state.items():
        if name not in HEAD:
            assert np.array_equal(array, theirs[name]) == name.startswith(frozen), name


def test_the_tape_ends_where_the_frozen_parts_end():
    model = mr.models.resnet8(in_channels=1)
    freeze(model, "layer2")
    training_mode(model)
    outputs = {}
    for name, part in model.named_children():
        part.register_forward_hook(lambda _, inputs, output, name=name: outputs.__setitem__(name, output))
    logits = model(mr.tensor(np.ones((2, 1, 8, 8), np.float32)))
    recorded = {name: output.op is not None for name, output in outputs.items()}
    assert recorded == {"conv1": False, "bn1": False, "layer1": False, "layer2": False, "layer3": True, "fc": True}
    mr.ops.sum(logits).backward()
    assert [name for name, parameter in model.named_parameters() if parameter.grad is not None] == [
        name for name, _ in model.named_parameters() if name.startswith(("layer3.", "fc."))
    ]
    assert [name for name, part in model.named_children() if part.training] == ["layer3", "fc"]


def test_the_optimiser_gets_what_learns(tuned):
    model = mr.models.resnet8()
    freeze(model, "backbone")
    for optimizer in ("sgd", "adamw"):
        assert make_optimizer(replace(tuned, optimizer=optimizer), model).parameters == [model.fc.weight, model.fc.bias]


def test_resumed_is_bit_for_bit_uninterrupted(tuned):
    class Stop(Progress):
        def epoch(self, epoch, row):
            if epoch == 1:
                raise KeyboardInterrupt

    tuned = replace(tuned, freeze="layer1", epochs=3)
    train(tuned)
    stopped = replace(tuned, out="stopped")
    with pytest.raises(KeyboardInterrupt):
        train(stopped, progress=Stop())
    mr.manual_seed(99)
    train(stopped, resume=True)
    whole, resumed = weights_of("tuned"), weights_of("stopped")
    assert all(whole[name].tobytes() == resumed[name].tobytes() for name in whole)
    assert load_run("stopped").normalize.mean == load_run("source").normalize.mean
    columns = ("train_loss", "test_loss")
    rows = [list(csv.DictReader(Path(out, "history.csv").read_text().splitlines())) for out in ("tuned", "stopped")]
    assert [[row[c] for c in columns] for row in rows[0]] == [[row[c] for c in columns] for row in rows[1]]


def test_the_run_does_not_need_its_source(tuned):
    train(replace(tuned, epochs=1))
    shutil.rmtree("source")
    run = load_run("tuned")
    assert run.classes == ("even", "odd") and run.config.weights == "source"
    assert json.loads(Path("tuned/config.json").read_text())["freeze"] is None
