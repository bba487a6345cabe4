"""COCO's scores are those of pycocotools."""

import contextlib
import io

import numpy as np
import pytest

import minires as mr
from minires import vision

NAMES = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl")


def by_pycocotools(detections, ground_truth):
    coco, cocoeval = pytest.importorskip("pycocotools.coco"), pytest.importorskip("pycocotools.cocoeval")
    with contextlib.redirect_stdout(io.StringIO()):
        truth = coco.COCO()
        truth.dataset = ground_truth
        truth.createIndex()
        found = truth.loadRes(detections) if detections else coco.COCO()
        evaluation = cocoeval.COCOeval(truth, found, "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return dict(zip(NAMES, evaluation.stats.tolist(), strict=True))


def random_box(rng):
    size = rng.choice([8, 32, 96, 150])  # the limits between sizes, too
    return [*rng.integers(0, 40, 2).astype(float).tolist(), float(size), float(rng.choice([size, size / 2]))]


def random_case(rng):
    """Images and classes, some of them without objects; detections near objects, with equal scores and equal boxes."""
    images, classes = rng.permutation(20)[: rng.integers(1, 6)] + 1, rng.permutation(9)[: rng.integers(1, 4)] + 1
    annotations, detections = [], []
    for image in images:
        for category in classes:
            for _ in range(rng.choice([0, 0, 1, 2, 5])):
                box = random_box(rng)
                annotations.append({
                    "id": len(annotations) + 1, "image_id": int(image), "category_id": int(category), "bbox": box,
                    "area": box[2] * box[3] * rng.choice([1, 0.6]), "iscrowd": int(rng.random() < 0.2),
                })  # fmt: skip
                for _ in range(rng.choice([0, 1, 1, 3])):
                    shift = rng.choice([0, 0, 1, 4, 20], 4)
                    detections.append({
                        "image_id": int(image), "category_id": int(category),
                        "bbox": (np.array(box) + shift).tolist(), "score": float(rng.integers(1, 8) / 8),
                    })  # fmt: skip
            for _ in range(rng.choice([0, 0, 2, 130], p=[0.5, 0.3, 0.18, 0.02])):
                detections.append({
                    "image_id": int(image), "category_id": int(category), "bbox": random_box(rng),
                    "score": float(rng.integers(1, 8) / 8),
                })  # fmt: skip
    rng.shuffle(detections)
    return detections, {
        "images": [{"id": int(image)} for image in images],
        "categories": [{"id": int(category)} for category in classes],
        "annotations": annotations,
    }


@pytest.mark.parametrize("part", range(8))
def test_scores_are_those_of_pycocotools(part):
    for seed in range(25 * part, 25 * part + 25):
        detections, truth = random_case(np.random.default_rng(seed))
        ours = vision.coco_map(detections, truth)
        assert tuple(ours) == NAMES
        assert ours == pytest.approx(by_pycocotools(detections, truth), abs=1e-9), seed


def test_the_objects_themselves_score_one_and_nothing_scores_zero(rng):
    boxes = [[10, 10, 20, 20], [50, 5, 40, 40], [5, 60, 100, 100], [12, 10, 20, 20]]
    objects = [
        {"id": i + 1, "image_id": i // 2, "category_id": i % 2, "bbox": box, "area": box[2] * box[3], "iscrowd": 0}
        for i, box in enumerate(boxes)
    ]
    truth = {"images": [{"id": i} for i in range(3)], "categories": [{"id": 0}, {"id": 1}], "annotations": objects}
    oracle = [{"score": 0.5, **{key: one[key] for key in ("image_id", "category_id", "bbox")}} for one in objects]
    assert set(vision.coco_map(oracle, truth).values()) == {1.0}
    assert set(vision.coco_map([], truth).values()) == {0.0}
    assert set(vision.coco_map(oracle, {**truth, "annotations": []}).values()) == {-1.0}


TRUTH = {"images": [{"id": 1}], "categories": [{"id": 2}]}
FOUND = {"image_id": 1, "category_id": 2, "bbox": [0, 0, 1, 1], "score": 0.5}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image_id": 3}, "detection 0 has image_id 3, which ground_truth does not list; it has 1"),
        ({"category_id": "cat"}, "category_id 'cat'"),
        ({"image_id": [1]}, r"image_id \[1\]"),
        ({"bbox": [0, 0, 1]}, "bbox"),
        ({"bbox": [0, 0, -1, 1]}, "sides of at least 0"),
        ({"bbox": [0, 0, np.inf, 1]}, "finite"),
        ({"bbox": None}, "unreadable"),
        ({"score": np.nan}, "finite"),
        ({"score": "high"}, "unreadable"),
    ],
)
def test_a_detection_that_cannot_be_scored_is_refused(change, message):
    with pytest.raises(mr.errors.DataError, match=message):
        vision.coco_map([{**FOUND, **change}], TRUTH)


def test_ground_truth_without_lists_is_refused():
    with pytest.raises(mr.errors.DataError, match="needs a list 'categories'"):
        vision.coco_map([], {"images": [{"id": 1}]})
    with pytest.raises(mr.errors.DataError, match="all numbers or all text"):
        vision.coco_map([], {**TRUTH, "images": [{"id": 1}, {"id": "a"}]})
    with pytest.raises(mr.errors.DataError, match="annotation 0 has a missing"):
        vision.coco_map([], {**TRUTH, "annotations": [{"image_id": 1}]})
