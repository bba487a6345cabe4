"""What the ops accept, and the sentence that each says when something does not fit.

The textbook (``minires/ops``) is arithmetic; its manners are here. A check returns its arguments in the form that
the op works with: tensors for arrays and numbers, (height, width) for a single size, axes as sorted numbers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..errors import ArgumentError, DTypeError, LabelError, ShapeError, sizes
from .backend import to_device
from .state import state
from .tensor import Tensor, TensorLike, as_tensor

Pair = int | tuple[int, int]
Axis = int | Sequence[int] | None


def is_integer(value: object, minimum: float = -math.inf) -> bool:
    """Whether ``value`` is a whole number (True and False are none) of at least ``minimum``."""
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool) and bool(value >= minimum)


def is_number(value: object) -> bool:
    """Whether ``value`` is a number, and no boolean."""
    return isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)


def number(where: str, value: Any, name: str) -> float:
    """A number, as Python's: NumPy's float64 would turn float32 arrays into float64."""
    if not is_number(value):
        raise ArgumentError(f"{where}: {name} is {value!r}; it must be a number.")
    return float(value)


def integer(where: str, value: Any, name: str, minimum: int) -> int:
    """An integer >= ``minimum``."""
    if not is_integer(value, minimum):
        raise ArgumentError(f"{where}: {name} is {value!r}; it must be an integer >= {minimum}.")
    return int(value)


def pair(where: str, value: Any, name: str, minimum: int) -> tuple[int, int]:
    """An int, or two of them for height and width, as two ints >= ``minimum``."""
    both = tuple(value) if isinstance(value, (tuple, list)) else (value, value)
    if len(both) != 2 or not all(is_integer(size, minimum) for size in both):
        raise ArgumentError(f"{where}: {name} is {value!r}; it must be an integer >= {minimum}, or two of them.")
    return int(both[0]), int(both[1])


def positive(where: str, value: Any, name: str) -> float:
    """A number > 0."""
    if not is_number(value) or not 0 < value < math.inf:
        raise ArgumentError(f"{where}: {name} is {value!r}; it must be a number > 0.")
    return float(value)


def not_negative(where: str, value: Any, name: str) -> float:
    """A number >= 0."""
    if not is_number(value) or not 0 <= value < math.inf:
        raise ArgumentError(f"{where}: {name} is {value!r}; it must be a number >= 0.")
    return float(value)


def fraction(where: str, value: Any, name: str, below_one: bool = False) -> float:
    """A number in [0, 1], or in [0, 1) with ``below_one``."""
    if not is_number(value) or not 0 <= value <= 1 or (below_one and value == 1):
        raise ArgumentError(f"{where}: {name} is {value!r}; it must lie in [0, 1{')' if below_one else ']'}.")
    return float(value)


def floats(op: str, value: TensorLike, name: str = "x", like: Tensor | None = None) -> Tensor:
    """A tensor of floats."""
    x = as_tensor(value, like)
    if x.dtype.kind != "f":
        raise DTypeError(
            f"{op}: {name} ({sizes(x.shape)}) is {x.dtype}, but floats are needed; "
            f"convert it, e.g. {name}.to('float32')."
        )
    return x


def numbers(op: str, value: TensorLike) -> Tensor:
    """A tensor of numbers, not of booleans."""
    x = as_tensor(value)
    if x.dtype.kind == "b":
        raise DTypeError(f"{op}: x ({sizes(x.shape)}) is bool, but numbers are needed; convert it, or use x == False.")
    return x


def images(op: str, value: TensorLike) -> Tensor:
    """A batch of images: floats, (N, C, H, W)."""
    x = floats(op, value)
    axes(op, x, 4, "(N, C, H, W)", "x")
    return x


def axes(op: str, x: Tensor, ndim: int, layout: str, name: str) -> None:
    """``ndim`` axes; ``layout`` names them."""
    if x.ndim != ndim:
        hint = " A batch of one needs its own axis: x.expand_dims(0)." if name == "x" and x.ndim == ndim - 1 else ""
        raise ShapeError(
            f"{op}: {name} has {x.ndim} axes ({name}: {sizes(x.shape)}) but {ndim} are needed, {layout}.{hint}"
        )


def axis_numbers(op: str, axis: Axis, x: Tensor) -> tuple[int, ...]:
    """``axis`` (None stands for all) as sorted numbers >= 0."""
    if axis is None:
        return tuple(range(x.ndim))
    given = tuple(axis) if isinstance(axis, (tuple, list)) else (axis,)
    for a in given:
        if not is_integer(a) or not -x.ndim <= a < x.ndim:
            raise ShapeError(f"{op}: axis {a!r} does not exist in x ({sizes(x.shape)}), which has {x.ndim} axes.")
    found = sorted({int(a) % x.ndim for a in given})
    if len(found) < len(given):
        raise ArgumentError(f"{op}: axis {axis!r} names an axis twice.")
    return tuple(found)


def one_axis(op: str, axis: Any, x: Tensor) -> int:
    """A single axis as a number >= 0."""
    if isinstance(axis, (tuple, list)) or axis is None:
        raise ArgumentError(f"{op}: axis is {axis!r}; it must be one integer.")
    return axis_numbers(op, axis, x)[0]


def new_axis(op: str, axis: Any, x: Tensor) -> int:
    """The place of an axis that x does not have yet, counted in the result."""
    if not is_integer(axis) or not -x.ndim - 1 <= axis <= x.ndim:
        raise ShapeError(f"{op}: axis {axis!r} is no place for a new axis among the {x.ndim} of x ({sizes(x.shape)}).")
    return int(axis) % (x.ndim + 1)


def filled_axes(op: str, axis: Axis, x: Tensor) -> tuple[tuple[int, ...], int]:
    """The axes of a reduction that needs at least one element, and how many it takes together."""
    numbers = axis_numbers(op, axis, x)
    count = math.prod(x.shape[a] for a in numbers)
    if count == 0:
        raise ShapeError(f"{op}: x ({sizes(x.shape)}) has no element along axes {numbers}.")
    return numbers, count


def broadcast(op: str, a: TensorLike, b: TensorLike) -> tuple[Tensor, Tensor]:
    """Two tensors whose shapes broadcast; numbers and integers take the dtype of the other's floats."""
    a = as_tensor(a, like=b if isinstance(b, Tensor) else None)
    b = as_tensor(b, like=a)
    for back, (p, q) in enumerate(zip(a.shape[::-1], b.shape[::-1], strict=False), start=1):
        if p != q and 1 not in (p, q):
            raise ShapeError(
                f"{op}: {sizes(a.shape)} and {sizes(b.shape)} do not broadcast: axis {-back} is {p} against {q}; "
                "counted from the last axis, sizes must be equal or 1."
            )
    kinds = a.dtype.kind + b.dtype.kind
    return (a.astype(b.dtype) if kinds in ("if", "uf") else a), (b.astype(a.dtype) if kinds in ("fi", "fu") else b)


