"""Define-by-run automatic differentiation: ops are recorded on a tape, and backward walks it in reverse.

::

    x ----> [mul] ----> y ----> [sum] ----> loss       forward: every op keeps an edge to each of its sources
    x.grad <---- [mul] <---- [sum] <---- 1             backward: from the loss, each op once, consumers first

There is no tape object. A tensor knows the op that made it (``tensor.op``, None for a leaf), and an op knows the
*source* of each input in ``op.edges``: the op that made it, a leaf tensor, or None where no gradient is needed.
That is the whole graph. Values are not part of it: an op keeps its inputs only if its backward reads them, so the
output of an addition is freed as soon as nothing else uses it. References only point backwards, so there are no
reference cycles, and the tape is freed together with the last tensor that depends on it.

``forward`` works on raw arrays. ``backward`` works on tensors, with the same ops that users call, so a backward pass
can itself be recorded and differentiated again (``create_graph=True``).
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

from ..errors import ArgumentError, DeviceError, DTypeError, GraphError, ShapeError, sizes
from .backend import Array, device_of
from .calls import pytorch_names, refuses
from .dispatch import find_kernel, run_kernel
from .state import state, switched

if TYPE_CHECKING:
    from .tensor import Tensor

    Source: TypeAlias = "Op | Tensor"  # what an edge points to: the op that made an input, or a leaf
    Visit: TypeAlias = Callable[[Source, Tensor], None]

Hook = Callable[[Any], Any]
Shape = tuple[int, ...]


class HookHandle:
    """A registered hook; ``remove()`` unregisters it."""

    def __init__(self, hooks: list[Any], hook: Callable[..., Any]) -> None:
        self._hooks, self._entry = hooks, partial(hook)  # a new object, so that the same hook can be registered twice
        hooks.append(self._entry)

    def remove(self) -> None:
        """Unregister the hook. Calling this twice is allowed."""
        self._hooks[:] = [entry for entry in self._hooks if entry is not self._entry]


class Op:
    """One operation. A subclass defines ``forward`` on raw arrays and ``backward`` on tensors.

    Each call needs a new instance. Constructor arguments are the op's options (a stride, an axis). Whatever ``forward``
    stores on ``self`` is available in ``backward``, until the graph is freed. The class statement declares what else
    ``backward`` reads: ``self.inputs`` by default, ``self.output`` with ``class Exp(Op, saves="output")``, both with
    ``saves="both"``, and with ``saves="shapes"`` only ``self.input_shapes``, which is always available.

    Examples
    --------
    >>> import minires as mr
    >>> class Square(mr.Op):
    ...     def forward(self, x):
    ...         return x * x
    ...     def backward(self, upstream):
    ...         (x,) = self.inputs
    ...         return upstream * 2 * x
    >>> x = mr.tensor([1.0, 2.0, 3.0], requires_grad=True)
    >>> Square()(x).sum().backward()
    >>> x.grad
    tensor([2., 4., 6.])
    """

    name: ClassVar[str] = "op"
    saves: ClassVar[str] = "inputs"

    edges: tuple[Source | None, ...] = ()
    inputs: tuple[Tensor, ...] = ()
    input_shapes: tuple[tuple[int, ...], ...] = ()
    shape: tuple[int, ...]  # shape and dtype are those of the output; leaf tensors, the other sources, have them, too
    dtype: Any
    hooks: list[Hook] | None = None
    freed = False

    def __init_subclass__(cls, saves: str | None = None, name: str | None = None) -> None:
        super().__init_subclass__()
        cls.saves = saves or cls.saves
        if cls.saves not in ("inputs", "output", "both", "shapes"):
            raise ArgumentError(f"{cls.__name__}: saves is {saves!r}, not 'inputs', 'output', 'both' or 'shapes'.")
        cls.name = name or re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", cls.__name__).lower()  # BatchNorm -> batch_norm

    def forward(self, *arrays: Array) -> Array:
        """Compute the result as an array. It may be a view of an input, but inputs must not be changed."""
        raise NotImplementedError(f"{type(self).__name__} has no forward.")

    def backward(self, upstream: Tensor) -> Tensor | tuple[Tensor | None, ...] | None:
        """Compute the gradient with respect to each input (or None) from the gradient with respect to the output."""
        raise NotImplementedError(f"{type(self).__name__} has no backward.")

    def __call__(self, *inputs: Tensor) -> Tensor:
        """Compute the output, and record the op if an input requires a gradient."""
        if self.edges or self.freed:
            raise GraphError(f"{self.name}: this op was already called; create a new one for each call.")
        try:
            arrays = [x._data for x in inputs]
        except AttributeError:
            raise DTypeError(f"{self.name}: inputs must be tensors; create them with mr.tensor(...).") from None
        run = partial(self._forward, arrays)
        output = inputs[0].wrap(self._observed("forward", arrays, run) if state.observers else run())
        output.share_version(inputs)
        if state.grad_enabled and True in [x._requires_grad for x in inputs]:
            self._record(inputs, output)
        return output

    def multiply_adds(self, output: Shape, *inputs: Shape) -> int:
        """Return the number of multiply-adds in forward, given the shapes; 0 if the op does not count them.

        The count follows the textbook formula, so that figures can be compared: for each output pixel, a 3x3
        convolution takes 9 products for each pair of an input and an output channel, even where a kernel needs fewer
        (Winograd) or the window reaches into the padding. The products must be linear in each of the first two inputs.
        The gradient with respect to either of them then takes the same number of multiply-adds.
        """
        return 0

    def needs(self, index: int) -> bool:
        """Whether the gradient with respect to input ``index`` is needed; otherwise ``backward`` may skip it."""
        return self.edges[index] is not None

    @property
    def output(self) -> Tensor:
        """The output as a tensor of the graph, created on each access, as storing it would make a reference cycle."""
        output = self._wrap(self._output)
        output.op, output.requires_grad = self, True
        return output

    def _forward(self, arrays: Sequence[Array]) -> Array:
        if len(set(map(type, arrays))) > 1 and len(set(map(device_of, arrays))) > 1:
            devices = ", ".join(map(device_of, arrays))
            raise DeviceError(f"{self.name}: its inputs are on {devices}; move them to one device with .to(device).")
        result = run_kernel(self, "forward", *arrays)
        return self.forward(*arrays) if result is NotImplemented else result

    def _observed(self, phase: str, arrays: Sequence[Array], run: Callable[[], Any]) -> Any:
        """Return ``run()``. Call the observers before it, and the functions that they return after it."""
        ends = [observer(self, phase, arrays) for observer in state.observers]
        seen = None
        try:
            result = run()
            seen = result if phase == "forward" else tuple(None if grad is None else grad.data for grad in result)
            return result
        finally:
            for end in reversed([end for end in ends if end is not None]):
                end(seen)

    def _record(self, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        self.edges = tuple([x.source if x._requires_grad else None for x in inputs])
        self.input_shapes = tuple([x._data.shape for x in inputs])
        self.shape, self.dtype = output._data.shape, output._data.dtype
        self._changed = []
        if self.saves in ("inputs", "both"):
            self.inputs = inputs
            self._changed += [(f"input {i}", x.changed_from_now()) for i, x in enumerate(inputs)]
        if self.saves in ("output", "both"):
            self._output, self._wrap = output.data, output.wrap
            self._changed.append(("the output", output.changed_from_now()))
        output.op, output.requires_grad = self, True

    def check_saved(self) -> None:
        """Raise GraphError if anything that this op's backward reads was freed or changed."""
        if self.freed:
            raise GraphError(
                f"backward: the graph of {self.name} was freed by an earlier backward; "
                "pass retain_graph=True there (mr.grad: create_graph=True), or compute the loss again."
            )
        for what, changed in self._changed:
            if changed():
                raise GraphError(
                    f"backward: {what} of {self.name} was changed in place after the forward pass, "
                    "but the gradient needs the old values; change a copy, or call backward first."
                )

    def gradients(self, upstream: Tensor, pending: dict[Source, Tensor] | None = None) -> tuple[Tensor | None, ...]:
        """Run backward (or its kernel, if nothing is recorded) and check that the gradients have the inputs' shapes.

        ``pending`` holds the gradients that other consumers have already sent to this op's sources. Some kernels add
        these gradients to their own results; they are then removed from ``pending``.
        """
        run = partial(self._gradients, upstream, {} if pending is None else pending)
        return self._observed("backward", [upstream.data], run) if state.observers else run()

    def _gradients(self, upstream: Tensor, pending: dict[Source, Tensor]) -> tuple[Tensor | None, ...]:
        grads = NotImplemented if state.grad_enabled else self._run_backward_kernel(upstream, pending)
        if grads is NotImplemented:
            grads = self.backward(upstream)
        else:
            grads = tuple(None if grad is None else upstream.wrap(grad) for grad in grads)
        grads = list(grads) if isinstance(grads, (tuple, list)) else [grads]
        if len(grads) != len(self.edges):
            raise GraphError(f"backward of {self.name} returned {len(grads)} gradients for {len(self.edges)} inputs.")
        saved = {id(x._data) for x in self.inputs}
        for i, (source, grad) in enumerate(zip(self.edges, grads, strict=True)):
            if source is None or grad is None:
                continue
            if not hasattr(grad, "source"):
                given = type(grad).__name__
                raise DTypeError(f"backward of {self.name}: the gradient for input {i} is {given}, not a tensor.")
            if grad.shape != source.shape:
                raise ShapeError(
                    f"backward of {self.name}: the gradient for input {i} is {sizes(grad.shape)}, but the input is "
                    f"{sizes(source.shape)}; a sum over broadcast axes may be missing (sum_to)."
                )
            if grad.dtype != source.dtype:
                grads[i] = grad.astype(source.dtype)
            elif id(grad._data) in saved:  # changing the gradient in place must not change an input
                grads[i] = grad * 1
        return tuple(grads)

    def _run_backward_kernel(self, upstream: Tensor, pending: dict[Any, Tensor]) -> Any:
        kernel = find_kernel(self, "backward", upstream.data, math.prod(self.input_shapes[0]))
        if kernel is None or not kernel.accumulates:
            return NotImplemented if kernel is None else kernel.run(self, upstream.data)
        arrived = [pending.pop(edge, None) if i in kernel.accumulates else None for i, edge in enumerate(self.edges)]
        grads = kernel.run(self, upstream.data, [None if grad is None else grad.data for grad in arrived])
        if grads is NotImplemented:
            pending.update((edge, grad) for edge, grad in zip(self.edges, arrived, strict=True) if grad is not None)
        return grads

    def _free(self) -> None:
        self.__dict__.clear()
        self.freed = True

    def __repr__(self) -> str:
        return f"<{self.name}>"


