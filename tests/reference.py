"""The reference data, real images and weights, for the tests that need it."""

import os
from pathlib import Path

import pytest


def needed(name):
    """A file or folder of the reference data; without it, the test is skipped."""
    root = os.environ.get("MINIRES_DATA")
    if root is None:
        pytest.skip("MINIRES_DATA does not say where the reference data is")
    path = Path(root, name)
    if not path.exists():
        pytest.skip(f"MINIRES_DATA has no {name}")
    return path
