"""Folders in the formats of Pascal VOC and YOLO, images with masks, and which reader a folder gets."""

import re
import shutil
import xml.etree.ElementTree as ElementTree

import annotated_files as files
import numpy as np
import pytest
from annotated_files import coco_folder, voc_folder, write_palette, xml, yolo_folder
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from minires.data.annotated_folder import annotated_folder, masks_folder
from minires.data.voc import CLASSES, read_objects, voc
from minires.data.yolo import yolo
from minires.errors import ArgumentError, DataError


def refused(call, message):
    with pytest.raises(DataError, match=message) as caught:
        call()
    text = str(caught.value)
    assert "\n" not in text and text.endswith(".") and len(text) <= 1000


# Pascal VOC


def test_voc_boxes(tmp_path):
    dataset = voc(voc_folder(tmp_path))
    assert dataset.classes == CLASSES and len(dataset.train) == 2 and len(dataset.test) == 1
    first, second = dataset.train.objects
    assert first.boxes.tolist() == [[2, 3, 12, 11], [0, 0, 30, 20]], "pixels are counted from 1"
    assert [CLASSES[label] for label in first.labels] == ["dog", "cat"]
    assert first.crowd.tolist() == [False, True], "what is difficult counts as a crowd"
    assert len(second) == 0 and dataset.test.objects[0].boxes.tolist() == [[1, 1, 9.5, 9]]
    assert voc(tmp_path, size=(10, 60)).train.objects[0].boxes[0].tolist() == [4, 1.5, 24, 5.5]


def test_voc_masks(tmp_path):
    dataset = voc(voc_folder(tmp_path), "segmentation")
    assert dataset.classes == ("background", *CLASSES)
    images, masks = dataset.train[np.array([1, 0])]
    expected = np.zeros((20, 30), np.uint8)
    expected[2:5, 3:9], expected[5, 3:9] = 9, 255
    np.testing.assert_array_equal(masks[0], expected)
    assert masks[1].max() == 255 and 8 in masks[1] and images.shape == (2, 3, 20, 30)
    _, small = voc(tmp_path, "segmentation", size=(10, 15), in_memory=False).train[np.array([1])]
    np.testing.assert_array_equal(small[0], expected[1::2, 1::2])


def test_voc_of_other_classes_and_lists(tmp_path):
    root = voc_folder(tmp_path)
    (root / "Annotations" / "c.xml").write_text(xml(("tree", (1, 1, 5, 5), 0), size=""))
    assert voc(root).classes == ("cat", "dog", "tree"), "the names that occur"
    (root / "classes.txt").write_text("dog\ncat\n")
    refused(lambda: voc(root), "lacks the classes tree")
    (root / "classes.txt").write_text("tree\ndog\ncat\nbush\n")
    assert voc(root).test.objects[0].labels.tolist() == [0]
    lists = root / "ImageSets" / "Main"
    (lists / "train.txt").rename(lists / "trainval.txt")
    (lists / "val.txt").rename(lists / "test.txt")
    assert (len(voc(root).train), len(voc(root).test)) == (2, 1)
    for file in lists.iterdir():
        file.unlink()
    refused(lambda: voc(root), "has 3 images; training and test need at least five")
    for stem in "defg":
        files.image(root / "JPEGImages" / f"{stem}.PNG")
        (root / "Annotations" / f"{stem}.xml").write_text(xml(("dog", (1, 1, 5, 5), 0)))
    assert [len(voc(root).train), len(voc(root).test)] == [6, 1]


