"""Options of the model are settings like any other: checked, stored with the run, and used to build it again."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from minires.errors import ArgumentError, RunError
from minires.training import Config, evaluate, load_run, read_settings, train
from minires.training.folder import load_config
from minires.training.recipe import make_model

pytestmark = pytest.mark.usefixtures("no_figures")

OPTIONS = {"shortcut": "B", "preactivation": True, "stochastic_depth_prob": 0.2}


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"model": "resnet9", "shortcut": "B"}, "shortcut is 'B', but resnet9 does not take it; its options are width"),
        (
            {"model": "plain8", "preactivation": True},
            "preactivation is True, but plain8 .*; it has no options",
        ),
        (
            {"deep_stem": True},
            "deep_stem is True, but resnet8 .*; its options are shortcut, preactivation",
        ),
        ({"width": 8}, "width is 8, but resnet8 does not take it"),
        ({"shortcut": "D"}, "there is no shortcut 'D'; choose one of A, B, C"),
        ({"avg_down": 1}, "avg_down is 1; it must be True or False"),
        ({"model": "resnet9", "width": 0}, "width is 0; it must be an integer >= 1"),
        ({"stochastic_depth_prob": 1.0}, r"stochastic_depth_prob is 1.0; it must lie in \[0, 1\)"),
    ],
)
def test_what_a_model_does_not_take_is_refused(settings, sentence):
    with pytest.raises(ArgumentError, match=f"^train: {sentence}"):
        Config(**settings)


def test_a_default_is_not_an_option_that_is_given():
    assert Config(model="plain8", shortcut=None, preactivation=False, stochastic_depth_prob=0.0).model_options == {}
    assert Config(**OPTIONS).model_options == OPTIONS


def test_options_that_do_not_go_together_are_refused_before_the_run_starts(few, config):
    with pytest.raises(ArgumentError, match="zero_init_residual needs blocks that end in BN"):
        train(replace(config, preactivation=True, zero_init_residual=True))
    assert not Path("run").exists()


def test_a_run_is_rebuilt_with_its_options(few, config):
    metrics = train(replace(config, epochs=1, **OPTIONS))
    stored = json.loads(Path("run/config.json").read_text())
    assert stored["model_options"] == {"num_classes": 10, "in_channels": 1, **OPTIONS}
    run = load_run("run")
    assert run.model.preactivation and "layer2.0.downsample.0.weight" in run.model.state_dict()
    assert evaluate(run.model, few.test, run.normalize).accuracy == metrics["test_accuracy"]
    assert Config(**read_settings("run/config.json")).model_options == OPTIONS
    assert train(replace(load_config(Path("run"))), resume=True)["test_accuracy"] == metrics["test_accuracy"]


def test_a_file_names_them_as_any_setting():
    Path("settings.toml").write_text('model = "resnet9"\nwidth = 4\n')
    assert read_settings("settings.toml") == {"model": "resnet9", "width": 4}
    Path("settings.toml").write_text('model = "resnet9"\nshortcut = "B"\n')
    with pytest.raises(ArgumentError, match=r"^train: settings.toml: shortcut is 'B', but resnet9 does not take it"):
        read_settings("settings.toml")


def test_a_run_of_an_earlier_release_has_none(config, trained):
    shutil.copytree(trained, "run")
    stored = json.loads(Path("run/config.json").read_text())
    for name in (*OPTIONS, "zero_init_residual", "deep_stem", "avg_down", "width"):
        del stored[name]
    Path("run/config.json").write_text(json.dumps(stored))
    assert load_run("run").config == replace(config, epochs=1)
    train(replace(config, epochs=1), resume=True)


def test_a_run_with_other_options_cannot_give_its_weights(few, config):
    train(replace(config, epochs=1, shortcut="B"))
    fine = replace(config, out="fine", weights="run")
    with pytest.raises(RunError, match=r"run in run is a resnet8 with shortcut='B'; a resnet8 cannot start from it"):
        train(fine)
    train(replace(fine, epochs=1, shortcut="B"))


def test_width_is_that_of_the_first_convolution(few):
    assert make_model(Config(model="resnet9", width=4), few).conv1.weight.shape == (4, 1, 3, 3)
