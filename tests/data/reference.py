"""The published data sets, for the tests that need them."""

import os
from pathlib import Path

import pytest


def needed(name):
    """A folder in MINIRES_DATA; without it the test is skipped."""
    root = os.environ.get("MINIRES_DATA")
    if root is None:
        pytest.skip("MINIRES_DATA does not say where the published data sets are")
    path = Path(root, name)
    if not path.exists():
        pytest.skip(f"MINIRES_DATA has no {name}")
    return path
