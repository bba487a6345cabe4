"""Module: parameters, buffers and sub-modules, found by looking at the attributes.

Nothing has to be registered: a Parameter, Buffer or Module that is an attribute of a module belongs to it, under the
name of the attribute. Everything else here walks over this tree of modules.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from types import GeneratorType
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import numpy as np

from ..core import backend
from ..core.autograd import HookHandle
from ..core.backend import DTypeLike, array_module, to_device
from ..core.calls import missing_attributes, pytorch_names, refuses
from ..core.tensor import Tensor, TensorLike
from ..errors import ArgumentError, DTypeError, StateDictError, listed, sizes

Self = TypeVar("Self", bound="Module")


class Parameter(Tensor):
    """A tensor that is learned: it requires a gradient, and optimisers update it."""

    def __init__(self, data: TensorLike, requires_grad: bool = True, dtype: DTypeLike = None) -> None:
        super().__init__(data, requires_grad, dtype)


class Buffer(Tensor):
    """A tensor that is saved with the model but not learned, such as a running mean."""

    def __init__(self, data: TensorLike, dtype: DTypeLike = None) -> None:
        super().__init__(data, False, dtype)


#: Types that can hold modules without being modules, and types whose items exist only while they are looped over.
_CONTAINERS: tuple[type, ...] = (
    list,
    tuple,
    dict,
    set,
    frozenset,
    deque,
    type({}.keys()),
    type({}.values()),
    type({}.items()),
)
STREAMS: tuple[type, ...] = (GeneratorType, map, filter, zip, enumerate, reversed)


#: Common types of attributes that hold no modules, which makes the search for lost modules fast.
_SCALARS = frozenset((bool, int, float, str, type(None), np.ndarray))
_PLAIN = _SCALARS | {Parameter, Buffer}

#: Methods of PyTorch's modules that are spelled differently here.
_TORCH = {
    "cuda": "to('cuda')", "cpu": "to('cpu')", "half": "to('float16')", "float": "to('float32')",
    "double": "to('float64')", "type": "to(dtype)", "register_module": "add_module(name, module)",
    "device": "next(model.parameters()).device", "dtype": "next(model.parameters()).dtype",
    "get_parameter": "dict(model.named_parameters())[name]",
    "register_forward_pre_hook": "the hook's code at the start of forward",
    "register_full_backward_hook": "register_forward_hook(f), where f calls output.register_hook(...)",
}  # fmt: skip
_OWN = {"recurse": "{0}() includes the modules below; this module's own attributes are in vars(module)"}


class Keys(NamedTuple):
    """The names that :meth:`Module.load_state_dict` did not find in the state, and those that the module lacks."""

    missing_keys: list[str]
    unexpected_keys: list[str]


class Module:
    """Base class of layers and networks. A subclass sets its parts as attributes and defines ``forward``.

    Examples
    --------
    >>> import minires as mr
    >>> class Net(mr.nn.Module):
    ...     def __init__(self):
    ...         self.fc = mr.nn.Linear(3, 2)
    ...     def forward(self, x):
    ...         return mr.ops.relu(self.fc(x))
    >>> net = Net()
    >>> [name for name, parameter in net.named_parameters()]
    ['fc.weight', 'fc.bias']
    >>> net(mr.tensor([[1.0, 2.0, 3.0]])).shape
    (1, 2)
    """

    training: bool = True
    _forward_hooks: list[Callable[..., Any]] | None = None
    _not_saved: frozenset[str] = frozenset()  # the names of buffers that are not part of the state dict

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        for name, value in vars(cls).items():
            if isinstance(value, (Module, Parameter, Buffer)):
                raise ArgumentError(
                    f"{cls.__name__}.{name} belongs to the class, so it would not be trained; write "
                    f"self.{name} = ... in __init__."
                )

    def __setattr__(self, name: str, value: Any) -> None:
        """Set an attribute. What replaces a buffer becomes one, and only a parameter can replace a parameter."""
        old = vars(self).get(name)
        if isinstance(old, Buffer) and not isinstance(value, (Buffer, type(None))):
            value = Buffer(value)
        if isinstance(old, Parameter) and not isinstance(value, (Parameter, type(None))):
            raise ArgumentError(
                f"{type(self).__name__}.{name} is a Parameter, and a {type(value).__name__} would not be trained; "
                f"write nn.Parameter(...), or {name}.data = array to change its values."
            )
        object.__setattr__(self, name, value)

    if TYPE_CHECKING:  # the parts that a subclass sets

        def __getattr__(self, name: str) -> Any: ...

    def forward(self, *inputs: Any) -> Any:
        """Compute the module's output."""
        raise NotImplementedError(f"{type(self).__name__} has no forward.")

    def __call__(self, *inputs: Any, **options: Any) -> Any:
        """Run ``forward``, then the hooks."""
        output = self.forward(*inputs, **options)
        if self._forward_hooks:
            for hook in tuple(self._forward_hooks):  # a hook may remove itself
                replacement = hook(self, inputs, options, output)
                output = output if replacement is None else replacement
        return output

    @pytorch_names
    @refuses(prepend="hooks are called in the order in which they were registered", always_call="leave it out")
    def register_forward_hook(self, hook: Callable[..., Any], *, with_kwargs: bool = False) -> HookHandle:
        """Call ``hook(module, inputs, output)`` after each forward pass. The hook may return a replacement output.

        Parameters
        ----------
        hook : callable
            ``inputs`` is the tuple of the positional arguments of the call.
        with_kwargs : bool
            Whether to call ``hook(module, inputs, options, output)``, where ``options`` is the dict of the keyword
            arguments of the call.

        Returns
        -------
        HookHandle
            Call its ``remove()`` to remove the hook.
        """
        if not callable(hook):
            raise ArgumentError(f"register_forward_hook: hook is {hook!r}; it must be a function.")
        self._forward_hooks = self._forward_hooks or []
        return HookHandle(self._forward_hooks, hook if with_kwargs else partial(_without_options, hook))

    def _register(self, name: str, value: Any) -> None:
        """Set an attribute whose name comes from a caller, which must not hide a method or another attribute."""
        what = f"{type(self).__name__}: the name {name!r}"
        if not isinstance(name, str) or not name or "." in name:
            raise ArgumentError(f"{what} must be a string, not empty and without dots.")
        if not isinstance(vars(self).get(name), (Module, Parameter, Buffer, type(None))) or hasattr(type(self), name):
            raise ArgumentError(f"{what} is already in use by another attribute; choose another name.")
        setattr(self, name, value)

    def add_module(self, name: str, module: Module | None) -> None:
        """Set ``module`` as the attribute ``name``. Raises ArgumentError if the name is invalid or already in use."""
        self._register(name, module if module is None else check_module("add_module", module))

    def register_parameter(self, name: str, param: Parameter | None) -> None:
        """Set ``param`` as the attribute ``name``. Raises ArgumentError if the name is invalid or already in use."""
        self._register(name, param if param is None or isinstance(param, Parameter) else Parameter(param))

    def register_buffer(self, name: str, tensor: TensorLike | None, persistent: bool = True) -> None:
        """Set a copy of ``tensor`` as the attribute ``name``: a tensor that moves with the module.

        Parameters
        ----------
        name : str
        tensor : Tensor, array or None
        persistent : bool
            Whether it is part of the state dict.

        Raises
        ------
        ArgumentError
            If the name is invalid or is already in use.
        """
        self._register(name, tensor if tensor is None or isinstance(tensor, Buffer) else Buffer(tensor))
        self._not_saved = self._not_saved - {name} if persistent else self._not_saved | {name}

    def get_submodule(self, target: str) -> Module:
        """Return the module at a path such as ``"layer1.0.conv1"``. Raises AttributeError if it does not exist."""
        module: Any = self
        for name in target.split(".") if target else ():
            module = getattr(module, name)
        return check_module("get_submodule", module)

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """Iterate over the modules that are attributes of this one, with their names."""
        return ((name, value) for name, value in list(vars(self).items()) if isinstance(value, Module))

    def children(self) -> Iterator[Module]:
        """Iterate over the modules that are attributes of this one."""
        return (child for _, child in self.named_children())

    def named_modules(self, prefix: str = "") -> Iterator[tuple[str, Module]]:
        """Iterate over this module, named ``prefix``, and all modules below it, each once, parents first.

        Raises
        ------
        ArgumentError
            After the last module, if a plain list, dict or similar holds modules or parameters that were not found.
        """
        seen: dict[int, Module] = {}
        containers: list[tuple[Module, str, Any]] = []
        stack: list[tuple[str, Module]] = [(prefix, self)]
        while stack:
            path, module = stack.pop()
            if id(module) not in seen:
                seen[id(module)] = module
                yield path, module
                below = []
                for name, value in vars(module).items():
                    if type(value) in _PLAIN:
                        continue
                    if isinstance(value, Module):
                        below.append((f"{path}.{name}" if path else name, value))
                    elif isinstance(value, STREAMS) or (isinstance(value, _CONTAINERS) and _inside(value)):
                        containers.append((module, name, value))
                stack.extend(reversed(below))
        if containers:
            known = {*seen, *(id(value) for module in seen.values() for value in vars(module).values())}
            for module, name, value in containers:
                _check_container(f"{type(module).__name__}.{name}", value, known)

    def modules(self) -> Iterator[Module]:
        """Iterate over this module and all modules below it, each once."""
        return (module for _, module in self.named_modules())

    def _named_tensors(self, *kinds: type[Tensor]) -> Iterator[tuple[str, Any]]:
        """Iterate over the tensors of these kinds, each once, in the order of the attributes: weight, bias, ..."""
        seen: set[int] = set()
        for path, module in self.named_modules():
            for name, value in list(vars(module).items()):
                if isinstance(value, kinds) and id(value) not in seen:
                    seen.add(id(value))
                    yield f"{path}.{name}" if path else name, value

    @pytorch_names
    @refuses(**_OWN)
    def named_parameters(self) -> Iterator[tuple[str, Parameter]]:
        """Iterate over the parameters, each once, with its path, such as ``layer1.0.conv1.weight``."""
        return self._named_tensors(Parameter)

    @pytorch_names
    @refuses(**_OWN)
    def parameters(self) -> Iterator[Parameter]:
        """Iterate over the parameters, each once."""
        return (parameter for _, parameter in self.named_parameters())

    @pytorch_names
    @refuses(**_OWN)
    def named_buffers(self) -> Iterator[tuple[str, Buffer]]:
        """Iterate over the buffers, each once, with its path."""
        return self._named_tensors(Buffer)

    def buffers(self) -> Iterator[Buffer]:
        """Iterate over the buffers, each once."""
        return (buffer for _, buffer in self.named_buffers())

    def train(self: Self, mode: bool = True) -> Self:
        """Put this module and all modules below it in training mode or, if ``mode`` is False, in evaluation mode.

        Batch norm and dropout behave differently in the two modes. Raises ArgumentError if ``mode`` is not a boolean.
        """
        if not isinstance(mode, bool):
            raise ArgumentError(
                f"{type(self).__name__}.train: mode is {type(mode).__name__}; it must be True or False."
            )
        for module in self.modules():
            module.training = mode
        return self

    def eval(self: Self) -> Self:
        """Put this module and all modules below it in evaluation mode."""
        return self.train(False)

    @pytorch_names
    @refuses(set_to_none="gradients always become None; leave it out")
    def zero_grad(self) -> None:
        """Set the gradients of all parameters to None."""
        for parameter in self.parameters():
            parameter.grad = None

    def requires_grad_(self: Self, requires_grad: bool = True) -> Self:
        """Unfreeze all parameters or, if ``requires_grad`` is False, freeze them."""
        for parameter in self.parameters():
            parameter.requires_grad = requires_grad
        return self

    def apply(self: Self, function: Callable[[Module], Any]) -> Self:
        """Call ``function`` on this module and all modules below it."""
        for module in list(self.modules()):
            function(module)
        return self

    @pytorch_names
    @refuses(non_blocking="leave it out", memory_format="leave it out: kernels choose the layout")
    def to(self: Self, device_or_dtype: Any = None, dtype: DTypeLike = None, *, device: str | None = None) -> Self:
        """Move parameters and buffers to a device, or convert floats to a dtype, in place; gradients as well.

        Buffers of integers or booleans keep their dtype.

        Raises
        ------
        DTypeError
            If the dtype is not a floating dtype, such as ``"float32"``. Nothing is changed.
        """
        targets = [target for target in (device_or_dtype, dtype, device) if target is not None]
        for target in targets:
            if target not in ("cpu", "cuda") and np.dtype(backend.as_dtype(target)).kind != "f":
                raise DTypeError(
                    f"{type(self).__name__}.to: {np.dtype(target)} would lose the fractions of the weights; a model "
                    "can only be converted to a floating dtype, such as 'float32'."
                )
        for _, tensor in self._named_tensors(Parameter, Buffer):
            grad = tensor.grad
            for target in targets:
                if target in ("cpu", "cuda") or tensor.dtype.kind == "f":
                    tensor.data = tensor.detach().to(target).data
                    grad = grad if grad is None else grad.detach().to(target)
            tensor.grad = grad
        return self

    @pytorch_names
    @refuses(prefix="write {{prefix + name: array for name, array in {0}().items()}}", keep_vars="arrays are copies")
    def state_dict(self) -> dict[str, np.ndarray[Any, Any]]:
        """Return copies of all parameters and buffers, on the CPU, keyed by name."""
        return {name: np.array(tensor.numpy(), order="C") for name, tensor in saved_tensors(self).items()}

    @pytorch_names
    @refuses(assign="arrays are copied into the parameters, which keep their dtype")
    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True) -> Keys:
        """Copy the arrays of ``state_dict`` into the parameters and buffers. If one does not fit, nothing is changed.

        PyTorch's ``num_batches_tracked`` is ignored, except by batch norms with ``momentum=None``.

        Parameters
        ----------
        state_dict : mapping of str to array
            Arrays keyed by name, as returned by :meth:`state_dict`. Those of a shared parameter may occur once or under
            each of its names, as in PyTorch.
        strict : bool
            Whether missing and unexpected names are errors. Shapes must fit in any case.

        Returns
        -------
        Keys
            A named tuple of two lists of names: ``missing_keys`` are not in the state, ``unexpected_keys`` are not in
            the module.

        Raises
        ------
        ArgumentError
            If ``state_dict`` is not a mapping.
        StateDictError
            If shapes or kinds of numbers differ or, with ``strict``, names are missing or left over. The message lists
            these names.
        """
        where = f"load_state_dict: the state does not fit {type(self).__name__}"
        if not isinstance(state_dict, Mapping):
            hint = "model.state_dict()" if isinstance(state_dict, Module) else "mr.load(path)"
            raise ArgumentError(
                f"load_state_dict: it takes a dict of arrays, not {type(state_dict).__name__}; pass {hint}."
            )
        own = saved_tensors(self)
        given = {name: value for name, value in state_dict.items() if name in own or not not_needed(name)}
        if inner := [name for name, value in given.items() if isinstance(value, Mapping)]:
            raise StateDictError(f"{where}: {inner[0]!r} is a dict itself; pass state[{inner[0]!r}].")
        missing = [name for name in own if name not in given]
        first = {id(tensor): name for name, tensor in own.items()}
        again = {
            name: first.get(id(_at(self, name))) for name in given if name not in own
        }  # second names, as PyTorch has
        left_over = [name for name, same in again.items() if same not in given or not _equal(given[name], given[same])]
        arrays = {name: _as_array(where, name, given[name]) for name in own if name in given}
        misfits = [
            f"{name} ({sizes(array.shape)} for {sizes(own[name].shape)})"
            if array.shape != own[name].shape
            else f"{name} ({array.dtype} for {own[name].dtype})"
            for name, array in arrays.items()
            if array.shape != own[name].shape or not np.can_cast(array.dtype, own[name].dtype, "same_kind")
        ]
        if misfits or (strict and (missing or left_over)):
            raise StateDictError(
                f"{where}: missing {listed(missing)}; left over {listed(list(map(str, left_over)))}; of another shape "
                f"or type {listed(misfits)}." + renaming_hint(missing, left_over)
            )
        try:
            with np.errstate(over="raise", invalid="ignore"):
                converted = {name: array.astype(own[name].dtype) for name, array in arrays.items()}
        except FloatingPointError as error:
            raise StateDictError(f"{where}: it holds numbers too large for the model's dtype.") from error
        for name, array in converted.items():
            own[name].data = to_device(array, own[name].device)
        return Keys(missing, left_over)

    def extra_repr(self) -> str:
        """Return the arguments to show in ``repr``."""
        return ""

    def __repr__(self) -> str:
        children = [f"  ({name}): " + repr(child).replace("\n", "\n  ") for name, child in self.named_children()]
        inside = "\n" + "\n".join(children) + "\n" if children else ""
        return f"{type(self).__name__}({self.extra_repr()}{inside})"


