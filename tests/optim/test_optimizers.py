"""Optimisers against their formulas, computed by hand, and the handling of their state."""

import math

import numpy as np
import pytest

import minires as mr
from minires.errors import ArgumentError, DTypeError, ShapeError, StateDictError
from minires.optim import SGD, Adam, AdamW, RMSprop

STEPS, CURVATURE = 12, np.array([0.5, 2.0, 7.0])


def trajectory(make, dtype="float64", **options):
    """The path of a parameter down L = sum(CURVATURE * p**2) / 2, whose gradient is CURVATURE * p."""
    parameter = mr.nn.Parameter(np.array([1.0, -2.0, 3.0]), dtype=dtype)
    optimizer = make([parameter], **options)
    path = []
    for _ in range(STEPS):
        optimizer.zero_grad()
        (0.5 * mr.tensor(CURVATURE.astype(dtype)) * parameter * parameter).sum().backward()
        grad = parameter.grad.numpy().copy()
        optimizer.step()
        np.testing.assert_array_equal(parameter.grad.numpy(), grad)  # read, not changed
        path.append(parameter.numpy().copy())
    return np.array(path)


def test_plain_sgd_is_a_geometric_series():
    expected = [[1.0, -2.0, 3.0] * (1 - 0.1 * (CURVATURE + 0.3)) ** t for t in range(1, STEPS + 1)]
    np.testing.assert_allclose(trajectory(SGD, lr=0.1, weight_decay=0.3), expected, rtol=1e-12)


@pytest.mark.parametrize("nesterov", [False, True])
def test_momentum_is_the_linear_recurrence(nesterov):
    """(p, v) is multiplied by one matrix a step; its powers are the closed form. The first v is the first g."""
    lr, m = 0.05, 0.9
    for i, k in enumerate(CURVATURE):
        step = np.array([[1 - lr * k * (1 + m), -lr * m * m], [k, m]] if nesterov else [[1 - lr * k, -lr * m], [k, m]])
        start = np.array([[1.0, -2.0, 3.0][i], 0.0])
        expected = [(np.linalg.matrix_power(step, t) @ start)[0] for t in range(1, STEPS + 1)]
        got = trajectory(SGD, lr=lr, momentum=m, nesterov=nesterov)[:, i]
        np.testing.assert_allclose(got, expected, rtol=1e-11)


def by_the_paper(p, lr, beta1, beta2, eps, decay, decoupled):
    """Adam as algorithm 1 of arXiv 1412.6980 writes it, one number at a time; AdamW as algorithm 2 of 1711.05101."""
    path, m, v = [], 0.0, 0.0
    for t in range(1, STEPS + 1):
        g = p[1] * p[0] + (0 if decoupled else decay * p[0])
        m, v = beta1 * m + (1 - beta1) * g, beta2 * v + (1 - beta2) * g**2
        shrunk = p[0] * (1 - lr * decay) if decoupled else p[0]
        p = (shrunk - lr * (m / (1 - beta1**t)) / (math.sqrt(v / (1 - beta2**t)) + eps), p[1])
        path.append(p[0])
    return path


@pytest.mark.parametrize(("make", "decoupled"), [(Adam, False), (AdamW, True)])
def test_adam_follows_its_algorithm(make, decoupled):
    options = {"lr": 0.3, "betas": (0.8, 0.95), "eps": 1e-3, "weight_decay": 0.1}
    got = trajectory(make, **options)
    for i, start in enumerate([1.0, -2.0, 3.0]):
        expected = by_the_paper((start, CURVATURE[i]), 0.3, 0.8, 0.95, 1e-3, 0.1, decoupled)
        np.testing.assert_allclose(got[:, i], expected, rtol=1e-11)


def test_adam_begins_with_steps_of_lr():
    np.testing.assert_allclose(trajectory(Adam, lr=0.01)[0], [0.99, -1.99, 2.99], rtol=1e-6)


