"""COCO's files: boxes, classes, polygons and run lengths are those of the file, and damage is one sentence."""

import copy
import json
import time
import tracemalloc

import annotated_files as files
import numpy as np
import pytest
from annotated_files import annotation, coco_folder, instances, write_coco
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

import minires as mr
from minires.data.coco import coco
from minires.data.regions import Polygons, RunLengths, class_map, decoded, polygons, run_lengths
from minires.errors import ArgumentError, DataError


def test_boxes_classes_and_numbers(tmp_path):
    dataset = coco(coco_folder(tmp_path), in_memory=True)
    assert dataset.classes == ("car", "cat"), "in the order of the ids 3 and 7"
    split = dataset.train
    assert (split.task, split.ids, split.category_ids, len(split)) == ("detection", (10, 11), (3, 7), 2)
    images, (first, second) = split[np.array([0, 1])]
    assert images.shape == (2, 3, 20, 30) and images[0, :, 5, 5].tolist() == [9, 99, 199]
    assert first.boxes.tolist() == [[2, 3, 12, 11], [2, 3, 12, 11]] and first.labels.tolist() == [0, 1]
    assert len(second) == 0, "a background image is kept"
    assert dataset.augmentation.moves_targets and dataset.name == tmp_path.name


def test_boxes_are_resized_along(tmp_path):
    for in_memory in (True, False):
        dataset = coco(coco_folder(tmp_path), size=(40, 15), in_memory=in_memory)
        images, objects = dataset.train[np.array([0])]
        assert images.shape == (1, 3, 40, 15)
        np.testing.assert_allclose(objects[0].boxes[0], [1, 6, 6, 22])


def test_what_sticks_out_is_cut_and_counted(tmp_path):
    content = instances()
    content["annotations"] = [
        annotation(1, 10, bbox=(-0.5, 3, 10, 8)),
        annotation(2, 10, bbox=(25, 15, 5.25, 5)),
        annotation(3, 11, bbox=(5, 5, 0, 4)),
        annotation(4, 11, bbox=(5, 5, 3, 4), iscrowd=1),
    ]
    split = coco(coco_folder(tmp_path, content)).train
    assert split.objects[0].boxes.tolist() == [[0, 3, 9.5, 11], [25, 15, 30, 20]]
    assert split.objects[1].crowd.tolist() == [True]
    assert "2 boxes clipped, 1 box left out" in repr(split)


def test_masks(tmp_path):
    content = instances()
    content["annotations"] = [
        annotation(1, 10, 7, (0, 0, 20, 10)),
        annotation(2, 10, 3, (5, 5, 4, 3)),
        annotation(3, 10, 3, (2, 2, 26, 16), iscrowd=1),
    ]
    column = np.zeros((20, 30), bool)
    column[4:9, 3:5] = True  # counts are in the order of columns
    content["annotations"].append(
        annotation(4, 11, 7, segmentation={"size": [20, 30], "counts": [3 * 20 + 4, 5, 15, 5, 20 * 25 + 11]}, iscrowd=0)
    )
    for in_memory in (True, False):
        dataset = coco(coco_folder(tmp_path, content), "segmentation", in_memory=in_memory)
        assert dataset.classes == ("background", "car", "cat")
        _, masks = dataset.train[np.array([0, 1])]
        expected = np.zeros((20, 30), np.uint8)
        expected[2:18, 2:28] = 255
        expected[:10, :20] = 2
        expected[5:8, 5:9] = 1
        np.testing.assert_array_equal(masks[0], expected)
        np.testing.assert_array_equal(masks[1], column * 2)
        assert dataset.train.labels.tolist() == [0, 1, 2]


def test_parts_and_explicit_files(tmp_path):
    coco_folder(tmp_path)
    (tmp_path / "images").mkdir()
    for part in ("train", "val"):
        (tmp_path / part).rename(tmp_path / "images" / part)
    assert len(coco(tmp_path).test) == 2
    pair = "annotations/instances_train.json", "images/train"
    assert len(coco(tmp_path, train=pair, test=pair).test) == 2
    with pytest.raises(ArgumentError, match="give both train and test"):
        coco(tmp_path, train=pair)
    (tmp_path / "annotations" / "instances_val.json").rename(tmp_path / "annotations" / "instances_train2.json")
    with pytest.raises(DataError, match="two of them for train"):
        coco(tmp_path)


