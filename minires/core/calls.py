"""PyTorch's names of arguments, and the error messages of calls with wrong arguments."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Mapping
from functools import wraps
from typing import Any, NoReturn, TypeVar

from ..errors import ArgumentError, closest, no_attribute

Function = TypeVar("Function", bound=Callable[..., Any])

# PyTorch's name of an argument, and the one that minires and NumPy use; of two, a function has at most one.
OUR_NAMES = [
    ("input", "a"), ("other", "b"), ("dim", "axis"), ("dims", "axis"), ("dims", "axes"), ("keepdim", "keepdims"),
    ("start_dim", "start_axis"), ("end_dim", "end_axis"), ("min", "low"), ("max", "high"), ("size", "shape"),
    ("target", "labels"), ("weight", "gamma"), ("bias", "beta"), ("ddof", "correction"), ("unbiased", "correction"),
    ("outputs", "output"), ("grad_outputs", "grad_output"), ("gradient", "grad"), ("pad", "padding"),
]  # fmt: skip
INSTEAD = {  # arguments that many functions of PyTorch and NumPy have, and what to write instead
    "out": "assign the result, y = {0}(...), or write it into a tensor, y[...] = {0}(...)",
    "dtype": "convert the result, {0}(...).to(dtype), or x before the call",
    "inplace": "assign the result, x = {0}(x)",
    "alpha": "multiply the second tensor first, {0}(a, alpha * b)",
    "size_average": "write reduction='mean' or reduction='sum'",
    "order": "elements are read with the last axis changing fastest",
}
DEFAULTS = [("order", "C"), ("inplace", False), ("return_indices", False)]  # accepted, since they change nothing


def refuses(**sentences: str) -> Callable[[Function], Function]:
    """Decorator that says, for arguments of PyTorch's that a function does not take, what to write instead.

    In a sentence, ``{0}`` stands for the name of the function.
    """

    def mark(function: Function) -> Function:
        vars(function)["refused"] = sentences
        return function

    return mark


def pytorch_names(function: Function, name: str | None = None) -> Function:
    """Return ``function``, such that it also takes PyTorch's names of its arguments: ``dim`` for ``axis``.

    A call with wrong arguments raises ArgumentError. Python's TypeError would not say which arguments there are.

    Examples
    --------
    >>> import minires as mr
    >>> mr.ops.sum(input=mr.tensor([[1.0, 2.0]]), dim=1)
    tensor([3.])
    """
    name, signature = name or function.__name__, inspect.signature(function)
    taken = [key for key in signature.parameters if key != "self"]
    several = [key for key in taken if signature.parameters[key].kind is inspect.Parameter.VAR_POSITIONAL]
    known = frozenset(taken) - {*several}
    refused = getattr(function, "refused", {})
    instead = refused if "options" in taken else {**INSTEAD, **refused}  # options go on to a function that refuses them
    pairs = [(theirs, ours) for theirs, ours in [("input", (*taken, "")[0]), *OUR_NAMES] if ours in taken]
    meaning = {theirs: ours for theirs, ours in pairs if theirs not in taken and theirs not in instead}

    def rename(options: dict[str, Any]) -> dict[str, Any]:
        renamed: dict[str, Any] = {}
        for key, value in options.items():
            ours = meaning.get(key, key)
            if ours in renamed or (ours != key and ours in options):
                raise ArgumentError(f"{name}: {key} and {ours} are the same argument; pass one of them.")
            if ours in taken or key not in instead:
                renamed[ours] = value
            elif value is not None and (key, value) not in DEFAULTS:
                raise ArgumentError(f"{name}: {key} is not offered; {instead[key].format(name)}.")
        return renamed

    @wraps(function)
    def call(*arguments: Any, **options: Any) -> Any:
        if options and not known.issuperset(options):
            options = rename(options)
            arguments += tuple(options.pop(key) for key in several if key in options)  # shape=(2, 3) for *shape
        try:
            return function(*arguments, **options)
        except TypeError as error:
            if error.__traceback__ is None or error.__traceback__.tb_next is not None:
                raise  # it was raised inside the function, so the call itself was right
            reason = str(error).partition("() ")[2]
            if reason.startswith("takes "):  # Python's counts include self
                reason = "too many arguments without a name"
        shown = [parameter for key, parameter in signature.parameters.items() if key != "self"]
        listed = inspect.Signature([parameter.replace(annotation=parameter.empty) for parameter in shown])
        raise ArgumentError(f"{name}: {reason}; its arguments are {listed}.")  # those after * are passed by name

    return call  # type: ignore[return-value]


class _Missing:
    def __init__(self, name: str, instead: str) -> None:
        self.name, self.instead = name, instead

    def __get__(self, instance: Any, owner: type) -> NoReturn:
        raise no_attribute(owner.__name__, self.name, self.instead)


def missing_attributes(owner: type, instead: Mapping[str, str]) -> None:
    """Make names of PyTorch's that a class lacks raise errors that say what to write instead.

    They are attributes that raise AttributeError: with a ``__getattr__``, Python reads every attribute more slowly.
    """
    for name in instead:
        if not hasattr(owner, name):
            setattr(owner, name, _Missing(name, instead[name]))
    setattr(owner, "__dir__", lambda x: [n for n in object.__dir__(x) if n not in instead or hasattr(x, n)])  # noqa: B010


def missing_name(module: str, known: Collection[str], instead: Mapping[str, str]) -> Callable[[str], NoReturn]:
    """Return a module's ``__getattr__``, which says what to write for a name that the module does not have.

    ``instead`` maps names of PyTorch's to what to write here. For others, the most similar of ``known`` is named.
    """

    def lookup(name: str) -> NoReturn:
        if name.startswith("_"):  # tools look for several such names
            raise AttributeError(name)
        if name not in instead and (near := closest(name, known)):
            raise AttributeError(f"{module} has no attribute {name!r}; did you mean {near}?")
        raise no_attribute(module, name, instead.get(name))

    return lookup
