"""Drawing what a network found: boxes with names, and masks, on images."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..core.backend import Array
from ..data.annotated import IGNORED
from ..errors import printable
from ..interop.files import write_atomically

if TYPE_CHECKING:
    from PIL.Image import Image

# Of classes; readers with any kind of colour vision can tell the first ones apart (Okabe and Ito, 2008).
COLOURS = (
    (230, 159, 0), (86, 180, 233), (0, 158, 115), (240, 228, 66), (0, 114, 178), (213, 94, 0), (204, 121, 167),
    (153, 153, 153),
)  # fmt: skip
SMALLEST = 256  # pixels along the longer side; smaller images are enlarged, so that names can be read
GAP = 6  # pixels between the images of a sheet
LINE = 20  # pixels, the height of a line of text on a sheet


def colour_of(number: int) -> tuple[int, int, int]:
    """Return the colour of a class or of a track."""
    red, green, blue = COLOURS[number % len(COLOURS)]
    return red, green, blue


def as_image(pixels: Array, smallest: int = 1) -> Image:
    """Convert bytes (C, H, W) to an image of Pillow, enlarged by a whole factor if it is smaller than ``smallest``."""
    from PIL import Image as Pillow

    colour = _colours(pixels).transpose(1, 2, 0)  # (H, W, 3)
    factor = max(1, math.ceil(smallest / max(pixels.shape[1:])))
    image = Pillow.fromarray(np.ascontiguousarray(colour))
    return image.resize((image.width * factor, image.height * factor), Pillow.Resampling.NEAREST)


def _colours(pixels: Array) -> Array:
    """Return the first three channels of an image (C, H, W), or the first one three times."""
    return np.broadcast_to(pixels[:3] if len(pixels) >= 3 else pixels[:1], (3, *pixels.shape[1:]))


def draw_boxes(
    pixels: Array, boxes: Array, numbers: Sequence[int], names: Sequence[str], smallest: int = SMALLEST
) -> Image:
    """Draw boxes on an image, the first one last, so that it hides others.

    Parameters
    ----------
    pixels : array of uint8, (C, H, W)
    boxes : array, (M, 4)
        x1, y1, x2, y2 in pixels.
    numbers : sequence of M int
        Of the colours: classes, or identities.
    names : sequence of M str
        What is written at each box.
    smallest : int
        Smaller images are enlarged to this many pixels along their longer side.
    """
    from PIL import ImageDraw, ImageFont

    image = as_image(pixels, smallest)
    factor = image.width / pixels.shape[2]
    width = max(1, round(max(image.size) / 160))
    draw, font = ImageDraw.Draw(image), ImageFont.load_default(max(11, max(image.size) // 28))
    drawn = list(zip(np.asarray(boxes) * factor, numbers, names, strict=True))
    for box, number, name in reversed(drawn):
        colour, (left, top, right, bottom) = colour_of(number), (round(float(side)) for side in box)
        draw.rectangle((left, top, max(left, right - 1), max(top, bottom - 1)), outline=colour, width=width)
        text = printable(name)
        _, _, across, down = draw.textbbox((0, 0), text, font=font)
        corner = min(max(left, 0), max(0, image.width - int(across))), top - down if top >= down else top
        draw.rectangle((corner[0], corner[1], corner[0] + across, corner[1] + down), fill=colour)
        draw.text(corner, text, fill="black", font=font)
    return image


def draw_mask(pixels: Array, mask: Array, smallest: int = 1) -> Image:
    """Blend an image (C, H, W) with the colours of its mask (H, W). Class 0, the background, stays as it is."""
    painted = _colours(pixels).copy()
    for number in np.unique(mask):
        if number not in (0, IGNORED):
            here = mask == number  # (H, W)
            painted[:, here] = painted[:, here] // 3 + np.array(colour_of(number - 1))[:, None] * 2 // 3
    painted[:, mask == IGNORED] = 255
    return as_image(painted.astype(np.uint8), smallest)


def write_sheet(
    path: Path, rows: Sequence[Sequence[Any]], titles: Sequence[str] = (), legend: Sequence[str] = ()
) -> None:
    """Write a sheet of images of Pillow, row by row.

    ``titles`` stand above the columns. ``legend`` names the classes whose colours are shown below, from class 0 on.
    Raises DataError if ``path`` cannot be written.
    """
    from PIL import Image as Pillow
    from PIL import ImageDraw, ImageFont

    columns = range(max(map(len, rows)))  # the last row may be shorter
    lefts = np.cumsum([0, *(max(row[j].width for row in rows if j < len(row)) + GAP for j in columns)]).tolist()
    heights = [max(image.height for image in row) + GAP for row in rows]
    tops = np.cumsum([LINE if titles else 0, *heights]).tolist()
    sheet = Pillow.new("RGB", (lefts[-1] - GAP, tops[-1] + (LINE if legend else -GAP)), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(LINE - 7)
    for row, top in zip(rows, tops, strict=False):
        for image, left in zip(row, lefts, strict=False):
            sheet.paste(image, (left, top))
    for title, left in zip(titles, lefts, strict=False):
        draw.text((left, 1), title, fill="black", font=font)
    right = 0
    for number, name in enumerate(map(printable, legend)):
        draw.rectangle((right, tops[-1] + 4, right + LINE - 9, tops[-1] + LINE - 5), fill=colour_of(number))
        draw.text((right + LINE - 4, tops[-1]), name, fill="black", font=font)
        right += LINE + int(draw.textlength(name, font=font)) + 2 * GAP
    png = io.BytesIO()
    sheet.save(png, format="png")
    write_atomically(path, png.getvalue())
