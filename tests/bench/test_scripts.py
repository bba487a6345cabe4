"""The scripts in benchmarks/ still fit the package: they can be imported."""

import runpy
from pathlib import Path

import pytest

from minires.core.dispatch import load_kernels

SCRIPTS = sorted((Path(__file__).parents[2] / "benchmarks").glob("*.py"))


@pytest.mark.skipif(not load_kernels("cpu"), reason="no kernels")
@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_a_script_can_be_imported(script):
    runpy.run_path(str(script), run_name="imported")  # raises if a name that it imports is gone
