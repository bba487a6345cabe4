"""Detection, segmentation and video use the loop of classification: run folders, resuming, fine-tuning."""

import csv
import json
from dataclasses import replace
from pathlib import Path

import few
import numpy as np
import pytest
from PIL import Image

import minires as mr
from minires.data.annotated import DetectionSplit, Objects, SegmentationSplit
from minires.data.dataset import Dataset
from minires.errors import ArgumentError, DataError, RunError, StoppedError
from minires.training import Config, load_run, train
from minires.training.task import TASKS, find

VISION = list(few.SIZES)
FIGURES = {
    "detection": {"curves.png", "detections.png"},
    "segmentation": {"curves.png", "segments.png"},
    "video": {"curves.png", "confusion.png"},
}
SCORES = {
    "detection": {"test_AP", "test_AP50", "test_AP75", "test_AR100", "test_loss"},
    "segmentation": {"test_mean_iou", "test_accuracy", "test_dice", "test_loss"},
    "video": {"test_accuracy", "test_error_percent", "test_loss"},
}


@pytest.fixture(autouse=True)
def in_empty_folder(monkeypatch, tmp_path):
    few.register(monkeypatch)
    monkeypatch.chdir(tmp_path)


def config_of(task, **settings):
    return Config(**{"task": task, "data": "few", "epochs": 2, "batch_size": 8, "out": "run", **settings})


@pytest.fixture(params=VISION)
def task(request):
    return request.param


def test_a_run_leaves_the_files_of_its_task(task):
    metrics = train(config_of(task))
    files = {"model.safetensors", "config.json", "history.csv", "metrics.json", "classes.csv", "checkpoint.safetensors"}
    assert {path.name for path in Path("run").iterdir()} == files | FIGURES[task]
    assert json.loads(Path("run/metrics.json").read_text()) == metrics
    assert metrics.items() >= {"task": task, "model": few.MODELS[task], "data": "few", "epochs": 2}.items()
    assert SCORES[task] <= set(metrics)
    with open("run/history.csv", newline="") as file:
        history = list(csv.DictReader(file))
    assert tuple(history[0]) == find(task).columns
    for score in find(task).scores:
        assert float(history[-1][f"test_{score}"]) == pytest.approx(metrics[f"test_{score}"], rel=1e-5)
    for name in FIGURES[task]:
        with Image.open(Path("run", name)) as figure:
            assert min(figure.size) > 90

    run = load_run("run")
    dataset = find(task).data_sets["few"]()
    assert run.image_shape == dataset.image_shape and run.classes == dataset.classes
    test = find(task).evaluate(run.config, run.model, dataset.test, run.normalize)
    assert test.metrics == {name: metrics[name] for name in test.metrics}
    assert [row["class"] for row in test.table(dataset.classes)] == list(dataset.classes)


@pytest.mark.slow
def test_a_stopped_run_continues_bit_for_bit(task):
    settings = {"model": few.MODELS[task].replace("deeplabv3plus", "fcn"), "ema": 0.9}
    train(config_of(task, **settings, out="whole"))
    stops = iter([False, False, True])
    with pytest.raises(StoppedError):
        train(config_of(task, **settings), stop=lambda: next(stops))
    train(config_of(task, **settings), resume=True)
    for name in ("model.safetensors", "classes.csv"):
        assert Path("run", name).read_bytes() == Path("whole", name).read_bytes()


@pytest.mark.slow
def test_the_images_move_with_their_targets_and_workers_change_no_bit(task):
    train(config_of(task, epochs=1))
    train(config_of(task, epochs=1, workers=2, out="helped"))
    train(config_of(task, epochs=1, augment=False, out="plain"))
    weights = [Path(folder, "model.safetensors").read_bytes() for folder in ("run", "helped", "plain")]
    assert weights[0] == weights[1]
    assert (weights[0] == weights[2]) == (find(task).data_sets["few"]().augmentation is None)


@pytest.mark.slow
def test_a_classifier_gives_its_backbone(task):
    mr.manual_seed(0)
    train(Config(data="few", model="resnet8", epochs=1, out="classifier"))
    learned = mr.load("classifier/model.safetensors")
    train(config_of(task, weights="classifier", freeze="backbone"))
    run = load_run("run")
    found = find(task).trunk(run.model).state_dict()
    for name, array in learned.items():
        if not name.startswith("fc."):  # frozen, with their running statistics
            np.testing.assert_array_equal(found[name], array)
    assert run.normalize.mean == load_run("classifier").normalize.mean


@pytest.mark.slow
def test_a_run_of_the_same_task_gives_all_weights_and_the_rows_of_known_classes(task, monkeypatch):
    train(config_of(task, epochs=1, out="first"))
    train(config_of(task, epochs=1, weights="first", lr=1e-12, weight_decay=0.0))
    first, second = (mr.load(f"{folder}/model.safetensors") for folder in ("first", "run"))
    learned = [name for name, _ in load_run("run").model.named_parameters()]
    for name in learned:
        np.testing.assert_allclose(second[name], first[name], atol=1e-8)

    shown = find(task).data_sets["few"]()
    renamed = replace(shown, classes=("new", *shown.classes[1:]))
    monkeypatch.setitem(find(task).data_sets, "renamed", lambda: renamed)
    train(config_of(task, epochs=1, data="renamed", weights="first", lr=1e-12, weight_decay=0.0, out="other"))
    other = mr.load("other/model.safetensors")
    head = [name for name in learned if name.startswith(find(task).head(load_run("run").model))]
    assert len(head) == 2
    for name in head:
        np.testing.assert_allclose(other[name][1:], first[name][1:], atol=1e-8)
    assert not np.allclose(other[head[0]][0], first[head[0]][0])


