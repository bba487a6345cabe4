"""The tape as data: values, the gradient along each edge, and where gradients are added."""

import numpy as np
import pytest

import minires as mr
from minires.explain import block_loss, step
from minires.explain.trace import trace


def random(rng, *shape):
    return mr.tensor(rng.normal(size=shape), requires_grad=True)


def nodes_of(stepper):
    return {node.name: node for node in stepper.tape.nodes}


def residual(rng, block):
    """The nodes of a block between a first convolution and a loss, and the block's own input."""
    x = mr.ops.conv2d(random(rng, 2, 3, 5, 5), random(rng, 4, 3, 1, 1))
    y = block(x)
    loss = (y * y).mean()
    return nodes_of(step(loss, names={"x": x, "y": y, "loss": loss}))


def norms(node, nodes):
    """For each gradient that arrived at ``node``, its role and its norm."""
    numbered = list(nodes.values())
    return [(a.role, np.linalg.norm(numbered[a.consumer].inputs[a.input].gradient)) for a in node.arrivals]


def test_a_sum_of_two_uses_by_hand():
    """y = x*x + x at 3: one gradient straight from the sum, two from the product, 1 + 3 + 3."""
    x = mr.tensor(3.0, requires_grad=True)
    y = x * x + x
    nodes = nodes_of(step(y))
    assert list(nodes) == ["x", "mul_1", "y"]
    product, total = nodes["mul_1"], nodes["y"]
    assert [node.value.item() for node in nodes.values()] == [3, 9, 12]
    assert [edge.gradient.item() for edge in total.inputs] == [1, 1]
    assert [edge.gradient.item() for edge in product.inputs] == [3, 3]
    assert [edge.adds for edge in total.inputs + product.inputs] == [False, False, True, True]
    assert [(a.consumer, a.input) for a in nodes["x"].arrivals] == [(2, 1), (1, 0), (1, 1)]
    assert nodes["x"].gradient.item() == 7


def test_gradients_are_those_of_backward_on_every_node(rng):
    x, w = random(rng, 2, 3, 6, 5), random(rng, 4, 3, 3, 3)
    with mr.engine("textbook"):
        a = mr.ops.conv2d(x, w, stride=2, padding=1)
        b = mr.ops.max_pool2d(mr.ops.tanh(a), 2)
        c = b + mr.ops.sigmoid(b)
        loss = (c * c).sum()
        expected = mr.grad(loss, [x, w, a, b, c], create_graph=True)  # keeps the graph
    nodes = nodes_of(step(loss))
    for name, gradient in zip("xwabc", expected, strict=True):
        np.testing.assert_allclose(nodes[name].gradient, gradient.numpy(), rtol=1e-12)
    for node in nodes.values():
        if node.arrivals:
            parts = [list(nodes.values())[a.consumer].inputs[a.input].gradient for a in node.arrivals]
            np.testing.assert_allclose(node.gradient, sum(parts), rtol=1e-12)


def test_values_that_no_op_kept_are_computed_again(rng):
    x, b = random(rng, 3, 4), random(rng, 4)
    loss = mr.ops.relu((x + b).reshape(2, 6)).sum()
    nodes = nodes_of(step(loss, names={}))
    np.testing.assert_allclose(nodes["add_1"].value, x.numpy() + b.numpy())
    np.testing.assert_allclose(nodes["reshape_1"].value, (x.numpy() + b.numpy()).reshape(2, 6))


def test_values_that_are_gone_are_none_unless_a_variable_holds_them(rng):
    x = random(rng, 3)
    shifted = x + 1  # the 1 is kept by nobody
    loss = mr.ops.exp(shifted).sum()
    assert nodes_of(step(loss, names={}))["add_1"].value is None
    np.testing.assert_array_equal(nodes_of(step(loss))["shifted"].value, x.numpy() + 1)


def test_nothing_of_the_users_changes(rng):
    model, called = mr.models.resnet8(in_channels=1), []
    images = mr.tensor(rng.normal(size=(2, 1, 8, 8)).astype("f"))
    hidden = model.conv1(images)
    hidden.retain_grad()
    hidden.register_hook(lambda gradient: called.append(gradient) or gradient * 0)
    loss = (model.layer1(hidden) ** 2).mean()
    state = model.state_dict()
    with mr.profile() as profile:
        first = step(loss, model)
    assert not called and hidden.grad is None and not profile.rows
    assert all(parameter.grad is None for parameter in model.parameters())
    assert all((state[name] == array).all() for name, array in model.state_dict().items())
    assert step(loss, model).html == first.html
    loss.backward()
    assert len(called) == 1 and not model.conv1.weight.grad.numpy().any()


