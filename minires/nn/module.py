"""Module: parameters, buffers and sub-modules, found by looking at the attributes.

Nothing has to be registered: a Parameter, Buffer or Module that is an attribute of a module belongs to it, under the
name of the attribute. Everything else here walks over this tree of modules.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

import numpy as np

from ..core import backend
from ..core.autograd import HookHandle
from ..core.backend import DTypeLike, array_module, to_device
from ..core.tensor import Tensor, TensorLike
from ..errors import ArgumentError, StateDictError, listed, sizes

Self = TypeVar("Self", bound="Module")


class Parameter(Tensor):
    """A tensor that is learned: it requires a gradient, and optimisers update it."""

    def __init__(self, data: TensorLike, requires_grad: bool = True, dtype: DTypeLike = None) -> None:
        super().__init__(data, requires_grad, dtype)


class Buffer(Tensor):
    """A tensor that is saved with the model but not learned, such as a running mean."""

    def __init__(self, data: TensorLike, dtype: DTypeLike = None) -> None:
        super().__init__(data, False, dtype)


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

    def forward(self, *inputs: Any) -> Any:
        """Compute the module's output."""
        raise NotImplementedError(f"{type(self).__name__} has no forward.")

    def __call__(self, *inputs: Any, **options: Any) -> Any:
        """Run ``forward``, then the hooks."""
        output = self.forward(*inputs, **options)
        for hook in self._forward_hooks or ():
            replacement = hook(self, inputs, output)
            output = output if replacement is None else replacement
        return output

    def register_forward_hook(self, hook: Callable[[Module, tuple[Any, ...], Any], Any]) -> HookHandle:
        """Call ``hook(module, inputs, output)`` after each forward pass. The hook may return a replacement output.

        Returns
        -------
        HookHandle
            Call its ``remove()`` to remove the hook.
        """
        self._forward_hooks = self._forward_hooks or []
        return HookHandle(self._forward_hooks, hook)

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """Iterate over the modules that are attributes of this one, with their names."""
        for name, value in vars(self).items():
            if isinstance(value, Module):
                yield name, value
            elif isinstance(value, (list, tuple)) and any(isinstance(item, (Module, Parameter)) for item in value):
                raise ArgumentError(
                    f"{type(self).__name__}.{name} is a plain {type(value).__name__} of modules or parameters, which "
                    "would not be trained; wrap it in nn.ModuleList or nn.Sequential."
                )

    def children(self) -> Iterator[Module]:
        """Iterate over the modules that are attributes of this one."""
        return (child for _, child in self.named_children())

    def named_modules(self, prefix: str = "") -> Iterator[tuple[str, Module]]:
        """Iterate over this module, named ``prefix``, and all modules below it, each once, parents first."""
        seen: set[int] = set()
        stack: list[tuple[str, Module]] = [(prefix, self)]
        while stack:
            path, module = stack.pop()
            if id(module) not in seen:
                seen.add(id(module))
                yield path, module
                below = [(f"{path}.{name}" if path else name, child) for name, child in module.named_children()]
                stack.extend(reversed(below))

    def modules(self) -> Iterator[Module]:
        """Iterate over this module and all modules below it, each once."""
        return (module for _, module in self.named_modules())

    def _named_tensors(self, *kinds: type[Tensor]) -> Iterator[tuple[str, Any]]:
        """Iterate over the tensors of these kinds, each once, in the order of the attributes: weight, bias, ..."""
        seen: set[int] = set()
        for path, module in self.named_modules():
            for name, value in vars(module).items():
                if isinstance(value, kinds) and id(value) not in seen:
                    seen.add(id(value))
                    yield f"{path}.{name}" if path else name, value

    def named_parameters(self) -> Iterator[tuple[str, Parameter]]:
        """Iterate over the parameters, each once, with its path, such as ``layer1.0.conv1.weight``."""
        return self._named_tensors(Parameter)

    def parameters(self) -> Iterator[Parameter]:
        """Iterate over the parameters, each once."""
        return (parameter for _, parameter in self.named_parameters())

    def named_buffers(self) -> Iterator[tuple[str, Buffer]]:
        """Iterate over the buffers, each once, with its path."""
        return self._named_tensors(Buffer)

    def train(self: Self, mode: bool = True) -> Self:
        """Put this module and all modules below it in training mode or, if ``mode`` is False, in evaluation mode.

        Batch norm and dropout behave differently in the two modes.
        """
        for module in self.modules():
            module.training = mode
        return self

    def eval(self: Self) -> Self:
        """Put this module and all modules below it in evaluation mode."""
        return self.train(False)

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

    def to(self: Self, device_or_dtype: Any) -> Self:
        """Move parameters and buffers to a device, or convert them to a dtype, in place. Gradients become None."""
        for _, tensor in self._named_tensors(Parameter, Buffer):
            tensor.data = tensor.detach().to(device_or_dtype).data
            tensor.grad = None
        return self

    def state_dict(self) -> dict[str, np.ndarray[Any, Any]]:
        """Return copies of all parameters and buffers, on the CPU, keyed by name."""
        return {name: np.array(tensor.numpy(), order="C") for name, tensor in self._named_tensors(Parameter, Buffer)}

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True) -> None:
        """Copy the arrays of ``state_dict`` into the parameters and buffers. If one does not fit, nothing is changed.

        Parameters
        ----------
        state_dict : mapping of str to array
            Arrays keyed by name, as returned by :meth:`state_dict`.
        strict : bool
            Whether missing and unexpected names are errors. Shapes must fit in any case.

        Raises
        ------
        StateDictError
            If shapes differ or, with ``strict``, names are missing or left over. The message lists these names.
        """
        own = dict(self._named_tensors(Parameter, Buffer))
        arrays = {name: np.asarray(value) for name, value in state_dict.items()}
        missing = [name for name in own if name not in arrays]
        left_over = [name for name in arrays if name not in own]
        misfits = [
            f"{name} ({sizes(arrays[name].shape)} for {sizes(tensor.shape)})"
            for name, tensor in own.items()
            if name in arrays and arrays[name].shape != tensor.shape
        ]
        if misfits or (strict and (missing or left_over)):
            raise StateDictError(
                f"load_state_dict: the state does not fit {type(self).__name__}: missing {listed(missing)}; "
                f"left over {listed(left_over)}; of another shape {listed(misfits)}."
            )
        for name, tensor in own.items():
            if name in arrays:
                tensor.data = to_device(arrays[name].astype(tensor.dtype), tensor.device)

    def extra_repr(self) -> str:
        """Return the arguments to show in ``repr``."""
        return ""

    def __repr__(self) -> str:
        children = [f"  ({name}): " + repr(child).replace("\n", "\n  ") for name, child in self.named_children()]
        inside = "\n" + "\n".join(children) + "\n" if children else ""
        return f"{type(self).__name__}({self.extra_repr()}{inside})"


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


class _Numbered(Module):
    """Modules in a fixed order, named 0, 1, ..."""

    def __init__(self, modules: Iterable[Any] = ()) -> None:
        for number, module in enumerate(modules):
            if not isinstance(module, Module):
                raise ArgumentError(
                    f"{type(self).__name__}: item {number} is {type(module).__name__}, not an nn.Module."
                )
            setattr(self, str(number), module)

    def __iter__(self) -> Iterator[Module]:
        return self.children()

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __getitem__(self, index: int) -> Module:
        return list(self)[index]


class Sequential(_Numbered):
    """Modules that run one after the other and are named 0, 1, ..."""

    def __init__(self, *modules: Module) -> None:
        super().__init__(modules)

    def forward(self, x: Any) -> Any:
        for module in self:
            x = module(x)
        return x


class ModuleList(_Numbered):
    """A list of modules, which are named 0, 1, ... and belong to the module that holds the list."""

    def append(self, module: Module) -> None:
        """Add a module at the end."""
        super().__init__((*self, module))
