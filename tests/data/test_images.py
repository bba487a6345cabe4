"""Image files: every format that Pillow reads becomes bytes (C, H, W); other files raise an error."""

import os
import struct
import zlib

import numpy as np
import pytest
from forbidden import forbid_opening
from PIL import Image, PngImagePlugin

from minires.data.images import find, read
from minires.errors import ArgumentError, DataError

RED, WHITE = (255, 0, 0), (255, 255, 255)


def png(width, height, bits=8):
    """A PNG file of a grey image whose header claims this size, and whose data is incomplete."""

    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(9))) + chunk(b"IEND", b"")


def test_colour_and_grey(tmp_path, rng):
    path = tmp_path / "image.png"
    pixels = rng.integers(0, 256, (5, 7, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    colour = read(path)
    assert colour.dtype == np.uint8 and colour.flags.c_contiguous
    np.testing.assert_array_equal(colour, pixels.transpose(2, 0, 1))
    grey = read(path, channels=1)
    assert grey.shape == (1, 5, 7)
    np.testing.assert_allclose(grey[0], pixels @ [0.299, 0.587, 0.114], atol=1)
    with pytest.raises(ArgumentError, match="channels is 4; it must be 1"):
        read(path, channels=4)


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_16_bits_are_scaled_and_not_clipped(tmp_path, suffix):
    path = tmp_path / f"image.{suffix}"
    values = np.arange(64, dtype=np.uint16).reshape(8, 8) * 1040
    Image.fromarray(values).save(path)
    np.testing.assert_array_equal(read(path, channels=1)[0], values // 256)
    np.testing.assert_array_equal(read(path, channels=3)[2], values // 256)


def test_integers_of_32_bits_and_floats(tmp_path):
    path = tmp_path / "image.tif"
    values = np.linspace(0, 1, 12).reshape(3, 4)
    Image.fromarray((values * 65535).astype(np.int32)).save(path)
    np.testing.assert_allclose(read(path, 1)[0], values * 255, atol=1)
    Image.fromarray(values.astype(np.float32)).save(path)
    np.testing.assert_allclose(read(path, 1)[0], values * 255, atol=1)


@pytest.mark.parametrize(
    ("mode", "colour", "name", "expected"),
    [
        ("1", 1, "a.png", WHITE),
        ("L", 77, "a.png", (77, 77, 77)),
        ("LA", (77, 255), "a.png", (77, 77, 77)),
        ("LA", (77, 0), "a.png", WHITE),
        ("RGBA", (0, 0, 0, 0), "a.png", WHITE),
        ("RGBA", (255, 0, 0, 255), "a.webp", RED),
        ("CMYK", (0, 255, 255, 0), "a.jpg", RED),
        ("CMYK", (0, 255, 255, 0), "a.tif", RED),
        ("YCbCr", (255, 128, 128), "a.jpg", WHITE),
    ],
)
def test_modes(tmp_path, mode, colour, name, expected):
    Image.new(mode, (4, 3), colour).save(tmp_path / name, quality=100)
    image = read(tmp_path / name)
    assert image.shape == (3, 3, 4)
    np.testing.assert_allclose(image[:, 1, 1], expected, atol=3)


def test_a_half_transparent_pixel_is_half_white(tmp_path):
    Image.new("RGBA", (2, 2), (0, 0, 0, 128)).save(tmp_path / "a.png")
    np.testing.assert_allclose(read(tmp_path / "a.png"), 127, atol=1)


def test_palettes_and_animations(tmp_path):
    image = Image.new("P", (4, 3), 1)
    image.putpalette([9, 9, 9, *RED])
    image.save(tmp_path / "palette.png")
    assert tuple(read(tmp_path / "palette.png")[:, 0, 0]) == RED
    image.save(tmp_path / "transparent.png", transparency=1)
    assert tuple(read(tmp_path / "transparent.png")[:, 0, 0]) == WHITE
    image.save(tmp_path / "animated.gif", save_all=True, append_images=[Image.new("RGB", (4, 3), "blue")])
    assert tuple(read(tmp_path / "animated.gif")[:, 0, 0]) == RED


def test_a_camera_held_upright(tmp_path):
    image = Image.new("L", (4, 2))
    image.putpixel((0, 0), 255)
    for orientation, (row, column), shape in [(1, (0, 0), (2, 4)), (3, (1, 3), (2, 4)), (6, (0, 1), (4, 2))]:
        exif = image.getexif()
        exif[0x0112] = orientation
        image.save(tmp_path / "a.png", exif=exif)
        turned = read(tmp_path / "a.png", channels=1)[0]
        assert turned.shape == shape and turned[row, column] == 255 and turned.sum() == 255


def test_resized_to_height_and_width(tmp_path):
    Image.new("RGB", (40, 10), RED).save(tmp_path / "a.png")
    image = read(tmp_path / "a.png", channels=3, size=(5, 8))
    assert image.shape == (3, 5, 8) and (image[0] == 255).all() and not image[1:].any()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "there is no such file"),
        (b"", "it is empty"),
        (b"hello\n", "it is not an image"),
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:0",
            "it is a Git LFS pointer, not the file itself; run",
        ),
        (b"\n<!DOCTYPE html><title>Sign in</title>", "it is a web page; use the link that downloads the file itself"),
        (png(8, 8)[:40], "it is not an image"),
        (png(100, 100), "truncated"),
        (png(100_000, 100_000), "more than 40,000,000 pixels"),
        (png(10_000, 10_000), "more than 40,000,000 pixels"),
        (b"BM" + bytes(30), "BMP"),
        (b"GIF89a" + b"\xff" * 20, "cannot be read"),
    ],
)
def test_what_is_no_image_is_one_sentence(tmp_path, content, reason):
    path = tmp_path / "damaged.png"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        read(path)
    message = str(caught.value)
    assert message.startswith(f"image {path} cannot be read: ") and reason in message
    assert message.endswith(".") and "\n" not in message


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes with names")
def test_neither_a_pipe_nor_a_folder_is_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    for path, reason in ((tmp_path / "pipe.png", "there is no such file"), (tmp_path, "it is a folder")):
        with pytest.raises(DataError, match=reason):
            read(path)


