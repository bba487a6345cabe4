"""Any number of drawn images of five classes, with the exact box and mask of the object in each.

Each object is a list of parts (ellipses, thick lines and polygons) in a frame from -1 to 1, with x to the right and y
down. A pose shifts, rotates and scales that frame. A point of the image belongs to a part if, transformed back into the
frame, it is inside the part; a pixel is the mean of several points. Nothing is read from disk, and the same seed draws
the same images.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count, islice

import numpy as np

from ..core import checks
from ..core.backend import Array
from .dataset import Dataset, Split
from .transforms import Flip

CLASSES = ("person", "car", "bird", "cat", "dog")
FINER = 2  # points along each side of a pixel, whose colour is their mean
LEAST_SEEN = 0.5  # the smallest share of an object that stays visible

Point = tuple[float, float]
Inside = Callable[[Array, Array], Array]  # maps x and y of points to booleans


@dataclass(frozen=True, eq=False)
class Drawing:
    """An image and the object in it.

    Attributes
    ----------
    image : array of uint8, (3, H, W)
    label : int
        The index of the object's class in ``CLASSES``.
    mask : array of bool, (H, W)
        True where at least half of a pixel shows the object, and False where something hides it.
    box : (int, int, int, int)
        The smallest box around the mask: left, top, right, bottom; right and bottom are exclusive.
    """

    image: Array
    label: int
    mask: Array
    box: tuple[int, int, int, int]


def shapes(
    train: int = 2000,
    test: int = 500,
    size: int | None = None,
    difficulty: float = 0.5,
    seed: int = 0,
    task: str = "classification",
) -> Dataset:
    """Draw a data set of people, cars, birds, cats and dogs, which take turns.

    Parameters
    ----------
    train, test : int
        The number of images in each split.
    size : int, optional
        Height and width of the images: 32 by default, and at least 16. For detection and segmentation, they are 96 by
        default, and at least 32.
    difficulty : float
        From 0 to 1. At 0, the object is upright and centred on a background of one colour. The higher the difficulty,
        the more the object is rotated, shifted, shrunk and hidden, the busier the background, and the stronger the
        noise.
    seed : int
        The same seed draws the same images.
    task : {"classification", "detection", "segmentation", "video"}
        For classification, each image shows one object. For detection and segmentation, it shows one to five, in front
        of clutter and of one another; these images are drawn when they are first needed, and kept. See
        :func:`minires.data.scenes.scenes`; for video, see :func:`minires.data.clips.moving_shapes`.

    Returns
    -------
    Dataset
        Images (N, 3, size, size). The classes for segmentation begin with the background.

    Raises
    ------
    ArgumentError
        If a value is out of range.

    Examples
    --------
    >>> shapes(train=50, test=10)
    Dataset(shapes: 5 classes, train=Split(50 images of 3x32x32), test=Split(10 images of 3x32x32))
    >>> images, objects = shapes(task="detection").test[np.array([0, 1])]
    >>> images.shape, objects
    ((2, 3, 96, 96), [Objects(4 boxes), Objects(3 boxes)])
    """
    checks.choice("shapes", task, "task", ("classification", "detection", "segmentation", "video"))
    if task == "video":
        from .clips import moving_shapes

        options = {} if size is None else {"size": size}
        return moving_shapes(train=train, test=test, difficulty=difficulty, seed=seed, **options)
    if task != "classification":
        from .scenes import scene_dataset

        return scene_dataset(task, train, test, 96 if size is None else size, difficulty, seed)
    size = 32 if size is None else size
    endless = drawings(size, difficulty, seed)
    splits = []
    for name, number in (("train", train), ("test", test)):
        chosen = list(islice(endless, checks.integer("shapes", number, name, 1)))
        labels = np.array([drawing.label for drawing in chosen], np.int64)
        splits.append(Split(np.stack([drawing.image for drawing in chosen]), labels))
    return Dataset("shapes", CLASSES, splits[0], splits[1], augmentation=Flip())


def drawings(size: int = 32, difficulty: float = 0.5, seed: int = 0) -> Iterator[Drawing]:
    """Return an endless iterator over drawings, in which the classes take turns; see :func:`shapes` for the parameters.

    Raises
    ------
    ArgumentError
        If a value is out of range. The call itself raises it, before the first drawing.

    Examples
    --------
    >>> first = next(drawings(seed=3))
    >>> CLASSES[first.label], first.image.shape, first.mask.shape
    ('person', (3, 32, 32), (32, 32))
    """
    checks.integer("shapes", size, "size", 16)
    difficulty = checks.fraction("shapes", difficulty, "difficulty")
    checks.integer("shapes", seed, "seed", 0)
    return (draw(number % len(CLASSES), size, difficulty, np.random.default_rng([seed, number])) for number in count())


def draw(label: int, size: int, difficulty: float, rng: np.random.Generator) -> Drawing:
    """Draw one image of class ``label``."""
    points = (np.arange(size * FINER) + 0.5) / (size * FINER / 2) - 1  # from -1 to 1
    x, y = np.meshgrid(points, points)  # (S, S) each, where S is size * FINER
    pixels = _background(x, y, difficulty, rng)  # (S, S, 3)
    colour = _colour(rng, unlike=pixels.mean(axis=(0, 1)))

    whole = np.zeros(x.shape, bool)
    u, v = _posed(x, y, difficulty, rng)
    for inside, shade in PARTS[label](rng):
        covered = inside(u, v)
        pixels[covered] = colour * shade
        whole |= covered
    seen = _hidden(pixels, whole, x, y, difficulty, rng)

    fine = np.dstack([pixels, seen]).reshape(size, FINER, size, FINER, 4)
    means = fine.mean(axis=(1, 3)).transpose(2, 0, 1)  # (4, H, W)
    mask = means[3] >= 0.5
    noisy = means[:3] + rng.normal(0, 25 * difficulty, (3, size, size))
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    box = (int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1)
    return Drawing(np.clip(np.rint(noisy), 0, 255).astype(np.uint8), label, mask, box)


def _colour(rng: np.random.Generator, unlike: Array) -> Array:
    """Return a random colour that differs strongly from ``unlike`` in at least one channel."""
    while True:
        colour: Array = rng.uniform(30, 225, 3)
        if np.abs(colour - unlike).max() > 60:
            return colour


def _background(x: Array, y: Array, difficulty: float, rng: np.random.Generator) -> Array:
    """Draw a background, (S, S, 3): a gradient between two colours in a random direction, with spots."""
    first, second = rng.uniform(0, 255, (2, 3))
    angle = rng.uniform(0, 2 * np.pi)
    ramp = difficulty * (x * np.cos(angle) + y * np.sin(angle) + 1.5)[..., None] / 3  # (S, S, 1)
    pixels: Array = first + (second - first) * ramp
    for _ in range(round(6 * difficulty)):
        spot = ellipse(tuple(rng.uniform(-1, 1, 2)), rng.uniform(0.05, 0.35), rng.uniform(0.05, 0.35))
        pixels[spot(x, y)] = rng.uniform(0, 255, 3)
    return pixels


def _posed(x: Array, y: Array, difficulty: float, rng: np.random.Generator) -> tuple[Array, Array]:
    """Transform points into the frame of the object, which is shifted, rotated, scaled, and perhaps mirrored."""
    scale = 0.85 * (1 - 0.5 * difficulty * rng.random())
    angle = difficulty * rng.uniform(-0.5, 0.5)  # radians
    left, top = difficulty * (1 - scale) * rng.uniform(-1, 1, 2)
    cos, sin = np.cos(angle) / scale, np.sin(angle) / scale
    x, y = x - left, y - top
    u, v = x * cos + y * sin, y * cos - x * sin
    return (u, v) if rng.random() < 0.5 else (-u, v)


def _hidden(pixels: Array, whole: Array, x: Array, y: Array, difficulty: float, rng: np.random.Generator) -> Array:
    """Perhaps draw something in front of the object. Return where the object is still visible, (S, S)."""
    if rng.random() >= difficulty:
        return whole
    v, u = (axis[rng.integers(len(axis))] for axis in np.nonzero(whole))
    middle = (float(x[0, u]), float(y[v, 0]))
    front = ellipse(middle, rng.uniform(0.1, 0.4), rng.uniform(0.1, 0.4))(x, y)
    if (whole & ~front).sum() < LEAST_SEEN * whole.sum():
        return whole
    pixels[front] = rng.uniform(0, 255, 3)
    return whole & ~front


def ellipse(middle: Point, width: float, height: float) -> Inside:
    """Return a function that tells which points are inside an ellipse with the half axes ``width`` and ``height``."""
    return lambda x, y: ((x - middle[0]) / width) ** 2 + ((y - middle[1]) / height) ** 2 <= 1


def line(begin: Point, end: Point, thickness: float) -> Inside:
    """Return a function that tells which points are within ``thickness`` of the line between two points."""

    def inside(x: Array, y: Array) -> Array:
        dx, dy = end[0] - begin[0], end[1] - begin[1]
        along = np.clip(((x - begin[0]) * dx + (y - begin[1]) * dy) / (dx * dx + dy * dy), 0, 1)
        distance: Array = np.hypot(x - begin[0] - along * dx, y - begin[1] - along * dy)
        return distance <= thickness

    return inside


def polygon(*corners: Point) -> Inside:
    """Return a function that tells which points are inside a convex polygon.

    The corners are in clockwise order, as seen on the screen.
    """

    def inside(x: Array, y: Array) -> Array:
        covered = np.ones(x.shape, bool)
        for (x0, y0), (x1, y1) in zip(corners, corners[1:] + corners[:1], strict=True):
            covered &= (x1 - x0) * (y - y0) - (y1 - y0) * (x - x0) >= 0
        return covered

    return inside


Parts = list[tuple[Inside, float]]  # each with its brightness, relative to the object's colour


def person(rng: np.random.Generator) -> Parts:
    """Return the parts of a person: head, trunk, and two arms and two legs in random positions."""
    hands, feet = rng.uniform(-0.3, 0.35, 2), rng.uniform(0.1, 0.35, 2)
    return [
        *[(line((0, -0.35), (side * 0.5, y), 0.08), 0.7) for side, y in zip((-1, 1), hands, strict=True)],
        *[(line((0, 0.15), (side * x, 0.88), 0.1), 0.7) for side, x in zip((-1, 1), feet, strict=True)],
        (line((0, -0.3), (0, 0.15), 0.2), 1),
        (ellipse((0, -0.74), 0.19, 0.22), 1.1),
    ]


def car(rng: np.random.Generator) -> Parts:
    """Return the parts of a car: a body, a cabin with a window, and two wheels."""
    roof = rng.uniform(-0.5, -0.25)
    return [
        (polygon((-0.35, roof), (0.3, roof), (0.6, 0.05), (-0.6, 0.05)), 1),
        (polygon((-0.28, roof + 0.08), (0.22, roof + 0.08), (0.42, 0.02), (-0.42, 0.02)), 0.5),
        (polygon((-0.95, 0), (0.85, 0), (0.95, 0.15), (0.95, 0.4), (-0.95, 0.4)), 1),
        *[(ellipse((x, 0.4), 0.2, 0.2), 0.2) for x in (-0.52, 0.52)],
    ]


def bird(rng: np.random.Generator) -> Parts:
    """Return the parts of a bird: a body with a wing and a tail, a head with a beak, and two thin legs."""
    wing = rng.uniform(-0.2, 0.15)
    return [
        *[(line((x, 0.3), (x + 0.05, 0.75), 0.035), 0.5) for x in (-0.05, 0.12)],
        (polygon((-0.95, -0.12), (-0.4, -0.05), (-0.3, 0.22), (-0.95, 0.12)), 0.8),
        (ellipse((0, 0.08), 0.5, 0.28), 1),
        (ellipse((0.45, -0.28), 0.2, 0.19), 1),
        (polygon((0.6, -0.38), (0.92, -0.24), (0.6, -0.18)), 0.5),
        (ellipse((-0.1, wing), 0.33, 0.14), 0.6),
    ]


def cat(rng: np.random.Generator) -> Parts:
    """Return the parts of a cat: a body on four legs, a round head with two pointed ears, and a long upright tail."""
    tip = rng.uniform(-0.75, -0.45)
    return [
        *[(line((x, 0.3), (x, 0.75), 0.08), 0.8) for x in (-0.38, -0.2, 0.2, 0.36)],
        (line((-0.45, 0.1), (-0.75, -0.2), 0.06), 0.8),
        (line((-0.75, -0.2), (tip, -0.75), 0.06), 0.8),
        (ellipse((0, 0.2), 0.52, 0.25), 1),
        (polygon((0.32, -0.62), (0.48, -0.3), (0.26, -0.25)), 0.8),
        (polygon((0.72, -0.62), (0.78, -0.25), (0.54, -0.3)), 0.8),
        (ellipse((0.52, -0.18), 0.27, 0.24), 1.1),
    ]


def dog(rng: np.random.Generator) -> Parts:
    """Return the parts of a dog: a body on four legs, a head with a long snout and a drooping ear, and a short tail."""
    tail = rng.uniform(-0.35, 0.1)
    return [
        *[(line((x, 0.2), (x + 0.02, 0.85), 0.09), 0.8) for x in (-0.48, -0.3, 0.18, 0.34)],
        (line((-0.5, 0), (-0.85, tail), 0.06), 0.8),
        (ellipse((-0.08, 0.12), 0.55, 0.22), 1),
        (line((0.3, 0.05), (0.48, -0.3), 0.14), 1),
        (ellipse((0.5, -0.38), 0.21, 0.18), 1),
        (ellipse((0.76, -0.32), 0.2, 0.1), 1.1),
        (ellipse((0.4, -0.25), 0.08, 0.2), 0.5),
    ]


PARTS = (person, car, bird, cat, dog)
