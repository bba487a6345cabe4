"""``minires doctor``."""

from __future__ import annotations


def doctor() -> None:
    """Show versions, CPU, BLAS, GPU and data, and say what could be better."""
    from .diagnose import show_config

    show_config()
