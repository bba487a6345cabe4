"""Compares backward with finite differences, explains what is wrong, and finds the first NaN."""

from .anomaly import detect_anomaly
from .check import gradcheck

__all__ = ["detect_anomaly", "gradcheck"]
