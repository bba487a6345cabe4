"""A thousand damaged files, hostile pickles and broken servers: each ends well or with a named error, and nothing else.

Each kind of attack runs in a process of its own, in which warnings are errors.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
NOISE = ("TIFF", "LZWDecode", "tempfile.tif")  # libtiff writes to stderr, whatever Pillow says


def tree(folder, inside):
    """All files outside of the folder that is attacked, with their contents."""
    return {
        path: path.is_dir() or path.read_bytes() for path in folder.rglob("*") if inside not in (path, *path.parents)
    }


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "most", "named"), [("files", 1500, 1000), ("pickles", 60, 60), ("servers", 130, 100)])
def test_attacks(tmp_path, kind, most, named):
    inside = tmp_path / "here" / "inside"
    inside.mkdir(parents=True)
    (tmp_path / "secret").write_text("a secret")
    before = tree(tmp_path, inside)
    folders = [HERE.parent, HERE / "attacks", HERE / "interop", HERE / "data"]
    done = subprocess.run(
        [sys.executable, "-W", "error", HERE / "attacks" / "attack.py", kind, inside],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, folders)), "no_proxy": "*"},
        cwd=inside.parent, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    assert [line for line in done.stderr.splitlines() if not any(word in line for word in NOISE)] == []
    found = json.loads(done.stdout)
    assert found["failures"] == []
    assert sum(found["outcomes"].values()) >= most
    assert sum(count for name, count in found["outcomes"].items() if name != "none") >= named, found["outcomes"]
    assert found["MB"] < 500
    assert tree(tmp_path, inside) == before, "something was written outside"