missing_attributes(Module, _TORCH)


def _without_options(
    hook: Callable[..., Any], module: Module, inputs: tuple[Any, ...], options: dict[str, Any], output: Any
) -> Any:
    return hook(module, inputs, output)


def saved_tensors(model: Module) -> dict[str, Tensor]:
    """Return the tensors of the model's state dict: parameters and buffers, except those that are not persistent."""
    modules = dict(model.named_modules())
    tensors = dict(model._named_tensors(Parameter, Buffer))
    places = ((name, name.rpartition(".")) for name in tensors)
    return {name: tensors[name] for name, (path, _, own) in places if own not in modules[path]._not_saved}


def check_module(where: str, model: Any) -> Module:
    """Return ``model``. Raises ArgumentError if it is not a module."""
    if not isinstance(model, Module):
        raise ArgumentError(f"{where}: model is {type(model).__name__}; it must be a Module, such as a network.")
    return model


@contextmanager
def in_mode(model: Module, training: bool) -> Iterator[None]:
    """Put the model in training or evaluation mode; after the ``with`` block, each module has its former mode again.

    ``model.train()`` would not restore it: it also puts frozen batch norms in training mode.

    Examples
    --------
    >>> import minires as mr
    >>> model = mr.nn.Sequential(mr.nn.Linear(3, 2), mr.nn.BatchNorm1d(2).eval())
    >>> with in_mode(model, training=False):
    ...     [module.training for module in model.modules()]
    [False, False, False]
    >>> [module.training for module in model.modules()]
    [True, True, False]
    """
    modes = [(module, module.training) for module in model.modules()]
    try:
        model.train(training)
        yield
    finally:
        for module, mode in modes:
            module.training = mode


