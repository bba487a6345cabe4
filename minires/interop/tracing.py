"""Tracing: recording the ops that a model calls for one input.

The model's own ``forward`` runs while an observer records every op with its input and output arrays.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..core.autograd import Op
from ..core.backend import Array
from ..core.dispatch import engine
from ..core.state import enable_grad, observed
from ..core.tensor import Tensor, fingerprint
from ..errors import ArgumentError, MiniresError, sizes


@dataclass
class TracedCall:
    """One call of an op."""

    op: Any  # an Op; each translator reads the options of its own op class
    inputs: Sequence[Array]
    output: Array
    fingerprint: int  # a hash of the output, computed right after the call


def trace(model: Callable[[Tensor], Any], x: Array) -> tuple[Array, list[TracedCall], list[Array]]:
    """Run ``model`` on ``x`` and record the ops that it calls.

    Returns
    -------
    x : array
        The input array as it occurs in the calls.
    calls : list of TracedCall
        The calls that lead from ``x`` to the outputs, in order. All other arrays in them are constants.
    outputs : list of array

    Raises
    ------
    ArgumentError
        If the model does not take ``x``, returns anything but tensors computed from it, or changes an array in place.
    """
    calls: list[TracedCall] = []  # the calls whose output depends on x
    depends = set()  # the ids of x and of the outputs of these calls

    def record(op: Op, phase: str, arrays: Sequence[Array]) -> Callable[[Array], None]:
        def finished(result: Array) -> None:
            if id(result) not in depends and any(id(array) in depends for array in arrays):
                depends.add(id(result))
                calls.append(TracedCall(op, arrays, result, fingerprint(result)))

        return finished

    with enable_grad(), engine("textbook"), np.errstate(all="ignore"):
        entry = Tensor.wrap(x)
        if x.dtype.kind == "f":  # so that `x += y` makes a new tensor, which is recorded
            entry.requires_grad = True
            entry = entry * 1
        array = entry.data
        depends.add(id(array))
        before = fingerprint(array)
        try:
            with observed(record):
                returned = model(entry)
        except MiniresError as error:
            raise ArgumentError(
                f"export_onnx: input_shape is {sizes(x.shape[1:])} for one example, but the model does not take a "
                f"batch of such examples ({sizes(x.shape)}): {error}"
            ) from error
        if fingerprint(array) != before:
            raise _changed_in_place("the input", array)
    outputs = list(returned) if isinstance(returned, (tuple, list)) else [returned]
    for output in outputs:
        if not isinstance(output, Tensor):
            raise ArgumentError(f"export_onnx: the model returns {type(output).__name__}; it must return tensors.")
        if id(output.data) not in depends:
            raise ArgumentError(
                f"export_onnx: an output ({sizes(output.shape)}) is not computed from the input by ops of minires; "
                "argmax, comparisons, reductions to one number and changes of .data are not recorded."
            )
    arrays = [output.data for output in outputs]
    wanted = set(map(id, arrays))
    leading = []
    for call in reversed(calls):
        if id(call.output) in wanted:
            wanted.update(map(id, call.inputs))
            leading.append(call)
            if fingerprint(call.output) != call.fingerprint:
                raise _changed_in_place(f"the result of {call.op.name}", call.output)
    return array, leading[::-1], arrays


def _changed_in_place(what: str, array: Array) -> ArgumentError:
    return ArgumentError(
        f"export_onnx: {what} ({sizes(array.shape)}) is changed in place, which is not recorded; compute a new tensor."
    )
