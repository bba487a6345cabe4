"""Clips: drawn ones, in which the direction of a motion is the class, and folders of clips of your own.

A clip is (T, C, H, W): T frames of one size. A split of clips makes or reads each clip when it is needed, and keeps it.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from ..core import checks
from ..core.backend import Array
from ..errors import ArgumentError, DataError, listed, sizes
from ..interop.files import PathLike
from .augmentation import Described
from .dataset import Dataset
from .folder import (
    MOST_IN_MEMORY,
    SPLIT_NAMES,
    LabelledFile,
    _all,
    _check_inside,
    _class_name,
    _classes,
    _names,
    _subfolders,
    _with_a_test,
    _with_splits,
)
from .shapes import FINER, PARTS, _background, _colour

DIRECTIONS = ("left", "right")
SCALE = 0.35  # half the side of an object's frame, as a share of half the side of the image
FASTEST = 3  # pixels from one frame to the next


@dataclass(frozen=True, eq=False)
class Clip:
    """Frames, and the object that moves in them.

    Attributes
    ----------
    frames : array of uint8, (T, 3, H, W)
    label : int
        The index in ``DIRECTIONS`` of the direction in which the object moves.
    boxes : array of int64, (T, 4)
        The smallest box around the object in each frame: left, top, right, bottom; right and bottom are exclusive.
    """

    frames: Array
    label: int
    boxes: Array


class ClipSplit:
    """The training or test part of a data set of clips.

    ``split[chosen]`` takes an array of B indices, and returns clips, uint8 (B, T, C, H, W), and labels, int64 (B,).
    Clips stay in memory as long as all of them take no more than a GiB.

    Parameters
    ----------
    make : callable
        ``make(i)`` returns clip i, uint8 (T, C, H, W).
    labels : array of int64, (N,)
        Class numbers, starting at 0.
    clip_shape : (int, int, int, int)
        (T, C, H, W).
    """

    task = "video"

    def __init__(self, make: Callable[[int], Array], labels: Array, clip_shape: tuple[int, int, int, int]) -> None:
        self.make, self.labels, self.clip_shape = make, labels, clip_shape
        self._kept: dict[int, Array] = {}
        self.keeps = len(labels) * math.prod(clip_shape) <= MOST_IN_MEMORY

    @property
    def image_shape(self) -> tuple[int, int, int, int]:
        """The shape of each clip, (T, C, H, W)."""
        return self.clip_shape

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, chosen: Array) -> tuple[Array, Array]:
        clips = _all(self._clip, [int(i) for i in chosen], "clips")
        return np.stack(clips), self.labels[chosen]

    def _clip(self, i: int) -> Array:
        clip = self._kept.get(i)
        if clip is None:
            clip = self.make(i)
            if self.keeps:
                self._kept[i] = clip
        return clip

    def keep_all(self) -> None:
        """Make all clips now, and keep them, however much memory they take.

        All are tried, and one DataError lists up to three that failed.
        """
        self.keeps = True
        _all(self._clip, range(len(self)), "clips")

    def __repr__(self) -> str:
        return f"ClipSplit({len(self)} clips of {sizes(self.clip_shape)})"


class AndReversed(Described):
    """Double a batch: each clip comes with its reverse, which has the opposite class.

    A clip and its reverse differ in nothing but the direction of time. In a batch that holds both, what else the clip
    shows favours neither class, and networks learn directions in a small part of the steps that they need otherwise.
    With fewer than about 16 clips before doubling, batch norm's running statistics are too noisy for evaluation.

    Parameters
    ----------
    opposite : sequence of int
        For each class, that of a reversed clip: (1, 0) for two directions.

    Examples
    --------
    >>> clips, labels = np.arange(3, dtype=np.uint8).reshape(1, 3, 1, 1, 1), np.array([1])
    >>> clips, labels = AndReversed((1, 0))(clips, labels, np.random.default_rng(0))
    >>> clips.reshape(2, 3).tolist(), labels
    ([[0, 1, 2], [2, 1, 0]], array([1, 0]))
    """

    moves_targets = True

    def __init__(self, opposite: Sequence[int]) -> None:
        self.opposite = tuple(opposite)

    def __call__(self, clips: Array, labels: Array, rng: np.random.Generator) -> tuple[Array, Array]:
        """Return clips (2N, T, C, H, W) and labels (2N,)."""
        reverse = np.array(self.opposite)[labels]
        return np.concatenate([clips, clips[:, ::-1]]), np.concatenate([labels, reverse])


def moving_shapes(
    train: int = 1000, test: int = 400, size: int = 32, frames: int = 8, difficulty: float = 0.5, seed: int = 0
) -> Dataset:
    """Draw clips of a person, car, bird, cat or dog that moves to the left or to the right, which is the class.

    Only the order of the frames tells the class: clip 2i + 1 consists of the frames of clip 2i in reverse order. So
    whatever does not depend on the order of the frames, such as the mean of a network's logits over them, gives the
    same answer for both, and is right for exactly one of them: 50 % of the clips.

    Parameters
    ----------
    train, test : int
        The number of clips in each split, even. Clip i of a split is the same, whatever these numbers are.
    size : int
        Height and width, at least 16.
    frames : int
        T, from 2 to ``size`` / 2, so that the object stays inside of the image.
    difficulty : float
        From 0 to 1. At 0, the object is upright, on a background of one colour. The higher the difficulty, the more it
        is rotated and shrunk, the busier the background, the stronger the noise (a new one in each frame), and the more
        other objects there are, which stand still, or move up or down.
    seed : int
        The same seed draws the same clips.

    Returns
    -------
    Dataset
        Splits are :class:`ClipSplit`: clips (N, frames, 3, size, size), drawn when they are needed. The augmentation is
        :class:`AndReversed`, so training batches are twice as large.

    Raises
    ------
    ArgumentError
        If a value is out of range.

    Examples
    --------
    >>> data = moving_shapes(train=100, test=20)
    >>> data
    Dataset(moving_shapes: 2 classes, train=ClipSplit(100 clips of 8x3x32x32), test=ClipSplit(20 clips of 8x3x32x32))
    >>> clips, labels = data.train[np.array([0, 3, 5])]
    >>> clips.shape, labels
    ((3, 8, 3, 32, 32), array([0, 1, 1]))
    """
    checks.integer("moving_shapes", size, "size", 16)
    checks.integer("moving_shapes", frames, "frames", 2)
    checks.integer("moving_shapes", seed, "seed", 0)
    difficulty = checks.fraction("moving_shapes", difficulty, "difficulty")
    if frames > size // 2:
        raise ArgumentError(
            f"moving_shapes: frames is {frames}, but an object can move for at most {size // 2} frames through images "
            f"of {size} pixels; use a larger size."
        )
    splits = []
    for part, (name, number) in enumerate((("train", train), ("test", test))):
        if checks.integer("moving_shapes", number, name, 2) % 2:
            raise ArgumentError(f"moving_shapes: {name} is {number}; it must be even, because clips come in pairs.")
        labels = np.arange(number, dtype=np.int64) % len(DIRECTIONS)
        draw = partial(_frames, size, frames, difficulty, (seed, part))
        splits.append(ClipSplit(draw, labels, (frames, 3, size, size)))
    return Dataset("moving_shapes", DIRECTIONS, splits[0], splits[1], augmentation=AndReversed((1, 0)))


def _frames(size: int, frames: int, difficulty: float, stream: tuple[int, int], i: int) -> Array:
    pair, label = divmod(i, len(DIRECTIONS))
    return draw_clip(label, size, frames, difficulty, np.random.default_rng([*stream, pair])).frames


def draw_clip(label: int, size: int, frames: int, difficulty: float, rng: np.random.Generator) -> Clip:
    """Draw one clip; see :func:`moving_shapes` for the parameters.

    It is drawn with a motion to the right, and reversed if ``label`` is that of "left". Nothing else depends on
    ``label``.
    """
    points = (np.arange(size * FINER) + 0.5) / (size * FINER / 2) - 1  # from -1 to 1
    x, y = np.meshgrid(points, points)  # (S, S) each, where S is size * FINER
    still = _pixels(_background(x, y, difficulty, rng))  # (H, W, 3)
    film = np.repeat(still[None], frames, axis=0)  # (T, H, W, 3)
    for number in reversed(range(rng.integers(1, round(4 * difficulty) + 2))):  # the last one is the object
        sprite = _sprite(x, y, difficulty, still.mean(axis=(0, 1)), rng)
        free_y, free_x = (size - side for side in sprite.shape[:2])
        fastest = min(FASTEST, free_x // (frames - 1))
        speed_x, speed_y = (0, int(rng.integers(-1, 2))) if number else (int(rng.integers(1, fastest + 1)), 0)
        lefts, tops = _path(free_x, frames, speed_x, rng), _path(free_y, frames, speed_y, rng)
        _paste(film, sprite, lefts, tops)
    film += np.float32(25 * difficulty) * rng.standard_normal(film.shape, np.float32)
    corners = np.stack([lefts, tops, lefts, tops], axis=1)  # (T, 4)
    boxes = corners + _box(sprite[..., 3] >= 0.5)
    order = slice(None) if DIRECTIONS[label] == "right" else slice(None, None, -1)
    clip = np.clip(np.rint(film), 0, 255).astype(np.uint8)[order].transpose(0, 3, 1, 2)  # (T, 3, H, W)
    return Clip(np.ascontiguousarray(clip), label, boxes[order])


def _pixels(fine: Array) -> Array:
    """Return the mean colour of each pixel, (H, W, ...), from that of its points, (S, S, ...)."""
    height, width = (side // FINER for side in fine.shape[:2])
    means: Array = fine.reshape(height, FINER, width, FINER, -1).mean(axis=(1, 3)).astype(np.float32)
    return means


def _sprite(x: Array, y: Array, difficulty: float, mean: Array, rng: np.random.Generator) -> Array:
    """Draw an object, cropped, (h, w, 4): red, green and blue, times the share of the pixel that is covered; the share.

    It faces either side, whatever the direction in which it will move.
    """
    scale = SCALE * (1 - 0.3 * difficulty * rng.random())
    angle = difficulty * rng.uniform(-0.5, 0.5)  # radians
    side = rng.choice((-1, 1))
    cos, sin = np.cos(angle) / scale, np.sin(angle) / scale
    u, v = side * (x * cos + y * sin), y * cos - x * sin
    fine = np.zeros((*x.shape, 4))  # (S, S, 4)
    colour = _colour(rng, unlike=mean)
    for inside, shade in PARTS[rng.integers(len(PARTS))](rng):
        fine[inside(u, v)] = (*(colour * shade), 1)
    sprite = _pixels(fine)
    left, top, right, bottom = _box(sprite[..., 3] > 0)
    return sprite[top:bottom, left:right]


def _box(mask: Array) -> Array:
    """Return the smallest box around a mask: left, top, right, bottom; right and bottom are exclusive."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1])


