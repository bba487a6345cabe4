"""More random changes of training images: resized crops, changes of colour, cut-out squares, and mixed images."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from ..core import checks
from ..core.backend import Array, device_of, to_device
from ..core.checks import Pair
from ..errors import ArgumentError, DTypeError, ShapeError, sizes

GREY = (0.2989, 0.587, 0.114)  # weights of red, green and blue for the grey value (ITU-R BT.601)
Factor = float | Sequence[float]  # a strength, or the smallest and the largest factor
TRIES = 10  # number of random rectangles; the first that fits is used


class Described:
    """A transform whose ``repr`` shows its options."""

    def __repr__(self) -> str:
        options = ", ".join(f"{name}={value}" for name, value in vars(self).items())
        return f"{type(self).__name__}({options})"


class RandomResizedCrop(Described):
    """Cut a random rectangle out of each image and resize it (Szegedy et al., arXiv 1409.4842, section 6).

    As in torchvision, the rectangle's share of the image's area, the logarithm of its aspect ratio (width / height) and
    its position are drawn from uniform distributions. If 10 rectangles in a row do not fit into the image, the largest
    central rectangle with an allowed aspect ratio is used. Resizing is bilinear; shrinking averages over all pixels.

    Parameters
    ----------
    size : int or (int, int)
        Height and width of the new images.
    scale : (float, float)
        The smallest and the largest share of the image's area.
    ratio : (float, float)
        The smallest and the largest aspect ratio, width / height.

    Raises
    ------
    ArgumentError
        If a size is not an integer >= 1, or if ``scale`` or ``ratio`` is not a pair with 0 < low <= high.

    Examples
    --------
    >>> crop = RandomResizedCrop(24)
    >>> crop(np.zeros((2, 3, 32, 40), np.uint8), np.random.default_rng(0)).shape
    (2, 3, 24, 24)
    """

    def __init__(
        self, size: Pair, scale: Sequence[float] = (0.08, 1.0), ratio: Sequence[float] = (3 / 4, 4 / 3)
    ) -> None:
        self.size = checks.pair("RandomResizedCrop", size, "size", 1)
        self.scale = _range("RandomResizedCrop", "scale", scale)
        self.ratio = _range("RandomResizedCrop", "ratio", ratio)

    def __call__(self, batch: Array, rng: np.random.Generator) -> Array:
        """Return the resized crops, (N, C, OH, OW). Raises ShapeError or DTypeError unless ``batch`` holds images."""
        n, _, height, width = check_batch("RandomResizedCrop", batch)
        top, left, rows, columns = self.rectangles(n, height, width, rng)
        dtype = np.dtype(np.float32) if batch.dtype == np.uint8 else batch.dtype
        down = _weights(top, rows, height, self.size[0]).astype(dtype)  # (N, OH, H)
        across = _weights(left, columns, width, self.size[1]).astype(dtype)  # (N, OW, W)
        resized = down[:, None] @ batch.astype(dtype, copy=False) @ across[:, None].swapaxes(2, 3)  # (N, C, OH, OW)
        return np.rint(resized).astype(np.uint8) if batch.dtype == np.uint8 else resized

    def rectangles(
        self, n: int, height: int, width: int, rng: np.random.Generator
    ) -> tuple[Array, Array, Array, Array]:
        """Return top, left, height and width, (N,) each, of random rectangles in images of ``height`` by ``width``."""
        area = height * width * rng.uniform(*self.scale, (TRIES, n))
        narrow, wide = map(math.log, self.ratio)
        ratio = np.exp(rng.uniform(narrow, wide, (TRIES, n)))
        rows, columns = np.rint(np.sqrt(area / ratio)), np.rint(np.sqrt(area * ratio))  # (TRIES, N)
        fits = (rows > 0) & (rows <= height) & (columns > 0) & (columns <= width)
        first = fits.argmax(axis=0), np.arange(n)
        found = fits[first]

        whole = min(max(width / height, self.ratio[0]), self.ratio[1])  # the allowed ratio closest to that of the image
        largest = max(round(min(height, width / whole)), 1), max(round(min(width, height * whole)), 1)
        rows = np.where(found, rows[first], largest[0]).astype(np.int64)  # (N,)
        columns = np.where(found, columns[first], largest[1]).astype(np.int64)
        top = np.where(found, rng.integers(0, height - rows + 1), (height - rows) // 2)
        left = np.where(found, rng.integers(0, width - columns + 1), (width - columns) // 2)
        return top, left, rows, columns


def _weights(first: Array, length: Array, pixels: int, outputs: int) -> Array:
    """Return the weight of each pixel in each output along one axis, (N, outputs, pixels). Each row sums to 1.

    The weights fall linearly from the centre of an output to 0, over the width of one pixel or one output, whichever is
    larger. For each image, pixels outside the range from ``first`` to ``first + length`` have weight 0.
    """
    first, length = first[:, None, None], length[:, None, None]  # (N, 1, 1)
    step = length / outputs
    centre = first + (np.arange(outputs)[:, None] + 0.5) * step  # (N, outputs, 1)
    pixel = np.arange(pixels)
    weights = np.maximum(1 - np.abs(pixel + 0.5 - centre) / np.maximum(step, 1), 0)  # (N, outputs, pixels)
    weights *= (first <= pixel) & (pixel < first + length)
    return weights / weights.sum(axis=2, keepdims=True)


class ColorJitter(Described):
    """Change the brightness, contrast and saturation of each image by random factors, as torchvision defines them.

    Each change is a blend, factor * image + (1 - factor) * faded, clipped to the range from black to white. The faded
    image is black for brightness, the mean grey value for contrast, and the grey image for saturation. A factor below 1
    fades the image; a factor above 1 has the opposite effect. The three changes are applied in a random order, which is
    the same for the whole batch.

    Use it before ``Normalize``: it takes bytes, or floats from 0 (black) to 1 (white).

    Parameters
    ----------
    brightness, contrast, saturation : float or (float, float)
        A number v >= 0 means factors from max(0, 1 - v) to 1 + v; two numbers are the smallest and the largest factor.
        The default, 0, changes nothing.

    Raises
    ------
    ArgumentError
        If a value is neither a number >= 0 nor two numbers with 0 <= low <= high.

    Examples
    --------
    >>> twice_as_bright = ColorJitter(brightness=(2, 2))
    >>> images = np.array([0, 50, 200], np.uint8).reshape(1, 1, 1, 3)
    >>> twice_as_bright(images, np.random.default_rng(0)).ravel()
    array([  0, 100, 255], dtype=uint8)
    """

    def __init__(self, brightness: Factor = 0, contrast: Factor = 0, saturation: Factor = 0) -> None:
        self.brightness = _factors("brightness", brightness)
        self.contrast = _factors("contrast", contrast)
        self.saturation = _factors("saturation", saturation)

    def __call__(self, batch: Array, rng: np.random.Generator) -> Array:
        """Return the changed images, in the same shape and dtype. Bytes are rounded only once, at the end.

        Raises
        ------
        ShapeError
            If the batch is not (N, C, H, W) with 1 or 3 channels.
        DTypeError
            If it holds neither uint8 nor floats.
        ArgumentError
            If it holds floats outside of [0, 1].
        """
        n, channels, _, _ = check_batch("ColorJitter", batch)
        if channels not in (1, 3):
            raise ShapeError(f"ColorJitter: the batch ({sizes(batch.shape)}) has {channels} channels, not 1 or 3.")
        is_bytes = check_range("ColorJitter", batch)
        white = 255 if is_bytes else 1
        images = batch.astype(np.float32 if is_bytes else batch.dtype)
        for name in rng.permutation(["brightness", "contrast", "saturation"]):
            low, high = getattr(self, name)
            if low == high == 1:
                continue
            factor = rng.uniform(low, high, (n, 1, 1, 1)).astype(images.dtype)
            images = np.clip(factor * images + (1 - factor) * _faded(name, images), 0, white)
        return np.rint(images).astype(np.uint8) if is_bytes else images


def _faded(name: str, images: Array) -> Array | int:
    if name == "brightness":
        return 0
    red_green_blue = np.array(GREY, images.dtype).reshape(3, 1, 1)  # (3, 1, 1)
    grey = images if images.shape[1] == 1 else (images * red_green_blue).sum(axis=1, keepdims=True)
    return grey if name == "saturation" else grey.mean(axis=(1, 2, 3), keepdims=True)  # (N, 1, H, W) or (N, 1, 1, 1)


def _factors(name: str, value: Factor) -> tuple[float, float]:
    """Return the smallest and the largest factor."""
    if isinstance(value, (tuple, list)):
        return _range("ColorJitter", name, value, zero=True)
    strength = checks.not_negative("ColorJitter", value, name)
    return max(0.0, 1 - strength), 1 + strength


class Cutout(Described):
    """Fill a square of each image with zeros (DeVries & Taylor, arXiv 1708.04552).

    The centre of the square is a random pixel, so part of the square may lie outside the image; the paper found that
    this matters (section 3.2). Use it after ``Normalize``, as in the paper: there, zero is the mean colour, whereas in
    bytes it is black.

    Parameters
    ----------
    length : int
        Side of the square in pixels. The paper uses 16 for CIFAR-10 and 8 for CIFAR-100.

    Raises
    ------
    ArgumentError
        If ``length`` is not an integer >= 1.

    Examples
    --------
    >>> cut = Cutout(2)(np.ones((1, 1, 4, 4), np.float32), np.random.default_rng(0))
    >>> int(cut.sum())  # 16 pixels minus a square of 4
    12
    """

    def __init__(self, length: int) -> None:
        self.length = checks.integer("Cutout", length, "length", 1)

    def __call__(self, batch: Array, rng: np.random.Generator) -> Array:
        """Return a changed copy of ``batch``. Raises ShapeError or DTypeError unless ``batch`` holds images."""
        n, _, height, width = check_batch("Cutout", batch)
        tops = rng.integers(0, height, n) - self.length // 2
        lefts = rng.integers(0, width, n) - self.length // 2
        cut = batch.copy(order="K")  # keeps channels-last memory
        for image, top, left in zip(cut, tops, lefts, strict=True):
            image[:, max(top, 0) : top + self.length, max(left, 0) : left + self.length] = 0
        return cut


class MixUp(Described):
    """Mix each image with a random one of its batch (Zhang et al., arXiv 1710.09412, section 2).

    The target becomes lam times one class plus 1 - lam times the other. Cross-entropy is linear in the target, so the
    loss is the same mixture of two cross-entropies, and the labels remain class numbers::

        mixed, partners, lam = mixup(images, rng)
        logits = model(tensor(mixed))
        loss = lam * cross_entropy(logits, labels) + (1 - lam) * cross_entropy(logits, labels[partners])

    Parameters
    ----------
    alpha : float
        lam is drawn from Beta(alpha, alpha) once per batch: mostly near 0 or 1 if alpha is small, uniformly from [0, 1]
        if alpha is 1. The paper uses 1 for CIFAR-10 and 0.2 for ImageNet.

    Raises
    ------
    ArgumentError
        If ``alpha`` is not a number > 0.
    """

    def __init__(self, alpha: float = 1.0) -> None:
        self.alpha = checks.positive("MixUp", alpha, "alpha")

    def __call__(self, images: Array, rng: np.random.Generator) -> tuple[Array, Array, float]:
        """Mix a batch of images (N, C, H, W), which must be floats.

        Returns
        -------
        mixed : array, (N, C, H, W), of the same dtype
            lam * images + (1 - lam) * images[partners].
        partners : array of int64, (N,)
            For each image, the index of the image that it was mixed with.
        lam : float
            The weight of the original images, in [0, 1].

        Raises
        ------
        ShapeError
            If ``images`` is not (N, C, H, W).
        DTypeError
            If ``images`` does not hold floats; mixed bytes would have to be rounded.
        """
        n, *_ = check_batch("MixUp", images)
        if images.dtype == np.uint8:
            raise DTypeError(
                f"MixUp: the images ({sizes(images.shape)}) are uint8, but floats are needed; use it after Normalize."
            )
        lam = float(rng.beta(self.alpha, self.alpha))
        partners = rng.permutation(n)
        return lam * images + (1 - lam) * images[to_device_of(images, partners)], partners, lam


def check_batch(where: str, batch: Array) -> tuple[int, int, int, int]:
    """Check a batch of images, and return N, C, H and W.

    Raises ShapeError unless it is (N, C, H, W) with all sizes >= 1, and DTypeError unless it holds uint8 or floats.
    """
    if batch.ndim != 4 or 0 in batch.shape:
        raise ShapeError(f"{where}: the batch is {sizes(batch.shape)}; it must be (N, C, H, W), all of them >= 1.")
    if batch.dtype != np.uint8 and batch.dtype.kind != "f":
        raise DTypeError(f"{where}: the batch ({sizes(batch.shape)}) is {batch.dtype}; it must be uint8 or floats.")
    return batch.shape


def check_range(where: str, batch: Array) -> bool:
    """Check that a batch holds bytes or floats in [0, 1], and return whether it holds bytes.

    Checking bytes takes no time. Raises DTypeError for other dtypes, and ArgumentError for floats outside of [0, 1].
    """
    if batch.dtype == np.uint8:
        return True
    if batch.dtype.kind != "f":
        raise DTypeError(f"{where}: the batch ({sizes(batch.shape)}) is {batch.dtype}; it must be uint8 or floats.")
    low, high = (float(value) for value in (batch.min(), batch.max())) if batch.size else (0.0, 1.0)
    if not (low >= 0 and high <= 1):
        if math.isnan(low) or math.isinf(high - low):
            advice = "replace NaN and infinity, e.g. with np.nan_to_num"
        elif low >= 0 and high <= 255:
            advice = "divide floats of bytes by 255"
        else:
            advice = "put it before Normalize" if where == "ColorJitter" else "do not normalise a batch twice"
        raise ArgumentError(
            f"{where}: the batch holds floats from {low:g} to {high:g}, but floats must be in [0, 1]; {advice}."
        )
    return False


def to_device_of(batch: Array, numbers: Array) -> Array:
    """Move ``numbers``, which were drawn on the CPU, to the device of ``batch``."""
    return to_device(numbers, device_of(batch))


def _range(where: str, name: str, value: Sequence[float], zero: bool = False) -> tuple[float, float]:
    """Check two numbers above 0, the lower one first, and return them; with ``zero``, the lower one may be 0."""
    low, high = value if isinstance(value, (tuple, list)) and len(value) == 2 else (math.nan, math.nan)
    if not (checks.is_number(low) and checks.is_number(high) and 0 <= low <= high < math.inf and (zero or low > 0)):
        least = "0 <= low" if zero else "0 < low"
        raise ArgumentError(f"{where}: {name} is {value!r}; it must be two numbers, {least} <= high.")
    return float(low), float(high)
