"""Schedules: the learning rate as a function of t, the number of calls of ``step()``.

Call ``step()`` once per epoch, or once per batch. Each schedule is a closed-form function of t, ``factor(t)``, so it
can be resumed at any t. A rate that was set by hand, or by another schedule of the same optimiser, is scaled by the
next step, as in PyTorch: several schedules multiply.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from ..core import checks
from ..core.calls import pytorch_names, refuses
from ..errors import ArgumentError, StateDictError
from .optimizer import Optimizer

_NOT_OFFERED = {  # PyTorch's arguments
    "last_epoch": "load_state_dict(...) resumes a schedule",
    "verbose": "get_last_lr() returns the rates",
    "epochs": "pass total_steps=epochs * steps_per_epoch",
    "steps_per_epoch": "pass total_steps=epochs * steps_per_epoch",
    "anneal_strategy": "leave it out: it is always 'cos'",
    "three_phase": "leave it out, which is three_phase=False",
    "cycle_momentum": "leave it out: the momentum is not changed",
    "base_momentum": "leave it out: the momentum is not changed",
    "max_momentum": "leave it out: the momentum is not changed",
}


class Schedule:
    """Base class: sets ``lr = base lr * factor(t)`` in every parameter group, beginning with t = 0.

    If the learning rate was changed since the last step, the base learning rate is changed so that the schedule gives
    the new rate at t. A subclass implements :meth:`factor`, and :meth:`for_run` if its constructor takes
    more than the optimiser.

    Attributes
    ----------
    optimizer : Optimizer
    t : int
        The number of calls of ``step()``.
    """

    has_warmup: ClassVar[bool] = False  # whether it already begins with a warm-up

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "__init__" in vars(cls):  # wrong arguments are then named in the error
            cls.__init__ = pytorch_names(refuses(**_NOT_OFFERED)(cls.__init__), cls.__name__)  # type: ignore[method-assign]

    def __init__(self, optimizer: Optimizer) -> None:
        if not isinstance(optimizer, Optimizer):
            raise ArgumentError(f"{type(self).__name__}: it takes an optimiser, not {type(optimizer).__name__}.")
        self.optimizer = optimizer
        self.base_lrs = [group["lr"] for group in optimizer.param_groups]
        self.t = 0
        self._set()

    @classmethod
    def for_run(cls, optimizer: Optimizer, steps: int) -> Schedule:
        """Create the schedule that ``minires train`` uses for a run of ``steps`` batches."""
        return cls(optimizer)

    def factor(self, t: int) -> float:
        """Return the factor that the base learning rate is multiplied by after ``t`` steps."""
        raise NotImplementedError(f"{type(self).__name__} has no factor.")

    def rate(self, base: float, t: int) -> float:
        """Return the learning rate after ``t`` steps for a group whose base learning rate is ``base``."""
        return base * self.factor(t)

    @pytorch_names
    @refuses(epoch="{0}() adds 1 to t; load_state_dict(...) sets it", metrics="a schedule depends on t only")
    def step(self) -> None:
        """Add 1 to ``t``, and set the learning rates."""
        self._take_over()
        self.t += 1
        self._set()

    def _set(self) -> None:
        self._last = [self.rate(base, self.t) for base in self.base_lrs]
        for group, lr in zip(self.optimizer.param_groups, self._last, strict=True):
            group["lr"] = lr

    def _take_over(self) -> None:
        """Adapt the base learning rates to learning rates that were changed since the last step."""
        groups = len(self.optimizer.param_groups)
        if groups != len(self.base_lrs):
            raise ArgumentError(
                f"{type(self).__name__}: the optimiser has {groups} parameter groups, but had "
                f"{len(self.base_lrs)} when the schedule was created; create it after the last add_param_group(...)."
            )
        start, slope = self.rate(0.0, self.t), self.rate(1.0, self.t) - self.rate(0.0, self.t)  # rate is linear in base
        for i, group in enumerate(self.optimizer.param_groups):
            if group["lr"] != self._last[i] and slope > 0:  # a factor of 0 sets any rate to the same
                self.base_lrs[i] = (group["lr"] - start) / slope

    def get_last_lr(self) -> list[float]:
        """Return the learning rate of each parameter group."""
        return [group["lr"] for group in self.optimizer.param_groups]

    def state_dict(self) -> dict[str, Any]:
        """Return the state, for a checkpoint, as values that JSON can store."""
        self._take_over()
        return {"t": self.t, "base_lrs": list(self.base_lrs)}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Restore what :meth:`state_dict` returned. Raises StateDictError if it does not fit the parameter groups."""
        if set(state_dict) != {"t", "base_lrs"} or len(state_dict["base_lrs"]) != len(self.base_lrs):
            raise StateDictError(
                f"{type(self).__name__}: the state does not fit {len(self.base_lrs)} parameter groups."
            )
        self.t, self.base_lrs = int(state_dict["t"]), list(state_dict["base_lrs"])
        self._set()