BOMB = '<!DOCTYPE a [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]>'


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "no element found"),
        ("<annotation>", "no element found"),
        ("<html/>", "its root is <html>"),
        (BOMB + "<annotation><object><name>&b;</name></object></annotation>", "it has a DOCTYPE"),
        ('<!DOCTYPE a SYSTEM "file:///etc/passwd"><annotation/>', "it has a DOCTYPE"),
        ((BOMB + "<annotation/>").encode("utf-16"), "it has a DOCTYPE"),
        ('<?xml version="1.0" encoding="klingon"?><annotation/>', "unknown encoding"),
        ("<annotation>" + "<a>" * 100_000, "elements within each other"),
        ("<annotation>" + " " * 2_000_000 + "</annotation>", "more than 1,000,000 bytes"),
        ("<annotation>&nothing;</annotation>", "undefined entity"),
        (xml(("dog", ("x", 1, 5, 5), 0)), "<xmin> of object 1 is 'x', not a finite number"),
        (xml(("dog", (1, "nan", 5, 5), 0)), "<ymin> of object 1 is 'nan'"),
        (xml(("dog", (1, 1, 5, "inf"), 0)), "<ymax> of object 1 is 'inf'"),
        (xml(("dog", (9, 1, 5, 5), 0)), r"object 1 \(dog\) has the box \[8, 0, 5, 5\] .* no area"),
        (xml(("dog", (41, 1, 50, 5), 0)), r"object 1 \(dog\) has the box .* outside of the image"),
        (xml(("", (1, 1, 5, 5), 0)), "object 1 has no name"),
        ("<annotation><object><name>dog</name></object></annotation>", "object 1 has no name or no bndbox"),
        (xml(size="<size><width>31</width><height>20</height></size>"), "a.jpg is 20x30 .* a.xml says 20x31"),
        (xml(size="<size><width>-3</width><height>20</height></size>"), "the image is -3 wide and 20 high"),
        (xml(size="<size><width>1e9</width><height>20</height></size>"), "1e.09 wide"),
        (xml(size="<size><width></width></size>"), "<height> of size is ''"),
    ],
)
def test_damaged_xml(tmp_path, content, message):
    root = voc_folder(tmp_path)
    file = root / "Annotations" / "a.xml"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    refused(lambda: voc(root), message)


def test_other_damage_of_voc(tmp_path):
    root = voc_folder(tmp_path)
    lists = root / "ImageSets" / "Main" / "train.txt"
    for content, message in (("a\n../b\n", "without a folder"), ("a\na\n", "the name a twice"), ("a\nz\n", "z.xml")):
        lists.write_text(content)
        refused(lambda: voc(root), message)
    lists.write_text("\n")
    refused(lambda: voc(root), "has images for val, but none for train")
    lists.write_text("a\nb\n")
    (root / "classes.txt").write_text("dog\ncat\ndog\n")
    refused(lambda: voc(root), "has two classes named 'dog'")
    (root / "classes.txt").unlink()
    (root / "JPEGImages" / "b.jpg").unlink()
    refused(lambda: voc(root), "there is no image .*b.jpg or .png")
    refused(lambda: voc(root, "segmentation"), "there is no image")
    files.image(root / "JPEGImages" / "b.jpg", 20, 31)
    refused(lambda: voc(root, "segmentation", size=8), "b.png is 20x30, but its image b.jpg is 20x31")
    (root / "SegmentationClass" / "a.png").unlink()
    refused(lambda: voc(root, "segmentation"), "there is no mask .*a.png")


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 2**32 - 1))
def test_any_xml_is_read_or_refused(tmp_path, seed):
    rng = np.random.default_rng(seed)
    content = bytearray(xml(("dog", (3, 4, 12, 11), 0), ("cat", (1, 1, 30, 20), 1)).encode())
    for _ in range(rng.integers(1, 5)):
        content[rng.integers(len(content))] = int(rng.integers(256))
    file = tmp_path / "a.xml"
    file.write_bytes(content)
    try:
        size, objects = read_objects(file)
    except DataError as error:
        assert str(error).endswith(".") and "\n" not in str(error)
    else:
        assert size is None or min(size) > 0
        assert np.isfinite([box for _, box, _ in objects]).all()


def test_the_parser_would_expand_entities():
    """So the refusal of DOCTYPE is needed: this is what happens without it."""
    text = BOMB + "<annotation><name>&b;</name></annotation>"
    assert len(ElementTree.fromstring(text).findtext("name")) == 80


# YOLO


