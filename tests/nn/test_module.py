"""Module: its parameters and sub-modules, state dict, modes, hooks."""

import gc
import weakref

import numpy as np
import pytest

import minires as mr
from minires.errors import ArgumentError, DTypeError, StateDictError
from minires.nn import Buffer, Linear, Module, ModuleList, Parameter, Sequential
from minires.nn.module import in_mode


class Net(Module):
    def __init__(self):
        self.scale = Parameter([2.0])
        self.seen = Buffer([0.0])
        self.fc = Linear(3, 4)
        self.blocks = ModuleList([Linear(4, 4, bias=False), Sequential(Linear(4, 2), mr.nn.Dropout(0.5))])
        self.notes = "no parameter"

    def forward(self, x):
        x = self.fc(x) * self.scale
        for block in self.blocks:
            x = block(x)
        return x


NAMES = ["scale", "fc.weight", "fc.bias", "blocks.0.weight", "blocks.1.0.weight", "blocks.1.0.bias"]


def test_names_are_paths_in_the_order_of_the_attributes():
    net = Net()
    assert [name for name, _ in net.named_parameters()] == NAMES
    assert [name for name, _ in net.named_buffers()] == ["seen"]
    assert list(net.state_dict()) == ["scale", "seen", *NAMES[1:]]
    assert [name for name, _ in net.named_modules()] == [
        "", "fc", "blocks", "blocks.0", "blocks.1", "blocks.1.0", "blocks.1.1",
    ]  # fmt: skip


def test_a_shared_parameter_is_listed_once_and_gets_both_gradients():
    net = Net()
    net.blocks[1][0].weight = Parameter(np.eye(4, dtype="f")[:2])
    net.tied = net.fc.weight
    assert sum(parameter is net.fc.weight for parameter in net.parameters()) == 1


def test_modes_reach_all_children():
    net = Net()
    assert all(module.training for module in net.modules())
    assert net.eval() is net
    assert not any(module.training for module in net.modules())
    assert all(module.training for module in net.train().modules())


@pytest.mark.parametrize("training", [True, False])
def test_a_mode_for_a_while_restores_that_of_each_module_even_after_an_error(training):
    net = Net()
    net.blocks[1].eval()
    before = [module.training for module in net.modules()]
    with pytest.raises(KeyError), in_mode(net, training):
        assert [module.training for module in net.modules()] == [training] * len(before)
        raise KeyError
    assert [module.training for module in net.modules()] == before


def test_zero_grad_forgets_every_gradient():
    net = Net()
    net(mr.tensor(np.ones((2, 3), "f"))).sum().backward()
    assert all(parameter.grad is not None for parameter in net.parameters())
    net.zero_grad()
    assert all(parameter.grad is None for parameter in net.parameters())


def test_state_dict_is_a_copy_and_round_trips():
    mr.manual_seed(1)
    net, other = Net(), Net()
    state = net.state_dict()
    before = state["fc.weight"].copy()
    net.fc.weight.data += 1
    np.testing.assert_array_equal(state["fc.weight"], before)
    other.load_state_dict(state)
    for name, array in other.state_dict().items():
        np.testing.assert_array_equal(array, state[name], err_msg=name)
        assert isinstance(array, np.ndarray)


def test_loading_lists_what_does_not_fit_and_changes_nothing():
    net = Net()
    before = net.state_dict()
    state = {name: array + 1 for name, array in before.items()}
    state["surplus"] = np.zeros(3, "f")
    state["fc.weight"] = np.zeros((3, 4), "f")
    del state["scale"]
    with pytest.raises(StateDictError, match=r"missing scale; left over surplus; .* fc.weight \(3x4 for 4x3\)\.$"):
        net.load_state_dict(state)
    for name, array in net.state_dict().items():
        np.testing.assert_array_equal(array, before[name])
    with pytest.raises(StateDictError, match=r"fc\.weight"):
        net.load_state_dict({"fc.weight": np.zeros((3, 4), "f")}, strict=False)
    net.load_state_dict({"scale": np.array([5.0]), "surplus": np.zeros(2)}, strict=False)
    assert net.scale.item() == 5.0 and net.scale.dtype == np.float32


