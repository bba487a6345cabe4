"""A2: convolution and pooling."""

from ...content import Assignment
from .questions import QUESTIONS

ASSIGNMENT = Assignment("A2", "convolution and pooling", "conv_pool.py", __name__, QUESTIONS)
