"""Settings from files: TOML, and the config.json of a run."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from minires.errors import ArgumentError, DataError
from minires.training import Config, read_settings, train

EXPERIMENTS = Path(__file__).parents[2] / "experiments"


def written(content, name="settings.toml"):
    path = Path(name)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def test_toml_gives_what_it_says_and_no_more():
    path = written(
        '# a comment\nmodel = "plain20"\nlr = 1  # an integer is a number\naugment = false\nout = "runs/x"\n'
    )
    assert read_settings(path) == {"model": "plain20", "lr": 1, "augment": False, "out": "runs/x"}
    assert Config(**read_settings(str(path))) == Config(model="plain20", lr=1.0, augment=False, out="runs/x")
    assert read_settings(written("")) == {}
    assert read_settings(written(b"\xef\xbb\xbfepochs = 3\r\n")) == {"epochs": 3}, "as Windows writes it"


def test_a_run_is_repeated_in_a_folder_of_its_own(config):
    """All that its config.json holds besides the settings and the folder is passed over."""
    config = replace(config, epochs=1, lr=0.03, mixup=0.2, ema=0.9)
    train(config)
    assert Config(**read_settings("run/config.json")) == replace(config, out=None)


@pytest.mark.parametrize("path", sorted(EXPERIMENTS.glob("*.toml")), ids=lambda path: path.stem)
def test_every_experiment_can_be_read(path):
    config = Config(**read_settings(path))
    assert f"minires train --config experiments/{path.name}" in path.read_text(encoding="utf-8")
    assert config.out is None, "two seeds would share a folder"


def test_the_experiments_are_there():
    short, long = (Config(**read_settings(EXPERIMENTS / f"{name}.toml")) for name in ("cifar10_short", "cifar10"))
    assert short == Config(model="resnet20", data="cifar10", epochs=24, batch_size=128, lr=0.2, schedule="onecycle")
    assert long == replace(short, epochs=64)
    assert read_settings(EXPERIMENTS / "fashion_mnist.toml")["data"] == "fashion_mnist"


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (
            "epoch = 3",
            "there is no setting 'epoch'; did you mean 'epochs'? The settings are task, model, data, epochs,",
        ),
        ("batch-size = 3", "there is no setting 'batch-size'; did you mean 'batch_size'?"),
        ("Batch_Size = 3", "there is no setting 'Batch_Size'; did you mean 'batch_size'?"),
        ("zzz = 3", "there is no setting 'zzz'. The settings are task, model,"),
        ("[train]\nepochs = 3", "there is no setting 'train'."),
        ("'a\tb' = 1", r"there is no setting 'a\tb'."),
        ("epochs = 1.5", "epochs is 1.5; it must be an integer >= 1."),
        ("epochs = '3'", "epochs is '3'; it must be an integer >= 1."),
        ("epochs = true", "epochs is True; it must be an integer >= 1."),
        ("lr = 'high'", "lr is 'high'; it must be a number > 0."),
        ("lr = nan", "lr is nan; it must be a number > 0."),
        ("lr = [0.1]", "lr is [0.1]; it must be a number > 0."),
        ("augment = 1", "augment is 1; it must be True or False."),
        ("model = 20", "there is no model 20; choose one of resnet8,"),
        ("data = ['digits']", "there is no data set or folder ['digits']; choose one of digits,"),
        ("out = 3", "out is 3; it must be a string"),
    ],
)
def test_what_is_wrong_is_said_with_the_file_and_the_setting(content, sentence):
    with pytest.raises(ArgumentError) as caught:
        read_settings(written(content))
    assert str(caught.value).startswith(f"train: settings.toml: {sentence}")
    assert "\n" not in str(caught.value) and str(caught.value).endswith(".")


@pytest.mark.parametrize("name", ["settings.toml", "config.json"])
@pytest.mark.parametrize(
    "content", [b"{", b"= 3", b"\xff\xfe", b"epochs = 3\nepochs = 4", b"a = " + b"[" * 10**5, b"#" * 2**21, b"[1, 2"]
)
def test_what_is_neither_toml_nor_json(name, content):
    with pytest.raises(DataError) as caught:
        read_settings(written(content, name))
    kind = "JSON" if name.endswith("json") else "TOML"
    assert str(caught.value).startswith(f"train: {name} cannot be read as {kind}: ")
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 200


def test_json_must_be_an_object_with_settings_that_there_are():
    with pytest.raises(DataError, match="holds list, not an object"):
        read_settings(written("[1]", "config.json"))
    with pytest.raises(ArgumentError, match=r"config.json: there is no setting 'epoch'; did you mean 'epochs'\?"):
        read_settings(written(json.dumps({**Config().to_json(), "epoch": 3}), "config.json"))
    with pytest.raises(ArgumentError, match=r"config.json: lr is -1; it must be a number > 0\."):
        read_settings(written('{"lr": -1, "classes": ["a"]}', "config.json"))


@pytest.mark.parametrize("name", ["nothing.toml", "nothing.json", "folder.toml"])
def test_no_file(name):
    Path("folder.toml").mkdir()
    sentence = rf"^train: {name} cannot be read as .*: (there is no such|it is not a) file\.$"
    with pytest.raises(DataError, match=sentence):
        read_settings(name)
