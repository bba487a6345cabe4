"""Norms by depth: numbers computed by hand, and a model that is unchanged afterwards."""

import numpy as np
import pytest

import minires as mr
from minires.core.backend import generator
from minires.errors import ArgumentError, DTypeError, LabelError


def two_layers():
    model = mr.nn.Sequential(mr.nn.Linear(2, 2, bias=False), mr.nn.Linear(2, 1, bias=False))
    model.load_state_dict({"0.weight": [[1.0, 2.0], [3.0, 4.0]], "1.weight": [[5.0, 6.0]]})
    return model


def mean_of_outputs(y, labels):
    return y.mean()


IMAGES = np.array([[1, 0], [0, 1]], np.float32)


def column(result, name):
    return [row[name] for row in result.rows]


def test_norms_worked_out_by_hand(device):
    """The second layer reads (1, 3) and (2, 4). An image's own loss is its output, whose gradient is (5, 6) there."""
    result = mr.explain.flow(two_layers().to(device), IMAGES, None, mean_of_outputs)
    assert column(result, "layer") == ["0", "1"]
    assert column(result, "activation_norm") == pytest.approx([1, np.sqrt((1 + 9 + 4 + 16) / 2)])
    assert column(result, "gradient_norm") == pytest.approx([np.hypot(5 + 18, 10 + 24), np.hypot(5, 6)])
    assert column(result, "weight_norm") == pytest.approx([np.sqrt(1 + 4 + 9 + 16), np.hypot(5, 6)])
    # (5, 6) times the mean image (1/2, 1/2); and the mean input of the second layer
    assert column(result, "weight_gradient_norm") == pytest.approx([np.sqrt(2 * (2.5**2 + 3**2)), np.hypot(1.5, 3.5)])


def test_the_size_of_the_batch_does_not_matter():
    once = mr.explain.flow(two_layers(), IMAGES, None, mean_of_outputs)
    often = mr.explain.flow(two_layers(), np.concatenate([IMAGES] * 5), None, mean_of_outputs)
    for name in once.columns[1:]:
        assert column(once, name) == pytest.approx(column(often, name))


def batch(n=6, size=8):
    rng = np.random.default_rng(0)
    return rng.standard_normal((n, 1, size, size)).astype(np.float32), np.arange(n) % 10


def test_of_a_network_the_gradients_are_those_of_a_training_step():
    model = mr.models.resnet8(in_channels=1, shortcut="B")
    result = mr.explain.flow(model, *batch())
    images, labels = batch()
    mr.ops.cross_entropy(model.train()(mr.tensor(images)), labels).backward()
    expected = {name: np.linalg.norm(p.grad.numpy()) for name, p in model.named_parameters() if p.ndim > 1}
    assert dict(zip((f"{name}.weight" for name in column(result, "layer")), column(result, "weight_gradient_norm"),
                    strict=True)) == pytest.approx(expected, rel=1e-4)  # fmt: skip
    by_name = {row["layer"]: row for row in result.rows}
    one, other = by_name["layer2.0.conv1"], by_name["layer2.0.downsample.0"]
    for name in ("activation_norm", "gradient_norm"):
        assert one[name] == other[name], "both read the same"


def test_the_engine_and_the_textbook_measure_the_same():
    model, (images, labels) = mr.models.resnet8(in_channels=1), batch(24)
    fast = mr.explain.flow(model, images, labels)
    with mr.engine("textbook"):
        textbook = mr.explain.flow(model, images, labels)
    for name in fast.columns[1:]:
        assert column(fast, name) == pytest.approx(column(textbook, name), rel=1e-3)


def test_the_gradient_to_what_a_block_reads_has_come_by_both_paths():
    """A small change along the gradient changes the loss as the norm says, for shortcut and branch together."""
    model, (images, labels) = mr.models.resnet8(in_channels=1).to("float64"), batch()
    images = images.astype(np.float64)
    rows = {row["layer"]: row for row in mr.explain.flow(model, images, labels).rows}
    model.train()
    inner = model.bn1(model.conv1(mr.tensor(images)), activation="relu").detach()

    def loss(x):
        logits = model.fc(mr.ops.global_avg_pool2d(model.layer3(model.layer2(model.layer1(x)))))
        return mr.ops.cross_entropy(logits, labels)

    x = mr.tensor(inner.numpy(), requires_grad=True)
    (gradient,) = mr.grad(loss(x), x)
    direction = gradient.numpy() / np.linalg.norm(gradient.numpy())
    ahead, behind = (loss(mr.tensor(inner.numpy() + step * direction)).item() for step in (1e-5, -1e-5))
    slope = (ahead - behind) / 2e-5  # the norm of the gradient, by finite differences
    assert rows["layer1.0.conv1"]["gradient_norm"] == pytest.approx(slope * np.sqrt(len(images)), rel=1e-4)


