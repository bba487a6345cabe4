"""Convolution as im2col and one matrix product.

im2col copies the window that each output pixel sees into a row; convolution is then a matrix product::

    x (N, C, H, W)  --im2col-->  rows (N*OH*OW, C*KH*KW)  @  weight.T (C*KH*KW, O)  -->  y (N*OH*OW, O)

The product has one row for each pixel, with the channels innermost, so the memory order is (N, H, W, C), although the
shape is (N, C, H, W). Each function here ends with a transposed view, which the next function transposes back without
a copy.

Three ops are closed under differentiation: the convolution, its gradient with respect to the input (the transposed
convolution) and its gradient with respect to the weight. Each is linear in both of its arguments, and its derivatives
are computed by the other two.
"""

import math
from dataclasses import dataclass, replace
from typing import Any

from ..core import checks
from ..core.autograd import Op, Shape
from ..core.backend import Array, array_module
from ..core.checks import Pair
from ..core.tensor import Tensor, TensorLike
from ..errors import ArgumentError, ShapeError, sizes


@dataclass(frozen=True)
class Window:
    """The geometry of a sliding window; every field is (height, width)."""

    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int]
    dilation: tuple[int, int] = (1, 1)

    @classmethod
    def of(cls, op: str, kernel: Any, stride: Any, padding: Any, dilation: Any = 1) -> "Window":
        """Check an op's arguments, each an int or a pair of ints, and return the window."""
        checked = checks.pair(op, kernel, "kernel_size", 1), checks.pair(op, stride, "stride", 1)
        return cls(*checked, checks.pair(op, padding, "padding", 0), checks.pair(op, dilation, "dilation", 1))

    @property
    def covered(self) -> tuple[int, int]:
        """How many pixels the kernel covers along each axis, with the gaps of its dilation."""
        (kh, kw), (dh, dw) = self.kernel, self.dilation
        return dh * (kh - 1) + 1, dw * (kw - 1) + 1

    def missing(self, h: int, w: int) -> tuple[int, int]:
        """Return how many rows and columns ``ceil_mode`` must add at the end so that no pixels are left over."""
        found = []
        for size, covered, s, p in zip((h, w), self.covered, self.stride, self.padding, strict=True):
            last = min(-((covered - size - 2 * p) // s), (size + p - 1) // s) * s  # where the last window begins
            found.append(max(0, last + covered - size - 2 * p))
        return found[0], found[1]

    def output_size(self, op: str, h: int, w: int) -> tuple[int, int]:
        """Return (OH, OW), how many windows fit into an image (H, W). Pixels left over at the end are dropped."""
        (ch, cw), (sh, sw), (ph, pw) = self.covered, self.stride, self.padding
        for axis, size, covered in (("H", h + 2 * ph, ch), ("W", w + 2 * pw, cw)):
            if covered > size:
                raise ShapeError(f"{op}: the kernel covers {covered} along {axis}, but x has {size}; use more padding.")
        return (h + 2 * ph - ch) // sh + 1, (w + 2 * pw - cw) // sw + 1

    def slices(self, oh: int, ow: int) -> list[tuple[int, int, slice, slice]]:
        """Return (i, j, rows, columns) for each kernel element (i, j): the padded image's pixels that it applies to."""
        (kh, kw), (sh, sw), (dh, dw) = self.kernel, self.stride, self.dilation
        rows = [slice(i * dh, i * dh + sh * (oh - 1) + 1, sh) for i in range(kh)]
        columns = [slice(j * dw, j * dw + sw * (ow - 1) + 1, sw) for j in range(kw)]
        return [(i, j, rows[i], columns[j]) for i in range(kh) for j in range(kw)]


def unfold(x: Array, window: Window, fill: float = 0.0) -> Array:
    """im2col on arrays: (N, C, H, W) -> (N, OH, OW, C, KH, KW). The padding is filled with ``fill``."""
    n, c, h, w = x.shape
    (kh, kw), (ph, pw) = window.kernel, window.padding
    oh, ow = window.output_size("im2col", h, w)
    xp = array_module(x)
    padded = xp.full((n, h + 2 * ph, w + 2 * pw, c), fill, x.dtype)
    padded[:, ph : ph + h, pw : pw + w] = x.transpose(0, 2, 3, 1)  # (N, H, W, C)
    windows = xp.empty((n, oh, ow, c, kh, kw), x.dtype)
    for i, j, rows, columns in window.slices(oh, ow):
        windows[..., i, j] = padded[:, rows, columns]  # (N, OH, OW, C)
    return windows


def fold(windows: Array, image: tuple[int, ...], window: Window) -> Array:
    """col2im on arrays, the adjoint of ``unfold``: (N, OH, OW, C, KH, KW) -> (N, C, H, W). Overlaps are added."""
    n, oh, ow, c, _, _ = windows.shape
    (h, w), (ph, pw) = image, window.padding
    padded = array_module(windows).zeros((n, h + 2 * ph, w + 2 * pw, c), windows.dtype)
    for i, j, rows, columns in window.slices(oh, ow):
        padded[:, rows, columns] += windows[..., i, j]  # (N, OH, OW, C)
    return padded[:, ph : ph + h, pw : pw + w].transpose(0, 3, 1, 2)  # (N, C, H, W)


class Im2Col(Op, name="im2col", saves="shapes"):
    def __init__(self, window: Window) -> None:
        self.window = window

    def forward(self, x: Array) -> Array:
        windows = unfold(x, self.window)
        return windows.reshape(*windows.shape[:3], math.prod(windows.shape[3:]))  # (N, OH, OW, C*KH*KW)

    def backward(self, upstream: Tensor) -> Tensor:
        return Col2Im(self.input_shapes[0], self.window)(upstream)


def im2col(x: TensorLike, kernel_size: Pair, stride: Pair = 1, padding: Pair = 0, dilation: Pair = 1) -> Tensor:
    """Copy the window that each output pixel sees into a row.

    Parameters
    ----------
    x : Tensor, (N, C, H, W)
    kernel_size, stride, padding, dilation : int or (int, int)
        An int applies to both height and width. The padding consists of zeros.

    Returns
    -------
    Tensor, (N, OH, OW, C*KH*KW)
        The last axis has the order of ``weight.reshape(O, -1)``: channel, kernel row, kernel column.

    Raises
    ------
    ShapeError
        If x does not have four axes, or the kernel is larger than the padded images.
    ArgumentError
        If the kernel size, stride, padding or dilation is invalid.

    Examples
    --------
    >>> import minires as mr
    >>> image = mr.tensor([[[[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]]])
    >>> mr.ops.im2col(image, kernel_size=2)
    tensor([[[[1., 2., 4., 5.],
              [2., 3., 5., 6.]]]])
    """
    return Im2Col(Window.of("im2col", kernel_size, stride, padding, dilation))(checks.images("im2col", x, kinds="fiub"))


class Col2Im(Op, name="col2im", saves="shapes"):
    def __init__(self, x_shape: tuple[int, ...], window: Window) -> None:
        self.x_shape, self.window = x_shape, window

    def forward(self, cols: Array) -> Array:
        _, c, h, w = self.x_shape
        windows = cols.reshape(*cols.shape[:3], c, *self.window.kernel)  # (N, OH, OW, C, KH, KW)
        return fold(windows, (h, w), self.window)  # (N, C, H, W)

    def backward(self, upstream: Tensor) -> Tensor:
        return Im2Col(self.window)(upstream)


def col2im(
    cols: TensorLike, x_shape: Any, kernel_size: Pair, stride: Pair = 1, padding: Pair = 0, dilation: Pair = 1
) -> Tensor:
    """The adjoint of ``im2col``: put its rows back into images. Where windows overlap, their elements are added.

    ``cols`` has the shape (N, OH, OW, C*KH*KW), ``x_shape`` is the shape (N, C, H, W) of the result, and the other
    arguments are those of :func:`im2col`. Raises ShapeError if they do not fit together.
    """
    cols = checks.floats("col2im", cols, "cols")
    window = Window.of("col2im", kernel_size, stride, padding, dilation)
    shape = tuple(x_shape) if isinstance(x_shape, (tuple, list)) else ()
    if len(shape) != 4 or not all(checks.is_integer(size, 0) for size in shape):
        raise ArgumentError(f"col2im: x_shape is {x_shape!r}; it must be four integers, (N, C, H, W).")
    n, c, h, w = shape
    expected = (n, *window.output_size("col2im", h, w), c * math.prod(window.kernel))
    if cols.shape != expected:
        raise ShapeError(f"col2im: cols is {sizes(cols.shape)}, but x_shape {sizes(shape)} needs {sizes(expected)}.")
    return Col2Im(shape, window)(cols)


def _by_group(cols: Array, groups: int) -> Array:
    """(N, OH, OW, G*K) -> (G, N*OH*OW, K), one matrix for each group. The last axis, G*K, may also be several axes."""
    return cols.reshape(-1, groups, math.prod(cols.shape[3:]) // groups).transpose(1, 0, 2)


class Conv2d(Op):
    """y[n,o,p,q] = bias[o] + sum over c, i, j of x[n, c, p*SH + i*DH - PH, q*SW + j*DW - PW] * weight[o, c, i, j]."""

    def __init__(self, window: Window, groups: int) -> None:
        self.window, self.groups = window, groups

    def forward(self, x: Array, weight: Array, bias: Array | None = None) -> Array:
        o, g = len(weight), self.groups
        windows = unfold(x, self.window)  # (N, OH, OW, C, KH, KW)
        n, oh, ow = windows.shape[:3]
        rows = _by_group(windows, g)  # (G, N*OH*OW, C/G*KH*KW)
        filters = weight.reshape(g, o // g, -1).transpose(0, 2, 1)  # (G, C/G*KH*KW, O/G)
        y = (rows @ filters).transpose(1, 0, 2).reshape(n, oh, ow, o)  # (G, N*OH*OW, O/G) -> (N, OH, OW, O)
        y = y if bias is None else y + bias
        return y.transpose(0, 3, 1, 2)  # (N, O, OH, OW)

    def backward(self, upstream: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, *bias = self.inputs
        dx = ConvTranspose2d(self.window, self.groups, x.shape[2:])(upstream, weight) if self.needs(0) else None
        dweight = Conv2dGradWeight(self.window, self.groups)(x, upstream) if self.needs(1) else None
        return (dx, dweight, *(upstream.sum(axis=(0, 2, 3)) for _ in bias))

    def multiply_adds(self, output: Shape, *inputs: Shape) -> int:
        return math.prod(output) * math.prod(inputs[1][1:])  # N*O*OH*OW outputs, each from C/G*KH*KW inputs


class ConvTranspose2d(Op):
    """The gradient of conv2d with respect to its input: each pixel adds its gradient, times the weight, to its window.

    ``image`` is the size (H, W) of the result. It must be given because conv2d drops leftover rows and columns, so
    images of several sizes have the same output size.
    """

    def __init__(self, window: Window, groups: int, image: tuple[int, ...]) -> None:
        self.window, self.groups, self.image = window, groups, image

    def forward(self, x: Array, weight: Array, bias: Array | None = None) -> Array:
        (n, o, oh, ow), g = x.shape, self.groups
        rows = _by_group(x.transpose(0, 2, 3, 1), g)  # (N, OH, OW, O) -> (G, N*OH*OW, O/G)
        filters = weight.reshape(g, o // g, -1)  # (G, O/G, C/G*KH*KW)
        cols = (rows @ filters).transpose(1, 0, 2)  # (N*OH*OW, G, C/G*KH*KW)
        windows = cols.reshape(n, oh, ow, g * weight.shape[1], *self.window.kernel)  # (N, OH, OW, C, KH, KW)
        y = fold(windows, self.image, self.window)  # (N, C, H, W)
        return y if bias is None else y + bias.reshape(-1, 1, 1)  # (C, 1, 1)

    def backward(self, upstream: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, *bias = self.inputs
        _, _, oh, ow = x.shape  # a large output padding makes room for more windows
        dx = Conv2d(self.window, self.groups)(upstream, weight)[:, :, :oh, :ow] if self.needs(0) else None
        dweight = Conv2dGradWeight(self.window, self.groups)(upstream, x) if self.needs(1) else None
        return (dx, dweight, *(upstream.sum(axis=(0, 2, 3)) for _ in bias))

    def multiply_adds(self, output: Shape, *inputs: Shape) -> int:
        return math.prod(inputs[0]) * math.prod(inputs[1][1:])  # each element is multiplied by a whole window


class Conv2dGradWeight(Op):
    """The gradient of conv2d with respect to its weight: the sum of all windows, each times its pixel's gradient."""

    def __init__(self, window: Window, groups: int) -> None:
        self.window, self.groups = window, groups

    def forward(self, x: Array, upstream: Array) -> Array:
        _, _, oh, ow = upstream.shape
        windows = unfold(x, self.window)[:, :oh, :ow]  # (N, OH, OW, C, KH, KW)
        rows = _by_group(windows, self.groups)  # (G, N*OH*OW, C/G*KH*KW)
        dy = _by_group(upstream.transpose(0, 2, 3, 1), self.groups)  # (G, N*OH*OW, O/G)
        dweight = dy.transpose(0, 2, 1) @ rows  # (G, O/G, C/G*KH*KW)
        return dweight.reshape(upstream.shape[1], x.shape[1] // self.groups, *self.window.kernel)  # (O, C/G, KH, KW)

    def backward(self, upstream: Tensor) -> tuple[Tensor | None, Tensor | None]:
        x, dy = self.inputs
        dx = ConvTranspose2d(self.window, self.groups, x.shape[2:])(dy, upstream) if self.needs(0) else None
        _, _, oh, ow = dy.shape
        ddy = Conv2d(self.window, self.groups)(x, upstream)[:, :, :oh, :ow] if self.needs(1) else None
        return dx, ddy

    def multiply_adds(self, output: Shape, *inputs: Shape) -> int:
        return math.prod(inputs[1]) * math.prod(output[1:])


def conv_inputs(
    op: str, x: TensorLike, weight: TensorLike, bias: TensorLike | None, groups: int, transposed: bool = False
) -> list[Tensor]:
    """Return [x, weight] or [x, weight, bias] as tensors, after checking that their sizes fit."""
    x = checks.images(op, x, unbatched=True)
    layout = "(C, O, KH, KW)" if transposed else "(O, C, KH, KW)"
    weight = checks.floats(op, weight, "weight", like=x)
    checks.axes(op, weight, 4, layout, "weight")
    filters, others, _, _ = weight.shape
    channels, _, columns = x.shape[-3:]
    if 0 in weight.shape:
        raise ShapeError(f"{op}: weight ({sizes(weight.shape)}, {layout}) is empty.")
    if filters % groups:
        raise ShapeError(f"{op}: the {filters} filters of weight ({sizes(weight.shape)}) cannot form {groups} groups.")
    expected, outputs = (filters, others * groups) if transposed else (others * groups, filters)
    if channels != expected:
        needed = f"weight ({sizes(weight.shape)}, {layout}) with groups={groups} expects {expected}"
        hint = f" Is x channels-last? {op} takes (N, C, H, W)." if columns == expected else ""
        raise ShapeError(f"{op}: x has {channels} channels (x: {sizes(x.shape)}) but {needed}.{hint}")
    return [x, weight, *checks.bias(op, bias, outputs, x)]


def conv_window(op: str, kernel: Any, stride: Any, padding: Any, dilation: Any) -> Window:
    """Check the arguments of a convolution, whose padding may also be "same" or "valid", and return its window."""
    window = Window.of(op, kernel, stride, 0 if isinstance(padding, str) else padding, dilation)
    if isinstance(padding, str) and checks.choice(op, padding, "padding", ("same", "valid")) == "same":
        if window.stride != (1, 1):
            raise ArgumentError(f"{op}: padding='same' needs stride 1, not {stride!r}; give the padding in numbers.")
        height, width = window.covered
        window = replace(window, padding=(height // 2, width // 2))
    return window


def on_images(op: Op, x: Tensor, *parameters: Tensor) -> Tensor:
    """Apply an op to a batch of images, (N, C, H, W), or to one image, (C, H, W)."""
    return op(x, *parameters) if x.ndim == 4 else op(x.expand_dims(0), *parameters).squeeze(0)


def conv2d(
    x: TensorLike, weight: TensorLike, bias: TensorLike | None = None, stride: Pair = 1, padding: Pair | str = 0,
    dilation: Pair = 1, groups: int = 1,
) -> Tensor:  # fmt: skip
    """Two-dimensional convolution (the kernel is not flipped, as in every deep-learning library).

    Parameters
    ----------
    x : Tensor, (N, C, H, W) or (C, H, W)
    weight : Tensor, (O, C/groups, KH, KW)
    bias : Tensor, (O,), optional
    stride, padding, dilation : int or (int, int)
        An int applies to both height and width. The padding consists of zeros. It may also be "valid", which is 0, or
        "same": with stride 1, the result has the size of x; for an even kernel, one zero more is added at the end.
    groups : int
        The number of groups that the channels are split into; each group is convolved separately.

    Returns
    -------
    Tensor, (N, O, OH, OW) or (O, OH, OW)
        OH = (H + 2 PH - DH (KH - 1) - 1) // SH + 1, and OW likewise; leftover rows and columns are dropped.

    Raises
    ------
    ShapeError
        If the sizes of x, weight and bias do not fit together, or the kernel is larger than the padded images.
    ArgumentError
        If the stride, padding, dilation or number of groups is invalid.
    DTypeError
        If x, weight or bias does not hold floats, or their dtypes differ.
    """
    groups = checks.integer("conv2d", groups, "groups", 1)
    inputs = conv_inputs("conv2d", x, weight, bias, groups)
    y = convolve(inputs, conv_window("conv2d", inputs[1].shape[2:], stride, padding, dilation), groups)
    h, w = inputs[0].shape[-2:]
    return y[..., -h:, -w:] if padding == "same" and y.shape[-2:] != (h, w) else y  # an even kernel gives one more


def convolve(inputs: list[Tensor], window: Window, groups: int) -> Tensor:
    """Convolve [x, weight] or [x, weight, bias], which have been checked, as the window has."""
    window.output_size("conv2d", *inputs[0].shape[-2:])
    return on_images(Conv2d(window, groups), *inputs)


def conv_transpose2d(
    x: TensorLike, weight: TensorLike, bias: TensorLike | None = None, stride: Pair = 1, padding: Pair = 0,
    output_padding: Pair = 0, groups: int = 1, dilation: Pair = 1,
) -> Tensor:  # fmt: skip
    """The transpose of :func:`conv2d` as a linear map, which enlarges images by the stride.

    ``weight`` (C, O/groups, KH, KW), stride, padding and dilation are those of the convolution from O to C channels
    that is transposed; ``output_padding`` adds rows and columns at the end. The result has the shape (N, O, OH, OW),
    where OH = (H - 1) SH - 2 PH + DH (KH - 1) + output_padding + 1, and OW likewise. The errors are those of
    :func:`conv2d`.
    """
    groups = checks.integer("conv_transpose2d", groups, "groups", 1)
    x, *parameters = conv_inputs("conv_transpose2d", x, weight, bias, groups, transposed=True)
    window = Window.of("conv_transpose2d", parameters[0].shape[2:], stride, padding, dilation)
    more = output_padding_pair(output_padding, window)
    geometry = zip(x.shape[-2:], window.covered, window.stride, window.padding, more, strict=True)
    image = tuple((size - 1) * s - 2 * p + covered + e for size, covered, s, p, e in geometry)
    if min(image) < 1:
        raise ShapeError(f"conv_transpose2d: x ({sizes(x.shape)}) would become {sizes(image)}; use less padding.")
    return on_images(ConvTranspose2d(window, groups, image), x, *parameters)


def output_padding_pair(output_padding: Pair, window: Window) -> tuple[int, int]:
    """Check the output padding of ``conv_transpose2d``, and return it as (height, width)."""
    more = checks.pair("conv_transpose2d", output_padding, "output_padding", 0)
    limits = tuple(map(max, window.stride, window.dilation))
    if not (more[0] < limits[0] and more[1] < limits[1]):
        raise ArgumentError(f"conv_transpose2d: output_padding is {output_padding!r}; it must be below {limits}.")
    return more
