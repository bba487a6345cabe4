"""Optimisers, which use gradients to update parameters in place.

Formulas and defaults are the same as in PyTorch. Gradients are never changed.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from ..core import checks
from ..core.backend import Array, array_module, to_device
from ..core.calls import pytorch_names, refuses
from ..core.dispatch import run_kernel
from ..core.state import state
from ..core.tensor import Tensor
from ..errors import ArgumentError, DeviceError, DTypeError, ShapeError, StateDictError, sizes

_ALWAYS = "leave it out: {0} always updates all parameters together"
_NOT_OFFERED = {  # PyTorch's arguments
    "maximize": "write loss = -loss",
    "foreach": _ALWAYS,
    "fused": _ALWAYS,
    "capturable": "leave it out",
    "differentiable": "leave it out: a step is not recorded",
    "amsgrad": "leave it out, which is amsgrad=False",
    "dampening": "leave it out, which is dampening=0",
}


class Optimizer:
    """Base class: parameter groups, their options, and the state of each parameter.

    A subclass implements :meth:`update`, and takes at least ``params``, ``lr`` and ``weight_decay``.

    Attributes
    ----------
    param_groups : list of dict
        Each group has ``"params"`` (a list), its own ``"lr"``, which schedules change, and the other options.
    state : list of dict
        For each parameter, in the order of the groups, its arrays (momentum, moments) and its number of steps.
    """

    arrays: ClassVar[tuple[str, ...]] = ()  # the names of the arrays in the state of a parameter
    #: The values that ``minires train`` uses if none are given.
    training_defaults: ClassVar[dict[str, float]] = {"lr": 1e-3, "weight_decay": 0.0}

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "__init__" in vars(cls):  # wrong arguments are then named in the error
            cls.__init__ = pytorch_names(refuses(**_NOT_OFFERED)(cls.__init__), cls.__name__)  # type: ignore[method-assign]

    def __init__(self, params: Iterable[Any], **defaults: Any) -> None:
        given = [params] if isinstance(params, (Tensor, Mapping)) else self._listed("params", params)
        if not given:
            raise ArgumentError(
                f"{type(self).__name__}: params is empty; pass model.parameters(), an iterator that can be used only "
                "once."
            )
        self.defaults = defaults
        self.param_groups: list[dict[str, Any]] = []
        self.state: list[dict[str, Any]] = []
        groups: list[Any] = given if isinstance(given[0], Mapping) else [{"params": given}]
        for group in groups:
            self.add_param_group(group)

    def add_param_group(self, param_group: Mapping[str, Any]) -> None:
        """Add a group: a dict with ``"params"`` and options such as ``"lr"``, which otherwise have their defaults.

        Raises
        ------
        ArgumentError, DTypeError
            As for the optimiser itself.
        """
        name, group = type(self).__name__, param_group
        if not isinstance(group, Mapping) or "params" not in group:
            raise ArgumentError(f"{name}: each parameter group must be a dict with the key 'params'.")
        if unknown := set(group) - {"params", *self.defaults}:
            raise ArgumentError(f"{name}: a parameter group has no option {sorted(unknown)[0]!r}.")
        own = self._listed("'params'", group["params"])
        if not own and isinstance(group["params"], Iterator):
            raise ArgumentError(
                f"{name}: a parameter group is empty; model.parameters() can be used only once, so write "
                "list(model.parameters())."
            )
        new = {**self.defaults, **group, "params": own}
        self._check_options(new)
        for parameter in own:
            if not isinstance(parameter, Tensor):
                hint = "; pass model.parameters()" if isinstance(parameter, (tuple, str)) else ""
                hint = "; pass its parameters()" if hasattr(parameter, "parameters") else hint
                raise DTypeError(f"{name}: params holds a {type(parameter).__name__}; it must hold tensors{hint}.")
            if parameter.op is not None:
                raise ArgumentError(
                    f"{name}: a tensor ({sizes(parameter.shape)}) is not a leaf: {parameter.op.name} computed it."
                )
        if len({id(parameter) for parameter in (*self.parameters, *own)}) < len(self.parameters) + len(own):
            raise ArgumentError(f"{name}: a parameter appears twice in params; each step would update it twice.")
        self.param_groups.append(new)
        self.state += [{} for _ in own]

    def _listed(self, what: str, params: Any) -> list[Any]:
        unordered = isinstance(params, (set, frozenset))
        if unordered or not isinstance(params, Iterable) or isinstance(params, str) or hasattr(params, "parameters"):
            hint = "the order of a set is not fixed; pass a list" if unordered else "pass model.parameters()"
            raise ArgumentError(f"{type(self).__name__}: {what} is {type(params).__name__}; {hint}.")
        return [params] if isinstance(params, Tensor) else list(params)

    @classmethod
    def for_training(cls, params: Iterable[Any], lr: float, weight_decay: float, momentum: float) -> Optimizer:
        """Create the optimiser from settings of ``minires train``. A subclass decides what ``momentum`` means."""
        return cls(params, lr=lr, weight_decay=weight_decay)

    @property
    def parameters(self) -> list[Any]:
        """The parameters of all groups."""
        return [parameter for group in self.param_groups for parameter in group["params"]]

    def _check_options(self, group: dict[str, Any]) -> None:
        """Check the options of a group, and convert them to Python numbers, which keep float32 arrays in float32.

        It is called before each step, too: options may have been set by hand or by a schedule.
        """
        for option in ("lr", "weight_decay"):
            group[option] = checks.not_negative(type(self).__name__, group[option], option)

    def _check_flag(self, group: dict[str, Any], option: str, hint: str = "") -> None:
        if not isinstance(group[option], (bool, np.bool_)):
            raise ArgumentError(
                f"{type(self).__name__}: {option} is {group[option]!r}; it must be True or False{hint}."
            )

    @pytorch_names
    @refuses(set_to_none="gradients always become None; leave it out")
    def zero_grad(self) -> None:
        """Set the gradients of all parameters to None."""
        for parameter in self.parameters:
            parameter.grad = None

    @pytorch_names
    @refuses(closure="compute the loss and call loss.backward() before {0}()")
    def step(self) -> None:
        """Update every parameter that has a gradient.

        Raises
        ------
        ArgumentError
            If an option was set to a value that is out of range.
        ShapeError
            If a gradient was set to one of another shape or dtype. Nothing is changed.
        """
        if len(self.state) != len(self.parameters):
            raise ArgumentError(
                f"{type(self).__name__}: the lists in param_groups were changed; call add_param_group(...) instead."
            )
        states, work = iter(self.state), []
        for group in self.param_groups:
            self._check_options(group)
            pairs = [(parameter, next(states)) for parameter in group["params"]]
            pairs = [(parameter, state) for parameter, state in pairs if parameter.grad is not None]
            for parameter, known in pairs:
                self._check(parameter, known)
            work.append(pairs)
        for group, pairs in zip(self.param_groups, work, strict=True):
            if pairs:
                self.step_group(group, *zip(*pairs, strict=True))

    def _check(self, parameter: Any, state: dict[str, Any]) -> None:
        """Check a gradient, and convert the state if the parameter was moved or converted since the last step."""
        grad, data = parameter.grad, parameter._data
        if not isinstance(grad, Tensor) or grad._data.shape != data.shape or grad._data.dtype != data.dtype:
            kind, size = type(grad).__name__, sizes(getattr(grad, "shape", ()))
            raise ShapeError(
                f"{type(self).__name__}: the gradient of a parameter ({sizes(data.shape)}, {data.dtype}) is {kind} "
                f"({size}, {getattr(grad, 'dtype', 'no dtype')}); it must be a tensor of the same shape and dtype."
            )
        first = state.get(self.arrays[0]) if self.arrays else None
        if first is not None and (first.dtype != data.dtype or type(first) is not type(data)):
            for name in state.keys() & {*self.arrays}:
                state[name] = to_device(state[name].astype(data.dtype), parameter.device)

    def step_group(self, group: dict[str, Any], parameters: Sequence[Any], states: Sequence[dict[str, Any]]) -> None:
        """Update parameters of one group that all have a gradient: together if a kernel can, otherwise one by one."""
        if run_kernel(self, "step", parameters[0].data, group, parameters, states) is NotImplemented:
            if state.capture is not None:
                name = type(self).__name__
                raise DeviceError(f"{name} cannot step in a CUDA graph: its kernel only takes float32 parameters.")
            for parameter, known in zip(parameters, states, strict=True):
                self.update(parameter.data, parameter.grad.data, known, group)
        for parameter in parameters:
            parameter.mark_changed()

    def update(self, parameter: Array, grad: Array, state: dict[str, Any], group: dict[str, Any]) -> None:
        """Update the array ``parameter`` in place."""
        raise NotImplementedError(f"{type(self).__name__} has no update.")

    def state_dict(self) -> dict[str, Any]:
        """Return a copy of the state, for a checkpoint.

        Returns
        -------
        dict
            ``"arrays"`` maps names such as ``"3.momentum_buffer"``, where 3 is the parameter's index, to arrays on the
            CPU. ``"steps"`` and ``"groups"`` hold plain values that JSON can store.
        """
        named = ((f"{i}.{name}", value) for i, state in enumerate(self.state) for name, value in state.items())
        return {
            "arrays": {
                name: np.array(to_device(v, "cpu"), order="C") for name, v in named if not name.endswith(".step")
            },
            "steps": [state.get("step", 0) for state in self.state],
            "groups": [{key: v for key, v in group.items() if key != "params"} for group in self.param_groups],
        }

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Restore a state that :meth:`state_dict` returned.

        Raises
        ------
        StateDictError
            If the state belongs to other parameters or another optimiser. In that case, nothing is changed.
        """
        name, parameters = type(self).__name__, self.parameters
        if not isinstance(state_dict, Mapping) or set(state_dict) != {"arrays", "steps", "groups"}:
            held = sorted(map(str, state_dict)) if isinstance(state_dict, Mapping) else type(state_dict).__name__
            raise StateDictError(f"{name}: the state must hold 'arrays', 'steps' and 'groups'; it holds {held}.")
        steps, groups = state_dict["steps"], state_dict["groups"]
        if len(steps) != len(parameters) or len(groups) != len(self.param_groups):
            raise StateDictError(
                f"{name}: the state has {len(steps)} parameters in {len(groups)} groups, but the optimiser has "
                f"{len(parameters)} in {len(self.param_groups)}."
            )
        steps = [int(checks.not_negative(name, step, "the number of steps")) for step in steps]
        state: list[dict[str, Any]] = [{"step": step} if step else {} for step in steps]
        for key, value in state_dict["arrays"].items():
            number, _, what = key.partition(".")
            if what not in self.arrays or not number.isdigit() or int(number) >= len(parameters):
                raise StateDictError(f"{name}: the state holds {key!r}, which this optimiser does not have.")
            parameter = parameters[int(number)]
            if value.shape != parameter.shape:
                raise StateDictError(
                    f"{name}: {key} is {sizes(value.shape)}, but its parameter is {sizes(parameter.shape)}."
                )
            state[int(number)][what] = to_device(value.astype(parameter.dtype, order="K"), parameter.device)
        for group, options in zip(self.param_groups, groups, strict=True):
            own = [option for option in group if option != "params"]
            if set(options) != set(own):
                raise StateDictError(
                    f"{name}: the state has the options {', '.join(options) or 'none'}, but {name} has "
                    f"{', '.join(own)}; it is the state of another optimiser."
                )
            self._check_options(dict(options))
        self.state = state
        for group, options in zip(self.param_groups, groups, strict=True):
            group.update(options)

    def __repr__(self) -> str:
        options = [{key: value for key, value in group.items() if key != "params"} for group in self.param_groups]
        return f"{type(self).__name__}({len(self.parameters)} parameters, {options})"


