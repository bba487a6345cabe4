"""Tools that compare backward with finite differences, explain wrong gradients, and find the first NaN or infinity."""

from .anomaly import detect_anomaly
from .check import gradcheck

__all__ = ["detect_anomaly", "gradcheck"]