def _path(free: int, frames: int, speed: int, rng: np.random.Generator) -> Array:
    """Return the positions (T,), from 0 to ``free``, of an object that moves by ``speed`` pixels a frame."""
    way = speed * (frames - 1)
    start = rng.integers(max(0, -way), free - max(0, way) + 1)
    return start + speed * np.arange(frames)


def _paste(film: Array, sprite: Array, lefts: Array, tops: Array) -> None:
    """Draw an object into each frame, with its top left corner at these pixels."""
    height, width, _ = sprite.shape
    for frame, left, top in zip(film, lefts, tops, strict=True):
        place = frame[top : top + height, left : left + width]
        place *= 1 - sprite[..., 3:]
        place += sprite[..., :3]


def clip_folder(
    path: PathLike,
    frames: int = 8,
    size: int | tuple[int, int] | None = None,
    channels: int = 3,
    in_memory: bool | None = True,
) -> Dataset:
    """Load the clips in a folder as a data set.

    The folder contains a folder for each class, or the folders ``train`` and ``test`` (or ``val``), each of which
    contains a folder for each class; see :func:`minires.data.folder` for their names. A clip is a folder of frames, an
    animation (GIF, WebP, APNG) or, if PyAV is installed, a video file; see :func:`minires.data.video.read_video`. Other
    files are ignored. Without given splits, every fifth clip of each class, in the order of the names, is a test clip.

    Parameters
    ----------
    path : str or path
    frames : int
        T, the number of frames of each clip, taken at equal distances from the whole clip.
    size : int or (int, int), optional
        Height and width to which every frame is resized; the proportions are not kept. By default, that of the first
        clip.
    channels : {1, 3}
        1 for grey frames, 3 for colour.
    in_memory : bool or None
        True reads all clips at once. False reads a clip when it is first needed, so that a damaged one is noticed only
        then. None means False if all clips would take more than a GiB, and True otherwise.

    Returns
    -------
    Dataset
        Its name is that of the folder, and its classes are in alphabetical order. Splits are :class:`ClipSplit`. There
        is no augmentation.

    Raises
    ------
    DataError
        If the folder cannot be read; if there are fewer than two classes, a class without a clip for training, or no
        test clip; if a clip cannot be read or is outside of the folder. All clips of a split are tried, and the message
        lists up to three that failed.
    ArgumentError
        If an argument is out of range.
    """
    from .video import frame_files, read_video

    root = Path(path)
    checks.integer("clip_folder", frames, "frames", 1)
    resize = None if size is None else checks.pair("clip_folder", size, "size", 1)
    if channels not in (1, 3):
        raise ArgumentError(f"clip_folder: channels is {channels!r}; it must be 1 (grey) or 3 (colour).")
    if in_memory not in (True, False, None):
        raise ArgumentError(f"clip_folder: in_memory is {in_memory!r}; it must be True, False or None.")
    if not os.path.isdir(root):
        raise DataError(f"clip_folder: {root} is not a folder; give the folder that holds the classes.")
    clips = _clips_in_classes(root)
    frames_of = {clip: frame_files(clip.path) for clip in clips if clip.path.is_dir()}
    _check_inside(root, [*clips, *(replace(clip, path=file) for clip, files in frames_of.items() for file in files)])
    clips = _with_splits(clips)
    classes = _classes(root, clips)
    height, width = resize or read_video(clips[0].path, 1, channels=channels).shape[2:]
    shape = frames, channels, int(height), int(width)
    splits = {}
    for part in ("train", "test", "val"):
        if chosen := [clip for clip in clips if clip.split == part]:  # only val may be missing
            labels = np.searchsorted(classes, [clip.label for clip in chosen]).astype(np.int64)
            read = partial(_read, read_video, [clip.path for clip in chosen], shape)
            splits[part] = ClipSplit(read, labels, shape)
    if in_memory or (in_memory is None and len(clips) * math.prod(shape) <= MOST_IN_MEMORY):
        for split in splits.values():
            split.keep_all()
    return Dataset(root.resolve().name, classes, splits["train"], splits["test"], val=splits.get("val"))