@contextmanager
def undisturbed(model: Module) -> Iterator[None]:
    """After the ``with`` block, restore the model's modules, their buffers, and the random generator.

    All attributes of each module are restored, such as its mode, hooks, sub-modules and ``forward``, but not the values
    of its parameters.
    """
    modules = [(module, dict(vars(module)), list(module._forward_hooks or ())) for module in model.modules()]
    buffers = [(buffer, buffer.data, buffer.data.copy()) for _, buffer in model.named_buffers()]
    generator = backend.generator().bit_generator
    state = generator.state
    try:
        yield
    finally:
        generator.state = state
        for module, attributes, hooks in modules:
            vars(module).clear()
            vars(module).update(attributes)
            if module._forward_hooks:
                module._forward_hooks[:] = hooks
        for buffer, array, values in buffers:
            if buffer.data is not array or not array_module(array).array_equal(array, values):
                array[...] = values
                buffer.data = array


def _inside(container: Any) -> list[Any]:
    """Return the modules, parameters and buffers in a list, dict or similar, and in the containers inside it."""
    found, stack, seen = [], [container], set()
    while stack:
        item = stack.pop()
        if id(item) not in seen:
            seen.add(id(item))
            items = [*item, *item.values()] if isinstance(item, dict) else item
            if _SCALARS.issuperset(map(type, items)):
                continue
            found += [part for part in items if isinstance(part, (Module, Parameter, Buffer))]
            stack += [part for part in items if isinstance(part, _CONTAINERS)]
    return found


