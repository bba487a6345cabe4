"""Runs with clipped gradients, averaged weights and other optimisers: what is tested, kept, and resumed."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import minires as mr
from minires.errors import RunError
from minires.training import Progress, evaluate, load_run, loop, train

pytestmark = pytest.mark.usefixtures("no_figures")

AVERAGED = {"ema": 0.9, "clip": 1.0}


class StopAfterFirst(Progress):
    def epoch(self, epoch, row):
        raise KeyboardInterrupt


def arrays_of(folder, name="checkpoint.safetensors"):
    return mr.load(Path(folder) / name)


def with_prefix(arrays, prefix):
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}


def assert_same(first, second):
    assert list(first) == list(second)
    for name in first:
        assert first[name].tobytes() == second[name].tobytes(), name


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_resumed_is_bit_for_bit_uninterrupted(config, optimizer):
    config = replace(config, lr=0.01, optimizer=optimizer, **AVERAGED)
    whole = train(config)
    stopped = replace(config, out="stopped")
    with pytest.raises(KeyboardInterrupt):
        train(stopped, progress=StopAfterFirst())
    mr.manual_seed(99)
    resumed = train(stopped, resume=True)
    assert_same(arrays_of("run"), arrays_of("stopped"))
    assert_same(arrays_of("run", "model.safetensors"), arrays_of("stopped", "model.safetensors"))
    assert resumed["test_loss"] == whole["test_loss"]
    assert train(config, resume=True) == whole, "a complete run is tested again with its average"


def test_training_goes_on_with_the_weights_and_tests_their_average(config, few):
    plain = train(replace(config, out="plain"))
    metrics = train(replace(config, ema=0.9))
    checkpoint, average = arrays_of("run"), arrays_of("run", "model.safetensors")
    assert_same(with_prefix(checkpoint, "ema."), average)
    assert_same(with_prefix(checkpoint, "model."), arrays_of("plain", "model.safetensors"))
    assert average["fc.weight"].tobytes() != checkpoint["model.fc.weight"].tobytes()
    assert average["bn1.running_var"].tobytes() != checkpoint["model.bn1.running_var"].tobytes()

    run = load_run("run")
    assert run.config.ema == 0.9
    result = evaluate(run.model, few.test, run.normalize)
    assert (result.loss, result.accuracy) == (metrics["test_loss"], metrics["test_accuracy"])
    assert result.loss != plain["test_loss"]


def test_the_average_learns_in_a_short_run(config):
    """8 epochs of 8 steps: far fewer than the 1,000 that a decay of 0.999 averages."""
    assert train(replace(config, epochs=8, ema=0.999, clip=2.0))["test_accuracy"] > 0.85


@pytest.mark.slow
def test_every_step_is_clipped(config, monkeypatch):
    norms = []
    step = mr.optim.SGD.step

    def watched(self):
        squares = [float((p.grad.numpy().astype("d") ** 2).sum()) for p in self.parameters]
        norms.append(sum(squares) ** 0.5)
        step(self)

    monkeypatch.setattr(mr.optim.SGD, "step", watched)
    train(replace(config, epochs=1, out="free"))
    free, clipped = norms[:], norms
    clipped.clear()
    train(replace(config, epochs=1, clip=0.5))
    assert max(free) > 1
    assert len(clipped) == 8 and max(clipped) == pytest.approx(0.5, rel=1e-4)


def test_gradients_that_are_not_finite_stop_the_run_before_the_step(config, monkeypatch):
    def broken(parameters, max_norm):
        parameters[0].grad = mr.Tensor.wrap(np.full(parameters[0].shape, np.inf, "f"))
        return mr.optim.clip_grad_norm(parameters, max_norm)

    monkeypatch.setattr(loop, "clip_grad_norm", broken)
    monkeypatch.setattr(mr.optim.SGD, "step", lambda self: pytest.fail("a step was taken"))
    with pytest.raises(RunError, match=r"stopped at epoch 1, batch 1 of 8: the norm of the gradients is inf; lower"):
        train(replace(config, clip=1.0))


def test_a_checkpoint_without_the_average_is_an_error(config):
    with pytest.raises(KeyboardInterrupt):
        train(config, progress=StopAfterFirst())
    stored = Path("run/config.json").read_text()
    Path("run/config.json").write_text(stored.replace('"ema": 0.0', '"ema": 0.9'))
    with pytest.raises(
        RunError, match=r"the run in run is damaged \(checkpoint.safetensors belongs to a run with ema 0.0, not 0.9"
    ):
        train(replace(config, ema=0.9), resume=True)
    with pytest.raises(RunError, match=r"was started with ema 0.9, not 0.0"):
        train(config, resume=True)
