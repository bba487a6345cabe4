"""What each location of FCOS should answer: which object it is responsible for, and the loss of its answer.

Tian et al., arXiv 1904.01355, sections 3.1 and 3.2, with the centre sampling of arXiv 2006.09214, section 2.1.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from .. import ops
from ..core import backend, checks
from ..core.backend import Array
from ..core.tensor import Tensor
from ..data.annotated import Objects
from ..errors import ArgumentError, LabelError, ShapeError, listed, sizes

RADIUS = 1.5  # in strides: how far from the centre of its object a location may be


class Locations(NamedTuple):
    """The L locations of all maps: those of the finest map row by row, then those of the next one."""

    points: Array  # (L, 2) float64: x, y in pixels
    strides: Array  # (L,) float64: of the location's map
    ranges: Array  # (L, 2) float64: between which sizes the largest distance to an edge must be, in pixels


class Losses(NamedTuple):
    """The loss of a batch, and the three parts that it is the sum of."""

    total: Tensor
    classes: Tensor
    boxes: Tensor
    centerness: Tensor


def locations(image_size: tuple[int, int], strides: Sequence[int], offset: float = 0.5) -> Locations:
    """Where the locations of maps with these strides are in images of ``image_size``, (height, width).

    A location has a cell of stride x stride pixels, and is at ``offset`` strides from its upper left corner. Small
    objects are left to fine maps and large ones to coarse maps: the largest distance to an edge must lie between 4 and
    8 strides, neither of them included, as in torchvision (the paper includes both). For the finest map, 0 replaces the
    lower limit, and for the coarsest one infinity the upper limit.

    Raises ArgumentError unless the sizes are integers >= 1, and the strides too, from fine to coarse.

    Examples
    --------
    >>> locations((16, 8), strides=(8, 16)).points.tolist()
    [[4.0, 4.0], [4.0, 12.0], [8.0, 8.0]]
    """
    steps = tuple(strides) if isinstance(strides, (tuple, list)) else ()
    if not steps or not all(checks.is_integer(step, 1) for step in steps) or list(steps) != sorted(set(steps)):
        raise ArgumentError(
            f"locations: strides is {strides!r}; it must be integers >= 1, from fine to coarse, such as (8, 16, 32)."
        )
    size = checks.pair("locations", image_size, "image_size", 1)
    return _locations(size, steps, checks.fraction("locations", offset, "offset"))


@lru_cache(maxsize=64)
def _locations(image_size: tuple[int, int], strides: tuple[int, ...], offset: float) -> Locations:
    points, sizes, ranges = [], [], []
    for stride in strides:
        rows, columns = (-(-side // stride) for side in image_size)  # rounded up, as the convolutions do
        y, x = np.mgrid[:rows, :columns].reshape(2, -1)  # (2, rows * columns)
        points.append((np.stack([x, y], axis=1) + offset) * stride)
        sizes.append(np.full(len(x), stride, float))
        lower = 4 * stride if stride > strides[0] else 0
        ranges.append(np.tile([lower, 8 * stride if stride < strides[-1] else np.inf], (len(x), 1)))
    found = Locations(np.concatenate(points), np.concatenate(sizes), np.concatenate(ranges))
    for array in found:
        array.flags.writeable = False  # all callers get the same arrays
    return found


def assign(objects: Objects, places: Locations) -> Array:
    """Which object each location is responsible for.

    A location is responsible for an object if it lies inside its box, less than 1.5 strides from its centre in x and in
    y, and if the largest of the distances to the four edges is in the range of its map. Of several such objects, it is
    the smallest, and of equally small ones the first. No location is responsible for a crowd; inside of one, locations
    are background like everywhere else.

    Parameters
    ----------
    objects : Objects
        The M objects of one image.
    places : Locations

    Returns
    -------
    array of int64, (L,)
        The number of the object, or -1 for background.
    """
    boxes = objects.boxes.astype(np.float64)  # (M, 4)
    if not len(objects):
        return np.full(len(places.points), -1)
    sides = distances(places.points[:, None], boxes)  # (L, M, 4): l t r b
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2  # (M, 2)
    away = np.abs(places.points[:, None] - centres).max(axis=2)  # (L, M)
    largest = sides.max(axis=2)  # (L, M)
    lower, upper = places.ranges.T[..., None]  # (L, 1) each
    matches = (away < RADIUS * places.strides[:, None]) & (sides.min(axis=2) > 0) & ~objects.crowd
    matches &= (lower < largest) & (largest < upper)
    areas = np.where(matches, np.prod(boxes[:, 2:] - boxes[:, :2], axis=1), np.inf)  # (L, M)
    return np.where(matches.any(axis=1), areas.argmin(axis=1), -1)


def distances(points: Array, boxes: Array) -> Array:
    """Return l, t, r, b (..., 4): how far each point (..., 2) is inside of the four edges of its box (..., 4)."""
    return np.concatenate([points - boxes[..., :2], boxes[..., 2:] - points], axis=-1)


def decode(sides: Any, points: Array, strides: Any) -> Any:
    """Return boxes x1, y1, x2, y2 (..., 4) from l, t, r, b in units of the stride. It is the inverse of ``distances``.

    ``sides`` (..., 4) is a tensor or an array, and so is the result; points are (..., 2), and strides (...).
    """
    steps = np.multiply.outer(strides, [-1, -1, 1, 1])  # (..., 4)
    corners = np.concatenate([points, points], axis=-1)  # (..., 4)
    return sides * _like(steps, sides) + _like(corners, sides)


def centerness(sides: Array) -> Array:
    """How central points are in their boxes: 1 in the middle, 0 at an edge (arXiv 1904.01355, equation 3).

    ``sides`` (..., 4) holds l, t, r, b > 0: it is NaN for points outside, so they must be left out before.
    """
    across, down = sides[..., 0::2], sides[..., 1::2]  # (..., 2): l and r, t and b
    return np.sqrt(across.min(axis=-1) / across.max(axis=-1) * down.min(axis=-1) / down.max(axis=-1))


def fcos_loss(outputs: tuple[Tensor, Tensor, Tensor], objects: Sequence[Objects], places: Locations) -> Losses:
    """The loss of a batch: focal loss of the classes, GIoU loss of the boxes, cross-entropy of the centerness.

    All locations take part in the first one, and only those with an object in the others. Each is the sum over the
    batch, divided by the number of locations with an object, or by 1 if there are none.

    Parameters
    ----------
    outputs : tuple of Tensor
        What FCOS returns for N images: class logits (N, L, K), l t r b (N, L, 4), centerness logits (N, L).
    objects : sequence of N Objects
        Their boxes are in pixels of the images that the network got.
    places : Locations
        ``model.locations((height, width))``.

    Returns
    -------
    Losses
        The sum, and its three parts.

    Raises
    ------
    ShapeError
        If the shapes of the outputs, or the numbers of images or of locations do not fit.
    LabelError
        If a label is not one of the classes 0 .. K - 1.
    """
    logits, sides, central = checked_outputs("fcos_loss", outputs, places)
    if wrong := [type(one).__name__ for one in objects if not isinstance(one, Objects)]:
        raise ArgumentError(f"fcos_loss: objects holds {wrong[0]}; it must hold an Objects for each image.")
    if len(objects) != len(logits):
        raise ShapeError(f"fcos_loss: there are outputs of {len(logits)} images, but objects of {len(objects)}.")
    owners = np.stack([assign(of_image, places) for of_image in objects])  # (N, L)
    image, place = np.nonzero(owners >= 0)  # (P,) each: the locations with an object
    boxes, labels = (np.concatenate([getattr(one, name) for one in objects]) for name in ("boxes", "labels"))
    if len(labels) and labels.max() >= logits.shape[2]:
        raise LabelError(
            f"fcos_loss: an object has label {labels.max()}, but the model has {logits.shape[2]} classes, 0 to "
            f"{logits.shape[2] - 1}."
        )
    before = np.cumsum([0, *map(len, objects)])  # how many objects the images before have
    own = owners[image, place] + before[image]  # (P,)
    boxes, labels = boxes[own], labels[own]  # (P, 4), (P,)
    points = places.points[place]  # (P, 2)
    present = np.zeros(logits.shape)  # (N, L, K)
    present[image, place, labels] = 1
    count = max(1, len(place))
    of_classes = ops.sigmoid_focal_loss(logits, _like(present, logits), reduction="sum") / count
    found = decode(sides[image, place], points, places.strides[place])  # (P, 4)
    of_boxes = ops.giou_loss(found, _like(boxes, found), reduction="sum") / count
    truth = np.zeros(central.shape)  # (N, L)
    truth[image, place] = centerness(distances(points, boxes))
    losses = ops.binary_cross_entropy_with_logits(central, _like(truth, central), reduction="none")  # (N, L)
    of_centerness = losses[image, place].sum() / count
    return Losses(of_classes + of_boxes + of_centerness, of_classes, of_boxes, of_centerness)


def checked_outputs(function: str, outputs: Any, places: Locations) -> tuple[Any, Any, Any]:
    """Return the three outputs of FCOS. Raises an error unless they belong together and to these locations."""
    if not isinstance(places, Locations):
        raise ArgumentError(
            f"{function}: places is {type(places).__name__}; it must be model.locations((height, width))."
        )
    shapes = [np.shape(output) for output in outputs] if isinstance(outputs, (tuple, list)) else []
    n_l = tuple(shapes[0][:2]) if shapes else ()
    if len(shapes) != 3 or len(shapes[0]) != 3 or tuple(shapes[1]) != (*n_l, 4) or tuple(shapes[2]) != n_l:
        given = listed([sizes(shape) for shape in shapes]) if shapes else type(outputs).__name__
        raise ShapeError(
            f"{function}: outputs are {given}; they must be the three of an FCOS, (N, L, K), (N, L, 4) and (N, L)."
        )
    logits, sides, central = outputs
    if logits.shape[1] != len(places.points):
        raise ShapeError(
            f"{function}: the outputs have {logits.shape[1]} locations, but places has {len(places.points)}; pass "
            "model.locations((height, width)) of the images, whose sides should be multiples of the largest stride."
        )
    return logits, sides, central


def _like(array: Array, x: Any) -> Any:
    """Return an array with the dtype of x: a tensor on the device of x if that is a tensor."""
    array = array.astype(x.dtype)
    return Tensor.wrap(backend.to_device(array, x.device)) if isinstance(x, Tensor) else array
