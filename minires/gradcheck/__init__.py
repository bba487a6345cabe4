"""Is it right? Finite differences against backward, with a diagnosis, and the search for the first NaN."""

from .anomaly import detect_anomaly
from .check import gradcheck

__all__ = ["detect_anomaly", "gradcheck"]