def same_shape(op: str, a: Tensor, b: Tensor, name_a: str, name_b: str, hint: str = "") -> None:
    """Equal shapes: nothing is broadcast."""
    if a.shape != b.shape:
        raise ShapeError(
            f"{op}: {name_a} is {sizes(a.shape)} but {name_b} is {sizes(b.shape)}; they must be equal.{hint}"
        )


def join(op: str, shape: tuple[int, ...], shortcut: Any, activation: Any, name: str = "x") -> list[Tensor]:
    """[shortcut] that is added to what has this shape, or [] without one, and the activation that follows."""
    if activation not in ("relu", None):
        raise ArgumentError(f"{op}: activation is {activation!r}; it must be 'relu' or None.")
    if shortcut is None:
        return []
    shortcut = floats(op, shortcut, "shortcut")
    if shortcut.shape != shape:
        raise ShapeError(
            f"{op}: {name} is {sizes(shape)} but shortcut is {sizes(shortcut.shape)}; they must be equal. "
            "Where a block changes the size, its shortcut needs a projection (option A, B or C)."
        )
    return [shortcut]


def exponent(x: Tensor, value: Any) -> int | float:
    """A number that x may be raised to."""
    if not is_number(value):
        raise ArgumentError(f"pow: exponent is {value!r}; it must be a number or a tensor.")
    number = value.item() if isinstance(value, np.generic) else value
    if x.dtype.kind == "f":
        return number
    if number < 0 or not float(number).is_integer():
        raise DTypeError(f"pow: x ({sizes(x.shape)}) is {x.dtype} and exponent {number}; make x floats first.")
    return int(number)


