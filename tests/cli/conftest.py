"""The command line as a function, and a run on a data set so small that it takes a second."""

from typing import NamedTuple

import pytest
from stripes import stripes

from minires import data
from minires.cli.main import main


class Result(NamedTuple):
    status: int
    out: str
    err: str


@pytest.fixture(autouse=True)
def small_data(monkeypatch):
    """Every command that loads ``digits`` gets the stripes."""
    monkeypatch.setitem(data.DATASETS, "digits", stripes)


@pytest.fixture
def minires(capsys):
    """``minires("train", "--lr", "x")`` runs the command in this process."""

    def run(*words):
        capsys.readouterr()
        status = main([str(word) for word in words])
        captured = capsys.readouterr()
        assert "\x1b" not in captured.out + captured.err, "there are escape codes, but this is no terminal"
        return Result(status, captured.out, captured.err)

    return run


@pytest.fixture(scope="session")
def run_folder(tmp_path_factory):
    """A run that has learned to tell the stripes apart."""
    folder = tmp_path_factory.mktemp("runs") / "stripes"
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(data.DATASETS, "digits", stripes)
        assert main(["train", "--epochs", "4", "--batch-size", "10", "--out", str(folder)]) == 0
    return folder
