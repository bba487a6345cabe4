"""What checks the exercises of the tutorials: ``check("4.2", answer)`` says what is wrong, and not only that it is.

>>> from minires.course.tutorials import check
>>> check("1.2", 7)
1.2: right. Each of the three uses of x gave its part: x, x and 1.
"""

from . import block, convolution, degradation, scalars  # they register their exercises
from .check import check

__all__ = ["block", "check", "convolution", "degradation", "scalars"]
