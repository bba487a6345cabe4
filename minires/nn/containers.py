"""Containers of modules and parameters, which belong to the module that holds the container."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, MutableMapping, MutableSequence
from itertools import count
from typing import Any, ClassVar, TypeVar

from ..core.calls import pytorch_names
from ..core.tensor import Tensor
from ..errors import ArgumentError, sizes
from .module import STREAMS, Module, Parameter

Self = TypeVar("Self", bound="Module")


class _Named(Module):
    """Base class of the containers, which hold modules (or parameters) as attributes with names given by the caller."""

    kind: ClassVar[type] = Module

    def _checked(self, item: Any) -> Any:
        if isinstance(item, self.kind):
            return item
        if issubclass(self.kind, Tensor) and isinstance(item, Tensor):
            return self.kind(item)
        hint = f"; write {item.__name__}(...)" if isinstance(item, type) and issubclass(item, self.kind) else ""
        raise ArgumentError(
            f"{type(self).__name__}: item {len(self)} is {type(item).__name__}, not an nn.{self.kind.__name__}{hint}."
        )

    def _items(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if isinstance(value, self.kind)}

    def __len__(self) -> int:
        return len(self._items())

    def extra_repr(self) -> str:
        parameters = ((name, item) for name, item in self._items().items() if isinstance(item, Tensor))
        return ", ".join(f"{name}: {sizes(item.shape)}" for name, item in parameters)


class _Numbered(_Named, MutableSequence[Any]):
    """Base class of the containers whose items have numbers as names: 0, 1, ..."""

    def __init__(self, items: Iterable[Any] = ()) -> None:
        self.extend(items)

    def __iter__(self) -> Iterator[Any]:
        return iter(self._items().values())

    def __getitem__(self, index: Any) -> Any:
        items = list(self)[index]
        return type(self)(items) if isinstance(index, slice) else items

    def __add__(self: Self, items: Iterable[Any]) -> Self:
        joined: Self = self.__getitem__(slice(None)).extend(items)
        return joined

    def __setitem__(self, index: Any, item: Any) -> None:
        if isinstance(index, slice):
            self._replace(index, map(self._checked, item))
        else:
            setattr(self, list(self._items())[index], self._checked(item))

    def __delitem__(self, index: Any) -> None:
        items = list(self)
        del items[index]
        self._replace(slice(None), items)

    def _replace(self, part: slice, new: Iterable[Any]) -> None:
        items = list(self)
        items[part] = new
        for name in self._items():
            delattr(self, name)
        for number, item in enumerate(items):
            setattr(self, str(number), item)

    def insert(self, index: int, item: Any) -> None:
        """Insert an item before ``index``."""
        self._replace(slice(index, index), [self._checked(item)])

    def append(self: Self, item: Any) -> Self:  # type: ignore[override]
        """Add an item at the end, and return the container."""
        item = self._checked(item)
        setattr(self, next(str(n) for n in count(len(self)) if str(n) not in vars(self)), item)
        return self

    def extend(self: Self, items: Iterable[Any]) -> Self:  # type: ignore[override]
        """Add items at the end, and return the container."""
        for item in list(items):
            self.append(item)
        return self


class Sequential(_Numbered):
    """Modules that run one after the other and are named 0, 1, ..., or by the keys of a dict.

    Examples
    --------
    >>> import minires as mr
    >>> net = mr.nn.Sequential(mr.nn.Linear(4, 8), mr.nn.ReLU(), mr.nn.Linear(8, 2))
    >>> net[:2].append(mr.nn.Dropout(0.5))
    Sequential(
      (0): Linear(4, 8, bias=True)
      (1): ReLU()
      (2): Dropout(p=0.5)
    )
    >>> list(mr.nn.Sequential({"conv": mr.nn.Conv2d(3, 4, 3), "relu": mr.nn.ReLU()}).state_dict())
    ['conv.weight', 'conv.bias']
    """

    def __init__(self, *modules: Any) -> None:
        if len(modules) == 1 and isinstance(modules[0], (list, tuple, *STREAMS)):
            raise ArgumentError(f"Sequential: its modules are given one by one; write {type(self).__name__}(*modules).")
        if len(modules) == 1 and isinstance(modules[0], Mapping):
            for name, module in modules[0].items():
                self._register(name, self._checked(module))
        else:
            super().__init__(modules)

    def forward(self, x: Any) -> Any:
        for module in self:
            x = module(x)
        return x

    def __getitem__(self, index: Any) -> Any:
        """Return a module or, for a slice, a Sequential of these modules, which keep their names."""
        if not isinstance(index, slice):
            return super().__getitem__(index)
        return Sequential(dict(list(self._items().items())[index]))


class ModuleList(_Numbered):
    """A list of modules, which are named 0, 1, ... and belong to the module that holds the list."""


class ParameterList(_Numbered):
    """A list of parameters, which are named 0, 1, ... and belong to the module that holds the list."""

    kind = Parameter


class ModuleDict(_Named, MutableMapping[str, Any]):
    """A dict of modules, whose keys are their names, and which belong to the module that holds the dict.

    Raises ArgumentError if a key is not a string, contains a dot, or is the name of a method, such as ``"train"``.

    Examples
    --------
    >>> import minires as mr
    >>> heads = mr.nn.ModuleDict({"boxes": mr.nn.Linear(8, 4)})
    >>> heads["classes"] = mr.nn.Linear(8, 10)
    >>> list(heads), list(heads.state_dict())[2:]
    (['boxes', 'classes'], ['classes.weight', 'classes.bias'])
    """

    __eq__, __hash__ = object.__eq__, object.__hash__  # not those of a mapping

    def __init__(self, items: Mapping[str, Any] | Iterable[tuple[str, Any]] = ()) -> None:
        self.update(items)

    def __iter__(self) -> Iterator[str]:
        return iter(self._items())

    def __getitem__(self, key: str) -> Any:
        return self._items()[key]

    def __setitem__(self, key: str, item: Any) -> None:
        self._register(key, self._checked(item))

    def __delitem__(self, key: str) -> None:
        self[key]  # raises KeyError if the key is missing
        delattr(self, key)


class ParameterDict(ModuleDict):
    """A dict of parameters, whose keys are their names, and which belong to the module that holds the dict."""

    kind = Parameter


for _container in (ModuleList, ParameterList, ModuleDict, ParameterDict):
    setattr(_container, "__init__", pytorch_names(_container.__init__, _container.__name__))  # noqa: B010