def test_yolo_boxes(tmp_path):
    dataset = yolo(yolo_folder(tmp_path))
    assert dataset.classes == ("car", "cat") and dataset.train.category_ids == (4, 9)
    first, second = dataset.train.objects
    np.testing.assert_allclose(first.boxes, [[12, 6, 18, 14], [0, 0, 6, 10]], atol=1e-4)
    assert first.labels.tolist() == [0, 1] and len(second) == 0, "without a text file, it is a background image"
    assert len(dataset.test) == 2


def test_yolo_polygons(tmp_path):
    root = yolo_folder(tmp_path, "9 0.1 0.1 0.5 0.1 0.5 0.6 0.1 0.6\n")
    dataset = yolo(root, "segmentation")
    assert dataset.classes == ("background", "car", "cat")
    _, masks = dataset.train[np.array([0, 1])]
    expected = np.zeros((20, 30), np.uint8)
    expected[2:12, 3:15] = 2
    np.testing.assert_array_equal(masks[0], expected)
    assert not masks[1].any()
    np.testing.assert_allclose(yolo(root).train.objects[0].boxes, [[3, 2, 15, 12]], atol=1e-4)
    with (root / "config.yaml").open("a") as file:
        file.write("skip_if_label_file_missing: true\n")
    assert len(yolo(root, "segmentation").train) == 1


@pytest.mark.parametrize(
    "names",
    [
        "names: [car, 'cat']",
        "names:\n- car\n- cat",
        'names:\n  - car # the first\n  - "cat"',
        "names:\n  0: car\n  1: cat",
    ],
)
def test_names_of_classes(tmp_path, names):
    root = yolo_folder(tmp_path, "1 0.5 0.5 0.2 0.4\n", "data.yml")
    (root / "data.yml").write_text(
        f"# settings\ntrain: ../images/train\nval: images/val\nnc: 2\n{names}\nmore:\n  a: b\n"
    )
    dataset = yolo(root)
    assert dataset.classes == ("car", "cat") and dataset.train.objects[0].labels.tolist() == [1]


def test_two_files_of_settings_and_the_task(tmp_path):
    """As in coco128-small: the images are beside a folder of boxes and a folder of polygons."""
    yolo_folder(tmp_path / "boxes")
    yolo_folder(tmp_path / "outlines", "9 0.1 0.1 0.5 0.1 0.5 0.6\n")
    (tmp_path / "boxes" / "images").rename(tmp_path / "images")
    shutil.rmtree(tmp_path / "outlines" / "images")
    assert len(yolo(tmp_path).train.objects[0]) == 2
    assert 2 in yolo(tmp_path, "segmentation").train.labels
    refused(lambda: yolo(tmp_path / "boxes"), "no such folder in .*; give the folder that holds both")
    (tmp_path / "outlines" / "labels" / "train" / "a.txt").write_text("9 0.5 0.5 0.1 0.1\n")
    refused(lambda: yolo(tmp_path), "holds 2 files .* not exactly one is for detection")


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("4 0.5 0.5 0.2 nan\n", "line 1 of .*a.txt has the box .* finite"),
        ("\n4 0.5 0.5 0.2 -0.1\n", "line 2 of .* no area"),
        ("4 0.5 0.5 0 0.1\n", "no area"),
        ("4 50 60 20 30\n", "has the number 60; all must be fractions"),
        ("4 2.5 0.6 0.2 0.3\n", "outside of the image, 1 wide and 1 high"),
        ("5 0.5 0.5 0.2 0.4\n", "has the class 5, which"),
        ("1" + "0" * 400 + " 0.5 0.5 0.2 0.4\n", "line 1"),
        ("car 0.5 0.5 0.2 0.4\n", "reads `car 0.5 0.5 0.2 0.4`"),
        ("4.0 0.5 0.5 0.2 0.4\n", "must be a class and four or more numbers"),
        ("4 0.5 0.5 0.2\n", "has 3 numbers after the class; a box has four"),
        ("4 0.1 0.1 0.2 0.2 0.3\n", "has 5 numbers after the class"),
        ("4 0.1 0.1 0.2 0.2 0.3 0.3 0.4\n", "three or more corners, x and y of each"),
        ("4 " + "0.5 " * 400_000 + "\n", "more than 100,000 corners"),
        ("4 " + "0.5 " * 2_000_000 + "\n", "more than 5,000,000 bytes"),
        ("4 0.5 0.5 0.2 0.4\n" * 2001, "more than 2,000 objects"),
    ],
)
def test_damaged_labels(tmp_path, lines, message):
    root = yolo_folder(tmp_path, lines)
    refused(lambda: yolo(root), message)