def _check_container(where: str, value: Any, known: Collection[int]) -> None:
    """Raise ArgumentError if a list, dict or similar holds modules or parameters whose ids are not ``known``."""
    kind = type(value).__name__
    if isinstance(value, STREAMS):
        raise ArgumentError(
            f"{where} is a {kind}, which yields its items only once; write nn.ModuleList(...) for "
            "modules, or list(...) for other items."
        )
    lost = [item for item in _inside(value) if id(item) not in known]
    if not lost:
        return
    item = next((item for item in lost if isinstance(item, Module)), lost[0])
    if isinstance(item, Buffer):
        raise ArgumentError(f"{where} is a plain {kind} of buffers, which would not be saved; use register_buffer.")
    own, what = ("Module", "modules") if isinstance(item, Module) else ("Parameter", "parameters")
    new = f"nn.{own}Dict" if isinstance(value, dict) else f"nn.{own}List"
    if not any(item is direct for direct in (value.values() if isinstance(value, dict) else value)):
        new += f", and the containers in it in nn.{own}List or nn.{own}Dict"
    raise ArgumentError(f"{where} is a plain {kind} of {what}, which would not be trained; wrap it in {new}.")


def _at(module: Any, path: Any) -> Any:
    """Return the attribute at a path such as ``"fc.bias"``, or None."""
    for name in str(path).split("."):
        module = vars(module).get(name) if isinstance(module, Module) else None
    return module


