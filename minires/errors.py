"""The named errors, and helpers for their messages.

Every message is one sentence (or two short ones): it names the op and all sizes involved, says what would have fitted,
and suggests a fix. All errors derive from :class:`MiniresError`, and each also derives from the built-in exception that
a Python programmer would expect, so ``except ValueError`` also catches a :class:`ShapeError`.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence

LONGEST = 1000  # characters of a message; names of files, classes and servers could make it any length


class MiniresError(Exception):
    """Base class of every error that minires raises on purpose. Its message is printable, whatever text it quotes."""

    def __init__(self, *message: object) -> None:
        super().__init__(*(printable(part) if isinstance(part, str) else part for part in message))


class ShapeError(MiniresError, ValueError):
    """Sizes that do not fit together, or do not fit the op."""


class OutOfRangeError(ShapeError, IndexError):
    """An index that is out of range. It is an IndexError as well, at which Python's iteration stops."""


class NoAxisError(ShapeError, TypeError):
    """``len`` or ``iter`` of a scalar, for which Python expects a TypeError."""


class DTypeError(MiniresError, TypeError):
    """A value whose type or dtype the op does not accept."""


class ArgumentError(MiniresError, ValueError):
    """An argument whose type, value or name the function does not accept."""


class LabelError(MiniresError, ValueError):
    """A class label outside ``0 .. classes - 1``, or labels that are not integers."""


class GraphError(MiniresError, RuntimeError):
    """The backward pass cannot run: nothing was recorded, the graph was freed, or a saved array was changed."""


class AnomalyError(MiniresError, ArithmeticError):
    """The first NaN or infinity. The message names the op that computed it and the line that called the op."""


class GradcheckError(MiniresError, AssertionError):
    """A backward pass that disagrees with finite differences. The message says where, with a diagnosis."""


class DeviceError(MiniresError, RuntimeError):
    """A device that is not available, or tensors on different devices in one op."""


class KernelError(MiniresError, ImportError):
    """Kernels, the faster twins of some ops, that are installed but cannot be imported."""


class StateDictError(MiniresError, ValueError):
    """A state dict whose names or shapes do not fit the model."""


class DataError(MiniresError, ValueError):
    """A data set, image or file that cannot be read or written, or does not have the expected content."""


class RunError(MiniresError, RuntimeError):
    """A run folder, checkpoint or training run that cannot be used or continued."""


class StoppedError(MiniresError, RuntimeError):
    """A training run that was stopped on request; it was saved and can be resumed."""


class CourseError(MiniresError, AssertionError):
    """A submission that lost points, or an assignment that is not ready to be handed out."""


class CheckError(MiniresError, AssertionError):
    """A wrong answer to an exercise of a tutorial. The message explains the mistake."""

    def _render_traceback_(self) -> list[str]:
        """Return what a notebook shows: the message without a traceback."""
        return [str(self)]


def printable(text: str, limit: int = LONGEST) -> str:
    r"""Put text on one line, escape characters that could confuse a terminal, and cut its middle if it is long.

    >>> print(printable("red \x1b[31m"), printable(10 * "ab", limit=11))
    red \x1b[31m abab...abab
    """
    text = "".join(
        character if character.isprintable() else ascii(character)[1:-1] for character in " ".join(text.split("\n"))
    )
    half = (limit - 3) // 2
    return text if len(text) <= limit else f"{text[:half]}...{text[-half:]}"


def sizes(shape: Iterable[int]) -> str:
    """Format a shape for a message.

    >>> sizes((8, 16, 32, 32)), sizes((5,)), sizes(())
    ('8x16x32x32', '5', 'scalar')
    """
    return "x".join(str(size) for size in shape) or "scalar"


def listed(names: Sequence[str], limit: int = 8) -> str:
    """Join names for a sentence, showing at most ``limit`` of them.

    >>> listed(["conv1.weight", "fc.bias"]), listed(list("abcd"), limit=2)
    ('conv1.weight, fc.bias', 'a, b and 2 more')
    """
    if len(names) > limit:
        return f"{', '.join(names[:limit])} and {len(names) - limit} more"
    return ", ".join(names) or "none"


