"""Small folders in the formats of annotated images, for tests that damage them."""

import json

import numpy as np
from PIL import Image

CATEGORIES = [{"id": 7, "name": "cat"}, {"id": 3, "name": "car"}]  # class 0 is the car


def image(path, height=20, width=30, colour=(9, 99, 199)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (width, height), colour).save(path)


def annotation(number, picture, category=3, bbox=(2, 3, 10, 8), **more):
    x, y, w, h = bbox
    outline = [x, y, x + w, y, x + w, y + h, x, y + h]
    return {"id": number, "image_id": picture, "category_id": category, "bbox": list(bbox), "iscrowd": 0,
            "segmentation": [outline], "area": w * h, **more}  # fmt: skip


def instances():
    """Two images, of which the second has no objects."""
    images = [
        {"id": 10, "file_name": "a.png", "height": 20, "width": 30},
        {"id": 11, "file_name": "b.png", "height": 20, "width": 30},
    ]
    annotations = [annotation(1, 10), annotation(2, 10, 7)]
    return {"images": images, "categories": [dict(one) for one in CATEGORIES], "annotations": annotations}


def coco_folder(root, train=None, test=None):
    for part, content in (("train", train), ("val", test)):
        for name in ("a.png", "b.png"):
            image(root / part / name)
        write_coco(root, content or instances(), part)
    return root


def write_coco(root, content, part="train"):
    file = root / "annotations" / f"instances_{part}.json"
    file.parent.mkdir(exist_ok=True)
    if isinstance(content, bytes):
        file.write_bytes(content)
    else:
        file.write_text(content if isinstance(content, str) else json.dumps(content))
    return file


def xml(*objects, size="<size><width>30</width><height>20</height><depth>3</depth></size>"):
    found = "".join(
        f"<object><name>{name}</name><difficult>{difficult}</difficult><bndbox><xmin>{x1}</xmin><ymin>{y1}</ymin>"
        f"<xmax>{x2}</xmax><ymax>{y2}</ymax></bndbox></object>"
        for name, (x1, y1, x2, y2), difficult in objects
    )
    return f"<annotation><filename>a.jpg</filename>{size}{found}</annotation>"


def voc_folder(root):
    for stem in ("a", "b", "c"):
        image(root / "JPEGImages" / f"{stem}.jpg")
    (root / "Annotations").mkdir()
    (root / "Annotations" / "a.xml").write_text(xml(("dog", (3, 4, 12, 11), 0), ("cat", (1, 1, 30, 20), 1)))
    (root / "Annotations" / "b.xml").write_text(xml())
    (root / "Annotations" / "c.xml").write_text(xml(("cat", (2, 2, 9.5, 9), 0)))
    for kind in ("Main", "Segmentation"):
        (root / "ImageSets" / kind).mkdir(parents=True)
        (root / "ImageSets" / kind / "train.txt").write_text("a\nb\n")
        (root / "ImageSets" / kind / "val.txt").write_text("c\n")
    for number, stem in enumerate(("a", "b", "c")):
        mask = np.zeros((20, 30), np.uint8)
        mask[2:5, 3:9], mask[5, 3:9] = 8 + number, 255
        write_palette(root / "SegmentationClass" / f"{stem}.png", mask)
    return root


def write_palette(path, mask):
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = Image.fromarray(mask)
    picture.putpalette(list(range(256)) * 3)
    picture.save(path)


def yolo_folder(root, lines="4 0.5 0.5 0.2 0.4\n9 0.1 0.25 0.2 0.5\n", name="config.yaml"):
    for part in ("train", "val"):
        for stem in ("a", "b"):
            image(root / "images" / part / f"{stem}.png")
        (root / "labels" / part).mkdir(parents=True)
        (root / "labels" / part / "a.txt").write_text(lines)
    (root / name).write_text(
        "path: .\ntrain: images/train\nval: images/val  # the test\n\nnames:\n  9: cat\n  4: 'car'\n"
    )
    return root
