"""Reading a clip as an array: a folder of frames, an animation that Pillow reads, or a video file through PyAV.

Importing this module imports Pillow, so import it only where clips are read.
"""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ..core import checks
from ..core.backend import Array
from ..errors import ArgumentError, DataError, MiniresError, sizes
from ..interop.files import PathLike, stand_in, start_of
from .images import MODES, MOST_PIXELS, SUFFIXES, _reason, read

ANIMATIONS = (*SUFFIXES, ".apng")  # files that Pillow reads; all others are for PyAV
VIDEOS = (".avi", ".flv", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".ogv", ".ts", ".webm", ".wmv")
CLIPS = (".apng", ".gif", ".png", ".webp", *VIDEOS)
MOST_CLIP_PIXELS = 400_000_000  # of all frames of the result, which are three bytes each
MOST_FRAMES = 100_000
MOST_DECODED = 10_000_000_000  # pixels that an animation makes Pillow draw, which takes about a minute
FORMATS = "asf,avi,flv,gif,h264,hevc,matroska,mjpeg,mov,mpeg,mpegts,mpegvideo,mxf,nut,ogg,webm,yuv4mpegpipe"


def read_video(
    path: PathLike, frames: int | None = None, size: int | tuple[int, int] | None = None, channels: int = 3
) -> Array:
    """Read a clip as an array of bytes.

    Parameters
    ----------
    path : str or path
        A folder of images of one size, which are the frames in the order of their names (frame9 before frame10); an
        animation, such as a GIF, WebP or APNG; or, if PyAV is installed, a video file.
    frames : int, optional
        T, the number of frames to read, from the middle of as many equal parts of the clip. A shorter clip repeats
        frames. By default, all frames are read.
    size : int or (int, int), optional
        Height and width to resize to; the proportions are not kept.
    channels : {1, 3}
        1 for grey frames, 3 for colour.

    Returns
    -------
    array of uint8, (T, C, H, W)

    Raises
    ------
    DataError
        If the clip is missing, damaged, holds no frames, or is too large; or if PyAV is needed and not installed.
    ArgumentError
        If an argument is out of range.
    """
    number = None if frames is None else checks.integer("read_video", frames, "frames", 1)
    shape = None if size is None else checks.pair("read_video", size, "size", 1)
    if channels not in MODES:
        raise ArgumentError(f"read_video: channels is {channels!r}; it must be 1 (grey) or 3 (colour).")
    try:
        if os.path.isdir(path):
            return _from_folder(path, number, shape, channels)
        if not os.path.isfile(path):
            raise FileNotFoundError("there is no such file")  # reading a pipe would block
        if not os.path.getsize(path):
            raise ValueError("it is empty")
        reader = _from_animation if os.fspath(path).lower().endswith(ANIMATIONS) else _from_video
        return reader(path, number, shape, channels)
    except MiniresError:
        raise
    except Exception as error:  # decoders raise almost anything on damaged files
        raise DataError(f"clip {os.fspath(path)} cannot be read: {_reason(path, error)}.") from error


def sampled(total: int, frames: int | None) -> Array:
    """Return the indices of the frames to read: the middle of each of ``frames`` equal parts, or all.

    >>> sampled(10, 4), sampled(2, 4)
    (array([1, 3, 6, 8]), array([0, 0, 1, 1]))
    """
    count = total if frames is None else frames
    if count > MOST_FRAMES:  # a file of a few bytes can claim any number
        raise ValueError(f"{count:,} frames are more than {MOST_FRAMES:,}; read fewer, such as frames=16")
    if frames is None:
        return np.arange(total)
    return (2 * np.arange(frames) + 1) * total // (2 * frames)


def frame_files(folder: PathLike) -> list[Path]:
    """Return the images in a folder in natural order, where 9 comes before 10. Hidden files are ignored."""
    names = (name for name in os.listdir(folder) if name.lower().endswith(SUFFIXES) and not name.startswith("."))
    return [Path(folder, name) for name in sorted(names, key=natural)]


def natural(name: str) -> list[tuple[int, str]]:
    """Return a key that sorts names by the numbers in them.

    >>> sorted(["frame10.png", "frame9.png"], key=natural)
    ['frame9.png', 'frame10.png']
    """
    return [(int(part), "") if part.isdecimal() else (0, part.lower()) for part in re.split(r"([0-9]+)", name)]


def _from_folder(path: PathLike, frames: int | None, size: tuple[int, int] | None, channels: int) -> Array:
    files = frame_files(path)
    if not files:
        raise ValueError("the folder holds no images")
    chosen = sampled(len(files), frames)
    first = read(files[chosen[0]], channels, size)
    clip = _empty(len(chosen), first.shape)
    for place, i in enumerate(chosen):
        image = read(files[i], channels, size)
        if image.shape != first.shape:
            raise DataError(
                f"clip {os.fspath(path)}: {files[i].name} is {sizes(image.shape[1:])}, but {files[chosen[0]].name} is "
                f"{sizes(first.shape[1:])}; give a size to resize all frames."
            )
        clip[place] = image
    return clip