def test_one_file_gives_every_fifth_image_to_the_test(tmp_path):
    content = {"images": [], "categories": files.CATEGORIES, "annotations": []}
    for number in range(12):
        files.image(tmp_path / "train" / f"{number:02}.png")
        content["images"].append({"id": number, "file_name": f"{number:02}.png", "height": 20, "width": 30})
        content["annotations"].append(annotation(number, number))
    write_coco(tmp_path, content)
    dataset = coco(tmp_path)
    assert dataset.test.ids == (4, 9) and len(dataset.train) == 10


def damaged(change):
    content = instances()
    change(content)
    return content


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c["annotations"][0].update(bbox=[0, 0, float("nan"), 2]), "annotation 1 has the box .* finite"),
        (lambda c: c["annotations"][0].update(bbox=[0, 0, -3, 2]), "annotation 1 has the box .* no area"),
        (lambda c: c["annotations"][0].update(bbox=[40, 0, 3, 2]), "annotation 1 has the box .* outside of the image"),
        (lambda c: c["annotations"][0].update(bbox=[1, 2, 3]), "annotation 1 has bbox = .*; it must be x, y, width"),
        (lambda c: c["annotations"][0].update(bbox=[1, 2, 3, "4"]), "annotation 1 has bbox"),
        (lambda c: c["annotations"][0].update(bbox=[1, 2, 3, 1e308 * 10]), "annotation 1 has the box .* finite"),
        (lambda c: c["annotations"][0].pop("bbox"), "annotation 1 has bbox = None"),
        (lambda c: c["annotations"][0].update(category_id=5), "annotation 1 has the category 5; the ids are 3, 7"),
        (lambda c: c["annotations"][0].update(category_id=[5]), r"annotation 1 has the category \[5\]"),
        (lambda c: c["annotations"][0].update(image_id=5), "annotation 1 is of the image 5, which .* does not list"),
        (lambda c: c["annotations"][0].update(image_id={}), "annotation 1 is of the image {}"),
        (lambda c: c["annotations"][0].update(id=2), "annotation 2 has an id that .* another one has"),
        (lambda c: c["annotations"][0].update(id=[2]), r"annotation \[2\] has an id that is not an integer"),
        (lambda c: c["annotations"][0].update(iscrowd=2), "annotation 1 has iscrowd = 2"),
        (lambda c: c["annotations"].append(3), "no list of objects 'annotations'"),
        (lambda c: c.pop("images"), "no list of objects 'images'"),
        (lambda c: c["images"][0].update(id=11), "two images have the id 11"),
        (lambda c: c["images"][0].update(id="x"), "an image has the id 'x'"),
        (lambda c: c["images"][0].update(height=0), "height and width of image 10 are .0, 30."),
        (lambda c: c["images"][0].update(width=1e9), "height and width of image 10"),
        (lambda c: c["images"][0].update(width=31), r"a.png is 20x30 .* instances_train.json says 20x31"),
        (lambda c: c["images"][0].update(width=10**6, height=10**3), "image 10 has more than 40,000,000 pixels"),
        (lambda c: c["images"][0].update(file_name="../val/a.png"), "absolute or contains .."),
        (lambda c: c["images"][0].update(file_name="/etc/passwd"), "absolute or contains .."),
        (lambda c: c["images"][0].update(file_name="C:\\a.png"), "absolute or contains .."),
        (lambda c: c["images"][0].update(file_name="a\0.png"), "absolute or contains .."),
        (lambda c: c["images"][0].update(file_name="z.png"), "there is no file .*z.png"),
        (lambda c: c["images"][0].update(file_name="z" * 9999), "there is no file"),
        (lambda c: c["images"][0].update(file_name=None), "the name of a file is None"),
        (lambda c: c["categories"][0].update(id=3), "two categories with the id 3"),
        (lambda c: c["categories"][0].update(name="car"), "two categories"),
        (lambda c: c["categories"][0].update(name=""), "must have an id >= 0 and a name"),
        (lambda c: c["categories"].append({"id": 9, "name": "new"}), "has other categories"),
        (lambda c: c.update(annotations=[]), "none of the 2 train images of .* has an object that is not a crowd"),
        (lambda c: c.update(images=[], annotations=[]), "has images for val, but none for train"),
        (
            lambda c: [a.update(iscrowd=1) for a in c["annotations"]],
            "none of the 2 train images of .* has an object that is not a crowd",
        ),
    ],
)
def test_damage_is_one_sentence(tmp_path, change, message):
    coco_folder(tmp_path, damaged(change))
    with pytest.raises(DataError, match=message) as caught:
        coco(tmp_path)
    assert "\n" not in str(caught.value) and str(caught.value).endswith(".") and len(str(caught.value)) <= 1000


