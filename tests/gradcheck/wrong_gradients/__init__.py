"""A bank of wrong gradients as students write them: the forward is right, and the checker must reject the backward.

Each class is an op whose name says what is wrong. The decorator says on which inputs it is checked, and which words
the diagnosis must contain; None where no guess is expected.
"""

from . import arithmetic, calls, layers, masks, order
from .bank import BANK

__all__ = ["BANK", "arithmetic", "calls", "layers", "masks", "order"]