def test_bytes_that_are_not_text(tmp_path):
    root = yolo_folder(tmp_path)
    (root / "labels" / "train" / "a.txt").write_bytes(b"\xff\xfe4 0.5")
    refused(lambda: yolo(root), "a.txt cannot be read as text")
    refused(lambda: yolo(yolo_folder(tmp_path / "x"), "segmentation"), "boxes; segmentation needs polygons")


@pytest.mark.parametrize(
    ("settings_text", "message"),
    [
        ("train: images/train\nval: images/val\nnames:\n", "has no names of classes"),
        ("train: images/train\nval: images/val\nnames: []\n", "has no names of classes"),
        ("train: images/train\nval: images/val\nnames: 3\n", "line 3 .* reads `names: 3`"),
        ("train: images/train\nval: images/val\nnames:\n  0: a\n  0: b\n", "names the class 0 a second time"),
        ("train: images/train\nval: images/val\nnames:\n  0: a\n  1: a\n", "two classes the same name"),
        ("train: images/train\nval: images/val\nnames:\n  ? [a]\n", "it must be `  0: person`"),
        ("val: images/val\nnames: [a]\n", "does not say where the images are"),
        ("train: images/nowhere\nnames: [a]\n", "no such folder"),
        ("train: /etc\nnames: [a]\n", "no such folder"),
        ("train: labels/train\nnames: [a]\n", "must be called images"),
    ],
)
def test_damaged_settings(tmp_path, settings_text, message):
    root = yolo_folder(tmp_path)
    (root / "config.yaml").write_text(settings_text)
    refused(lambda: yolo(root), message)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 2**32 - 1))
def test_any_yolo_folder_is_read_or_refused(tmp_path, seed):
    root = tmp_path if (tmp_path / "images").exists() else yolo_folder(tmp_path)
    rng = np.random.default_rng(seed)
    original = {}
    for file in (root / "config.yaml", root / "labels" / "train" / "a.txt"):
        original[file] = file.read_bytes()
        content = bytearray(original[file])
        for _ in range(rng.integers(0, 4)):
            content[rng.integers(len(content))] = int(rng.choice([rng.integers(256), *b" \n.:-0#9"]))
        file.write_bytes(content)
    try:
        yolo(root)
    except DataError as error:
        assert str(error).endswith(".") and "\n" not in str(error)
    finally:
        for file, content in original.items():
            file.write_bytes(content)


# Images and masks


def masks_of(root, count=6):
    for number in range(count):
        files.image(root / "images" / f"{number}.jpg")
        mask = np.zeros((20, 30), np.uint8)
        mask[number : number + 3, 4:9], mask[0, 0] = 2, 255
        (root / "masks").mkdir(exist_ok=True)
        Image.fromarray(mask).save(root / "masks" / f"{number}.png")
    return root


def test_images_and_masks(tmp_path):
    dataset = masks_folder(masks_of(tmp_path))
    assert dataset.classes == ("background", "class 1", "class 2") and (len(dataset.train), len(dataset.test)) == (5, 1)
    _, masks = dataset.test[np.array([0])]
    assert (masks[0, 4:7, 4:9] == 2).all() and masks[0, 0, 0] == 255 and masks.sum() == 255 + 15 * 2
    assert dataset.train.labels.tolist() == [0, 2]
    (tmp_path / "classes.txt").write_text("sky\ntree\ncar\nroad\n")
    assert masks_folder(tmp_path, in_memory=False).classes == ("sky", "tree", "car", "road")
    for kind in ("images", "masks"):
        (tmp_path / kind).rename(tmp_path / "old")
        for part, names in (("train", "0123"), ("Val", "45")):
            (tmp_path / kind / part).mkdir(parents=True)
            for name in names:
                file = next((tmp_path / "old").glob(f"{name}.*"))
                file.rename(tmp_path / kind / part / file.name)
        (tmp_path / "old").rmdir()
    assert len(masks_folder(tmp_path).test) == 2


