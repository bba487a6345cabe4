"""Finite differences against backward, with a diagnosis: the check that every op passes, and every exercise."""

from .check import gradcheck

__all__ = ["gradcheck"]
