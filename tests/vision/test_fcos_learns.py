"""Eight images that FCOS learns by heart, and an untrained network, which must not claim to see anything."""

import numpy as np
import pytest

import minires as mr
from minires import vision
from minires.data.annotated import Objects

SIZE = 64


def drawn_images(count, rng):
    """Images of one or two rectangles (class 0) and ellipses (class 1) on a plain background, with their objects."""
    images, of_images = rng.uniform(-0.5, 0.5, (count, 3, 1, 1)) + np.zeros((count, 3, SIZE, SIZE)), []
    y, x = np.mgrid[:SIZE, :SIZE] + 0.5
    for image in images:
        boxes, labels = [], []
        while len(boxes) < 1 + len(of_images) % 2:
            width, height = rng.integers(10, 36, 2)
            left, top = rng.integers(0, SIZE - width), rng.integers(0, SIZE - height)
            box, label = [left, top, left + width, top + height], rng.integers(2)
            if (vision.box_iou([box], boxes) > 0).any():
                continue
            u, v = (x - left) / width * 2 - 1, (y - top) / height * 2 - 1  # from -1 to 1 inside
            inside = u * u + v * v < 1 if label else np.maximum(abs(u), abs(v)) < 1
            image[:, inside] = rng.choice([-1, 1], (3, 1)) * rng.uniform(0.7, 1.5, (3, 1))
            boxes.append(box)
            labels.append(label)
        of_images.append(Objects(boxes, labels))
    return images.astype(np.float32), of_images


def coco_box(box):
    left, top, right, bottom = map(float, box)
    return [left, top, right - left, bottom - top]


def score(model, images, of_images):
    """The average precision of a model in evaluation mode."""
    truth = {
        "images": [{"id": n} for n in range(len(images))],
        "categories": [{"id": 0}, {"id": 1}],
        "annotations": [
            {"image_id": n, "category_id": int(label), "bbox": coco_box(box)}
            for n, objects in enumerate(of_images)
            for box, label in zip(objects.boxes, objects.labels, strict=True)
        ],
    }
    with mr.no_grad():
        found = vision.detect(model.eval()(mr.tensor(images)), (SIZE, SIZE), model.locations((SIZE, SIZE)))
    model.train()
    results = [
        {"image_id": n, "category_id": int(label), "bbox": coco_box(box), "score": float(value)}
        for n, of_image in enumerate(found)
        for box, value, label in zip(*of_image, strict=True)
    ]
    return vision.coco_map(results, truth)["AP"]


@pytest.mark.slow
@pytest.mark.parametrize(("strides", "steps"), [((4, 8, 16), 200), ((8,), 150)])
def test_eight_images_are_learnt_by_heart(strides, steps):
    mr.manual_seed(0)
    images, of_images = drawn_images(8, np.random.default_rng(0))
    model = vision.fcos("resnet8", num_classes=2, strides=strides)
    here, optimiser = model.locations((SIZE, SIZE)), mr.optim.AdamW(model.parameters(), 2e-3)
    schedule = mr.optim.CosineLR(optimiser, steps)
    for _ in range(steps):
        optimiser.zero_grad()
        vision.fcos_loss(model(mr.tensor(images)), of_images, here).total.backward()
        optimiser.step()
        schedule.step()
    assert score(model, images, of_images) >= 0.95


def test_an_untrained_network_finds_nothing():
    mr.manual_seed(0)
    images, of_images = drawn_images(2, np.random.default_rng(1))
    assert score(vision.fcos("resnet8", num_classes=2), images, of_images) == 0