def test_after_a_backward_that_kept_the_graph(rng):
    x = random(rng, 3)
    loss = (x * x).sum()
    loss.backward(retain_graph=True)
    np.testing.assert_allclose(nodes_of(step(loss))["x"].gradient, 2 * x.numpy())
    np.testing.assert_allclose(x.grad.numpy(), 2 * x.numpy())
    loss.backward()
    with pytest.raises(mr.errors.GraphError, match=r"call step\(loss\) before, or backward with retain_graph=True"):
        step(loss)


def test_under_detect_anomaly_a_nan_is_shown():
    x = mr.tensor([0.0, 1.0], requires_grad=True)
    loss = (x * x * float("nan")).sum()
    with mr.detect_anomaly():
        assert np.isnan(nodes_of(step(loss))["x"].gradient).all()


@pytest.mark.parametrize(
    ("error", "sentence", "make"),
    [
        ("ArgumentError", "loss is float", lambda x: 1.0),
        ("GraphError", "requires_grad=True", lambda x: x.detach().sum()),
        ("ShapeError", "reduce it to one number", lambda x: x * 2),
    ],
)
def test_what_cannot_be_stepped_through(rng, error, sentence, make):
    with pytest.raises(getattr(mr.errors, error), match=sentence):
        step(make(random(rng, 3)))


def test_a_model_that_is_none(rng):
    with pytest.raises(mr.errors.ArgumentError, match="model is str"):
        step(random(rng, 1).sum(), model="resnet8")


def test_an_array_that_was_changed_in_place(rng):
    x = random(rng, 3)
    loss = (x * x).sum()
    x.data += 1
    with pytest.raises(mr.errors.GraphError, match="changed in place"):
        step(loss)


def test_unbroadcast_shows_the_shape_before_the_sum(rng):
    x, row, column, number = random(rng, 5, 3), random(rng, 3), random(rng, 5, 1), random(rng)
    nodes = nodes_of(step(((x * number + row) - column).sum()))
    edges = {edge.name + node.name: edge.summed_from for node in nodes.values() for edge in node.inputs}
    assert edges["bmul_1"] == edges["badd_1"] == edges["bsub_1"] == (5, 3)
    assert {edges["amul_1"], edges["aadd_1"], edges["asub_1"], edges["xsum_1"]} == {None}


def test_only_sums_are_unbroadcast(rng):
    """A 1x1 filter of one channel has as many weights as biases, but its gradient is not a sum over a broadcast."""
    x, weight, bias = random(rng, 2, 1, 4, 3), random(rng, 5, 1, 1, 1), random(rng, 5)
    conv = nodes_of(step((mr.ops.conv2d(x, weight, bias) ** 2).sum()))["conv2d_1"]
    assert [edge.summed_from for edge in conv.inputs] == [None, None, (2, 5, 4, 3)]
    linear = nodes_of(step(mr.ops.linear(random(rng, 1, 4), random(rng, 3, 4), random(rng, 3)).sum()))["linear_1"]
    assert [edge.summed_from for edge in linear.inputs] == [None, None, (1, 3)], "also over a batch of one"


def test_an_identity_block(rng):
    w = random(rng, 4, 4, 3, 3)
    nodes = residual(rng, lambda x: mr.ops.residual_add(mr.ops.conv2d(x, w, padding=1), x))
    assert [edge.role for edge in nodes["y"].inputs] == ["F", "shortcut"]
    (first, set_by), (second, added) = norms(nodes["x"], nodes)
    assert (first, second) == ("shortcut", "F")
    upstream = nodes["y"].gradient * (nodes["y"].value > 0)
    assert set_by == pytest.approx(np.linalg.norm(upstream))
    assert added == pytest.approx(np.linalg.norm(nodes["x"].gradient - upstream))
    assert not any(node.on_shortcut for node in nodes.values())


def test_a_block_written_with_plus(rng):
    w = random(rng, 4, 4, 3, 3)
    for block in (lambda x: mr.ops.conv2d(x, w, padding=1) + x, lambda x: x + mr.ops.conv2d(x, w, padding=1)):
        nodes = residual(rng, block)
        assert sorted(edge.role for edge in nodes["y"].inputs) == ["F", "shortcut"]
        assert [role for role, _ in norms(nodes["x"], nodes)] == ["shortcut", "F"]