def backward(root: Tensor, upstream: Tensor, retain_graph: bool, create_graph: bool) -> None:
    """Add dLoss/d(leaf) to ``leaf.grad`` for every leaf that ``root`` was computed from (see ``Tensor.backward``)."""
    handed_out = {id(upstream.data)}  # arrays that already have an owner; a second one gets a copy

    def accumulate(source: Source, grad: Tensor) -> None:
        if isinstance(source, Op):
            return
        if source.grad is not None:
            grad = source.grad + grad
        elif grad.data.base is not None or id(grad.data) in handed_out:
            grad = grad * 1
        handed_out.add(id(grad.data))
        source.grad = grad

    _walk(root, upstream, retain_graph, create_graph, accumulate)


@pytorch_names
@refuses(retain_graph="write create_graph=True", allow_unused="leave out the inputs that are not used")
def grad(
    output: Tensor, inputs: Tensor | Iterable[Tensor], grad_output: Tensor | None = None, create_graph: bool = False
) -> tuple[Tensor, ...]:
    """Return the gradients of ``output`` with respect to ``inputs``, instead of adding them to ``.grad``.

    Parameters
    ----------
    output : Tensor
        The tensor to differentiate; it must hold one number unless ``grad_output`` is given.
    inputs : Tensor or iterable of Tensor
        Leaves or intermediate results that ``output`` was computed from.
    grad_output : Tensor, optional
        The upstream gradient, with the shape of ``output``.
    create_graph : bool
        Whether to record the backward pass, so that the gradients can be differentiated again. The graph is then kept;
        otherwise it is freed.

    Returns
    -------
    tuple of Tensor
        One gradient for each input, with the shape and dtype of the input.

    Raises
    ------
    DTypeError
        If ``output`` or one of the inputs is not a tensor.
    GraphError
        If nothing was recorded, or ``output`` does not depend on one of the inputs.
    ShapeError
        If ``grad_output`` does not have the shape of ``output``, or is missing and ``output`` is not a single number.

    Examples
    --------
    >>> import minires as mr
    >>> x = mr.tensor(3.0, requires_grad=True)
    >>> (slope,) = mr.grad(x**3, x, create_graph=True)
    >>> (curvature,) = mr.grad(slope, x)
    >>> slope.item(), curvature.item()
    (27.0, 18.0)
    """
    given = list(inputs) if isinstance(inputs, Iterable) and not hasattr(inputs, "source") else [inputs]
    for x in (output, *given):
        if not hasattr(x, "source"):
            raise DTypeError(f"grad: output and inputs must be tensors, not {type(x).__name__}.")
    found: dict[Source, Any] = dict.fromkeys(x.source for x in given)

    def collect(source: Source, grad: Tensor) -> None:
        if source in found:
            found[source] = grad * 1  # a copy: what an op passes on may be shared, or a view

    _walk(output, output.upstream(grad_output), create_graph, create_graph, collect)
    for i, x in enumerate(given):
        if found[x.source] is None:
            raise GraphError(f"grad: input {i} does not require a gradient, or the output does not depend on it.")
    return tuple(found[x.source] for x in given)