def test_loading_tells_what_it_did_not_find():
    net = Linear(2, 1)
    found = net.load_state_dict({"weight": [[1, 2]], "extra": 3, "bn.num_batches_tracked": 7}, strict=False)
    assert found == (["bias"], ["extra"]) and found.missing_keys == ["bias"] and net.weight.numpy().tolist() == [[1, 2]]
    assert net.load_state_dict({**net.state_dict(), "num_batches_tracked": np.array(3)}) == ([], [])


@pytest.mark.parity
def test_a_shared_parameter_has_several_names_in_a_state_of_pytorch():
    torch = pytest.importorskip("torch")

    def build(nn):
        net = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
        net[1].weight = net[0].weight
        net.again = net[0]
        return net

    theirs, ours = build(torch.nn), build(mr.nn)
    state = {name: array.numpy() for name, array in theirs.state_dict().items()}
    assert ours.load_state_dict(state) == ([], []) and "again.weight" in state
    np.testing.assert_array_equal(ours[1].weight.numpy(), theirs[1].weight.detach().numpy())
    with pytest.raises(StateDictError, match=r"left over 1.weight;"):
        ours.load_state_dict({**state, "1.weight": state["1.weight"] + 1})


RENAMED = [
    (lambda s: {f"module.{n}": a for n, a in s.items()}, r"removeprefix\('module.'\): array for name, array in state"),
    (lambda s: {f"a.b.{n}": a for n, a in s.items()} | {"c.d": 1}, r"Without the prefix 'a.b.', its names fit"),
    (
        lambda s: {n.removeprefix("net."): a for n, a in s.items()},
        r"Its names fit model.net: model.net.load_state_dict",
    ),
    (lambda s: {n.replace("fc.", "head."): a for n, a in s.items()}, r"Is its 'head' the model's 'fc'\?"),
    (lambda s: {"epoch": 3, "state_dict": s}, r"'state_dict' is a dict itself; pass state\['state_dict'\]\.$"),
    (lambda s: {**s, "fc.bias": np.ones(2, complex)}, r"of another shape or type fc.bias \(complex128 for float32\)"),
    (lambda s: {**s, "fc.bias": [1.0, 1e300]}, "numbers too large"),
    (lambda s: {**s, "fc.bias": [[1.0], []]}, "fc.bias is not an array"),
    (lambda s: {**s, "seen": np.array([0.5])}, r"seen \(float64 for int64\)"),
    (lambda s: {3: np.ones(2), **s}, r"left over 3;"),
]


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize(("change", "words"), RENAMED)
def test_a_state_of_other_names_is_refused_with_the_remedy(change, words):
    net = Sequential({"net": Linear(3, 2)} if "model.net" in words else {"fc": Linear(3, 2)})
    if "seen" in words:
        net.register_buffer("seen", [1])
    before = net.state_dict()
    with pytest.raises(StateDictError, match=words):
        net.load_state_dict(change(before))
    for name, array in net.state_dict().items():
        np.testing.assert_array_equal(array, before[name])


@pytest.mark.parametrize(
    ("state", "words"), [("w.safetensors", r"pass mr.load\(path\)"), (Net(), "pass model.state_dict")]
)
def test_what_is_no_state_is_refused(state, words):
    with pytest.raises(ArgumentError, match=words):
        Net().load_state_dict(state)


@pytest.mark.parametrize("container", [Sequential, lambda item: ModuleList([item])])
def test_containers_take_modules_only(container):
    with pytest.raises(ArgumentError, match="item 0 is function"):
        container(mr.ops.relu)


