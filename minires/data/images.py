"""Reading image files as arrays, in any format of Pillow but EPS, with the channels and size that a network needs.

Importing this module imports Pillow, so import it only where images are read.
"""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError

from ..core.backend import Array
from ..errors import ArgumentError, DataError
from ..interop.files import PathLike, stand_in, start_of

# Folders are searched for files with these suffixes. A file that is given by name may have any suffix.
SUFFIXES = (".bmp", ".gif", ".jfif", ".jpe", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
logging.getLogger("PIL").addHandler(logging.NullHandler())  # it logs some errors that it also raises
MOST_PIXELS = 40_000_000  # reading takes about 10 bytes for each pixel
MODES = {1: "L", 3: "RGB"}  # Pillow's modes for grey and colour, keyed by the number of channels


def find(path: PathLike) -> Iterator[Path]:
    """Yield the images in a folder and its sub-folders, ordered by name, or ``path`` itself if it is not a folder.

    Hidden files and links to folders are skipped, so links cannot form a loop. A folder that cannot be listed is
    yielded itself, so that :func:`read` raises an error for it.
    """
    if not os.path.isdir(path):
        yield Path(path)
        return
    unlisted: list[Path] = []
    for folder, subfolders, files in os.walk(path, onerror=lambda error: unlisted.append(Path(error.filename))):
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        for name in sorted(files):
            if name.lower().endswith(SUFFIXES) and not name.startswith("."):
                yield Path(folder, name)
    yield from unlisted


def read(path: PathLike, channels: int = 3, size: tuple[int, int] | None = None) -> Array:
    """Read an image file as an array of bytes.

    The image is rotated upright according to its EXIF data. Transparent pixels become white. The upper 8 bits of 16-bit
    values are kept. Floats are assumed to be in [0, 1], or in [0, 255] if one of them is above 1. Of an animation, only
    the first frame is read. Shrinking averages over all pixels.

    Parameters
    ----------
    path : str or path
    channels : {1, 3}
        1 for a grey image, 3 for a colour image.
    size : (int, int), optional
        Height and width to resize to; the proportions are not kept. By default, the image keeps its size.

    Returns
    -------
    array of uint8, (C, H, W)

    Raises
    ------
    DataError
        If the file is missing, damaged, not an image, or larger than 40 million pixels.
    ArgumentError
        If ``channels`` is neither 1 nor 3.
    """
    if channels not in MODES:
        raise ArgumentError(f"images.read: channels is {channels!r}; it must be 1 (grey) or 3 (colour).")
    try:
        _check_file(path)
        image = _decode(path)
        if image.mode != MODES[channels]:
            image = image.convert(MODES[channels])
    except Exception as error:  # Pillow's decoders raise almost anything on damaged files
        raise DataError(f"image {os.fspath(path)} cannot be read: {_reason(path, error)}.") from error
    return _pixels(image, channels, size)


def resized(pixels: Array, size: tuple[int, int]) -> Array:
    """Resize an image (C, H, W) of bytes to ``size``, (height, width), with the same result as :func:`read`."""
    image = Image.fromarray(pixels[0] if len(pixels) == 1 else np.ascontiguousarray(pixels.transpose(1, 2, 0)))
    return _pixels(image, len(pixels), size)


def _pixels(image: Image.Image, channels: int, size: tuple[int, int] | None) -> Array:
    if size is not None:
        image = image.resize((size[1], size[0]), Image.Resampling.BILINEAR)
    pixels = np.asarray(image).reshape(image.height, image.width, channels)  # (H, W, C)
    return np.ascontiguousarray(pixels.transpose(2, 0, 1))  # (C, H, W)


def read_mask(path: PathLike) -> Array:
    """Read the class number of each pixel, uint8 (H, W): the values of a grey image, or the indices into a palette.

    Raises DataError if the file cannot be read, is a colour image, or has a pixel of more than 255.
    """
    try:
        _check_file(path)
        image = _loaded(path)
        if image.mode not in ("L", "P", "1") and not image.mode.startswith("I"):
            raise ValueError(f"its pixels are {image.mode}, not class numbers; save it in grey or with a palette")
        classes: Array = np.asarray(image)
        if classes.min() < 0 or classes.max() > 255:  # 16-bit or 32-bit integers
            wrong = classes.max() if classes.max() > 255 else classes.min()
            raise ValueError(f"it has a pixel of {wrong}; class numbers must be 0 to 254, or 255 for pixels to ignore")
    except Exception as error:
        raise DataError(f"mask {os.fspath(path)} cannot be read: {_reason(path, error)}.") from error
    return classes.astype(np.uint8)


def size_of(path: PathLike) -> tuple[int, int]:
    """Return height and width of an image as :func:`read` returns it, without decoding it.

    Raises DataError if the file cannot be read.
    """
    try:
        _check_file(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            Image.init()
            with Image.open(path, formats=[name for name in Image.ID if name != "EPS"]) as image:
                lies = image.getexif().get(0x0112, 1) >= 5  # the orientation of a camera that was turned by 90 degrees
                return (image.width, image.height) if lies else (image.height, image.width)
    except Exception as error:
        raise DataError(f"image {os.fspath(path)} cannot be read: {_reason(path, error)}.") from error


def _check_file(path: PathLike) -> None:
    """Raise an OSError with the reason if ``path`` is not a file."""
    if os.path.isdir(path):
        os.listdir(path)  # raises an error with the reason if it cannot be listed
        raise IsADirectoryError("it is a folder")
    if not os.path.isfile(path):
        raise FileNotFoundError("there is no such file")  # reading a pipe would block


def _loaded(path: PathLike) -> Image.Image:
    """Decode an image file, and turn the image upright."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # warnings about odd metadata, which do not affect the pixels
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        Image.init()
        # Pillow runs Ghostscript on EPS files, which is unsafe for files from unknown sources.
        with Image.open(path, formats=[name for name in Image.ID if name != "EPS"]) as image:
            if image.width * image.height > MOST_PIXELS:
                raise Image.DecompressionBombError
            image.load()
        ImageOps.exif_transpose(image, in_place=True)
        return image


def _decode(path: PathLike) -> Image.Image:
    """Decode an image file into an upright, opaque image with 8 bits per channel."""
    image = _loaded(path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about transparent palettes
        if image.mode.startswith(("I", "F")):
            return _eight_bits(image)
        if image.mode == "LAB":  # convert() does not support this mode
            profiles = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
            transform = ImageCms.buildTransform(*profiles, "LAB", "RGB")
            return ImageCms.applyTransform(image, transform) or image  # returns None only if it works in place
        if image.getbands()[-1] in "Aa" or "transparency" in image.info:
            image = image if image.mode == "RGBA" else image.convert("RGBA")
            opaque = Image.new("RGB", image.size, "white")
            opaque.paste(image, mask=image.getchannel("A"))  # alpha_composite would need twice the memory
            return opaque
        return image


def _eight_bits(image: Image.Image) -> Image.Image:
    """Convert 16-bit integers (modes I and I;16) or floats (mode F) to bytes; Pillow would clip instead of scaling."""
    values: Array = np.asarray(image, dtype=np.float32)
    if image.mode == "F":
        values = np.nan_to_num(values, nan=0, posinf=0, neginf=0)
        values = values if values.max() > 1 else values * 255
    else:
        values = values / 256
    return Image.fromarray(np.clip(values, 0, 255).astype(np.uint8))


def _reason(path: PathLike, error: Exception) -> str:
    if isinstance(error, (Image.DecompressionBombError, Image.DecompressionBombWarning)):
        return f"it has more than {MOST_PIXELS:,} pixels; make it smaller"
    if isinstance(error, UnidentifiedImageError):
        return stand_in(start_of(path)) or ("it is not an image" if os.path.getsize(path) else "it is empty")
    return str(getattr(error, "strerror", None) or error or type(error).__name__).rstrip(".")
