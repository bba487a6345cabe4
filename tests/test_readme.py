"""The README does what it says."""

import re
import sys
from pathlib import Path

import pytest
from reference import needed

import minires as mr

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_ten_lines_run_and_learn(capsys):
    code = re.findall(r"```python\n(.*?)```", README, re.DOTALL)[0]
    assert len([line for line in code.splitlines() if line]) == 10
    exec(code, {})
    assert float(capsys.readouterr().out.removeprefix("loss ")) < 1.5  # it starts at about log 10 = 2.3


def test_published_weights_load_and_misfit_as_it_says(monkeypatch):
    weights = needed("weights")
    section = README.split("## Published weights")[1]
    code = re.findall(r"```python\n(.*?)```", section, re.DOTALL)[0]
    monkeypatch.chdir(weights)
    exec(code, {"mr": mr})
    with pytest.raises(mr.errors.StateDictError) as caught:
        exec(code.replace("resnet20()", "resnet20(num_classes=100)"), {"mr": mr})
    shown = re.findall(r"```text\n(.*?)```", section, re.DOTALL)[0]
    assert str(caught.value) == " ".join(shown.split())


def test_the_settings_it_shows_are_those_of_the_file(tmp_path):
    from minires.training import read_settings

    shown = tmp_path / "shown.toml"
    shown.write_text(re.findall(r"```toml\n(.*?)```", README, re.DOTALL)[0], encoding="utf-8")
    assert read_settings(shown) == read_settings(ROOT / "experiments" / "cifar10_short.toml")


def test_the_classes_it_shows_are_those_of_the_source():
    """Without type hints and docstrings, for which a slide has no room."""
    shown = re.findall(r"```python\n(.*?)```", README, re.DOTALL)[1]
    source = (ROOT / "minires" / "ops" / "activation.py").read_text(encoding="utf-8")
    source = re.sub(r"(: Array|: Tensor)(?=[,)])", "", re.sub(r"\) -> .*:", "):", source))
    for name in ("ReLU", "ResidualAdd"):
        body = re.search(rf"class {name}\(.*?(?=\n\n\n|\Z)", shown, re.DOTALL).group().rstrip()
        for method in re.split(r"\n\n", body.split("\n", 1)[1]):
            assert method in source, method


def test_the_map_is_the_law_and_shows_every_room():
    """The README's table, the contract of lint-imports and the folder are one list."""
    shown = re.findall(r"^\| \[\*{0,2}[\w./]+\*{0,2}\]\(minires/([\w.]+)\) \|", README, re.MULTILINE)
    contract = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"][
        "contracts"
    ][0]
    assert [f"minires.{room.removesuffix('.py')}" for room in shown] == contract["layers"][::-1]
    here = {path.name for path in (ROOT / "minires").iterdir() if path.suffix or (path / "__init__.py").exists()}
    assert here - set(shown) == {"__init__.py", "__main__.py", "py.typed", "version.py"}