def _walk(root: Tensor, upstream: Tensor, retain_graph: bool, create_graph: bool, visit: Visit) -> None:
    """Call ``visit(source, gradient)`` for every op and leaf below ``root``, consumers before producers.

    A source is ready when all of its consumers have been visited. Counting the consumers first, and then counting down,
    gives a topological order without recursion, in time linear in the number of edges.
    """
    if not root.requires_grad:
        raise GraphError(
            f"backward: this tensor ({sizes(root.shape)}) was not computed from anything with requires_grad=True, "
            "or it was computed inside no_grad()."
        )
    awaited = _count_consumers(root.source)
    grads: dict[Source, Tensor] = {root.source: upstream}
    ready = [root.source]
    with switched(grad_enabled=create_graph):
        while ready:
            source = ready.pop()
            grad = grads.pop(source, None)
            if grad is not None:
                if source.hooks:  # hooks may change or keep the gradient, so they get a copy, and a copy goes on
                    grad = grad * 1
                    for hook in tuple(source.hooks):
                        replacement = hook(grad)
                        grad = grad if replacement is None else grad.upstream(replacement)
                    grad = grad * 1
                visit(source, grad)
            if not isinstance(source, Op):
                continue
            edges = source.edges
            # Without a gradient, there is nothing to compute, but the sources below still have to be counted down.
            parts = (None,) * len(edges) if grad is None else source.gradients(grad, grads)
            for edge, part in zip(edges, parts, strict=True):
                if edge is None:
                    continue
                if part is not None:  # the chain rule adds up the gradients from all consumers
                    grads[edge] = part if edge not in grads else grads[edge] + part
                awaited[edge] -= 1
                if awaited[edge] == 0:
                    ready.append(edge)
            if not retain_graph and not create_graph:
                source._free()


def _count_consumers(root: Source) -> dict[Source, int]:
    """Count how many gradients each source will receive, and check that all of them can be computed."""
    counts: Counter[Source] = Counter()
    stack = [root]
    while stack:
        source = stack.pop()
        if isinstance(source, Op):
            source.check_saved()
            edges = [edge for edge in source.edges if edge is not None]
            stack += [edge for edge in dict.fromkeys(edges) if edge not in counts]
            counts.update(edges)
    return counts
