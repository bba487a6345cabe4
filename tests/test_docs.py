"""The pages of docs/ do what they say."""

import re
from pathlib import Path

import pytest

DOCS = Path(__file__).parent.parent / "docs"


@pytest.mark.parity
def test_the_page_about_pytorch_runs(capsys):
    """All its blocks, one after the other, as a reader would paste them."""
    pytest.importorskip("torch", reason="PyTorch is not installed")
    blocks = re.findall(r"```python\n(.*?)```", (DOCS / "pytorch.md").read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks) == 7
    names = {}
    for block in blocks:
        exec(compile(block, "docs/pytorch.md", "exec"), names)
    assert names["difference"] < 1e-5 and names["our_loss"].item() > 0
    assert capsys.readouterr().out.endswith("1814073344\n")
