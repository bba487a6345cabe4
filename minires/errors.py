"""The named errors, and helpers for their messages.

Every message is one sentence (or two short ones): it names the op and all sizes involved, says what would have fitted,
and suggests a fix. All errors derive from :class:`MiniresError`, and each also derives from the built-in exception that
a Python programmer would expect, so ``except ValueError`` still catches a wrong shape.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence


class MiniresError(Exception):
    """Base class of every error that minires raises on purpose."""


class ShapeError(MiniresError, ValueError):
    """Sizes that do not fit together, or do not fit the op."""


class DTypeError(MiniresError, TypeError):
    """An array or tensor of a type that the op does not take."""


class ArgumentError(MiniresError, ValueError):
    """An argument that the function does not accept: its type, value or name is not valid."""


class LabelError(MiniresError, ValueError):
    """A class label outside of ``0 .. classes - 1``, or labels that are not integers."""


class GraphError(MiniresError, RuntimeError):
    """Backward cannot run: nothing was recorded, the graph was freed, or a saved array was changed."""


class AnomalyError(MiniresError, ArithmeticError):
    """The first NaN or infinity, with the op that made it and the line that called it."""


class GradcheckError(MiniresError, AssertionError):
    """A backward that disagrees with finite differences, with the place and a diagnosis."""


class DeviceError(MiniresError, RuntimeError):
    """A device that is not available, or tensors on different devices in one op."""


class KernelError(MiniresError, ImportError):
    """Faster twins that are installed but cannot be imported."""


class StateDictError(MiniresError, ValueError):
    """A state dict whose names or shapes do not fit the model."""


class DataError(MiniresError, ValueError):
    """A data set, image or file that cannot be read, or does not hold what it should."""


class RunError(MiniresError, RuntimeError):
    """A run folder, checkpoint or training run that cannot be used or continued."""


class StoppedError(MiniresError, RuntimeError):
    """A training run that was stopped on request; it was saved and can be resumed."""


class CourseError(MiniresError, AssertionError):
    """A submission that lost points, or an assignment that is not ready to be handed out."""


class CheckError(MiniresError, AssertionError):
    """An answer to a tutorial's exercise that is not right yet, with an explanation."""

    def _render_traceback_(self) -> list[str]:
        """What a notebook shows: the message without a traceback."""
        return [str(self)]


def sizes(shape: Iterable[int]) -> str:
    """A shape as it is written in messages.

    >>> sizes((8, 16, 32, 32)), sizes((5,)), sizes(())
    ('8x16x32x32', '5', 'scalar')
    """
    return "x".join(str(size) for size in shape) or "scalar"


def listed(names: Sequence[str], limit: int = 8) -> str:
    """Names joined for a sentence, at most ``limit`` of them.

    >>> listed(["conv1.weight", "fc.bias"]), listed(list("abcd"), limit=2)
    ('conv1.weight, fc.bias', 'a, b and 2 more')
    """
    if len(names) > limit:
        return f"{', '.join(names[:limit])} and {len(names) - limit} more"
    return ", ".join(names) or "none"


def counted(number: int, what: str) -> str:
    """A number and what it counts.

    >>> counted(1, "image"), counted(1437, "image")
    ('1 image', '1,437 images')
    """
    return f"{number:,} {what}{'' if number == 1 else 's'}"
