"""A data set so small that a run on it takes a second."""

import numpy as np

from minires import data

CLASSES = ("left", "middle", "right")


def stripes():
    """Grey 6x9 images with a bright stripe at the left, in the middle or at the right."""

    def split(n):
        rng = np.random.default_rng(n)
        labels = np.arange(n) % 3
        images = rng.integers(0, 60, (n, 1, 6, 9), dtype=np.uint8)
        for image, label in zip(images, labels, strict=True):
            image[:, :, 3 * label : 3 * label + 3] += 180
        return data.Split(images, labels)

    return data.Dataset("digits", CLASSES, split(60), split(30))