def counted(number: int, what: str) -> str:
    """Format a number with the noun that it counts, in the singular or plural.

    >>> counted(1, "image"), counted(1437, "image")
    ('1 image', '1,437 images')
    """
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def percent(part: float) -> str:
    """Format a fraction of 1 as a percentage, such as ``98.3 %``."""
    return f"{100 * part:.1f} %"


def times(count: int) -> str:
    """Return ``once`` for 1, ``3 times`` for 3."""
    return "once" if count == 1 else f"{count:,} times"


WRITTEN_HERE = {  # attributes of torch.Tensor, and how the same is written for a Tensor x of minires
    "add_": "x += y", "bool": "x.to('bool')", "clamp": "x.clip(low, high)", "clone": "x * 1, or mr.tensor(x)",
    "contiguous": "x", "copy_": "x[...] = y", "cpu": "x.to('cpu')", "cuda": "x.to('cuda')", "dim": "x.ndim",
    "double": "x.to('float64')", "dot": "x @ y", "fill_": "x[...] = value", "float": "x.to('float32')",
    "grad_fn": "x.op", "half": "x.to('float16')", "int": "x.to('int32')", "is_cuda": "x.device == 'cuda'",
    "is_leaf": "x.op is None", "long": "x.to('int64')", "mT": "x.transpose(-2, -1)", "mm": "x @ y", "bmm": "x @ y",
    "mul_": "x *= y", "numel": "x.size", "requires_grad_": "x.requires_grad = True", "rsqrt": "x ** -0.5",
    "square": "x ** 2", "t": "x.T", "where": "mr.ops.where(x > 0, x, y)",
    "type": "x.dtype, or x.to(dtype)", "unbind": "list(x)", "zero_": "x[...] = 0",
    "select": "x[..., i]", "narrow": "x[start:end]", "div_": "x /= y", "sub_": "x -= y", "nelement": "x.size",
    "sort": "np.sort(x.numpy())", "argsort": "np.argsort(x.numpy())", "cumsum": "np.cumsum(x.numpy())",
    "norm": "(x * x).sum() ** 0.5", "eq": "x == y", "ne": "x != y", "gt": "x > y", "lt": "x < y", "ge": "x >= y",
    "le": "x <= y", "amax": "x.max(axis=0)", "amin": "x.min(axis=0)", "gather": "x[[0, 1], [1, 0]]",
    "ravel": "x.flatten()", "repeat": "mr.ops.concatenate([x, x])", "split": "x[start:end]", "chunk": "x[start:end]",
    "reciprocal": "1 / x", "topk": "np.argsort(x.numpy())", "sign": "np.sign(x.numpy())", "sin": "np.sin(x.numpy())",
    "cos": "np.cos(x.numpy())", "isnan": "np.isnan(x)", "isfinite": "np.isfinite(x)", "prod": "np.prod(x.numpy())",
    "round": "np.round(x.numpy())",
}  # fmt: skip


def closest(name: str, choices: Collection[str]) -> str | None:
    """Return the choice that ``name`` probably means: the same but for case and punctuation, or nearly the same.

    The digits must be the same: resnet21 could mean any of several networks.
    """
    import difflib  # imported late: 3 ms

    plain = re.sub(r"[\W_]", "", name.lower())
    digits = re.findall(r"\d", name)
    known = {re.sub(r"[\W_]", "", one.lower()): one for one in choices if re.findall(r"\d", one) == digits}
    found = difflib.get_close_matches(plain, known, n=1, cutoff=0.75)
    return known[found[0]] if found else None


def no_attribute(owner: str, name: str, instead: str | None) -> AttributeError:
    """Return the error for a missing ``owner.name``, with what to write instead, if known. Python needs this type.

    >>> no_attribute("Tensor", "numel", WRITTEN_HERE["numel"])
    AttributeError("Tensor has no attribute 'numel'; write x.size.")
    """
    return AttributeError(f"{owner} has no attribute {name!r}" + (f"; write {instead}." if instead else "."))