class SGD(Optimizer):
    """Stochastic gradient descent: v = momentum * v + g, then parameter -= lr * v (Sutskever et al. 2013).

    Here, g is the gradient and v the momentum buffer. In the first step, v = g.

    Parameters
    ----------
    params : iterable of Parameter or dict
        Parameters, or parameter groups such as ``[{"params": ..., "lr": 0.1}, ...]``.
    lr : float
        The learning rate.
    momentum : float
        The fraction of the previous v that is kept.
    weight_decay : float
        Adds weight_decay * parameter to the gradient: an L2 penalty.
    nesterov : bool
        Whether to step by g + momentum * v instead of v.

    Raises
    ------
    ArgumentError
        If params is empty, or contains a parameter twice or a tensor that is not a leaf; if a group has an unknown
        option; if a number is negative; or if nesterov is set without momentum.
    DTypeError
        If an element of params is not a tensor.
    """

    arrays = ("momentum_buffer",)
    training_defaults: ClassVar = {"lr": 0.1, "weight_decay": 5e-4}

    def __init__(
        self, params: Iterable[Any], lr: float, momentum: float = 0.0, weight_decay: float = 0.0, nesterov: bool = False
    ) -> None:
        super().__init__(params, lr=lr, momentum=momentum, weight_decay=weight_decay, nesterov=nesterov)

    @classmethod
    def for_training(cls, params: Iterable[Any], lr: float, weight_decay: float, momentum: float) -> SGD:
        """Create SGD with Nesterov momentum or, if ``momentum`` is 0, plain SGD."""
        return cls(params, lr, momentum, weight_decay, nesterov=momentum > 0)

    def _check_options(self, group: dict[str, Any]) -> None:
        super()._check_options(group)
        group["momentum"] = checks.not_negative("SGD", group["momentum"], "momentum")
        self._check_flag(
            group, "nesterov", "; PyTorch's 4th argument, dampening, is not offered, so pass weight_decay="
        )
        if group["nesterov"] and group["momentum"] == 0:
            raise ArgumentError("SGD: nesterov needs a momentum > 0.")

    def update(self, parameter: Array, grad: Array, state: dict[str, Any], group: dict[str, Any]) -> None:
        momentum = group["momentum"]
        if group["weight_decay"]:
            grad = grad + group["weight_decay"] * parameter
        if momentum:
            if "momentum_buffer" in state:
                state["momentum_buffer"] *= momentum
                state["momentum_buffer"] += grad
            else:
                state["momentum_buffer"] = grad.copy()
            grad = grad + momentum * state["momentum_buffer"] if group["nesterov"] else state["momentum_buffer"]
        parameter -= group["lr"] * grad


