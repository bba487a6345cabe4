"""The CIFAR family against PyTorch: one training step, number for number, and weights copied in both directions."""

import numpy as np
import pytest

import minires as mr

torch = pytest.importorskip("torch", reason="PyTorch is not installed")
import torch_side  # noqa: E402

pytestmark = pytest.mark.parity

FAMILY = [
    *((depth, {}) for depth in (20, 32, 44, 56, 110)),
    *((20, {"shortcut": s, "preactivation": p}) for s, p in (("B", False), ("C", False), ("A", True), ("B", True))),
    (20, {"shortcut": "C", "preactivation": True}),
    (110, {"preactivation": True}),
]


@pytest.fixture
def batch(rng):
    return rng.standard_normal((4, 3, 16, 16)), rng.integers(0, 10, 4)


@pytest.mark.parametrize(("depth", "options"), FAMILY, ids=str)
def test_a_training_step_equals_pytorchs(depth, options, batch):
    """Outputs, every gradient, running statistics: in float64, and in float32 with either engine."""
    x, labels = batch
    theirs = torch_side.randomize(torch_side.CifarResNet(depth, **options))
    torch_side.keep_off_kinks(theirs, x)
    for dtype, engine, tolerance in torch_side.RUNS:
        with mr.engine(engine):
            ours = mr.models.build(f"resnet{depth}", **options)
            found = torch_side.compare_step(ours, theirs, x.astype(dtype), labels)
        worst = max(found, key=found.get)
        assert all(value < tolerance for value in found.values()), (dtype, engine, worst, found[worst])


@pytest.mark.parametrize("options", [{}, {"shortcut": "B", "preactivation": True}], ids=str)
def test_pytorch_takes_our_weights(options, batch):
    """PyTorch loads the weights of a trained network by name, and computes the same logits in evaluation."""
    x, labels = batch[0].astype("f"), batch[1]
    ours = mr.models.resnet20(**options)
    optimizer = mr.optim.SGD(ours.parameters(), lr=0.1)
    for _ in range(3):
        optimizer.zero_grad()
        mr.ops.cross_entropy(ours(mr.tensor(x)), labels).backward()
        optimizer.step()
    theirs = torch_side.CifarResNet(20, **options).eval()
    theirs.load_state_dict(torch_side.tensors(ours.state_dict(), theirs))
    with torch.no_grad(), mr.no_grad():
        expected, logits = theirs(torch.tensor(x)).numpy(), ours.eval()(mr.tensor(x)).numpy()
    assert torch_side.relative(logits, expected) < 1e-5
    assert np.abs(expected).max() > 0.1