def test_an_image_that_may_not_be_read(tmp_path, monkeypatch):
    Image.new("RGB", (4, 3), RED).save(tmp_path / "closed.png")
    forbid_opening(monkeypatch, "closed")
    with pytest.raises(DataError, match=r"closed\.png cannot be read: Permission denied\.$"):
        read(tmp_path / "closed.png")


def test_a_folder_is_walked_in_the_order_of_names(tmp_path):
    for name in ("b.png", "a.JPG", "z/2.tiff", "z/1.webp", "m/x.bmp", "notes.txt", ".hidden.png", ".git/a.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "z" / "circle").symlink_to(tmp_path, target_is_directory=True)
    names = [path.relative_to(tmp_path).as_posix() for path in find(tmp_path)]
    assert names == ["a.JPG", "b.png", "m/x.bmp", "z/1.webp", "z/2.tiff"]
    assert list(find(tmp_path / "notes.txt")) == [tmp_path / "notes.txt"], "a file that is named is tried"
    assert list(find(tmp_path / "missing")) == [tmp_path / "missing"]


def test_a_folder_that_cannot_be_listed_is_reported(tmp_path, monkeypatch):
    """It must not be treated as empty. (The tests may run as root, who can list everything.)"""
    (tmp_path / "closed").mkdir()
    (tmp_path / "a.png").touch()

    def forbidding(function):
        def call(path):
            if os.path.basename(path) == "closed":
                raise PermissionError(13, "Permission denied", path)
            return function(path)

        return call

    for name in ("scandir", "listdir"):
        monkeypatch.setattr(os, name, forbidding(getattr(os, name)))
    assert list(find(tmp_path)) == [tmp_path / "a.png", tmp_path / "closed"]
    with pytest.raises(DataError, match="closed cannot be read: Permission denied"):
        read(tmp_path / "closed")


def test_lab(tmp_path):
    """The red of sRGB has L = 54.3, a = 80.8, b = 69.9 (CIE 1976, white D50); bytes are 2.55 L, a + 128 and b + 128."""
    Image.new("LAB", (4, 3), (138, 209, 198)).save(tmp_path / "a.tif")
    np.testing.assert_allclose(read(tmp_path / "a.tif")[:, 1, 1], RED, atol=6)


def test_floats_of_other_ranges(tmp_path):
    values = np.array([[0, 51, 255], [np.nan, -np.inf, 7]], "f")
    Image.fromarray(values).save(tmp_path / "a.tif")
    np.testing.assert_array_equal(read(tmp_path / "a.tif", 1)[0], [[0, 51, 255], [0, 0, 7]])


def test_made_smaller_an_image_is_averaged(tmp_path):
    """A chessboard of pixels becomes grey when it is averaged; every 20th pixel alone would be black or white."""
    Image.fromarray(((np.indices((640, 320)).sum(axis=0) % 2) * 255).astype("u1")).save(tmp_path / "a.png")
    np.testing.assert_allclose(read(tmp_path / "a.png", 1, (32, 32)), 127.5, atol=1)


@pytest.mark.parametrize("size", [(1, 1), (1, 10_000), (10_000, 1)])
def test_any_size(tmp_path, size):
    Image.new("RGB", size, RED).save(tmp_path / "a.png")
    image = read(tmp_path / "a.png", size=(32, 32))
    assert image.shape == (3, 32, 32) and (image[0] == 255).all() and not image[1:].any()


def test_no_program_is_started_for_an_image(tmp_path):
    """Pillow would let Ghostscript run the program in an EPS file, whatever the name of the file."""
    Image.new("RGB", (4, 3), RED).save(tmp_path / "a.eps")
    (tmp_path / "a.eps").rename(tmp_path / "a.png")
    with pytest.raises(DataError, match="it is not an image"):
        read(tmp_path / "a.png")


def test_a_broken_link_half_a_jpeg_and_a_text_that_unpacks_without_end(tmp_path):
    (tmp_path / "link.png").symlink_to("nowhere")
    Image.new("RGB", (400, 300), RED).save(tmp_path / "half.jpg")
    os.truncate(tmp_path / "half.jpg", os.path.getsize(tmp_path / "half.jpg") // 2)
    text = PngImagePlugin.PngInfo()
    text.add_text("comment", " " * 10**7, zip=True)
    Image.new("RGB", (4, 3), RED).save(tmp_path / "text.png", pnginfo=text)
    for name in ("link.png", "half.jpg", "text.png"):
        with pytest.raises(DataError, match=rf"{name} cannot be read: "):
            read(tmp_path / name)