def test_masks_of_16_bits_or_with_a_transparent_palette_hold_class_numbers(tmp_path):
    root = masks_of(tmp_path)
    classes = np.array(Image.open(root / "masks" / "0.png"))
    Image.fromarray(classes.astype(np.uint16)).save(root / "masks" / "0.png")
    write_palette(root / "masks" / "1.png", classes)
    with Image.open(root / "masks" / "1.png") as palette:
        palette.load()
        palette.save(root / "masks" / "1.png", transparency=0)
    _, masks = masks_folder(root).train[np.arange(2)]
    np.testing.assert_array_equal(masks, [classes, classes])
    Image.fromarray(np.full((20, 30), 300, np.uint16)).save(root / "masks" / "0.png")
    refused(lambda: masks_folder(root), "0.png cannot be read: it has a pixel of 300; class numbers must be 0 to 254")


def test_black_and_white_masks_are_refused(tmp_path):
    root = masks_of(tmp_path)
    for file in (root / "masks").iterdir():
        Image.fromarray(np.array(Image.open(file), np.uint8).clip(0, 1) * 255).save(file)
    refused(lambda: masks_folder(root), "hold only 0 or 255, which means ignored; write 1 instead of 255")


def test_damaged_masks(tmp_path):
    root = masks_of(tmp_path)
    (root / "classes.txt").write_text("sky\ntree\n")
    refused(lambda: masks_folder(root), "0.png has a pixel of class 2, but the classes are 0 to 1")
    (root / "classes.txt").unlink()
    Image.new("RGB", (30, 20)).save(root / "masks" / "0.png")
    refused(lambda: masks_folder(root), "0.png cannot be read: its pixels are RGB, not class numbers")
    (root / "masks" / "0.png").write_bytes(b"x")
    refused(lambda: masks_folder(root), "0.png cannot be read: it is not an image")
    write_palette(root / "masks" / "0.png", np.zeros((20, 31), np.uint8))
    refused(lambda: masks_folder(root), "0.png is 20x31, but its image 0.jpg is 20x30")
    (root / "masks" / "0.png").unlink()
    refused(lambda: masks_folder(root), "there is no file .*0.png")
    (root / "masks" / "0.png").symlink_to("/etc/passwd")
    refused(lambda: masks_folder(root), "link out of the folder")
    refused(lambda: masks_folder(root / "masks"), "has 0 images")


# Which reader a folder gets


def test_each_format_is_recognised(tmp_path):
    for name, make, tasks in (
        ("coco", coco_folder, ("detection", "segmentation")),
        ("voc", voc_folder, ("detection", "segmentation")),
        ("yolo", yolo_folder, ("detection",)),
        ("masks", masks_of, ("segmentation",)),
    ):
        (tmp_path / name).mkdir()
        root = make(tmp_path / name)
        for task in tasks:
            dataset = annotated_folder(root, task, size=16)
            assert dataset.image_shape == (3, 16, 16) and dataset.name == name and dataset.train.task == task
    refused(lambda: annotated_folder(tmp_path / "masks", "detection"), "holds images, masks, but neither annotations")
    refused(
        lambda: annotated_folder(tmp_path / "coco" / "train", "segmentation"), "holds a.png, b.png.*or images and masks"
    )
    refused(
        lambda: annotated_folder(tmp_path / "nowhere", "detection"), re.escape(f"{tmp_path / 'nowhere'} does not exist")
    )
    with pytest.raises(ArgumentError, match="video"):
        annotated_folder(tmp_path, "video")