@pytest.mark.parametrize(
    ("segmentation", "message"),
    [
        (None, "must be polygons or run lengths"),
        ([], "has no polygon"),
        ([[1, 2, 3, 4]], "not a list of three or more corners"),
        ([[1, 2, 3, 4, 5, 6, 7]], "not a list of three or more corners"),
        ([[1, 2, 3, 4, 5, float("inf")]], "not a finite number"),
        ([[1, 2, 3, 4, 5, "6"]], "not a finite number"),
        ([3, 4, 5, 6, 7, 8], "not a list of three"),
        ([[0.5] * 2_000_000], "more than 100,000 corners"),
        ({"size": [30, 20], "counts": [600]}, r"size \[30, 20\], not \[20, 30\]"),
        ({"counts": [600]}, "size None"),
        ({"size": [20, 30], "counts": [599]}, "add up to 599 pixels, but the image has 600"),
        ({"size": [20, 30], "counts": [700, -100]}, "not integers from 0 to 600"),
        ({"size": [20, 30], "counts": [2**80]}, "not integers from 0 to 600"),
        ({"size": [20, 30], "counts": [0.5]}, "not integers from 0 to 600"),
        ({"size": [20, 30], "counts": {}}, "not integers from 0"),
        ({"size": [20, 30], "counts": "oooooooooooooooo"}, "not in COCO's compressed form"),
        ({"size": [20, 30], "counts": "a b"}, "not in COCO's compressed form"),
        ({"size": [20, 30], "counts": "o"}, "end in the middle"),
        ({"size": [20, 30], "counts": "0" * 2_000_000}, "more than 1,000,000 characters"),
    ],
)
def test_damaged_regions_are_one_sentence(tmp_path, segmentation, message):
    coco_folder(tmp_path, damaged(lambda c: c["annotations"][0].update(segmentation=segmentation)))
    with pytest.raises(DataError, match=message) as caught:
        coco(tmp_path, "segmentation")
    assert "annotation 1 has" in str(caught.value)


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[" * 100_000, b'{"a":' * 100_000, b"\xff\xfe", b"null", b"[]", b"3",
     b'{"images": 1' + b"0" * 9999 + b"}", b"version https://git-lfs.github.com/spec/v1", b'"a"'],
)  # fmt: skip
def test_what_is_no_annotation_file(tmp_path, content):
    coco_folder(tmp_path)
    write_coco(tmp_path, content)
    with pytest.raises(DataError, match=r"instances_train\.json") as caught:
        coco(tmp_path)
    assert "\n" not in str(caught.value)


def test_links_out_of_the_folder_are_refused(tmp_path):
    root = coco_folder(tmp_path / "data")
    files.image(tmp_path / "secret.png")
    (root / "train" / "a.png").unlink()
    (root / "train" / "a.png").symlink_to(tmp_path / "secret.png")
    with pytest.raises(DataError, match="a link out of the folder"):
        coco(root)


@pytest.mark.parametrize("text", ["[],", "{},", '{"a":1},', '"",', "1.5,", '{"a":[]},', '"\\u00e9",', '"\U0001f600",'])
def test_large_files_are_refused_before_they_take_memory(tmp_path, text):
    """The largest file of each kind that is not refused stays below the limit, here a hundredth of the real one."""
    coco_folder(tmp_path)
    module = __import__("sys").modules["minires.data.coco"]
    limit, module.MOST_MEMORY = module.MOST_MEMORY, 4_000_000
    try:
        refused = 0
        for megabytes in (0.05, 0.1, 0.2, 0.4, 0.8, 1.6):
            body = text * int(megabytes * 1e6 / len(text))
            write_coco(tmp_path, '{"images": [' + body.rstrip(",") + "]}")
            tracemalloc.start()
            try:
                module.read_instances(tmp_path / "annotations" / "instances_train.json")
            except DataError as error:
                refused += "MB of memory" in str(error)
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
            assert peak < 5_000_000
        assert refused
    finally:
        module.MOST_MEMORY = limit