@pytest.mark.slow
def test_weights_that_do_not_fit_are_refused(task):
    train(Config(data="few", model="plain8", epochs=1, out="classifier"))
    with pytest.raises(RunError, match=r"is a plain8; a \w+_resnet8 cannot start from it"):
        train(config_of(task, weights="classifier"))
    other = VISION[VISION.index(task) - 1]
    train(config_of(other, epochs=1, out="other"))
    with pytest.raises(RunError, match=f"is one of {other}; {task} cannot start from it"):
        train(config_of(task, weights="other"))


def test_settings_of_other_tasks_are_refused(task):
    for name in ("mixup", "cutout", "flip_test", "dice"):
        if task != "segmentation" or name != "dice":
            value = {"cutout": 4, "flip_test": True}.get(name, 0.5)
            with pytest.raises(ArgumentError, match=f"{name} is {value}, but {task} does not take it"):
                config_of(task, **{name: value})
    with pytest.raises(ArgumentError, match=rf"there is no model 'resnet8'; .*hoose one of .*\b{few.MODELS[task]}, "):
        config_of(task, model="resnet8")
    with pytest.raises(ArgumentError, match="there is no data set or folder 'digits'; choose one of shapes"):
        config_of(task, data="digits")


def test_the_defaults_of_a_task():
    for name, entry in TASKS.items():
        config = Config(task=name)
        assert {key: getattr(config, key) for key in entry.defaults} == entry.defaults
    with pytest.raises(ArgumentError, match="there is no task 'detecton'; did you mean detection"):
        Config(task="detecton")


@pytest.mark.parametrize("task", ["detection", "segmentation"])
def test_classes_without_training_images_and_four_channels_can_be_trained(task, rng, monkeypatch):
    images = rng.integers(0, 255, (4, 4, 16, 16), np.uint8)
    boxes = DetectionSplit(images, [Objects([[2, 2, 9, 9]], [1])] * 4)
    split = boxes if task == "detection" else SegmentationSplit(images, np.ones((4, 16, 16), np.uint8))
    monkeypatch.setitem(find(task).data_sets, "sparse", lambda: Dataset("sparse", ("a", "b", "c"), split, split))
    train(config_of(task, data="sparse", epochs=1))
    assert Path("run/classes.csv").read_text().startswith("class,")


def test_dice_changes_the_loss_of_segmentation():
    train(config_of("segmentation", epochs=1))
    train(config_of("segmentation", epochs=1, dice=1.0, out="dice"))
    with open("run/history.csv") as plain, open("dice/history.csv") as dice:
        losses = [float(next(csv.DictReader(file))["train_loss"]) for file in (plain, dice)]
    assert losses[1] > losses[0] + 0.1


def test_ignored_pixels_and_empty_images_do_not_count(rng):
    """A batch of ignored pixels alone, and one without any object, have a loss of a number."""
    images = rng.integers(0, 256, (4, 3, 32, 32), dtype=np.uint8)
    masks = np.full((4, 32, 32), 255, np.uint8)
    masks[0, :8] = 1
    split = SegmentationSplit(images, masks)
    task = find("segmentation")
    model = task.build("fcn_resnet8", 3, 3)
    floats = images.astype(np.float32) / 255
    step = task.step(config_of("segmentation"), model, floats[1:], masks[1:])
    assert step.loss.item() == 0 and step.judged == 0
    normalize = mr.data.transforms.Normalize([0.5] * 3, [0.5] * 3)
    assert task.evaluate(config_of("segmentation"), model, split, normalize).confusion.sum() == 8 * 32

    objects = [Objects([], []), Objects([[2, 2, 20, 20]], [1]), Objects([], []), Objects([], [])]
    task = find("detection")
    model = task.build("fcos_resnet8", 3, 3)
    loss = task.step(config_of("detection"), model, floats[:1], objects[:1]).loss
    loss.backward()
    assert np.isfinite(loss.item()) and all(
        np.isfinite(p.grad.numpy()).all() for p in model.parameters() if p.grad is not None
    )
    test = task.evaluate(config_of("detection"), model, DetectionSplit(images, objects), normalize)
    assert test.coco["AP"] == 0 and test.by_class[0]["AP"] == -1
    assert [row["objects"] for row in test.table("abc")] == [0, 1, 0] and test.table("abc")[0]["AP"] is None


def test_a_folder_of_another_kind_is_refused(task, tmp_path):
    (tmp_path / "images" / "cats").mkdir(parents=True)
    Image.new("RGB", (32, 32)).save(tmp_path / "images" / "cats" / "a.png")
    with pytest.raises((DataError, ArgumentError)) as caught:
        train(config_of(task, data=str(tmp_path / "images")))
    assert "\n" not in str(caught.value)
