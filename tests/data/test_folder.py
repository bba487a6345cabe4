"""A folder of your own images, with sub-folders or a table; each mistake is reported in one sentence."""

import os
import struct
import zlib

import numpy as np
import pytest
from forbidden import forbid_opening
from PIL import Image

import minires as mr
from minires.data import folder
from minires.errors import ArgumentError, DataError


def save(path, value, size=(4, 3)):
    """A grey PNG of this width and height; its brightness identifies the image."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (value,) * 3).save(path)


def brightness(split):
    return split.images[:, 0, 0, 0].tolist()


def write_table(root, *rows, columns="file,class"):
    (root / "labels.csv").write_text("\n".join([columns, *rows]) + "\n", encoding="utf-8")


@pytest.fixture
def cats_and_dogs(tmp_path):
    """Six of each: 0.png to 5.png, of brightness 0 to 5 and 10 to 15."""
    for label, start in (("dog", 10), ("cat", 0)):
        for number in range(6):
            save(tmp_path / label / f"{number}.png", start + number)
    return tmp_path


def message_of(root, **options):
    with pytest.raises(DataError) as caught:
        folder(root, **options)
    message = str(caught.value)
    assert message.startswith("folder: ") and message.endswith(".") and "\n" not in message
    return message


def test_sub_folders_are_classes_and_every_fifth_image_tests(cats_and_dogs):
    save(cats_and_dogs / ".hidden" / "a.png", 99)
    (cats_and_dogs / "cat" / "notes.txt").write_text("no image")
    dataset = folder(cats_and_dogs)
    assert dataset.classes == ("cat", "dog") and dataset.name == cats_and_dogs.name
    assert brightness(dataset.train) == [0, 1, 2, 3, 5, 10, 11, 12, 13, 15]
    assert dataset.train.labels.tolist() == [0] * 5 + [1] * 5
    assert brightness(dataset.test) == [4, 14] and dataset.test.labels.tolist() == [0, 1]
    assert dataset.image_shape == (3, 3, 4) and repr(dataset.augmentation) == "Flip()"
    assert dataset.train.texts == ()


def test_folders_of_splits(tmp_path):
    for value, name in enumerate(("test/cat", "test/dog", "train/cat", "train/dog")):
        save(tmp_path / name / "a.png", value)
    dataset = folder(str(tmp_path))
    assert brightness(dataset.train) == [2, 3] and brightness(dataset.test) == [0, 1]
    assert dataset.test.labels.tolist() == [0, 1]


def test_a_table_with_splits_and_texts(tmp_path):
    for value in range(4):
        save(tmp_path / "p" / f"{value}.png", value)
    rows = [
        "p/3.png,dog,train,a dog,x",
        "p/0.png,cat,train,,x",
        'p/2.png,cat,test,"a cat, asleep",x',
        "p/1.png,dog,test,,x",
    ]
    write_table(tmp_path, *rows, columns="\ufefffile,class,split,text,source")
    dataset = folder(tmp_path)
    assert dataset.classes == ("cat", "dog")
    assert brightness(dataset.train) == [3, 0] and dataset.train.labels.tolist() == [1, 0]
    assert brightness(dataset.test) == [2, 1] and dataset.test.labels.tolist() == [0, 1]
    assert dataset.train.texts == ("a dog", "") and dataset.test.texts == ("a cat, asleep", "")


def test_a_table_without_splits(cats_and_dogs):
    write_table(cats_and_dogs, *[f"{label}/{i}.png,{label[0]}" for i in range(6) for label in ("dog", "cat")])
    dataset = folder(cats_and_dogs)
    assert dataset.classes == ("c", "d") and sorted(brightness(dataset.test)) == [4, 14]


def test_size_and_channels(cats_and_dogs):
    save(cats_and_dogs / "dog" / "9.png", 200, size=(7, 7))
    different = "9.png is 7x7, but the first image is 3x4; give a size, such as size=32 or --size 32, to"
    assert different in message_of(cats_and_dogs)
    assert folder(cats_and_dogs, size=5).image_shape == (3, 5, 5)
    assert folder(cats_and_dogs, size=(5, 6), channels=1).image_shape == (1, 5, 6)
    for options in ({"size": 0}, {"size": (1, 2, 3)}, {"size": "5"}, {"channels": 2}):
        with pytest.raises(ArgumentError, match=f"folder: {next(iter(options))} is"):
            folder(cats_and_dogs, **options)


def test_classes_that_are_empty_alone_or_not_there(tmp_path):
    assert "there is no folder" in message_of(tmp_path / "missing")
    for name in ("1.png", "labels.xlsx"):
        save(tmp_path / f"{name}.png", 1)
        (tmp_path / f"{name}.png").rename(tmp_path / name)
    assert "named after their classes (it holds 1.png, labels.xlsx); at least two" in message_of(tmp_path)
    (tmp_path / "labels.xlsx").rename(tmp_path / "labels.csv")
    (tmp_path / "labels.csv").write_bytes(b"PK\3\4" + bytes(99))
    assert "labels.csv cannot be read: it is a workbook; save it as a CSV file in UTF-8." in message_of(tmp_path)
    assert "labels.csv is a file; give the folder that holds it" in message_of(tmp_path / "labels.csv")
    for name in ("1.png", "labels.csv"):
        (tmp_path / name).unlink()
    assert "holds no images in folders named after their classes" in message_of(tmp_path)
    save(tmp_path / "cat" / "a.png", 1)
    assert "holds only the class cat; at least two" in message_of(tmp_path)
    (tmp_path / "dog").mkdir()
    assert "the class" in message_of(tmp_path) and "dog holds no images; add some or remove it" in message_of(tmp_path)
    save(tmp_path / "dog" / "a.png", 2)
    assert "has no test image" in message_of(tmp_path)


@pytest.mark.parametrize("name", ["train/dog", "test/dog"])
def test_an_empty_class_of_one_split(tmp_path, name):
    for other in {"train/cat", "test/cat", "train/dog", "test/dog"} - {name}:
        save(tmp_path / other / "a.png", 1)
    (tmp_path / name).mkdir()
    (tmp_path / name / "notes.txt").write_text("no image")
    expected = f"the class {tmp_path / name} holds no images (its files end in .txt); add some or remove it"
    assert expected in message_of(tmp_path)


def test_a_table_of_one_class(cats_and_dogs):
    write_table(cats_and_dogs, "cat/0.png,cat", "dog/0.png,cat")
    assert "holds only the class cat; at least two" in message_of(cats_and_dogs)
    write_table(cats_and_dogs)
    assert "labels.csv cannot be read: there are no rows below its header line." in message_of(cats_and_dogs)


def test_a_class_that_is_only_in_the_test(tmp_path):
    for name in ("train/cat", "test/cat", "test/dog"):
        save(tmp_path / name / "a.png", 1)
    assert "has no training image of the class dog" in message_of(tmp_path)


def test_images_that_cannot_be_read_are_named_together(cats_and_dogs):
    (cats_and_dogs / "cat" / "1.png").write_bytes(b"")
    for number in range(2, 6):
        (cats_and_dogs / "dog" / f"{number}.png").write_bytes(b"no image at all")
    message = message_of(cats_and_dogs)
    assert "4 of 10 images cannot be used: " in message, "those of the training set"
    assert "1.png cannot be read: it is empty; " in message and "3.png cannot be read: it is not an image" in message
    assert "4.png" not in message and message.endswith("; and 1 more.")


def test_every_kind_of_image_side_by_side(tmp_path):
    """All of them white: 16 bits, palette, CMYK, transparent, grey, black and white; a huge one is named."""
    white = {
        "rgb.png": Image.new("RGB", (4, 3), "white"),
        "grey.png": Image.new("L", (4, 3), 255),
        "bits.png": Image.new("1", (4, 3), 1),
        "palette.gif": Image.new("RGB", (4, 3), "white").convert("P"),
        "cmyk.jpg": Image.new("CMYK", (4, 3)),
        "transparent.png": Image.new("RGBA", (4, 3)),
        "sixteen.png": Image.fromarray(np.full((3, 4), 65535, np.uint16)),
    }
    for label in ("cat", "dog"):
        (tmp_path / label).mkdir()
        for name, image in white.items():
            image.save(tmp_path / label / name)
    for channels in (1, 3):
        dataset = folder(tmp_path, channels=channels)
        assert dataset.image_shape == (channels, 3, 4) and len(dataset.train) + len(dataset.test) == 14
        assert dataset.train.images.min() == dataset.test.images.min() == 255
    huge = bytearray((tmp_path / "dog" / "grey.png").read_bytes())
    huge[16:24] = struct.pack(">II", 100_000, 100_000)  # width and height, and the check sum of both
    huge[29:33] = struct.pack(">I", zlib.crc32(huge[12:29]))
    (tmp_path / "dog" / "grey.png").write_bytes(huge)
    assert "grey.png cannot be read: it has more than 40,000,000 pixels" in message_of(tmp_path)


def test_what_may_not_be_read_is_named(cats_and_dogs, monkeypatch):
    with monkeypatch.context() as patch:
        forbid_opening(patch, "3.png")
        message = message_of(cats_and_dogs)
    assert "2 of 10 images cannot be used" in message and "3.png cannot be read: Permission denied" in message
    with monkeypatch.context() as patch:
        patch.setattr(os, "listdir", forbidden)
        assert "cannot be listed: Permission denied" in message_of(cats_and_dogs)
    write_table(cats_and_dogs, "cat/0.png,cat")
    forbid_opening(monkeypatch, "labels.csv")
    assert "labels.csv cannot be read: Permission denied" in message_of(cats_and_dogs)


def forbidden(path):
    raise PermissionError(13, "Permission denied", path)


@pytest.mark.skipif(os.name == "nt", reason="links need a right there")
def test_links_out_of_the_folder_are_refused(cats_and_dogs, tmp_path_factory):
    outside = tmp_path_factory.mktemp("outside")
    save(outside / "secret.png", 1)
    (cats_and_dogs / "cat" / "within.png").symlink_to(cats_and_dogs / "cat" / "0.png")
    folder(cats_and_dogs)
    (cats_and_dogs / "cat" / "9.png").symlink_to(outside / "secret.png")
    message = message_of(cats_and_dogs)
    assert f"1 of 14 images in {cats_and_dogs} cannot be used: " in message
    assert f"9.png is a link out of the folder, to {outside}" in message
    write_table(cats_and_dogs, "cat/0.png,cat", "cat/9.png,dog")
    assert "9.png is a link out of the folder" in message_of(cats_and_dogs)
    (cats_and_dogs / "labels.csv").unlink()
    (cats_and_dogs / "cat" / "9.png").unlink()
    (cats_and_dogs / "elephant").symlink_to(outside, target_is_directory=True)
    assert "secret.png is a link out of the folder" in message_of(cats_and_dogs)


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("cat/99.png,cat", "line 2 names a missing file: cat/99.png"),
        ("cat,cat", "line 2 names a missing file: cat"),
        ("../cat/0.png,cat", r"line 2 has a path that is absolute or contains \.\.: \.\./cat/0\.png"),
        ("cat/../../x.png,cat", "line 2 has a path that is absolute or contains"),
        ("/etc/passwd,cat", r"line 2 has a path that is absolute or contains \.\.: /etc/passwd"),
        (r"C:\x.png,cat", "line 2 has a path that is absolute or contains"),
        (r"cat\..\..\x.png,cat", "line 2 has a path that is absolute or contains"),
        ("cat/0.png", "line 2 does not have as many cells as there are columns"),
        ("cat/0.png,cat,more", "line 2 does not have as many cells as there are columns"),
        ("cat/0.png,", "line 2 has no class"),
        (",cat", "line 2 has no file"),
    ],
)
def test_rows_that_cannot_be_used(cats_and_dogs, row, reason):
    write_table(cats_and_dogs, row, "cat/1.png,cat", "./cat/1.png,cat")
    with pytest.raises(
        DataError, match=rf"folder: 2 of 3 rows of .*labels.csv cannot be used: {reason}.*; line 4 names a"
    ):
        folder(cats_and_dogs)


def test_tables_that_cannot_be_used(cats_and_dogs):
    write_table(cats_and_dogs, "cat/0.png,cat", columns="file,label")
    assert "its header line reads `file,label`, but it must name the columns" in message_of(cats_and_dogs)
    write_table(cats_and_dogs, "cat/0.png,cat,tset", columns="file,class,split")
    assert "line 2 has the split 'tset', not train, val or test" in message_of(cats_and_dogs)
    (cats_and_dogs / "labels.csv").write_bytes(b"file,class\n\xe9.png,cat\n")
    assert "line 2 is not UTF-8 (it has the byte 0xe9); save the table as UTF-8." in message_of(cats_and_dogs)
    (cats_and_dogs / "labels.csv").write_bytes(b'file,class\n"open,cat\n')
    assert "labels.csv cannot be read: unexpected end of data" in message_of(cats_and_dogs)
    (cats_and_dogs / "labels.csv").write_bytes(b"")
    assert "labels.csv cannot be read: it is empty." in message_of(cats_and_dogs)


def test_a_folder_trains(cats_and_dogs):
    """The loader and the transforms take its splits."""
    dataset = folder(cats_and_dogs, size=8)
    transform = mr.data.transforms.Compose([dataset.augmentation, mr.data.transforms.Normalize.of(dataset.train)])
    images, labels = next(iter(mr.data.Loader(dataset.train, 10, seed=0, transform=transform)))
    assert images.shape == (10, 3, 8, 8) and images.dtype == np.float32 and labels.tolist() == [0] * 5 + [1] * 5


@pytest.mark.parametrize(("size", "padding"), [(7, 0), (8, 1), (32, 4), ((64, 40), 5)])
def test_training_images_are_moved_by_an_eighth_and_mirrored(cats_and_dogs, size, padding):
    expected = f"Compose(transforms=[PadCrop(padding={padding}), Flip()])" if padding else "Flip()"
    assert repr(folder(cats_and_dogs, size=size).augmentation) == expected


ROWS = [f"{label}/{i}.png,{label}" for i in range(6) for label in ("cat", "dog")]


@pytest.mark.parametrize(
    ("name", "text", "encoding"),
    [
        ("labels.csv", "file;class\n" + "\n".join(ROWS).replace(",", ";"), "utf-8"),
        ("labels.csv", "file\tclass\n" + "\n".join(ROWS).replace(",", "\t"), "utf-8"),
        ("labels.csv", "FILE,Class\r\n" + "\r\n".join(ROWS), "utf-8-sig"),
        ("labels.csv", "file, class\n" + "\n".join(ROWS).replace(",", " , "), "utf-8"),
        ("labels.csv", 'class, "file"\n' + "\n".join(f'"{row[:3]}", "{row[:-4]}"' for row in ROWS), "utf-8"),
        ("labels.csv", "# mine; file,class\n\nfile,class\n" + "\n\n , \n".join(ROWS), "utf-8"),
        ("labels.csv", "file,class\n" + "\n".join(ROWS), "utf-16"),
        ("Labels.CSV", "file,class\n" + "\n".join(ROWS), "utf-8"),
        ("labels.csv", "file,class\n" + "\n".join(ROWS).replace("/", "\\"), "utf-8"),
        ("labels.csv", "file,class\n" + "\n".join(ROWS).replace(",cat", ",\xa0cat  "), "utf-8"),
    ],
)
def test_tables_that_say_the_same_in_another_way(cats_and_dogs, name, text, encoding):
    (cats_and_dogs / name).write_bytes(text.encode(encoding))
    dataset = folder(cats_and_dogs)
    assert dataset.classes == ("cat", "dog")
    assert brightness(dataset.train) == [0, 1, 2, 3, 5, 10, 11, 12, 13, 15] and brightness(dataset.test) == [4, 14]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("\n".join(ROWS), "its header line reads `cat/0.png,cat`, but it must name the columns, as"),
        ("file,class,File\n", "it has the column file twice"),
        ("file class\n", "its header line reads `file class`"),
        ("\x1b[31m" + "a" * 5000, r"its header line reads `\\x1b\[31ma+\.\.\.a+`"),
        ("# only a comment\n", "it is empty"),
    ],
)
def test_tables_that_say_nothing(cats_and_dogs, text, reason):
    (cats_and_dogs / "labels.csv").write_text(text)
    with pytest.raises(DataError, match=rf"labels\.csv cannot be read: {reason}"):
        folder(cats_and_dogs)


@pytest.mark.parametrize(
    ("second", "third"), [("Val", None), ("TESTING", None), ("test", "valid"), ("eval", "Validation")]
)
def test_splits_of_a_table_by_other_names(cats_and_dogs, second, third):
    names = ["Training", "train", "train ", second, *([third] if third else [])]
    rows = [f"{label}/{i}.png,{label},{name}" for i, name in enumerate(names) for label in ("cat", "dog")]
    write_table(cats_and_dogs, *rows, columns="file,class,split")
    dataset = folder(cats_and_dogs)
    assert brightness(dataset.train) == [0, 10, 1, 11, 2, 12] and brightness(dataset.test) == [3, 13]
    assert (brightness(dataset.val) if dataset.val else None) == ([4, 14] if third else None)


@pytest.mark.parametrize("in_memory", [True, False])
@pytest.mark.parametrize(
    ("train", "test", "val"),
    [
        ("train", "test", None), ("Train", "Test", None), ("training", "testing", None), ("TRAIN", "eval", None),
        ("train", "val", None), ("train", "Valid", None), ("Training", "validation", None),
        ("training_set", "test_set", None),
        ("train", "test", "val"), ("Train", "Testing", "Validation"),
    ],
)  # fmt: skip
def test_folders_of_splits_by_other_names(tmp_path, train, test, val, in_memory):
    for start, name in ((0, train), (20, test), (40, val)):
        for value, label in enumerate(("cat", "dog") if name else ()):
            save(tmp_path / name / label / "a.png", start + value)
    (tmp_path / "annotations").mkdir()
    save(tmp_path / "__MACOSX" / "._a.png", 0)
    dataset = folder(tmp_path, in_memory=in_memory)
    parts = [dataset.train, dataset.test, *([dataset.val] if val else [])]
    assert dataset.classes == ("cat", "dog") and (dataset.val is None) == (val is None)
    assert [part[np.arange(2)][0][:, 0, 0, 0].tolist() for part in parts] == [[0, 1], [20, 21], [40, 41]][: len(parts)]


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ("cat/ dog/ test.", "cat dog"),
        ("cat/ dog/ Val. Test.", "cat dog"),
        ("car/ bus/ train/", "bus car train"),  # a class of vehicles
        ("train/a/ train/b/ test.", "holds test, train, but no val or test with a folder for each class; add it, or"),
        ("train/a/ train/b/", "holds only the folder train, which holds a, b; give"),
        ("data/train/a/ data/test/b/", "holds only the folder data, which holds test, train; give"),
        ("test/a/ val/b/", "holds test, val, but no train with"),
        ("train/ test/", "holds test, train, but no folders of classes in test, train"),
        ("train/a/ train/b/ test/a/ test/b/ cat/", "holds test, train with folders in them, but also cat; move"),
        ("cat/ dog/ test/cat/ test/dog/", "holds test with folders in them, but also cat, dog"),
        ("train/a/ Train/b/ test/a/", "holds Train, test, train, two of them for one split"),
        ("train/a/ val/a/ validation/b/ test/a/", "two of them for one split"),
        ("cat/ Cat/ dog/", "has the classes Cat and cat, which differ only by case"),
        ("train/cat/ train/dog/ test/Dog/", "has the classes Dog and dog, which differ only by case"),
    ],
)  # fmt: skip
def test_what_a_folder_holds_is_known_or_said(tmp_path, files, expected):
    for name in files.split():
        for i in range(5):
            save(tmp_path / name.replace(".", "/") / f"{i}.png", 1)
    if expected.startswith(("holds", "has", "two")):
        assert expected in message_of(tmp_path)
    else:
        dataset = folder(tmp_path)
        assert dataset.classes == tuple(expected.split()) and len(dataset.test) == len(dataset.classes)


def test_names_of_classes_are_compared_as_people_read_them(tmp_path):
    for name in ("caf\u00e9", "cafe\u0301", " dog", "dog"):
        for i in range(5):
            save(tmp_path / name / f"{name}{i}.png", 1)
    dataset = folder(tmp_path)
    assert dataset.classes == ("caf\u00e9", "dog") and len(dataset.train) == 16


@pytest.mark.parametrize("other", ["cat\u200b", "c\u200dat", "\uff43at", "Cat", "STRASSE"])
def test_names_of_classes_that_look_the_same(cats_and_dogs, other):
    first = "stra\u00dfe" if other == "STRASSE" else "cat"
    write_table(
        cats_and_dogs,
        *[f"{label}/{i}.png,{first if label == 'cat' else other}" for i in range(6) for label in ("cat", "dog")],
    )
    message = message_of(cats_and_dogs)
    assert "which differ only by case" in message or "which look the same" in message
    assert message.isprintable()


@pytest.mark.parametrize("name", ["a.jfif", "a.JPG", "a.PNG", "a.Jpeg"])
def test_suffixes_of_images(tmp_path, name):
    for label in ("cat", "dog"):
        for i in range(5):
            (tmp_path / label / str(i)).mkdir(parents=True)
            Image.new("RGB", (4, 3)).save(
                tmp_path / label / str(i) / name, "PNG" if "n" in name.lower()[2:] else "JPEG"
            )
    assert len(folder(tmp_path).train) == 8
