"""Any number of drawn scenes of several objects, with the exact boxes and masks of what is visible of each.

The objects are the people, cars, birds, cats and dogs of :mod:`minires.data.shapes`, in other sizes and places, in
front of clutter and of one another. Nothing is read from disk, and the same seed draws the same scenes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from typing import Any

import numpy as np

from ..core import checks
from ..core.backend import Array
from .annotated import Objects
from .dataset import Dataset
from .moving import FlipWithTargets
from .shapes import CLASSES, FINER, PARTS, Parts, _background, _colour, ellipse, line, polygon

MOST_OBJECTS = 5  # in a scene
SMALLEST = 14  # pixels, the side of the smallest object's frame
LARGEST = 0.625  # side of the largest object's frame, as a share of the image
LEAST_SEEN = 0.35  # the smallest share of an object that others leave visible, at difficulty 1
TRIES = 8  # number of places for an object that are tried before it is left out
MOST_KEPT = 1 << 30  # bytes, a GiB, of scenes that a split keeps in memory


@dataclass(frozen=True, eq=False)
class Scene:
    """An image and the objects in it.

    Attributes
    ----------
    image : array of uint8, (3, H, W)
    objects : Objects
        The smallest box around the visible pixels of each object, and the index of its class in ``CLASSES``. An object
        covers those that come before it.
    instances : array of uint8, (H, W)
        k + 1 where a pixel shows object k, and 0 where it shows none. At least half of such a pixel is the object.
    """

    image: Array
    objects: Objects
    instances: Array

    @property
    def mask(self) -> Array:
        """The class of each pixel, uint8 (H, W): 0 for the background, k + 1 for class k of ``CLASSES``."""
        return np.append(0, self.objects.labels + 1).astype(np.uint8)[self.instances]


@dataclass(frozen=True)
class Pose:
    """Where the frame of an object lies in an image: its middle and half its side in pixels, an angle, a mirroring."""

    x: float
    y: float
    half: float
    angle: float = 0.0
    mirrored: bool = False


def scenes(size: int = 96, difficulty: float = 0.5, seed: int = 0) -> Iterator[Scene]:
    """Return an endless iterator over scenes: the training images of :func:`minires.data.shapes` with this seed.

    Parameters
    ----------
    size : int
        Height and width of the images, at least 32. The frames of objects have sides from 14 pixels to 5/8 of the size.
    difficulty : float
        From 0 to 1. At 0, objects are upright on a background of one colour, and none hides another. The higher the
        difficulty, the more they are rotated and hidden, the more clutter is behind them, and the stronger is the
        noise.
    seed : int
        The same seed draws the same scenes.

    Raises
    ------
    ArgumentError
        If a value is out of range. The call itself raises it, before the first scene.

    Examples
    --------
    >>> scene = next(scenes(seed=1))
    >>> scene.image.shape, scene.mask.shape
    ((3, 96, 96), (96, 96))
    """
    size, difficulty, seed = check_options(size, difficulty, seed)
    return (draw_scene(size, difficulty, np.random.default_rng([seed, 0, number])) for number in count())


def check_options(size: int, difficulty: float, seed: int) -> tuple[int, float, int]:
    """Return the options of drawn scenes. Raises ArgumentError if one is out of range."""
    checks.integer("shapes", size, "size", 32)
    checks.integer("shapes", seed, "seed", 0)
    return size, checks.fraction("shapes", difficulty, "difficulty"), seed


class SceneSplit:
    """Scenes that are drawn when they are first needed, and kept: the training or test part of a data set.

    Parameters
    ----------
    task : {"detection", "segmentation"}
    number : int
        The number of scenes.
    size, difficulty, seed
        See :func:`scenes`.
    part : int
        Splits with other parts never draw the same scenes, even if their seeds are equal.
    """

    task: str

    def __init__(self, task: str, number: int, size: int, difficulty: float, seed: int, part: int) -> None:
        self.task = task
        self.size, self.difficulty, self.seed = check_options(size, difficulty, seed)
        self.number, self.part = number, part
        self.kept: dict[int, Scene] = {}

    def __len__(self) -> int:
        return self.number

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """The shape of each image, (3, size, size)."""
        return 3, self.size, self.size

    @property
    def labels(self) -> Array:
        """The class numbers of all classes, int64. Those of all objects are known only once everything is drawn."""
        return np.arange(len(CLASSES) + (self.task == "segmentation"))

    @property
    def ids(self) -> tuple[int, ...]:
        """The numbers of the images, from 0."""
        return tuple(range(self.number))

    def scene(self, number: int) -> Scene:
        """Return scene ``number``, from 0 to len(self) - 1."""
        found = self.kept.get(number)
        if found is None:
            found = draw_scene(self.size, self.difficulty, np.random.default_rng([self.seed, self.part, number]))
            if (len(self.kept) + 1) * 4 * self.size**2 <= MOST_KEPT:  # 3 bytes and the instance for each pixel
                self.kept[number] = found
        return found

    def __getitem__(self, chosen: Array) -> tuple[Array, Any]:
        """Return the images (B, 3, H, W) at an array of B indices, with a list of B Objects or masks (B, H, W)."""
        found = [self.scene(int(number)) for number in np.arange(self.number)[chosen]]
        images = np.stack([scene.image for scene in found])
        if self.task == "detection":
            return images, [scene.objects for scene in found]
        return images, np.stack([scene.mask for scene in found])

    def __repr__(self) -> str:
        return f"SceneSplit({self.number} images of 3x{self.size}x{self.size} for {self.task})"


def scene_dataset(task: str, train: int, test: int, size: int, difficulty: float, seed: int) -> Dataset:
    """Return a data set of scenes for detection or segmentation; see :func:`minires.data.shapes`."""
    classes = CLASSES if task == "detection" else ("background", *CLASSES)
    splits = [
        SceneSplit(task, checks.integer("shapes", number, name, 1), size, difficulty, seed, part)
        for part, (name, number) in enumerate((("train", train), ("test", test)))
    ]
    return Dataset("shapes", classes, splits[0], splits[1], augmentation=FlipWithTargets())


def draw_scene(size: int, difficulty: float, rng: np.random.Generator) -> Scene:
    """Draw a scene of one to five objects."""
    points = (np.arange(size * FINER) + 0.5) / (size * FINER / 2) - 1  # from -1 to 1
    x, y = np.meshgrid(points, points)
    pixels = _background(x, y, difficulty, rng)  # (S, S, 3), where S is size * FINER
    for _ in range(round(12 * difficulty)):
        footprint(size, clutter(rng), random_pose(size, difficulty, rng, largest=0.3)).paint(
            pixels, rng.uniform(0, 255, 3)
        )

    least_seen = 1 - difficulty * (1 - LEAST_SEEN)
    owner = np.zeros(x.shape, np.uint8)  # the object that a point shows, from 1; 0 is the background
    labels: list[int] = []
    areas = np.zeros(MOST_OBJECTS + 1, np.int64)  # points of each object, hidden or not
    seen = np.zeros(MOST_OBJECTS + 1, np.int64)  # points of each object that are not hidden
    for _ in range(rng.integers(1, MOST_OBJECTS + 1)):
        label = int(rng.integers(len(CLASSES)))
        parts = PARTS[label](rng)
        for _ in range(TRIES):
            place = footprint(size, parts, random_pose(size, difficulty, rng))
            hidden = np.bincount(owner[place.window][place.whole], minlength=MOST_OBJECTS + 1)
            if ((seen - hidden)[1:] >= least_seen * areas[1:]).all():
                break
        else:
            continue  # each place hides too much of the other objects, so this one is left out
        place.paint(pixels, _colour(rng, unlike=pixels[place.window].mean(axis=(0, 1))))
        labels.append(label)
        seen -= hidden
        seen[len(labels)] = areas[len(labels)] = place.whole.sum()
        owner[place.window][place.whole] = len(labels)

    instances = np.zeros((size, size), np.uint8)
    for number in range(1, len(labels) + 1):  # of two objects that cover half a pixel each, the later one is in front
        instances[pooled(owner == number) * 2 >= FINER**2] = number
    found = np.unique(instances[instances > 0])  # all objects, unless nothing but thin parts of one is visible
    instances = np.searchsorted(found, instances, side="right").astype(np.uint8)  # numbered without gaps
    means = (pooled(pixels) / FINER**2).transpose(2, 0, 1)  # (3, H, W)
    noisy = means + rng.normal(0, 25 * difficulty, means.shape)
    boxes = [box_around(instances == number) for number in range(1, len(found) + 1)]
    objects = Objects(boxes, [labels[number - 1] for number in found])
    return Scene(np.clip(np.rint(noisy), 0, 255).astype(np.uint8), objects, instances)


def random_pose(size: int, difficulty: float, rng: np.random.Generator, largest: float = LARGEST) -> Pose:
    """Return a pose whose frame lies inside the image; small and large ones are equally frequent on a log scale."""
    half = np.exp(rng.uniform(np.log(SMALLEST), np.log(max(largest * size, SMALLEST)))) / 2
    x, y = rng.uniform(half, size - half, 2)
    return Pose(x, y, half, difficulty * rng.uniform(-0.5, 0.5), bool(rng.random() < 0.5))


@dataclass(frozen=True, eq=False)
class Footprint:
    """The points of an image, in a window of it, that an object covers: those of each part, and all of them."""

    window: tuple[slice, slice]
    parts: list[tuple[Array, float]]  # each with its brightness, relative to the object's colour
    whole: Array

    def paint(self, pixels: Array, colour: Array) -> None:
        """Draw the object into ``pixels``, (S, S, 3)."""
        for covered, shade in self.parts:
            pixels[self.window][covered] = colour * shade


def footprint(size: int, parts: Parts, pose: Pose) -> Footprint:
    """Return which points an object covers.

    A corner of its frame is 1.5 half sides from its middle at most, so only a window of that size is looked at.
    """

    def axis(middle: float) -> tuple[slice, Array]:
        begin, end = (int((middle + side * 1.5 * pose.half) * FINER) for side in (-1, 1))
        within = slice(max(begin, 0), min(end + 1, size * FINER))
        return within, ((np.arange(within.start, within.stop) + 0.5) / FINER - middle) / pose.half

    (rows, y), (columns, x) = axis(pose.y), axis(pose.x)
    y = y[:, None]
    cos, sin = np.cos(pose.angle), np.sin(pose.angle)
    u, v = x * cos + y * sin, y * cos - x * sin  # (rows, columns) each
    covered = [(inside(-u if pose.mirrored else u, v), shade) for inside, shade in parts]
    return Footprint((rows, columns), covered, np.logical_or.reduce([points for points, _ in covered]))


def clutter(rng: np.random.Generator) -> Parts:
    """Return a part that belongs to no object: a stick, a triangle or a disc."""
    a, b, c = rng.uniform(0.2, 0.9, 3)
    return [
        [(line((-a, b), (a, -c), 0.12), 1.0)],
        [(polygon((0, -a), (b, c), (-b, c)), 1.0)],
        [(ellipse((0, 0), a, b), 1.0)],
    ][rng.integers(3)]


def pooled(points: Array) -> Array:
    """Return the sum of the points of each pixel, (H, W, ...)."""
    sums: Array = sum(1 * points[i::FINER, j::FINER] for i in range(FINER) for j in range(FINER))
    return sums


def box_around(mask: Array) -> tuple[int, int, int, int]:
    """Return the smallest box around the pixels of a mask: x1, y1, x2, y2."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1