def base(x: Tensor) -> None:
    """Only numbers > 0 can be raised to a tensor, which is exp(exponent * log(x))."""
    if not (x.data > 0).all():
        raise ArgumentError(f"pow: x ({sizes(x.shape)}) holds numbers <= 0, which cannot be raised to a tensor.")


def bounds(low: Any, high: Any) -> tuple[float | None, float | None]:
    """What ``clip`` takes."""
    given = [bound for bound in (low, high) if bound is not None]
    if not given or not all(map(is_number, given)) or not given[0] <= given[-1]:
        raise ArgumentError(f"clip: low is {low!r} and high is {high!r}; give at least one number, with low <= high.")
    low, high = (bound.item() if isinstance(bound, np.generic) else bound for bound in (low, high))
    return low, high


def shape_tuple(op: str, shape: tuple[Any, ...], minimum: int) -> tuple[int, ...]:
    """``f(2, 3)`` and ``f((2, 3))`` alike, as a tuple of ints."""
    target = tuple(shape[0]) if len(shape) == 1 and isinstance(shape[0], (tuple, list)) else tuple(shape)
    if not all(is_integer(size, minimum) for size in target):
        raise ArgumentError(f"{op}: shape is {target!r}; it must be integers >= {minimum}.")
    return tuple(map(int, target))


