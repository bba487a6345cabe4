"""EMA: a moving average of a model's weights, which often predicts better than the weights themselves."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from ..core import checks
from ..errors import ArgumentError, StateDictError
from ..nn import Module


class EMA:
    """A copy of a model that holds the exponential moving average of its weights.

    The weights after single steps scatter around a good point, and their average is closer to it (Polyak and Juditsky
    1992; Tarvainen and Valpola, arXiv 1703.01780). Train ``model``, and test ``module``.

    Update t = 0, 1, ... sets average = d * average + (1 - d) * weights, where d = min(decay, (1 + t) / (10 + t)), like
    TensorFlow's ``ExponentialMovingAverage`` with ``num_updates``. So the random initial weights are soon forgotten,
    even in a run that is short compared with 1 / (1 - decay) steps.

    The running statistics of batch norm are averaged in the same way, because the latest statistics would not fit the
    averaged weights. (PyTorch's ``update_bn`` computes new ones, which takes another pass over the training images.)

    Parameters
    ----------
    model : Module
        The model. Its layers must not be added or replaced later.
    decay : float
        In [0, 1). The average covers about 1 / (1 - decay) steps.

    Attributes
    ----------
    module : Module
        The averaged model, in evaluation mode.
    updates : int
        The number of calls of ``update()``.

    Raises
    ------
    ArgumentError
        If ``decay`` is not in [0, 1).

    Examples
    --------
    >>> import minires as mr
    >>> model = mr.nn.Linear(1, 1, bias=False)
    >>> model.weight.data[:] = 0.0
    >>> ema = mr.optim.EMA(model, decay=0.99)
    >>> for weight in (1.0, 2.0):  # steps of an optimiser
    ...     model.weight.data[:] = weight
    ...     ema.update()
    >>> ema.module.weight  # 0.9 after the first, then 2/11 of that and 9/11 of the second
    tensor([[1.8]])
    """

    def __init__(self, model: Module, decay: float) -> None:
        self.decay = checks.fraction("EMA", decay, "decay", below_one=True)
        self.module = copy.deepcopy(model).requires_grad_(False).eval()
        self.module.zero_grad()
        self.updates = 0
        self._model = model
        averages, latest = ([*m.parameters(), *m.buffers()] for m in (self.module, model))
        self._pairs = list(zip(averages, latest, strict=True))

    def update(self) -> None:
        """Add the current weights of the model to the average.

        Raises
        ------
        ArgumentError
            If the model has other parameters or buffers than when the average was created.
        """
        now = [*self._model.parameters(), *self._model.buffers()]
        if len(now) != len(self._pairs) or any(a is not b for a, (_, b) in zip(now, self._pairs, strict=True)):
            raise ArgumentError("EMA: a layer of the model was added or replaced; create a new EMA(model, decay).")
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        self.updates += 1
        for average, latest in self._pairs:
            if average.dtype.kind == "f":
                average.data += (1 - decay) * (latest.data - average.data)
            else:  # counts are not averaged
                average.data = latest.data.copy()

    def state_dict(self) -> dict[str, Any]:
        """Return a copy of the state: ``"arrays"``, the state dict of ``module``, and ``"updates"``."""
        return {"arrays": self.module.state_dict(), "updates": self.updates}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Restore a state that :meth:`state_dict` returned.

        Raises
        ------
        StateDictError
            If the state does not fit the model. In that case, nothing is changed.
        """
        if set(state_dict) != {"arrays", "updates"}:
            raise StateDictError(f"EMA: the state must hold 'arrays' and 'updates'; it holds {sorted(state_dict)}.")
        updates = int(state_dict["updates"])
        self.module.load_state_dict(state_dict["arrays"])
        self.updates = updates

    def __repr__(self) -> str:
        return f"EMA({type(self.module).__name__}, decay={self.decay}, updates={self.updates})"
