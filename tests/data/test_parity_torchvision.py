"""Transforms against torchvision's, where it is installed."""

import numpy as np
import pytest

from minires.data.transforms import ColorJitter, RandomResizedCrop

torch = pytest.importorskip("torch", reason="PyTorch is not installed")
import torch_side  # noqa: E402

pytestmark = pytest.mark.parity


@pytest.fixture(scope="module")
def functional():
    return torch_side.reference("torchvision.transforms.v2.functional")


def images(n, channels, height, width, dtype):
    values = np.random.default_rng(n).integers(0, 256, (n, channels, height, width), dtype=np.uint8)
    return values if dtype == np.uint8 else (values / 255).astype(dtype)


@pytest.mark.parametrize("name", ["brightness", "contrast", "saturation"])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("factor", [0.0, 0.35, 1.0, 1.9])
def test_color_jitter_as_torchvision(functional, name, channels, factor):
    transform = ColorJitter(**{name: (factor, factor)})
    for dtype, accuracy in ((np.float32, 1e-6), (np.uint8, 2)):  # torchvision cuts off the fractions of grey and result
        batch = images(4, channels, 7, 6, dtype)
        expected = getattr(functional, f"adjust_{name}")(torch.from_numpy(batch), factor).numpy()
        result = transform(batch, np.random.default_rng(0))
        np.testing.assert_allclose(result.astype(float), expected.astype(float), rtol=0, atol=accuracy)


@pytest.mark.parametrize("size", [(4, 5), (40, 50), (17, 9)])
def test_resized_crop_as_torchvision(functional, size):
    crop = RandomResizedCrop(size)
    for dtype, accuracy in ((np.float32, 1e-5), (np.uint8, 1)):
        batch = images(5, 3, 21, 30, dtype)
        result = crop(batch, np.random.default_rng(5))
        rectangles = zip(*crop.rectangles(5, 21, 30, np.random.default_rng(5)), strict=True)
        for image, new, (top, left, h, w) in zip(batch, result, rectangles, strict=True):
            box = (int(top), int(left), int(h), int(w))
            expected = functional.resized_crop(torch.from_numpy(image), *box, list(size), antialias=True).numpy()
            np.testing.assert_allclose(new.astype(float), expected.astype(float), rtol=0, atol=accuracy)