def reshape(x: Tensor, shape: tuple[Any, ...]) -> tuple[int, ...]:
    """The new shape, with its -1 replaced by what is left."""
    target = shape_tuple("reshape", shape, -1)
    known = math.prod(size for size in target if size != -1)
    if target.count(-1) == 1 and known > 0 and x.size % known == 0:
        target = tuple(x.size // known if size == -1 else size for size in target)
    if -1 in target or math.prod(target) != x.size:
        raise ShapeError(f"reshape: x is {sizes(x.shape)}, {x.size} elements, which do not fit into {target!r}.")
    return target


def transpose(x: Tensor, order: tuple[Any, ...]) -> tuple[int, ...]:
    """An order of all axes; the reversed one if none is given."""
    given = tuple(order[0]) if len(order) == 1 and isinstance(order[0], (tuple, list)) else order
    if order == (0, 1) and x.ndim == 2:  # an order that changes nothing: surely PyTorch's swap was meant
        raise ArgumentError("transpose: (0, 1) is the order that x has; write x.T, or x.transpose(1, 0).")
    given = given or tuple(reversed(range(x.ndim)))
    if len(given) != x.ndim or axis_numbers("transpose", given, x) != tuple(range(x.ndim)):
        raise ShapeError(f"transpose: axes {given!r} must name each of the {x.ndim} axes of x ({sizes(x.shape)}) once.")
    return tuple(int(a) % x.ndim for a in given)


def broadcast_to(op: str, small: tuple[int, ...], large: tuple[int, ...]) -> None:
    """``small`` broadcasts to ``large``."""
    if len(small) > len(large) or any(a not in (1, b) for a, b in zip(small[::-1], large[::-1], strict=False)):
        raise ShapeError(
            f"{op}: {sizes(small)} does not broadcast to {sizes(large)}; counted from the last axis, "
            "each size must be 1 or the wanted one."
        )


def tensors(op: str, values: Any) -> list[Tensor]:
    """A list of at least one tensor."""
    if not isinstance(values, (list, tuple)) or not values:
        raise ArgumentError(f"{op}: it takes a list of at least one tensor, not {type(values).__name__}.")
    return [as_tensor(value) for value in values]


def concatenate(op: str, parts: list[Tensor], axis: Any) -> int:
    """Tensors that differ along ``axis`` only."""
    number = one_axis(op, axis, parts[0])
    others = [(part.shape[:number], part.shape[number + 1 :], part.ndim) for part in parts]
    for i, other in enumerate(others):
        if other != others[0]:
            raise ShapeError(
                f"{op}: tensor {i} is {sizes(parts[i].shape)} and tensor 0 is {sizes(parts[0].shape)}; "
                f"they may differ along axis {number} only."
            )
    return number


def pad_widths(x: Tensor, padding: Any) -> tuple[tuple[int, int], ...]:
    """(before, after) of each axis, from such pairs or from PyTorch's flat list that begins with the last axis."""
    given = tuple(padding) if isinstance(padding, (tuple, list)) else ()
    if given and all(is_integer(p, 0) for p in given) and len(given) % 2 == 0:
        given = tuple(zip(given[::2], given[1::2], strict=True))[::-1]
        given = ((0, 0),) * (x.ndim - len(given)) + given
    widths = [tuple(p) for p in given if isinstance(p, (tuple, list))]
    if len(widths) != x.ndim or not all(len(p) == 2 and all(is_integer(n, 0) for n in p) for p in widths):
        raise ArgumentError(
            f"pad: padding is {padding!r}; for x ({sizes(x.shape)}) it must be {x.ndim} pairs (before, after), "
            "or numbers >= 0 two by two from the last axis, e.g. (left, right, top, bottom)."
        )
    return tuple((int(before), int(after)) for before, after in widths)


def matmul(a: TensorLike, b: TensorLike) -> tuple[Tensor, Tensor]:
    """Two matrices, stacks of them, or vectors, whose inner sizes agree."""
    a = floats("matmul", a, "a", like=b if isinstance(b, Tensor) else None)
    b = floats("matmul", b, "b", like=a)
    given = f"matmul: a is {sizes(a.shape)} and b is {sizes(b.shape)}"
    if a.ndim == 0 or b.ndim == 0:
        raise ShapeError(f"{given}, but a scalar is no matrix; multiply with *.")
    rows = b.shape[-2] if b.ndim > 1 else b.shape[0]
    if a.shape[-1] != rows:
        hint = " Is b transposed?" if a.shape[-1] == b.shape[-1] else ""
        raise ShapeError(f"{given}, but a has {a.shape[-1]} columns and b {rows} rows; they must be equal.{hint}")
    for p, q in zip(a.shape[-3::-1], b.shape[-3::-1], strict=False):
        if p != q and 1 not in (p, q):
            raise ShapeError(f"{given}, whose leading axes {p} and {q} do not broadcast.")
    return a, b


def linear(x: TensorLike, weight: TensorLike, bias: TensorLike | None) -> list[Tensor]:
    """[x, weight] or [x, weight, bias] of a fully connected layer."""
    x = floats("linear", x)
    weight = floats("linear", weight, "weight", like=x)
    axes("linear", weight, 2, "(O, C)", "weight")
    if x.ndim == 0 or x.shape[-1] != weight.shape[1]:
        raise ShapeError(
            f"linear: x has {x.shape[-1] if x.ndim else 'no'} features (x: {sizes(x.shape)}) but weight expects "
            f"{weight.shape[1]} (weight: {sizes(weight.shape)}, (O, C)). Is a flatten missing before the layer?"
        )
    return [x, weight, *_bias("linear", bias, weight.shape[0], x)]


def conv(op: str, x: TensorLike, weight: TensorLike, bias: TensorLike | None, groups: Any) -> list[Tensor]:
    """[x, weight] or [x, weight, bias] of ``conv2d`` or ``conv_transpose2d``."""
    transposed = op == "conv_transpose2d"
    layout = "(C, O, KH, KW)" if transposed else "(O, C, KH, KW)"
    x = images(op, x)
    weight = floats(op, weight, "weight", like=x)
    axes(op, weight, 4, layout, "weight")
    integer(op, groups, "groups", 1)
    if weight.shape[0] % groups:
        raise ShapeError(
            f"{op}: the {weight.shape[0]} filters of weight ({sizes(weight.shape)}, {layout}) "
            f"cannot be split into {groups} groups."
        )
    if 0 in weight.shape:
        raise ShapeError(f"{op}: weight ({sizes(weight.shape)}, {layout}) is empty.")
    expected = weight.shape[0] if transposed else weight.shape[1] * groups
    if x.shape[1] != expected:
        in_groups = f" in {groups} groups" if groups > 1 else ""
        hint = f" Is x channels-last? {op} takes (N, C, H, W)." if x.shape[3] == expected else ""
        raise ShapeError(
            f"{op}: x has {x.shape[1]} channels (x: {sizes(x.shape)}) but weight expects {expected}{in_groups} "
            f"(weight: {sizes(weight.shape)}, {layout}).{hint}"
        )
    return [x, weight, *_bias(op, bias, weight.shape[1] * groups if transposed else weight.shape[0], x)]


def _bias(op: str, bias: TensorLike | None, outputs: int, x: Tensor) -> list[Tensor]:
    if bias is None:
        return []
    bias = floats(op, bias, "bias", like=x)
    if bias.shape != (outputs,):
        raise ShapeError(f"{op}: bias is {sizes(bias.shape)} but the weight has {outputs} outputs.")
    return [bias]


def output_padding(value: Any, stride: tuple[int, int], dilation: tuple[int, int]) -> tuple[int, int]:
    """What ``conv_transpose2d`` may add at the end."""
    extra = pair("conv_transpose2d", value, "output_padding", 0)
    if any(e >= max(s, d) for e, s, d in zip(extra, stride, dilation, strict=True)):
        raise ArgumentError(
            f"conv_transpose2d: output_padding is {value!r}; it must be below the stride {stride} "
            f"or the dilation {dilation}."
        )
    return extra


def image_shape(op: str, x_shape: Any) -> tuple[int, int, int, int]:
    """(N, C, H, W)."""
    shape = tuple(x_shape) if isinstance(x_shape, (tuple, list)) else ()
    if len(shape) != 4 or not all(is_integer(size, 0) for size in shape):
        raise ArgumentError(f"{op}: x_shape is {x_shape!r}; it must be four integers, (N, C, H, W).")
    return shape


def col2im(cols: Tensor, x_shape: Any, expected: tuple[int, ...]) -> None:
    """``cols`` is what im2col makes of ``x_shape``."""
    if cols.shape != expected:
        raise ShapeError(
            f"col2im: cols is {sizes(cols.shape)} but im2col makes {sizes(expected)}, (N, OH, OW, C*KH*KW), "
            f"of x_shape {sizes(x_shape)}."
        )


def pool_padding(op: str, padding: tuple[int, int], kernel: tuple[int, int]) -> None:
    """No window lies in the padding alone."""
    if any(2 * p > k for p, k in zip(padding, kernel, strict=True)):
        raise ArgumentError(f"{op}: padding is {padding}; it must be at most half of the kernel size {kernel}.")


def channels(op: str, x: Tensor, vectors: dict[str, Tensor]) -> None:
    """A value for each channel of x (N, C, ...) in every vector."""
    if x.ndim not in (2, 3, 4):
        raise ShapeError(f"{op}: x has {x.ndim} axes (x: {sizes(x.shape)}) but (N, C) or (N, C, H, W) is needed.")
    for name, vector in vectors.items():
        if vector.shape != (x.shape[1],):
            raise ShapeError(
                f"{op}: x has {x.shape[1]} channels (x: {sizes(x.shape)}) but {name} is {sizes(vector.shape)}."
            )


def labels(logits: Tensor, given: Any) -> Any:
    """An integer in 0 .. K-1 for each of the N rows of logits (N, K), as an array on the device of the logits."""
    classes = as_tensor(given)
    axes("cross_entropy", logits, 2, "(N, classes)", "logits")
    n, k = logits.shape
    if classes.dtype.kind not in "iu":
        raise LabelError(
            f"cross_entropy: labels ({sizes(classes.shape)}) are {classes.dtype}, but class numbers are needed; "
            "convert them, e.g. labels.to('int64')."
        )
    if classes.shape != (n,) or n == 0:
        hint = " One-hot labels become numbers with .argmax(axis=1)." if classes.ndim == 2 else ""
        raise ShapeError(
            f"cross_entropy: labels are {sizes(classes.shape)} but logits ({sizes(logits.shape)}) hold {n} examples; "
            f"there must be one label for each, and at least one.{hint}"
        )
    if state.capture is not None and classes.device == "cuda":
        return classes.data  # a graph is being recorded: there are no values yet; the kernel answers NaN to a wrong one
    low, high = int(classes.data.min()), int(classes.data.max())
    if low < 0 or high >= k:
        raise LabelError(
            f"cross_entropy: labels run from {low} to {high}, but logits ({sizes(logits.shape)}) have {k} classes, "
            f"0 to {k - 1}."
        )
    return to_device(classes.data.copy(), logits.device)  # a copy: a loader may fill its buffer anew before backward


def probabilities(op: str, logits: Tensor, target: TensorLike) -> Tensor:
    """Targets in [0, 1], of the shape and dtype of the logits."""
    target = as_tensor(target, like=logits)
    same_shape(op, logits, target, "logits", "target")
    if logits.size == 0:
        raise ShapeError(f"{op}: logits ({sizes(logits.shape)}) hold no element.")
    low, high = float(target.data.min()), float(target.data.max())
    if not (low >= 0 and high <= 1):
        raise LabelError(f"{op}: target runs from {low:g} to {high:g}; it must lie in [0, 1].")
    return target.to(logits.dtype)