@pytest.mark.parity
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("SGD", {"lr": 0.05}),
        ("SGD", {"lr": 0.05, "momentum": 0.9, "weight_decay": 0.1}),
        ("SGD", {"lr": 0.05, "momentum": 0.9, "weight_decay": 0.1, "nesterov": True}),
        ("Adam", {"lr": 0.05, "weight_decay": 0.1}),
        ("AdamW", {"lr": 0.05, "betas": (0.7, 0.9)}),
        ("RMSprop", {}),
        ("RMSprop", {"lr": 0.02, "alpha": 0.8, "eps": 1e-3, "weight_decay": 0.1, "momentum": 0.7}),
        ("RMSprop", {"momentum": 0.3, "centered": True}),
    ],
)
def test_trajectories_equal_pytorch(name, options):
    torch = pytest.importorskip("torch")
    parameter = torch.tensor([1.0, -2.0, 3.0], dtype=torch.float64, requires_grad=True)
    optimizer = getattr(torch.optim, name)([parameter], **options)
    expected = []
    for _ in range(STEPS):
        optimizer.zero_grad()
        (0.5 * torch.tensor(CURVATURE) * parameter**2).sum().backward()
        optimizer.step()
        expected.append(parameter.detach().numpy().copy())
    np.testing.assert_allclose(trajectory(getattr(mr.optim, name), **options), expected, rtol=1e-12)


def test_groups_have_their_own_options_and_missing_gradients_are_skipped():
    a, b, c = (mr.nn.Parameter([1.0]) for _ in range(3))
    optimizer = SGD([{"params": [a], "lr": 0.5}, {"params": [b, c]}], lr=0.1)
    (a + b).sum().backward()
    optimizer.step()
    assert (a.item(), b.item(), c.item()) == (0.5, pytest.approx(0.9), 1.0)
    assert "lr" in repr(optimizer)


@pytest.mark.parametrize("make", [lambda p: SGD(p, lr=0.1, momentum=0.9), lambda p: Adam(p, lr=0.1)])
def test_a_resumed_optimiser_goes_on_bit_by_bit(make, rng):
    grads = rng.standard_normal((6, 4)).astype("f")

    def run(parameter, optimizer, grads):
        for grad in grads:
            parameter.grad = mr.tensor(grad)
            optimizer.step()

    straight = mr.nn.Parameter(np.ones(4, "f"))
    run(straight, make([straight]), grads)
    first = mr.nn.Parameter(np.ones(4, "f"))
    before = make([first])
    run(first, before, grads[:3])
    second = mr.nn.Parameter(first.numpy())
    after = make([second])
    after.load_state_dict(before.state_dict())
    run(second, after, grads[3:])
    np.testing.assert_array_equal(second.numpy(), straight.numpy())


@pytest.mark.parametrize("momentum", [0.0, 0.6])
def test_rmsprop_of_a_constant_gradient(momentum):
    """The average of g**2 after t steps is (1 - alpha**t) g**2, so each step is a sign over a root, times a sum."""
    parameter, g, path, shift, lag = mr.nn.Parameter([1.0, 2.0], dtype="float64"), np.array([3.0, -5.0]), [], 0.0, 0.0
    optimizer = RMSprop([parameter], lr=0.1, alpha=0.9, eps=0.0, momentum=momentum)
    for t in range(1, 8):
        parameter.grad = mr.tensor(g)
        optimizer.step()
        lag = momentum * lag + 1 / math.sqrt(1 - 0.9**t)
        shift += 0.1 * lag
        path.append(np.abs(parameter.numpy() - ([1.0, 2.0] - shift * np.sign(g))).max())
    assert max(path) < 1e-12


MAKES = [
    lambda p, **o: SGD(p, **{"lr": np.float64(0.1), "momentum": np.float64(0.9), "weight_decay": np.float64(0.1), **o}),
    lambda p, **o: Adam(
        p, **{"lr": np.float64(0.1), "betas": np.array([0.9, 0.99]).tolist(), "eps": np.float64(1), **o}
    ),
    lambda p, **o: RMSprop(p, **{"alpha": np.float64(0.9), "momentum": np.float64(0.9), "centered": True, **o}),
]