def test_hostile_regions_take_little_time(tmp_path):
    """An outline of 100,000 corners, and many regions of one image."""
    rng = np.random.default_rng(0)
    begin = time.process_time()
    spiky = polygons("", [rng.uniform(-1e9, 1e9, 200_000).tolist()], 300, 300)
    spiky.sample(300, 300)
    assert time.process_time() - begin < 5
    content = damaged(lambda c: c.update(annotations=[annotation(n, 10) for n in range(2001)]))
    with pytest.raises(DataError, match="more than 2,000 objects"):
        coco(coco_folder(tmp_path, content))


def naive_inside(outline, x, y):
    """Even-odd rule for one point, by counting the edges that a ray to the left crosses."""
    inside = False
    for (x0, y0), (x1, y1) in zip(outline, np.roll(outline, -1, axis=0), strict=True):
        if (y0 <= y) != (y1 <= y) and x0 + (y - y0) / (y1 - y0) * (x1 - x0) <= x:
            inside = not inside
    return inside


def test_polygons_cover_the_centres_inside(rng):
    for corners in (3, 4, 7):
        outline = rng.uniform(-3, 14, (corners, 2))
        covered = polygons("", [outline.ravel().tolist()], 9, 11).sample(9, 11)
        expected = [[naive_inside(outline, x + 0.5, y + 0.5) for x in range(11)] for y in range(9)]
        np.testing.assert_array_equal(covered, expected)
    square = polygons("", [[2, 1, 7, 1, 7, 4, 2, 4], [0, 0, 1, 0, 1, 1, 0, 1]], 9, 11).sample(9, 11)
    expected = np.zeros((9, 11), bool)
    expected[1:4, 2:7] = expected[0, 0] = True
    np.testing.assert_array_equal(square, expected)
    twice = polygons("", [[4, 2, 14, 2, 14, 8, 4, 8]], 18, 22).sample(9, 11)
    np.testing.assert_array_equal(twice, np.pad(np.ones((3, 5), bool), ((1, 5), (2, 4))))


def test_run_lengths_of_another_size_are_sampled(rng):
    mask = rng.random((6, 8)) < 0.5
    flat = mask.T.ravel()
    ends = np.append(np.flatnonzero(np.diff(np.append(False, flat).astype(int))), len(flat))
    runs = RunLengths(6, 8, ends)
    np.testing.assert_array_equal(runs.sample(6, 8), mask)
    np.testing.assert_array_equal(runs.sample(12, 16), np.repeat(np.repeat(mask, 2, 0), 2, 1))
    np.testing.assert_array_equal(runs.sample(2, 4), mask[1::3, 1::2])


def test_the_smallest_is_in_front_and_crowds_behind():
    whole, left, dot = (polygons("", [[0, 0, w, 0, w, h, 0, h]], 4, 6) for w, h in ((6, 4), (3, 4), (1, 1)))
    seen = class_map([dot, whole, left, left], np.array([5, 1, 2, 3]), np.array([False] * 4), 4, 6)
    assert seen[0, 0] == 6 and seen[1, 0] == 4 and seen[0, 5] == 2, "of two equal ones, the last"
    crowd = class_map([dot, left, whole], np.array([5, 1, 2]), np.array([True, False, True]), 4, 6)
    assert crowd[0, 0] == 2 and crowd[3, 5] == 255