def _read(read_video: Callable[..., Array], paths: list[Path], shape: tuple[int, int, int, int], i: int) -> Array:
    frames, channels, height, width = shape
    return read_video(paths[i], frames, (height, width), channels)


def _clips_in_classes(root: Path) -> list[LabelledFile]:
    """Return the clips in the folders of classes, which may be in the folders of splits."""
    names = _subfolders(root)
    parts = {SPLIT_NAMES[name.lower()]: root / name for name in names if name.lower() in SPLIT_NAMES}
    if "train" not in parts or len(parts) < 2:
        return [clip for name in names for clip in _clips_of(root / name, None)]
    if len(parts) < len(names):
        raise DataError(
            f"clip_folder: {root} holds {listed(names)}; next to train, there may only be one test and one val."
        )
    clips = [
        clip for part, place in parts.items() for name in _subfolders(place) for clip in _clips_of(place / name, part)
    ]
    return _with_a_test(clips, parts)


def _clips_of(place: Path, split: str | None) -> list[LabelledFile]:
    from .video import CLIPS, frame_files, natural

    paths = [place / name for name in sorted(_names(place), key=natural)]
    for path in paths:
        if path.is_dir() and not frame_files(path):
            raise DataError(
                f"clip_folder: the folder {path} holds no images, the frames of a clip; add some or remove it."
            )
    clips = [path for path in paths if path.is_dir() or path.name.lower().endswith(CLIPS)]
    if not clips:
        raise DataError(
            f"clip_folder: the class {place} holds no clips, which are folders of frames, animations or video files."
        )
    return [LabelledFile(clip, _class_name(place.name), split) for clip in clips]