class Adam(Optimizer):
    """Adam takes steps of about lr, whatever the scale of the gradient (Kingma and Ba, arXiv 1412.6980, algorithm 1).

    Parameters
    ----------
    params : iterable of Parameter or dict
        Parameters, or parameter groups such as ``[{"params": ..., "lr": 0.01}, ...]``.
    lr : float
        The learning rate.
    betas : (float, float)
        The decay rates of the running averages of the gradient and of its square.
    eps : float
        Added to the square root of the second average, so that the step is never divided by 0.
    weight_decay : float
        Adds weight_decay * parameter to the gradient: an L2 penalty.

    Raises
    ------
    ArgumentError
        If params is empty, or contains a parameter twice or a tensor that is not a leaf; if a group has an unknown
        option; or if a number is out of range.
    DTypeError
        If an element of params is not a tensor.
    """

    arrays = ("exp_avg", "exp_avg_sq")
    decoupled: ClassVar[bool] = False  # whether weight decay shrinks the parameter directly

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(params, lr=lr, betas=betas, eps=eps, weight_decay=weight_decay)

    @classmethod
    def for_training(cls, params: Iterable[Any], lr: float, weight_decay: float, momentum: float) -> Adam:
        """Create the optimiser, with ``momentum`` as the first beta."""
        return cls(params, lr, betas=(momentum, 0.999), weight_decay=weight_decay)

    def _check_options(self, group: dict[str, Any]) -> None:
        super()._check_options(group)
        name, betas = type(self).__name__, group["betas"]
        if not isinstance(betas, (tuple, list)) or len(betas) != 2:
            raise ArgumentError(f"{name}: betas is {betas!r}; it must be two numbers in [0, 1).")
        group["betas"] = tuple(checks.fraction(name, beta, "betas", below_one=True) for beta in betas)
        group["eps"] = checks.not_negative(name, group["eps"], "eps")

    def update(self, parameter: Array, grad: Array, state: dict[str, Any], group: dict[str, Any]) -> None:
        if self.decoupled:
            parameter *= 1 - group["lr"] * group["weight_decay"]
        elif group["weight_decay"]:
            grad = grad + group["weight_decay"] * parameter
        xp = array_module(parameter)
        beta1, beta2 = group["betas"]
        step = state["step"] = state.get("step", 0) + 1
        for name in self.arrays:
            if name not in state:
                state[name] = xp.zeros_like(parameter)
        mean, square = state["exp_avg"], state["exp_avg_sq"]
        mean *= beta1
        mean += (1 - beta1) * grad
        square *= beta2
        square += (1 - beta2) * grad * grad
        # Both averages start at 0. The corrections for this bias are applied here, and not stored.
        root = xp.sqrt(square) / math.sqrt(1 - beta2**step) + group["eps"]
        parameter -= group["lr"] / (1 - beta1**step) * (mean / root)


