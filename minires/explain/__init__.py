"""Tools that show why residual learning works: a stepper through the tape, and instruments that measure a model.

>>> import minires as mr
>>> x = mr.tensor([1.0, 2.0], requires_grad=True)
>>> stepper = mr.explain.step((x * x).sum())  # a notebook displays it
>>> len(stepper.tape.nodes)
3
"""

from .deviations import Responses, responses, responses_figure, write_comparison
from .gradient_flow import Flow, flow
from .lesions import Lesion, Swap, lesion, swap
from .measurement import Measurement, sample
from .stepper import Stepper, block_loss, step

__all__ = [
    "Flow", "Lesion", "Measurement", "Responses", "Stepper", "Swap", "block_loss", "flow", "lesion", "responses",
    "responses_figure", "sample", "step", "swap", "write_comparison",
]  # fmt: skip
