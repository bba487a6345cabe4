"""Images of why residual learning works: a stepper through the tape, and instruments that measure a model.

>>> import minires as mr
>>> x = mr.tensor([1.0, 2.0], requires_grad=True)
>>> stepper = mr.explain.step((x * x).sum())  # in a notebook, this shows it
>>> len(stepper.tape.nodes)
3
"""

from .deviations import Responses, responses, responses_figure
from .gradient_flow import Flow, flow
from .lesions import Lesion, lesion
from .stepper import Stepper, step
from .swaps import Swap, swap

__all__ = [
    "Flow", "Lesion", "Responses", "Stepper", "Swap", "flow", "lesion", "responses", "responses_figure", "step", "swap",
]  # fmt: skip