@pytest.mark.parametrize("make", MAKES)
def test_numbers_of_numpy_do_not_widen_parameters_and_state(make):
    parameter = mr.nn.Parameter([1.0, 2.0])
    optimizer = make([parameter], weight_decay=np.float64(0.1))
    with mr.engine("textbook"):
        for lr in np.linspace(0.1, 0.3, 3):
            optimizer.param_groups[0]["lr"] = lr  # set by hand
            parameter.grad = mr.tensor([1.0, 2.0])
            optimizer.step()
    arrays = [array for name, array in optimizer.state[0].items() if name != "step"]
    assert {array.dtype for array in (parameter.data, *arrays)} == {np.dtype("float32")}


@pytest.mark.parametrize("make", [lambda p: SGD(p, lr=0.1), lambda p: Adam(p), lambda p: RMSprop(p)])
@pytest.mark.parametrize(
    "grad",
    [mr.tensor([1.0]), mr.tensor([[1.0, 2.0]]), mr.tensor(1.0), np.ones(2, "f"), mr.tensor([1, 2], dtype="float64")],
)
def test_a_gradient_of_another_shape_or_dtype_is_refused_and_nothing_is_changed(make, grad):
    first, second = mr.nn.Parameter([1.0, 2.0]), mr.nn.Parameter([1.0, 2.0])
    optimizer = make([{"params": [first]}, {"params": second}])
    first.grad, second.grad = mr.tensor([1.0, 1.0]), grad
    with pytest.raises(ShapeError, match=r"the gradient of a parameter \(2, float32\) is \w+ \("):
        optimizer.step()
    assert first.numpy().tolist() == [1.0, 2.0] and optimizer.state == [{}, {}]


@pytest.mark.parametrize(
    "make", [lambda p: SGD(p, 0.1, 0.9), lambda p: Adam(p, 0.1), lambda p: RMSprop(p, 0.1, momentum=0.9)]
)
def test_the_state_follows_a_model_that_is_converted(make):
    """As if the model had been of this precision from the beginning: the first gradient has few digits."""
    paths = []
    for convert_after in (0, 1):
        model = mr.nn.Linear(2, 1, bias=False)
        model.weight.data[...] = [[1.0, 2.0]]
        optimizer = make(model.parameters())
        for t in range(4):
            if t == convert_after:
                model.to("float64")
            model.weight.grad = mr.tensor([[0.5, 0.25]] if t == 0 else [[1 / 3, 1e-9]], dtype=model.weight.dtype)
            optimizer.step()
        arrays = [array for name, array in optimizer.state[0].items() if name != "step"]
        assert {array.dtype for array in arrays} == {np.dtype("float64")}
        paths.append(model.weight.numpy())
    np.testing.assert_allclose(*paths, rtol=1e-7)


def test_groups_can_be_added_but_not_slipped_in():
    first, second, third = (mr.nn.Parameter([1.0]) for _ in range(3))
    optimizer = Adam([first], lr=0.1)
    schedule = mr.optim.StepLR(optimizer, 1)
    optimizer.add_param_group({"params": second, "lr": 0.5})
    first.grad = second.grad = mr.tensor([2.0])
    optimizer.step()
    assert (first.item(), second.item()) == (pytest.approx(0.9), pytest.approx(0.5))
    with pytest.raises(ArgumentError, match="appears twice"):
        optimizer.add_param_group({"params": [first]})
    with pytest.raises(ArgumentError, match="has 2 parameter groups, but had 1 when the schedule was created"):
        schedule.step()
    optimizer.param_groups[0]["params"].append(third)
    with pytest.raises(ArgumentError, match=r"call add_param_group\(\.\.\.\) instead"):
        optimizer.step()


def test_a_step_is_noticed_by_a_pending_backward():
    parameter = mr.nn.Parameter([2.0])
    loss = (parameter * parameter).sum()
    loss.backward(retain_graph=True)
    SGD([parameter], lr=0.1).step()
    with pytest.raises(mr.errors.GraphError, match="changed in place"):
        loss.backward()


def parameter():
    return mr.nn.Parameter([1.0, 2.0])