class ConstantLR(Schedule):
    """A constant learning rate."""

    def factor(self, t: int) -> float:
        return 1.0


class StepLR(Schedule):
    """Multiply the learning rate by ``gamma`` every ``step_size`` steps.

    ``minires train`` divides it by 10 after each third of the run.
    """

    def __init__(self, optimizer: Optimizer, step_size: int, gamma: float = 0.1) -> None:
        self.step_size = checks.integer("StepLR", step_size, "step_size", 1)
        self.gamma = checks.positive("StepLR", gamma, "gamma")
        super().__init__(optimizer)

    @classmethod
    def for_run(cls, optimizer: Optimizer, steps: int) -> StepLR:
        return cls(optimizer, math.ceil(steps / 3))

    def factor(self, t: int) -> float:
        return self.gamma ** (t // self.step_size)


class MultiStepLR(Schedule):
    """Multiply the learning rate by ``gamma`` at each of the ``milestones``.

    ``minires train`` divides it by 10 after 1/2 and 3/4 of the run, like He et al., who do so after 32,000 and 48,000
    of 64,000 iterations.
    """

    def __init__(self, optimizer: Optimizer, milestones: Sequence[int], gamma: float = 0.1) -> None:
        if not isinstance(milestones, Sequence):
            raise ArgumentError(f"MultiStepLR: milestones is {milestones!r}; it must be a list of integers.")
        self.milestones = [checks.integer("MultiStepLR", m, "milestones", 0) for m in milestones]
        if self.milestones != sorted(self.milestones):
            raise ArgumentError(f"MultiStepLR: milestones are {list(milestones)}; they must be in ascending order.")
        self.gamma = checks.positive("MultiStepLR", gamma, "gamma")
        super().__init__(optimizer)

    @classmethod
    def for_run(cls, optimizer: Optimizer, steps: int) -> MultiStepLR:
        return cls(optimizer, [steps // 2, 3 * steps // 4])

    def factor(self, t: int) -> float:
        return self.gamma ** bisect_right(self.milestones, t)


class CosineLR(Schedule):
    """Lower the learning rate to ``eta_min`` in ``T_max`` steps, along half a cosine.

    Loshchilov and Hutter, arXiv 1608.03983. ``eta_min`` is an absolute learning rate, which is kept after ``T_max``
    steps.
    """

    def __init__(self, optimizer: Optimizer, T_max: int, eta_min: float = 0.0) -> None:
        self.T_max = checks.integer("CosineLR", T_max, "T_max", 1)
        self.eta_min = checks.not_negative("CosineLR", eta_min, "eta_min")
        super().__init__(optimizer)

    @classmethod
    def for_run(cls, optimizer: Optimizer, steps: int) -> CosineLR:
        return cls(optimizer, steps)

    def factor(self, t: int) -> float:
        return (1 + math.cos(math.pi * min(t, self.T_max) / self.T_max)) / 2

    def rate(self, base: float, t: int) -> float:
        return self.eta_min + (base - self.eta_min) * self.factor(t)


class OneCycleLR(Schedule):
    """Raise the learning rate to ``max_lr``, then lower it to almost 0, along half cosines.

    Smith and Topin, arXiv 1708.07120.

    Parameters
    ----------
    optimizer : Optimizer
        Its learning rates are replaced; its momentum is not changed.
    max_lr : float or list of float
        The highest learning rate, for all parameter groups or for each.
    total_steps : int
        The number of steps in the cycle. Afterwards, the rate stays at its last value.
    pct_start : float
        The fraction of the steps during which the rate rises.
    div_factor, final_div_factor : float
        The rate starts at max_lr / div_factor and ends at max_lr / div_factor / final_div_factor.

    Raises
    ------
    ArgumentError
        If a number is out of range.
    """

    has_warmup = True

    def __init__(
        self,
        optimizer: Optimizer,
        max_lr: float | Sequence[float],
        total_steps: int,
        pct_start: float = 0.3,
        div_factor: float = 25.0,
        final_div_factor: float = 1e4,
    ) -> None:
        self.total_steps = checks.integer("OneCycleLR", total_steps, "total_steps", 2)
        checks.fraction("OneCycleLR", pct_start, "pct_start")
        checks.positive("OneCycleLR", div_factor, "div_factor")
        checks.positive("OneCycleLR", final_div_factor, "final_div_factor")
        self.start = 1 / div_factor
        self.end = self.start / final_div_factor
        self.peak = pct_start * total_steps - 1
        super().__init__(optimizer)
        highest = list(max_lr) if isinstance(max_lr, Sequence) else [max_lr] * len(self.base_lrs)
        if len(highest) != len(self.base_lrs):
            raise ArgumentError(
                f"OneCycleLR: max_lr has {len(highest)} rates for {len(self.base_lrs)} parameter groups."
            )
        self.base_lrs = [checks.positive("OneCycleLR", lr, "max_lr") for lr in highest]
        self._set()

    @classmethod
    def for_run(cls, optimizer: Optimizer, steps: int) -> OneCycleLR:
        return cls(optimizer, optimizer.param_groups[0]["lr"], max(steps, 2))

    def factor(self, t: int) -> float:
        last = self.total_steps - 1
        t = min(t, last)
        if t <= self.peak:
            return _half_cosine(self.start, 1.0, t / self.peak if self.peak > 0 else 1.0)
        return _half_cosine(1.0, self.end, (t - self.peak) / (last - self.peak))


class Warmup(Schedule):
    """Another schedule, multiplied by a ramp from ``start_factor`` to 1 over the first ``steps`` steps.

    Parameters
    ----------
    schedule : Schedule
        The schedule to follow. Call only the ``step()`` of the ``Warmup``, not that of this schedule.
    steps : int
        The length of the ramp.
    start_factor : float
        The factor at which the ramp starts. He et al. start ResNet-110 at a tenth of the learning rate.

    Raises
    ------
    ArgumentError
        If ``schedule`` is not a schedule, or a number is out of range.
    """

    def __init__(self, schedule: Schedule, steps: int, start_factor: float = 0.1) -> None:
        if not isinstance(schedule, Schedule):
            raise ArgumentError(
                f"Warmup: it takes a schedule, such as ConstantLR(optimizer), not {type(schedule).__name__}."
            )
        self.schedule = schedule
        self.steps = checks.integer("Warmup", steps, "steps", 1)
        self.start_factor = checks.fraction("Warmup", start_factor, "start_factor")
        super().__init__(schedule.optimizer)
        self.base_lrs = schedule.base_lrs  # not the optimiser's current rates, which include a factor
        self._set()

    def factor(self, t: int) -> float:
        return self.start_factor + (1 - self.start_factor) * min(t / self.steps, 1.0)

    def rate(self, base: float, t: int) -> float:
        return self.schedule.rate(base, t) * self.factor(t)


def _half_cosine(start: float, end: float, part: float) -> float:
    return end + (start - end) / 2 * (1 + math.cos(math.pi * part))


#: The schedules that a training run can choose by name.
SCHEDULES: dict[str, type[Schedule]] = {
    "cosine": CosineLR,
    "onecycle": OneCycleLR,
    "step": StepLR,
    "multistep": MultiStepLR,
    "constant": ConstantLR,
}
