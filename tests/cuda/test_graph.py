"""A training step that runs as a CUDA graph gives the same results as the recorded code."""

from __future__ import annotations

import numpy as np
import pytest

import minires as mr

pytestmark = pytest.mark.usefixtures("cuda")


class Net(mr.nn.Module):
    """A convolution, a batch norm with statistics, a pooling, a linear layer."""

    def __init__(self):
        self.conv, self.bn = mr.nn.Conv2d(2, 4, 3, padding=1, bias=False), mr.nn.BatchNorm2d(4)
        self.pool, self.fc = mr.nn.MaxPool2d(2), mr.nn.Linear(4, 3)

    def forward(self, x):
        return self.fc(mr.ops.global_avg_pool2d(self.pool(self.bn(self.conv(x), activation="relu"))))


OPTIMIZERS = {
    "plain": lambda p: mr.optim.SGD(p, lr=0.1, weight_decay=1e-3),
    "sgd": lambda p: mr.optim.SGD(p, lr=0.1, momentum=0.9, weight_decay=1e-3, nesterov=True),
    "adam": lambda p: mr.optim.Adam(p, lr=0.01, weight_decay=1e-3),
    "adamw": lambda p: mr.optim.AdamW(p, lr=0.01, weight_decay=0.1),
    "groups": lambda p: mr.optim.SGD([{"params": p[:2], "lr": 0.1}, {"params": p[2:]}], lr=0.05, momentum=0.9),
}


def trained(kind, graph, steps=6):
    """The losses of some steps, and the weights after them."""
    mr.manual_seed(1)
    rng = np.random.default_rng(0)
    model = Net().to("cuda")
    optimizer = OPTIMIZERS[kind](list(model.parameters()))
    schedule = mr.optim.CosineLR(optimizer, T_max=steps)

    def step(x, labels):
        optimizer.zero_grad()
        loss = mr.ops.cross_entropy(model(x), labels, label_smoothing=0.1)
        loss.backward()
        optimizer.step()
        return loss

    run, losses = mr.cuda.graph(step) if graph else step, []
    for _ in range(steps):
        x, labels = rng.standard_normal((5, 2, 6, 6)).astype("f"), rng.integers(0, 3, 5)
        losses.append(run(mr.tensor(x, device="cuda"), mr.tensor(labels, device="cuda")).item())
        schedule.step()
    return losses, model.state_dict(), optimizer.state_dict()


@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_a_graph_takes_the_same_steps(kind):
    """During warm-up, recording and replays, with a changing learning rate."""
    losses, weights, state = trained(kind, graph=True)
    right_losses, right_weights, right_state = trained(kind, graph=False)
    np.testing.assert_allclose(losses, right_losses, rtol=1e-5)
    assert state["steps"] == right_state["steps"]
    for got, right in ((weights, right_weights), (state["arrays"], right_state["arrays"])):
        for name in right:
            np.testing.assert_allclose(got[name], right[name], rtol=1e-4, atol=1e-5, err_msg=name)


def test_a_step_that_would_keep_its_learning_rate_is_refused():
    """The textbook's step would be recorded with the current learning rate as a constant."""
    weight = mr.nn.Parameter(mr.tensor([1.0, 2.0], dtype="float64", device="cuda").data)
    optimizer = mr.optim.SGD([weight], lr=0.1)

    def step(x):
        optimizer.zero_grad()
        (weight * x).sum().backward()
        optimizer.step()

    run = mr.cuda.graph(step, warm_up=1)
    run(np.ones(2))
    with pytest.raises(mr.errors.DeviceError, match=r"SGD cannot step in a CUDA graph"):
        run(np.ones(2))


def test_a_second_recording_forgets_the_first():
    """Otherwise Adam would count each of its steps twice."""
    weight = mr.nn.Parameter(mr.tensor([1.0, 2.0], device="cuda").data)
    optimizer = mr.optim.Adam([weight], lr=0.1)
    reads = iter([False, True, False])

    def step(x):
        optimizer.zero_grad()
        (weight * x).sum().backward()
        optimizer.step()
        if next(reads):
            weight.numpy()

    run = mr.cuda.graph(step, warm_up=1)
    x = np.ones(2, "f")
    run(x)
    with pytest.raises(mr.errors.DeviceError, match="cannot be recorded"):
        run(x)
    run(x)
    run(x)
    assert optimizer.state_dict()["steps"] == [3]


def test_inputs_may_come_from_the_cpu():
    double = mr.cuda.graph(lambda x: x * 2)
    for start in range(4):
        y = double(np.arange(start, start + 3, dtype=np.float32))
        assert y.numpy().tolist() == [2.0 * start, 2.0 * start + 2, 2.0 * start + 4]


def test_other_sizes_are_refused():
    double = mr.cuda.graph(lambda x: x * 2)
    double(np.zeros((4, 3), "f"))
    with pytest.raises(mr.errors.ArgumentError, match=r"recorded for inputs 4x3 float32, but called with 2x3 float32"):
        double(np.zeros((2, 3), "f"))


@pytest.mark.parametrize(
    ("step", "what"),
    [
        (lambda x: x * x.sum().item(), "Capture"),
        (lambda x: x + mr.tensor(np.ones(3, "f"), device="cuda"), "cannot be copied to the GPU"),
        (lambda x: x @ x, "cuBLAS"),  # the textbook's product
    ],
)
def test_a_step_that_cannot_be_recorded_says_why(step, what):
    run = mr.cuda.graph(step, warm_up=1)
    x = np.ones((3, 3), "f")
    run(x)
    with pytest.raises(mr.errors.DeviceError, match=f"the step cannot be recorded.*{what}"):
        run(x)
    assert mr.tensor([1.0, 2.0], device="cuda").sum().item() == 3  # the GPU goes on working


def test_a_wrong_label_in_a_graph_gives_nan():
    loss = mr.cuda.graph(lambda x, labels: mr.ops.cross_entropy(x, labels), warm_up=1)
    x = np.zeros((2, 3), "f")
    loss(x, np.array([0, 1]))
    assert loss(x, np.array([0, 2])).item() == pytest.approx(np.log(3))
    assert np.isnan(loss(x, np.array([0, 3])).item())
    assert np.isnan(loss(x, np.array([-1, 0])).item())


@pytest.mark.parametrize(("step", "warm_up"), [(None, 2), (len, 0), (len, True), (len, 1.5)])
def test_what_a_graph_cannot_be_made_of(step, warm_up):
    with pytest.raises(mr.errors.ArgumentError, match=r"^graph: "):
        mr.cuda.graph(step, warm_up)


def test_inputs_that_are_no_arrays():
    with pytest.raises(mr.errors.ArgumentError, match="inputs are list; they must be tensors or arrays"):
        mr.cuda.graph(len)([1.0])
