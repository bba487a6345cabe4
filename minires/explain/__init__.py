"""Pictures of why residual learning works. The stepper walks through a tape, forward and backward, node by node.

>>> import minires as mr
>>> x = mr.tensor([1.0, 2.0], requires_grad=True)
>>> stepper = mr.explain.step((x * x).sum())  # in a notebook, this shows it
>>> len(stepper.tape.nodes)
3
"""

from .stepper import Stepper, step

__all__ = ["Stepper", "step"]