def _from_animation(path: PathLike, frames: int | None, size: tuple[int, int] | None, channels: int) -> Array:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # warnings about odd metadata, which do not affect the pixels
        Image.init()
        # Pillow runs Ghostscript on EPS files, which is unsafe for files from unknown sources.
        with Image.open(path, formats=[name for name in Image.ID if name != "EPS"]) as image:
            _check_pixels(image)
            pixels = image.width * image.height
            total = getattr(image, "n_frames", 1)
            if total * pixels > MOST_DECODED:
                raise ValueError(f"it has {total:,} frames of {image.height}x{image.width} pixels, too many to decode")
            chosen = sampled(total, frames)
            clip = _empty(len(chosen), (channels, *(size or (image.height, image.width))))
            for i in np.unique(chosen):
                try:
                    image.seek(int(i))
                    clip[chosen == i] = _planes(image, clip.shape[1:])
                except Exception as error:  # decoders raise almost anything on damaged files
                    raise ValueError(f"frame {i} of {total} is damaged") from error
    return clip


def _planes(image: Image.Image, shape: tuple[int, ...]) -> Array:
    """Return an image as bytes (C, H, W); transparent pixels become white."""
    if image.mode not in MODES.values():
        image = image.convert("RGBA")
        opaque = Image.new("RGB", image.size, "white")
        opaque.paste(image, mask=image.getchannel("A"))
        image = opaque
    channels, height, width = shape
    image = image.convert(MODES[channels])
    if image.size != (width, height):
        image = image.resize((width, height), Image.Resampling.BILINEAR)
    return np.asarray(image).reshape(height, width, channels).transpose(2, 0, 1)  # (C, H, W)


def _from_video(path: PathLike, frames: int | None, size: tuple[int, int] | None, channels: int) -> Array:
    with _opened(path) as (container, stream):
        total = sum(1 for packet in container.demux(stream) if packet.size)
    for _ in range(2):  # the second time, if there are not as many frames as packets
        chosen, seen, clip = sampled(total, frames), 0, None
        with _opened(path) as (container, stream):
            for frame in container.decode(stream):
                _check_pixels(frame)
                if clip is None:
                    height, width = _upright(frame).shape[:2]
                    clip = _empty(len(chosen), (channels, *(size or (height, width))))
                if seen in chosen:
                    clip[chosen == seen] = _planes(Image.fromarray(_upright(frame)), clip.shape[1:])
                seen += 1
        if clip is None:
            raise ValueError("it holds no frames")
        if seen == total:
            break
        total = seen
    return clip


def _upright(frame: Any) -> Array:
    """Return a decoded frame as (H, W, 3), rotated as the video says."""
    return np.rot90(frame.to_ndarray(format="rgb24"), getattr(frame, "rotation", 0) // 90)


@contextmanager
def _opened(path: PathLike) -> Iterator[tuple[Any, Any]]:
    """Open a video file, and return PyAV's container and the first stream of frames in it."""
    try:
        import av
    except ImportError as error:
        raise DataError(
            f"clip {os.fspath(path)} needs the package PyAV, which is not installed: pip install 'minires[video]'."
        ) from error
    # Without these options, a playlist or a script could make FFmpeg read other files, or addresses in the network.
    options = {"format_whitelist": FORMATS, "protocol_whitelist": "none"}
    try:
        with open(path, "rb") as file, av.open(file, options=options) as container:
            if not container.streams.video:
                raise ValueError("it holds no video, only sound or text, or is damaged")
            stream = container.streams.video[0]
            _check_pixels(stream.codec_context)
            yield container, stream
    except av.error.FFmpegError as error:
        reason = stand_in(start_of(path)) or f"it is damaged or not a video ({error.strerror})"
        raise ValueError(reason) from error


def _check_pixels(frame: Any) -> None:
    if frame.width * frame.height > MOST_PIXELS:
        raise Image.DecompressionBombError


def _empty(frames: int, shape: tuple[int, ...]) -> Array:
    """Return an array for a clip, if it is not too large."""
    _, height, width = shape
    if frames * height * width > MOST_CLIP_PIXELS:
        raise ValueError(
            f"it has {frames:,} frames of {height}x{width}, more than {MOST_CLIP_PIXELS:,} pixels in all; read "
            "fewer frames, such as frames=16, or give a smaller size"
        )
    return np.empty((frames, *shape), np.uint8)
