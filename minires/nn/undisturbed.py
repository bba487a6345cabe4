"""To look at a model at work, and leave no trace."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ..core import backend
from ..core.backend import array_module
from .module import Module


@contextmanager
def undisturbed(model: Module) -> Iterator[None]:
    """Put back whatever the modules, their buffers and the random generator were before, whatever happens inside.

    Of a module that is each attribute: its mode, its hooks, its sub-modules, a ``forward`` of its own. The values of
    parameters are left alone.
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