def test_a_hook_that_removes_itself_does_not_skip_the_next_and_sees_keywords_if_asked():
    class Scale(Module):
        def forward(self, x, by=1.0):
            return x * by

    layer, seen, x = Scale(), [], mr.tensor([1.0])

    def once(module, inputs, output):
        seen.append("once")
        handle.remove()

    handle = layer.register_forward_hook(once)
    layer.register_forward_hook(lambda module, inputs, options, output: seen.append(options), with_kwargs=True)
    twin = lambda module, inputs, output: seen.append("twin")  # noqa: E731
    handles = [layer.register_forward_hook(twin) for _ in range(2)]
    layer(x, by=2.0)
    assert seen == ["once", {"by": 2.0}, "twin", "twin"]
    handles[0].remove(), handles[0].remove()
    layer(x)
    assert seen[4:] == [{}, "twin"]


def test_forward_hooks_see_and_replace():
    layer = Linear(3, 2)
    seen = []
    first = layer.register_forward_hook(lambda module, inputs, output: seen.append((module, inputs[0].shape)))
    second = layer.register_forward_hook(lambda module, inputs, output: output * 0)
    x = mr.tensor(np.ones((5, 3), "f"))
    assert (layer(x).numpy() == 0).all() and seen == [(layer, (5, 3))]
    second.remove(), first.remove(), first.remove()
    assert (layer(x).numpy() != 0).any() and len(seen) == 1


def test_unknown_attributes_raise():
    with pytest.raises(AttributeError):
        Net().fcc


@pytest.mark.parametrize("target", ["float64", np.float16])
def test_to_changes_the_dtype_of_floats_in_place_and_that_of_gradients(target):
    net = Net()
    net.register_buffer("count", np.array([2**40 + 1]))
    parameter = net.fc.weight
    net(mr.tensor(np.ones((2, 3), "f"))).sum().backward()
    grad = parameter.grad.numpy().astype(target)
    assert net.to(target) is net
    assert net.fc.weight is parameter and parameter.dtype == net.seen.dtype == parameter.grad.dtype == target
    np.testing.assert_array_equal(parameter.grad.numpy(), grad)
    assert net.count.numpy().tolist() == [2**40 + 1]


@pytest.mark.parametrize("target", ["int64", np.uint8, bool, "complex64"])
def test_to_takes_floating_dtypes_only(target):
    net = Net()
    before = net.state_dict()
    with pytest.raises(DTypeError, match=r"Net.to: .* floating dtype, such as 'float32'|complex64"):
        net.to(target)
    for name, array in net.state_dict().items():
        assert array.dtype == np.float32 and (array == before[name]).all()


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (
            lambda net: net.parameters(recurse=False),
            r"recurse is not offered; parameters\(\) includes the modules below",
        ),
        (lambda net: net.state_dict(prefix="a."), r"prefix is not offered; write \{prefix \+ name"),
        (lambda net: net.load_state_dict({}, assign=True), "assign is not offered; arrays are copied"),
        (lambda net: net.zero_grad(set_to_none=False), "set_to_none is not offered"),
        (lambda net: net.to("cpu", non_blocking=True), "non_blocking is not offered"),
        (lambda net: net.register_forward_hook(print, prepend=True), "prepend is not offered"),
        (lambda net: net.load_state_dict(), "missing 1 required positional argument: 'state_dict'; its arguments are"),
    ],
)
def test_arguments_that_are_not_offered_are_refused_by_name(call, words):
    with pytest.raises(ArgumentError, match=words):
        call(Net())


def test_to_takes_a_device_and_a_dtype():
    net = Net().to("cpu", "float64")
    assert {tensor.dtype for tensor in (*net.parameters(), *net.buffers())} == {np.dtype("float64")}
    assert net.to(dtype="float32", device="cpu").scale.dtype == np.float32


def test_apply_freeze_and_repr():
    net = Net()
    visited = []
    net.apply(visited.append)
    assert visited[0] is net and len(visited) == len(list(net.modules()))
    net.requires_grad_(False)
    assert not net(mr.tensor(np.ones((1, 3), "f"))).requires_grad
    assert "(0): Linear(4, 4, bias=False)" in repr(net)


def test_a_module_is_freed_without_the_garbage_collector():
    gc.disable()
    try:
        net = Net()
        net(mr.tensor(np.ones((2, 3), "f"))).sum().backward()
        parameter = weakref.ref(net.fc.weight)
        del net
        assert parameter() is None
    finally:
        gc.enable()