WRONG = [
    (lambda: SGD([], lr=0.1), ArgumentError, "params is empty"),
    (lambda: SGD([parameter()], lr=-0.1), ArgumentError, "lr is -0.1"),
    (lambda: SGD([parameter()], lr=float("nan")), ArgumentError, "lr is nan"),
    (lambda: SGD([parameter()], lr=0.1, momentum=-1), ArgumentError, "momentum is -1"),
    (lambda: SGD([parameter()], lr=0.1, nesterov=True), ArgumentError, "nesterov needs a momentum"),
    (lambda: SGD([parameter()], lr=0.1, weight_decay="a"), ArgumentError, "weight_decay is 'a'"),
    (lambda: SGD([np.ones(3)], lr=0.1), DTypeError, "params holds a ndarray"),
    (lambda: SGD([parameter() * 2], lr=0.1), ArgumentError, r"\(2\) is not a leaf: mul computed it"),
    (lambda: SGD([p := parameter(), p], lr=0.1), ArgumentError, "appears twice"),
    (lambda: SGD([{"params": [parameter()], "beta": 1}], lr=0.1), ArgumentError, "no option 'beta'"),
    (lambda: SGD([{"lr": 1}], lr=0.1), ArgumentError, "key 'params'"),
    (lambda: Adam([parameter()], betas=(0.9, 1.0)), ArgumentError, "betas is 1.0"),
    (lambda: Adam([parameter()], betas=0.9), ArgumentError, "betas is 0.9"),
    (lambda: AdamW([parameter()], eps=-1), ArgumentError, "AdamW: eps is -1"),
    (lambda: SGD(mr.nn.Linear(1, 1), lr=0.1), ArgumentError, r"params is Linear; pass model.parameters\(\)"),
    (lambda: SGD(mr.nn.Linear(1, 1).parameters, lr=0.1), ArgumentError, "params is method; pass"),
    (lambda: SGD([mr.nn.Linear(1, 1)], lr=0.1), DTypeError, r"holds a Linear; .* pass its parameters\(\)"),
    (lambda: SGD(mr.nn.Linear(1, 1).named_parameters(), lr=0.1), DTypeError, r"a tuple; .* pass model.parameters\(\)"),
    (lambda: SGD({parameter()}, lr=0.1), ArgumentError, "order of a set is not fixed"),
    (lambda: SGD([{"params": iter(())}], lr=0.1), ArgumentError, r"a parameter group is empty; .* list\(model"),
    (lambda: SGD([{"params": mr.nn.Linear(1, 1)}], lr=0.1), ArgumentError, "'params' is Linear"),
    (lambda: SGD([parameter()]), ArgumentError, "SGD: missing 1 required positional argument: 'lr'; its arguments"),
    (lambda: SGD([parameter()], 0.1, 0.9, 0, 5e-4), ArgumentError, "nesterov is 0.0005; .* dampening"),
    (lambda: SGD([parameter()], 0.1, dampening=0.1), ArgumentError, "SGD: dampening is not offered; leave it out"),
    (lambda: SGD([parameter()], 0.1, maximize=True), ArgumentError, "maximize is not offered; write loss = -loss"),
    (lambda: SGD([parameter()], 0.1, foreach=True), ArgumentError, "foreach is not offered"),
    (lambda: SGD([parameter()], 0.1, beta=0.9), ArgumentError, r"'beta'; its arguments are \(params, lr, mom"),
    (lambda: Adam([parameter()], amsgrad=True), ArgumentError, "Adam: amsgrad is not offered"),
    (lambda: RMSprop([parameter()], alpha=2), ArgumentError, "alpha is 2"),
    (lambda: RMSprop([parameter()], centered=0.5), ArgumentError, "centered is 0.5"),
    (lambda: SGD([parameter()], 0.1).step(closure=min), ArgumentError, r"call loss.backward\(\) before step"),
    (lambda: SGD([parameter()], 0.1).zero_grad(set_to_none=False), ArgumentError, "set_to_none is not offered"),
    (lambda: SGD([parameter()], 0.1).load_state_dict(RMSprop([parameter()]).state_dict()), StateDictError, "another o"),
    (lambda: Adam([parameter()]).load_state_dict(SGD([parameter()], 0.1).state_dict()), StateDictError, "another opt"),
    (lambda: mr.optim.CosineAnnealingLR, AttributeError, r"no attribute 'CosineAnnealingLR'; write CosineLR\(opt"),
    (lambda: mr.optim.clip_grad_norm_, AttributeError, r"write clip_grad_norm\("),
    (lambda: mr.optim.adamW, AttributeError, r"did you mean AdamW\?"),
    (lambda: SGD([parameter()], lr=0.1).load_state_dict({}), StateDictError, "must hold"),
    (
        lambda: SGD([parameter()], lr=0.1).load_state_dict({"arrays": {}, "steps": [0, 0], "groups": [{}]}),
        StateDictError, "2 parameters in 1 groups",
    ),
    (
        lambda: SGD([parameter()], lr=0.1).load_state_dict(
            {"arrays": {"0.exp_avg": np.ones(2)}, "steps": [0], "groups": [{}]}
        ),
        StateDictError, "'0.exp_avg'",
    ),
    (
        lambda: Adam([parameter()]).load_state_dict(
            {"arrays": {"0.exp_avg": np.ones(3)}, "steps": [0], "groups": [{}]}
        ),
        StateDictError, "0.exp_avg is 3, but its parameter is 2",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("call", "error", "words"), WRONG)
def test_wrong_arguments_raise_the_named_error(call, error, words):
    with pytest.raises(error, match=words) as caught:
        call()
    assert type(caught.value) is error and "\n" not in str(caught.value)


def test_registered_optimisers_take_the_settings_of_a_run():
    made = {name: kind.for_training([parameter()], 0.2, 0.3, 0.4) for name, kind in mr.optim.OPTIMIZERS.items()}
    assert [type(optimizer) for optimizer in made.values()] == [SGD, Adam, AdamW, RMSprop]
    for optimizer in made.values():
        (group,) = optimizer.param_groups
        assert (group["lr"], group["weight_decay"]) == (0.2, 0.3)
        assert set(optimizer.training_defaults) == {"lr", "weight_decay"}
    assert made["rmsprop"].param_groups[0]["momentum"] == 0.4
    assert made["sgd"].param_groups[0]["momentum"] == 0.4 and made["sgd"].param_groups[0]["nesterov"]
    assert made["adam"].param_groups[0]["betas"] == made["adamw"].param_groups[0]["betas"] == (0.4, 0.999)
    assert not SGD.for_training([parameter()], 0.2, 0.0, 0.0).param_groups[0]["nesterov"]


def test_an_optimiser_of_ones_own_needs_an_update_only():
    class Sign(mr.optim.Optimizer):
        def __init__(self, params, lr, weight_decay=0.0):
            super().__init__(params, lr=lr, weight_decay=weight_decay)

        def update(self, parameter, grad, state, group):
            parameter -= group["lr"] * np.sign(grad)

    weight = mr.nn.Parameter([1.0, 2.0])
    optimizer = Sign.for_training([weight], 0.5, 0.0, momentum=0.9)
    (weight * mr.tensor([3.0, -4.0])).sum().backward()
    optimizer.step()
    assert weight.numpy().tolist() == [0.5, 2.5]


@pytest.mark.parametrize("engine", ["textbook", "fast"])
@pytest.mark.parametrize("scale", [1.0, 1e25])
def test_centered_rmsprop_stays_finite(engine, scale):
    """The variance of a constant gradient is 0, of which rounding could make a negative number."""
    parameter = mr.nn.Parameter(np.ones(5000, "f"))
    optimizer = RMSprop([parameter], lr=1e-9, alpha=0.9, centered=True)
    parameter.grad = mr.tensor(np.linspace(0.1, 3, 5000, dtype="f") * np.float32(scale))
    with mr.engine(engine), np.errstate(over="ignore"):
        for _ in range(300):
            optimizer.step()
    assert np.isfinite(parameter.numpy()).all()


def test_a_state_of_none_is_refused():
    with pytest.raises(StateDictError, match="it holds NoneType"):
        SGD([parameter()], lr=0.1).load_state_dict(None)
