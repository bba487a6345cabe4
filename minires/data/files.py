"""Images that stay in their files until a batch asks for them, so that there may be more than memory holds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..errors import DataError, sizes
from .dataset import Array


@dataclass(frozen=True, eq=False)
class FileSplit:
    """The training or test part of a data set whose images are read anew each time; see :func:`folder`.

    Parameters
    ----------
    files : list of N str
    labels : array of int64, (N,)
        Class numbers, from 0.
    image_shape : (int, int, int)
        (C, H, W) of every image.
    resize : bool
        Whether images of another size are brought to it, or refused.
    texts : tuple of N str, optional
        What is written about each image.
    """

    files: list[str]
    labels: Array
    image_shape: tuple[int, int, int]
    resize: bool
    texts: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, chosen: Array) -> tuple[Array, Array]:
        """Read the images (B, C, H, W) of an array of B numbers, and give their labels (B,) with them.

        Raises
        ------
        DataError
            If one cannot be read, or is of another size.
        """
        from .images import read

        channels, height, width = self.image_shape
        images = np.empty((len(chosen), channels, height, width), np.uint8)
        for image, number in zip(images, chosen, strict=True):
            found = read(self.files[number], channels, (height, width) if self.resize else None)
            if found.shape != image.shape:
                raise DataError(
                    f"folder: {self.files[number]} is {sizes(found.shape[1:])}, but the first image is "
                    f"{sizes(image.shape[1:])}; give a size, such as size=32 or --size 32, to make them equal."
                )
            image[:] = found
        return images, self.labels[chosen]

    def __repr__(self) -> str:
        return f"FileSplit({len(self)} images of {sizes(self.image_shape)})"