class Twice(mr.nn.Module):
    """y = w * (w * x), beside a layer that the loss does not depend on."""

    def __init__(self):
        self.fc, self.unused = mr.nn.Linear(1, 1, bias=False), mr.nn.Linear(1, 1)

    def forward(self, x):
        self.unused(x)
        return self.fc(self.fc(x))


def test_a_layer_that_is_called_twice_and_one_that_takes_no_part():
    model = Twice()
    model.load_state_dict({"fc.weight": [[3.0]]}, strict=False)
    unused, first, second = mr.explain.flow(model, [[2.0]], None, mean_of_outputs).rows
    assert (unused["layer"], unused["weight_gradient_norm"]) == ("unused", None)
    assert [first["activation_norm"], second["activation_norm"]] == pytest.approx([2, 6])
    assert [first["gradient_norm"], second["gradient_norm"]] == pytest.approx([9, 3])
    assert first["weight_gradient_norm"] == second["weight_gradient_norm"] == pytest.approx(2 * 3 * 2)


def test_frozen_weights_have_no_gradient_but_what_they_read_has():
    model = two_layers()
    model[0].requires_grad_(False)
    result = mr.explain.flow(model, IMAGES, None, mean_of_outputs)
    assert column(result, "weight_gradient_norm") == [None, pytest.approx(np.hypot(1.5, 3.5))]
    assert column(result, "gradient_norm") == pytest.approx([np.hypot(23, 34), np.hypot(5, 6)])
    result.figure()


def disturbed_model():
    """A model with everything that an instrument might forget to restore."""
    model = mr.models.resnet8(in_channels=1, stochastic_depth_prob=0.5)
    model.eval().layer2.train()
    calls = []
    model.conv1.register_forward_hook(lambda module, inputs, output: calls.append(module))
    model.fc.weight.grad = mr.tensor(np.ones((10, 64), np.float32))
    return model


def everything(model):
    return (
        {name: value.tobytes() for name, value in model.state_dict().items()},
        [(module, dict(vars(module)), list(module._forward_hooks or ())) for module in model.modules()],
        [(p, p.grad, p.hooks, p.requires_grad) for p in model.parameters()],
        generator().bit_generator.state,
    )


def same(before, after):
    """Like ``==``, but tensors are equal only to themselves."""
    assert before[0] == after[0] and before[3] == after[3]
    for (module, attributes, hooks), (other, attributes_now, hooks_now) in zip(before[1], after[1], strict=True):
        assert module is other and hooks == hooks_now and list(attributes) == list(attributes_now)
        assert all(attributes[name] is attributes_now[name] for name in attributes)
    for (p, grad, hooks, _), (_, grad_now, hooks_now, _) in zip(before[2], after[2], strict=True):
        assert grad is grad_now and (hooks or []) == (hooks_now or []), p
    return True


def test_the_model_is_afterwards_as_it_was():
    model = disturbed_model()
    before = everything(model)
    with mr.no_grad():
        mr.explain.flow(model, *batch())
    mr.explain.responses(model, batch()[0])
    assert same(before, everything(model))


def test_also_after_an_error():
    model = disturbed_model()
    before = everything(model)
    images, labels = batch()
    with pytest.raises(LabelError):
        mr.explain.flow(model, images, labels + 7)
    with pytest.raises(mr.errors.ShapeError):
        mr.explain.flow(model, images[:, :, 0], labels)
    assert same(before, everything(model))


def test_x_is_left_alone():
    images, labels = batch()
    x = mr.tensor(images, requires_grad=True)
    mr.explain.flow(mr.models.resnet8(in_channels=1), x, labels)
    assert x.grad is None and np.array_equal(x.numpy(), images)


@pytest.mark.parametrize(
    ("arguments", "error", "sentence"),
    [
        (("resnet8", IMAGES, None), ArgumentError, "flow: model is str; it must be a Module"),
        ((two_layers(), np.zeros((0, 2), np.float32), None), ArgumentError, "flow: x is 0x2; it must be a batch"),
        ((two_layers(), 1.0, None), ArgumentError, "flow: x is scalar; it must be a batch"),
        ((two_layers(), IMAGES.astype(np.uint8), None), DTypeError, "only floats can require a gradient"),
        ((mr.nn.ReLU(), IMAGES, None, mean_of_outputs), ArgumentError, "ReLU called no layer with weights"),
        ((two_layers(), IMAGES, None, lambda y, labels: y), ArgumentError, "loss_fn must return one number"),
        ((two_layers(), IMAGES, None, lambda y, labels: 1.0), ArgumentError, "loss_fn must return one number"),
        ((mr.nn.fold(mr.models.resnet8(in_channels=1)), *batch()), ArgumentError, "x; for a network made by nn.fold"),
    ],
)
def test_what_is_wrong_is_a_sentence(arguments, error, sentence):
    with pytest.raises(error, match=sentence):
        mr.explain.flow(*arguments)


def test_a_single_layer_is_called_itself():
    (row,) = mr.explain.flow(mr.nn.Linear(2, 1), IMAGES, None, mean_of_outputs).rows
    assert row["layer"] == "(itself)"