class AdamW(Adam):
    """Adam whose weight decay shrinks the parameter directly: parameter *= 1 - lr * weight_decay.

    Loshchilov and Hutter, arXiv 1711.05101, algorithm 2. The arguments and errors are the same as for :class:`Adam`.
    """

    training_defaults: ClassVar = {"lr": 1e-3, "weight_decay": 1e-2}
    decoupled = True

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.01,
    ) -> None:
        super().__init__(params, lr, betas, eps, weight_decay)


class RMSprop(Optimizer):
    """RMSprop divides each gradient by the root of the running average of its square (Hinton 2012, lecture 6e).

    Parameters
    ----------
    params : iterable of Parameter or dict
        Parameters, or parameter groups such as ``[{"params": ..., "lr": 0.01}, ...]``.
    lr : float
        The learning rate.
    alpha : float
        The decay rate of the running average.
    eps : float
        Added to the root, so that the step is never divided by 0.
    weight_decay : float
        Adds weight_decay * parameter to the gradient: an L2 penalty.
    momentum : float
        The fraction of the previous step that is kept.
    centered : bool
        Whether to subtract the square of the gradient's running average, so that the root is a standard deviation.

    Raises
    ------
    ArgumentError, DTypeError
        As for :class:`Adam`.
    """

    arrays = ("square_avg", "grad_avg", "momentum_buffer")

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        momentum: float = 0.0,
        centered: bool = False,
    ) -> None:
        options = {"alpha": alpha, "eps": eps, "weight_decay": weight_decay, "momentum": momentum, "centered": centered}
        super().__init__(params, lr=lr, **options)

    @classmethod
    def for_training(cls, params: Iterable[Any], lr: float, weight_decay: float, momentum: float) -> RMSprop:
        return cls(params, lr, weight_decay=weight_decay, momentum=momentum)

    def _check_options(self, group: dict[str, Any]) -> None:
        super()._check_options(group)
        for option in ("eps", "momentum"):
            group[option] = checks.not_negative("RMSprop", group[option], option)
        group["alpha"] = checks.fraction("RMSprop", group["alpha"], "alpha")
        self._check_flag(group, "centered")

    def update(self, parameter: Array, grad: Array, state: dict[str, Any], group: dict[str, Any]) -> None:
        if group["weight_decay"]:
            grad = grad + group["weight_decay"] * parameter
        xp, alpha, momentum = array_module(parameter), group["alpha"], group["momentum"]
        for name, needed in zip(self.arrays, (True, group["centered"], momentum), strict=True):
            if needed and name not in state:
                state[name] = xp.zeros_like(parameter)
        square = state["square_avg"]
        square *= alpha
        square += (1 - alpha) * grad * grad
        if group["centered"]:
            state["grad_avg"] *= alpha
            state["grad_avg"] += (1 - alpha) * grad
            mean = state["grad_avg"].astype("float64")  # in float32, the square of a large mean overflows
            square = xp.maximum(square - mean * mean, 0).astype(parameter.dtype)  # rounding could make it negative
        step = grad / (xp.sqrt(square) + group["eps"])
        if momentum:
            state["momentum_buffer"] *= momentum
            step = state["momentum_buffer"] = state["momentum_buffer"] + step
        parameter -= group["lr"] * step


#: The optimisers that a training run can choose by name.
OPTIMIZERS: dict[str, type[Optimizer]] = {"sgd": SGD, "adam": Adam, "adamw": AdamW, "rmsprop": RMSprop}