@pytest.mark.filterwarnings("ignore:__array__ implementation")
def test_like_pycocotools(rng):
    """Run lengths are equal; polygons differ only where the centre of a pixel is within 0.2 pixels of an outline."""
    masks = pytest.importorskip("pycocotools.mask")
    for _ in range(60):
        height, width = (int(n) for n in rng.integers(1, 70, 2))
        mask = (rng.random((height, width)) < rng.random()).astype(np.uint8)
        code = masks.encode(np.asfortranarray(mask))["counts"].decode()
        given_code = {"size": [height, width], "counts": code}
        np.testing.assert_array_equal(run_lengths("", given_code, height, width).sample(height, width), mask)
        given_list = {"size": [height, width], "counts": decoded("", code)}
        assert masks.decode(masks.frPyObjects(given_list, height, width)).tolist() == mask.tolist()
        outline = rng.uniform(0, 1, (int(rng.integers(3, 9)), 2)) * (width, height)
        flat = [outline.ravel().tolist()]
        theirs = masks.decode(masks.merge(masks.frPyObjects(flat, height, width))).astype(bool)
        ours = polygons("", flat, height, width).sample(height, width)
        begin, along = outline, np.roll(outline, -1, axis=0) - outline
        for row, column in np.argwhere(ours != theirs):
            point = np.array([column, row]) + 0.5
            where = np.clip(((point - begin) * along).sum(axis=1) / (along**2).sum(axis=1), 0, 1)
            assert np.hypot(*(begin + where[:, None] * along - point).T).min() < 0.2


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_any_change_is_read_or_refused(tmp_path, data):
    """Values anywhere in the file are replaced or removed; nothing but a DataError may come of it."""
    if not (tmp_path / "annotations").exists():
        coco_folder(tmp_path)
    content = copy.deepcopy(instances())
    odd = st.sampled_from(
        [
            None,
            True,
            -1,
            0,
            2**70,
            1e300,
            float("nan"),
            "",
            "a.png",
            "\ud800",
            [],
            {},
            [[]],
            [1, 2, 3, 4],
            {"size": [20, 30]},
        ]
    )
    for _ in range(data.draw(st.integers(1, 3))):
        place = content
        while True:
            keys = list(place) if isinstance(place, dict) else list(range(len(place)))
            if not keys:
                break
            key = data.draw(st.sampled_from(keys))
            if isinstance(place[key], (dict, list)) and data.draw(st.booleans()):
                place = place[key]
                continue
            if data.draw(st.booleans()):
                place[key] = copy.deepcopy(data.draw(odd))
            else:
                place.pop(key)
            break
    write_coco(tmp_path, content)
    for task in ("detection", "segmentation"):
        try:
            images, targets = coco(tmp_path, task).train[np.array([0])]
        except DataError as error:
            assert "\n" not in str(error) and str(error).endswith(".")
        else:
            assert images.shape == (1, 3, 20, 30) and len(targets) == 1


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 2**32 - 1))
def test_any_bytes_are_read_or_refused(tmp_path, seed):
    if not (tmp_path / "annotations").exists():
        coco_folder(tmp_path)
    rng = np.random.default_rng(seed)
    content = bytearray(json.dumps(instances()).encode())
    for _ in range(rng.integers(1, 5)):
        content[rng.integers(len(content))] = int(rng.integers(256))
    write_coco(
        tmp_path,
        bytes(content[: rng.integers(len(content) // 2, len(content) + 1)]) if seed % 3 == 0 else bytes(content),
    )
    try:
        coco(tmp_path)
    except DataError as error:
        assert "\n" not in str(error) and str(error).endswith(".")


def test_options(tmp_path):
    coco_folder(tmp_path)
    for options, message in (
        ({"task": "video"}, "video"), ({"size": 0}, "size is 0"), ({"channels": 2}, "channels is 2"),
        ({"in_memory": 3}, "in_memory is 3"),
    ):  # fmt: skip
        with pytest.raises(ArgumentError, match=message):
            coco(tmp_path, **options)
    with pytest.raises(DataError, match="does not exist"):
        coco(tmp_path / "nowhere")
    with pytest.raises(DataError, match="is a file"):
        coco(tmp_path / "train" / "a.png")
    (tmp_path / "val" / "a.png").write_bytes(b"")
    with pytest.raises(DataError, match="it is empty"):
        coco(tmp_path)
    assert len(coco(tmp_path, size=8, in_memory=False).test) == 2, "a damaged image is noticed when it is read"
    Image.new("L", (30, 20)).save(tmp_path / "val" / "a.png")
    assert coco(tmp_path, channels=1).image_shape == (1, 20, 30)
    assert mr.data.coco is coco and isinstance(polygons("", [[0, 0, 1, 0, 1, 1]], 1, 1), Polygons)