def test_a_sum_of_strangers_is_no_join(rng):
    nodes = nodes_of(step((random(rng, 3) + mr.ops.tanh(random(rng, 3))).sum()))
    assert [edge.role for edge in nodes["add_1"].inputs] == ["", ""]


@pytest.mark.parametrize("preactivation", [False, True])
def test_a_projection_lies_on_the_shortcut(rng, preactivation):
    """The fused op of a basic block, and a pre-activation block, whose paths part after its first ReLU."""
    model = mr.models.resnet8(shortcut="B", preactivation=preactivation)
    x = mr.tensor(rng.normal(size=(2, 16, 6, 6)).astype("f"), requires_grad=True)
    nodes = nodes_of(step(model.layer2(x).sum(), model=model))
    fork = nodes["layer2.0.bn1"] if preactivation else nodes["x"]
    assert sorted(role for role, _ in norms(fork, nodes)) == ["F", "shortcut"]
    beside = {name for name, node in nodes.items() if node.on_shortcut}
    expected = {"layer2.0.downsample.0", "layer2.0.downsample.1"}
    assert beside == ({"layer2.0.downsample.0"} if preactivation else expected)


def test_names_are_those_of_variables_parameters_and_layers():
    model = mr.nn.Sequential(mr.nn.Conv2d(1, 2, 3), mr.nn.ReLU(), mr.nn.Conv2d(2, 2, 3))
    image = mr.tensor(np.ones((1, 1, 6, 6), "f"))
    _hidden = model(image)
    result = _hidden + _hidden
    nodes = nodes_of(step(mr.ops.relu(result).sum(), model=model))
    assert list(nodes) == [
        *("0.weight", "0.bias", "0", "relu_1", "2.weight", "2.bias", "2", "result", "relu_2", "sum_1"),
    ]
    assert nodes["0"].inputs[0].label == "image" and nodes["0"].inputs[0].node is None


def test_names_are_never_alike(rng):
    model = mr.nn.Sequential(mr.nn.Linear(2, 2))
    relu_1 = random(rng, 2, 2)
    x = mr.ops.relu(model(mr.ops.relu(model(relu_1.astype("f")))))
    nodes = step(x.sum(), model).tape.nodes
    names = [node.name for node in nodes]
    assert len(set(names)) == len(names) and {"0", "0_2", "relu_1", "relu_2"} <= set(names)


def test_a_long_tape_needs_no_recursion():
    x = mr.tensor(1.0, requires_grad=True)
    y = x
    for _ in range(1500):
        y = y * 1.0
    nodes = trace(y, {}).nodes
    assert len(nodes) == 1501 and nodes[0].gradient == 1


@pytest.mark.parametrize("model", ["resnet8", "plain8", "resnet50", "resnet9"])
def test_the_example_is_one_block_op_by_op(model):
    example = block_loss(model)
    nodes = nodes_of(step(example.loss, model=example.network, names={"x": example.x}))
    kinds = [node.kind for node in nodes.values()]
    # the first, the block's; of resnet50 a projection, of resnet9 the one before its first block
    convolutions = {"resnet8": 3, "plain8": 3, "resnet50": 5, "resnet9": 4}[model]
    assert kinds.count("conv2d") == kinds.count("batch_norm") == convolutions
    assert kinds.count("residual_add") == (model != "plain8") and "batch_norm_act" not in kinds
    assert all(node.value is not None and node.gradient is not None for node in nodes.values())
    assert nodes["x"].shape == (1, 1, 8, 8)


def test_the_example_is_the_same_each_time_and_as_the_fused_block():
    one, two = block_loss(), block_loss()
    assert one.loss.item() == two.loss.item() != block_loss(seed=1).loss.item()
    for layer in one.network.modules():
        vars(layer).pop("forward", None)  # back to the ops that do three things at once
    fused = mr.ops.cross_entropy(one.network(one.x), mr.data.digits().train[np.arange(1)][1])
    assert fused.item() == pytest.approx(one.loss.item(), rel=1e-5)


def test_an_op_of_ones_own_is_held_to_its_shapes(rng):
    class Wrong(mr.Op):
        def forward(self, x):
            return x.sum(axis=0)

        def backward(self, upstream):
            return upstream

    with pytest.raises(mr.errors.ShapeError, match="backward of wrong"):
        step(Wrong()(random(rng, 2, 3)).sum())