def _equal(a: Any, b: Any) -> bool:
    one, other = (_as_array("load_state_dict", "a shared parameter", value) for value in (a, b))
    return one.shape == other.shape and one.tobytes() == other.tobytes()


def _as_array(where: str, name: str, value: Any) -> np.ndarray[Any, Any]:
    try:
        return np.asarray(value.numpy() if hasattr(value, "numpy") else value)
    except (TypeError, ValueError, RuntimeError) as error:  # such as a tensor of PyTorch that requires a gradient
        raise StateDictError(f"{where}: {name} is not an array: {error}") from error


def not_needed(name: Any) -> bool:
    """Whether a name in a state dict is that of PyTorch's count of the batches that a batch norm has seen."""
    return isinstance(name, str) and name.rpartition(".")[2] == "num_batches_tracked"


def renaming_hint(missing: Sequence[str], left_over: Sequence[Any]) -> str:
    """Return a sentence on how to rename the entries of a state so that the missing ones are found, or "" if unknown.

    >>> print(renaming_hint(["fc.bias"], ["net.fc.bias"]).strip())
    Without the prefix 'net.', its names fit: {name.removeprefix('net.'): array for name, array in state.items()}.
    >>> print(renaming_hint(["net.fc.bias"], ["fc.bias"]).strip())
    Its names fit model.net: model.net.load_state_dict(state).
    >>> print(renaming_hint(["fc.weight", "fc.bias"], ["classifier.bias", "classifier.weight"]).strip())
    Is its 'classifier' the model's 'fc'? Then rename it: name.replace('classifier.', 'fc.').
    """
    wanted, found = set(missing), {name for name in left_over if isinstance(name, str)}
    for names, others, remedy in (
        (found, wanted, "Without the prefix '{0}', its names fit: {{name.removeprefix('{0}'): array for name, array in "
                        "state.items()}}."),
        (wanted, found, "Its names fit model.{1}: model.{1}.load_state_dict(state)."),
    ):  # fmt: skip
        for end in (match.end() for match in re.finditer(r"\.", min(names, default=""))):
            prefix = min(names)[:end]
            if others and others <= {name.removeprefix(prefix) for name in names if name.startswith(prefix)}:
                return " " + remedy.format(prefix, prefix[:-1])
    heads = [{name.partition(".")[0] for name in names} for names in (found, wanted)]
    if [len(names) for names in heads] == [1, 1] and heads[0] != heads[1]:
        theirs, ours = (names.pop() for names in heads)
        if {f"{ours}.{name.partition('.')[2]}" for name in found} == wanted:
            return f" Is its '{theirs}' the model's '{ours}'? Then rename it: name.replace('{theirs}.', '{ours}.')."
    return ""
