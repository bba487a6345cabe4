"""For the tests of published weights: the files, and the images that the publishers tested them on."""

import numpy as np
from reference import needed

# As the publisher normalises: x / 255, minus the mean and divided by the standard deviation of ImageNet.
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
ERRORS = {"resnet20": 827, "resnet56": 661}  # of the 10,000 test images, counted in PyTorch


def weights(name):
    return needed(f"weights/{name}.safetensors")


def cifar10_test():
    """The images (10000, 3, 32, 32), normalised as the networks expect, and their labels."""
    rows = np.fromfile(needed("cifar-10-batches-bin/test_batch.bin"), np.uint8).reshape(10_000, 1 + 3 * 32 * 32)
    images = rows[:, 1:].reshape(-1, 3, 32, 32).astype(np.float32) / 255
    mean, std = (np.array(values, np.float32).reshape(1, 3, 1, 1) for values in (MEAN, STD))
    return (images - mean) / std, rows[:, 0].astype(np.int64)
